//! Remote write: what a request holds, what is rejected, what is bounded.

use proptest::prelude::*;
use prost::Message;

use super::prompb::{
    BucketSpan, Count, Exemplar, ExemplarV2, Histogram, Label, MetadataV2, MetricMetadata,
    RequestV2, Sample, TimeSeries, TimeSeriesV2, WriteRequest, ZeroCount,
};
use crate::{
    ingest::remote::{
        AgentRule, BadRemoteWrite, ReceivedMetrics, RemoteWriteVersion, parse_remote_write, snappy,
        unsnappy, write_request_v1,
    },
    model::{Limits, MetricKind, STALE_MARKER, SeriesKey},
};

fn parse(version: RemoteWriteVersion, body: &[u8]) -> Result<ReceivedMetrics, BadRemoteWrite> {
    parse_remote_write(version, body, &AgentRule::default(), &Limits::default())
}

fn v1(timeseries: Vec<TimeSeries>) -> ReceivedMetrics {
    let request = WriteRequest {
        timeseries,
        metadata: Vec::new(),
    };
    parse(RemoteWriteVersion::V1, &request.encode_to_vec()).unwrap()
}

/// `agent series milliseconds value`, in the order of the parts. The bits of `NaN` are shown.
fn lines(received: &ReceivedMetrics) -> Vec<String> {
    let rows = received.parts.iter().flat_map(|(agent, batch)| {
        batch.rows().iter().map(move |row| {
            let key = SeriesKey::from_bytes(batch.key(row)).unwrap();
            assert!(key.is_exact());
            let time = row.time.as_millis();
            if row.value.is_nan() {
                format!("{agent} {key} {time} {:x}", row.value.to_bits())
            } else {
                format!("{agent} {key} {time} {}", row.value)
            }
        })
    });
    rows.collect()
}

fn labels(pairs: &[(&str, &str)]) -> Vec<Label> {
    let label = |(name, value): &(&str, &str)| Label {
        name: (*name).to_owned(),
        value: (*value).to_owned(),
    };
    pairs.iter().map(label).collect()
}

fn sample(timestamp: i64, value: f64) -> Sample {
    Sample {
        value,
        timestamp,
        start_timestamp: 7,
    }
}

fn series(pairs: &[(&str, &str)], samples: &[Sample]) -> TimeSeries {
    TimeSeries {
        labels: labels(pairs),
        samples: samples.to_vec(),
        ..TimeSeries::default()
    }
}

#[test]
fn labels_stay_and_name_the_agent() {
    let received = v1(vec![
        series(
            &[("__name__", "up"), ("instance", "h:1"), ("job", "api")],
            &[sample(1, 1.0), sample(2, STALE_MARKER), sample(2, 0.0)],
        ),
        // Neither sorted nor without empty labels.
        series(
            &[
                ("job", "api"),
                ("empty", ""),
                ("__name__", "a b"),
                ("instance", "h:1"),
            ],
            &[sample(-3, f64::INFINITY)],
        ),
        series(
            &[("__name__", "m")],
            &[sample(4, f64::from_bits(0x7ff8_0000_0000_0001))],
        ),
    ]);
    assert_eq!(
        lines(&received),
        [
            r#"api/h:1 up{instance="h:1",job="api"} 1 1"#,
            r#"api/h:1 up{instance="h:1",job="api"} 2 7ff0000000000002"#,
            r#"api/h:1 up{instance="h:1",job="api"} 2 0"#,
            r#"api/h:1 a b{instance="h:1",job="api"} -3 inf"#,
            "remote m 4 7ff8000000000001",
        ]
    );
    assert_eq!((received.samples, received.rejected), (5, 0));
    assert_eq!(received.message(), "");
}

#[test]
fn bad_series_are_rejected_alone() {
    let good = || series(&[("__name__", "m")], &[sample(1, 1.0)]);
    let mut bad = series(&[("job", "j")], &[sample(1, 1.0), sample(2, 1.0)]);
    bad.histograms = vec![Histogram::default()];
    let far = i64::MAX;
    let received = v1(vec![
        good(),
        bad,
        series(
            &[("__name__", "m"), ("a", "1"), ("a", "2")],
            &[sample(1, 1.0)],
        ),
        series(&[("__name__", "m"), ("", "1")], &[sample(1, 1.0)]),
        series(&[("__name__", "m"), ("\0", "1")], &[sample(1, 1.0)]),
        series(&[("__name__", "m"), ("agent_id", "x\n")], &[sample(1, 1.0)]),
        series(
            &[("__name__", "late")],
            &[sample(far, 1.0), sample(5, 2.0), sample(6, 3.0)],
        ),
        good(),
    ]);
    assert_eq!(
        lines(&received),
        [
            "remote m 1 1",
            "remote late 5 2",
            "remote late 6 3",
            "remote m 1 1"
        ]
    );
    assert_eq!((received.samples, received.rejected), (4, 8));
    assert_eq!(
        received.reasons,
        [
            r#"series `{job="j"}`: it has no label `__name__`"#,
            r#"series `m{a="1",a="2"}`: label `a` is given twice"#,
            r#"series `m{="1"}`: a label name must not be empty"#,
            r#"series `m{\u{0}="1"}`: a label name must not be the character NUL"#,
            r#"series `m{agent_id="x\n"}`: its labels name the agent `x\n`: an agent id must not contain control characters (byte 1)"#,
            "series `late`: the time 9223372036854775807 ms lies beyond the years 0 to 9999",
        ]
    );
}

