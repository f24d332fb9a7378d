//! Step 0003: series leave with their samples. See `README.md` beside this file for what it decides and why.

use redb::{ReadableTable, TableDefinition, WriteTransaction};

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const SERIES: TableDefinition<(u32, u32), &[u8]> = TableDefinition::new("series_v1");
const BLOCKS: TableDefinition<(i32, u32, u32, i64, u64), &[u8]> = TableDefinition::new("blocks_v1");
const SERIES_DAYS: TableDefinition<(u32, u32), i32> = TableDefinition::new("series_days_v1");
const EXPIRED_SERIES: TableDefinition<(u32, &[u8]), (u32, i32, i64)> =
    TableDefinition::new("expired_series_v1");

/// Makes the tables, takes the newest day of the file for the last one of every series, and sets the version.
pub(super) fn apply(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(EXPIRED_SERIES)?;
    let blocks = transaction.open_table(BLOCKS)?;
    let newest = blocks.last()?.map(|(key, _)| key.value().0);
    let mut days = transaction.open_table(SERIES_DAYS)?;
    if let Some(newest) = newest {
        for series in transaction.open_table(SERIES)?.iter()? {
            days.insert(series?.0.value(), newest)?;
        }
    }
    let mut meta = transaction.open_table(META)?;
    meta.insert("schema_version", &3u32.to_le_bytes()[..])?;
    Ok(())
}
