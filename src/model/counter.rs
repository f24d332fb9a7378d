//! The one rule for counter resets: a value below its predecessor counts from zero.

/// Increase of a counter over samples that are added in order of time.
///
/// Source of the rule: Prometheus, `promql/functions.go`: at every drop the value before it is added.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Increase {
    ends: Option<(f64, f64)>,
    dropped: f64,
    has_joined_drops: bool,
}

impl Increase {
    /// Adds the next value in time.
    pub fn push(&mut self, value: f64) {
        match &mut self.ends {
            None => self.ends = Some((value, value)),
            Some((_, last)) => {
                if value < *last {
                    self.dropped += *last;
                }
                *last = value;
            }
        }
    }

    /// Adds the next values in time.
    pub fn extend(&mut self, values: &[f64]) {
        let Some((first, rest)) = values.split_first() else {
            return;
        };
        self.push(*first);
        let (mut last, mut dropped) = (*first, self.dropped);
        for value in rest {
            // In order, since the sum of fractions depends on it.
            if *value < last {
                dropped += last;
            }
            last = *value;
        }
        self.dropped = dropped;
        if let Some((_, end)) = &mut self.ends {
            *end = last;
        }
    }

    /// Adds a stretch that lies after everything added so far, given its first and last value and the
    /// sum of the values before each drop inside of it. A reset at the border counts once.
    pub fn push_stretch(&mut self, first: f64, last: f64, dropped: f64) {
        self.push(first);
        self.dropped += dropped;
        self.has_joined_drops |= dropped != 0.0;
        if let Some((_, end)) = &mut self.ends {
            *end = last;
        }
    }

    /// Increase from the first value to the last, resets corrected; nothing below two values' worth.
    pub fn total(&self) -> Option<f64> {
        self.ends.map(|(first, last)| last - first + self.dropped)
    }

    /// Sum of the values before each drop.
    pub const fn dropped(&self) -> f64 {
        self.dropped
    }

    /// Whether a stretch brought drops that had been summed up elsewhere. Of values with a fraction the
    /// last digits of the total may then depend on where the stretches were cut; adding the values one
    /// by one gives the same digits always.
    pub const fn has_joined_drops(&self) -> bool {
        self.has_joined_drops
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_at_a_border_counts_once() {
        let values = [5.0, 9.0, 2.0, 4.0, 1.0, 7.0];
        let mut whole = Increase::default();
        values.iter().for_each(|v| whole.push(*v));
        assert_eq!(whole.total(), Some(4.0 + 2.0 + 2.0 + 1.0 + 6.0));
        for cut in 1..values.len() {
            let mut one_by_one = Increase::default();
            one_by_one.extend(&values[..cut]);
            one_by_one.extend(&values[cut..]);
            assert_eq!(one_by_one, whole);
            let mut joined = Increase::default();
            for part in [&values[..cut], &values[cut..]] {
                let mut inner = Increase::default();
                part.iter().for_each(|v| inner.push(*v));
                joined.push_stretch(part[0], part[part.len() - 1], inner.dropped());
            }
            assert_eq!(joined.total(), whole.total(), "cut at {cut}");
            assert!(joined.has_joined_drops());
        }
        assert!(!whole.has_joined_drops());
    }

    #[test]
    fn a_reset_at_a_border_alone_is_seen_by_itself() {
        let mut joined = Increase::default();
        joined.push_stretch(1.5, 9.25, 0.0);
        joined.push_stretch(0.5, 3.0, 0.0);
        assert_eq!(joined.total(), Some(7.75 + 3.0));
        assert!(!joined.has_joined_drops());
    }
}
