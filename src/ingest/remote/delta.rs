//! Increments as totals.
//!
//! Source of the rules: OpenTelemetry, `metrics/data-model.md`, "Delta-to-Cumulative: Making a Cumulative".

use hashbrown::HashMap;

use super::{
    classic::{Classic, each_sample},
    exponential::Exponential,
    received::{DeltaHistogram, Deltas, REASONS_MAX},
};
use crate::{
    ingest::shown::Shown,
    model::{AgentId, Batch, SeriesKey, Timestamp},
};

/// How long a total waits for its next increment.
const KEPT_MS: i64 = 3_600_000;

/// How often totals that waited too long are sought.
const SWEEP_MS: i64 = 300_000;

/// The same when there may be no room left.
const FULL_SWEEP_MS: i64 = 10_000;

/// Series that a histogram with exponential buckets takes the room of; its buckets take 5 KiB at most.
const HISTOGRAM_ROOM: usize = 64;

/// Totals of series whose senders tell increments.
///
/// An increment must end after the one before it, and must not begin before the first one that its total holds: both
/// would count twice. Between two increments may lie time of which nothing is told. A total that got no increment for
/// an hour is forgotten; the series then begins again, as after a restart of longwatch or of the sender, and functions
/// over counters take that for the reset that it is. A histogram with bounds of its own that change begins with new
/// buckets; one with exponential buckets adds up at the coarsest scale that was told.
///
/// The caller holds it, and tells it each increment once: one that is told again, since what came of it could not be
/// stored, is rejected as a duplicate.
#[derive(Debug)]
pub struct Accumulator {
    agents: HashMap<AgentId, Totals>,
    room: Room,
}

/// How many totals there are, and may be.
#[derive(Debug)]
struct Room {
    taken: usize,
    max: usize,
    swept: Option<Timestamp>,
}

/// Totals of one agent by the keys of their series.
#[derive(Debug, Default)]
struct Totals {
    numbers: HashMap<Box<[u8]>, (Extent, f64)>,
    histograms: HashMap<Box<[u8]>, (Extent, Histogram)>,
}

/// A histogram with exponential buckets.
#[derive(Clone, Debug)]
struct Histogram {
    count: f64,
    sum: Option<f64>,
    buckets: Exponential,
}

/// When what a total holds happened.
#[derive(Clone, Copy, Debug)]
struct Extent {
    /// The beginning of the first increment, if it was told.
    start: Timestamp,
    /// The end of the last increment.
    time: Timestamp,
    /// When that came.
    seen: Timestamp,
}

/// Totals that came of increments.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Accumulated {
    /// The totals, by the times of the increments.
    pub batch: Batch,
    /// Increments that were rejected.
    pub rejected: u64,
    /// Why, each once and with the series: the first ten.
    pub reasons: Vec<String>,
}

impl Accumulator {
    /// Room for the totals of so many series. A histogram with exponential buckets counts as 64.
    pub fn new(series_max: usize) -> Self {
        Self {
            agents: HashMap::new(),
            room: Room {
                taken: 0,
                max: series_max,
                swept: None,
            },
        }
    }

    /// Series whose totals are held.
    pub const fn len(&self) -> usize {
        self.room.taken
    }

    /// Whether no total is held.
    pub const fn is_empty(&self) -> bool {
        self.room.taken == 0
    }

    /// Adds increments, which came at `now`, to the totals.
    pub fn add(&mut self, deltas: &Deltas, now: Timestamp) -> Accumulated {
        let is_full = self.room.taken + deltas.len() > self.room.max;
        let pause = if is_full { FULL_SWEEP_MS } else { SWEEP_MS };
        if self
            .room
            .swept
            .is_none_or(|swept| now.since(swept) >= pause)
        {
            self.sweep(now);
        }
        let mut sum = Accumulated::default();
        if deltas.is_empty() {
            return sum;
        }
        let totals = self.agents.entry(deltas.agent.clone()).or_default();
        let room = &mut self.room;
        let untold = std::iter::repeat(Timestamp::MIN);
        let starts = deltas.starts.iter().copied().chain(untold);
        for (row, start) in deltas.batch.rows().iter().zip(starts) {
            let extent = Extent {
                start,
                time: row.time,
                seen: now,
            };
            let key = deltas.batch.key(row);
            match totals.add_number(room, key, extent, row.value) {
                Ok(total) => sum.batch.push_key(key, row.time, total),
                Err(why) => sum.reject(key, why),
            }
        }
        for delta in &deltas.histograms {
            let added = totals.add_histogram(room, delta, now);
            let pushed = added
                .map_err(str::to_owned)
                .and_then(|total| sum.push_histogram(delta, total));
            if let Err(why) = pushed {
                sum.reject(&delta.key, &why);
            }
        }
        sum
    }

