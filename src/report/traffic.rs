//! Bytes over the network, from counters.

use crate::model::{AgentNo, History, Increase, ReadError, SeriesNo, Summary, Timestamp, Window};

/// What counters of one direction rose by, and between which samples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Traffic(Option<Measured>);

#[derive(Clone, Copy, Debug, PartialEq)]
struct Measured {
    bytes: f64,
    first: Timestamp,
    last: Timestamp,
}

impl Traffic {
    /// Adds a counter of which `summary` is known; nothing below two samples. Digits must not depend on
    /// the layout of the file, so that a counter with drops that were summed up is read again.
    pub(super) fn add(
        &mut self,
        history: &dyn History,
        agent: AgentNo,
        series: SeriesNo,
        window: Window,
        summary: &Summary,
    ) -> Result<(), ReadError> {
        let increase = if summary.increase.has_joined_drops() {
            one_by_one(history, agent, series, window)?
        } else {
            summary.increased_by()
        };
        if let (Some(bytes), Some(first), Some(last)) = (increase, summary.first, summary.last) {
            self.merge(Self(Some(Measured {
                bytes,
                first: first.time,
                last: last.time,
            })));
        }
        Ok(())
    }

    /// Adds other counters.
    pub(super) fn merge(&mut self, other: Self) {
        let both = |a: Measured, b: Measured| Measured {
            bytes: a.bytes + b.bytes,
            first: a.first.min(b.first),
            last: a.last.max(b.last),
        };
        self.0 = [self.0, other.0].into_iter().flatten().reduce(both);
    }

    /// Bytes in all.
    pub(super) fn bytes(self) -> Option<f64> {
        self.0.map(|m| m.bytes)
    }

    /// Bytes by the seconds from the first sample to the last; not extrapolated to the window.
    pub(super) fn per_second(self) -> Option<f64> {
        let measured = self.0?;
        let elapsed_ms = measured.last.since(measured.first);
        (elapsed_ms > 0).then(|| measured.bytes / (elapsed_ms as f64 / 1000.0))
    }
}

fn one_by_one(
    history: &dyn History,
    agent: AgentNo,
    series: SeriesNo,
    window: Window,
) -> Result<Option<f64>, ReadError> {
    let mut increase = Increase::default();
    history.scan(agent, &[series], window, &mut |_, _, values| {
        for value in values.iter().filter(|v| !v.is_nan()) {
            increase.push(*value);
        }
    })?;
    Ok(increase.total())
}
