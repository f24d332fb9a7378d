//! Integers packed with as many bits as their spread needs.
//!
//! Frame of reference with patches: numbers are cut into frames of [`FRAME`]; each stores offsets
//! from its own reference in one width, so that a burst costs its own frame only, and the few
//! numbers that lie far from the rest stand beside them as patches. Source: M. Zukowski and others,
//! "Super-Scalar RAM-CPU Cache Compression" (PFOR); D. Lemire and L. Boytsov, "Decoding billions of
//! integers per second through vectorization".
//!
//! One frame of `n` numbers (`n` is known from the column's count):
//!
//! ```text
//! +---------------+------------------+------------------------------------------------+----------------+
//! | u8            | zigzag varint    | only if patched:                               | ceil(n w / 8)  |
//! | width w 0..64 | reference        | u8 how many (1..=n), each: u8 position,        | offsets, low   |
//! | + 128 patched |                  | zigzag varint number - reference (wrapping)    | bits first     |
//! +---------------+------------------+------------------------------------------------+----------------+
//! ```
//!
//! Number = reference + offset, wrapping. The offset under a patch is 0.

use super::{Corrupt, varint};

/// Numbers in a frame; the last frame of a column may have fewer.
pub(super) const FRAME: usize = 128;

/// Flag in the first byte: patches follow the reference.
const PATCHED: u8 = 0x80;

/// Bytes that the unpacker may read past the last offset.
const SLACK: usize = 16;

const TRUNCATED: Corrupt = Corrupt::new("truncated frame of integers");

/// How one frame will be written.
struct Frame {
    reference: i64,
    width: u32,
    patches: usize,
}

/// Numbers and the frames chosen for them; knows its size before anything is written.
pub(super) struct Packing<'a> {
    numbers: &'a [i64],
    frames: Vec<Frame>,
    len: usize,
}

impl<'a> Packing<'a> {
    /// Chooses frames for `numbers`, or gives up once they take more than `budget` bytes.
    pub(super) fn within(budget: usize, numbers: &'a [i64]) -> Option<Self> {
        let mut frames = Vec::with_capacity(numbers.len().div_ceil(FRAME));
        let mut len = 0;
        for chunk in numbers.chunks(FRAME) {
            let (frame, bytes) = Frame::choose(chunk);
            len += bytes;
            if len > budget {
                return None;
            }
            frames.push(frame);
        }
        Some(Self {
            numbers,
            frames,
            len,
        })
    }

    /// Bytes that [`Self::put`] appends.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Appends the frames.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.reserve(self.len);
        for (chunk, frame) in self.numbers.chunks(FRAME).zip(&self.frames) {
            frame.put(chunk, out);
        }
    }
}

impl Frame {
    /// The smallest frame found for `numbers` (1 to [`FRAME`] of them), and its bytes.
    fn choose(numbers: &[i64]) -> (Self, usize) {
        let (low, high) = range(numbers.iter().copied());
        let width = bits(high.wrapping_sub(low) as u64);
        let plain = Self {
            reference: low,
            width,
            patches: 0,
        };
        let bytes = plain.bytes(numbers);
        // Patches cost two bytes and more: nothing to gain on so narrow a frame.
        if width < 2 {
            return (plain, bytes);
        }
        let patched = Self::patched(numbers);
        if patched.patches == 0 {
            return (plain, bytes);
        }
        let patched_bytes = patched.bytes(numbers);
        if patched_bytes < bytes {
            (patched, patched_bytes)
        } else {
            (plain, bytes)
        }
    }

    /// A frame around the bulk of `numbers`.
    fn patched(numbers: &[i64]) -> Self {
        // Around a typical number first, so that an outlier below cannot be the reference;
        let centre = typical(numbers);
        let distance = |n: i64| bits(varint::zigzag(n.wrapping_sub(centre)));
        let near = cheapest_width(numbers, distance);
        let (low, _) = range(numbers.iter().copied().filter(|&n| distance(n) <= near));
        // then above the lowest of the bulk, where skewed numbers need a bit less.
        let above = |n: i64| bits(n.wrapping_sub(low) as u64);
        let width = cheapest_width(numbers, above);
        let patches = numbers.iter().filter(|&&n| above(n) > width).count();
        Self {
            reference: low,
            width,
            patches,
        }
    }

    /// Bytes that [`Self::put`] appends for `numbers`.
    fn bytes(&self, numbers: &[i64]) -> usize {
        let patches: usize = if self.patches == 0 {
            0
        } else {
            let each =
                |n: &i64| 1 + varint::len_u64(varint::zigzag(n.wrapping_sub(self.reference)));
            1 + numbers
                .iter()
                .filter(|n| self.offset(**n).is_none())
                .map(each)
                .sum::<usize>()
        };
        1 + varint::len_u64(varint::zigzag(self.reference))
            + patches
            + packed_len(numbers.len(), self.width)
    }

    /// The number's offset, unless it must be patched.
    fn offset(&self, number: i64) -> Option<u64> {
        let offset = number.wrapping_sub(self.reference) as u64;
        (offset & !mask(self.width) == 0).then_some(offset)
    }

    fn put(&self, numbers: &[i64], out: &mut Vec<u8>) {
        let flag = if self.patches > 0 { PATCHED } else { 0 };
        out.push(self.width as u8 | flag);
        varint::put_i64(out, self.reference);
        if self.patches > 0 {
            out.push(self.patches as u8);
            for (at, &number) in numbers.iter().enumerate() {
                if self.offset(number).is_none() {
                    out.push(at as u8);
                    varint::put_i64(out, number.wrapping_sub(self.reference));
                }
            }
        }
        pack(
            numbers.iter().map(|&n| self.offset(n).unwrap_or(0)),
            self.width,
            out,
        );
    }
}

