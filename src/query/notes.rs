//! Warnings and infos beside an answer, as Prometheus words them.
//!
//! Source: Prometheus, `util/annotations/annotations.go`.

use std::{collections::BTreeSet, sync::Mutex};

use super::expression::Place;

/// Different texts that are kept of each kind.
const NOTES_MAX: usize = 10;

/// Collects what is worth telling; threads share it.
#[derive(Debug, Default)]
pub(super) struct Notes(Mutex<[Texts; 2]>);

/// Texts, and the byte of the query that each is about.
type Texts = BTreeSet<(String, Option<u32>)>;

/// What was told, in the order of its text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Results may be wrong.
    pub warnings: Vec<String>,
    /// Something about the expression is unusual.
    pub infos: Vec<String>,
}

impl Notes {
    pub(super) fn warn(&self, text: String, place: Place) {
        self.add(0, text, Some(place));
    }

    pub(super) fn info(&self, text: String, place: Place) {
        self.add(1, text, Some(place));
    }

    fn add(&self, kind: usize, text: String, place: Option<Place>) {
        let mut notes = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(set) = notes.get_mut(kind)
            && set.len() < NOTES_MAX
        {
            set.insert((text, place.map(|place| place.start)));
        }
    }

    /// Everything that was told about a query of this text.
    pub(super) fn told(self, query: &str) -> Told {
        let [warnings, infos] = self
            .0
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let show = |kind: &str, (text, start): (String, Option<u32>)| {
            let at = start.map_or_else(String::new, |start| {
                let (line, column) = position(query, start as usize);
                format!(" ({line}:{column})")
            });
            format!("PromQL {kind}: {text}{at}")
        };
        Told {
            warnings: warnings.into_iter().map(|n| show("warning", n)).collect(),
            infos: infos.into_iter().map(|n| show("info", n)).collect(),
        }
    }
}

/// Line and column, from 1, of a byte of a text.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    (line, column)
}
