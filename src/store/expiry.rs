//! Which series expire before the others: rules of retention, brought to days.
//!
//! A rule deletes what lies on UTC days that are older than what it keeps. How far back each rule has been applied is
//! remembered in the file ([`Marks`]), so that a day is looked through once.

use std::fmt::Write as _;

use super::{catalog::AgentEntry, shared::Shared};
use crate::model::{
    AgentId, DAY_MS, RetentionRule, SeriesKey, SeriesNo, Timestamp, format_duration_ms, rule_of,
};

/// The present as far as what is deleted may trust it. A clock that is far ahead of the file's last commit is not
/// trusted: a wrong date at boot must not delete history before anybody can set it right.
pub(super) fn trusted_now(shared: &Shared) -> Option<Timestamp> {
    let last_commit = shared.live.lock().last_commit?;
    Some(shared.clock.now().min(last_commit.plus_millis(DAY_MS)))
}

/// Rules with the first day that each of them keeps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cuts<'a> {
    rules: &'a [RetentionRule],
    now: Timestamp,
}

impl<'a> Cuts<'a> {
    pub(super) const fn new(rules: &'a [RetentionRule], now: Timestamp) -> Self {
        Self { rules, now }
    }

    /// First day that a rule keeps.
    fn first_kept(&self, rule: &RetentionRule) -> i32 {
        self.now.plus_millis(-rule.keep_ms).day()
    }

    /// First day that every rule keeps.
    pub(super) fn end(&self) -> i32 {
        let first_kept = self.rules.iter().map(|rule| self.first_kept(rule));
        first_kept.max().unwrap_or(i32::MIN)
    }

    /// First day that is kept of a series for which a rule holds.
    pub(super) fn first_kept_of(&self, agent: &AgentEntry, key: &SeriesKey) -> Option<i32> {
        let (_, rule) = rule_of(self.rules, agent.id.as_str(), key)?;
        Some(self.first_kept(rule))
    }

    /// Place of the rule that holds for a series.
    pub(super) fn place_of(&self, agent: &AgentEntry, key: &SeriesKey) -> Option<usize> {
        Some(rule_of(self.rules, agent.id.as_str(), key)?.0)
    }

    /// Series of an agent for which a rule holds, each with the first day that it keeps; ascending by number.
    pub(super) fn of_agent(&self, agent: &AgentEntry) -> Vec<(SeriesNo, i32)> {
        if self.rules.is_empty() {
            return Vec::new();
        }
        let series = agent.series.by_number();
        series
            .filter_map(|(slot, no)| {
                let key = agent.series.series_key(slot)?;
                Some((no, self.first_kept_of(agent, &key)?))
            })
            .collect()
    }

    /// Series of an agent that have expired on a day, ascending by number.
    pub(super) fn expired(&self, agent: &AgentEntry, day: i32) -> Vec<SeriesNo> {
        if day >= self.end() {
            return Vec::new();
        }
        expired_on(&self.of_agent(agent), day)
    }
}

/// Those of [`Cuts::of_agent`] that have expired on a day.
pub(super) fn expired_on(first_kept: &[(SeriesNo, i32)], day: i32) -> Vec<SeriesNo> {
    let expired = first_kept.iter().filter(|(_, first)| day < *first);
    expired.map(|(no, _)| *no).collect()
}

/// Why a sample is refused for a rule; `None` when no rule says so.
pub(super) fn refusal(
    rules: &[RetentionRule],
    agent: &AgentId,
    key: &[u8],
    time: Timestamp,
    now: Timestamp,
) -> Option<String> {
    let is_older = |rule: &RetentionRule| time < now.plus_millis(-rule.keep_ms);
    // Nearly every sample is of the present, so that its series need not be looked at.
    if !rules.iter().any(is_older) {
        return None;
    }
    let (place, rule) = rule_of(rules, agent.as_str(), &SeriesKey::from_bytes(key)?)?;
    is_older(rule).then(|| {
        format!(
            "timestamp {time} is older than the {} that retention rule {} ({rule}) keeps",
            format_duration_ms(rule.keep_ms),
            place + 1,
        )
    })
}

/// How far rules have been applied: each rule as text, with the first day that was not looked through for it.
/// The days before hold none of its series, but for days that are unsettled, and what overlaps damaged blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks(Vec<(String, i32)>);

impl Marks {
    /// Marks of rules that have not been applied at all.
    pub(super) fn none(rules: &[RetentionRule]) -> Self {
        Self(
            rules
                .iter()
                .map(|rule| (rule.to_string(), i32::MIN))
                .collect(),
        )
    }

    /// As they stand in `meta`. What cannot be read counts as no marks: rules are applied again then.
    pub(super) fn decode(bytes: &[u8]) -> Self {
        let line = |line: &str| {
            let (day, rule) = line.split_once(' ')?;
            Some((rule.to_owned(), day.parse().ok()?))
        };
        let text = str::from_utf8(bytes).unwrap_or_default();
        let marks: Option<Vec<_>> = text.lines().map(line).collect();
        Self(marks.unwrap_or_default())
    }

