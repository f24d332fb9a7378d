use proptest::prelude::*;

use super::*;
use crate::codec::Effort;

type Owned = (u32, Vec<i64>, Vec<f64>);

fn encode(series: &[Owned]) -> Vec<u8> {
    encode_with(series, Effort::Quick)
}

fn encode_with(series: &[Owned], effort: Effort) -> Vec<u8> {
    let columns: Vec<_> = series
        .iter()
        .map(|(no, times, values)| SeriesColumns {
            no: SeriesNo(*no),
            times,
            values,
        })
        .collect();
    encode_block(&columns, effort)
}

fn decode(bytes: &[u8]) -> Result<Vec<Owned>, BlockError> {
    let mut block = Block::parse(bytes)?;
    let mut all = Vec::new();
    for entry in block.entries().to_vec() {
        let (mut times, mut values) = (Vec::new(), Vec::new());
        block.decode(&entry, &mut times, &mut values)?;
        all.push((entry.no.0, times, values));
    }
    Ok(all)
}

fn bits(series: &[Owned]) -> Vec<(u32, Vec<i64>, Vec<u64>)> {
    series
        .iter()
        .map(|(no, t, v)| (*no, t.clone(), v.iter().map(|v| v.to_bits()).collect()))
        .collect()
}

#[test]
fn series_scraped_together_share_a_time_column() {
    let times: Vec<i64> = (0..100)
        .map(|i| 1_700_000_000_000 + i * 10_000 + i % 7)
        .collect();
    let one = encode(&[(1, times.clone(), vec![1.0; 100])]);
    let mut series: Vec<Owned> = (1..=20)
        .map(|no| (no, times.clone(), vec![1.0; 100]))
        .collect();
    series[7].1.remove(50);
    series[7].2.remove(50);
    let twenty = encode(&series);
    assert_eq!(bits(&decode(&twenty).unwrap()), bits(&series));
    assert_eq!(Block::parse(&twenty).unwrap().columns.len(), 1);
    assert!(
        twenty.len() < one.len() + 20 * 70,
        "{} {}",
        one.len(),
        twenty.len()
    );
}

#[test]
fn decimals_come_as_integers() {
    let times: Vec<i64> = (0..50).collect();
    let decimals = (0..50).map(|i| f64::from(i * i % 13) / 10.0).collect();
    let others = (0..50).map(|i| f64::from(i).sqrt()).collect();
    let bytes = encode(&[(4, times.clone(), decimals), (5, times, others)]);
    let mut block = Block::parse(&bytes).unwrap();
    let [decimals, others] = block.entries().to_vec()[..] else {
        panic!("two series");
    };
    let mut numbers = Vec::new();
    assert_eq!(block.decode_decimals(&decimals, &mut numbers), Ok(Some(1)));
    assert!(numbers.iter().copied().eq((0..50).map(|i| i * i % 13)));
    assert_eq!(block.decode_decimals(&others, &mut numbers), Ok(None));
    let mut damaged = bytes.clone();
    let last = damaged.len() - 6;
    damaged[last] ^= 1;
    let mut block = Block::parse(&damaged).unwrap();
    assert!(block.decode_decimals(&decimals, &mut numbers).is_err());
}

#[test]
fn statistics_equal_what_decoding_gives() {
    let values: Vec<f64> = (0..50).map(|i| f64::from(i % 13) * 0.1).collect();
    let bytes = encode(&[(4, (0..50).collect(), values.clone())]);
    let block = Block::parse(&bytes).unwrap();
    let entry = block.entry(SeriesNo(4)).unwrap();
    let statistics = block.statistics(entry).unwrap().unwrap();
    assert_eq!(Some(&statistics), Statistics::of(&values).as_ref());
    assert!(statistics.dropped > 0.0);
    let with_nan: Vec<f64> = values.iter().copied().chain([f64::NAN]).collect();
    assert_eq!(Statistics::of(&with_nan), None);
}

fn any_series() -> impl Strategy<Value = Vec<Owned>> {
    let one = prop::collection::btree_map(0i64..200, any::<u64>(), 1..60);
    prop::collection::btree_map(any::<u32>(), one, 1..8).prop_map(|all| {
        all.into_iter()
            .map(|(no, samples)| {
                let times = samples.keys().map(|t| 1_000 * t).collect();
                (
                    no,
                    times,
                    samples.values().map(|v| f64::from_bits(*v)).collect(),
                )
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn blocks_round_trip(series in any_series()) {
        prop_assert_eq!(bits(&decode(&encode(&series)).unwrap()), bits(&series));
        let settled = encode_with(&series, Effort::Settled);
        prop_assert_eq!(bits(&decode(&settled).unwrap()), bits(&series));
    }

    #[test]
    fn one_flipped_bit_is_noticed(series in any_series(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut bytes = encode(&series);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(decode(&bytes).is_err());
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut framed = vec![FORMAT];
        varint::put_bytes(&mut framed, &bytes);
        let checksum = crc32c::crc32c(&framed);
        framed.extend(checksum.to_le_bytes());
        framed.extend(&bytes);
        framed.extend(crc32c::crc32c(&bytes).to_le_bytes());
        let _ = decode(&framed);
        let _ = decode(&bytes);
    }
}
