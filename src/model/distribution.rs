//! A multiset of numbers for percentiles by nearest rank.
//!
//! A percentile must print the same digits whatever the layout of the file, so that numbers are kept,
//! not sketched. Percentages mostly come as decimals of one or two digits: those are counted, by value.

use hashbrown::HashMap;

/// Decimals up to this many hundredths (655.35) are counted by value.
const HUNDREDTHS_MAX: u64 = (1 << 16) - 1;
/// Other numbers are kept one by one up to this many (16 MiB), and then rounded to
/// [`COARSE_BITS`] and counted. Tests cross a lower bound sooner.
const OTHERS_MAX: usize = if cfg!(test) { 1 << 11 } else { 1 << 21 };
/// Bits of the fraction of a double that rounding leaves: a relative error of at most 2^-11.
const COARSE_BITS: u32 = 10;
/// Values whose decimals are worked out at once.
const CHUNK: usize = 128;

/// Numbers and how often each occurs; NaNs are no numbers, infinities are.
///
/// Percentiles are exact as long as at most 2^21 (2 million) numbers are no decimals of at most two
/// digits between 0 and 655.35. Beyond that such numbers, all of them, count as what they are when
/// rounded to eleven significant bits (three digits), so that memory is bounded. Either way, the answer
/// depends on the numbers alone, not on the order in which they were added or merged.
#[derive(Clone, Debug)]
pub struct Distribution {
    /// Occurrences of decimals by slot: tenths, or hundredths once there is a number that needs them.
    counts: Vec<u64>,
    /// Slots for a difference of 1: 10 or 100.
    slots_per_unit: u64,
    /// Sum of `counts`.
    counted: u64,
    others: Others,
}

/// Numbers that are no such decimals: one by one or, beyond the bound, rounded.
#[derive(Clone, Debug, Default)]
struct Others {
    each: Vec<f64>,
    /// Occurrences by the bits of the rounded number.
    rounded: Option<HashMap<u64, u64>>,
}

impl Default for Distribution {
    fn default() -> Self {
        Self {
            counts: Vec::new(),
            slots_per_unit: 10,
            counted: 0,
            others: Others::default(),
        }
    }
}

/// The same numbers, equally often.
impl PartialEq for Distribution {
    fn eq(&self, other: &Self) -> bool {
        let bits = |runs: Vec<(f64, u64)>| -> Vec<(u64, u64)> {
            runs.iter().map(|run| (run.0.to_bits(), run.1)).collect()
        };
        bits(self.runs()) == bits(other.runs())
    }
}

impl Distribution {
    /// Adds a number.
    pub fn push(&mut self, value: f64) {
        self.push_n(value, 1);
    }

    /// Adds a number that occurs `n` times.
    pub fn push_n(&mut self, value: f64, n: u64) {
        if value.is_nan() || n == 0 {
            return;
        }
        match hundredths(value) {
            Some(hundredths) => self.count(hundredths, n),
            None => self.others.add(value, n),
        }
    }

    /// Adds all that are numbers.
    pub fn extend(&mut self, values: &[f64]) {
        let mut slots = [0; CHUNK];
        for chunk in values.chunks(CHUNK) {
            let are_decimals = find_slots(chunk, self.slots_per_unit as f64, &mut slots);
            let slots = &slots[..chunk.len()];
            if !(are_decimals && self.has_room_for(slots)) {
                chunk.iter().for_each(|value| self.push(*value));
                continue;
            }
            for slot in slots {
                self.counts[*slot as usize] += 1;
            }
            self.counted += chunk.len() as u64;
        }
    }

    /// Adds all that are numbers, each as often as its count says; there are as many of those.
    pub fn extend_counted(&mut self, values: &[f64], counts: &[u64]) {
        let mut slots = [0; CHUNK];
        for (chunk, counts) in values.chunks(CHUNK).zip(counts.chunks(CHUNK)) {
            let are_decimals = find_slots(chunk, self.slots_per_unit as f64, &mut slots);
            let slots = &slots[..chunk.len()];
            if !(are_decimals && self.has_room_for(slots)) {
                let each = chunk.iter().zip(counts);
                each.for_each(|(value, n)| self.push_n(*value, *n));
                continue;
            }
            for (slot, n) in slots.iter().zip(counts) {
                self.counts[*slot as usize] += n;
                self.counted += n;
            }
        }
    }

    /// Whether all these slots are there.
    fn has_room_for(&self, slots: &[u64]) -> bool {
        let farthest = slots.iter().fold(0, |farthest, slot| farthest.max(*slot));
        farthest < self.counts.len() as u64
    }