/// Takes one frame of `numbers.len()` numbers, at most [`FRAME`], off the front of `input`.
///
/// # Errors
/// The frame is cut short or its header is not one that [`Packing::put`] writes.
pub(super) fn take_frame(input: &mut &[u8], numbers: &mut [i64]) -> Result<(), Corrupt> {
    let (&head, rest) = input.split_first().ok_or(TRUNCATED)?;
    *input = rest;
    let width = u32::from(head & !PATCHED);
    if width > 64 {
        return Err(Corrupt::new("integers of more than 64 bits"));
    }
    let reference = varint::take_i64(input)?;
    let mut patches = [(0_u8, 0_i64); FRAME];
    let mut patch_count = 0;
    if head & PATCHED != 0 {
        let (&count, rest) = input.split_first().ok_or(TRUNCATED)?;
        *input = rest;
        patch_count = usize::from(count);
        if patch_count > numbers.len() {
            return Err(Corrupt::new("more patches than integers"));
        }
        for patch in &mut patches[..patch_count] {
            let (&at, rest) = input.split_first().ok_or(TRUNCATED)?;
            *input = rest;
            *patch = (at, varint::take_i64(input)?);
        }
    }
    let (packed, rest) = input
        .split_at_checked(packed_len(numbers.len(), width))
        .ok_or(TRUNCATED)?;
    *input = rest;
    unpack(packed, width, reference, numbers);
    for &(at, offset) in &patches[..patch_count] {
        *numbers
            .get_mut(usize::from(at))
            .ok_or(Corrupt::new("patch outside its frame"))? = reference.wrapping_add(offset);
    }
    Ok(())
}

/// Appends `offsets` of `width` bits each, low bits first.
fn pack(offsets: impl Iterator<Item = u64>, width: u32, out: &mut Vec<u8>) {
    let mut word = 0;
    let mut filled = 0;
    for offset in offsets {
        word |= offset << filled;
        filled += width;
        if filled >= 64 {
            out.extend_from_slice(&word.to_le_bytes());
            filled -= 64;
            // The high bits of the offset that did not fit; none when it ended on the border.
            word = if filled == 0 {
                0
            } else {
                offset >> (width - filled)
            };
        }
    }
    out.extend_from_slice(&word.to_le_bytes()[..filled.div_ceil(8) as usize]);
}

/// Fills `numbers` with reference + offset; `packed` has [`packed_len`] bytes.
fn unpack(packed: &[u8], width: u32, reference: i64, numbers: &mut [i64]) {
    if width == 0 {
        numbers.fill(reference);
        return;
    }
    // Whole words can be read behind the end, too.
    let mut padded = [0; FRAME * 8 + SLACK];
    let Some(front) = padded.get_mut(..packed.len()) else {
        return;
    };
    front.copy_from_slice(packed);
    let mask = mask(width);
    let width = width as usize;
    // Seven bits may precede the offset in its first byte.
    if width <= 57 {
        for (i, number) in numbers.iter_mut().enumerate() {
            let bit = i * width;
            let word = padded[bit / 8..]
                .first_chunk()
                .map_or(0, |c| u64::from_le_bytes(*c));
            *number = reference.wrapping_add((word >> (bit % 8) & mask) as i64);
        }
    } else {
        for (i, number) in numbers.iter_mut().enumerate() {
            let bit = i * width;
            let word = padded[bit / 8..]
                .first_chunk()
                .map_or(0, |c| u128::from_le_bytes(*c));
            *number = reference.wrapping_add(((word >> (bit % 8)) as u64 & mask) as i64);
        }
    }
}

fn packed_len(count: usize, width: u32) -> usize {
    (count * width as usize).div_ceil(8)
}

const fn mask(width: u32) -> u64 {
    if width == 0 {
        0
    } else {
        u64::MAX >> (64 - width)
    }
}

/// Bits that `v` needs.
const fn bits(v: u64) -> u32 {
    64 - v.leading_zeros()
}

/// Lowest and highest number; (0, 0) of none.
fn range(mut numbers: impl Iterator<Item = i64>) -> (i64, i64) {
    let first = numbers.next().unwrap_or(0);
    numbers.fold((first, first), |(low, high), n| (low.min(n), high.max(n)))
}

/// The median of five numbers spread over the frame.
fn typical(numbers: &[i64]) -> i64 {
    let last = numbers.len() - 1;
    let mut five = [0, 1, 2, 3, 4].map(|i| numbers[last * i / 4]);
    five.sort_unstable();
    five[2]
}

/// The width in which `numbers` take the fewest bytes, if those that need more become patches.
fn cheapest_width(numbers: &[i64], needs: impl Fn(i64) -> u32) -> u32 {
    let mut how_many = [0_usize; 65];
    for &n in numbers {
        how_many[needs(n) as usize] += 1;
    }
    let (mut best, mut best_bytes) = (64, usize::MAX);
    let mut patch_bytes = 0;
    for width in (0..=64).rev() {
        let bytes = packed_len(numbers.len(), width) + patch_bytes;
        // At equal size the wider one has fewer patches.
        if bytes < best_bytes {
            (best, best_bytes) = (width, bytes);
        }
        // Its position and the zigzag varint, one bit wider.
        patch_bytes += how_many[width as usize] * (1 + (width as usize + 1).div_ceil(7));
    }
    best
}
