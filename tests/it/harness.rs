//! What must hold of any bytes: one function per format that somebody else may write.
//!
//! Two drivers call them: the fuzz targets of `fuzz/`, each of which is one line, and the property tests of
//! `fuzzed.rs`, with the same seeds. A new one is a function here, its line in [`HARNESSES`], a file of its
//! name in `seeds/` and in `fuzz/fuzz_targets/`, and its name in `fuzz/Cargo.toml` and `.ci/run`; a test says what is
//! missing.
#![allow(
    dead_code,
    clippy::panic,
    reason = "each fuzz target calls one of them; what does not hold is a panic"
)]

use std::path::Path;

use longwatch::{
    alerts::{Facts, TEXT_BYTES_MAX, fill, read_rule},
    codec::{
        Block, Effort, SERIES_SAMPLES_MAX, SeriesColumns, WalRecord, WalWriter, decode_spans,
        encode_block, encode_spans, values, varint,
    },
    config::{Origin, TargetLimits, parse_rules, parse_targets},
    ingest::{
        Accumulator, AgentRule, BodyError, Parsed, ROW_ERRORS_MAX, Received, ReceivedMetrics,
        RemoteWriteVersion, SPAN_ERRORS_MAX, SeriesCache, SpanLimits, decompress,
        parse_jaeger_json, parse_otlp_json, parse_otlp_metrics_json, parse_otlp_metrics_protobuf,
        parse_otlp_protobuf, parse_push, parse_remote_write, parse_scrape, parse_zipkin,
        resolve_agents, to_jaeger_json, to_otlp_json, to_otlp_protobuf, unsnappy,
    },
    model::{
        AgentId, AgentNo, Limits, Matcher, ReadError, SeriesKey, SeriesNo, Span, Timestamp, Visit,
        Window,
    },
    query::{QueryLimits, QueryRange, Question, Selected, Source, answer, parse, pretty, to_json},
};

/// What must hold of some bytes; panics where it does not.
pub(crate) type Harness = fn(&[u8]);

/// Every harness by its name.
pub(crate) const HARNESSES: [(&str, Harness); 19] = [
    ("exposition_text", exposition_text),
    ("openmetrics", openmetrics),
    ("json_scrape", json_scrape),
    ("json_push", json_push),
    ("gzip", gzip),
    ("file_sd_json", file_sd_json),
    ("file_sd_yaml", file_sd_yaml),
    ("columns", columns),
    ("blocks", blocks),
    ("log_records", log_records),
    ("rules", rules),
    ("otlp_protobuf", otlp_protobuf),
    ("otlp_json", otlp_json),
    ("zipkin", zipkin),
    ("span_blocks", span_blocks),
    ("remote_write", remote_write),
    ("otlp_metrics_protobuf", otlp_metrics_protobuf),
    ("otlp_metrics_json", otlp_metrics_json),
    ("promql", promql),
];

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// Prometheus text 0.0.4.
pub(crate) fn exposition_text(body: &[u8]) {
    scrape("text/plain", body);
}

/// OpenMetrics 1.0.
pub(crate) fn openmetrics(body: &[u8]) {
    scrape("application/openmetrics-text", body);
}

/// The JSON document of a target.
pub(crate) fn json_scrape(body: &[u8]) {
    scrape("application/json", body);
}

fn scrape(media: &str, body: &[u8]) {
    let result = parse_scrape(Some(media), body, NOW, false, &Limits::default());
    check_body(body, &result);
    let Ok(parsed) = result else { return };
    for row in parsed.batch.rows() {
        let key = SeriesKey::from_bytes(parsed.batch.key(row));
        let key = key.unwrap_or_else(|| panic!("a key that cannot be read"));
        for (name, value) in key.labels() {
            let is_owned = matches!(name, "agent_id" | "job" | "instance");
            assert!(!is_owned, "{key} speaks for another");
            assert!(!value.is_empty(), "{key} has an empty label");
        }
    }
}

/// The JSON document of a push.
pub(crate) fn json_push(body: &[u8]) {
    check_body(body, &parse_push(body, NOW, &Limits::default()));
}

fn check_body(body: &[u8], result: &Result<Parsed, BodyError>) {
    match result {
        Ok(parsed) => {
            assert_eq!(parsed.origin.len(), parsed.batch.len());
            assert!(parsed.batch.len() + parsed.errors.len() <= parsed.total);
            assert!(parsed.errors.len() <= ROW_ERRORS_MAX);
        }
        Err(BodyError::Syntax { line, column, .. }) => {
            let lines = body.split(|b| *b == b'\n').count();
            assert!((1..=lines + 1).contains(line), "line {line} of {lines}");
            assert!((1..=body.len() + 1).contains(column), "column {column}");
        }
        Err(_) => {}
    }
}

