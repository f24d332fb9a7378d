//! Columns and blocks in and out of bytes: 480, 1,640 and 8,640 samples, which at one sample every 15 s,
//! or at 10 s in a settled block of 20 series, or at 10 s for a day, are some hours to a day.
//!
//! `cargo bench --bench columns` prints elements per second, and once the bytes per value.

use std::{hint::black_box, time::Duration};

use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use longwatch::{
    codec::{Block, Corrupt, Effort, SeriesColumns, encode_block, times, values},
    model::SeriesNo,
};

const COUNTS: [usize; 3] = [480, 1640, 8640];
const EFFORTS: [(&str, Effort); 2] = [("quick", Effort::Quick), ("settled", Effort::Settled)];
/// Series of a block.
const SERIES: usize = 20;

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

    /// True once in `n` times.
    fn once_in(&mut self, n: u64) -> bool {
        (self.next() >> 11).is_multiple_of(n)
    }
}

fn walk(random: &mut Random, count: usize, decimals: i32) -> Vec<f64> {
    let power = 10_f64.powi(decimals);
    let mut at = 42.0;
    let step = || {
        at += random.normal() / 2.0;
        (at * power).round() / power
    };
    std::iter::repeat_with(step).take(count).collect()
}

/// What agents send mostly.
fn decimal_columns(count: usize) -> Vec<(&'static str, Vec<f64>)> {
    let mut random = Random(88_172_645_463_325_252);
    let mut busy = 0;
    let counter = (0..count).map(|_| {
        busy += 1000 + random.next() % 100;
        busy as f64
    });
    let counter = counter.collect();
    let mut idle = 0;
    let idle_counter = (0..count).map(|_| {
        if random.once_in(2) {
            idle += random.next() % 40;
        }
        idle as f64
    });
    let idle_counter = idle_counter.collect();
    let queue = (0..count).map(|_| (-0.7 * random.unit().ln()).floor());
    let queue = queue.collect();
    let mut stale = walk(&mut random, count, 1);
    for value in stale.iter_mut().skip(49).step_by(50) {
        *value = f64::from_bits(0x7ff0_0000_0000_0002);
    }
    vec![
        ("constant", vec![0.1; count]),
        ("one_decimal_walk", walk(&mut random, count, 1)),
        ("one_decimal_walk_with_stale_markers", stale),
        ("two_decimal_walk", walk(&mut random, count, 2)),
        ("counter", counter),
        ("idle_counter", idle_counter),
        ("queue_length", queue),
    ]
}

/// What fills its doubles.
fn full_columns(count: usize) -> Vec<(&'static str, Vec<f64>)> {
    let mut random = Random(2_463_534_242_131_231_973);
    let shares = walk(&mut random, count, 0)
        .iter()
        .map(|used| (40_000.0 + used) / 131_071.0 * 100.0)
        .collect();
    let single = |v: &f64| f64::from(*v as f32);
    let single_decimals = walk(&mut random, count, 1).iter().map(single).collect();
    let mut held = 42.0;
    let held_values = (0..count).map(|_| {
        if random.once_in(3) {
            held = 40.0 + 10.0 * random.unit();
        }
        held
    });
    let held_values = held_values.collect();
    let drift = (0..count).map(|i| 21.0 + 3.0 * (i as f64 / 900.0).sin() + random.normal() / 1e3);
    let drift = drift.collect();
    let single_noise = (0..count).map(|_| f64::from((50.0 + 10.0 * random.normal()) as f32));
    let single_noise = single_noise.collect();
    let noise = (0..count).map(|_| 500.0 + 100.0 * random.unit());
    let noise = noise.collect();
    vec![
        ("share_of_a_total", shares),
        ("single_precision_of_decimals", single_decimals),
        ("held", held_values),
        ("drift", drift),
        ("single_precision_noise", single_noise),
        ("noise", noise),
    ]
}

fn time_columns(count: usize) -> Vec<(&'static str, Vec<i64>)> {
    let mut random = Random(1_181_783_497_276_652_981);
    let regular = (0..count as i64).map(|i| 1_700_000_000_000 + i * 15_000);
    let regular: Vec<i64> = regular.collect();
    let jittered = regular
        .iter()
        .map(|t| t + (random.next() % 101) as i64 - 50);
    let jittered = jittered.collect();
    vec![("regular", regular), ("jittered_by_50_ms", jittered)]
}

