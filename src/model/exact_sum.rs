//! A sum of doubles that does not depend on the order of its terms.
//!
//! Averages must print the same digits whatever the layout of the file: before and after a flush, a
//! merge or a copy. So terms are added exactly into a wide fixed-point number and rounded once.
//! Source: U. Kulisch, "Very fast and exact accumulation of products"; the small superaccumulator of
//! R. Neal, "Fast exact summation using small and large superaccumulators" (arXiv:1505.05571).

/// Bits of one limb's own digits; the rest of the `i64` takes carries.
const LIMB_BITS: i32 = 32;
/// Limbs for 2^-1074 .. 2^1024 and 64 bits of head room.
const LIMBS: usize = 69;
/// A term adds less than 2^32 to a limb, so this many fit before carries must be moved.
const TERMS_BEFORE_CARRY: u32 = 1 << 29;
/// Exponent of the lowest bit that a double can have.
const LOWEST_EXPONENT: i32 = -1074;

/// Exact sum of doubles; infinities and NaNs follow IEEE 754.
#[derive(Clone)]
pub struct ExactSum {
    limbs: [i64; LIMBS],
    uncarried: u32,
    special: f64,
}

impl Default for ExactSum {
    fn default() -> Self {
        Self {
            limbs: [0; LIMBS],
            uncarried: 0,
            special: 0.0,
        }
    }
}

impl std::fmt::Debug for ExactSum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ExactSum({})", self.to_f64())
    }
}

impl PartialEq for ExactSum {
    fn eq(&self, other: &Self) -> bool {
        let (mut a, mut b) = (self.clone(), other.clone());
        a.carry();
        b.carry();
        a.limbs == b.limbs && (a.special == b.special || (a.special.is_nan() && b.special.is_nan()))
    }
}

impl ExactSum {
    /// Adds one term.
    pub fn add(&mut self, value: f64) {
        if !value.is_finite() {
            self.special += value;
            return;
        }
        let bits = value.to_bits();
        let exponent_field = ((bits >> 52) & 0x7ff) as i32;
        let fraction = bits & ((1 << 52) - 1);
        let (mantissa, shift) = if exponent_field == 0 {
            (fraction, 0)
        } else {
            (fraction | (1 << 52), exponent_field - 1)
        };
        self.add_shifted(mantissa, shift, value.is_sign_negative());
    }

    /// Adds `mantissa * 2^(shift - 1074)`.
    fn add_shifted(&mut self, mantissa: u64, shift: i32, negative: bool) {
        if self.uncarried >= TERMS_BEFORE_CARRY {
            self.carry();
        }
        self.uncarried += 1;
        let limb = (shift / LIMB_BITS) as usize;
        let wide = u128::from(mantissa) << (shift % LIMB_BITS);
        let parts = [
            (wide & 0xffff_ffff) as i64,
            ((wide >> 32) & 0xffff_ffff) as i64,
            (wide >> 64) as i64,
        ];
        for (slot, part) in self.limbs[limb..limb + 3].iter_mut().zip(parts) {
            *slot += if negative { -part } else { part };
        }
    }

    /// Adds all terms of another sum.
    pub fn merge(&mut self, other: &Self) {
        self.carry();
        let mut theirs = other.clone();
        theirs.carry();
        for (ours, theirs) in self.limbs.iter_mut().zip(theirs.limbs) {
            *ours += theirs;
        }
        self.uncarried = 1;
        self.special += other.special;
    }

    /// Moves carries up, so that every limb but the last lies in `0..2^32`.
    fn carry(&mut self) {
        let mut carry = 0i64;
        for limb in &mut self.limbs[..LIMBS - 1] {
            let sum = *limb + carry;
            carry = sum >> LIMB_BITS;
            *limb = sum & 0xffff_ffff;
        }
        self.limbs[LIMBS - 1] += carry;
        self.uncarried = 0;
    }

    /// Magnitude as carried limbs and the sign.
    fn magnitude(&self) -> (bool, [i64; LIMBS]) {
        let mut sum = self.clone();
        sum.carry();
        let negative = sum.limbs[LIMBS - 1] < 0;
        if negative {
            for limb in &mut sum.limbs {
                *limb = -*limb;
            }
            sum.carry();
        }
        (negative, sum.limbs)
    }

    /// The sum, rounded once, to nearest, ties to even.
    pub fn to_f64(&self) -> f64 {
        if self.special != 0.0 {
            return self.special;
        }
        let (negative, limbs) = self.magnitude();
        let Some(top) = limbs.iter().rposition(|l| *l != 0) else {
            return 0.0;
        };
        // 96 bits from the top limb down hold at least 65 significant ones; what lies below is sticky.
        let at = |i: usize| limbs.get(i).copied().unwrap_or(0) as u128;
        let low = top.saturating_sub(2);
        let mut window = at(low) | (at(low + 1) << 32) | (at(low + 2) << 64);
        let sticky = limbs[..low].iter().any(|l| *l != 0);
        let mut exponent = LOWEST_EXPONENT + low as i32 * LIMB_BITS;
        // Bring the window to exactly 64 bits, folding what falls off into the sticky bit.
        let bits = 128 - window.leading_zeros() as i32;
        let mut lost = sticky;
        if bits > 64 {
            let drop = bits - 64;
            lost |= window & ((1u128 << drop) - 1) != 0;
            window >>= drop;
            exponent += drop;
        }
        let value = round_to_f64(window as u64, exponent, lost);
        if negative { -value } else { value }
    }

