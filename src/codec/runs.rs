//! Values that are patched over a column, in runs of equal bits.
//!
//! ```text
//! | varint how many runs | each: varint gap, varint (length - 1) * 8 + kind, 8 bytes if kind is 0 |
//! ```
//!
//! The gap counts the values since the end of the last run. Kind 0 brings the bits of its value,
//! little endian; the others need none: stale markers come often.

use super::{Corrupt, varint};

/// Bits of the values that need no bytes of their own in a run; kind 1 is the first.
pub(super) const KINDS: [u64; 6] = [
    // The stale marker of Prometheus, its ordinary NaN, the infinities, minus zero, Rust's NaN.
    0x7ff0_0000_0000_0002,
    0x7ff8_0000_0000_0001,
    0x7ff0_0000_0000_0000,
    0xfff0_0000_0000_0000,
    0x8000_0000_0000_0000,
    0x7ff8_0000_0000_0000,
];

/// Neighbours of equal bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// Position of the first.
    pub at: usize,
    /// How many, one or more.
    pub len: usize,
    /// Their bits.
    pub bits: u64,
}

/// Takes runs off the front of `input`; all lie within `count` values.
///
/// # Errors
/// They are cut short, reach beyond `count`, or are of a kind that [`put`] does not write.
pub(super) fn take(input: &mut &[u8], count: usize) -> Result<Vec<Run>, Corrupt> {
    let how_many = varint::take_u64(input)?;
    // A run takes two bytes and one value or more.
    if how_many > count.min(input.len() / 2) as u64 {
        return Err(Corrupt::new("more runs than values"));
    }
    let mut runs = Vec::with_capacity(how_many as usize);
    let mut end = 0_usize;
    for _ in 0..how_many {
        let gap = varint::take_u64(input)?;
        let word = varint::take_u64(input)?;
        let bits = match word % 8 {
            0 => {
                let (bits, rest) = input
                    .split_first_chunk()
                    .ok_or(Corrupt::new("truncated run"))?;
                *input = rest;
                u64::from_le_bytes(*bits)
            }
            kind => *KINDS
                .get(kind as usize - 1)
                .ok_or(Corrupt::new("unknown kind of run"))?,
        };
        let inside = |n: u64| usize::try_from(n).ok().filter(|n| *n < count);
        let (Some(gap), Some(len)) = (inside(gap), inside(word / 8)) else {
            return Err(Corrupt::new("run outside its column"));
        };
        let (at, len) = (end + gap, len + 1);
        end = at + len;
        if end > count {
            return Err(Corrupt::new("run outside its column"));
        }
        runs.push(Run { at, len, bits });
    }
    Ok(runs)
}

/// Appends the runs of `values` at `exceptions`, which are positions, ascending.
pub(super) fn put(values: &[f64], exceptions: &[usize], out: &mut Vec<u8>) {
    let mut runs: Vec<Run> = Vec::new();
    for &at in exceptions {
        let bits = values[at].to_bits();
        match runs.last_mut() {
            Some(run) if run.at + run.len == at && run.bits == bits => run.len += 1,
            _ => runs.push(Run { at, len: 1, bits }),
        }
    }
    varint::put_u64(out, runs.len() as u64);
    let mut end = 0;
    for run in runs {
        let kind = KINDS
            .iter()
            .position(|bits| *bits == run.bits)
            .map_or(0, |k| k + 1);
        varint::put_u64(out, (run.at - end) as u64);
        varint::put_u64(out, ((run.len - 1) * 8 + kind) as u64);
        if kind == 0 {
            out.extend_from_slice(&run.bits.to_le_bytes());
        }
        end = run.at + run.len;
    }
}