    /// Adds all numbers of another.
    pub fn merge(&mut self, other: &Self) {
        let hundredths_per_slot = 100 / other.slots_per_unit;
        if other.slots_per_unit > self.slots_per_unit {
            self.refine();
        }
        let step = (self.slots_per_unit / other.slots_per_unit) as usize;
        if let Some(last) = other.counts.iter().rposition(|n| *n > 0) {
            self.reach((last as u64 * hundredths_per_slot * self.slots_per_unit / 100) as usize);
            let ours = self.counts.iter_mut().step_by(step);
            for (ours, theirs) in ours.zip(&other.counts[..=last]) {
                *ours += theirs;
            }
        }
        self.counted += other.counted;
        self.others.merge(&other.others);
    }

    /// Number of numbers.
    pub fn len(&self) -> u64 {
        self.counted + self.others.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Percentile by nearest rank: the smallest number that at least `percent` of a hundred are not
    /// above. `None` without numbers.
    pub fn percentile(&self, percent: u32) -> Option<f64> {
        self.percentiles([percent]).map(|[value]| value)
    }

    /// Several percentiles at once, quickest when they ascend.
    pub fn percentiles<const N: usize>(&self, percents: [u32; N]) -> Option<[f64; N]> {
        let len = self.len();
        if len == 0 {
            return None;
        }
        let rank = |percent: u32| {
            let rank = (u128::from(len) * u128::from(percent)).div_ceil(100);
            (rank as u64).clamp(1, len)
        };
        let ranks = percents.map(rank);
        if self.others.len() == 0 {
            return Some(look_up(&self.decimals(), ranks));
        }
        if self.others.rounded.is_none() && self.others.each.len() as u64 > self.counted {
            // Selecting among many is quicker than sorting them.
            let mut all = self.others.each.clone();
            for (value, n) in self.decimals() {
                all.extend(std::iter::repeat_n(value, n as usize));
            }
            return Some(select(&mut all, ranks));
        }
        Some(look_up(&self.runs().into_iter(), ranks))
    }

    /// Counts a decimal.
    fn count(&mut self, hundredths: u64, n: u64) {
        if self.slots_per_unit == 10 && !hundredths.is_multiple_of(10) {
            self.refine();
        }
        let slot = (hundredths * self.slots_per_unit / 100) as usize;
        self.reach(slot);
        self.counts[slot] += n;
        self.counted += n;
    }

    /// Makes room for a slot.
    fn reach(&mut self, slot: usize) {
        if slot >= self.counts.len() {
            self.counts.resize((slot + 1).next_power_of_two(), 0);
        }
    }

    /// Goes over to hundredths.
    fn refine(&mut self) {
        if self.slots_per_unit == 10 {
            let mut counts = vec![0; self.counts.len() * 10];
            for (finer, n) in counts.iter_mut().step_by(10).zip(&self.counts) {
                *finer = *n;
            }
            self.counts = counts;
            self.slots_per_unit = 100;
        }
    }

    /// Decimals that occur, ascending, with their occurrences.
    fn decimals(&self) -> impl Iterator<Item = (f64, u64)> + Clone {
        let per_unit = self.slots_per_unit as f64;
        let all = self.counts.iter().enumerate();
        all.filter(|(_, n)| **n > 0)
            .map(move |(slot, n)| (slot as f64 / per_unit, *n))
    }

    /// Numbers that occur, ascending, with their occurrences; equal ones stand in one run.
    fn runs(&self) -> Vec<(f64, u64)> {
        let mut runs: Vec<(f64, u64)> = self.decimals().collect();
        runs.extend(self.others.each.iter().map(|value| (*value, 1)));
        let rounded = self.others.rounded.iter().flatten();
        runs.extend(rounded.map(|(bits, n)| (f64::from_bits(*bits), *n)));
        runs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        runs.dedup_by(|next, kept| {
            let same = next.0.to_bits() == kept.0.to_bits();
            if same {
                kept.1 += next.1;
            }
            same
        });
        runs
    }
}

impl Others {
    fn len(&self) -> u64 {
        let rounded: u64 = self.rounded.iter().flatten().map(|(_, n)| n).sum();
        self.each.len() as u64 + rounded
    }

    /// Whether so many more can be kept one by one.
    fn has_room_for(&self, more: u64) -> bool {
        self.rounded.is_none() && more <= (OTHERS_MAX - self.each.len()) as u64
    }

    fn add(&mut self, value: f64, n: u64) {
        if self.has_room_for(n) {
            self.each.extend(std::iter::repeat_n(value, n as usize));
        } else {
            *self.counts().entry(round(value).to_bits()).or_default() += n;
        }
    }

