//! What a report asks of an agent, at once: whole days from what is known of them, the rest from one reading of
//! directories.

use std::collections::HashMap;

use super::{
    moment::Moment,
    pieces::join_extents,
    segments::{day_end, day_start, whole_days},
    stretch::{Question, sorted},
};
use crate::model::{
    AgentNo, Asked, History, Profile, ReadError, SeriesNo, Spread, Summary, Survey, Window,
};

/// A part of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Days that lie in the window as a whole, which may have rollups, and whose counts are remembered.
    Days(Window),
    /// Of other days there are samples alone.
    Rest(Window),
}

/// Cuts a window where its whole days begin and end.
fn parts(window: Window) -> Vec<Part> {
    let Some((first, last)) = whole_days(window) else {
        return vec![Part::Rest(window)];
    };
    let days = Window::closed(day_start(first), day_end(last));
    let rest = [
        Window::new(window.from, days.from),
        Window::new(days.to, window.to),
    ];
    let [before, after] = rest.map(|rest| (rest.length_ms() > 0).then_some(Part::Rest(rest)));
    [before, Some(Part::Days(days)), after]
        .into_iter()
        .flatten()
        .collect()
}

impl Moment {
    pub(super) fn survey_window(
        &self,
        agent: AgentNo,
        asked: &[Asked],
        window: Window,
        step_ms: i64,
    ) -> Result<Survey, ReadError> {
        let wanted = sorted(asked.iter().map(|asked| asked.no));
        let mut summaries = vec![Summary::default(); wanted.len()];
        let spread = asked.iter().filter(|asked| asked.spread);
        let mut spreads: Vec<(SeriesNo, Spread)> = sorted(spread.map(|asked| asked.no))
            .into_iter()
            .map(|no| (no, Spread::new(step_ms)))
            .collect();
        let mut extents = Vec::new();
        let parts = parts(window);
        for part in &parts {
            match *part {
                Part::Days(days) => {
                    extents.extend(self.extents(agent, days)?);
                    self.add_summaries(agent, &wanted, days, &mut summaries)?;
                    self.add_spreads(agent, &mut spreads, days)?;
                }
                Part::Rest(stretch) => {
                    let mut question = Question {
                        extents: Some(&mut extents),
                        wanted: &wanted,
                        summaries: &mut summaries,
                        spreads: &mut spreads,
                    };
                    self.read_stretch(agent, stretch, &mut question)?;
                }
            }
        }
        if parts.len() > 1 {
            join_extents(&mut extents);
        }
        let mut summaries: HashMap<SeriesNo, Summary> = wanted.into_iter().zip(summaries).collect();
        let mut spreads: HashMap<SeriesNo, Spread> = spreads.into_iter().collect();
        let profiles = asked.iter().map(|asked| Profile {
            summary: summaries.remove(&asked.no).unwrap_or_default(),
            spread: spreads.remove(&asked.no),
        });
        Ok(Survey {
            profiles: profiles.collect(),
            extents,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DAY_MS, Timestamp};

    #[test]
    fn parts_make_up_the_window() {
        let at = Timestamp::from_millis;
        let window = |from: i64, to: i64| Window::new(at(from), at(to));
        let days = |from: i64, to: i64| Part::Days(window(from, to));
        let rest = |from: i64, to: i64| Part::Rest(window(from, to));
        let cut = |from: i64, to: i64| parts(window(from, to));
        assert_eq!(cut(5, DAY_MS + 5), [rest(5, DAY_MS + 5)]);
        assert_eq!(
            cut(5, 2 * DAY_MS),
            [
                rest(5, DAY_MS - 1),
                days(DAY_MS - 1, 2 * DAY_MS - 1),
                rest(2 * DAY_MS - 1, 2 * DAY_MS)
            ]
        );
        assert_eq!(cut(-1, DAY_MS - 1), [days(-1, DAY_MS - 1)]);
    }
}
