//! A profile as folded stacks, which every flame graph tool reads.

use std::fmt::Write as _;

use super::record::Profile;
use crate::traces::text::plain;

impl Profile {
    /// One line per call path: its labels joined by `;`, and its own time on the critical paths of all traces in
    /// microseconds, rounded. Paths below half a microsecond are left out.
    pub fn folded(&self) -> String {
        let mut lines: Vec<(String, i128)> = Vec::new();
        for (frame, ns) in self.on_path() {
            let micros = (ns + 500) / 1000;
            if micros > 0 {
                let path = self.tree.path(frame);
                let labels: Vec<String> = path
                    .iter()
                    .map(|label| plain(&label.replace(';', ",")))
                    .collect();
                lines.push((labels.join(";"), micros));
            }
        }
        lines.sort();
        lines
            .into_iter()
            .fold(String::new(), |mut text, (path, micros)| {
                // Writing into a text does not fail.
                let _ = writeln!(text, "{path} {micros}");
                text
            })
    }
}
