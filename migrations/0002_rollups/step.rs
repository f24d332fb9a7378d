//! Step 0002: merged blocks and rollups. See `README.md` beside this file for what it decides and why.

use redb::{ReadableTable, TableDefinition, WriteTransaction};

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const BLOCKS: TableDefinition<(i32, u32, u32, i64, u64), &[u8]> = TableDefinition::new("blocks_v1");
const UNSETTLED: TableDefinition<(i32, u32), (u32, u64, u64)> =
    TableDefinition::new("unsettled_v1");
const ROLLUPS: TableDefinition<(u8, i32, u32), &[u8]> = TableDefinition::new("rollups_v1");
const DAY_BYTES: TableDefinition<(u8, i32), u64> = TableDefinition::new("day_bytes_v1");

/// What a value of so many bytes takes of the engine's pages, as it was reckoned when this step was made.
const fn page_bytes(length: usize) -> u64 {
    const PAGE: u64 = 4_096;
    const OVERHEAD: u64 = 64;
    let bytes = length as u64 + OVERHEAD;
    if bytes > PAGE / 2 {
        let page = bytes.next_power_of_two();
        if page > PAGE { page } else { PAGE }
    } else {
        bytes
    }
}

/// Day and agent with what [`UNSETTLED`] is to say of them.
type Unsettled = ((i32, u32), (u32, u64, u64));

/// Makes the tables, notes every day that has blocks as one that is to be merged, adds up what days take, and
/// sets the version.
pub(super) fn apply(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(ROLLUPS)?;
    let blocks = transaction.open_table(BLOCKS)?;
    let mut unsettled = transaction.open_table(UNSETTLED)?;
    let mut day_bytes = transaction.open_table(DAY_BYTES)?;
    let mut seen: Option<Unsettled> = None;
    let mut size: Option<(i32, u64)> = None;
    for block in blocks.iter()? {
        let (key, value) = block?;
        let (day, agent, _, _, sequence) = key.value();
        let bytes = page_bytes(value.value().len());
        size = match size {
            Some((of, sum)) if of == day => Some((day, sum + bytes)),
            Some((of, sum)) => {
                day_bytes.insert((0, of), sum)?;
                Some((day, bytes))
            }
            None => Some((day, bytes)),
        };
        let (blocks, newest) = match seen {
            Some((place, (blocks, newest, _))) if place == (day, agent) => (blocks, newest),
            Some((place, row)) => {
                unsettled.insert(place, row)?;
                (0, 0)
            }
            None => (0, 0),
        };
        seen = Some(((day, agent), (blocks + 1, newest.max(sequence), 0)));
    }
    if let Some((place, row)) = seen {
        unsettled.insert(place, row)?;
    }
    if let Some((day, sum)) = size {
        day_bytes.insert((0, day), sum)?;
    }
    let mut meta = transaction.open_table(META)?;
    meta.insert("schema_version", &2u32.to_le_bytes()[..])?;
    Ok(())
}
