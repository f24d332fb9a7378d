//! Entropy coded numbers: packed by the crate `pco`, which spends fewer bits on what comes often.
//!
//! Frames (`bits.rs`) give every number of 128 the same bits. Where half of the steps are zero, where
//! few values come again and again, or where doubles are multiples of one double, this takes two
//! thirds of the bytes or less, and three to five times as long to decode. Source: M. Loncaric, N. Jeppesen and
//! B. Zinberg, "Pcodec: Better Compression for Numerical Sequences", arXiv 2502.06112.
//!
//! ```text
//! integers: | u8 width: 0, 1, 2 or 3 for 1, 2, 4 or 8 bytes | zigzag varint reference | chunk of number - reference |
//! doubles:  | chunk |
//! chunk:    | metadata of pco's wrapped format 4.1, without the file's header | one page of all numbers |
//! ```
//!
//! pco is others' code, in part `unsafe`, so: its exact version is pinned, what it has written is
//! read again before it is kept, modes that can make it allocate by a number in its input are refused
//! before it sees them, and if it panics the numbers are corrupt.

use std::panic::{self, AssertUnwindSafe};

use pco::{
    ChunkConfig, DeltaSpec, ModeSpec,
    data_types::Number,
    metadata::DeltaEncoding,
    wrapped::{FileCompressor, FileDecompressor},
};

use super::{Corrupt, bits::FRAME, varint};

/// The header of the format that this reads and writes.
const FORMAT: [u8; 2] = [4, 1];

/// Levels beyond these cost much time for one percent.
const INTEGERS_LEVEL: usize = 4;
const DOUBLES_LEVEL: usize = 6;

/// First byte of a chunk of integers: neither a mode (low bits) nor differences (high bits).
const PLAIN: u8 = 0;
/// The low bits of a chunk's first byte are its mode: as they are, multiples of a double, quantized.
const DOUBLE_MODES: [u8; 3] = [0, 2, 3];
const MODE: u8 = 0x0f;

const DAMAGED: Corrupt = Corrupt::new("damaged entropy coded numbers");
const TRUNCATED: Corrupt = Corrupt::new("truncated entropy coded numbers");
const UNKNOWN: Corrupt = Corrupt::new("unknown mode of entropy coded numbers");

/// Appends `numbers` if they take at most `most` bytes; else leaves `out` as it was.
pub(super) fn put_integers(numbers: &[i64], most: usize, out: &mut Vec<u8>) -> bool {
    let (Some(&low), Some(&high)) = (numbers.iter().min(), numbers.iter().max()) else {
        return false;
    };
    let width = match high.wrapping_sub(low) as u64 {
        0..=0xff => 0,
        0x100..=0xffff => 1,
        0x1_0000..=0xffff_ffff => 2,
        _ => 3,
    };
    let start = out.len();
    out.push(width);
    varint::put_i64(out, low);
    let is_put = most.checked_sub(out.len() - start).is_some_and(|most| {
        let put = match width {
            0 => put_offsets::<u8>,
            1 => put_offsets::<u16>,
            2 => put_offsets::<u32>,
            _ => put_offsets::<u64>,
        };
        put(numbers, low, most, out)
    });
    if !is_put {
        out.truncate(start);
    }
    is_put
}

/// Takes `count` integers, at least one, off the front of `input` and gives them to `emit` in order and
/// in parts of at most [`FRAME`], which it may change.
///
/// # Errors
/// They are not what [`put_integers`] writes; some of them may have been given then.
pub(super) fn take_integers(
    input: &mut &[u8],
    count: usize,
    emit: impl FnMut(&mut [i64]),
) -> Result<(), Corrupt> {
    let (&width, rest) = input.split_first().ok_or(TRUNCATED)?;
    *input = rest;
    let low = varint::take_i64(input)?;
    match width {
        0 => take_offsets::<u8>(input, count, low, emit),
        1 => take_offsets::<u16>(input, count, low, emit),
        2 => take_offsets::<u32>(input, count, low, emit),
        3 => take_offsets::<u64>(input, count, low, emit),
        _ => Err(UNKNOWN),
    }
}