/// A compressed body.
pub(crate) fn gzip(body: &[u8]) {
    const LIMIT: usize = 1 << 16;
    for encoding in ["gzip", "deflate"] {
        if let Ok(plain) = decompress(Some(encoding), body, LIMIT) {
            assert!(plain.len() <= LIMIT);
        }
    }
}

/// A target file in JSON.
pub(crate) fn file_sd_json(text: &[u8]) {
    let lines = text.split(|b| *b == b'\n').count();
    target_file("targets.json", text, lines);
}

/// A target file in YAML.
pub(crate) fn file_sd_yaml(text: &[u8]) {
    // A line of YAML ends with "\n", "\r\n" or "\r" (YAML 1.2, 5.4).
    let ends = |pair: &[u8]| pair[0] == b'\n' || pair[0] == b'\r' && pair[1] != b'\n';
    let padded = [text, b" "].concat();
    let lines = 1 + padded.windows(2).filter(|pair| ends(pair)).count();
    target_file("targets.yml", text, lines);
}

fn target_file(name: &str, text: &[u8], lines: usize) {
    let text = String::from_utf8_lossy(text).into_owned();
    let is_in_text = |origin: &Origin| matches!(origin, Origin::Place { line, column, .. } if (1..=lines + 1).contains(line) && *column >= 1);
    let limits = Limits::default();
    let limits = TargetLimits {
        targets_max: 100,
        labels: &limits,
    };
    match parse_targets(Path::new(name), text, &limits) {
        Ok(targets) => {
            assert!(targets.len() <= 100);
            for target in targets {
                assert!(is_in_text(&target.origin), "{}", target.origin);
                let url = target.agent.registration.metrics_endpoint;
                let url = url.unwrap_or_else(|| panic!("a target without an endpoint"));
                assert!(url.starts_with("http"), "{url}");
            }
        }
        Err(errors) => {
            for error in errors.iter() {
                assert!(is_in_text(&error.origin), "{error}");
            }
        }
    }
}

/// A column of values behind two bytes that say how many there are, low one first.
pub(crate) fn columns(bytes: &[u8]) {
    let Some((count, column)) = bytes.split_first_chunk() else {
        return;
    };
    let count = usize::from(u16::from_le_bytes(*count));
    let (mut doubles, mut integers) = (Vec::new(), Vec::new());
    let decoded = values::decode(column, count, &mut doubles);
    assert!(doubles.len() <= count);
    assert!(decoded.is_err() || doubles.len() == count);
    let exponent = values::decode_decimals(column, count, &mut integers);
    assert!(integers.len() <= count);
    assert!(decoded.is_ok() || !matches!(exponent, Ok(Some(_))));
}

/// A block without its envelope: two bytes that say how long its directory is, low one first, the directory, and the
/// data. What checksums refuse would tell little of the decoder.
pub(crate) fn blocks(bytes: &[u8]) {
    let _ = series_of(bytes);
    let Some(series) = sealed_block(bytes).as_deref().and_then(series_of) else {
        return;
    };
    let is_ordered = series.is_sorted_by(|a, b| a.0 < b.0)
        && series
            .iter()
            .all(|(_, times, _)| times.is_sorted_by(|a, b| a < b));
    if !is_ordered {
        return;
    }
    let values: Vec<Vec<f64>> = series
        .iter()
        .map(|(_, _, bits)| bits.iter().copied().map(f64::from_bits).collect())
        .collect();
    let columns: Vec<_> = series
        .iter()
        .zip(&values)
        .map(|((no, times, _), values)| SeriesColumns {
            no: *no,
            times,
            values,
        })
        .collect();
    for effort in [Effort::Quick, Effort::Settled] {
        assert!(series_of(&encode_block(&columns, effort)).as_ref() == Some(&series));
    }
}

/// Puts the parts of a block into their envelope.
pub(crate) fn sealed_block(bytes: &[u8]) -> Option<Vec<u8>> {
    let (length, rest) = bytes.split_first_chunk()?;
    let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
    let (directory, data) = rest.split_at(length);
    let mut sealed = vec![1];
    varint::put_bytes(&mut sealed, directory);
    sealed.extend(crc32c::crc32c(&sealed).to_le_bytes());
    sealed.extend(data);
    sealed.extend(crc32c::crc32c(data).to_le_bytes());
    Some(sealed)
}

