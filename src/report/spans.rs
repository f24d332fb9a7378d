//! Sets of moments: spans of milliseconds that neither overlap nor touch.

use std::ops::Range;

/// Spans `start..end` in milliseconds since the epoch, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Spans(Vec<Range<i64>>);

/// All moments that lie in at least one of the ranges.
impl FromIterator<Range<i64>> for Spans {
    fn from_iter<I: IntoIterator<Item = Range<i64>>>(ranges: I) -> Self {
        let mut ranges: Vec<_> = ranges.into_iter().filter(|r| !r.is_empty()).collect();
        ranges.sort_unstable_by_key(|r| r.start);
        let mut spans: Vec<Range<i64>> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match spans.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => spans.push(range),
            }
        }
        Self(spans)
    }
}

impl From<Range<i64>> for Spans {
    fn from(range: Range<i64>) -> Self {
        [range].into_iter().collect()
    }
}

impl Spans {
    /// The spans, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Range<i64>> {
        self.0.iter()
    }

    /// Moments that lie in either.
    pub(super) fn or(&self, other: &Self) -> Self {
        self.iter().chain(other.iter()).cloned().collect()
    }

    /// Moments that lie in both.
    pub(super) fn and(&self, other: &Self) -> Self {
        self.without(&self.without(other))
    }

    /// Moments of this one that do not lie in the other.
    pub(super) fn without(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        let mut others = other.0.as_slice();
        for span in &self.0 {
            let mut start = span.start;
            while let [next, rest @ ..] = others
                && next.start < span.end
            {
                if next.start > start {
                    left.push(start..next.start);
                }
                start = start.max(next.end);
                if next.end > span.end {
                    break;
                }
                others = rest;
            }
            if start < span.end {
                left.push(start..span.end);
            }
        }
        Self(left)
    }

    /// Milliseconds of all of them together.
    pub(super) fn length_ms(&self) -> i64 {
        self.0.iter().fold(0, |sum: i64, span| {
            sum.saturating_add(span.end.saturating_sub(span.start))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spans(ranges: &[(i64, i64)]) -> Spans {
        ranges.iter().map(|(start, end)| *start..*end).collect()
    }

    #[test]
    fn what_touches_is_one() {
        assert_eq!(
            spans(&[(5, 7), (0, 2), (2, 3), (6, 6)]),
            spans(&[(0, 3), (5, 7)])
        );
        assert_eq!(spans(&[(0, 9), (1, 2), (9, 12)]), Spans::from(0..12));
        assert_eq!(Spans::from(3..3), Spans::default());
        assert_eq!(Spans::from(i64::MIN..i64::MAX).length_ms(), i64::MAX);
    }

    fn any_ranges() -> impl Strategy<Value = Vec<(i64, i64)>> {
        prop::collection::vec((0..30_i64, 0..6_i64), 0..8)
            .prop_map(|all| all.into_iter().map(|(s, n)| (s, s + n)).collect())
    }

    proptest! {
        #[test]
        fn sets_are_those_of_their_moments(a in any_ranges(), b in any_ranges()) {
            let has = |ranges: &[(i64, i64)], t: i64| ranges.iter().any(|r| (r.0..r.1).contains(&t));
            let (left, right) = (spans(&a), spans(&b));
            let told = |set: &Spans, t: i64| set.iter().any(|r| r.contains(&t));
            for t in -1..40 {
                prop_assert_eq!(told(&left.or(&right), t), has(&a, t) || has(&b, t));
                prop_assert_eq!(told(&left.and(&right), t), has(&a, t) && has(&b, t));
                prop_assert_eq!(told(&left.without(&right), t), has(&a, t) && !has(&b, t));
            }
            let counted = (-1..40).filter(|t| has(&a, *t)).count();
            prop_assert_eq!(left.length_ms(), counted as i64);
        }
    }
}
