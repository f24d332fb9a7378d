//! Remote write of random requests, compared with prost, and of damaged ones.

use proptest::prelude::*;
use prost::Message;

use super::{
    lines,
    prompb::{
        BucketSpan, Count, Exemplar, ExemplarV2, Histogram, Label, RequestV2, Sample, TimeSeries,
        TimeSeriesV2, WriteRequest,
    },
    remote_write::{parse, sample},
};
use crate::{
    ingest::remote::{RemoteWriteVersion, snappy, unsnappy, write_request_v1},
    model::{STALE_MARKER, SeriesKey},
};

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-c]{1,2}", "\\PC{0,5}"]
}

fn any_samples() -> impl Strategy<Value = Vec<Sample>> {
    let value = prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        Just(0.0),
        Just(STALE_MARKER)
    ];
    let time = prop_oneof![
        any::<i64>(),
        -5..5i64,
        1_700_000_000_000..1_700_000_100_000i64
    ];
    let sample = (value, time).prop_map(|(value, timestamp)| sample(timestamp, value));
    prop::collection::vec(sample, 0..4)
}

fn any_histogram() -> impl Strategy<Value = Histogram> {
    let schema = prop_oneof![-4..9i32, Just(-53), any::<i32>()];
    let spans = prop::collection::vec((-3..5i32, 0..4u32), 0..3);
    let spans = spans.prop_map(|spans| {
        let span = |(offset, length)| BucketSpan { offset, length };
        spans.into_iter().map(span).collect::<Vec<_>>()
    });
    let buckets = (spans, prop::collection::vec(-1..5i64, 0..6));
    let (is_float, bounds) = (any::<bool>(), prop::collection::vec(-4.0..9.0, 0..5));
    (schema, buckets, 0..40u64, is_float, bounds, 0..9i64).prop_map(
        |(schema, (spans, deltas), count, is_float, custom_values, timestamp)| Histogram {
            count: Some(if is_float {
                Count::Float(count as f64)
            } else {
                Count::Int(count)
            }),
            schema,
            positive_counts: deltas.iter().map(|delta| *delta as f64).collect(),
            positive_deltas: deltas,
            positive_spans: spans,
            timestamp,
            custom_values,
            ..Histogram::default()
        },
    )
}

fn any_series() -> impl Strategy<Value = TimeSeries> {
    let name = prop_oneof![3 => "[a-c]", 1 => Just(String::new())];
    let pairs = prop::collection::vec((text(), text()), 0..4);
    let histograms = prop::collection::vec(any_histogram(), 0..2);
    (name, pairs, any_samples(), histograms, 0..3usize).prop_map(
        |(name, pairs, samples, histograms, exemplars)| {
            let name = ("__name__".to_owned(), name);
            let label = |(name, value)| Label { name, value };
            TimeSeries {
                labels: [name].into_iter().chain(pairs).map(label).collect(),
                samples,
                exemplars: vec![Exemplar::default(); exemplars],
                histograms,
            }
        },
    )
}

/// The same request in the other version.
pub(super) fn as_v2(request: &WriteRequest) -> RequestV2 {
    let mut symbols = vec![String::new()];
    let mut number = |text: &String| {
        let known = symbols.iter().position(|symbol| symbol == text);
        let at = known.unwrap_or_else(|| {
            symbols.push(text.clone());
            symbols.len() - 1
        });
        u32::try_from(at).unwrap()
    };
    let timeseries = request.timeseries.iter().map(|series| TimeSeriesV2 {
        labels_refs: series
            .labels
            .iter()
            .flat_map(|label| [number(&label.name), number(&label.value)])
            .collect(),
        samples: series.samples.clone(),
        histograms: series.histograms.clone(),
        exemplars: vec![ExemplarV2::default(); series.exemplars.len()],
        metadata: None,
        created_timestamp: 3,
    });
    RequestV2 {
        timeseries: timeseries.collect(),
        symbols,
    }
}

/// What prost makes of a request without histograms, as [`lines`].
fn by_prost(body: &[u8]) -> Vec<String> {
    let request = WriteRequest::decode(body).unwrap();
    let mut parts: Vec<(String, Vec<String>)> = Vec::new();
    for series in request.timeseries {
        let get = |name: &str| {
            let mut found = series
                .labels
                .iter()
                .filter(|l| l.name == name && !l.value.is_empty());
            found.next().map(|label| label.value.as_str())
        };
        let pairs: Vec<_> = series
            .labels
            .iter()
            .map(|l| (&*l.name, &*l.value))
            .collect();
        let others: Vec<_> = pairs
            .iter()
            .copied()
            .filter(|(k, _)| *k != "__name__")
            .collect();
        let names: std::collections::BTreeSet<_> = pairs.iter().map(|pair| pair.0).collect();
        let is_named = names.len() == pairs.len() && !names.contains("");
        let key = get("__name__").filter(|_| is_named);
        let Some(Ok(key)) = key.map(|name| SeriesKey::new(name, &others)) else {
            continue;
        };
        let agent = get("agent_id").unwrap_or("remote").to_owned();
        let at = parts
            .iter()
            .position(|part| part.0 == agent)
            .unwrap_or_else(|| {
                parts.push((agent.clone(), Vec::new()));
                parts.len() - 1
            });
        for Sample {
            value, timestamp, ..
        } in series.samples
        {
            if !(-62_167_219_200_000..=253_402_300_799_999).contains(&timestamp) {
                continue;
            }
            let value = if value.is_nan() {
                format!("{:x}", value.to_bits())
            } else {
                value.to_string()
            };
            parts[at]
                .1
                .push(format!("{agent} {key} {timestamp} {value}"));
        }
    }
    parts.into_iter().flat_map(|part| part.1).collect()
}