/// Alert rules in TOML. Each mistake has a place in the text; what is taken reads back from its JSON, and its texts
/// are filled in within bounds.
pub(crate) fn rules(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    match parse_rules(Path::new("r.toml"), text) {
        Ok(found) => {
            for stored in found.into_iter().map(|found| found.rule) {
                let object = serde_json::from_str(&stored.definition);
                let object = object.unwrap_or_else(|e| panic!("no JSON: {e}"));
                assert_eq!(read_rule(&object), Ok(stored.rule.clone()));
                let filled = fill(&stored.rule.description, &Facts::default());
                assert!(filled.len() <= TEXT_BYTES_MAX);
            }
        }
        Err(errors) => {
            for error in errors.iter() {
                let Origin::Place { line, column, .. } = error.origin else {
                    panic!("a mistake without a place: {error}");
                };
                let lines = text.split('\n').count();
                assert!((1..=lines).contains(&line) && column >= 1, "{error}");
            }
        }
    }
}

/// Spans of OTLP in protobuf.
pub(crate) fn otlp_protobuf(body: &[u8]) {
    check_spans(body, parse_otlp_protobuf(body, &SpanLimits::default()));
}

/// Spans of OTLP in JSON.
pub(crate) fn otlp_json(body: &[u8]) {
    check_spans(body, parse_otlp_json(body, &SpanLimits::default()));
}

/// Spans of Zipkin.
pub(crate) fn zipkin(body: &[u8]) {
    check_spans(body, parse_zipkin(body, &SpanLimits::default()));
}

/// What is taken has its agents, and reads back from what is written of it.
fn check_spans(body: &[u8], result: Result<Received, BodyError>) {
    let mut received = match result {
        Ok(received) => received,
        Err(BodyError::Syntax { line, column, .. }) => {
            let lines = body.split(|b| *b == b'\n').count();
            assert!((1..=lines + 1).contains(&line) && column >= 1);
            return;
        }
        Err(_) => return,
    };
    assert!(received.errors.len() <= SPAN_ERRORS_MAX.min(received.rejected));
    resolve_agents(&mut received.spans, None);
    let known = shown(&received.spans);
    let limits = SpanLimits::default();
    let json = to_otlp_json(&received.spans).to_string();
    for again in [
        parse_otlp_json(json.as_bytes(), &limits),
        parse_otlp_protobuf(&to_otlp_protobuf(&received.spans), &limits),
    ] {
        let mut again = again.unwrap_or_else(|error| panic!("{error}"));
        resolve_agents(&mut again.spans, None);
        assert_eq!(shown(&again.spans), known);
    }
    let json = to_jaeger_json(&received.spans).to_string();
    let _ = parse_jaeger_json(json.as_bytes(), &limits);
    for span in &received.spans {
        assert_eq!(AgentId::new(span.agent.as_str()), Ok(span.agent.clone()));
    }
}

/// Spans as texts, in an order of their own: writers put together what one program sent, and NaNs are equal to nothing.
fn shown(spans: &[Span]) -> Vec<String> {
    let mut shown: Vec<_> = spans.iter().map(|span| format!("{span:?}")).collect();
    shown.sort_unstable();
    shown
}

/// Columns of a block of spans, before they are compressed.
pub(crate) fn span_blocks(plain: &[u8]) {
    let agent = AgentId::new("a").unwrap_or_else(|error| panic!("{error}"));
    let packed = zstd::bulk::compress(plain, 1).unwrap_or_else(|error| panic!("{error}"));
    let mut body = vec![1];
    varint::put_u64(&mut body, plain.len() as u64);
    body.extend(packed);
    let checksum = crc32c::crc32c(&body);
    body.extend(checksum.to_le_bytes());
    let Ok(spans) = decode_spans(&body, &agent) else {
        return;
    };
    if spans.is_empty() {
        return;
    }
    let (_, again) = encode_spans(&spans.iter().collect::<Vec<_>>(), 1);
    let again = decode_spans(&again, &agent).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(shown(&again), shown(&spans));
}

/// Both versions of remote write, decompressed and not.
pub(crate) fn remote_write(body: &[u8]) {
    let _ = unsnappy(body, 1 << 20);
    for version in [RemoteWriteVersion::V1, RemoteWriteVersion::V2] {
        let (rule, limits) = (AgentRule::default(), Limits::default());
        let cache = SeriesCache::default();
        let read = parse_remote_write(version, body, &rule, &limits, &cache);
        // What was learnt of series changes nothing.
        let again = parse_remote_write(version, body, &rule, &limits, &cache);
        assert_eq!(format!("{read:?}"), format!("{again:?}"));
        if let Ok(received) = read {
            check_metrics(&received);
        }
    }
}

/// Metrics of OTLP in protobuf.
pub(crate) fn otlp_metrics_protobuf(body: &[u8]) {
    let read = parse_otlp_metrics_protobuf(body, &AgentRule::default(), &Limits::default());
    if let Ok(received) = read {
        check_metrics(&received);
    }
}