/// Appends `values` if they take at most `most` bytes; else leaves `out` as it was.
pub(super) fn put_doubles(values: &[f64], most: usize, out: &mut Vec<u8>) -> bool {
    let config = ChunkConfig::default().with_compression_level(DOUBLES_LEVEL);
    let same = |a: &f64, b: &f64| a.to_bits() == b.to_bits();
    put(values, config, same, takes_doubles, most, out)
}

/// Takes as many doubles as `values` has off the front of `input`.
///
/// # Errors
/// They are not what [`put_doubles`] writes; `values` may hold anything then.
pub(super) fn take_doubles(input: &mut &[u8], values: &mut [f64]) -> Result<(), Corrupt> {
    take(input, values, takes_doubles)
}

fn put_offsets<T>(numbers: &[i64], low: i64, most: usize, out: &mut Vec<u8>) -> bool
where
    T: Number + TryFrom<u64>,
{
    let offset = |n: &i64| T::try_from(n.wrapping_sub(low) as u64).ok();
    let Some(offsets) = numbers.iter().map(offset).collect::<Option<Vec<T>>>() else {
        return false;
    };
    let config = ChunkConfig::default()
        .with_compression_level(INTEGERS_LEVEL)
        .with_mode_spec(ModeSpec::Classic)
        .with_delta_spec(DeltaSpec::NoOp)
        .with_enable_8_bit(true);
    put(&offsets, config, T::eq, takes_integers, most, out)
}

fn take_offsets<T>(
    input: &mut &[u8],
    count: usize,
    low: i64,
    mut emit: impl FnMut(&mut [i64]),
) -> Result<(), Corrupt>
where
    T: Number + Into<u64>,
{
    let mut offsets = vec![T::default(); count];
    take(input, &mut offsets, takes_integers)?;
    let mut frame = [0; FRAME];
    for chunk in offsets.chunks(FRAME) {
        let numbers = &mut frame[..chunk.len()];
        for (number, offset) in numbers.iter_mut().zip(chunk) {
            *number = low.wrapping_add((*offset).into() as i64);
        }
        emit(numbers);
    }
    Ok(())
}

/// Whether a chunk with this first byte is one of integers.
fn takes_integers(head: u8) -> bool {
    head == PLAIN
}

/// Whether a chunk with this first byte is one of doubles.
fn takes_doubles(head: u8) -> bool {
    DOUBLE_MODES.contains(&(head & MODE))
}

/// Appends a chunk of `numbers` if it takes at most `most` bytes, begins with a byte that is taken and
/// gives the `same` numbers back; else leaves `out` as it was.
fn put<T: Number>(
    numbers: &[T],
    config: ChunkConfig,
    same: impl Fn(&T, &T) -> bool,
    takes: impl Fn(u8) -> bool,
    most: usize,
    out: &mut Vec<u8>,
) -> bool {
    let start = out.len();
    let written = panic::catch_unwind(AssertUnwindSafe(|| write_chunk(numbers, config, out)));
    let fits = matches!(written, Ok(Some(()))) && out.len() - start <= most;
    let comes_back = || {
        let mut back = vec![T::default(); numbers.len()];
        let mut chunk = &out[start..];
        take(&mut chunk, &mut back, takes).is_ok()
            && chunk.is_empty()
            && back.iter().zip(numbers).all(|(a, b)| same(a, b))
    };
    let is_put = fits && comes_back();
    if !is_put {
        out.truncate(start);
    }
    is_put
}

/// Takes a chunk that begins with a byte that is taken off the front of `input`.
fn take<T: Number>(
    input: &mut &[u8],
    numbers: &mut [T],
    takes: impl Fn(u8) -> bool,
) -> Result<(), Corrupt> {
    let head = *input.first().ok_or(TRUNCATED)?;
    if !takes(head) {
        return Err(UNKNOWN);
    }
    let chunk = *input;
    let read = panic::catch_unwind(AssertUnwindSafe(|| read_chunk(chunk, numbers)));
    *input = read.ok().flatten().ok_or(DAMAGED)?;
    Ok(())
}

