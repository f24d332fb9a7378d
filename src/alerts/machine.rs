//! The life of an alert: what an evaluation's verdict does to it. Functions only; `store` applies them
//! within a commit, the backtest on a simulated clock.
//!
//! The transitions are those of Prometheus (`rules/alerting.go`), except that nothing is forgotten and that
//! missing data is told apart from an end:
//!
//! ```text
//!               holds                    holds for `for`
//!   (nothing) --------> pending ------------------------> firing <--.
//!                          | ends                            |      | holds again
//!                          v                            ends |      |
//!                        ended              resolved <------ kept --'
//!                                  ends for `keep_firing_for`
//! ```

use crate::model::{Alert, AlertEventKind, FlapDamping, NoData, Rule, Timestamp};

/// What an evaluation found out about a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The condition holds.
    Holds,
    /// It does not.
    Ends,
    /// There is no data to tell by.
    NoData,
    /// There is no data, but nobody has listened for long enough to make anything of it.
    NotYet,
    /// What it was about is gone: the rule, the agent, the series' place in the rule.
    Gone(String),
}

/// What a rule says about the life of its alerts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The condition must hold so long before the alert fires; milliseconds.
    pub for_ms: i64,
    /// The alert fires on for so long after; milliseconds.
    pub keep_firing_for_ms: i64,
    /// What no data means.
    pub no_data: NoData,
    /// When an alert comes and goes too often.
    pub flap_damping: Option<FlapDamping>,
}

impl From<&Rule> for Terms {
    fn from(rule: &Rule) -> Self {
        Self {
            for_ms: rule.for_ms,
            keep_firing_for_ms: rule.keep_firing_for_ms,
            no_data: rule.no_data,
            flap_damping: rule.flap_damping,
        }
    }
}

/// The times that make up an alert's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// When its condition first held.
    pub active_at: Timestamp,
    /// When it fired.
    pub fired_at: Option<Timestamp>,
    /// When it was over.
    pub resolved_at: Option<Timestamp>,
    /// Since when it fires on without its condition.
    pub kept_since: Option<Timestamp>,
    /// Since when there is no data.
    pub no_data_since: Option<Timestamp>,
    /// Milliseconds that do not count towards the duration that runs.
    pub paused_ms: i64,
}

impl Life {
    /// That of an alert.
    pub const fn of(alert: &Alert) -> Self {
        Self {
            active_at: alert.active_at,
            fired_at: alert.fired_at,
            resolved_at: alert.resolved_at,
            kept_since: alert.kept_since,
            no_data_since: alert.no_data_since,
            paused_ms: alert.paused_ms,
        }
    }

    /// Puts it into an alert.
    pub const fn put(self, alert: &mut Alert) {
        alert.fired_at = self.fired_at;
        alert.resolved_at = self.resolved_at;
        alert.kept_since = self.kept_since;
        alert.no_data_since = self.no_data_since;
        alert.paused_ms = self.paused_ms;
    }

    const fn begin(at: Timestamp) -> Self {
        Self {
            active_at: at,
            fired_at: None,
            resolved_at: None,
            kept_since: None,
            no_data_since: None,
            paused_ms: 0,
        }
    }
}

/// What is known besides the alert itself.
pub struct Surroundings<'a> {
    /// Milliseconds between two moments in which no server ran: they count towards no duration.
    pub downtime_ms: &'a dyn Fn(Timestamp, Timestamp) -> i64,
    /// How often the alert fired since a moment, the present firing included.
    pub firings_since: &'a dyn Fn(Timestamp) -> usize,
}

/// A change of an alert's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The life from now on.
    pub life: Life,
    /// What happened.
    pub kind: AlertEventKind,
    /// Why, for people.
    pub reason: String,
}

