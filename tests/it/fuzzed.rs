//! The harnesses of the fuzz targets, driven by property tests; and the lists that name them, compared.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{fs, path::PathBuf};

use longwatch::codec::varint;
use proptest::prelude::*;

use crate::harness::{HARNESSES, blocks, file_sd_yaml, sealed_block};

fn root(path: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), path].iter().collect()
}

/// The good document of a harness.
fn seed(name: &str) -> Vec<u8> {
    fs::read(root("tests/it/seeds").join(name).join("good")).unwrap()
}

/// One change of a document; places are taken modulo its length.
#[derive(Clone, Debug)]
enum Change {
    Put(usize, u8),
    Insert(usize, u8),
    Cut(usize),
    Remove(usize, usize),
    Repeat(usize, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let byte = prop_oneof![
        any::<u8>(),
        prop::sample::select(b"\n\t \"{}[]#,:=-&*\\0".to_vec())
    ];
    let place = any::<usize>();
    prop_oneof![
        (place, byte.clone()).prop_map(|(at, b)| Change::Put(at, b)),
        (place, byte).prop_map(|(at, b)| Change::Insert(at, b)),
        place.prop_map(Change::Cut),
        (place, 1..40_usize).prop_map(|(at, n)| Change::Remove(at, n)),
        (place, 1..40_usize).prop_map(|(at, n)| Change::Repeat(at, n)),
    ]
}

fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        let length = bytes.len();
        let place = |at: &usize| at % (length + 1);
        let range = |at: &usize, n: &usize| place(at)..(place(at) + n).min(length);
        match change {
            Change::Put(at, byte) if length > 0 => bytes[at % length] = *byte,
            Change::Put(..) => {}
            Change::Insert(at, byte) => bytes.insert(place(at), *byte),
            Change::Cut(at) => bytes.truncate(place(at)),
            Change::Remove(at, n) => drop(bytes.drain(range(at, n))),
            Change::Repeat(at, n) => {
                let part = bytes[range(at, n)].to_vec();
                let at = place(at);
                bytes.splice(at..at, part);
            }
        }
    }
    bytes
}

proptest! {
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        for (_, run) in HARNESSES {
            run(&bytes);
        }
    }

    #[test]
    fn changed_documents(changes in prop::collection::vec(change(), 0..8)) {
        for (name, run) in HARNESSES {
            run(&changed(seed(name), &changes));
        }
    }
}

/// Found once by chance: a lone carriage return ends a line of YAML, and of nothing else that is counted.
#[test]
fn places_in_yaml_count_its_line_ends() {
    file_sd_yaml(b" \r\r\0");
    file_sd_yaml(b"\r\n\r\r\n- a: b");
}

/// Found by thinking: numbers of series that add up to more than there are.
#[test]
fn numbers_of_series_do_not_overflow() {
    // One time column, and two series of one value on it.
    let mut directory = vec![1, 1, 0, 0, 2, 2];
    for number in [u64::from(u32::MAX), u64::MAX] {
        varint::put_u64(&mut directory, number);
        directory.extend([0, 0, 1]);
    }
    let mut block = (directory.len() as u16).to_le_bytes().to_vec();
    block.extend(directory);
    block.extend([0, 0, 1, 1]);
    blocks(&block);
}