    /// The sum divided by `count`, which must not be 0: one rounding of the sum, one of the quotient.
    pub fn mean(&self, count: u64) -> f64 {
        self.to_f64() / count as f64
    }

    /// Doubles that add up to this sum exactly, largest first; `None` for sums that are not finite or do not fit.
    /// This is the sum's stored form: mostly one or two doubles.
    pub fn parts(&self) -> Option<Vec<f64>> {
        if self.special != 0.0 {
            return None;
        }
        let mut rest = self.clone();
        let mut parts = Vec::new();
        loop {
            let part = rest.to_f64();
            if part == 0.0 {
                return Some(parts);
            }
            if !part.is_finite() {
                return None;
            }
            parts.push(part);
            rest.add(-part);
        }
    }
}

/// `mantissa * 2^exponent`, with something below it when `sticky`, to nearest, ties to even.
fn round_to_f64(mantissa: u64, exponent: i32, sticky: bool) -> f64 {
    if mantissa == 0 {
        return 0.0;
    }
    let bits = 64 - mantissa.leading_zeros() as i32;
    // Lowest bit that the result keeps: 53 bits of mantissa, or the subnormal floor.
    let keep_from = (exponent + bits - 53).max(LOWEST_EXPONENT);
    let drop = keep_from - exponent;
    let mut kept = mantissa;
    if drop > 0 {
        if drop > 64 {
            return 0.0;
        }
        let below = if drop == 64 {
            mantissa
        } else {
            mantissa & ((1 << drop) - 1)
        };
        kept = if drop == 64 { 0 } else { mantissa >> drop };
        let half = 1u64 << (drop - 1);
        let round_up = below > half || (below == half && (sticky || kept & 1 == 1));
        kept += u64::from(round_up);
    }
    let exponent = if drop > 0 { keep_from } else { exponent };
    scale(kept as f64, exponent)
}

/// `value * 2^exponent` in steps that stay exact.
fn scale(mut value: f64, mut exponent: i32) -> f64 {
    let power = |e: i32| f64::from_bits(((e + 1023) as u64) << 52);
    while exponent > 1000 {
        value *= power(1000);
        exponent -= 1000;
    }
    while exponent < -1000 {
        // The kept mantissa has no bit below the subnormal floor, so the last step is exact too.
        let step = exponent.max(-1000);
        value *= power(step);
        exponent -= step;
    }
    value * power(exponent)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(values: &[f64]) -> ExactSum {
        let mut sum = ExactSum::default();
        values.iter().for_each(|v| sum.add(*v));
        sum
    }

    #[test]
    fn cancellation_loses_nothing() {
        assert_eq!(sum(&[1e308, 1.0, -1e308]).to_f64(), 1.0);
        assert_eq!(sum(&[1e16, 1.0, -1e16, 5e-324]).to_f64(), 1.0);
        assert_eq!(sum(&[f64::MAX, f64::MAX]).to_f64(), f64::INFINITY);
        assert_eq!(sum(&[f64::MAX, f64::MAX, -f64::MAX]).to_f64(), f64::MAX);
        assert_eq!(sum(&[0.1; 10]).to_f64(), 1.0);
        assert!(sum(&[f64::INFINITY, f64::NEG_INFINITY]).to_f64().is_nan());
        assert_eq!(sum(&[]).to_f64().to_bits(), 0);
    }

    proptest! {
        #[test]
        fn one_term_is_itself(v in any::<f64>().prop_filter("finite", |v| v.is_finite())) {
            prop_assert_eq!(sum(&[v]).to_f64(), v);
        }

        #[test]
        fn two_terms_round_as_ieee(a in any::<f64>(), b in any::<f64>()) {
            prop_assume!(a.is_finite() && b.is_finite());
            let exact = sum(&[a, b]).to_f64();
            prop_assert_eq!(exact, a + b);
        }

        #[test]
        fn order_and_grouping_do_not_matter(
            values in prop::collection::vec(any::<f64>().prop_filter("finite", |v| v.is_finite()), 0..40),
            cut in 0usize..40,
        ) {
            let forward = sum(&values);
            let mut reversed = values.clone();
            reversed.reverse();
            prop_assert_eq!(&forward, &sum(&reversed));
            let cut = cut.min(values.len());
            let mut merged = sum(&values[..cut]);
            merged.merge(&sum(&values[cut..]));
            prop_assert_eq!(&forward, &merged);
            if let Some(parts) = forward.parts() {
                prop_assert_eq!(&forward, &sum(&parts));
            }
        }
    }
}