/// None if pco refuses, has another format by now, or wants more pages than one.
fn write_chunk<T: Number>(numbers: &[T], config: ChunkConfig, out: &mut Vec<u8>) -> Option<()> {
    let file = FileCompressor::default();
    let mut header = Vec::with_capacity(FORMAT.len());
    file.write_header(&mut header).ok()?;
    let mut chunk = file.chunk_compressor(numbers, &config).ok()?;
    if !takes_delta(&chunk.meta().delta_encoding) {
        let config = config.with_delta_spec(DeltaSpec::TryConsecutive(1));
        chunk = file.chunk_compressor(numbers, &config).ok()?;
    }
    if header != FORMAT || chunk.n_per_page().len() != 1 {
        return None;
    }
    chunk.write_meta(&mut *out).ok()?;
    chunk.write_page(0, &mut *out).ok()?;
    Some(())
}

/// Returns what is behind the chunk.
fn read_chunk<'a, T: Number>(chunk: &'a [u8], numbers: &mut [T]) -> Option<&'a [u8]> {
    let (file, _) = FileDecompressor::new(&FORMAT[..]).ok()?;
    let (mut decompressor, page) = file.chunk_decompressor::<T, _>(chunk).ok()?;
    if !takes_delta(&decompressor.meta().delta_encoding) {
        return None;
    }
    let mut page = decompressor.page_decompressor(page, numbers.len()).ok()?;
    let progress = page.read(numbers).ok()?;
    (progress.finished && progress.n_processed == numbers.len()).then(|| page.into_src())
}

