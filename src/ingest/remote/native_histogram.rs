//! Native histograms of remote write; both versions of it write them alike.

use super::{
    classic::Classic,
    exponential::Exponential,
    wire::{Damage, Field, Message, unzigzag},
};
use crate::model::{Timestamp, is_stale_marker};

/// Buckets, spans or bounds of one histogram that are read; Prometheus keeps a few hundred.
const BUCKETS_MAX: usize = 16_384;

/// Scales that Prometheus writes, and the one that stands for bounds of the sender's own.
const SCHEMAS: std::ops::RangeInclusive<i64> = -4..=8;
const CUSTOM_SCHEMA: i64 = -53;

/// A native histogram at one moment.
///
/// It is kept as the series of a classic histogram, [`Exponential::cumulative`] says with what loss; bounds of the
/// sender's own are all kept. The end of a histogram's series (a sum that is the stale marker) ends `_count`, `_sum`
/// and the bucket `+Inf`: which other buckets there were is not told, they end by their age.
pub(super) struct NativeHistogram {
    pub(super) time: Timestamp,
    pub(super) classic: Classic,
}

/// Reads a `Histogram`; the inner error is why it alone is rejected.
pub(super) fn native_histogram(
    message: Message<'_>,
) -> Result<Result<NativeHistogram, String>, Damage> {
    Told::read(message).map(|told| {
        let time = Timestamp::from_millis(told.time_ms);
        super::intake::check_time(time)?;
        let classic = told.classic()?;
        Ok(NativeHistogram { time, classic })
    })
}

/// The fields as they are told.
#[derive(Default)]
struct Told {
    count: f64,
    /// Whether counts are floats, and then none is the difference to the one before.
    is_float: bool,
    sum: f64,
    schema: i64,
    zero_threshold: f64,
    zero_count: f64,
    negative: Side,
    positive: Side,
    time_ms: i64,
    bounds: Few<f64>,
}

/// Buckets on one side of zero.
#[derive(Default)]
struct Side {
    /// The distance to the span before, and the number of buckets.
    spans: Few<(i64, u64)>,
    deltas: Few<i64>,
    counts: Few<f64>,
}

/// A list that stops growing at [`BUCKETS_MAX`], and knows that it did.
struct Few<T> {
    list: Vec<T>,
    is_cut: bool,
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self {
            list: Vec::new(),
            is_cut: false,
        }
    }
}

impl<T> Few<T> {
    fn push(&mut self, item: T) {
        if self.list.len() < BUCKETS_MAX {
            self.list.push(item);
        } else {
            self.is_cut = true;
        }
    }
}

impl Told {
    fn read(mut message: Message<'_>) -> Result<Self, Damage> {
        let mut told = Self::default();
        while let Some(field) = message.field()? {
            match field.number {
                1 => (told.count, told.is_float) = (field.varint()? as f64, false),
                2 => (told.count, told.is_float) = (field.double()?, true),
                3 => told.sum = field.double()?,
                4 => told.schema = field.zigzag()?,
                5 => told.zero_threshold = field.double()?,
                6 => told.zero_count = field.varint()? as f64,
                7 => told.zero_count = field.double()?,
                8 => told.negative.spans.push(span(&field)?),
                9 => field.varints(|n| told.negative.deltas.push(unzigzag(n)))?,
                10 => field.fixed64s(|n| told.negative.counts.push(f64::from_bits(n)))?,
                11 => told.positive.spans.push(span(&field)?),
                12 => field.varints(|n| told.positive.deltas.push(unzigzag(n)))?,
                13 => field.fixed64s(|n| told.positive.counts.push(f64::from_bits(n)))?,
                15 => told.time_ms = field.varint()? as i64,
                16 => field.fixed64s(|n| told.bounds.push(f64::from_bits(n)))?,
                _ => {}
            }
        }
        Ok(told)
    }

    fn classic(self) -> Result<Classic, String> {
        if is_stale_marker(self.sum) {
            return Ok(Classic::of_counts(0.0, None, []).stale());
        }
        if self.schema == CUSTOM_SCHEMA {
            return self.custom();
        }
        if !SCHEMAS.contains(&self.schema) {
            return Err(format!("the schema {} is not known", self.schema));
        }
        let exponential = Exponential {
            scale: self.schema as i32,
            zero_threshold: self.zero_threshold,
            zero_count: self.zero_count,
            positive: self.positive.indexed(self.is_float)?,
            negative: self.negative.indexed(self.is_float)?,
        };
        exponential.check(self.count)?;
        Ok(Classic {
            count: self.count,
            sum: Some(self.sum),
            buckets: exponential.cumulative(),
        })
    }

    /// Buckets with bounds of the sender's own: bucket `i` ends with bound `i`, the one after the last with infinity.
    fn custom(self) -> Result<Classic, String> {
        let bounds = self.bounds.list;
        if self.bounds.is_cut {
            return Err(too_many());
        }
        if !bounds.iter().all(|bound| bound.is_finite()) || !bounds.is_sorted_by(|a, b| a < b) {
            return Err("its bounds are not finite and ascending".to_owned());
        }
        let counts = Exponential {
            positive: self.positive.indexed(self.is_float)?,
            ..Exponential::default()
        };
        counts.check(self.count)?;
        let mut of_bounds = vec![0.0; bounds.len() + 1];
        for (index, count) in counts.positive {
            let place = usize::try_from(index).ok();
            let Some(bucket) = place.and_then(|place| of_bounds.get_mut(place)) else {
                return Err(format!("it has no bound for bucket {index}"));
            };
            *bucket += count;
        }
        let buckets = bounds.into_iter().zip(of_bounds);
        Ok(Classic::of_counts(self.count, Some(self.sum), buckets))
    }
}

