use super::*;
use proptest::prelude::*;

const STALE: f64 = f64::from_bits(KINDS[0]);

fn encoded(values: &[f64]) -> Vec<u8> {
    encoded_with(values, Effort::Quick)
}

fn settled(values: &[f64]) -> Vec<u8> {
    encoded_with(values, Effort::Settled)
}

fn encoded_with(values: &[f64], effort: Effort) -> Vec<u8> {
    let mut out = Vec::new();
    encode(values, effort, &mut out);
    assert!(out.len() <= 1 + values.len() * 8);
    let mut back = vec![7.0];
    decode(&out, values.len(), &mut back).unwrap();
    let bits = |v: &[f64]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&back[1..]), bits(values));
    let mut numbers = vec![7];
    if let Some(exponent) = decode_decimals(&out, values.len(), &mut numbers).unwrap() {
        let power = decimal::power(exponent);
        let divided: Vec<f64> = numbers[1..].iter().map(|n| *n as f64 / power).collect();
        assert_eq!(bits(&divided), bits(values));
    } else {
        assert_eq!(numbers, [7]);
    }
    out
}

/// A walk of whole numbers by at most `most` a step, and what it divides into.
fn walk(n: usize, most: i64, power: f64) -> Vec<f64> {
    let mut random = 1_u64;
    let mut at = 420;
    (0..n)
        .map(|_| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            at += (random >> 33) as i64 % (2 * most + 1) - most;
            at as f64 / power
        })
        .collect()
}

#[test]
fn bytes_are_frozen() {
    assert!(encoded(&[]).is_empty());
    // Constant.
    assert_eq!(encoded(&[0.0]), [1]);
    assert_eq!(encoded(&[1.0, 1.0, 1.0]), [1, 0xf0, 0x3f]);
    // Raw.
    assert_eq!(
        encoded(&[std::f64::consts::PI, -1e300]),
        [
            0, 0x18, 0x2d, 0x44, 0x54, 0xfb, 0x21, 0x09, 0x40, 0x9c, 0x75, 0x00, 0x88, 0x3c, 0xe4,
            0x37, 0xfe
        ]
    );
    // Integers: over 10, as they are: width 3 above 415.
    assert_eq!(
        encoded(&[41.5, 42.0, 41.6, 41.9, 41.5]),
        [2, 0x01, 3, 0xbe, 0x06, 0x68, 0x08]
    );
    // Patched: minus zero and two stale markers over one step up at a time.
    assert_eq!(
        encoded(&[
            -0.0,
            1e6,
            1_000_001.0,
            STALE,
            STALE,
            1_000_002.0,
            1_000_003.0
        ]),
        [3, 2, 0, 5, 2, 9, 2, 0x00, 2, 0x80, 0x89, 0x7a, 0x50, 0x39]
    );
}

#[test]
fn bits_of_doubles_are_frozen() {
    let third = 1.0_f32 / 3.0;
    let values: Vec<f64> = (0..24_u16)
        .map(|i| f64::from(third + f32::from(i % 7)))
        .collect();
    let mut head = encoded(&values);
    head.truncate(16);
    // A stride of 2^29 above the first value's bits.
    assert_eq!(
        head,
        [
            2, 0x4f, 0x80, 0x80, 0x80, 0x80, 0x04, 0x80, 0x80, 0x80, 0x80, 0xac, 0xd5, 0xaa, 0xd5,
            0x7f
        ]
    );
}

#[test]
fn columns_are_as_small_as_promised() {
    let mut reset = walk(480, 0, 1.0);
    for (i, value) in reset.iter_mut().enumerate() {
        *value = ((i * 1000) + i * i % 50) as f64 - if i > 300 { 300_000.0 } else { 0.0 };
    }
    let pages: Vec<f64> = walk(480, 30, 1.0).iter().map(|v| v * 4096.0).collect();
    let single: Vec<f64> = walk(480, 9000, 1.0)
        .iter()
        .map(|v| f64::from(*v as f32 / 7.0))
        .collect();
    let noise: Vec<f64> = walk(480, 9000, 1.0)
        .iter()
        .map(|v| 400.0 + v.sin())
        .collect();
    let mut odd = walk(480, 20, 10.0);
    odd[33] = std::f64::consts::PI;
    odd[34] = 1.23e-5;
    let mut up = vec![1.0; 480];
    up[240] = 0.0;
    let mut version = vec![std::f64::consts::E; 480];
    version[7] = STALE;
    for (what, values, most) in [
        ("one decimal", walk(480, 20, 10.0), 0.80),
        ("two decimals", walk(480, 200, 100.0), 1.17),
        ("nanoseconds", walk(480, 20, 1e9), 0.80),
        ("one decimal and two odd values", odd, 0.85),
        ("counter with a reset", reset, 1.0),
        ("memory in pages", pages, 0.80),
        ("single precision", single, 4.7),
        ("noise of one magnitude", noise, 6.4),
        ("up", up, 0.04),
        ("constant with a gap", version, 0.06),
    ] {
        let bytes = encoded(&values).len() as f64 / values.len() as f64;
        assert!(bytes <= most, "{what}: {bytes}");
    }
}

