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

/// Bytes of the frame that [`Packing`] would choose for `numbers`, 1 to [`FRAME`] of them.
pub(super) fn frame_len(numbers: &[i64]) -> usize {
    Frame::choose(numbers).1
}

impl Frame {
    /// The smallest frame found for `numbers` (1 to [`FRAME`] of them), and its bytes.
    fn choose(numbers: &[i64]) -> (Self, usize) {
        let (low, high) = range(numbers.iter().copied());
        let plain = Self {
            reference: low,
            width: bits(high.wrapping_sub(low) as u64),
            patches: 0,
        };
        let bytes = plain.bytes(numbers);
        if let Some(patched) = Self::patched(numbers, (low, high)) {
            let patched_bytes = patched.bytes(numbers);
            if patched_bytes < bytes {
                return (patched, patched_bytes);
            }
        }
        (plain, bytes)
    }

    /// A frame around the bulk of `numbers`, which range from `low` to `high`; none if the bulk is
    /// all of them.
    fn patched(numbers: &[i64], (low, high): (i64, i64)) -> Option<Self> {
        // Around a typical number first, so that an outlier below cannot be the reference;
        let widest = bits(high.wrapping_sub(low) as u64);
        let centre = typical(numbers);
        let distance = |n: i64| varint::zigzag(n.wrapping_sub(centre));
        let distances = halves(numbers, distance, widest);
        let near = cheapest_width(&distances, numbers.len(), widest, true);
        let (low, high) = if near < widest {
            let bulk = numbers.iter().copied();
            range(bulk.filter(|&n| distance(n) <= mask(near)))
        } else {
            (low, high)
        };
        // then above the lowest of the bulk, where skewed numbers need a bit less.
        let above = |n: i64| n.wrapping_sub(low) as u64;
        let bulk = bits(above(high));
        let offsets = halves(numbers, above, widest);
        let width = cheapest_width(&offsets, numbers.len(), bulk, near == widest);
        if width == widest {
            return None;
        }
        let patches = numbers.iter().filter(|&&n| above(n) > mask(width)).count();
        Some(Self {
            reference: low,
            width,
            patches,
        })
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
        let offset = |n: &i64| n.wrapping_sub(self.reference) as u64;
        if self.patches == 0 {
            pack(numbers.iter().map(offset), self.width, out);
        } else {
            let unpatched = |n: &i64| self.offset(*n).unwrap_or(0);
            pack(numbers.iter().map(unpatched), self.width, out);
        }
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
    if head & PATCHED == 0 {
        return take_offsets(input, width, reference, numbers);
    }
    let (&count, rest) = input.split_first().ok_or(TRUNCATED)?;
    *input = rest;
    let mut patches = [(0_u8, 0_i64); FRAME];
    let patches = patches
        .get_mut(..usize::from(count))
        .filter(|patches| patches.len() <= numbers.len())
        .ok_or(Corrupt::new("more patches than integers"))?;
    for patch in patches.iter_mut() {
        let (&at, rest) = input.split_first().ok_or(TRUNCATED)?;
        *input = rest;
        *patch = (at, varint::take_i64(input)?);
    }
    take_offsets(input, width, reference, numbers)?;
    for (at, distance) in patches {
        *numbers
            .get_mut(usize::from(*at))
            .ok_or(Corrupt::new("patch outside its frame"))? = reference.wrapping_add(*distance);
    }
    Ok(())
}

/// Takes packed offsets off the front of `input`: a number is `reference` + its offset.
fn take_offsets(
    input: &mut &[u8],
    width: u32,
    reference: i64,
    numbers: &mut [i64],
) -> Result<(), Corrupt> {
    let (packed, rest) = input
        .split_at_checked(packed_len(numbers.len(), width))
        .ok_or(TRUNCATED)?;
    unpack(packed, width, reference, numbers);
    *input = rest;
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
    macro_rules! of_width {
        ($($narrow:literal)*) => {
            match width {
                0 => numbers.fill(reference),
                $($narrow => unpack_narrow::<$narrow>(packed, reference, numbers),)*
                _ => unpack_wide(packed, width, reference, numbers),
            }
        };
    }
    of_width!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32);
}

/// [`unpack`] for widths that come often, each compiled by itself: eight offsets take `WIDTH` bytes, so
/// it is known where within these each of them begins.
fn unpack_narrow<const WIDTH: usize>(packed: &[u8], reference: i64, numbers: &mut [i64]) {
    let mut rest = packed;
    let mut unpack_eight = |eight: &mut [i64; 8]| {
        // Whole words are read, the last of them beyond the eight.
        let mut padded = [0; 32 + 8];
        let window = rest.get(..WIDTH + 8).unwrap_or_else(|| {
            padded[..rest.len()].copy_from_slice(rest);
            &padded[..WIDTH + 8]
        });
        for (i, number) in eight.iter_mut().enumerate() {
            let bit = i * WIDTH;
            let word = window[bit / 8..]
                .first_chunk()
                .map_or(0, |c| u64::from_le_bytes(*c));
            let offset = word >> (bit % 8) & mask(WIDTH as u32);
            *number = reference.wrapping_add(offset as i64);
        }
        rest = rest.get(WIDTH..).unwrap_or_default();
    };
    let (eights, fewer) = numbers.as_chunks_mut();
    eights.iter_mut().for_each(&mut unpack_eight);
    if !fewer.is_empty() {
        let mut eight = [0; 8];
        unpack_eight(&mut eight);
        fewer.copy_from_slice(&eight[..fewer.len()]);
    }
}