/// What fuzzing begins with is understood, or it would not get far.
#[test]
fn seeds_are_good_documents() {
    use longwatch::{
        codec::{Block, WalRecord, values},
        config::{TargetLimits, parse_rules, parse_targets},
        ingest::{
            AgentRule, RemoteWriteVersion, SeriesCache, SpanLimits, decompress, parse_otlp_json,
            parse_otlp_metrics_json, parse_otlp_metrics_protobuf, parse_otlp_protobuf, parse_push,
            parse_remote_write, parse_scrape, parse_zipkin,
        },
        model::{Limits, Timestamp},
    };
    let (now, limits) = (Timestamp::from_millis(0), Limits::default());
    for (name, media) in [
        ("exposition_text", "text/plain"),
        ("openmetrics", "application/openmetrics-text"),
        ("json_scrape", "application/json"),
    ] {
        let parsed = parse_scrape(Some(media), &seed(name), now, false, &limits).unwrap();
        assert!(parsed.batch.len() > 3, "{name}");
    }
    assert!(
        parse_push(&seed("json_push"), now, &limits)
            .unwrap()
            .batch
            .len()
            > 3
    );
    assert_eq!(
        decompress(Some("gzip"), &seed("gzip"), 100).unwrap(),
        &b"longwatch\n"[..]
    );
    for (name, path) in [("file_sd_json", "a.json"), ("file_sd_yaml", "a.yml")] {
        let text = String::from_utf8(seed(name)).unwrap();
        let limits = TargetLimits {
            targets_max: 9,
            labels: &limits,
        };
        assert!(
            parse_targets(path.as_ref(), text, &limits).unwrap().len() > 2,
            "{name}"
        );
    }
    let rules = String::from_utf8(seed("rules")).unwrap();
    assert_eq!(parse_rules("r.toml".as_ref(), &rules).unwrap().len(), 5);
    let of_spans = SpanLimits::default();
    for spans in [
        parse_otlp_protobuf(&seed("otlp_protobuf"), &of_spans),
        parse_otlp_json(&seed("otlp_json"), &of_spans),
        parse_zipkin(&seed("zipkin"), &of_spans),
    ] {
        let spans = spans.unwrap();
        assert_eq!((spans.spans.len(), spans.rejected, spans.cut), (3, 0, 0));
    }
    let rule = AgentRule::default();
    for received in [
        parse_remote_write(
            RemoteWriteVersion::V1,
            &seed("remote_write"),
            &rule,
            &limits,
            &SeriesCache::default(),
        )
        .map_err(|error| error.to_string()),
        parse_otlp_metrics_json(&seed("otlp_metrics_json"), &rule, &limits)
            .map_err(|error| error.to_string()),
        parse_otlp_metrics_protobuf(&seed("otlp_metrics_protobuf"), &rule, &limits)
            .map_err(|error| error.to_string()),
    ] {
        let received = received.unwrap();
        assert!(
            received.samples > 1 && received.rejected == 0,
            "{received:?}"
        );
    }
    let promql = String::from_utf8(seed("promql")).unwrap();
    longwatch::query::parse(&promql).unwrap();
    // Columns of three spans, the count first.
    assert_eq!(seed("span_blocks").first(), Some(&3));
    // 300 values of a counter, entropy coded.
    let column = seed("columns");
    assert_eq!(column[..2], 300_u16.to_le_bytes());
    values::decode(&column[2..], 300, &mut Vec::new()).unwrap();
    // Four series: with gaps, with stale markers, with statistics, a counter with a reset.
    let block = sealed_block(&seed("blocks")).unwrap();
    assert_eq!(Block::parse(&block).unwrap().entries().len(), 4);
    let mut record = seed("log_records");
    record.extend(crc32c::crc32c(&record).to_le_bytes());
    assert!(WalRecord::decode(&record).unwrap().samples.len() > 1);
}

#[test]
fn every_harness_is_a_fuzz_target() {
    let names: Vec<_> = HARNESSES.iter().map(|(name, _)| *name).collect();
    let manifest = root("fuzz/Cargo.toml");
    if !manifest.exists() {
        println!("SKIPPED: the fuzz targets are no part of the package");
        return;
    }
    let manifest: toml::Table = fs::read_to_string(manifest).unwrap().parse().unwrap();
    let bins = manifest["bin"].as_array().unwrap();
    let bins: Vec<_> = bins
        .iter()
        .map(|bin| bin["name"].as_str().unwrap())
        .collect();
    assert_eq!(bins, names, "fuzz/Cargo.toml");
    for name in &names {
        let target = fs::read_to_string(root(&format!("fuzz/fuzz_targets/{name}.rs"))).unwrap();
        assert!(target.contains(&format!("harness::{name}(")), "{name}");
    }
    let script = fs::read_to_string(root(".ci/run")).unwrap();
    let list = script
        .lines()
        .find_map(|line| line.trim().strip_prefix("readonly FUZZ_TARGETS=("));
    let list = list.and_then(|list| list.strip_suffix(')')).unwrap();
    assert_eq!(list.split(' ').collect::<Vec<_>>(), names, ".ci/run");
}
