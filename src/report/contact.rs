//! Contact with an agent over a window: for which share of it the agent was reached, and when it was
//! silent.

use std::{cmp::Reverse, ops::Range};

use serde::{Serialize, Serializer, ser::SerializeStruct};

use super::{coverage::share, shape::seconds_value, spans::Spans};
use crate::model::{
    Agent, AgentNo, History, ReadError, Run, SeriesNo, Timestamp, Window, is_stale_marker, names,
};

/// Gaps listed of one agent.
const GAPS_MAX: usize = 10;

/// A time without contact. Serializes with `from`, `to` and `seconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The last contact before, or the start of the window, of the registration or of the server.
    pub from: Timestamp,
    /// The next contact, or the end of the window or of the server's run.
    pub to: Timestamp,
}

impl Gap {
    /// How long it was, in milliseconds.
    pub const fn length_ms(&self) -> i64 {
        self.to.since(self.from)
    }
}

impl Serialize for Gap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut gap = serializer.serialize_struct("Gap", 3)?;
        gap.serialize_field("from", &self.from.to_rfc3339())?;
        gap.serialize_field("to", &self.to.to_rfc3339())?;
        gap.serialize_field("seconds", &seconds_value(self.length_ms()))?;
        gap.end()
    }
}

/// Contact with one agent over a window.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Contact {
    /// Share of the time in which the agent was watched that it was reached.
    pub(super) availability: Option<f64>,
    /// The longest gaps, in order of time.
    pub(super) gaps: Vec<Gap>,
    /// Gaps in all.
    pub(super) gap_count: u64,
    /// Milliseconds of all gaps.
    pub(super) gap_ms: i64,
}

/// Reads the contact with an agent over a window in which the server had these runs. `was_known` says
/// whether the agent had ever been reached by the window's end.
///
/// The agent is *watched* while it is registered and the server runs, from the first contact or failed
/// scrape on. It is *reached* from each contact on for as long as the next may take (`silent_after_ms`),
/// unless a scrape fails. A *gap* is a longer time without contact; it counts from the registration or
/// the server's start where there was no contact since.
pub(super) fn contact(
    history: &dyn History,
    agent: &Agent,
    window: Window,
    runs: &[Run],
    silent_after_ms: i64,
    was_known: bool,
) -> Result<Contact, ReadError> {
    // A contact before the window may reach into it.
    let look_from = window.from.plus_millis(-silent_after_ms);
    let looked_at = Window::new(look_from, window.to);
    let series = contact_series(history, agent.no, looked_at)?;
    let read = |watches: &[Watch]| {
        let mut seen = Seen::new(watches, silent_after_ms);
        if !series.is_empty() && !watches.is_empty() {
            let looked_at = Window::closed(look_from, window.to);
            history.scan(agent.no, &series, looked_at, &mut |_, times, values| {
                seen.add(times, values);
            })?;
        }
        Ok::<Seen, ReadError>(seen)
    };
    let mut watches = watches(agent, window, look_from, runs);
    let mut seen = read(&watches)?;
    let known = known(history, agent.no, &series, &seen, looked_at)?;
    if let Some(known) = known {
        watches = watches.iter().flat_map(|w| w.within(&known)).collect();
        seen = read(&watches)?;
    }
    let reached: Spans = seen.reached.into_iter().collect();
    let failing: Spans = seen.failing.into_iter().collect();
    let gaps = gaps(&watches, &reached, window, silent_after_ms);
    let counted: Spans = watches
        .iter()
        .zip(seen.first_events)
        .map(|(watch, event)| watch.since(event, silent_after_ms))
        .collect();
    let counted = counted.and(&span_of(window));
    let available = counted.and(&reached).without(&failing);
    let is_known = was_known || failing.length_ms() > 0;
    Ok(Contact {
        availability: (is_known && counted.length_ms() > 0)
            .then(|| share(available.length_ms(), counted.length_ms())),
        gap_count: gaps.len() as u64,
        gap_ms: gaps.iter().map(Gap::length_ms).sum(),
        gaps: longest(gaps),
    })
}

