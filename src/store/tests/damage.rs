//! One flipped byte: the copy is refused, or the damage is named, or nothing that is read has changed.

use std::{path::Path, sync::Arc};

use super::model::{NOW, agent};
use crate::{
    model::{Batch, History, ManualClock, Timestamp, Window},
    store::{self, Append, OpenError, Settings, Store, Urgency},
    telemetry::OwnMetrics,
};

fn fill(path: &Path) {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(NOW)));
    let store = Store::open(
        path,
        Settings {
            disk_reserve: Some(0),
            ..Settings::default()
        },
        clock,
        Arc::new(OwnMetrics::default()),
    )
    .unwrap();
    for part in 0..4i64 {
        let mut batch = Batch::new();
        for i in 0..2_000 {
            let time = Timestamp::from_millis(NOW - (part * 2_000 + i) * 1_000);
            let value = ((i * 7_919) % 1_000) as f64 / 10.0;
            batch.push("load", &mut [], time, value).unwrap();
        }
        let append = Append {
            agent: agent(0),
            batch,
            contact: None,
            urgency: Urgency::Prompt,
        };
        store.append_blocking(append).unwrap();
        if part < 3 {
            store.checkpoint_blocking().unwrap();
        }
    }
    store.close_blocking().unwrap();
}

fn samples(view: &dyn History) -> Vec<(i64, u64)> {
    let mut found = Vec::new();
    for agent in view.agents(Timestamp::MAX) {
        for series in view.series(agent.no, None) {
            view.scan(
                agent.no,
                &[series.no],
                Window::until(Timestamp::MAX),
                &mut |_, times, values| {
                    found.extend(
                        times
                            .iter()
                            .copied()
                            .zip(values.iter().map(|v| v.to_bits())),
                    );
                },
            )
            .unwrap();
        }
    }
    found
}

#[test]
fn a_flipped_byte_never_gives_other_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whole.redb");
    fill(&path);
    let whole = std::fs::read(&path).unwrap();
    let expected = samples(&*store::open_copy(&path).unwrap());
    assert_eq!(expected.len(), 8_000);
    let flipped = folder.path().join("flipped.redb");
    let mut named = 0;
    for i in 0..150 {
        let at = (i * 104_729 + 17) % whole.len();
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (i % 8);
        std::fs::write(&flipped, &bytes).unwrap();
        if let Ok(view) = store::open_copy(&flipped) {
            assert_eq!(samples(&*view), expected, "byte {at}");
        }
        match store::verify(&flipped, &mut |_, _| {}) {
            Ok(report) => named += usize::from(!report.bad.is_empty()),
            Err(
                OpenError::Damaged { .. } | OpenError::Foreign { .. } | OpenError::TooNew { .. },
            ) => {}
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
    assert!(named > 0, "no flipped byte was in a block or log record");
}

#[test]
fn a_truncated_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whole.redb");
    fill(&path);
    let whole = std::fs::read(&path).unwrap();
    let part = folder.path().join("part.redb");
    for keep in [0, 5, 100, 4_096, whole.len() / 3, whole.len() / 2] {
        std::fs::write(&part, &whole[..keep]).unwrap();
        let refused = store::open_copy(&part).map(|view| samples(&*view).len());
        assert!(
            matches!(
                refused,
                Err(OpenError::Damaged { .. } | OpenError::Foreign { .. })
            ),
            "{keep} of {} bytes: {refused:?}",
            whole.len()
        );
    }
}
