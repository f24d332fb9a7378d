//! Which spans are the same: resent ones, and versions of one that was still open.

use hashbrown::HashSet;

use crate::model::{Span, SpanId, TraceId};

/// So many different spans of one id are compared pair by pair; more are compared by what they print.
const PAIRS_MAX: usize = 8;

/// Spans without those that say nothing new.
pub(super) struct Kept<'a> {
    /// By start.
    pub(super) spans: Vec<&'a Span>,
    pub(super) duplicates: usize,
    pub(super) superseded: usize,
    pub(super) conflicts: usize,
}

/// Spans of one id, each different.
#[derive(Default)]
struct Versions<'a> {
    spans: Vec<&'a Span>,
    printed: HashSet<String>,
}

impl<'a> Versions<'a> {
    /// Takes a span in; `false` when it is there.
    fn take(&mut self, span: &'a Span) -> bool {
        let is_known = if self.spans.len() <= PAIRS_MAX {
            self.spans.iter().any(|other| is_same(other, span))
        } else {
            if self.printed.is_empty() {
                self.printed = self.spans.iter().map(|s| format!("{s:?}")).collect();
            }
            !self.printed.insert(format!("{span:?}"))
        };
        if !is_known {
            self.spans.push(span);
        }
        !is_known
    }
}

/// Whether two spans say the same. A number that is none equals itself here.
fn is_same(a: &Span, b: &Span) -> bool {
    a == b
        || (a.start_ns == b.start_ns
            && a.end_ns == b.end_ns
            && a.name == b.name
            && format!("{a:?}") == format!("{b:?}"))
}

/// Leaves out byte-equal spans, open versions of spans that have ended, and all open versions but the last one that
/// came. Different ended spans of one id are all kept.
pub(super) fn without_duplicates<'a>(spans: impl IntoIterator<Item = &'a Span>) -> Kept<'a> {
    type Id = (TraceId, SpanId, bool);
    let id = |span: &Span| (span.trace_id, span.span_id, span.is_shared);
    let mut by_id: Vec<(Id, &Span)> = spans.into_iter().map(|span| (id(span), span)).collect();
    // Stable, so that versions stay in the order they came.
    by_id.sort_by_key(|(id, _)| *id);
    let mut kept: Vec<&Span> = Vec::with_capacity(by_id.len());
    let (mut duplicates, mut superseded, mut conflicts) = (0, 0, 0);
    for same_id in by_id.chunk_by(|a, b| a.0 == b.0) {
        if let [(_, only)] = same_id {
            kept.push(only);
            continue;
        }
        let mut versions = Versions::default();
        for (_, span) in same_id {
            duplicates += usize::from(!versions.take(span));
        }
        let all = versions.spans.len();
        let has_ended = versions.spans.iter().any(|span| !span.is_open());
        let before = kept.len();
        if has_ended {
            kept.extend(versions.spans.into_iter().filter(|span| !span.is_open()));
        } else {
            kept.extend(versions.spans.last());
        }
        let stay = kept.len() - before;
        superseded += all - stay;
        conflicts += stay.saturating_sub(1);
    }
    // Those of one id stand by end and name, so that the order does not depend on how they came.
    kept.sort_by(|a, b| {
        let key = |s: &Span| (s.start_ns, s.trace_id, s.span_id, s.is_shared, s.end_ns);
        key(a).cmp(&key(b)).then_with(|| a.name.cmp(&b.name))
    });
    Kept {
        spans: kept,
        duplicates,
        superseded,
        conflicts,
    }
}