fn span_of(window: Window) -> Spans {
    Spans::from(window.from.as_millis()..window.to.as_millis())
}

/// The time of which contacts are known, where that is not all: blocks may be damaged, and of what has
/// expired only sums are left. `seen` is what was read of it.
fn known(
    history: &dyn History,
    agent: AgentNo,
    series: &[SeriesNo],
    seen: &Seen,
    looked_at: Window,
) -> Result<Option<Spans>, ReadError> {
    let first = seen.first.map_or(looked_at.to, Timestamp::from_millis);
    let unseen = Window::new(looked_at.from, first.plus_millis(-1));
    let mut unknown: Vec<Range<i64>> = Vec::new();
    if unseen.length_ms() > seen.silent_after_ms && !series.is_empty() {
        let summaries = history.summarise(agent, series, unseen)?;
        if summaries.iter().any(|summary| summary.samples > 0) {
            unknown.push(i64::MIN..first.as_millis());
        }
    }
    let damaged = history.unreadable(agent, looked_at);
    unknown.extend(
        damaged
            .iter()
            .map(|lack| lack.first.as_millis()..lack.last.as_millis().saturating_add(1)),
    );
    let unknown: Spans = unknown.into_iter().collect();
    let is_all = unknown.length_ms() == 0;
    Ok((!is_all).then(|| Spans::from(i64::MIN..i64::MAX).without(&unknown)))
}

/// A time in which the agent was registered and the server ran.
struct Watch {
    span: Range<i64>,
    /// Whether it begins with the registration, the server's start or what is known, and not only where
    /// reading does.
    begins_anew: bool,
}

impl Watch {
    /// What lies in the known time. Where that begins nothing is known of what was before.
    fn within(&self, known: &Spans) -> Vec<Self> {
        Spans::from(self.span.clone())
            .and(known)
            .iter()
            .map(|span| Self {
                begins_anew: self.begins_anew || span.start > self.span.start,
                span: span.clone(),
            })
            .collect()
    }

    /// What is left from the first event on; where none comes in time, its absence is what there is to see.
    fn since(&self, event: Option<i64>, silent_after_ms: i64) -> Range<i64> {
        if !self.begins_anew {
            return self.span.clone();
        }
        let in_time = self.span.start.saturating_add(silent_after_ms);
        event.unwrap_or(i64::MAX).min(in_time)..self.span.end
    }
}

fn watches(agent: &Agent, window: Window, look_from: Timestamp, runs: &[Run]) -> Vec<Watch> {
    runs.iter()
        .filter_map(|run| {
            let begin = run.start.max(agent.registered_at);
            let start = begin.max(look_from);
            let end = run.end.min(window.to);
            (end > start && end > window.from).then(|| Watch {
                span: start.as_millis()..end.as_millis(),
                begins_anew: start == begin,
            })
        })
        .collect()
}

/// Series of an agent's contacts. Only those without labels count: they are the ones that longwatch records.
fn contact_series(
    history: &dyn History,
    agent: AgentNo,
    window: Window,
) -> Result<Vec<SeriesNo>, ReadError> {
    let mut contacts = Vec::new();
    for name in [names::UP, names::AGENT_CONTACT] {
        let series = history.series_within(agent, Some(name), window)?;
        let own = series.iter().filter(|s| s.key.labels().next().is_none());
        contacts.extend(own.map(|series| series.no));
    }
    Ok(contacts)
}

/// What the recorded contacts tell.
struct Seen {
    /// Starts of the watches.
    starts: Vec<i64>,
    silent_after_ms: i64,
    /// From each contact until the next is overdue.
    reached: Vec<Range<i64>>,
    /// From each failed scrape to the next that succeeded.
    failing: Vec<Range<i64>>,
    /// First contact or failed scrape of all, and from the start of each watch on.
    first: Option<i64>,
    first_events: Vec<Option<i64>>,
}

impl Seen {
    fn new(watches: &[Watch], silent_after_ms: i64) -> Self {
        Self {
            starts: watches.iter().map(|watch| watch.span.start).collect(),
            silent_after_ms,
            reached: Vec::new(),
            failing: Vec::new(),
            first: None,
            first_events: vec![None; watches.len()],
        }
    }

