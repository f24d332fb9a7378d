//! What the directory of a block says of the values of a series.

use super::{DIRECTORY_CUT_OFF, STATISTICS_SAMPLES_MIN};
use crate::{
    codec::{Corrupt, varint},
    model::{ExactSum, Increase, greater, lesser},
};

/// Statistics of a series in a block; only for series whose values are all finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    /// Value that is first in time.
    pub first: f64,
    /// Value that is last in time.
    pub last: f64,
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
    /// Doubles that add up to the exact sum.
    pub sum_parts: Vec<f64>,
    /// Sum of the values before each drop, for the increase of a counter.
    pub dropped: f64,
}

impl Statistics {
    /// Computes the statistics; `None` for few samples or values that are not finite.
    pub fn of(values: &[f64]) -> Option<Self> {
        let (first, last) = (*values.first()?, *values.last()?);
        if values.len() < STATISTICS_SAMPLES_MIN || !values.iter().all(|v| v.is_finite()) {
            return None;
        }
        let mut sum = ExactSum::default();
        let mut increase = Increase::default();
        let (mut min, mut max) = (first, first);
        for value in values {
            sum.add(*value);
            increase.push(*value);
            min = lesser(min, *value);
            max = greater(max, *value);
        }
        let sum_parts = sum.parts()?;
        Some(Self {
            first,
            last,
            min,
            max,
            sum_parts,
            dropped: increase.dropped(),
        })
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        for value in [self.first, self.last, self.min, self.max] {
            put_f64(out, value);
        }
        varint::put_u64(out, self.sum_parts.len() as u64);
        for part in &self.sum_parts {
            put_f64(out, *part);
        }
    }

    pub(super) fn take(input: &mut &[u8]) -> Result<Self, Corrupt> {
        let [first, last, min, max] = [
            take_f64(input)?,
            take_f64(input)?,
            take_f64(input)?,
            take_f64(input)?,
        ];
        let sum_parts = (0..take_part_count(input)?)
            .map(|_| take_f64(input))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            first,
            last,
            min,
            max,
            sum_parts,
            dropped: 0.0,
        })
    }

    /// Passes over what [`Self::take`] takes.
    pub(super) fn skip(input: &mut &[u8]) -> Result<(), Corrupt> {
        *input = input.get(4 * 8..).ok_or(DIRECTORY_CUT_OFF)?;
        let parts = take_part_count(input)?;
        *input = input.get(parts * 8..).unwrap_or_default();
        Ok(())
    }
}

/// Parts of a sum, which are all there.
fn take_part_count(input: &mut &[u8]) -> Result<usize, Corrupt> {
    let parts = varint::take_u64(input)? as usize;
    if parts > input.len() / 8 {
        return Err(Corrupt::new(
            "a sum has more parts than its block has bytes",
        ));
    }
    Ok(parts)
}

pub(super) fn put_f64(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(&value.to_bits().to_le_bytes());
}

pub(super) fn take_f64(input: &mut &[u8]) -> Result<f64, Corrupt> {
    let (bytes, rest) = input.split_first_chunk::<8>().ok_or(DIRECTORY_CUT_OFF)?;
    *input = rest;
    Ok(f64::from_bits(u64::from_le_bytes(*bytes)))
}
