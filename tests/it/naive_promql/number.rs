//! Numbers that know how far rounding may have moved them.
//!
//! Two evaluators that add in another order differ by ulps, and a comparison, `floor()` or a division by a difference that should be
//! zero makes anything of an ulp. So every number carries a bound of its error: 0 says that any right evaluator has the very same
//! bits, and a decision that hangs on less than the bound is [`Trouble::Undecided`].

use std::ops::{Add, Div, Mul, Sub};

/// Why there is no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The query must fail.
    Fails(&'static str),
    /// Rounding or an order that is not specified decides; nothing can be said.
    Undecided,
}

/// How many times larger than the bound another way of calculating may go astray.
const SLACK: f64 = 64.0;

/// A value, and how far off it may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Num {
    pub(super) value: f64,
    pub(super) error: f64,
}

impl Num {
    pub(super) const fn exact(value: f64) -> Self {
        Self { value, error: 0.0 }
    }

    /// What one operation makes of finite operands.
    fn rounded(value: f64, error: f64, is_exact: bool) -> Self {
        if !value.is_finite() {
            return Self {
                value,
                error: f64::INFINITY,
            };
        }
        let own = if is_exact {
            0.0
        } else {
            value.abs() * f64::EPSILON
        };
        Self {
            value,
            error: error + own,
        }
    }

    /// What one operation makes of infinities and NaN; the sign of a number close to zero may decide then.
    fn special(a: Self, b: Self, value: f64) -> Self {
        let error = if a.may_be_zero() || b.may_be_zero() {
            f64::INFINITY
        } else {
            0.0
        };
        Self { value, error }
    }

    /// Whether it is not known on which side of zero it lies.
    fn may_be_zero(self) -> bool {
        self.error > 0.0 && self.value.abs() <= self.error * SLACK
    }

    const fn is_finite(self) -> bool {
        self.value.is_finite()
    }

    /// A function that both evaluators calculate alike where its operands are exact.
    pub(super) fn through(self, function: impl Fn(f64) -> f64) -> Self {
        Self::through_two(self, Self::exact(0.0), |value, _| function(value))
    }

    /// The same of two operands: how far apart it is at the corners of what they may be.
    pub(super) fn through_two(a: Self, b: Self, function: impl Fn(f64, f64) -> f64) -> Self {
        let value = function(a.value, b.value);
        if a.error == 0.0 && b.error == 0.0 {
            return Self::exact(value);
        }
        let mut error = value.abs() * f64::EPSILON;
        for x in [a.value - a.error, a.value, a.value + a.error] {
            for y in [b.value - b.error, b.value, b.value + b.error] {
                let other = function(x, y);
                let is_same = other == value || (other.is_nan() && value.is_nan());
                if !is_same {
                    let apart = (other - value).abs();
                    error = error.max(if apart.is_nan() { f64::INFINITY } else { apart });
                }
            }
        }
        Self { value, error }
    }

    /// What others calculate in another way, even if nothing was lost here.
    pub(super) fn blurred(self) -> Self {
        self.blurred_by(self.value.abs())
    }

    /// What others calculate by way of numbers of that size.
    pub(super) fn blurred_by(self, size: f64) -> Self {
        let own = size * f64::EPSILON;
        let error = self.error.max(if own.is_finite() { own } else { 0.0 });
        Self { error, ..self }
    }

    pub(super) const fn is_nan(self) -> bool {
        self.value.is_nan()
    }

    /// Whether a comparison with another number is safe.
    fn decided(self, other: Self) -> Result<(), Trouble> {
        let error = (self.error + other.error) * SLACK;
        let is_close =
            error > 0.0 && (!error.is_finite() || (self.value - other.value).abs() <= error);
        if is_close {
            return Err(Trouble::Undecided);
        }
        Ok(())
    }

    pub(super) fn equals(self, other: Self) -> Result<bool, Trouble> {
        self.decided(other)?;
        Ok(self.value == other.value)
    }

