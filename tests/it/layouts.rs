//! The same data in six layouts of the file gives the same report, to the byte.

use std::{path::Path, sync::Arc};

use longwatch::{
    model::{
        AgentId, Batch, Contact, DAY_MS, ManualClock, Registration, RegistrationSource,
        STALE_MARKER, Timestamp, Window, names,
    },
    report::{self, Format, ReportRequest},
    store::{self, Append, Settings, Store, Urgency, View},
    telemetry::OwnMetrics,
};

const NOW: i64 = 20_000 * DAY_MS + DAY_MS / 2;
const STEP_MS: i64 = 60_000;
/// Minutes of data: a whole UTC day, and half a day on either side.
const MINUTES: i32 = 38 * 60;
/// The agents are known from here on, so that their silence counts.
const REGISTERED: i64 = NOW - 40 * 3_600_000;

type Row = (&'static str, i64, f64);

fn open(path: &Path) -> Store {
    open_at(
        path,
        Arc::new(ManualClock::new(Timestamp::from_millis(NOW))),
    )
}

fn open_at(path: &Path, clock: Arc<ManualClock>) -> Store {
    Store::open(
        path,
        Settings {
            disk_reserve: Some(0),
            ..Settings::default()
        },
        clock,
        Arc::new(OwnMetrics::default()),
    )
    .unwrap()
}

fn agent(number: usize) -> AgentId {
    AgentId::new(&format!("agent-{number}")).unwrap()
}

/// Three agents: values whose sum depends on the order of adding, gaps, NaNs, markers, counters with
/// resets and fractions.
fn data() -> Vec<Vec<Row>> {
    (0..3)
        .map(|number| {
            let mut rows = Vec::new();
            for minute in (1..MINUTES).rev() {
                if (minute / 50 + number) % 11 == 3 {
                    continue;
                }
                let time = NOW - i64::from(minute) * STEP_MS;
                let noise = (minute * 7919 + number * 104_729) % 1_000;
                let cpu = 30.0 + 25.0 * f64::from(number) + f64::from(noise) / 30.0;
                rows.push((names::SYSTEM_CPU_USAGE, time, cpu));
                let memory = match minute % 97 {
                    0 => f64::NAN,
                    1 => STALE_MARKER,
                    _ => 1e-3 + f64::from(noise) / 10.0,
                };
                rows.push((names::SYSTEM_MEMORY_USAGE, time, memory));
                // Alerts depend on the order of arrival, so nothing here raises one.
                rows.push((names::UP, time, 1.0));
                rows.push(("queue_depth", time + i64::from(noise), f64::from(noise)));
                // Of agent 1 with a reset every few hours, of agent 2 now and then a little less.
                let since = match number {
                    0 => MINUTES - minute,
                    1 => (MINUTES - minute) % 170,
                    _ => MINUTES - minute - noise / 300,
                };
                let sent = f64::from(since) * 1_000.1;
                rows.push((names::NETWORK_BYTES_SENT, time, sent));
            }
            rows
        })
        .collect()
}

fn append(store: &Store, number: usize, rows: &[Row]) {
    let mut batch = Batch::new();
    for (name, time, value) in rows {
        batch
            .push(name, &mut [], Timestamp::from_millis(*time), *value)
            .unwrap();
    }
    let append = Append {
        agent: agent(number),
        batch,
        contact: None,
        urgency: Urgency::Prompt,
    };
    assert_eq!(store.append_blocking(append).unwrap().accepted, rows.len());
}

/// A store whose agents were registered long ago and are reached now, so that every layout has the same
/// agents and nothing raises an alert while it fills up.
fn furnished(path: &Path) -> Store {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(REGISTERED)));
    let store = open_at(path, Arc::clone(&clock));
    for number in 0..3 {
        store
            .register_blocking(agent(number), Registration::bare(RegistrationSource::Push))
            .unwrap();
    }
    clock.set(Timestamp::from_millis(NOW));
    for number in 0..3 {
        let mut batch = Batch::new();
        batch
            .push(names::UP, &mut [], Timestamp::from_millis(NOW), 1.0)
            .unwrap();
        let contact = Some(Contact::Push);
        let append = Append {
            agent: agent(number),
            batch,
            contact,
            urgency: Urgency::Prompt,
        };
        store.append_blocking(append).unwrap();
    }
    store
}

