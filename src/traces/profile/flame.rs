//! A profile as a flame graph: one SVG that needs nothing else.

use std::fmt::Write as _;

use super::{call_tree::FrameNo, record::Profile};
use crate::traces::text::{duration, plain};

const WIDTH: f64 = 1200.0;
const MARGIN: f64 = 10.0;
const HEAD: f64 = 46.0;
const ROW: f64 = 18.0;
/// Width of a letter at 12 pixels, about.
const LETTER: f64 = 7.2;
/// Narrower frames are not drawn.
const NARROWEST: f64 = 0.4;

/// A frame with its place in the drawing.
struct Flame {
    no: FrameNo,
    x: f64,
    width: f64,
    /// Time on the critical paths of it and all below, nanoseconds.
    ns: i128,
}

/// A text within XML.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in plain(text).chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            // Not allowed in XML 1.0.
            '\u{fffe}' | '\u{ffff}' => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

/// The colour of an agent, the same in every drawing (FNV-1a).
fn colour(label: &str) -> String {
    let agent = label.split_once(':').map_or(label, |(agent, _)| agent);
    let hash = agent.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = hash ^ (hash >> 29);
    format!(
        "hsl({} {}% {}%)",
        hash % 360,
        55 + (hash >> 16) % 20,
        62 + (hash >> 32) % 12
    )
}

impl Profile {
    /// The flame graph: the root on top, as wide as all critical paths together; below each frame what it waited for.
    /// Where nothing is below a frame, the time is its own.
    pub fn flame_svg(&self) -> String {
        let flames = self.flames();
        let frames = self.tree.frames();
        let rows = flames.iter().map(|flame| frames[flame.no].depth + 1).max();
        let height = HEAD + rows.unwrap_or_default() as f64 * ROW + MARGIN;
        let all: i128 = self.on_path().values().sum();
        let title = self.operation().unwrap_or("all operations");
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
             height=\"{height}\" font-family=\"monospace\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fffdf8\"/>\n\
             <text x=\"{MARGIN}\" y=\"20\" font-size=\"15\">Critical path of {}</text>\n\
             <text x=\"{MARGIN}\" y=\"38\" fill=\"#666\">{} traces, {} in all; inferred from times</text>\n",
            escaped(title),
            self.traces.len(),
            duration(whole(all)),
        );
        for flame in &flames {
            let frame = &frames[flame.no];
            let y = HEAD + frame.depth as f64 * ROW;
            let share = flame.ns as f64 * 100.0 / all.max(1) as f64;
            // Writing into a text does not fail.
            let _ = write!(
                svg,
                "<g><title>{}: {} ({share:.1} %)</title><rect x=\"{:.2}\" y=\"{y}\" width=\"{:.2}\" height=\"{}\" \
                 rx=\"2\" fill=\"{}\"/>",
                escaped(&frame.label),
                duration(whole(flame.ns)),
                flame.x,
                flame.width,
                ROW - 1.0,
                colour(&frame.label),
            );
            let letters = ((flame.width - 6.0) / LETTER) as usize;
            if letters >= 3 {
                let label = crate::traces::text::shortened(&frame.label, letters);
                let _ = write!(
                    svg,
                    "<text x=\"{:.2}\" y=\"{}\">{}</text>",
                    flame.x + 3.0,
                    y + 13.0,
                    escaped(&label)
                );
            }
            svg.push_str("</g>\n");
        }
        svg.push_str("</svg>\n");
        svg
    }

    /// Frames that are wide enough, each below its parent, the widest first.
    fn flames(&self) -> Vec<Flame> {
        let frames = self.tree.frames();
        let mut sums = vec![0_i128; frames.len()];
        for (frame, ns) in self.on_path() {
            sums[frame] += ns;
        }
        let mut children: Vec<Vec<FrameNo>> = vec![Vec::new(); frames.len()];
        let mut tops: Vec<FrameNo> = Vec::new();
        // Parents stand before their children.
        for (no, frame) in frames.iter().enumerate().rev() {
            if let Some(parent) = frame.parent {
                sums[parent] += sums[no];
                children[parent].push(no);
            } else {
                tops.push(no);
            }
        }
        let all: i128 = tops.iter().map(|no| sums[*no]).sum();
        let scale = (WIDTH - 2.0 * MARGIN) / all.max(1) as f64;
        let mut flames = Vec::new();
        let mut ahead: Vec<(Vec<FrameNo>, f64)> = vec![(tops, MARGIN)];
        while let Some((mut row, mut x)) = ahead.pop() {
            row.sort_by(|a, b| {
                let widest = sums[*b].cmp(&sums[*a]);
                widest.then_with(|| frames[*a].label.cmp(&frames[*b].label))
            });
            for no in row {
                let width = sums[no] as f64 * scale;
                if width < NARROWEST {
                    break;
                }
                flames.push(Flame {
                    no,
                    x,
                    width,
                    ns: sums[no],
                });
                ahead.push((std::mem::take(&mut children[no]), x));
                x += width;
            }
        }
        flames
    }
}

/// As a duration that people read.
fn whole(ns: i128) -> i64 {
    i64::try_from(ns).unwrap_or(i64::MAX)
}
