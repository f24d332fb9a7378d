//! `prometheus.WriteRequest`.
//! <https://github.com/prometheus/prometheus/blob/main/prompb/remote.proto>

use super::{
    intake::{Intake, check_time},
    remote_write::{BadRemoteWrite, Labels, Numbers, sample, take_series},
    series_cache::SeriesCache,
    wire::{Damage, Message},
};
use crate::{
    ingest::SAMPLES_PER_BODY_MAX,
    model::{Limits, METADATA_TEXT_BYTES_MAX, MetricKind, MetricMetadata, Timestamp},
};

/// Labels of more bytes are not remembered.
const LEARNT_LABELS_MAX: usize = 8 << 10;
/// Series that one body teaches; those beyond are learnt from a later one.
const LEARNT_MAX: usize = 20_000;

/// Number of the field of labels.
const LABELS: u32 = 1;

const NUMBERS: Numbers = Numbers {
    samples: 2,
    histograms: 4,
    exemplars: 3,
};

/// Reads a request.
pub(super) fn read(
    mut request: Message<'_>,
    intake: &mut Intake<'_>,
    cache: &SeriesCache,
) -> Result<(), BadRemoteWrite> {
    let mut labels = Labels::default();
    let (mut samples, mut learnt) = (Vec::new(), Vec::new());
    let known = cache.read();
    while let Some(field) = request.field()? {
        match field.number {
            1 => {
                let series = field.message()?;
                let (named, rest) = series.split_leading(LABELS)?;
                let is_plain = plain_samples(rest, &mut samples)?;
                if is_plain && let Some(found) = known.get(named) {
                    intake.push_known(found.known, &samples)?;
                    if found.is_old && learnt.len() < LEARNT_MAX {
                        learnt.push((named.into(), found.known.clone()));
                    }
                    continue;
                }
                labels.clear();
                read_labels(series, &mut labels, intake.limits)?;
                let before = intake.received.samples;
                let taken = take_series(intake, &mut labels, series, &NUMBERS)?;
                let are_taken = intake.received.samples - before == samples.len() as u64;
                if is_plain
                    && are_taken
                    && named.len() <= LEARNT_LABELS_MAX
                    && learnt.len() < LEARNT_MAX
                    && let Some(known) = taken.and_then(|series| intake.last_of(series))
                {
                    learnt.push((named.into(), known));
                }
            }
            3 => {
                let metadata = metadata(field.message()?)?;
                if !metadata.name.is_empty() {
                    intake.tell_all(metadata)?;
                }
            }
            // Nothing would be taken of it, and the sender would never know.
            4 | 5 => return Err(field.damage("the request is one of version 2.0").into()),
            _ => {}
        }
    }
    drop(known);
    cache.learn(learnt);
    Ok(())
}

/// Reads what follows the labels of a series; whether it is samples alone, of times that can be held, and at least one.
fn plain_samples(
    mut rest: Message<'_>,
    samples: &mut Vec<(Timestamp, f64)>,
) -> Result<bool, Damage> {
    samples.clear();
    let mut is_plain = true;
    while let Some(field) = rest.field()? {
        if field.number != NUMBERS.samples {
            is_plain &= field.number > NUMBERS.histograms;
            continue;
        }
        let sample = sample(field.message()?)?;
        is_plain &= check_time(sample.0).is_ok() && samples.len() < SAMPLES_PER_BODY_MAX;
        // What is read in the ordinary way is not collected.
        if is_plain {
            samples.push(sample);
        }
    }
    Ok(is_plain && !samples.is_empty())
}

fn read_labels<'a>(
    mut series: Message<'a>,
    labels: &mut Labels<'a>,
    limits: &Limits,
) -> Result<(), Damage> {
    while let Some(field) = series.field()? {
        if field.number != LABELS {
            continue;
        }
        let mut label = field.message()?;
        let (mut name, mut value) = (&b""[..], &b""[..]);
        while let Some(field) = label.field()? {
            match field.number {
                1 => name = field.message()?.bytes(),
                2 => value = field.message()?.bytes(),
                _ => {}
            }
        }
        let texts = (std::str::from_utf8(name), std::str::from_utf8(value));
        let label = match texts {
            (Ok(name), Ok(value)) => Ok((name, value)),
            (Err(_), _) => Err("the name of a label is no UTF-8".to_owned()),
            (Ok(name), Err(_)) => {
                let label = crate::ingest::shown::Shown(name);
                Err(format!("the value of label {label} is no UTF-8"))
            }
        };
        labels.push(label.map_err(|why| || why), limits);
    }
    Ok(())
}

/// A `MetricMetadata`; texts that are no UTF-8 are mended.
fn metadata(mut message: Message<'_>) -> Result<MetricMetadata, Damage> {
    let mut metadata = MetricMetadata {
        kind: MetricKind::Unknown,
        ..MetricMetadata::default()
    };
    let text = |message: Message<'_>| {
        let bytes = message.bytes();
        let kept = &bytes[..bytes.len().min(METADATA_TEXT_BYTES_MAX)];
        String::from_utf8_lossy(kept).into_owned()
    };
    while let Some(field) = message.field()? {
        match field.number {
            1 => metadata.kind = kind(field.varint()?),
            2 => metadata.name = text(field.message()?),
            4 => metadata.help = text(field.message()?),
            5 => metadata.unit = text(field.message()?),
            _ => {}
        }
    }
    Ok(metadata)
}

/// A `MetricType`, numbered alike in both versions.
pub(super) const fn kind(number: u64) -> MetricKind {
    match number {
        1 => MetricKind::Counter,
        2 => MetricKind::Gauge,
        3 => MetricKind::Histogram,
        4 => MetricKind::GaugeHistogram,
        5 => MetricKind::Summary,
        6 => MetricKind::Info,
        7 => MetricKind::StateSet,
        _ => MetricKind::Unknown,
    }
}