    /// A line for each rule: day, blank, rule.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut text = String::new();
        for (rule, day) in &self.0 {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{day} {rule}");
        }
        text.into_bytes()
    }

    /// First day that was not looked through for the rule at a place.
    pub(super) fn done(&self, place: usize) -> Option<i32> {
        self.0.get(place).map(|(_, done)| *done)
    }

    /// The latest of all these days.
    pub(super) fn furthest(&self) -> i32 {
        let done = self.0.iter().map(|(_, done)| *done);
        done.max().unwrap_or(i32::MIN)
    }

    /// Whether there are none.
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What of the marks holds for these rules: where the rules are others, nothing. A day that a rule keeps again,
    /// since the clock was set back, may get samples and has to be looked through later.
    pub(super) fn held_for(&self, cuts: &Cuts<'_>) -> Self {
        let mut held = Self::none(cuts.rules);
        let is_same = self.0.len() == held.0.len()
            && self
                .0
                .iter()
                .zip(&held.0)
                .all(|(ours, new)| ours.0 == new.0);
        if is_same {
            for ((mark, (_, done)), rule) in held.0.iter_mut().zip(&self.0).zip(cuts.rules) {
                mark.1 = (*done).min(cuts.first_kept(rule));
            }
        }
        held
    }

    /// The first day that is to be looked through, if one is.
    pub(super) fn next(&self, cuts: &Cuts<'_>) -> Option<i32> {
        let marks = self.0.iter().zip(cuts.rules);
        marks
            .filter(|((_, done), rule)| *done < cuts.first_kept(rule))
            .map(|((_, done), _)| *done)
            .min()
    }

    /// The same once all days before `day` have been looked through.
    pub(super) fn until(&self, cuts: &Cuts<'_>, day: i32) -> Self {
        let marks = self.0.iter().zip(cuts.rules);
        let raised = marks.map(|((text, done), rule)| {
            let day = day.min(cuts.first_kept(rule));
            (text.clone(), day.max(*done))
        });
        Self(raised.collect())
    }

    /// The same with days from `day` on to be looked through again.
    pub(super) fn lowered(&self, day: i32) -> Self {
        let marks = self.0.iter();
        Self(
            marks
                .map(|(text, done)| (text.clone(), day.min(*done)))
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Glob;

    fn rule(metric: &str, days: i64) -> RetentionRule {
        RetentionRule {
            metric: Some(Glob::new(metric)),
            agent_id: None,
            labels: Vec::new(),
            keep_ms: days * DAY_MS,
        }
    }

    fn at(day: i64) -> Timestamp {
        Timestamp::from_millis(day * DAY_MS + DAY_MS / 2)
    }

    #[test]
    fn marks_come_back_and_hold_for_the_same_rules_only() {
        let rules = [rule("a\n*", 3), rule("b \"x\"", 7)];
        let cuts = Cuts::new(&rules, at(100));
        let none = Marks::none(&rules);
        assert_eq!(none.next(&cuts), Some(i32::MIN));
        let half = none.until(&cuts, 95);
        assert_eq!(half.next(&cuts), Some(95), "the second keeps day 93 on");
        let done = half.until(&cuts, i32::MAX);
        assert_eq!(done.next(&cuts), None);
        assert_eq!(Marks::decode(&done.encode()), done);
        assert_eq!(done.held_for(&cuts), done);
        assert_eq!(done.next(&Cuts::new(&rules, at(102))), Some(93));
        let swapped = [rules[1].clone(), rules[0].clone()];
        assert_eq!(
            done.held_for(&Cuts::new(&swapped, at(100))),
            Marks::none(&swapped)
        );
        let shorter = [rules[0].clone(), rule("b \"x\"", 6)];
        assert_eq!(
            done.held_for(&Cuts::new(&shorter, at(100))),
            Marks::none(&shorter)
        );
        assert_eq!(Marks::decode(b"7"), Marks::default());
        assert_eq!(Marks::decode(b"x y\n"), Marks::default());
        assert_eq!(Marks::decode(&[0xff]), Marks::default());
    }

    #[test]
    fn days_are_looked_through_again_after_the_clock_was_set_back() {
        let rules = [rule("a", 3)];
        let done = Marks::none(&rules).until(&Cuts::new(&rules, at(100)), i32::MAX);
        let back = done.held_for(&Cuts::new(&rules, at(90)));
        assert_ne!(back, done);
        assert_eq!(back.next(&Cuts::new(&rules, at(100))), Some(87));
        assert_eq!(done.lowered(50).next(&Cuts::new(&rules, at(100))), Some(50));
        assert_eq!(done.lowered(99), done);
    }

    #[test]
    fn late_samples_are_refused_by_the_rule_of_their_series() {
        let rules = [rule("a", 3), rule("*", 5)];
        let agent = AgentId::new("web").unwrap();
        let refused = |name: &str, age_days: i64| {
            let key = SeriesKey::new(name, &[]).unwrap();
            let time = at(100 - age_days);
            refusal(&rules, &agent, key.as_bytes(), time, at(100))
        };
        assert_eq!(refused("a", 3), None);
        assert_eq!(
            refused("a", 4).unwrap(),
            "timestamp 1970-04-07T12:00:00.000Z is older than the 3d that retention rule 1 (metric \"a\": 3d) keeps"
        );
        assert_eq!(refused("b", 4), None);
        assert!(refused("b", 6).unwrap().contains("rule 2"));
        assert_eq!(refused("up", 6), None);
    }
}