#[test]
fn texts_that_are_no_utf_8_reject_their_series() {
    // prost writes no such text.
    let one = series(&[("__name__", "m"), ("a", "XY")], &[sample(1, 1.0)]);
    let two = series(&[("__name__", "m"), ("XY", "a")], &[sample(1, 1.0)]);
    let request = WriteRequest {
        timeseries: vec![one, two],
        metadata: Vec::new(),
    };
    let mut body = request.encode_to_vec();
    for at in 1..body.len() {
        if body[at - 1..=at] == *b"XY" {
            body[at] = 0xff;
        }
    }
    let received = parse(RemoteWriteVersion::V1, &body).unwrap();
    assert_eq!(received.rejected, 2);
    assert_eq!(
        received.reasons,
        [
            "series `m`: the value of label `a` is no UTF-8",
            "series `m`: the name of a label is no UTF-8",
        ]
    );
    let request = RequestV2 {
        symbols: ["", "__name__", "m", "XY"].map(str::to_owned).to_vec(),
        timeseries: [
            vec![1, 2, 3, 2],
            vec![1, 2, 4, 2],
            vec![1, 2, 1],
            vec![1, 2],
        ]
        .map(|labels_refs| TimeSeriesV2 {
            labels_refs,
            samples: vec![sample(1, 1.0)],
            ..TimeSeriesV2::default()
        })
        .to_vec(),
    };
    let mut body = request.encode_to_vec();
    let at = body.windows(2).position(|pair| pair == b"XY").unwrap();
    body[at] = 0xff;
    let received = parse(RemoteWriteVersion::V2, &body).unwrap();
    assert_eq!((received.samples, received.rejected), (1, 3));
    assert_eq!(
        received.reasons,
        [
            "series `m`: symbol 3 is no UTF-8",
            "series `m`: a label refers to symbol 4, and there are 4",
            "series `m`: a label has a name and no value",
        ]
    );
}

#[test]
fn metadata_is_told_once() {
    let request = WriteRequest {
        timeseries: Vec::new(),
        metadata: vec![
            MetricMetadata {
                kind: 3,
                metric_family_name: "h".to_owned(),
                help: "Help".to_owned(),
                unit: "seconds".to_owned(),
            },
            MetricMetadata::default(),
        ],
    };
    let received = parse(RemoteWriteVersion::V1, &request.encode_to_vec()).unwrap();
    let told = &received.metadata[0];
    assert_eq!((&*told.name, told.kind), ("h", MetricKind::Histogram));
    assert_eq!((&*told.help, &*told.unit), ("Help", "seconds"));
    assert_eq!(received.metadata.len(), 1);

    let symbols = [
        "", "__name__", "h_bucket", "h_count", "job", "a", "b", "Help", "s",
    ];
    let told = |labels_refs: &[u32], kind, help_ref| TimeSeriesV2 {
        labels_refs: labels_refs.to_vec(),
        samples: vec![sample(1, 1.0)],
        metadata: Some(MetadataV2 {
            kind,
            help_ref,
            unit_ref: 8,
        }),
        ..TimeSeriesV2::default()
    };
    let request = RequestV2 {
        symbols: symbols.map(str::to_owned).to_vec(),
        timeseries: vec![
            told(&[1, 2, 4, 5], 3, 7),
            told(&[1, 3, 4, 5], 3, 99),
            told(&[1, 3, 4, 6], 1, 99),
        ],
    };
    let received = parse(RemoteWriteVersion::V2, &request.encode_to_vec()).unwrap();
    let told = received.parts.iter().flat_map(|(agent, batch)| {
        let told = batch.metadata.iter();
        told.map(move |told| {
            format!(
                "{agent} {} {} {}|{}",
                told.name, told.kind, told.help, told.unit
            )
        })
    });
    assert_eq!(
        told.collect::<Vec<_>>(),
        ["a h histogram Help|s", "b h_count counter |s"]
    );
}