/// Metrics of OTLP in JSON.
pub(crate) fn otlp_metrics_json(body: &[u8]) {
    let read = parse_otlp_metrics_json(body, &AgentRule::default(), &Limits::default());
    if let Ok(received) = read {
        check_metrics(&received);
    }
}

/// Series of what is taken have canonical keys whose labels are their sender's.
fn check_metrics(received: &ReceivedMetrics) {
    let mut totals = Accumulator::new(1_000);
    let sums = received
        .deltas
        .iter()
        .map(|deltas| totals.add(deltas, NOW).batch);
    let sums: Vec<_> = sums.collect();
    for batch in received.parts.iter().map(|(_, batch)| batch).chain(&sums) {
        for row in batch.rows() {
            let key = SeriesKey::from_bytes(batch.key(row));
            assert!(key.is_some_and(|key| key.is_exact()));
        }
    }
}

/// A source without series.
struct Nothing;

impl Source for Nothing {
    fn select(&self, _: &[Matcher], _: Window) -> Result<Vec<Selected>, ReadError> {
        Ok(Vec::new())
    }

    fn scan(
        &self,
        _: AgentNo,
        _: &[SeriesNo],
        _: Window,
        _: &mut Visit<'_>,
    ) -> Result<(), ReadError> {
        Ok(())
    }
}

/// An expression: what is read prints as what reads the same, and has an answer or an error.
pub(crate) fn promql(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    let Ok(expression) = parse(text) else {
        return;
    };
    let printed = expression.to_string();
    for again in [printed.clone(), pretty(&expression)] {
        // What is written out may be longer than a query may be.
        if let Ok(again) = parse(&again) {
            assert_eq!(again.to_string(), printed);
        } else {
            assert!(again.len() > text.len(), "{again}");
        }
    }
    let _ = to_json(&expression);
    let range = QueryRange::Steps {
        start_ms: 0,
        end_ms: 10_000,
        step_ms: 5_000,
    };
    let question = Question {
        limits: QueryLimits {
            max_samples: 10_000,
            max_memory: 1 << 20,
            ..QueryLimits::default()
        },
        ..Question::new(text, range)
    };
    let _ = answer(&Nothing, &question);
}

/// Number, times and bits of the values of a series.
type Columns = (SeriesNo, Vec<i64>, Vec<u64>);

/// The series of a block; `None` if some cannot be read.
fn series_of(block: &[u8]) -> Option<Vec<Columns>> {
    let mut block = Block::parse(block).ok()?;
    let entries = block.entries().to_vec();
    let series = entries.iter().map(|entry| {
        assert!(entry.count <= SERIES_SAMPLES_MAX);
        let _ = block.statistics(entry);
        let counted = block.count_within(entry, i64::MIN, i64::MAX);
        let mut decimals = Vec::new();
        let exponent = block.decode_decimals(entry, &mut decimals);
        let (mut times, mut values) = (Vec::new(), Vec::new());
        block.decode(entry, &mut times, &mut values).ok()?;
        assert_eq!((times.len(), values.len()), (entry.count, entry.count));
        assert!(counted.is_ok() && exponent.is_ok());
        assert!(decimals.is_empty() || decimals.len() == entry.count);
        Some((
            entry.no,
            times,
            values.into_iter().map(f64::to_bits).collect(),
        ))
    });
    series.collect()
}

/// A record of the log without its checksum.
pub(crate) fn log_records(bytes: &[u8]) {
    let _ = WalRecord::decode(bytes);
    let mut sealed = bytes.to_vec();
    sealed.extend(crc32c::crc32c(bytes).to_le_bytes());
    let Ok(record) = WalRecord::decode(&sealed) else {
        return;
    };
    let rows: usize = record.samples.iter().map(|(_, rows)| rows.capacity()).sum();
    assert!(rows * 10 <= bytes.len());
    let mut writer = WalWriter::new(record.time);
    for (agent, rows) in &record.samples {
        writer.samples(*agent, rows);
    }
    let again = WalRecord::decode(&writer.finish());
    let again = again.unwrap_or_else(|error| panic!("{error}"));
    // NaNs are equal to nothing.
    let bits = |record: &WalRecord| -> Vec<_> {
        let rows = record
            .samples
            .iter()
            .flat_map(|(agent, rows)| rows.iter().map(|row| (*agent, *row)));
        rows.map(|(agent, (no, time, value))| (agent, no, time, value.to_bits()))
            .collect()
    };
    assert_eq!((again.time, bits(&again)), (record.time, bits(&record)));
}