impl Side {
    /// The buckets that are not empty, by their number.
    fn indexed(self, is_float: bool) -> Result<Vec<(i64, f64)>, String> {
        if self.spans.is_cut || self.deltas.is_cut || self.counts.is_cut {
            return Err(too_many());
        }
        let mut total = 0i64;
        let deltas = self.deltas.list.into_iter().map(|delta| {
            total = total.saturating_add(delta);
            total as f64
        });
        let mut counts: Box<dyn Iterator<Item = f64>> = if is_float {
            Box::new(self.counts.list.into_iter())
        } else {
            Box::new(deltas)
        };
        let mut buckets = Vec::new();
        let mut index = 0i64;
        for (at, (gap, length)) in self.spans.list.into_iter().enumerate() {
            if at > 0 && gap < 0 {
                return Err("a span of its buckets lies before the one before".to_owned());
            }
            index = index.saturating_add(gap);
            for _ in 0..length {
                let Some(count) = counts.next() else {
                    return Err("its spans have more buckets than it has counts".to_owned());
                };
                if count != 0.0 {
                    buckets.push((index, count));
                }
                index = index.saturating_add(1);
            }
        }
        if counts.next().is_some() {
            return Err("its spans have fewer buckets than it has counts".to_owned());
        }
        Ok(buckets)
    }
}

fn too_many() -> String {
    format!("it has more than {BUCKETS_MAX} buckets")
}

/// A `BucketSpan`.
fn span(field: &Field<'_>) -> Result<(i64, u64), Damage> {
    let mut message = field.message()?;
    let mut span = (0, 0);
    while let Some(field) = message.field()? {
        match field.number {
            1 => span.0 = field.zigzag()?,
            2 => span.1 = field.varint()?,
            _ => {}
        }
    }
    Ok(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn few<T>(list: Vec<T>) -> Few<T> {
        Few {
            list,
            is_cut: false,
        }
    }

    fn side(spans: &[(i64, u64)], deltas: &[i64], counts: &[f64]) -> Side {
        Side {
            spans: few(spans.to_vec()),
            deltas: few(deltas.to_vec()),
            counts: few(counts.to_vec()),
        }
    }

    #[test]
    fn spans_place_the_buckets() {
        let spans = [(-2, 2), (3, 3)];
        let told = side(&spans, &[1, 2, -3, 5, -1], &[]);
        let expected = [(-2, 1.0), (-1, 3.0), (4, 5.0), (5, 4.0)];
        assert_eq!(told.indexed(false).unwrap(), expected);
        let told = side(&spans, &[], &[1.0, 3.0, 0.0, 5.0, 4.0]);
        assert_eq!(told.indexed(true).unwrap(), expected);
        assert!(side(&spans, &[1], &[]).indexed(false).is_err());
        assert!(side(&[(0, 1)], &[1, 1], &[]).indexed(false).is_err());
        assert!(
            side(&[(0, 1), (-1, 1)], &[1, 1], &[])
                .indexed(false)
                .is_err()
        );
        assert!(side(&[(0, u64::MAX)], &[1], &[]).indexed(false).is_err());
    }

    #[test]
    fn integers_floats_and_own_bounds() {
        let told = || Told {
            count: 8.0,
            sum: 20.0,
            zero_count: 1.0,
            positive: side(&[(1, 2)], &[3, 1], &[]),
            ..Told::default()
        };
        let classic = told().classic().unwrap();
        let buckets = [(0.0, 1.0), (1.0, 1.0), (2.0, 4.0), (4.0, 8.0)];
        assert_eq!(classic.buckets, buckets);
        assert_eq!((classic.count, classic.sum), (8.0, Some(20.0)));
        let floats = Told {
            is_float: true,
            positive: side(&[(1, 2)], &[], &[3.0, 4.0]),
            ..told()
        };
        assert_eq!(floats.classic().unwrap().buckets, buckets);
        let custom = |bounds: &[f64], at| Told {
            schema: -53,
            zero_count: 0.0,
            bounds: few(bounds.to_vec()),
            positive: side(&[(at, 2)], &[3, 1], &[]),
            ..told()
        };
        let classic = custom(&[0.5, 1.0, 5.0], 2).classic().unwrap();
        assert_eq!(classic.buckets, [(0.5, 0.0), (1.0, 0.0), (5.0, 3.0)]);
        let refused = |told: Told| told.classic().unwrap_err();
        assert_eq!(refused(custom(&[1.0], 1)), "it has no bound for bucket 2");
        assert_eq!(
            refused(custom(&[2.0, 1.0], 0)),
            "its bounds are not finite and ascending"
        );
        let unknown = Told {
            schema: 9,
            ..told()
        };
        assert_eq!(refused(unknown), "the schema 9 is not known");
        let small = Told {
            count: 7.0,
            ..told()
        };
        assert_eq!(refused(small), "its buckets hold more than its count");
    }

    #[test]
    fn the_end_of_a_histogram_is_told() {
        let told = Told {
            sum: crate::model::STALE_MARKER,
            schema: 3,
            ..Told::default()
        };
        let classic = told.classic().unwrap();
        assert!(is_stale_marker(classic.count) && classic.sum.is_some_and(is_stale_marker));
        assert_eq!(classic.buckets, []);
    }
}