proptest! {
    #[test]
    fn the_reader_agrees_with_prost(mut timeseries in prop::collection::vec(any_series(), 0..5)) {
        for series in &mut timeseries {
            series.histograms.clear();
        }
        let total: usize = timeseries.iter().map(|series| series.samples.len()).sum();
        let request = WriteRequest { timeseries, metadata: Vec::new() };
        let body = request.encode_to_vec();
        let received = parse(RemoteWriteVersion::V1, &body).unwrap();
        prop_assert_eq!(lines(&received), by_prost(&body));
        prop_assert_eq!(received.samples + received.rejected, total as u64);
    }

    #[test]
    fn both_versions_say_the_same(timeseries in prop::collection::vec(any_series(), 0..5)) {
        let request = WriteRequest { timeseries, metadata: Vec::new() };
        let one = parse(RemoteWriteVersion::V1, &request.encode_to_vec()).unwrap();
        let two = parse(RemoteWriteVersion::V2, &as_v2(&request).encode_to_vec()).unwrap();
        prop_assert_eq!(lines(&one), lines(&two));
        prop_assert_eq!(one.message(), two.message());
        prop_assert_eq!((one.samples, one.histograms, one.exemplars), (two.samples, two.histograms, two.exemplars));
    }

    #[test]
    fn what_is_sent_on_is_read_again(
        series in prop::collection::vec((prop::collection::btree_map("[b-z]{1,3}", "\\PC{1,4}", 0..4), any_samples()), 0..5),
    ) {
        let columns: Vec<(Vec<i64>, Vec<f64>)> = series
            .iter()
            .map(|(_, samples)| samples.iter().map(|s| (s.timestamp, s.value)).unzip())
            .collect();
        let written = write_request_v1(series.iter().zip(&columns).map(|((labels, _), (times, values))| {
            let labels = labels.iter().map(|(k, v)| (k.as_str(), v.as_str()));
            ([("__name__", "m")].into_iter().chain(labels), times.as_slice(), values.as_slice())
        }));
        let request = WriteRequest {
            timeseries: series
                .iter()
                .map(|(labels, samples)| TimeSeries {
                    labels: [("__name__".to_owned(), "m".to_owned())]
                        .into_iter()
                        .chain(labels.clone())
                        .map(|(name, value)| Label { name, value })
                        .collect(),
                    samples: samples.iter().map(|s| Sample { start_timestamp: 0, ..s.clone() }).collect(),
                    ..TimeSeries::default()
                })
                .collect(),
            metadata: Vec::new(),
        };
        prop_assert_eq!(&written, &request.encode_to_vec());
        let body = unsnappy(&snappy(&written).unwrap(), written.len()).unwrap();
        let received = parse(RemoteWriteVersion::V1, &body).unwrap();
        prop_assert_eq!(lines(&received), by_prost(&body));
    }

    #[test]
    fn arbitrary_bytes_are_survived(
        body in prop::collection::vec(any::<u8>(), 0..300),
        timeseries in prop::collection::vec(any_series(), 0..3),
        at: prop::sample::Index,
        to: u8,
    ) {
        let request = WriteRequest { timeseries, metadata: Vec::new() };
        let (mut one, mut two) = (request.encode_to_vec(), as_v2(&request).encode_to_vec());
        for body in [&mut one, &mut two] {
            if !body.is_empty() {
                let at = at.index(body.len());
                body[at] = to;
            }
        }
        for (version, body) in [
            (RemoteWriteVersion::V1, &body),
            (RemoteWriteVersion::V2, &body),
            (RemoteWriteVersion::V1, &one),
            (RemoteWriteVersion::V2, &two),
        ] {
            if let Ok(received) = parse(version, body) {
                // A sample takes two bytes at least, a histogram makes few samples.
                let rows: usize = received.parts.iter().map(|(_, batch)| batch.len()).sum();
                prop_assert!(rows <= 200 * body.len());
            }
        }
    }
}
