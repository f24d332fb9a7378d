//! Prometheus remote write, 1.0 and 2.0, without a tree of the message in memory.
//! <https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/>
//!
//! A series whose labels are no good is rejected alone; a message that is damaged is refused as a whole. Labels need
//! not be sorted. Start times are passed over, exemplars counted.

use super::{
    agent_rule::AgentRule,
    classic::push_classic,
    intake::{Intake, Refusal, Series, Temporality, TooMuch, check_time, shown_series},
    native_histogram::{NativeHistogram, native_histogram},
    received::ReceivedMetrics,
    series_cache::SeriesCache,
    wire::{Damage, Message},
    write_v1, write_v2,
};
use crate::model::{Limits, Timestamp};

/// Which message a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteWriteVersion {
    /// `prometheus.WriteRequest`.
    V1,
    /// `io.prometheus.write.v2.Request`.
    V2,
}

/// Why a body of remote write was refused as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRemoteWrite {
    /// It is no such message.
    #[error("the message is damaged at byte {at}: {reason}")]
    Damaged {
        /// Byte of the decompressed body, from 0.
        at: usize,
        /// What is wrong there.
        reason: &'static str,
    },
    /// It holds more than is taken at a time.
    #[error("{0}")]
    Limit(String),
}

impl From<Damage> for BadRemoteWrite {
    fn from(Damage { at, reason }: Damage) -> Self {
        Self::Damaged { at, reason }
    }
}

impl From<TooMuch> for BadRemoteWrite {
    fn from(TooMuch(why): TooMuch) -> Self {
        Self::Limit(why)
    }
}

/// Reads a body, decompressed already (see [`super::unsnappy`]). Native histograms become the series of classic ones.
/// `cache` is one that was never used with another rule or other limits.
///
/// # Errors
/// [`BadRemoteWrite`]; of such a body nothing is taken.
pub fn parse_remote_write(
    version: RemoteWriteVersion,
    body: &[u8],
    rule: &AgentRule,
    limits: &Limits,
    cache: &SeriesCache,
) -> Result<ReceivedMetrics, BadRemoteWrite> {
    let mut intake = Intake::new(rule, limits);
    match version {
        RemoteWriteVersion::V1 => write_v1::read(Message::new(body), &mut intake, cache)?,
        RemoteWriteVersion::V2 => write_v2::read(Message::new(body), &mut intake)?,
    }
    Ok(intake.finish())
}

/// Numbers of the fields of a `TimeSeries`.
pub(super) struct Numbers {
    pub(super) samples: u32,
    pub(super) histograms: u32,
    pub(super) exemplars: u32,
}

/// Labels of one series, and what is wrong with them.
#[derive(Default)]
pub(super) struct Labels<'a> {
    pub(super) pairs: Vec<(&'a str, &'a str)>,
    pub(super) problem: Option<String>,
}

impl<'a> Labels<'a> {
    pub(super) fn clear(&mut self) {
        self.pairs.clear();
        self.problem = None;
    }

    /// Takes a label, or why it is none. More than any series may have are not kept.
    pub(super) fn push(
        &mut self,
        label: Result<(&'a str, &'a str), impl FnOnce() -> String>,
        limits: &Limits,
    ) {
        match label {
            // One more for the metric's name.
            Ok(_) if self.pairs.len() > limits.labels_per_series => {
                self.problem
                    .get_or_insert_with(|| super::intake::too_many_labels(limits));
            }
            Ok(pair) => self.pairs.push(pair),
            Err(why) => {
                self.problem.get_or_insert_with(why);
            }
        }
    }
}

/// Takes the samples of a `TimeSeries` whose labels were read, and returns the series unless it is rejected.
pub(super) fn take_series<'a>(
    intake: &mut Intake<'_>,
    labels: &mut Labels<'a>,
    message: Message<'_>,
    numbers: &Numbers,
) -> Result<Option<Series<'a>>, BadRemoteWrite> {
    let series = match labels.problem.take() {
        Some(problem) => Err(problem),
        None => intake.series(&mut labels.pairs, None),
    };
    match series {
        Ok(series) => {
            take_samples(intake, series, &mut labels.pairs, message, numbers)?;
            Ok(Some(series))
        }
        Err(reason) => {
            let count = count_samples(message, numbers)?;
            let shown = || format!("{}: {reason}", shown_series(None, &labels.pairs));
            intake.received.reject(count, shown);
            Ok(None)
        }
    }
}

/// Counts what is rejected, and reads it: whether a message is damaged does not depend on its labels.
fn count_samples(mut message: Message<'_>, numbers: &Numbers) -> Result<u64, Damage> {
    let mut count = 0;
    while let Some(field) = message.field()? {
        if field.number == numbers.samples {
            sample(field.message()?)?;
        } else if field.number == numbers.histograms {
            let _ = native_histogram(field.message()?)?;
        } else {
            continue;
        }
        count += 1;
    }
    Ok(count)
}

fn take_samples(
    intake: &mut Intake<'_>,
    series: Series<'_>,
    labels: &mut [(&str, &str)],
    mut message: Message<'_>,
    numbers: &Numbers,
) -> Result<(), BadRemoteWrite> {
    // Whether the row that was added last is one of this series.
    let mut is_known = false;
    while let Some(field) = message.field()? {
        let taken = if field.number == numbers.samples {
            let sample = sample(field.message()?)?;
            let taken = take_sample(intake, series, labels, sample, is_known);
            is_known |= taken.is_ok();
            intake.received.samples += u64::from(taken.is_ok());
            taken
        } else if field.number == numbers.histograms {
            is_known = false;
            let taken = native_histogram(field.message()?)?
                .map_err(Refusal::One)
                .and_then(|histogram| take_histogram(intake, series, labels, &histogram));
            intake.received.histograms += u64::from(taken.is_ok());
            taken
        } else {
            intake.received.exemplars += u64::from(field.number == numbers.exemplars);
            Ok(())
        };
        match taken {
            Ok(()) => {}
            Err(Refusal::Body(error)) => return Err(error.into()),
            Err(Refusal::One(reason)) => intake.received.reject(1, || {
                format!("{}: {reason}", shown_series(Some(series.name), labels))
            }),
        }
    }
    Ok(())
}

fn take_sample(
    intake: &mut Intake<'_>,
    series: Series<'_>,
    labels: &mut [(&str, &str)],
    (time, value): (Timestamp, f64),
    is_known: bool,
) -> Result<(), Refusal> {
    check_time(time).map_err(Refusal::One)?;
    if is_known {
        return Ok(intake.push_again(series, (time, value))?);
    }
    let total = Temporality::Cumulative;
    intake.push(series, series.name, labels, total, (time, value))
}

fn take_histogram(
    intake: &mut Intake<'_>,
    series: Series<'_>,
    labels: &[(&str, &str)],
    NativeHistogram { time, classic }: &NativeHistogram,
) -> Result<(), Refusal> {
    push_classic(
        intake,
        series,
        labels,
        Temporality::Cumulative,
        *time,
        classic,
    )
}

/// A `Sample`. The bits of the value stay as they are: one `NaN` is the stale marker.
pub(super) fn sample(mut message: Message<'_>) -> Result<(Timestamp, f64), Damage> {
    let (mut time, mut value) = (0, 0.0);
    while let Some(field) = message.field()? {
        match field.number {
            1 => value = field.double()?,
            2 => time = field.varint()? as i64,
            _ => {}
        }
    }
    Ok((Timestamp::from_millis(time), value))
}