#[test]
fn native_histograms_become_classic_ones() {
    let histogram = Histogram {
        count: Some(Count::Int(7)),
        sum: 12.5,
        schema: 0,
        zero_count: Some(ZeroCount::Int(1)),
        negative_spans: vec![BucketSpan {
            offset: 0,
            length: 1,
        }],
        negative_deltas: vec![2],
        positive_spans: vec![BucketSpan {
            offset: 1,
            length: 2,
        }],
        positive_deltas: vec![1, 2],
        timestamp: 9,
        ..Histogram::default()
    };
    let stale = Histogram {
        sum: STALE_MARKER,
        timestamp: 10,
        ..Histogram::default()
    };
    let bad = Histogram {
        schema: 99,
        ..stale.clone()
    };
    let mut with = series(&[("__name__", "h"), ("job", "j")], &[]);
    with.histograms = vec![histogram.clone(), stale, Histogram { sum: 0.0, ..bad }];
    with.exemplars = vec![Exemplar::default()];
    let mut own_le = series(&[("__name__", "h"), ("le", "1")], &[]);
    own_le.histograms = vec![histogram];
    let received = v1(vec![with, own_le]);
    assert_eq!(
        lines(&received),
        [
            r#"j h_count{job="j"} 9 7"#,
            r#"j h_sum{job="j"} 9 12.5"#,
            r#"j h_bucket{job="j",le="-1"} 9 0"#,
            r#"j h_bucket{job="j",le="-0.5"} 9 2"#,
            r#"j h_bucket{job="j",le="0"} 9 3"#,
            r#"j h_bucket{job="j",le="1"} 9 3"#,
            r#"j h_bucket{job="j",le="2"} 9 4"#,
            r#"j h_bucket{job="j",le="4"} 9 7"#,
            r#"j h_bucket{job="j",le="+Inf"} 9 7"#,
            r#"j h_count{job="j"} 10 7ff0000000000002"#,
            r#"j h_sum{job="j"} 10 7ff0000000000002"#,
            r#"j h_bucket{job="j",le="+Inf"} 10 7ff0000000000002"#,
        ]
    );
    let counts = (received.samples, received.histograms, received.exemplars);
    assert_eq!((counts, received.rejected), ((0, 2, 1), 2));
    assert_eq!(
        received.reasons,
        [
            r#"series `h{job="j"}`: the schema 99 is not known"#,
            r#"series `h{le="1"}`: a histogram must not have a label `le` of its own"#,
        ]
    );
}

#[test]
fn damage_is_refused_with_its_place() {
    for (body, message) in [
        (
            &b"\x0a\x05\x0a\x03\x0a\x09a"[..],
            "the message is damaged at byte 6: a field is longer than what is left of its message",
        ),
        (
            b"\x0a\x02\x12\x09",
            "the message is damaged at byte 4: a field is longer than what is left of its message",
        ),
        (
            b"\x0a\x04\x12\x02\x08\x01",
            "the message is damaged at byte 4: a field is no number of 64 bits",
        ),
        (
            b"0",
            "the message is damaged at byte 1: a number does not end",
        ),
        (
            b"\x10\x01\x17",
            "the message is damaged at byte 2: a field has a wire type that is not in use",
        ),
    ] {
        let error = parse(RemoteWriteVersion::V1, body).unwrap_err();
        assert_eq!(error.to_string(), message, "{body:?}");
    }
}

/// Little of the body may not make much in memory.
#[test]
fn what_a_body_makes_is_bounded() {
    // Sixteen labels of one long symbol, again and again: 60 bytes make 64 KiB.
    let mut symbols = vec![String::new(), "__name__".to_owned(), "v".repeat(4096)];
    symbols.extend((0..16).map(|i| format!("l{i}")));
    symbols.extend((0..10_000).map(|i| format!("m{i}")));
    let timeseries = (0..10_000).map(|i| TimeSeriesV2 {
        labels_refs: [1, 19 + i]
            .into_iter()
            .chain((3..19).flat_map(|label| [label, 2]))
            .collect(),
        samples: vec![sample(1, 1.0)],
        ..TimeSeriesV2::default()
    });
    let request = RequestV2 {
        symbols,
        timeseries: timeseries.collect(),
    };
    let refused = |body: &[u8]| parse(RemoteWriteVersion::V2, body).unwrap_err().to_string();
    assert_eq!(
        refused(&request.encode_to_vec()),
        "the names and labels of the body take more than 128 MiB; send it in parts"
    );
    assert_eq!(
        refused(&b"\x22\x00".repeat((1 << 20) + 1)),
        "the request has more than 1048576 symbols; send it in parts"
    );
    let many = series(&[("__name__", "m")], &vec![Sample::default(); 2_000_001]);
    let request = WriteRequest {
        timeseries: vec![many],
        metadata: Vec::new(),
    };
    let error = parse(RemoteWriteVersion::V1, &request.encode_to_vec()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the body makes more than 2000000 samples; send it in parts"
    );
    // Labels without end are not even read.
    let endless = series(&vec![("a", "b"); 100_000], &[sample(1, 1.0)]);
    assert_eq!(
        v1(vec![endless]).reasons[0].split(": ").nth(1),
        Some("it has more labels than the limit of 64")
    );
}

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
fn as_v2(request: &WriteRequest) -> RequestV2 {
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