    fn add(&mut self, times: &[i64], values: &[f64]) {
        let mut reached: Option<Range<i64>> = None;
        let mut failing_since = None;
        for (time, value) in times.iter().zip(values) {
            if *value == 0.0 {
                failing_since.get_or_insert(*time);
            } else if *value == 1.0 {
                self.failing
                    .extend(failing_since.take().map(|since| since..*time));
                let until = time.saturating_add(self.silent_after_ms);
                match &mut reached {
                    Some(span) if *time <= span.end => span.end = until,
                    span => self.reached.extend(span.replace(*time..until)),
                }
            }
        }
        self.reached.extend(reached);
        self.failing
            .extend(failing_since.map(|since| since..i64::MAX));
        let first_from = |start: i64| {
            let at = times.partition_point(|time| *time < start);
            let mut own = times[at..].iter().zip(&values[at..]);
            own.find(|(_, value)| !is_stale_marker(**value))
                .map(|(time, _)| *time)
        };
        let earlier = |a: Option<i64>, b: Option<i64>| [a, b].into_iter().flatten().min();
        self.first = earlier(self.first, first_from(i64::MIN));
        for (start, first) in self.starts.iter().zip(&mut self.first_events) {
            *first = earlier(*first, first_from(*start));
        }
    }
}

/// Times without contact that are longer than allowed, clipped to the window, in order of time.
fn gaps(watches: &[Watch], reached: &Spans, window: Window, silent_after_ms: i64) -> Vec<Gap> {
    let mut gaps = Vec::new();
    for watch in watches {
        let start = watch.span.start;
        let waited_for = if watch.begins_anew {
            silent_after_ms
        } else {
            0
        };
        let allowed = Spans::from(start..start.saturating_add(waited_for));
        let silent = Spans::from(watch.span.clone()).without(&reached.or(&allowed));
        for overdue in silent.iter() {
            // The silence began with what had made the next contact due.
            let began = if overdue.start > start {
                overdue.start - silent_after_ms
            } else {
                start
            };
            let gap = Gap {
                from: Timestamp::from_millis(began).max(window.from),
                to: Timestamp::from_millis(overdue.end),
            };
            gaps.extend((gap.length_ms() > 0).then_some(gap));
        }
    }
    gaps
}

