//! Selectors: series found, their samples decoded once, on all cores, and handed over in a fixed order.

use std::{
    ops::Range,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::{Evaluator, Sink};
use crate::{
    model::{AgentNo, Labels, ReadError, SeriesNo, Window, is_stale_marker},
    query::{
        budget::{Budget, Held},
        column::{ABSENT, is_absent},
        error::QueryError,
        expression::Selector,
        source::{Selected, Source},
        steps::Steps,
    },
};

/// Series that are read before their columns are handed over.
const BATCH_SERIES: usize = 512;
/// Fewer series than this are read by the thread that asks: others would take longer to start.
const PARALLEL_SERIES_MIN: usize = 32;

/// Makes a column of a series' samples, stale markers among them; nothing where no step has a value.
pub(super) type Make<'m> =
    dyn Fn(&[i64], &[f64]) -> Result<Option<Vec<f64>>, QueryError> + Sync + 'm;

/// Values with the room that they take.
type HeldValues = (Vec<f64>, Held);
/// What came of each series of some that were read together.
type Columns = Result<Vec<Option<HeldValues>>, QueryError>;

/// Takes a series with its values.
pub(super) type Read<'r> = dyn FnMut(Labels, HeldValues) -> Result<(), QueryError> + 'r;

impl Evaluator<'_> {
    /// The columns of an instant selector: at every step the newest sample that is not too old.
    pub(super) fn each_instant(
        &self,
        selector: &Selector,
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        self.each_newest(selector, steps, &|_, value| value, false, sink)
    }

    /// The same with something else told of the newest samples than their values.
    pub(super) fn each_newest(
        &self,
        selector: &Selector,
        steps: Steps,
        tell: &(dyn Fn(i64, f64) -> f64 + Sync),
        drop_name: bool,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let moments = self.moments(selector.moment, steps);
        let lookback = self.lookback_ms;
        let make =
            |times: &[i64], values: &[f64]| Ok(newest(times, values, moments, lookback, tell));
        let window = moments.window(lookback);
        self.each_series(
            selector,
            window,
            moments.len(),
            &make,
            &mut |labels, values| sink(self.spread_column(labels, drop_name, values, steps)?),
        )
    }

    /// Reads the samples that a selector finds in a window, of which so many values are made.
    pub(super) fn each_series(
        &self,
        selector: &Selector,
        window: Window,
        points: usize,
        make: &Make<'_>,
        read: &mut Read<'_>,
    ) -> Result<(), QueryError> {
        let found = self.source.select(&selector.matchers, window)?;
        self.budget.add_series(found.len())?;
        let mut rest = found.as_slice();
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(batch_end(rest));
            rest = after;
            let columns = read_batch(self.source, self.budget, batch, window, (points, make))?;
            for (series, values) in batch.iter().zip(columns) {
                if let Some(values) = values {
                    read(series.labels.clone(), values)?;
                }
            }
        }
        Ok(())
    }
}

/// Length of the next batch: it ends where an agent's series end, since blocks hold several of them.
fn batch_end(series: &[Selected]) -> usize {
    let Some(last) = series.get(BATCH_SERIES - 1) else {
        return series.len();
    };
    let rest = &series[BATCH_SERIES..];
    let same_agent = rest.iter().take(7 * BATCH_SERIES);
    BATCH_SERIES + same_agent.take_while(|s| s.agent == last.agent).count()
}

