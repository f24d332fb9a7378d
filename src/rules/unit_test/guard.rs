//! Keeps native histograms of a test out of computations.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, Ordering},
};

use crate::{
    model::{AgentNo, Labels, Matcher, ReadError, SeriesNo, Visit, Window},
    query::{Selected, Source},
};

/// A source without the series that are histograms.
pub(super) struct Guard<'a> {
    source: &'a dyn Source,
    histograms: &'a HashSet<Labels>,
    met: AtomicBool,
}

impl<'a> Guard<'a> {
    /// Leaves these series out of the source.
    pub(super) const fn new(source: &'a dyn Source, histograms: &'a HashSet<Labels>) -> Self {
        Self {
            source,
            histograms,
            met: AtomicBool::new(false),
        }
    }

    /// Whether no histogram was asked for.
    ///
    /// # Errors
    /// What is said where one was.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.met.load(Ordering::Relaxed) {
            return Err(
                "native histograms can be given and compared, not computed with".to_owned(),
            );
        }
        Ok(())
    }
}

impl Source for Guard<'_> {
    fn select(&self, matchers: &[Matcher], window: Window) -> Result<Vec<Selected>, ReadError> {
        let mut found = self.source.select(matchers, window)?;
        let all = found.len();
        found.retain(|series| !self.histograms.contains(&series.labels));
        if found.len() < all {
            self.met.store(true, Ordering::Relaxed);
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
        self.source.scan(agent, series, window, visit)
    }
}