/// The longest, in order of time; of equal ones the earlier.
fn longest(mut gaps: Vec<Gap>) -> Vec<Gap> {
    gaps.sort_by_key(|gap| (Reverse(gap.length_ms()), gap.from));
    gaps.truncate(GAPS_MAX);
    gaps.sort_by_key(|gap| gap.from);
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{STALE_MARKER, Unreadable},
        report::fake::FakeHistory,
    };

    const SILENT_AFTER_MS: i64 = 30_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    /// The server's runs and the agent's registration, in seconds.
    struct Story {
        runs: Vec<(i64, i64)>,
        registered: i64,
        up: Vec<(i64, f64)>,
        contacts: Vec<i64>,
        /// Samples before this have expired.
        kept_from: Option<i64>,
        /// First and last moment of a damaged block.
        damaged: Option<(i64, i64)>,
    }

    impl Story {
        fn of(up: impl IntoIterator<Item = (i64, f64)>) -> Self {
            Self {
                runs: vec![(0, 10_000)],
                registered: 0,
                up: up.into_iter().collect(),
                contacts: Vec::new(),
                kept_from: None,
                damaged: None,
            }
        }

        fn told(&self, from: i64, to: i64) -> Contact {
            let mut history = FakeHistory {
                expired_before: self.kept_from.map(at),
                ..FakeHistory::default()
            };
            let no = history.add_agent("a", at(self.registered));
            let damaged = self.damaged.map(|(first, last)| Unreadable {
                first: at(first),
                last: at(last),
                reason: "damaged".to_owned(),
            });
            history.unreadable.extend(damaged.map(|lack| (no, lack)));
            let up = self.up.iter().map(|(s, v)| (at(*s), *v));
            history.add_series(no, names::UP, &[], up);
            history.add_series(no, names::UP, &[("job", "other")], [(at(from), 0.0)]);
            let contacts = self.contacts.iter().map(|s| (at(*s), 1.0));
            history.add_series(no, names::AGENT_CONTACT, &[], contacts);
            let runs: Vec<Run> = self
                .runs
                .iter()
                .map(|(start, end)| Run {
                    start: at(*start),
                    end: at(*end),
                })
                .collect();
            let window = Window::new(at(from), at(to));
            let agent = history.agents[0].clone();
            let was_known = self.up.iter().any(|(s, v)| *v == 1.0 && *s <= to);
            let was_known = was_known || !self.contacts.is_empty();
            contact(&history, &agent, window, &runs, SILENT_AFTER_MS, was_known).unwrap()
        }
    }

    fn spans(contact: &Contact) -> Vec<(i64, i64)> {
        let seconds = |t: Timestamp| t.as_millis() / 1000;
        contact
            .gaps
            .iter()
            .map(|g| (seconds(g.from), seconds(g.to)))
            .collect()
    }

    fn ups(range: std::ops::RangeInclusive<i64>) -> impl Iterator<Item = (i64, f64)> {
        range.step_by(10).map(|s| (s, 1.0))
    }

    #[test]
    fn an_agent_that_always_answers_has_no_gap() {
        let told = Story::of(ups(0..=2000)).told(500, 1500);
        assert_eq!((told.availability, told.gap_count), (Some(1.0), 0));
        // Exactly as long as allowed.
        let told = Story::of([(490, 1.0), (520, 1.0), (550, 1.0)]).told(500, 580);
        assert_eq!((told.availability, told.gap_count), (Some(1.0), 0));
    }

    #[test]
    fn a_silence_is_a_gap_from_the_last_contact_on() {
        let story = Story::of(ups(0..=1000).chain(ups(1100..=2000)));
        let told = story.told(500, 1500);
        assert_eq!(spans(&told), [(1000, 1100)]);
        assert_eq!((told.gap_count, told.gap_ms), (1, 100_000));
        // Reached until the next contact was overdue: 70 of 1,000 s were lost.
        assert_eq!(told.availability, Some(0.93));
        // Cut by the window at either end, and by both.
        assert_eq!(spans(&story.told(1050, 1500)), [(1050, 1100)]);
        assert_eq!(spans(&story.told(500, 1031)), [(1000, 1031)]);
        assert_eq!(spans(&story.told(500, 1030)), []);
        let inside = story.told(1040, 1080);
        assert_eq!(spans(&inside), [(1040, 1080)]);
        assert_eq!(inside.availability, Some(0.0));
        // It began before the window, and was not yet too long then.
        assert_eq!(spans(&story.told(1020, 1500)), [(1020, 1100)]);
    }

    #[test]
    fn failed_scrapes_cost_availability_at_once() {
        let mut up: Vec<_> = ups(0..=2000).collect();
        for sample in up.iter_mut().filter(|s| s.0 == 600 || s.0 == 610) {
            sample.1 = 0.0;
        }
        let told = Story::of(up.clone()).told(500, 1500);
        assert_eq!((told.availability, told.gap_count), (Some(0.98), 0));
        // Pushes in between are contact; what the scrapes found holds all the same.
        for sample in up.iter_mut().filter(|s| (600..=790).contains(&s.0)) {
            sample.1 = 0.0;
        }
        let mut story = Story::of(up);
        let told = story.told(500, 1500);
        assert_eq!((told.availability, told.gap_count), (Some(0.8), 1));
        assert_eq!(spans(&told), [(590, 800)]);
        story.contacts = (600..=800).step_by(20).collect();
        let told = story.told(500, 1500);
        assert_eq!((told.availability, told.gap_count), (Some(0.8), 0));
    }

    #[test]
    fn nobody_is_missed_while_nobody_looks() {
        let mut story = Story::of(ups(0..=600).chain(ups(905..=2000)));
        story.runs = vec![(0, 605), (900, 3000)];
        let told = story.told(500, 1500);
        assert_eq!((told.availability, told.gap_count), (Some(1.0), 0));
        // Silent after the start, longer than allowed.
        story.up.retain(|s| !(905..1000).contains(&s.0));
        let told = story.told(500, 1500);
        assert_eq!(spans(&told), [(900, 1005)]);
        // Of 105 + 600 s, the first 30 after the start do not count, the next 75 are lost.
        assert_eq!(told.availability, Some(share(105 + 495, 105 + 570)));
        // Registered later: the time before does not count.
        story.registered = 990;
        let told = story.told(500, 1500);
        assert_eq!((told.availability, told.gap_count), (Some(1.0), 0));
    }

    #[test]
    fn an_agent_that_never_answers() {
        let told = Story::of([]).told(500, 1500);
        assert_eq!(spans(&told), [(500, 1500)]);
        assert_eq!(told.availability, None, "nobody tried");
        let failing = Story {
            registered: 400,
            ..Story::of((405..=2000).step_by(10).map(|s| (s, 0.0)))
        };
        let told = failing.told(300, 1500);
        assert_eq!(told.availability, Some(0.0));
        assert_eq!(spans(&told), [(400, 1500)]);
        // Known, and silent for all of the window.
        let told = Story::of(ups(0..=100)).told(500, 1500);
        assert_eq!(told.availability, Some(0.0));
        // Not there at all.
        let mut absent = Story::of(ups(0..=2000));
        absent.runs = vec![(0, 400)];
        assert_eq!(absent.told(500, 1500), Contact::default());
    }

    #[test]
    fn markers_are_no_contact_and_only_the_longest_gaps_are_listed() {
        let told = Story::of([(490, 1.0), (505, STALE_MARKER), (600, 1.0)]).told(500, 620);
        assert_eq!(spans(&told), [(500, 600)]);
        // 15 gaps of 40 s to 54 s.
        let mut time = 0;
        let up: Vec<_> = (0..=15)
            .map(|i| {
                time += if i == 0 { 0 } else { 39 + i };
                (time, 1.0)
            })
            .collect();
        let told = Story::of(up).told(0, time);
        assert_eq!(told.gap_count, 15);
        assert_eq!(told.gap_ms, (40..55).sum::<i64>() * 1000);
        let listed: Vec<i64> = told.gaps.iter().map(Gap::length_ms).collect();
        assert_eq!(listed, (45..55).map(|s| s * 1000).collect::<Vec<_>>());
    }

    #[test]
    fn what_has_expired_is_no_silence() {
        let mut story = Story::of(ups(0..=1000).chain(ups(1100..=2000)));
        story.kept_from = Some(700);
        let told = story.told(500, 1500);
        assert_eq!(spans(&told), [(1000, 1100)]);
        // Of the 800 s that are kept, 70 were lost.
        assert_eq!(told.availability, Some(share(730, 800)));
        // A silence that is still known, and one of which nothing is.
        story.kept_from = Some(1001);
        assert_eq!(spans(&story.told(500, 1500)), []);
        story.kept_from = Some(5000);
        assert_eq!(story.told(500, 1500), Contact::default());
        // An agent that had not been there before.
        let late = Story {
            kept_from: Some(400),
            ..Story::of(ups(700..=2000))
        };
        assert_eq!(spans(&late.told(500, 1500)), [(500, 700)]);
    }

    #[test]
    fn what_cannot_be_read_is_no_silence() {
        let mut story = Story::of(ups(0..=700).chain(ups(900..=1000)).chain(ups(1100..=2000)));
        story.damaged = Some((701, 899));
        let told = story.told(500, 1500);
        assert_eq!(spans(&told), [(1000, 1100)]);
        // From 701 s to the next contact nothing is known; of the other 801 s, 70 were lost.
        assert_eq!(told.availability, Some(share(731, 801)));
    }

    #[test]
    fn everything_there_ever_was() {
        let mut story = Story::of(ups(0..=100));
        story.runs = vec![(0, 100)];
        let told = story.told(-60_000_000_000, 100);
        assert_eq!((told.availability, told.gap_count), (Some(1.0), 0));
    }
}