/// Numbers from 0 to `below`, in no order.
fn shuffled(n: usize, below: i64) -> impl Iterator<Item = i64> {
    walk(n, 1 << 30, 1.0)
        .into_iter()
        .map(move |v| (v as i64).rem_euclid(below))
}

/// A counter that adds something to its last value half of the time.
fn idle_counter(n: usize) -> Vec<f64> {
    let mut at = 0;
    let step = |n: i64| {
        at += (n - 40).max(0);
        at as f64
    };
    shuffled(n, 80).map(step).collect()
}

/// Percent of a total that is no round number.
fn shares(n: usize) -> Vec<f64> {
    let share = |used: &f64| (40_000.0 + used) / 131_071.0 * 100.0;
    walk(n, 20, 1.0).iter().map(share).collect()
}

#[test]
fn settled_columns_are_as_small_as_promised() {
    let few = [0.1_f64.sqrt(), 1.0 / 3.0, 0.7_f64.exp(), 1.0 / 7.0];
    let few: Vec<f64> = shuffled(480, 4).map(|i| few[i as usize]).collect();
    let mut with_gaps = shares(480);
    with_gaps[100..110].fill(STALE);
    let single: Vec<f64> = walk(480, 9, 10.0)
        .iter()
        .map(|v| f64::from(*v as f32))
        .collect();
    let queue: Vec<f64> = shuffled(480, 64)
        .map(|n| f64::from((n as u32 + 1).leading_zeros()) - 26.0)
        .collect();
    let curve: Vec<f64> = (0..480)
        .map(|i| 21.0 + 3.0 * (f64::from(i) / 900.0).sin())
        .collect();
    for (what, values, most, quick) in [
        ("idle counter", idle_counter(480), 0.52, 0.74),
        ("few values", few, 0.40, 6.0),
        ("share of a total", shares(480), 0.95, 5.0),
        ("the same with gaps", with_gaps, 1.0, 5.0),
        ("single precision of decimals", single, 1.6, 2.4),
        ("queue", queue, 0.30, 0.36),
        ("curve", curve, 0.75, 3.0),
    ] {
        let bytes = settled(&values).len() as f64 / values.len() as f64;
        assert!(bytes <= most, "{what}: {bytes}");
        let bytes = encoded(&values).len() as f64 / values.len() as f64;
        assert!(bytes >= quick, "{what} in haste: {bytes}");
    }
}

#[test]
fn what_reports_decode_most_stays_quick_to_decode() {
    for values in [
        walk(1640, 20, 10.0),
        walk(1640, 200, 100.0),
        walk(480, 9, 10.0),
    ] {
        assert_eq!(settled(&values), encoded(&values));
    }
}

#[test]
fn settled_bytes_are_frozen() {
    let with_gap = |mut values: Vec<f64>| {
        values[9] = STALE;
        values
    };
    // Integers, coded; doubles, multiples of one of them; both patched.
    for (values, head, len, checksum) in [
        (idle_counter(480), &[2, 0x90, 0, 0, 0][..], 242, 0xe999_8e3e),
        (shares(480), &[4, 0x32], 447, 0x2935_7082),
        (
            with_gap(idle_counter(480)),
            &[3, 1, 9, 1, 2, 0x90],
            245,
            0xd7ca_ac6d,
        ),
        (
            with_gap(shares(480)),
            &[3, 1, 9, 1, 4, 0x32],
            451,
            0x7322_dd39,
        ),
    ] {
        let bytes = settled(&values);
        let found = (&bytes[..head.len()], bytes.len(), crc32c::crc32c(&bytes));
        assert_eq!(found, (head, len, checksum));
    }
}