    fn sweep(&mut self, now: Timestamp) {
        let is_kept = |extent: &Extent| now.since(extent.seen) < KEPT_MS;
        let mut taken = 0;
        self.agents.retain(|_, totals| {
            totals.numbers.retain(|_, (extent, _)| is_kept(extent));
            totals.histograms.retain(|_, (extent, _)| is_kept(extent));
            let own = totals.numbers.len() + totals.histograms.len() * HISTOGRAM_ROOM;
            taken += own;
            own > 0
        });
        self.room.taken = taken;
        self.room.swept = Some(now);
    }
}

impl Room {
    fn take(&mut self, room: usize) -> Result<(), &'static str> {
        if self.taken + room > self.max {
            return Err("no room for the total of another series");
        }
        self.taken += room;
        Ok(())
    }
}

impl Totals {
    fn add_number(
        &mut self,
        room: &mut Room,
        key: &[u8],
        extent: Extent,
        value: f64,
    ) -> Result<f64, &'static str> {
        if let Some((known, total)) = self.numbers.get_mut(key) {
            known.extend(extent)?;
            *total += value;
            return Ok(*total);
        }
        room.take(1)?;
        self.numbers.insert(key.into(), (extent, value));
        Ok(value)
    }

    fn add_histogram(
        &mut self,
        room: &mut Room,
        delta: &DeltaHistogram,
        now: Timestamp,
    ) -> Result<&Histogram, &'static str> {
        let extent = Extent {
            start: delta.start,
            time: delta.time,
            seen: now,
        };
        if let Some((known, total)) = self.histograms.get_mut(&delta.key) {
            known.extend(extent)?;
            total.count += delta.count;
            // The sum of all is known only where that of each increment is.
            total.sum = total.sum.zip(delta.sum).map(|(a, b)| a + b);
            total.buckets.add(delta.buckets.clone());
        } else {
            room.take(HISTOGRAM_ROOM)?;
        }
        let (_, total) = self.histograms.entry(delta.key.clone()).or_insert_with(|| {
            let total = Histogram {
                count: delta.count,
                sum: delta.sum,
                buckets: delta.buckets.clone(),
            };
            (extent, total)
        });
        Ok(total)
    }
}

impl Extent {
    fn extend(&mut self, delta: Self) -> Result<(), &'static str> {
        if delta.time <= self.time {
            return Err("an increment does not end after the one before it");
        }
        if delta.start < self.start && delta.start != Timestamp::MIN {
            return Err("an increment begins before the total that it belongs to");
        }
        (self.time, self.seen) = (delta.time, delta.seen);
        Ok(())
    }
}

impl Accumulated {
    fn push_histogram(&mut self, delta: &DeltaHistogram, total: &Histogram) -> Result<(), String> {
        let key = SeriesKey::from_bytes(&delta.key).ok_or("its key is damaged")?;
        let labels: Vec<_> = key.labels().collect();
        let classic = Classic {
            count: total.count,
            sum: total.sum,
            buckets: total.buckets.clone().cumulative(),
        };
        each_sample(key.name(), &labels, &classic, |name, labels, value| {
            let pushed = self.batch.push_exact(name, labels, delta.time, value);
            pushed.map_err(|error| error.to_string())
        })
    }

