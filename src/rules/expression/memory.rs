//! Series that are held in memory, over those of a source: what the rules of a group have recorded in this very
//! evaluation, and what a unit test gives.

use std::collections::HashMap;

use crate::{
    model::{AgentNo, Labels, Matcher, ReadError, SeriesNo, Visit, Window},
    query::{Selected, Source},
};

/// Series in memory.
#[derive(Debug, Default)]
pub(in crate::rules) struct Memory {
    series: Vec<Held>,
    places: HashMap<Labels, usize>,
}

#[derive(Debug)]
struct Held {
    labels: Labels,
    times: Vec<i64>,
    values: Vec<f64>,
}

impl Memory {
    /// Adds a sample. One that is not later than the last of its series is left out, as a store would refuse it.
    pub(in crate::rules) fn push(&mut self, labels: &Labels, time_ms: i64, value: f64) {
        let next = self.series.len();
        let place = *self.places.entry(labels.clone()).or_insert(next);
        if place == next {
            self.series.push(Held {
                labels: labels.clone(),
                times: Vec::new(),
                values: Vec::new(),
            });
        }
        if let Some(held) = self.series.get_mut(place)
            && held.times.last().is_none_or(|last| *last < time_ms)
        {
            held.times.push(time_ms);
            held.values.push(value);
        }
    }

    fn fitting(&self, matchers: &[Matcher]) -> impl Iterator<Item = (SeriesNo, &Held)> {
        let fits = |held: &Held| {
            let fit = |m: &Matcher| m.matches(held.labels.get(m.name()));
            matchers.iter().all(fit)
        };
        let all = self.series.iter().enumerate();
        all.filter(move |(_, held)| fits(held))
            .map(|(no, held)| (SeriesNo(no as u32), held))
    }

    fn scan(&self, series: &[SeriesNo], window: Window, visit: &mut Visit<'_>) {
        for no in series {
            let Some(held) = self.series.get(no.0 as usize) else {
                continue;
            };
            let (from, to) = (window.from.as_millis(), window.to.as_millis());
            let start = held.times.partition_point(|time| *time <= from);
            let end = held.times.partition_point(|time| *time <= to);
            if let (Some(times), Some(values)) =
                (held.times.get(start..end), held.values.get(start..end))
                && !times.is_empty()
            {
                visit(*no, times, values);
            }
        }
    }
}

/// What is in memory together with what is below it. Memory's series belong to no agent.
pub(in crate::rules) struct Overlay<'a> {
    /// What is in memory.
    pub(in crate::rules) memory: &'a Memory,
    /// What is below.
    pub(in crate::rules) below: Option<&'a dyn Source>,
}

impl Source for Overlay<'_> {
    fn select(&self, matchers: &[Matcher], window: Window) -> Result<Vec<Selected>, ReadError> {
        let mut found = match self.below {
            Some(below) => below.select(matchers, window)?,
            None => Vec::new(),
        };
        let of_memory = self.memory.fitting(matchers);
        if found.is_empty() {
            return Ok(of_memory.map(|(no, held)| selected(no, held)).collect());
        }
        let places: HashMap<Labels, usize> = found
            .iter()
            .enumerate()
            .map(|(at, series)| (series.labels.clone(), at))
            .collect();
        for (no, held) in of_memory {
            let known = places.get(&held.labels).and_then(|at| found.get_mut(*at));
            match known {
                Some(known) => known.others.push((AgentNo::NONE, no)),
                None => found.push(selected(no, held)),
            }
        }
        Ok(found)
    }

    fn scan(
        &self,
        agent: AgentNo,
        series: &[SeriesNo],
        window: Window,
        visit: &mut Visit<'_>,
    ) -> Result<(), ReadError> {
        match self.below {
            Some(below) if agent != AgentNo::NONE => below.scan(agent, series, window, visit),
            _ => {
                self.memory.scan(series, window, visit);
                Ok(())
            }
        }
    }
}

fn selected(no: SeriesNo, held: &Held) -> Selected {
    Selected {
        labels: held.labels.clone(),
        agent: AgentNo::NONE,
        no,
        others: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::NAME_LABEL,
        query::{Answer, QueryRange, Question, answer},
    };

    fn value(memory: &Memory, below: Option<&dyn Source>, query: &str, at_ms: i64) -> Vec<f64> {
        let overlay = Overlay { memory, below };
        let question = Question::new(query, QueryRange::At(at_ms));
        match answer(&overlay, &question).unwrap().answer {
            Answer::Vector(series) => series.iter().map(|s| s.samples[0].1).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_in_memory_continues_what_is_below() {
        let labels = Labels::new([(NAME_LABEL, "m"), ("a", "1")]);
        let (mut below, mut above) = (Memory::default(), Memory::default());
        below.push(&labels, 1_000, 1.0);
        below.push(&labels, 1_000, 5.0);
        above.push(&labels, 2_000, 2.0);
        above.push(&Labels::new([(NAME_LABEL, "m"), ("a", "2")]), 2_000, 9.0);
        let below = Overlay {
            memory: &below,
            below: None,
        };
        assert_eq!(value(&above, None, "m{a=\"1\"}", 2_000), [2.0]);
        assert_eq!(value(&above, None, "m{a=\"1\"}", 1_999), [0.0; 0]);
        // Memory's numbers under one agent only: what is below needs one of its own.
        let Overlay { memory: lower, .. } = below;
        let numbered = Numbered(Overlay {
            memory: lower,
            below: None,
        });
        assert_eq!(value(&above, Some(&numbered), "m", 2_000), [2.0, 9.0]);
        assert_eq!(
            value(
                &above,
                Some(&numbered),
                "sum_over_time(m{a=\"1\"}[5s])",
                2_000
            ),
            [3.0]
        );
    }

    /// The same series under agent 1.
    struct Numbered<'a>(Overlay<'a>);

    impl Source for Numbered<'_> {
        fn select(&self, matchers: &[Matcher], window: Window) -> Result<Vec<Selected>, ReadError> {
            let mut found = self.0.select(matchers, window)?;
            found.iter_mut().for_each(|s| s.agent = AgentNo(1));
            Ok(found)
        }

        fn scan(
            &self,
            _agent: AgentNo,
            series: &[SeriesNo],
            window: Window,
            visit: &mut Visit<'_>,
        ) -> Result<(), ReadError> {
            self.0.scan(AgentNo::NONE, series, window, visit)
        }
    }
}
