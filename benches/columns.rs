//! Columns of 480 samples in and out of bytes: two hours at one sample every 15 s.
//!
//! `cargo bench --bench columns` prints elements per second, and once the bytes per value.

use std::hint::black_box;

use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use longwatch::codec::{Corrupt, times, values};

const SAMPLES: usize = 480;

/// A small generator with a fixed seed, so that every run measures the same columns.
/// Source: G. Marsaglia, "Xorshift RNGs".
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Uniform from 0 to 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// About normal, with mean 0 and deviation 1.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}

fn walk(random: &mut Random, decimals: i32) -> Vec<f64> {
    let power = 10_f64.powi(decimals);
    let mut at = 42.0;
    let step = || {
        at += random.normal() / 2.0;
        (at * power).round() / power
    };
    std::iter::repeat_with(step).take(SAMPLES).collect()
}

fn value_columns() -> Vec<(&'static str, Vec<f64>)> {
    let mut random = Random(88_172_645_463_325_252);
    let mut count = 0;
    let counter = (0..SAMPLES).map(|_| {
        count += 1000 + random.next() % 100;
        count as f64
    });
    let counter = counter.collect();
    let noise = (0..SAMPLES).map(|_| 500.0 + 100.0 * random.unit());
    let noise = noise.collect();
    let mut stale = walk(&mut random, 1);
    for value in stale.iter_mut().skip(49).step_by(50) {
        *value = f64::from_bits(0x7ff0_0000_0000_0002);
    }
    vec![
        ("constant", vec![0.1; SAMPLES]),
        ("one_decimal_walk", walk(&mut random, 1)),
        ("two_decimal_walk", walk(&mut random, 2)),
        ("one_decimal_walk_with_stale_markers", stale),
        ("counter", counter),
        ("noise", noise),
    ]
}

fn time_columns() -> Vec<(&'static str, Vec<i64>)> {
    let mut random = Random(1_181_783_497_276_652_981);
    let regular = (0..SAMPLES as i64).map(|i| 1_700_000_000_000 + i * 15_000);
    let regular: Vec<i64> = regular.collect();
    let jittered = regular
        .iter()
        .map(|t| t + (random.next() % 101) as i64 - 50);
    let jittered = jittered.collect();
    vec![("regular", regular), ("jittered_by_50_ms", jittered)]
}

type Encode<T> = fn(&[T], &mut Vec<u8>);
type Decode<T> = fn(&[u8], usize, &mut Vec<T>) -> Result<(), Corrupt>;

fn measure<T>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    columns: &[(&'static str, Vec<T>)],
    encode: Encode<T>,
    decode: Decode<T>,
) {
    group.throughput(Throughput::Elements(SAMPLES as u64));
    for (name, column) in columns {
        let mut bytes = Vec::new();
        encode(column, &mut bytes);
        eprintln!(
            "{name}: {:.3} bytes per value",
            bytes.len() as f64 / SAMPLES as f64
        );
        let mut out = Vec::new();
        group.bench_function(format!("encode/{name}"), |b| {
            b.iter(|| {
                out.clear();
                encode(black_box(column), &mut out);
            });
        });
        let mut back = Vec::new();
        group.bench_function(format!("decode/{name}"), |b| {
            b.iter(|| {
                back.clear();
                decode(black_box(&bytes), SAMPLES, &mut back)
            });
        });
    }
}

// Not the macros of criterion: they make public functions without documentation.
fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("times");
    measure(&mut group, &time_columns(), times::encode, times::decode);
    group.finish();
    let mut group = criterion.benchmark_group("values");
    measure(&mut group, &value_columns(), values::encode, values::decode);
    group.finish();
    criterion.final_summary();
}