    fn reject(&mut self, key: &[u8], why: &str) {
        self.rejected += 1;
        if self.reasons.len() < REASONS_MAX {
            let key = SeriesKey::from_bytes(key);
            let shown = key.map(|key| key.to_string()).unwrap_or_default();
            let reason = format!("series {}: {why}", Shown(&shown));
            if !self.reasons.contains(&reason) {
                self.reasons.push(reason);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::KeyBuilder;

    const fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    /// Increments of series `name`: beginning, end, value.
    fn deltas(agent: &str, rows: &[(&str, i64, i64, f64)]) -> Deltas {
        let mut batch = Batch::new();
        for (name, _, time, value) in rows {
            batch.push_exact(name, &mut [], at(*time), *value).unwrap();
        }
        Deltas {
            batch,
            starts: rows.iter().map(|row| at(row.1)).collect(),
            ..Deltas::new(AgentId::new(agent).unwrap())
        }
    }

    fn totals(sum: &Accumulated) -> Vec<(i64, f64)> {
        let rows = sum.batch.rows().iter();
        rows.map(|row| (row.time.as_millis(), row.value)).collect()
    }

    #[test]
    fn increments_add_up_by_series_and_agent() {
        let mut accumulator = Accumulator::new(10);
        let rows = [("m", 0, 10, 5.0), ("m", 10, 20, 2.0), ("n", 0, 20, 1.0)];
        let sum = accumulator.add(&deltas("a", &rows), at(21));
        assert_eq!(totals(&sum), [(10, 5.0), (20, 7.0), (20, 1.0)]);
        let sum = accumulator.add(&deltas("b", &rows[..1]), at(22));
        assert_eq!(totals(&sum), [(10, 5.0)]);
        // A gap, and an increment whose beginning is not told.
        let rows = [
            ("m", 25, 30, 1.0),
            ("m", Timestamp::MIN.as_millis(), 40, 1.0),
        ];
        let sum = accumulator.add(&deltas("a", &rows), at(41));
        assert_eq!(totals(&sum), [(30, 8.0), (40, 9.0)]);
        assert_eq!(accumulator.len(), 3);
    }

    #[test]
    fn what_would_count_twice_is_rejected() {
        let mut accumulator = Accumulator::new(10);
        accumulator.add(&deltas("a", &[("m", 10, 20, 5.0)]), at(20));
        let rows = [
            ("m", 10, 20, 5.0),
            ("m", 0, 15, 1.0),
            ("m", 5, 30, 1.0),
            // Senders that tell the beginning of all their increments.
            ("m", 10, 40, 1.0),
        ];
        let sum = accumulator.add(&deltas("a", &rows), at(40));
        assert_eq!((totals(&sum), sum.rejected), (vec![(40, 6.0)], 3));
        assert_eq!(
            sum.reasons,
            [
                "series `m`: an increment does not end after the one before it",
                "series `m`: an increment begins before the total that it belongs to",
            ]
        );
    }

    #[test]
    fn totals_are_few_and_forgotten_after_an_hour() {
        let mut accumulator = Accumulator::new(1);
        accumulator.add(&deltas("a", &[("m", 0, 10, 5.0)]), at(0));
        let sum = accumulator.add(&deltas("a", &[("n", 0, 10, 5.0)]), at(KEPT_MS - 1));
        assert_eq!(
            sum.reasons,
            ["series `n`: no room for the total of another series"]
        );
        let later = KEPT_MS + FULL_SWEEP_MS;
        let sum = accumulator.add(&deltas("b", &[("n", 0, 10, 5.0)]), at(later));
        assert_eq!((totals(&sum), accumulator.len()), (vec![(10, 5.0)], 1));
        let sum = accumulator.add(&deltas("b", &[("n", 10, 20, 5.0)]), at(later + KEPT_MS));
        assert_eq!(totals(&sum), [(20, 5.0)], "begun again");
    }

    #[test]
    fn histograms_add_up_as_a_whole() {
        let mut key = Vec::new();
        KeyBuilder::append_exact(&mut key, "h", &mut [("z", "1")]).unwrap();
        let delta = |start, time, scale, index, count| DeltaHistogram {
            key: key.as_slice().into(),
            start: at(start),
            time: at(time),
            count,
            sum: Some(2.0),
            buckets: Exponential {
                scale,
                positive: vec![(index, count)],
                ..Exponential::default()
            },
        };
        let mut deltas = deltas("a", &[]);
        deltas.histograms = vec![
            delta(0, 10, 1, 4, 3.0),
            delta(10, 20, 0, 1, 5.0),
            delta(10, 20, 0, 1, 5.0),
        ];
        let mut accumulator = Accumulator::new(HISTOGRAM_ROOM);
        let sum = accumulator.add(&deltas, at(20));
        let lines = sum.batch.rows().iter().map(|row| {
            let key = SeriesKey::from_bytes(sum.batch.key(row)).unwrap();
            format!("{key} {} {}", row.time.as_millis(), row.value)
        });
        assert_eq!(
            lines.collect::<Vec<_>>(),
            [
                r#"h_count{z="1"} 10 3"#,
                r#"h_sum{z="1"} 10 2"#,
                r#"h_bucket{le="2.8284271247461903",z="1"} 10 0"#,
                r#"h_bucket{le="4",z="1"} 10 3"#,
                r#"h_bucket{le="+Inf",z="1"} 10 3"#,
                r#"h_count{z="1"} 20 8"#,
                r#"h_sum{z="1"} 20 4"#,
                r#"h_bucket{le="1",z="1"} 20 0"#,
                r#"h_bucket{le="2",z="1"} 20 5"#,
                r#"h_bucket{le="4",z="1"} 20 8"#,
                r#"h_bucket{le="+Inf",z="1"} 20 8"#,
            ]
        );
        assert_eq!((sum.rejected, accumulator.len()), (1, HISTOGRAM_ROOM));
        let mut full = Accumulator::new(HISTOGRAM_ROOM - 1);
        assert_eq!(full.add(&deltas, at(20)).rejected, 3);
        assert!(full.is_empty());
    }
}