#[test]
fn decimals_are_told_from_other_columns() {
    let mut numbers = Vec::new();
    let found = decode_decimals(&encoded(&[41.5, 42.0, 41.6]), 3, &mut numbers);
    assert_eq!(found, Ok(Some(1)));
    assert_eq!(numbers, [415, 420, 416]);
    for other in [
        encoded(&[]),
        encoded(&[41.5, 41.5]),
        encoded(&[41.5, STALE, 41.7]),
        encoded(&[0.1_f64.sqrt(), 0.2_f64.sqrt()]),
        encoded(&walk(100, 9, 7.0)),
    ] {
        assert_eq!(decode_decimals(&other, 2, &mut numbers), Ok(None));
    }
    for (bytes, count, what) in [
        (&[2][..], 1, "truncated column of integers"),
        (&[2, 0x01, 0, 0, 9], 1, "bytes behind a column of values"),
        (&[2, 0x01, 0, 0], 0, "bytes behind a column of values"),
    ] {
        let found = decode_decimals(bytes, count, &mut numbers);
        assert_eq!(found, Err(Corrupt { what }));
    }
}

#[test]
fn stale_markers_are_cheap() {
    let mut values = walk(480, 20, 10.0);
    let without = encoded(&values).len();
    values[0] = STALE;
    values[100] = STALE;
    values[200..210].fill(STALE);
    assert!(encoded(&values).len() <= without + 10);
}

#[test]
fn integers_of_every_size_round_trip() {
    for shift in 0..64 {
        let near = (1_u64 << shift) as f64;
        let values = [
            near - 1.0,
            near,
            near + 1.0,
            1.0 - near,
            -near,
            near * 2.0,
            near / 10.0,
            near / 1e9,
        ];
        encoded(&values);
        encoded(&values[..3]);
    }
    encoded(&[
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE,
        5e-324,
        f64::NAN,
        f64::INFINITY,
    ]);
    encoded(&[
        f64::NAN,
        -f64::NAN,
        f64::from_bits(0x7ff8_0000_0000_0000),
        1.0,
    ]);
}

#[test]
fn refusals_say_why() {
    for (bytes, count, what) in [
        (&[1][..], 0, "bytes behind a column of values"),
        (&[], 1, "truncated column of values"),
        (&[5], 1, "unknown encoding of a column of values"),
        (&[4], 1, "truncated entropy coded numbers"),
        (&[4, 4, 0, 0], 1, "unknown mode of entropy coded numbers"),
        (&[4, 0, 0, 0], 1, "damaged entropy coded numbers"),
        (&[0, 1, 2, 3, 4, 5, 6, 7], 1, "truncated column of values"),
        (
            &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
            1,
            "bytes behind a column of values",
        ),
        (
            &[1, 1, 2, 3, 4, 5, 6, 7, 8, 9],
            1,
            "bytes behind a column of values",
        ),
        (&[2], 1, "truncated column of integers"),
        (&[2, 0x80, 4, 0], 1, "unknown mode of entropy coded numbers"),
        (&[2, 0x80, 0, 0], 1, "truncated entropy coded numbers"),
        (&[2, 0x30, 0, 0], 1, "unknown shape of a column of integers"),
        (
            &[2, 0x20, 0, 0],
            1,
            "column of integers shorter than its order",
        ),
        (&[2, 0x00, 0, 0, 9], 1, "bytes behind a column of values"),
        (&[3, 9, 0, 1, 1], 3, "more runs than values"),
        (&[3, 1, 0, 7, 1], 3, "unknown kind of run"),
        (&[3, 1, 3, 1, 1], 3, "run outside its column"),
        (&[3, 1, 1, 17, 1], 3, "run outside its column"),
        (&[3, 1, 0, 0, 1], 3, "truncated run"),
        (
            &[3, 0, 3, 0, 1],
            3,
            "unknown encoding of a column of values",
        ),
    ] {
        let found = decode(bytes, count, &mut Vec::new());
        assert_eq!(found, Err(Corrupt { what }), "{bytes:?}");
    }
}

fn special() -> impl Strategy<Value = f64> {
    prop::sample::select(&KINDS[..]).prop_map(f64::from_bits)
}