/// Whether numbers are read that are taken from earlier ones like this. The window to look back into
/// has the size that the chunk says; the others need none.
fn takes_delta(delta: &DeltaEncoding) -> bool {
    matches!(
        delta,
        DeltaEncoding::NoOp | DeltaEncoding::Consecutive { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn integers(numbers: &[i64]) -> Vec<u8> {
        let mut out = vec![9];
        assert!(put_integers(numbers, usize::MAX, &mut out));
        let len = out.len() - 1;
        assert!(!put_integers(numbers, len - 1, &mut out));
        assert_eq!(out.len() - 1, len);
        let mut input = &out[1..];
        let mut back = Vec::new();
        take_integers(&mut input, numbers.len(), |part| {
            assert!(part.len() <= FRAME);
            back.extend_from_slice(part);
        })
        .unwrap();
        assert_eq!(back, numbers);
        assert!(input.is_empty());
        out.split_off(1)
    }

    fn doubles(values: &[f64]) -> Vec<u8> {
        let mut out = vec![9];
        assert!(put_doubles(values, usize::MAX, &mut out));
        let mut input = &out[1..];
        let mut back = vec![0.0; values.len()];
        take_doubles(&mut input, &mut back).unwrap();
        let bits = |v: &[f64]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&back), bits(values));
        assert!(input.is_empty());
        out.split_off(1)
    }

    fn hex(bytes: &[u8]) -> String {
        let append = |hex: String, byte: &u8| format!("{hex}{byte:02x}");
        bytes.iter().fold(String::new(), append)
    }

    /// Few numbers, of which the first comes most often.
    fn skewed<T: Copy>(numbers: [T; 4]) -> Vec<T> {
        let at = [0, 1, 0, 2, 0, 3, 0].into_iter().cycle();
        at.take(40).map(|at| numbers[at]).collect()
    }

    #[test]
    fn bytes_of_integers_are_frozen() {
        let columns = [
            vec![7],
            skewed([-1, 2, 3, 254]),
            skewed([0, 1, 2, 256]),
            skewed([0, 1, 2, 65_536]),
            skewed([i64::MIN, 0, -5, i64::MAX]),
        ];
        let frozen = [
            "000e0010000000",
            "00010033002000600042808c0c071dd448d3b601c03ec03ec03ec03ec03e00",
            "0100002200100020200080004e4dd3342104c09f00f813007f02e04f00fc0900",
            "020000220010000000204000000000024e4dd334210400c0ff9f0000f8ff1300\
             00ff7f0200e0ff4f0000fcff090000",
            "03ffffffffffffffffff0100330020000000000000000000fbffffffffffff7f\
             800000000000000000fe0032032cb0c00217d60200000000000000c0ffffffff\
             ffffff1f00000000000000f0ffffffffffffff0700000000000000fcffffffff\
             ffffff0100000000000000ffffffffffffff7f00000000000000c0ffffffffff\
             ffff1f0000000000000000",
        ];
        assert_eq!(columns.map(|numbers| hex(&integers(&numbers))), frozen);
    }

    #[test]
    fn bytes_of_doubles_are_frozen() {
        let columns = [
            // As they are; multiples; single precision of decimals; a curve.
            skewed([0.1_f64.sqrt(), f64::NAN, -0.0, 1e300]),
            skewed([1.0, 2.0, 4.0, 9.0])
                .iter()
                .map(|n| n / 7.0)
                .collect(),
            skewed([0.1_f32, 0.2, 0.7, 1.3])
                .iter()
                .map(|n| f64::from(*n))
                .collect(),
            (0..40)
                .map(|i| f64::from(i * i * i) / 4096.0 + 0.1)
                .collect(),
        ];
        let frozen = [
            "00450020ffffffffffffff7f80f890842436d143fd0b189c7500883ce437fe00\
             02000000000080ff0f003ffc0ce6adffc37bc51e03",
            "22499224499224fc0b1000080000000000000024400000000000000000003000\
             10308000010308103080000103081030800001032010080402",
            "d301450088cdccccfd0500000000d2cccce45f0000000020333333ff05000000\
             80616666fa5f000000008000000000000000000000004014042a29c37b503b45\
             3200",
            "a2999999999999f01b0301000f00000000000040000400feffffffffffffff02\
             000800000000008005000000000000001e00000000000000ff11ff0303",
        ];
        assert_eq!(columns.map(|values| hex(&doubles(&values))), frozen);
    }

    #[test]
    fn what_allocates_by_a_number_in_its_input_is_refused() {
        let numbers: Vec<u64> = (0..2000).map(|i| i * i % 97).collect();
        let chunk = |config: &ChunkConfig| {
            let mut out = Vec::new();
            let file = FileCompressor::default();
            let mut chunk = file.chunk_compressor(&numbers, config).unwrap();
            chunk.write_meta(&mut out).unwrap();
            chunk.write_page(0, &mut out).unwrap();
            out
        };
        let config = ChunkConfig::default;
        let mut back = vec![0; numbers.len()];
        let dictionary = chunk(&config().with_mode_spec(ModeSpec::TryDict));
        for takes in [takes_integers, takes_doubles] {
            assert_eq!(take(&mut &dictionary[..], &mut back, takes), Err(UNKNOWN));
        }
        let look_back = chunk(&config().with_delta_spec(DeltaSpec::TryLookback));
        assert_eq!(
            take(&mut &look_back[..], &mut back, takes_integers),
            Err(UNKNOWN)
        );
        assert_eq!(take(&mut &look_back[..], &mut back, |_| true), Err(DAMAGED));
        let plain = chunk(
            &config()
                .with_mode_spec(ModeSpec::Classic)
                .with_delta_spec(DeltaSpec::NoOp),
        );
        assert_eq!(take(&mut &plain[..], &mut back, takes_integers), Ok(()));
        assert_eq!(back, numbers);
    }

    #[test]
    fn a_choice_that_is_refused_is_made_again() {
        // What comes back after a while is looked back for, if pco may choose.
        let values: Vec<f64> = (0..600_u32)
            .map(|i| f64::from(i % 100 * 7919 % 101).sqrt())
            .collect();
        let file = FileCompressor::default();
        let config = ChunkConfig::default().with_compression_level(DOUBLES_LEVEL);
        let chunk = file.chunk_compressor(&values, &config).unwrap();
        assert!(!takes_delta(&chunk.meta().delta_encoding));
        doubles(&values);
    }

    proptest! {
        #[test]
        fn any_numbers_round_trip(
            numbers in prop::collection::vec(any::<i64>(), 1..600),
            shift in 0..64_u32,
        ) {
            integers(&numbers.iter().map(|n| n >> shift).collect::<Vec<i64>>());
        }

        #[test]
        fn any_doubles_round_trip(bits in prop::collection::vec(any::<u64>(), 1..600)) {
            doubles(&bits.into_iter().map(f64::from_bits).collect::<Vec<f64>>());
        }
    }
}