/// A day in each format, all there is with the whole day in it, and how two half days differ.
fn reports(view: &View) -> Vec<String> {
    let request = |hours: i64| ReportRequest {
        window: Window::ending_at(Timestamp::from_millis(NOW), hours * 3_600_000),
        agent: None,
    };
    let day = report::performance_report(&**view, &request(24)).unwrap();
    let all = report::performance_report(&**view, &request(39)).unwrap();
    let changes = report::report_with_previous(&**view, &request(12)).unwrap();
    [
        (&day, Format::Json),
        (&day, Format::Text),
        (&day, Format::Markdown),
        (&day, Format::Csv),
        (&day, Format::Html),
        (&all, Format::Json),
        (&changes, Format::Json),
    ]
    .into_iter()
    .map(|(report, format)| report::render(&**view, report, format).unwrap())
    .collect()
}

#[test]
fn one_report_from_six_layouts() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let data = data();

    // All of it in heads and log, an agent after the other.
    let in_heads = furnished(&file("heads"));
    for (number, rows) in data.iter().enumerate() {
        append(&in_heads, number, rows);
    }
    let expected = reports(&in_heads.view());
    let told: serde_json::Value = serde_json::from_str(&expected[0]).unwrap();
    let told = &told["performance_report"]["agent_performance"];
    for agent in ["agent-0", "agent-1", "agent-2"] {
        let shown = &told[agent];
        assert!(shown["gap_count"].as_u64().unwrap() > 1, "{shown}");
        assert!(shown["memory_trend_per_hour"].is_f64(), "{shown}");
        assert!(
            shown["network_bytes_sent"].as_f64().unwrap() > 1e5,
            "{shown}"
        );
    }

    // Many small blocks.
    let in_blocks = furnished(&file("blocks"));
    for part in 0..20 {
        for (number, rows) in data.iter().enumerate() {
            let size = rows.len().div_ceil(20);
            append(
                &in_blocks,
                number,
                &rows[part * size..((part + 1) * size).min(rows.len())],
            );
        }
        in_blocks.checkpoint_blocking().unwrap();
    }
    assert!(in_blocks.status().blocks > 50);
    assert_eq!(reports(&in_blocks.view()), expected, "many blocks");

    // The day that is over merged, and kept in sums.
    in_blocks.settle_blocking().unwrap();
    assert_eq!(reports(&in_blocks.view()), expected, "settled");

    // Late, repeated and overwritten: wrong values first, newest first, blocks that overlap.
    let out_of_order = furnished(&file("disorder"));
    for (number, rows) in data.iter().enumerate() {
        let wrong: Vec<Row> = rows
            .iter()
            .filter(|row| row.0 != names::UP)
            .step_by(3)
            .map(|(n, t, _)| (*n, *t, 77.5))
            .collect();
        append(&out_of_order, number, &wrong);
    }
    out_of_order.checkpoint_blocking().unwrap();
    for (number, rows) in data.iter().enumerate() {
        for (i, part) in rows.chunks(700).rev().enumerate() {
            append(&out_of_order, number, part);
            if i % 3 == 1 {
                out_of_order.checkpoint_blocking().unwrap();
            }
        }
        append(&out_of_order, number, &rows[..300]);
    }
    assert_eq!(reports(&out_of_order.view()), expected, "out of order");

    // Closed and opened in between.
    let mut reopened = furnished(&file("reopened"));
    for (number, rows) in data.iter().enumerate() {
        for part in rows.chunks(rows.len() / 2 + 1) {
            append(&reopened, number, part);
            reopened.close_blocking().unwrap();
            drop(reopened);
            reopened = open(&file("reopened"));
        }
        reopened.checkpoint_blocking().unwrap();
    }
    assert_eq!(reports(&reopened.view()), expected, "closed and opened");

    // A copy by rows, and a plain copy of the live file.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut snapshot = runtime.block_on(out_of_order.snapshot()).unwrap();
    let mut named = std::fs::File::create(file("snapshot")).unwrap();
    std::io::copy(&mut snapshot, &mut named).unwrap();
    assert_eq!(
        reports(&store::open_copy(&file("snapshot")).unwrap()),
        expected,
        "snapshot"
    );
    std::fs::copy(file("disorder"), file("copy")).unwrap();
    assert_eq!(
        reports(&store::open_copy(&file("copy")).unwrap()),
        expected,
        "plain copy"
    );
}
