//! Where a counter was set back.

/// Places at which values fall below the one before.
pub(super) fn resets_of(values: &[f64]) -> Vec<usize> {
    let falls = values.windows(2).enumerate();
    let falls = falls.filter(|(_, pair)| pair[1] < pair[0]);
    falls.map(|(before, _)| before + 1).collect()
}

/// The resets inside of a window of the samples.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resets<'r> {
    places: &'r [usize],
    window_start: usize,
}

impl<'r> Resets<'r> {
    /// Those of `places` after the first sample of the window `start..end`.
    pub(super) fn within(places: &'r [usize], start: usize, end: usize) -> Self {
        let first = places.partition_point(|place| *place <= start);
        let last = places.partition_point(|place| *place < end);
        Self {
            places: places.get(first..last).unwrap_or_default(),
            window_start: start,
        }
    }

    pub(super) const fn count(&self) -> usize {
        self.places.len()
    }

    /// Sum of the values before each reset, which the counter had reached and lost; `values` are the window's.
    ///
    /// The one rule for counter resets is that of [`crate::model::Increase`]; a test holds the two together.
    pub(super) fn dropped(&self, values: &[f64]) -> f64 {
        let before = |place: &usize| values.get(place - self.window_start - 1);
        self.places.iter().filter_map(before).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Increase;

    proptest! {
        #[test]
        fn the_rule_is_that_of_counters(
            values in prop::collection::vec(0u16..50, 1..60), start in 0usize..60, length in 1usize..60,
        ) {
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            let start = start.min(values.len() - 1);
            let end = (start + length).min(values.len());
            let window = &values[start..end];
            let places = resets_of(&values);
            let resets = Resets::within(&places, start, end);
            let mut increase = Increase::default();
            increase.extend(window);
            prop_assert_eq!(resets.dropped(window), increase.dropped());
            prop_assert_eq!(resets.count(), resets_of(window).len());
        }
    }
}
