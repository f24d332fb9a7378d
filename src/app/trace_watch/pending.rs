//! Traces of which something came since they were looked at last.

use hashbrown::HashMap;

use crate::model::{Timestamp, TraceId};

/// Traces that wait to be looked at; of more, single spans are counted alone.
const TRACES_MAX: usize = 100_000;
/// A trace that never settles is looked at so often, in times of settling.
const BUSY_TIMES: i64 = 6;

#[derive(Clone, Copy, Debug)]
struct Waiting {
    heard_at: Timestamp,
    looked_at: Timestamp,
}

/// A trace to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Due {
    pub(super) trace: TraceId,
    /// Nothing has come of it for a while.
    pub(super) is_settled: bool,
}

/// Traces that wait.
#[derive(Debug, Default)]
pub(super) struct Pending(HashMap<TraceId, Waiting>);

impl Pending {
    /// Something came of a trace; `false` when too many wait.
    pub(super) fn hear(&mut self, trace: TraceId, now: Timestamp) -> bool {
        if self.0.len() >= TRACES_MAX && !self.0.contains_key(&trace) {
            return false;
        }
        let waiting = self.0.entry(trace).or_insert(Waiting {
            heard_at: now,
            looked_at: now,
        });
        waiting.heard_at = now;
        true
    }

    /// Takes out at most so many traces that have settled, or that were not looked at for long.
    pub(super) fn take_due(&mut self, settle_ms: i64, most: usize, now: Timestamp) -> Vec<Due> {
        let is_settled = |w: &Waiting| now.since(w.heard_at) >= settle_ms;
        let is_busy = |w: &Waiting| now.since(w.looked_at) >= settle_ms.saturating_mul(BUSY_TIMES);
        let due = self
            .0
            .iter_mut()
            .filter(|(_, w)| is_settled(w) || is_busy(w));
        let mut taken: Vec<Due> = Vec::new();
        for (trace, waiting) in due.take(most) {
            taken.push(Due {
                trace: *trace,
                is_settled: is_settled(waiting),
            });
            waiting.looked_at = now;
        }
        for due in taken.iter().filter(|due| due.is_settled) {
            self.0.remove(&due.trace);
        }
        taken.sort_unstable();
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_are_due_when_they_settle_and_now_and_then_before() {
        let at = Timestamp::from_millis;
        let (calm, busy) = (TraceId::new(1).unwrap(), TraceId::new(2).unwrap());
        let mut pending = Pending::default();
        assert!(pending.hear(calm, at(0)));
        for second in 0..=60 {
            pending.hear(busy, at(second * 1_000));
            let due = pending.take_due(10_000, 9, at(second * 1_000));
            let expected: &[Due] = match second {
                10 => &[Due {
                    trace: calm,
                    is_settled: true,
                }],
                60 => &[Due {
                    trace: busy,
                    is_settled: false,
                }],
                _ => &[],
            };
            assert_eq!(due, expected, "{second}");
        }
        let due = pending.take_due(10_000, 9, at(70_000));
        assert_eq!(
            due,
            [Due {
                trace: busy,
                is_settled: true
            }]
        );
        assert_eq!(pending.take_due(10_000, 9, at(900_000)), []);
    }
}
