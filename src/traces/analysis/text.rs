//! The analysis for people: what took the time, who, what failed.

use std::fmt::Write as _;

use super::{analyse::Analysis, participation::ratio};
use crate::traces::text::{duration, plain, shortened};

/// So many lines of a list are told.
const LINES_MAX: usize = 20;

/// The analysis as lines of text without colours, with a newline at the end.
pub fn to_text(analysis: &Analysis) -> String {
    let mut text = String::new();
    head(&mut text, analysis);
    path(&mut text, analysis);
    agents(&mut text, analysis);
    waits(&mut text, analysis);
    errors(&mut text, analysis);
    oddities(&mut text, analysis);
    text
}

/// Adds a line. Writing into a text does not fail.
macro_rules! line {
    ($text:expr, $($told:tt)*) => {
        let _ = writeln!($text, $($told)*);
    };
}

/// Tells the first lines of a list, and how many more there are.
fn listed<T>(text: &mut String, all: &[T], tell: impl Fn(&T) -> String) {
    for item in all.iter().take(LINES_MAX) {
        line!(text, "  {}", tell(item));
    }
    if all.len() > LINES_MAX {
        line!(text, "  ... {} more", all.len() - LINES_MAX);
    }
}

fn head(text: &mut String, analysis: &Analysis) {
    line!(text, "Trace {}", plain(&analysis.shown_id()));
    let mut spans = format!(
        "{} spans: {} completed, {} failed, {} unfinished",
        analysis.total_spans,
        analysis.completed_spans,
        analysis.failed_spans,
        analysis.unfinished_spans
    );
    if analysis.other_spans > 0 {
        let _ = write!(spans, ", {} otherwise", analysis.other_spans);
    }
    line!(text, "{spans}");
    line!(
        text,
        "{} in total, {} a span on average, {:.1} spans at once",
        duration(analysis.total_ns),
        duration(analysis.average_ns.round() as i64),
        analysis.concurrency()
    );
    if let Some(usage) = &analysis.usage {
        let cost = usage
            .cost
            .map_or_else(String::new, |cost| format!(", cost {cost:.4}"));
        line!(
            text,
            "{} tokens: {} in, {} out{cost}",
            usage.total(),
            usage.input,
            usage.output
        );
    }
}

fn path(text: &mut String, analysis: &Analysis) {
    line!(text, "\nCritical path (inferred from times)");
    listed(text, &analysis.segments, |segment| {
        let drag = segment
            .drag_ns
            .map_or_else(String::new, |drag| format!("  drag {}", duration(drag)));
        format!(
            "{:>9} {:>9} {:>5.1} %  {}{}{drag}",
            format!("+{}", duration(segment.start_ns)),
            duration(segment.duration_ns),
            segment.share * 100.0,
            shortened(&segment.label(), 60),
            if segment.is_open { " (open)" } else { "" },
        )
    });
}

fn agents(text: &mut String, analysis: &Analysis) {
    line!(text, "\nAgents");
    line!(
        text,
        "  {:<24} {:>6} {:>6} {:>9} {:>9} {:>9} {:>7}",
        "agent",
        "spans",
        "errors",
        "self",
        "wall",
        "total",
        "on path"
    );
    let root_ns: i64 = analysis.segments.iter().map(|s| s.duration_ns).sum();
    let mut agents: Vec<_> = analysis.agents.iter().collect();
    agents.sort_by_key(|(_, part)| -part.critical_ns);
    listed(text, &agents, |(id, part)| {
        format!(
            "{:<24} {:>6} {:>6} {:>9} {:>9} {:>9} {:>5.1} %",
            shortened(id.as_str(), 24),
            part.span_count + part.unfinished_spans,
            part.errors,
            duration(part.self_ns),
            duration(part.wall_ns),
            duration(part.total_ns),
            ratio(part.critical_ns, root_ns) * 100.0
        )
    });
}

fn waits(text: &mut String, analysis: &Analysis) {
    if analysis.waits.is_empty() {
        return;
    }
    line!(text, "\nWaits between agents");
    listed(text, &analysis.waits, |wait| {
        format!(
            "{} -> {} ({}): {} in {}, the longest {}",
            wait.from,
            wait.to,
            wait.kind.name(),
            duration(wait.total_ns),
            wait.count,
            duration(wait.longest_ns)
        )
    });
}

fn errors(text: &mut String, analysis: &Analysis) {
    if !analysis.errors.is_empty() {
        line!(text, "\nErrors, deepest first");
    }
    listed(text, &analysis.errors, |error| {
        let exception = error.exceptions.first();
        let exception = exception.and_then(|e| e.message.as_deref().or(e.kind.as_deref()));
        let why = if error.message.is_empty() {
            exception
                .or(error.error_type.as_deref())
                .unwrap_or("no reason told")
        } else {
            &error.message
        };
        let label = format!("{}:{}", error.agent, error.operation);
        format!(
            "{}{}: {}",
            shortened(&label, 60),
            if error.is_origin { " (began here)" } else { "" },
            shortened(why, 120)
        )
    });
    if !analysis.retries.is_empty() {
        line!(text, "\nTried again");
    }
    listed(text, &analysis.retries, |retry| {
        let label = format!("{}:{}", retry.agent, retry.operation);
        format!(
            "{}: {} attempts in {}, {}",
            shortened(&label, 60),
            retry.attempts.len(),
            duration(retry.duration_ns),
            if retry.has_succeeded {
                "the last succeeded"
            } else {
                "none succeeded"
            }
        )
    });
}

fn oddities(text: &mut String, analysis: &Analysis) {
    let odd = &analysis.oddities;
    let counted = [
        (
            analysis.roots.len().saturating_sub(1),
            "roots beside the main one",
        ),
        (analysis.missing_parents.len(), "parents not received"),
        (
            analysis.beside.len(),
            "pieces of work that nobody waited for",
        ),
        (analysis.skew.len(), "spans moved since clocks disagree"),
        (odd.duplicates, "duplicates left out"),
        (odd.superseded, "older versions left out"),
        (odd.conflicts, "spans with the id of another"),
        (odd.cycles, "cycles cut"),
        (odd.reversed.len(), "spans that ended before they began"),
    ];
    let told: Vec<String> = counted
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    if !told.is_empty() {
        line!(text, "\nNotes");
    }
    listed(text, &told, Clone::clone);
}