/// [`unpack`] for any width but 0.
fn unpack_wide(packed: &[u8], width: u32, reference: i64, numbers: &mut [i64]) {
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

/// The median of five of `numbers`, of which there is at least one.
fn typical(numbers: &[i64]) -> i64 {
    let last = numbers.len() - 1;
    let mut five = [0, 1, 2, 3, 4].map(|i| numbers[last * i / 4]);
    five.sort_unstable();
    five[2]
}

/// Offsets of `numbers` in half words, of which many are compared at a time; larger offsets become the
/// largest. The numbers range over `widest` bits, and zeros fill the rest.
fn halves(numbers: &[i64], offset: impl Fn(i64) -> u64, widest: u32) -> [u32; FRAME] {
    let mut halves = [0; FRAME];
    let pairs = halves.iter_mut().zip(numbers);
    if widest < 32 {
        // They fit, a sign included: no need to compare.
        pairs.for_each(|(half, n)| *half = offset(*n) as u32);
    } else {
        pairs.for_each(|(half, n)| *half = u32::try_from(offset(*n)).unwrap_or(u32::MAX));
    }
    halves
}

/// The width, at most `widest`, in which the first `count` of `offsets` take the fewest bytes, if
/// those that do not fit become patches; `all_fit` says that none is wider than `widest`.
fn cheapest_width(offsets: &[u32; FRAME], count: usize, widest: u32, all_fit: bool) -> u32 {
    // Half words do not tell widths beyond their own.
    let known = all_fit || widest >= 32;
    let mut best = widest;
    let mut best_bytes = if known {
        packed_len(count, widest)
    } else {
        usize::MAX
    };
    let narrower = if known {
        0..widest.min(32)
    } else {
        0..widest + 1
    };
    let mut outside = 0;
    let mut patch_bytes = 0;
    for width in narrower.rev() {
        let now: u32 = offsets.iter().map(|o| u32::from(o >> width != 0)).sum();
        // Those that need one bit more than this: a position and a zigzag varint.
        patch_bytes += (now - outside) as usize * (1 + (width as usize + 2).div_ceil(7));
        outside = now;
        if patch_bytes >= best_bytes {
            break;
        }
        let bytes = packed_len(count, width) + patch_bytes + usize::from(outside > 0);
        if bytes < best_bytes {
            (best, best_bytes) = (width, bytes);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packed(numbers: &[i64]) -> Vec<u8> {
        let packing = Packing::within(usize::MAX, numbers).unwrap();
        let mut out = Vec::new();
        packing.put(&mut out);
        assert_eq!(out.len(), packing.len());
        assert!(out.is_empty() || Packing::within(out.len() - 1, numbers).is_none());
        let mut input = &out[..];
        let mut back = vec![0; numbers.len()];
        for chunk in back.chunks_mut(FRAME) {
            take_frame(&mut input, chunk).unwrap();
        }
        assert_eq!(back, numbers);
        assert!(input.is_empty());
        out
    }

    #[test]
    fn bytes_are_frozen() {
        assert!(packed(&[]).is_empty());
        assert_eq!(packed(&[-1, -1, -1]), [0, 1]);
        assert_eq!(packed(&[10, 11, 13]), [2, 20, 0b11_01_00]);
        let mut outlier = [5; FRAME];
        outlier[3] = 1000;
        outlier[9] = -2;
        assert_eq!(packed(&outlier), [0x80, 10, 2, 3, 0xc6, 0x0f, 9, 13]);
        let mut full = [0; FRAME + 1];
        (full[0], full[1], full[128]) = (i64::MIN, i64::MAX, 7);
        assert_eq!(packed(&full)[..3], [0x80, 0, 2]);
    }

    #[test]
    fn an_outlier_costs_its_own_bytes_only() {
        let even: Vec<i64> = (0..300).map(|i| i * 37 % 64).collect();
        let mut outliers = even.clone();
        (outliers[5], outliers[150], outliers[299]) = (i64::MIN, 1 << 40, -70_000);
        assert!(packed(&outliers).len() <= packed(&even).len() + 3 + 11 + 8 + 5);
    }

    proptest! {
        #[test]
        fn every_width_round_trips(width in 0..64_u32, count in 1..300_usize, seed: u64, from: i64) {
            let mut random = seed | 1;
            let numbers: Vec<i64> = (0..count)
                .map(|_| {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    from.wrapping_add((random >> (63 - width)) as i64)
                })
                .collect();
            packed(&numbers);
        }

        #[test]
        fn mixtures_round_trip(
            numbers in prop::collection::vec(
                prop_oneof![20 => -9..9_i64, 2 => -9_000..9_000_i64, 1 => any::<i64>()],
                0..300,
            ),
        ) {
            packed(&numbers);
        }
    }
}