/// What the finding at `at` does to an alert that is open, or to its absence; `None` when nothing changes.
pub fn step(
    open: Option<Life>,
    terms: &Terms,
    finding: &Finding,
    at: Timestamp,
    surroundings: &Surroundings<'_>,
) -> Option<Step> {
    let Some(mut life) = open else {
        return begin(terms, finding, at);
    };
    let was_blind = life.no_data_since;
    let finding = match (finding, terms.no_data) {
        (Finding::NotYet, _) | (Finding::NoData, NoData::Unknown) => {
            if was_blind.is_some() {
                return None;
            }
            life.no_data_since = Some(at);
            return told(life, AlertEventKind::NoData, "no data to judge it by");
        }
        (Finding::NoData, NoData::Keep) if life.kept_since.is_none() => &Finding::Holds,
        (Finding::NoData, NoData::Alert) => &Finding::Holds,
        (Finding::NoData, NoData::Keep | NoData::Resolve) => &Finding::Ends,
        (other, _) => other,
    };
    if let Some(since) = life.no_data_since.take() {
        // While nothing was known, the duration that runs stood still.
        life.paused_ms += at.since(since) - (surroundings.downtime_ms)(since, at);
    }
    let elapsed = |life: &Life, since: Timestamp| {
        at.since(since) - life.paused_ms - (surroundings.downtime_ms)(since, at)
    };
    match (finding, life.fired_at) {
        (Finding::Holds, None) => {
            if elapsed(&life, life.active_at) >= terms.for_ms {
                life.fired_at = Some(at);
                life.paused_ms = 0;
                return told(
                    life,
                    AlertEventKind::Fired,
                    "the condition held long enough",
                );
            }
            was_blind.and_then(|_| told(life, AlertEventKind::Returned, "there is data again"))
        }
        (Finding::Holds, Some(_)) => {
            let was_kept = life.kept_since.take().is_some();
            life.paused_ms = 0;
            if was_kept {
                return told(life, AlertEventKind::Returned, "the condition holds again");
            }
            was_blind.and_then(|_| told(life, AlertEventKind::Returned, "there is data again"))
        }
        (Finding::Ends, None) => {
            life.resolved_at = Some(at);
            told(
                life,
                AlertEventKind::Ended,
                "the condition ended before it held long enough",
            )
        }
        (Finding::Ends, Some(_)) => {
            let keep_ms = keep_ms(terms, at, surroundings);
            match life.kept_since {
                Some(since) if elapsed(&life, since) < keep_ms => was_blind
                    .and_then(|_| told(life, AlertEventKind::Returned, "there is data again")),
                None if keep_ms > 0 => {
                    life.kept_since = Some(at);
                    life.paused_ms = 0;
                    let why = if keep_ms > terms.keep_firing_for_ms {
                        "the condition ended; held, since the alert came and went too often"
                    } else {
                        "the condition ended"
                    };
                    told(life, AlertEventKind::Kept, why)
                }
                _ => {
                    life.resolved_at = Some(at);
                    told(life, AlertEventKind::Resolved, "the condition ended")
                }
            }
        }
        (Finding::Gone(reason), fired) => {
            life.resolved_at = Some(at);
            let kind = if fired.is_some() {
                AlertEventKind::Resolved
            } else {
                AlertEventKind::Ended
            };
            told(life, kind, reason)
        }
        // Every policy has turned it into something else.
        (Finding::NoData | Finding::NotYet, _) => None,
    }
}

/// When time alone may change an alert whose finding stays the same: the end of `for`, or of being kept.
pub fn deadline(
    life: &Life,
    terms: &Terms,
    at: Timestamp,
    surroundings: &Surroundings<'_>,
) -> Option<Timestamp> {
    if life.no_data_since.is_some() && terms.no_data == NoData::Unknown {
        return None;
    }
    let (since, length_ms) = match (life.fired_at, life.kept_since) {
        (None, _) => (life.active_at, terms.for_ms),
        (Some(_), Some(since)) => (since, keep_ms(terms, at, surroundings)),
        (Some(_), None) => return None,
    };
    let down = (surroundings.downtime_ms)(since, at);
    Some(since.plus_millis(length_ms + life.paused_ms + down))
}

/// Without an open alert only a condition that holds changes anything.
fn begin(terms: &Terms, finding: &Finding, at: Timestamp) -> Option<Step> {
    let begins = match finding {
        Finding::Holds => true,
        Finding::NoData => terms.no_data == NoData::Alert,
        Finding::Ends | Finding::NotYet | Finding::Gone(_) => false,
    };
    if !begins {
        return None;
    }
    let mut life = Life::begin(at);
    let why = if *finding == Finding::NoData {
        "no data"
    } else {
        "the condition holds"
    };
    if terms.for_ms > 0 {
        return told(life, AlertEventKind::Pending, why);
    }
    life.fired_at = Some(at);
    told(life, AlertEventKind::Fired, why)
}