    fn merge(&mut self, other: &Self) {
        if self.has_room_for(other.len()) && other.rounded.is_none() {
            self.each.extend_from_slice(&other.each);
            return;
        }
        let counts = self.counts();
        for value in &other.each {
            *counts.entry(round(*value).to_bits()).or_default() += 1;
        }
        for (bits, n) in other.rounded.iter().flatten() {
            *counts.entry(*bits).or_default() += n;
        }
    }

    /// The rounded ones; from now on all are.
    fn counts(&mut self) -> &mut HashMap<u64, u64> {
        let counts = self.rounded.get_or_insert_default();
        for value in std::mem::take(&mut self.each) {
            *counts.entry(round(value).to_bits()).or_default() += 1;
        }
        counts
    }
}

/// The hundredths that the number is, bit for bit, if it is a decimal that is counted.
fn hundredths(value: f64) -> Option<u64> {
    let number = (value * 100.0 + 0.5) as u64;
    let is_exact = (number as f64 / 100.0).to_bits() == value.to_bits();
    (is_exact && number <= HUNDREDTHS_MAX).then_some(number)
}

/// Works out `value * per_unit` of each; false if some are not whole, bit for bit. What is no number or
/// lies outside of any range gives a slot that no array has.
///
/// Without branches and conversions, so that it can be vectorised: adding 1.5 * 2^52 leaves a number
/// below 2^51 in the low bits of the sum, rounded.
fn find_slots(values: &[f64], per_unit: f64, slots: &mut [u64; CHUNK]) -> bool {
    const MAGIC: f64 = 6_755_399_441_055_744.0;
    let mut wrong = 0;
    for (value, slot) in values.iter().zip(slots) {
        let shifted = value * per_unit + MAGIC;
        *slot = shifted.to_bits().wrapping_sub(MAGIC.to_bits());
        wrong |= value.to_bits() ^ ((shifted - MAGIC) / per_unit).to_bits();
    }
    wrong == 0
}

/// The number with [`COARSE_BITS`] of its fraction, to nearest, halves away from zero.
fn round(value: f64) -> f64 {
    let dropped = 52 - COARSE_BITS;
    let mask = (1_u64 << dropped) - 1;
    let rounded = f64::from_bits((value.to_bits() + (1 << (dropped - 1))) & !mask);
    if rounded.is_finite() || value.is_infinite() {
        rounded
    } else {
        f64::from_bits(value.to_bits() & !mask)
    }
}

/// Values at the ranks, which count from 1.
fn select<const N: usize>(all: &mut [f64], ranks: [u64; N]) -> [f64; N] {
    let mut sorted_below = 0;
    ranks.map(|rank| {
        let at = rank as usize - 1;
        // What lies before the last rank is smaller already.
        let start = if at >= sorted_below { sorted_below } else { 0 };
        let rest = &mut all[start..];
        let (_, value, _) = rest.select_nth_unstable_by(at - start, f64::total_cmp);
        sorted_below = at;
        *value
    })
}

/// Values at the ranks, which count from 1, in runs that ascend.
fn look_up<const N: usize>(
    runs: &(impl Iterator<Item = (f64, u64)> + Clone),
    ranks: [u64; N],
) -> [f64; N] {
    ranks.map(|rank| {
        let mut below = 0;
        let run = runs.clone().find(|(_, n)| {
            below += n;
            below >= rank
        });
        run.map_or(f64::NAN, |(value, _)| value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// By the definition: sorted, and the rank counted.
    fn slowly(values: &[f64], percent: u64) -> Option<u64> {
        let mut sorted: Vec<f64> = values.iter().copied().filter(|v| !v.is_nan()).collect();
        sorted.sort_by(f64::total_cmp);
        let rank = (sorted.len() as u64 * percent).div_ceil(100).max(1);
        Some(sorted.get(rank as usize - 1)?.to_bits())
    }

    fn of(values: &[f64]) -> Distribution {
        let mut all = Distribution::default();
        all.extend(values);
        all
    }

    #[track_caller]
    fn assert_percentiles(found: &Distribution, values: &[f64]) {
        let told = found.percentiles([0, 1, 50, 95, 99, 100]);
        for (percent, at) in [0, 1, 50, 95, 99, 100].into_iter().zip(0..) {
            assert_eq!(
                told.map(|all| all[at].to_bits()),
                slowly(values, percent),
                "p{percent} of {values:?}"
            );
        }
        assert_eq!(
            found.percentile(50).map(f64::to_bits),
            slowly(values, 50),
            "{values:?}"
        );
        let numbers = values.iter().filter(|v| !v.is_nan()).count();
        assert_eq!(found.len(), numbers as u64);
        assert_eq!(found.is_empty(), numbers == 0);
    }

    #[test]
    fn the_rank_is_the_nearest() {
        let values: Vec<f64> = (1..=20).map(f64::from).collect();
        let all = of(&values);
        assert_eq!(all.percentiles([50, 95, 99]), Some([10.0, 19.0, 20.0]));
        assert_eq!(all.percentiles([99, 5, 6]), Some([20.0, 1.0, 2.0]));
        // 7 % of 100 is 7, which it is not in doubles.
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(of(&hundred).percentile(7), Some(7.0));
        assert_eq!(of(&[]).percentile(50), None);
        assert_eq!(of(&[f64::NAN]).percentile(50), None);
    }

    #[test]
    fn unusual_numbers_keep_their_bits() {
        let values = [
            -0.0,
            0.0,
            f64::INFINITY,
            f64::NEG_INFINITY,
            655.35,
            655.36,
            -1.5,
            0.1 + 0.2,
            0.3,
            1e300,
            5e-324,
            f64::NAN,
            12.34,
            9_007_199_254_740_993.0,
        ];
        for n in 0..=values.len() {
            assert_percentiles(&of(&values[..n]), &values[..n]);
        }
        let mut one_by_one = Distribution::default();
        values.iter().for_each(|v| one_by_one.push(*v));
        assert_eq!(one_by_one, of(&values));
        assert_ne!(of(&[0.0]), of(&[-0.0]));
    }

    #[test]
    fn finer_and_coarser_decimals_meet() {
        let (tenths, hundredths) = ([0.1, 99.9, 50.0], [0.01, 99.99, 50.0]);
        let both = [tenths, hundredths].concat();
        let mut one = of(&tenths);
        one.merge(&of(&hundredths));
        let mut other = of(&hundredths);
        other.merge(&of(&tenths));
        assert_percentiles(&one, &both);
        assert_percentiles(&other, &both);
        assert_eq!(one, other);
    }

    #[test]
    fn beyond_the_bound_three_digits_remain_in_any_order() {
        let third = |i: usize| (i % 1000) as f64 / 3.0 + 0.001;
        let n = OTHERS_MAX + 1000;
        let forwards: Vec<f64> = (0..n).map(third).collect();
        let whole = of(&forwards);
        assert_eq!(whole.len(), n as u64);
        let mut parts = Distribution::default();
        for part in forwards.rchunks(n / 3) {
            parts.merge(&of(part));
        }
        assert_eq!(whole, parts);
        let mut onto = of(&forwards[..10]);
        onto.merge(&of(&forwards[10..]));
        assert_eq!(whole, onto);
        for percent in [1, 50, 99] {
            let exact = f64::from_bits(slowly(&forwards, percent).unwrap());
            let told = whole.percentile(percent as u32).unwrap();
            assert!((told - exact).abs() <= exact / 2048.0, "{told} {exact}");
        }
        assert_eq!(round(f64::MAX).to_bits(), 0x7fef_fc00_0000_0000);
        assert_eq!(round(f64::NEG_INFINITY), f64::NEG_INFINITY);
    }

    fn any_value() -> impl Strategy<Value = f64> {
        prop_oneof![
            4 => (0..1001_u32).prop_map(|n| f64::from(n) / 10.0),
            2 => (0..70_000_u32).prop_map(|n| f64::from(n) / 100.0),
            1 => (-5_000..5_000_i32).prop_map(|n| f64::from(n) / 1000.0),
            1 => any::<f64>(),
            1 => any::<u64>().prop_map(f64::from_bits),
        ]
    }

    proptest! {
        #[test]
        fn percentiles_are_those_of_the_sorted_values(
            values in prop::collection::vec(any_value(), 0..150),
            cut in any::<prop::sample::Index>(),
            n in 0..5_u64,
        ) {
            assert_percentiles(&of(&values), &values);
            let (a, b) = values.split_at(cut.index(values.len() + 1));
            let mut merged = of(b);
            merged.merge(&of(a));
            assert_percentiles(&merged, &values);
            prop_assert_eq!(&merged, &of(&values));
            let counts: Vec<u64> = (0..values.len() as u64).map(|at| at % 3).collect();
            let (mut counted, mut repeated) = (Distribution::default(), Vec::new());
            for (value, n) in values.iter().zip(&counts) {
                repeated.extend(std::iter::repeat_n(*value, *n as usize));
            }
            // Twice, so that there is room the second time.
            counted.extend_counted(&values, &counts);
            counted.extend_counted(&values, &counts);
            assert_percentiles(&counted, &[repeated.as_slice(), &repeated].concat());
            if let Some(value) = values.first() {
                merged.push_n(*value, n);
                let repeated = std::iter::repeat_n(*value, n as usize);
                let more: Vec<f64> = values.iter().copied().chain(repeated).collect();
                assert_percentiles(&merged, &more);
            }
        }
    }
}
