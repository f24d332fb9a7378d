//! Remote write: what a request holds, what is rejected, what is bounded.

use prost::Message;

use super::{
    lines,
    prompb::{
        BucketSpan, Count, Exemplar, Histogram, Label, MetadataV2, MetricMetadata, RequestV2,
        Sample, TimeSeries, TimeSeriesV2, WriteRequest, ZeroCount,
    },
    remote_write_random::as_v2,
};
use crate::{
    ingest::remote::{
        AgentRule, BadRemoteWrite, ReceivedMetrics, RemoteWriteVersion, SeriesCache,
        parse_remote_write,
    },
    model::{Limits, MetricKind, STALE_MARKER},
};

pub(super) fn parse(
    version: RemoteWriteVersion,
    body: &[u8],
) -> Result<ReceivedMetrics, BadRemoteWrite> {
    let (rule, limits) = (AgentRule::default(), Limits::default());
    let cache = SeriesCache::default();
    let fresh = parse_remote_write(version, body, &rule, &limits, &cache);
    // What was learnt changes nothing.
    let again = parse_remote_write(version, body, &rule, &limits, &cache);
    assert_eq!(format!("{fresh:?}"), format!("{again:?}"));
    fresh
}

fn v1(timeseries: Vec<TimeSeries>) -> ReceivedMetrics {
    let request = WriteRequest {
        timeseries,
        metadata: Vec::new(),
    };
    parse(RemoteWriteVersion::V1, &request.encode_to_vec()).unwrap()
}

fn labels(pairs: &[(&str, &str)]) -> Vec<Label> {
    let label = |(name, value): &(&str, &str)| Label {
        name: (*name).to_owned(),
        value: (*value).to_owned(),
    };
    pairs.iter().map(label).collect()
}

pub(super) fn sample(timestamp: i64, value: f64) -> Sample {
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
fn the_other_version_is_not_taken_for_an_empty_request() {
    let request = WriteRequest {
        timeseries: vec![series(&[("__name__", "m")], &[sample(1, 1.0)])],
        metadata: Vec::new(),
    };
    let refused = |version, body: &[u8]| parse(version, body).unwrap_err().to_string();
    assert_eq!(
        refused(RemoteWriteVersion::V2, &request.encode_to_vec()),
        "the message is damaged at byte 0: the request is one of version 1.0"
    );
    assert_eq!(
        refused(RemoteWriteVersion::V1, &as_v2(&request).encode_to_vec()),
        "the message is damaged at byte 0: the request is one of version 2.0"
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