fn keep_ms(terms: &Terms, at: Timestamp, surroundings: &Surroundings<'_>) -> i64 {
    let flaps = terms.flap_damping.filter(|flap| {
        let since = at.plus_millis(-flap.within_ms);
        (surroundings.firings_since)(since) >= flap.firings as usize
    });
    flaps.map_or(terms.keep_firing_for_ms, |flap| {
        flap.within_ms.max(terms.keep_firing_for_ms)
    })
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "what a step returns, and most return at once"
)]
fn told(life: Life, kind: AlertEventKind, reason: &str) -> Option<Step> {
    Some(Step {
        life,
        kind,
        reason: reason.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn terms(for_ms: i64, keep_firing_for_ms: i64, no_data: NoData) -> Terms {
        Terms {
            for_ms,
            keep_firing_for_ms,
            no_data,
            flap_damping: None,
        }
    }

    /// A machine with its clock, its downtime and its past firings.
    struct Run {
        terms: Terms,
        open: Option<Life>,
        fired: Vec<i64>,
        down: Vec<(i64, i64)>,
    }

    impl Run {
        fn new(terms: Terms) -> Self {
            Self {
                terms,
                open: None,
                fired: Vec::new(),
                down: Vec::new(),
            }
        }

        fn see(&mut self, ms: i64, finding: &Finding) -> Option<AlertEventKind> {
            let down = |from: Timestamp, to: Timestamp| -> i64 {
                let within = |(start, end): &(i64, i64)| {
                    (*end.min(&to.as_millis()) - *start.max(&from.as_millis())).max(0)
                };
                self.down.iter().map(within).sum()
            };
            let firings = |since: Timestamp| self.fired.iter().filter(|t| at(**t) >= since).count();
            let surroundings = Surroundings {
                downtime_ms: &down,
                firings_since: &firings,
            };
            let step = step(self.open, &self.terms, finding, at(ms), &surroundings)?;
            if step.kind == AlertEventKind::Fired {
                self.fired.push(ms);
            }
            self.open = Some(step.life).filter(|life| life.resolved_at.is_none());
            Some(step.kind)
        }
    }

    #[test]
    fn an_alert_lives_as_prometheus_has_it() {
        use AlertEventKind::{Ended, Fired, Kept, Pending, Resolved, Returned};
        let mut run = Run::new(terms(10, 5, NoData::Unknown));
        for (ms, finding, expected) in [
            (0, Finding::Ends, None),
            (1, Finding::Holds, Some(Pending)),
            (10, Finding::Holds, None),
            (11, Finding::Holds, Some(Fired)),
            (12, Finding::Ends, Some(Kept)),
            (13, Finding::Holds, Some(Returned)),
            (14, Finding::Ends, Some(Kept)),
            (18, Finding::Ends, None),
            (19, Finding::Ends, Some(Resolved)),
            (20, Finding::Holds, Some(Pending)),
            (25, Finding::Ends, Some(Ended)),
        ] {
            assert_eq!(run.see(ms, &finding), expected, "at {ms}");
        }
    }

    #[test]
    fn time_without_a_server_counts_towards_nothing() {
        let mut run = Run::new(terms(10, 5, NoData::Unknown));
        run.see(0, &Finding::Holds);
        run.down = vec![(4, 1_004)];
        assert_eq!(run.see(1_009, &Finding::Holds), None, "9 ms were seen");
        assert_eq!(run.see(1_010, &Finding::Holds), Some(AlertEventKind::Fired));
        assert_eq!(run.see(1_011, &Finding::Ends), Some(AlertEventKind::Kept));
        run.down.push((1_012, 2_012));
        assert_eq!(run.see(2_015, &Finding::Ends), None, "4 ms were seen");
        assert_eq!(
            run.see(2_016, &Finding::Ends),
            Some(AlertEventKind::Resolved)
        );
    }

    #[test]
    fn what_comes_and_goes_is_held_for_the_time_it_is_judged_over() {
        let mut run = Run::new(Terms {
            flap_damping: Some(FlapDamping {
                firings: 2,
                within_ms: 100,
            }),
            ..terms(0, 0, NoData::Unknown)
        });
        run.see(0, &Finding::Holds);
        assert_eq!(run.see(1, &Finding::Ends), Some(AlertEventKind::Resolved));
        run.see(2, &Finding::Holds);
        assert_eq!(run.see(3, &Finding::Ends), Some(AlertEventKind::Kept));
        assert_eq!(run.see(90, &Finding::Ends), None);
        assert_eq!(run.see(103, &Finding::Ends), Some(AlertEventKind::Resolved));
    }

    #[test]
    fn what_is_gone_ends_at_once() {
        let mut run = Run::new(terms(0, 1_000, NoData::Unknown));
        run.see(0, &Finding::Holds);
        let gone = Finding::Gone("deregistered".into());
        assert_eq!(run.see(1, &gone), Some(AlertEventKind::Resolved));
        assert_eq!(run.see(2, &gone), None);
    }

    /// The same life told the simple way: stretches of time between evaluations are added up by what was known when
    /// they began.
    #[derive(Default)]
    struct Model {
        is_open: bool,
        has_fired: bool,
        is_kept: bool,
        is_blind: bool,
        counted_ms: i64,
    }

    impl Model {
        fn pass(&mut self, ms: i64, is_down: bool) {
            if self.is_open && !self.is_blind && !is_down {
                self.counted_ms += ms;
            }
        }

        fn see(&mut self, terms: &Terms, finding: &Finding) {
            let holds = match (finding, terms.no_data) {
                (Finding::NoData, NoData::Unknown) => {
                    self.is_blind |= self.is_open;
                    return;
                }
                (Finding::NoData, NoData::Alert) | (Finding::Holds, _) => true,
                (Finding::NoData, NoData::Keep) => self.is_open && !self.is_kept,
                _ => false,
            };
            self.is_blind = false;
            match (self.is_open, holds) {
                (false, true) => {
                    *self = Self {
                        is_open: true,
                        has_fired: terms.for_ms == 0,
                        ..Self::default()
                    };
                }
                (false, false) => {}
                (true, true) if !self.has_fired => {
                    if self.counted_ms >= terms.for_ms {
                        self.has_fired = true;
                        self.counted_ms = 0;
                    }
                }
                (true, true) => {
                    self.is_kept = false;
                    self.counted_ms = 0;
                }
                (true, false) if !self.has_fired => *self = Self::default(),
                (true, false) => {
                    if !self.is_kept {
                        self.is_kept = true;
                        self.counted_ms = 0;
                    }
                    if self.counted_ms >= terms.keep_firing_for_ms {
                        *self = Self::default();
                    }
                }
            }
        }
    }

    fn findings() -> impl Strategy<Value = Finding> {
        prop_oneof![
            Just(Finding::Holds),
            Just(Finding::Ends),
            Just(Finding::NoData)
        ]
    }

    proptest! {
        /// Random findings, restarts with downtime, jumps of the clock: the machine and the model agree at each step.
        #[test]
        fn the_machine_lives_like_the_model(
            for_ms in prop_oneof![Just(0), 1_i64..50],
            keep_ms in prop_oneof![Just(0), 1_i64..50],
            no_data in proptest::sample::select(NoData::ALL.to_vec()),
            steps in proptest::collection::vec((0_i64..40, any::<bool>(), findings(), 0_i64..100), 1..60),
        ) {
            let terms = terms(for_ms, keep_ms, no_data);
            let mut run = Run::new(terms);
            let mut model = Model::default();
            let mut now = 1_000;
            for (up_ms, restarts, finding, down_ms) in steps {
                model.pass(up_ms, false);
                now += up_ms;
                if restarts {
                    run.down.push((now, now + down_ms));
                    model.pass(down_ms, true);
                    now += down_ms;
                }
                run.see(now, &finding);
                model.see(&terms, &finding);
                let life = run.open;
                prop_assert_eq!(life.is_some(), model.is_open, "open at {}", now);
                if let Some(life) = life {
                    prop_assert_eq!(life.fired_at.is_some(), model.has_fired, "fired at {}", now);
                    prop_assert_eq!(life.kept_since.is_some(), model.is_kept, "kept at {}", now);
                    prop_assert_eq!(life.no_data_since.is_some(), model.is_blind, "blind at {}", now);
                }
            }
        }
    }
}