/// Reads some series; answers in their order.
fn read_batch(
    source: &dyn Source,
    budget: &Budget,
    batch: &[Selected],
    window: Window,
    make: (usize, &Make<'_>),
) -> Columns {
    let jobs = jobs_of(batch);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(jobs.len());
    let mut columns: Vec<Option<HeldValues>> = batch.iter().map(|_| None).collect();
    let read = |job: &Range<usize>| read_job(source, budget, &batch[job.clone()], window, make);
    if threads < 2 || batch.len() < PARALLEL_SERIES_MIN {
        for job in &jobs {
            for (place, values) in columns[job.clone()].iter_mut().zip(read(job)?) {
                *place = values;
            }
        }
        return Ok(columns);
    }
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Columns)>> = Mutex::default();
    let work = || {
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let values = read(job);
            if values.is_err() {
                next.store(jobs.len(), Ordering::Relaxed);
            }
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            done.push((job.start, values));
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    for (start, values) in done {
        for (place, values) in columns[start..].iter_mut().zip(values?) {
            *place = values;
        }
    }
    Ok(columns)
}

/// Runs of series of one agent; a series that is stored more than once is a run of its own.
fn jobs_of(batch: &[Selected]) -> Vec<Range<usize>> {
    let mut jobs: Vec<Range<usize>> = Vec::new();
    for (at, series) in batch.iter().enumerate() {
        match jobs.last_mut() {
            Some(job)
                if batch[job.start].agent == series.agent
                    && batch[job.start].others.is_empty()
                    && series.others.is_empty() =>
            {
                job.end = at + 1;
            }
            _ => jobs.push(at..at + 1),
        }
    }
    jobs
}

fn read_job(
    source: &dyn Source,
    budget: &Budget,
    series: &[Selected],
    window: Window,
    make: (usize, &Make<'_>),
) -> Columns {
    let Some(first) = series.first() else {
        return Ok(Vec::new());
    };
    let mut columns: Vec<Option<HeldValues>> = series.iter().map(|_| None).collect();
    let (points, make) = make;
    let mut failed = Ok(());
    let mut take = |at: usize, times: &[i64], values: &[f64]| {
        if failed.is_err() {
            return;
        }
        let made = budget
            .add_samples(times.len())
            .and_then(|()| budget.hold(points))
            .and_then(|held| Ok(make(times, values)?.map(|values| (values, held))));
        match (made, columns.get_mut(at)) {
            (Ok(made), Some(place)) => *place = made,
            (Ok(_), None) => {}
            (Err(error), _) => failed = Err(error),
        }
    };
    if !first.others.is_empty() {
        let (times, values) = merged(source, first, window)?;
        take(0, &times, &values);
        failed?;
        return Ok(columns);
    }
    let mut numbers: Vec<(SeriesNo, usize)> = Vec::with_capacity(series.len());
    numbers.extend(series.iter().enumerate().map(|(at, s)| (s.no, at)));
    numbers.sort_unstable();
    let asked: Vec<SeriesNo> = numbers.iter().map(|(no, _)| *no).collect();
    source.scan(first.agent, &asked, window, &mut |no, times, values| {
        if let Ok(at) = numbers.binary_search_by_key(&no, |(no, _)| *no) {
            take(numbers[at].1, times, values);
        }
    })?;
    failed?;
    Ok(columns)
}

/// Samples of a series that is stored more than once; of two of the same time the one found first holds.
fn merged(
    source: &dyn Source,
    series: &Selected,
    window: Window,
) -> Result<(Vec<i64>, Vec<f64>), ReadError> {
    let mut samples: Vec<(i64, f64)> = Vec::new();
    let mut read = |agent: AgentNo, no: SeriesNo| {
        source.scan(agent, &[no], window, &mut |_, times, values| {
            samples.extend(times.iter().copied().zip(values.iter().copied()));
        })
    };
    read(series.agent, series.no)?;
    for (agent, no) in &series.others {
        read(*agent, *no)?;
    }
    samples.sort_by_key(|(time, _)| *time);
    samples.dedup_by_key(|(time, _)| *time);
    Ok(samples.into_iter().unzip())
}

/// What is told of the newest sample at or before each moment, unless it is `lookback_ms` old or the stale marker.
fn newest(
    times: &[i64],
    values: &[f64],
    moments: Steps,
    lookback_ms: i64,
    tell: &(dyn Fn(i64, f64) -> f64 + Sync),
) -> Option<Vec<f64>> {
    let mut column = vec![ABSENT; moments.len()];
    let mut has_any = false;
    // Samples at or before the moment.
    let mut seen = 0;
    for (place, moment) in column.iter_mut().zip(moments.iter()) {
        while times.get(seen).is_some_and(|time| *time <= moment) {
            seen += 1;
        }
        let Some(at) = seen.checked_sub(1) else {
            continue;
        };
        let (Some(time), Some(value)) = (times.get(at), values.get(at)) else {
            continue;
        };
        if moment - time < lookback_ms && !is_stale_marker(*value) {
            *place = tell(*time, *value);
            has_any = true;
        }
    }
    has_any.then_some(column)
}

/// A series with its samples as they are.
pub(in crate::query) type RawSeries = (Labels, Vec<(i64, f64)>);

/// Samples of a range selector at one moment, stale markers left out.
pub(in crate::query) fn raw_matrix(
    evaluator: &Evaluator<'_>,
    selector: &Selector,
    range_ms: i64,
    at_ms: i64,
) -> Result<Vec<RawSeries>, QueryError> {
    let moments = evaluator.moments(selector.moment, Steps::one(at_ms));
    // Times and values one after the other: there are no steps that columns could be made for.
    let make = |times: &[i64], values: &[f64]| {
        let samples = times
            .iter()
            .zip(values)
            .filter(|(_, value)| !is_absent(**value));
        let flat: Vec<f64> = samples
            .flat_map(|(time, value)| [*time as f64, *value])
            .collect();
        Ok((!flat.is_empty()).then_some(flat))
    };
    let mut found = Vec::new();
    let window = moments.window(range_ms);
    // How many they are is known when they are read; the limit on samples bounds them.
    evaluator.each_series(selector, window, 0, &make, &mut |labels, (flat, _)| {
        let samples = flat.chunks_exact(2).map(|pair| (pair[0] as i64, pair[1]));
        found.push((labels, samples.collect()));
        Ok(())
    })?;
    Ok(found)
}