/// What series are made of, for up to three frames.
fn column() -> impl Strategy<Value = Vec<f64>> {
    let walks = (
        0..3_i32,
        -1_000_000..1_000_000_i64,
        prop::collection::vec(-99..99_i64, 0..300),
    );
    let walks = walks.prop_map(|(decimals, mut at, moves)| {
        let number = moves.into_iter().map(|m| {
            at += m;
            at as f64 / 10_f64.powi(decimals)
        });
        number.collect::<Vec<f64>>()
    });
    let counters = prop::collection::vec((0..5000_u64, prop::bool::weighted(0.01)), 0..300);
    let counters = counters.prop_map(|steps| {
        let mut at = 1_u64 << 40;
        let number = steps.into_iter().map(|(step, reset)| {
            at = if reset { 0 } else { at + step };
            at as f64
        });
        number.collect::<Vec<f64>>()
    });
    let constants =
        (any::<u64>(), 0..300_usize).prop_map(|(bits, n)| vec![f64::from_bits(bits); n]);
    let single = prop::collection::vec(any::<f32>().prop_map(f64::from), 0..300);
    let few = prop::collection::vec(any::<u64>(), 1..6);
    let few = (
        few,
        prop::collection::vec(any::<prop::sample::Index>(), 0..300),
    );
    let few = few.prop_map(|(few, of_them)| {
        let value = of_them.iter().map(|at| f64::from_bits(*at.get(&few)));
        value.collect::<Vec<f64>>()
    });
    let shares = (
        1..1_000_000_u32,
        prop::collection::vec(0..1_000_u32, 0..300),
    );
    let shares = shares.prop_map(|(total, used)| {
        let share = used
            .iter()
            .map(|n| f64::from(*n) / f64::from(total) * 100.0);
        share.collect::<Vec<f64>>()
    });
    prop_oneof![walks, counters, constants, single, few, shares]
}

/// Such a column with a few values that do not belong.
fn spoilt() -> impl Strategy<Value = Vec<f64>> {
    let stray = prop_oneof![3 => special(), 1 => any::<u64>().prop_map(f64::from_bits)];
    let strays = prop::collection::vec((any::<prop::sample::Index>(), stray, 1..20_usize), 0..4);
    (column(), strays).prop_map(|(mut values, strays)| {
        let count = values.len();
        for (at, stray, len) in strays.into_iter().filter(|_| count > 0) {
            let at = at.index(count);
            let end = count.min(at + len);
            values[at..end].fill(stray);
        }
        values
    })
}

proptest! {
    #[test]
    fn any_bits_round_trip(bits in prop::collection::vec(any::<u64>(), 0..300)) {
        let values: Vec<f64> = bits.into_iter().map(f64::from_bits).collect();
        encoded(&values);
        settled(&values);
    }

    #[test]
    fn series_round_trip(values in column()) {
        encoded(&values);
        settled(&values);
    }

    #[test]
    fn spoilt_series_round_trip(values in spoilt()) {
        encoded(&values);
        settled(&values);
    }

    #[test]
    fn any_bytes_are_survived(
        bytes: Vec<u8>,
        head in prop_oneof![
            (0..6_u8).prop_map(|tag| vec![tag]),
            // Coded integers of each width; doubles as they are, as multiples, quantized.
            (0..4_u8).prop_map(|width| vec![2, 0x80, width, 0, 0]),
            prop::sample::select(&[0_u8, 2, 3][..]).prop_map(|mode| vec![4, mode]),
        ],
        count in 0..1000_usize,
    ) {
        let headed = [&head[..], &bytes].concat();
        for bytes in [&bytes, &headed] {
            let mut out = Vec::new();
            let _ = decode(bytes, count, &mut out);
            prop_assert!(out.len() <= count);
            let mut numbers = Vec::new();
            let _ = decode_decimals(bytes, count, &mut numbers);
            prop_assert!(numbers.len() <= count);
        }
    }

    #[test]
    fn damage_is_survived(
        values in spoilt().prop_filter("not empty", |v| !v.is_empty()),
        effort in prop::sample::select(&[Effort::Quick, Effort::Settled][..]),
        at: prop::sample::Index,
        bit in 0..8_u8,
        to: u8,
        cut: prop::sample::Index,
    ) {
        let bytes = encoded_with(&values, effort);
        let cut = cut.index(bytes.len());
        // A constant with fewer bytes is another constant.
        let constant = bytes[0] == CONSTANT;
        prop_assert!(constant || decode(&bytes[..cut], values.len(), &mut Vec::new()).is_err());
        let at = at.index(bytes.len());
        for damaged in [to, bytes[at] ^ 1 << bit] {
            let mut bytes = bytes.clone();
            bytes[at] = damaged;
            let mut out = Vec::new();
            let _ = decode(&bytes, values.len(), &mut out);
            prop_assert!(out.len() <= values.len());
        }
    }
}