type Decode<T> = fn(&[u8], usize, &mut Vec<T>) -> Result<(), Corrupt>;

fn measure<T>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    column: &[T],
    encode: impl Fn(&[T], &mut Vec<u8>),
    decode: Decode<T>,
) {
    let count = column.len();
    group.throughput(Throughput::Elements(count as u64));
    let mut bytes = Vec::new();
    encode(column, &mut bytes);
    let per_value = bytes.len() as f64 / count as f64;
    eprintln!("{name}, {count}: {per_value:.3} bytes per value");
    let mut out = Vec::new();
    group.bench_function(format!("encode/{name}/{count}"), |b| {
        b.iter(|| {
            out.clear();
            encode(black_box(column), &mut out);
        });
    });
    let mut back = Vec::new();
    group.bench_function(format!("decode/{name}/{count}"), |b| {
        b.iter(|| {
            back.clear();
            decode(black_box(&bytes), count, &mut back)
        });
    });
}

/// Decimals as integers, which reports count.
fn measure_decimals(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, column: &[f64]) {
    let mut bytes = Vec::new();
    values::encode(column, Effort::Quick, &mut bytes);
    let mut numbers = Vec::new();
    group.throughput(Throughput::Elements(column.len() as u64));
    group.bench_function(format!("decode/{name}/{}", column.len()), |b| {
        b.iter(|| {
            numbers.clear();
            values::decode_decimals(black_box(&bytes), column.len(), &mut numbers)
        });
    });
}

/// A block of walks of one and two decimals and counters, all scraped together.
fn measure_block(group: &mut BenchmarkGroup<'_, WallTime>, count: usize) {
    let (_, times) = time_columns(count).swap_remove(0);
    let mut random = Random(7_046_029_254_386_353_087);
    let columns: Vec<Vec<f64>> = (0..SERIES as i32)
        .map(|series| walk(&mut random, count, series % 3))
        .collect();
    let series: Vec<SeriesColumns<'_>> = (0..)
        .zip(&columns)
        .map(|(no, values)| SeriesColumns {
            no: SeriesNo(no),
            times: &times,
            values,
        })
        .collect();
    for (name, effort) in EFFORTS {
        group.throughput(Throughput::Elements((SERIES * count) as u64));
        group.bench_function(format!("encode/{name}/{count}"), |b| {
            b.iter(|| encode_block(black_box(&series), effort));
        });
    }
    let bytes = encode_block(&series, Effort::Quick);
    group.throughput(Throughput::Elements(SERIES as u64));
    group.bench_function(format!("parse/{count}"), |b| {
        b.iter(|| Block::parse(black_box(&bytes)).is_ok());
    });
}

// Not the macros of criterion: they make public functions without documentation.
fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .sample_size(50)
        .configure_from_args();
    let mut group = criterion.benchmark_group("times");
    for count in COUNTS {
        for (name, column) in time_columns(count) {
            measure(&mut group, name, &column, times::encode, times::decode);
        }
    }
    group.finish();
    for (name, effort) in EFFORTS {
        let mut group = criterion.benchmark_group(format!("values_{name}"));
        let encode = |values: &[f64], out: &mut Vec<u8>| values::encode(values, effort, out);
        for count in COUNTS {
            let columns = [decimal_columns(count), full_columns(count)].concat();
            for (name, column) in columns {
                measure(&mut group, name, &column, encode, values::decode);
            }
        }
        group.finish();
    }
    let mut group = criterion.benchmark_group("decimals");
    for count in COUNTS {
        for (name, column) in decimal_columns(count) {
            if name == "one_decimal_walk" || name == "counter" {
                measure_decimals(&mut group, name, &column);
            }
        }
    }
    group.finish();
    let mut group = criterion.benchmark_group("block");
    for count in COUNTS {
        measure_block(&mut group, count);
    }
    group.finish();
    criterion.final_summary();
}
