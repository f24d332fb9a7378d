//! A trace drawn on a terminal: its tree, and when each span was at work.

use std::fmt::Write as _;

use super::{
    critical_path::CriticalPath,
    forest::{Forest, Node, NodeNo},
    skew::correct_skew,
    text::{duration, plain, shortened},
};
use crate::model::Span;

/// Deeper spans are not moved in any further; their depth is told as a number.
const INDENTS_MAX: usize = 12;

/// Columns for a duration.
const DURATION_WIDTH: usize = 9;

/// The least that a drawing takes.
const WIDTH_MIN: usize = 50;

/// How to draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaterfallOptions {
    /// Columns; at least 50 are taken.
    pub width: usize,
    /// Spans at most.
    pub limit: usize,
    /// Whether ANSI colours are used.
    pub has_colour: bool,
}

impl Default for WaterfallOptions {
    fn default() -> Self {
        Self {
            width: 100,
            limit: 200,
            has_colour: false,
        }
    }
}

/// ANSI colours of a drawing, or none.
struct Colours {
    critical: &'static str,
    failed: &'static str,
    faint: &'static str,
    end: &'static str,
}

const COLOURED: Colours = Colours {
    critical: "\u{1b}[33m",
    failed: "\u{1b}[31m",
    faint: "\u{1b}[2m",
    end: "\u{1b}[0m",
};

const PLAIN: Colours = Colours {
    critical: "",
    failed: "",
    faint: "",
    end: "",
};

/// What cells of a bar show.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cell {
    Before,
    Span,
    Critical,
    /// The end of a span that is open.
    Open,
}

/// Draws the spans of a trace as lines, each with a newline: the tree, a bar over time, the duration. `█` is the
/// span's own time on the critical path, `░` other time of it, `>` the end of an open one; `!` marks an error.
pub fn waterfall(spans: &[Span], options: WaterfallOptions) -> String {
    let mut forest = Forest::new(spans);
    let shifts = correct_skew(&mut forest);
    if forest.nodes.is_empty() {
        return "no spans\n".to_owned();
    }
    let path = CriticalPath::of(&forest);
    let mut drawing = Drawing::new(&forest, options);
    let mut of: Vec<Vec<(i64, i64)>> = vec![Vec::new(); forest.nodes.len()];
    for segment in &path.segments {
        of[segment.node].push((segment.start_ns, segment.end_ns));
    }
    drawing.head(&forest, &path);
    for no in forest.order.iter().take(options.limit) {
        drawing.line(&forest, *no, &of[*no]);
    }
    drawing.foot(forest.order.len(), shifts.len());
    drawing.text
}

struct Drawing {
    text: String,
    options: WaterfallOptions,
    colours: Colours,
    label_width: usize,
    bar_width: usize,
    start_ns: i64,
    length_ns: i64,
    /// By node whether it is the last of its siblings.
    is_last: Vec<bool>,
}

impl Drawing {
    fn new(forest: &Forest<'_>, options: WaterfallOptions) -> Self {
        let width = options.width.max(WIDTH_MIN);
        let label_width = (width * 2 / 5).max(20);
        let mut is_last = vec![false; forest.nodes.len()];
        for node in &forest.nodes {
            if let Some(last) = node.children.last() {
                is_last[*last] = true;
            }
        }
        let start_ns = forest.start_ns();
        Self {
            text: String::new(),
            options,
            colours: if options.has_colour { COLOURED } else { PLAIN },
            label_width,
            bar_width: width - label_width - DURATION_WIDTH - 5,
            start_ns,
            length_ns: (forest.end_ns() - start_ns).max(1),
            is_last,
        }
    }

    fn head(&mut self, forest: &Forest<'_>, path: &CriticalPath) {
        let root = path.root.map(|root| &forest.nodes[root]);
        let id = root.map_or_else(String::new, |root| root.trace_id.to_string());
        let failed = forest.nodes.iter().filter(|node| node.is_failed()).count();
        let open = forest.nodes.iter().filter(|node| node.is_open()).count();
        // Writing into a text does not fail.
        let _ = writeln!(
            self.text,
            "trace {id}: {} spans, {failed} failed, {open} open, {}",
            forest.received().count(),
            duration(path.duration_ns())
        );
    }

    fn foot(&mut self, nodes: usize, shifts: usize) {
        let (faint, end) = (self.colours.faint, self.colours.end);
        if nodes > self.options.limit {
            let more = nodes - self.options.limit;
            let spans = if more == 1 { "span" } else { "spans" };
            let _ = writeln!(self.text, "{faint}... {more} more {spans}{end}");
        }
        if shifts > 0 {
            let _ = writeln!(
                self.text,
                "{faint}{shifts} spans moved since clocks disagree{end}"
            );
        }
    }

