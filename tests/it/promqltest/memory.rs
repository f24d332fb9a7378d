//! Series in memory, as a source of the engine.

use longwatch::{
    model::{AgentNo, Labels, Matcher, ReadError, SeriesNo, Visit, Window},
    query::{Selected, Source},
};

/// A series with its samples, milliseconds and values.
pub(crate) type Series = (Labels, Vec<(i64, f64)>);

#[derive(Default)]
pub(crate) struct Memory {
    series: Vec<Series>,
    /// Whether native histograms were among what was loaded.
    pub(crate) has_native: bool,
}

impl Memory {
    pub(crate) fn load(&mut self, loaded: Vec<(Series, bool)>) {
        for ((labels, samples), is_native) in loaded {
            self.has_native |= is_native;
            match self.series.iter_mut().find(|(known, _)| *known == labels) {
                Some((_, known)) => known.extend(samples),
                None => self.series.push((labels, samples)),
            }
        }
    }
}

impl Source for Memory {
    fn select(&self, matchers: &[Matcher], _: Window) -> Result<Vec<Selected>, ReadError> {
        let all = self.series.iter().enumerate();
        let found =
            all.filter(|(_, (labels, _))| matchers.iter().all(|m| m.matches(labels.get(m.name()))));
        let selected = found.map(|(at, (labels, _))| Selected {
            labels: labels.clone(),
            agent: AgentNo(at as u32 % 3),
            no: SeriesNo(at as u32),
            others: Vec::new(),
        });
        Ok(selected.collect())
    }

    fn scan(
        &self,
        _: AgentNo,
        series: &[SeriesNo],
        window: Window,
        visit: &mut Visit<'_>,
    ) -> Result<(), ReadError> {
        for no in series {
            let (_, samples) = &self.series[no.0 as usize];
            let within =
                |time: &i64| *time > window.from.as_millis() && *time <= window.to.as_millis();
            let seen = samples.iter().filter(|(time, _)| within(time));
            let (times, values): (Vec<i64>, Vec<f64>) = seen.copied().unzip();
            if !times.is_empty() {
                visit(*no, &times, &values);
            }
        }
        Ok(())
    }
}