    pub(super) fn is_less(self, other: Self) -> Result<bool, Trouble> {
        self.decided(other)?;
        Ok(self.value < other.value)
    }

    /// Whether another evaluator may have found this value.
    pub(super) fn agrees(self, found: f64) -> Result<bool, Trouble> {
        if self.error == 0.0 {
            return Ok(found == self.value || (found.is_nan() && self.value.is_nan()));
        }
        let allowed = self.error * SLACK + self.value.abs() * 1e-13;
        if !allowed.is_finite() || allowed > 1e-9_f64.max(self.value.abs() * 1e-6) {
            return Err(Trouble::Undecided);
        }
        Ok((found - self.value).abs() <= allowed)
    }
}

impl Add for Num {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let (a, b) = (self.value, other.value);
        let sum = a + b;
        if !self.is_finite() || !other.is_finite() {
            return Self::special(self, other, sum);
        }
        // What rounding took away (Knuth's two-sum).
        let seen = sum - a;
        let lost = (a - (sum - seen)) + (b - seen);
        Self::rounded(sum, self.error + other.error, lost == 0.0)
    }
}

impl Sub for Num {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + Self {
            value: -other.value,
            error: other.error,
        }
    }
}

impl Mul for Num {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        let (a, b) = (self.value, other.value);
        let product = a * b;
        if !self.is_finite() || !other.is_finite() {
            return Self::special(self, other, product);
        }
        let error = a.abs() * other.error + b.abs() * self.error + self.error * other.error;
        Self::rounded(product, error, a.mul_add(b, -product) == 0.0)
    }
}

impl Div for Num {
    type Output = Self;

    fn div(self, other: Self) -> Self {
        let (a, b) = (self.value, other.value);
        let quotient = a / b;
        if !self.is_finite() || !other.is_finite() || b == 0.0 {
            return Self::special(self, other, quotient);
        }
        let error = (self.error + quotient.abs() * other.error) / (b.abs() - other.error);
        if error < 0.0 {
            return Self {
                value: quotient,
                error: f64::INFINITY,
            };
        }
        Self::rounded(quotient, error, quotient.mul_add(b, -a) == 0.0)
    }
}

/// Adds up from left to right.
pub(super) fn sum(values: &[Num]) -> Num {
    let mut total = values[0];
    for value in &values[1..] {
        total = total + *value;
    }
    total
}

pub(super) fn mean(values: &[Num]) -> Num {
    sum(values) / Num::exact(values.len() as f64)
}

/// The mean of the squares of the distances from the mean, which others add up to while it is rounded at every value.
pub(super) fn variance(values: &[Num]) -> Num {
    let mean = mean(values).blurred();
    let mut squares = Vec::new();
    for value in values {
        squares.push((*value - mean) * (*value - mean));
    }
    self::mean(&squares).blurred()
}

pub(super) fn deviation(values: &[Num]) -> Num {
    let root = |square: f64| if square < 0.0 { 0.0 } else { square.sqrt() };
    variance(values).through(root)
}

/// NaN counts as less than any number; between two ranks the line decides.
pub(super) fn quantile(q: Num, values: &[Num]) -> Result<Num, Trouble> {
    if q.error != 0.0 {
        return Err(Trouble::Undecided);
    }
    let q = q.value;
    if q.is_nan() {
        return Ok(Num::exact(f64::NAN));
    }
    if !(0.0..=1.0).contains(&q) {
        return Ok(Num::exact(q.signum() * f64::INFINITY));
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| match (a.is_nan(), b.is_nan()) {
        (false, false) => a.value.total_cmp(&b.value),
        (a, b) => b.cmp(&a),
    });
    let rank = q * (sorted.len() - 1) as f64;
    let below = rank.floor();
    let weight = rank - below;
    let above = sorted[(below as usize + 1).min(sorted.len() - 1)];
    let below = sorted[below as usize];
    Ok(below * Num::exact(1.0 - weight) + above * Num::exact(weight))
}