    fn line(&mut self, forest: &Forest<'_>, no: NodeNo, critical: &[(i64, i64)]) {
        let node = &forest.nodes[no];
        let tree = self.tree(forest, no);
        let room = self.label_width.saturating_sub(tree.chars().count()).max(4);
        let label = shortened(&node.label(), room);
        let pad = room.saturating_sub(label.chars().count());
        let mark = match node {
            node if node.is_failed() => '!',
            node if node.is_reversed() => '?',
            _ => ' ',
        };
        let Colours {
            failed, faint, end, ..
        } = self.colours;
        let of_label = if node.is_failed() {
            failed
        } else if node.is_received() {
            ""
        } else {
            faint
        };
        let off = if of_label.is_empty() { "" } else { end };
        let bar = self.bar(node, critical);
        let took = if node.is_open() {
            "open".to_owned()
        } else {
            duration(node.duration_ns())
        };
        let _ = writeln!(
            self.text,
            "{faint_tree}{tree}{end_tree}{of_label}{label}{off}{:pad$} {of_label}{mark}{off}|{bar}|{took:>DURATION_WIDTH$}",
            "",
            faint_tree = if tree.is_empty() { "" } else { faint },
            end_tree = if tree.is_empty() { "" } else { end },
        );
        self.reason(node);
    }

    /// Why a span failed, on a line of its own.
    fn reason(&mut self, node: &Node<'_>) {
        let Some(span) = node.span.filter(|span| span.is_failed()) else {
            return;
        };
        if !span.status_message.is_empty() {
            let indent = 2 * node.depth.min(INDENTS_MAX) + 2;
            let room = self.options.width.max(WIDTH_MIN).saturating_sub(indent + 2);
            let reason = shortened(&plain(&span.status_message), room);
            let (failed, end) = (self.colours.failed, self.colours.end);
            let _ = writeln!(self.text, "{:indent$}{failed}! {reason}{end}", "");
        }
    }

    /// The branches to the left of a label.
    fn tree(&self, forest: &Forest<'_>, no: NodeNo) -> String {
        let depth = forest.nodes[no].depth;
        if depth == 0 {
            return String::new();
        }
        if depth > INDENTS_MAX {
            return format!("{:width$}{depth}> ", "", width = INDENTS_MAX);
        }
        let mut branches = vec![if self.is_last[no] { "└ " } else { "├ " }];
        let mut at = forest.nodes[no].parent;
        while let Some(above) = at.filter(|above| forest.nodes[*above].depth > 0) {
            branches.push(if self.is_last[above] { "  " } else { "│ " });
            at = forest.nodes[above].parent;
        }
        branches.reverse();
        branches.concat()
    }

    /// The column of a moment.
    fn column(&self, time_ns: i64) -> f64 {
        (time_ns - self.start_ns) as f64 * self.bar_width as f64 / self.length_ns as f64
    }

    /// The first column of a stretch and the one after its last; at least one.
    fn columns(&self, start_ns: i64, end_ns: i64) -> (usize, usize) {
        let last = self.bar_width - 1;
        let from = (self.column(start_ns) + 1e-9).floor().max(0.0) as usize;
        let to = (self.column(end_ns) - 1e-9).ceil().max(0.0) as usize;
        let from = from.min(last);
        (from, to.clamp(from + 1, self.bar_width))
    }

    fn bar(&self, node: &Node<'_>, critical: &[(i64, i64)]) -> String {
        let mut cells = vec![Cell::Before; self.bar_width];
        let (from, to) = self.columns(node.start_ns, node.end_ns);
        cells[from..to].fill(Cell::Span);
        for (start, end) in critical {
            let (from, to) = self.columns(*start, *end);
            cells[from..to].fill(Cell::Critical);
        }
        if node.is_open() {
            cells[to - 1] = Cell::Open;
        }
        let mut bar = String::new();
        for run in cells.chunk_by(|a, b| a == b) {
            let (colour, drawn) = match run[0] {
                Cell::Before => ("", ' '),
                Cell::Span => ("", '░'),
                Cell::Critical => (self.colours.critical, '█'),
                Cell::Open => ("", '>'),
            };
            bar.push_str(colour);
            bar.extend(std::iter::repeat_n(drawn, run.len()));
            if !colour.is_empty() {
                bar.push_str(self.colours.end);
            }
        }
        bar
    }
}
