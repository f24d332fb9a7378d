//! Integers in as few bytes as they need, and byte strings behind their length.
//!
//! LEB128: seven bits a byte, lowest first, the top bit says that more follow. Signed integers are
//! zigzag coded first (0, -1, 1, -2, ... become 0, 1, 2, 3, ...). Source: Protocol Buffers, "Encoding".

use super::Corrupt;

/// Bytes of the longest integer: ten groups of seven bits cover 64.
const LONGEST: usize = 10;

const TRUNCATED: Corrupt = Corrupt::new("truncated integer");
const TOO_LONG: Corrupt = Corrupt::new("integer of more than 64 bits");

/// Appends an unsigned integer, 1 to 10 bytes.
pub fn put_u64(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

/// Appends a signed integer, 1 to 10 bytes; small magnitudes of either sign are short.
pub fn put_i64(out: &mut Vec<u8>, v: i64) {
    put_u64(out, zigzag(v));
}

/// Appends a byte string behind its length.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u64(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Takes an unsigned integer off the front of `input`.
///
/// # Errors
/// The input ends within the integer, or the integer has more than 64 bits; `input` is then
/// unchanged.
#[inline]
pub fn take_u64(input: &mut &[u8]) -> Result<u64, Corrupt> {
    match input.split_first() {
        Some((&byte, rest)) if byte < 0x80 => {
            *input = rest;
            Ok(u64::from(byte))
        }
        _ => take_long(input),
    }
}

/// [`take_u64`] for integers that are not one byte, which most are.
fn take_long(input: &mut &[u8]) -> Result<u64, Corrupt> {
    let mut v = 0;
    for (i, &byte) in input.iter().take(LONGEST).enumerate() {
        if i == LONGEST - 1 && byte > 1 {
            return Err(TOO_LONG);
        }
        v |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            *input = &input[i + 1..];
            return Ok(v);
        }
    }
    Err(TRUNCATED)
}

/// Takes a signed integer off the front of `input`.
///
/// # Errors
/// As [`take_u64`].
pub fn take_i64(input: &mut &[u8]) -> Result<i64, Corrupt> {
    take_u64(input).map(unzigzag)
}

/// Takes a byte string off the front of `input`, without copying it.
///
/// # Errors
/// The length is not readable or more than what is there; `input` is then unchanged.
pub fn take_bytes<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], Corrupt> {
    let mut rest = *input;
    let len = take_u64(&mut rest)?;
    let (bytes, rest) = usize::try_from(len)
        .ok()
        .and_then(|len| rest.split_at_checked(len))
        .ok_or(Corrupt::new("byte string longer than its input"))?;
    *input = rest;
    Ok(bytes)
}

/// Bytes that [`put_u64`] appends for `v`.
pub(super) const fn len_u64(v: u64) -> usize {
    // Zero has one digit too.
    (64 - (v | 1).leading_zeros()).div_ceil(7) as usize
}

/// Folds the sign into the lowest bit.
pub(super) const fn zigzag(v: i64) -> u64 {
    ((v << 1) ^ (v >> 63)) as u64
}

/// The inverse of [`zigzag`].
const fn unzigzag(v: u64) -> i64 {
    (v >> 1) as i64 ^ -((v & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_are_frozen() {
        let mut out = Vec::new();
        put_u64(&mut out, 0);
        put_u64(&mut out, 300);
        put_i64(&mut out, -1);
        put_i64(&mut out, 64);
        put_bytes(&mut out, b"up");
        assert_eq!(out, [0, 0xac, 0x02, 1, 0x80, 0x01, 2, b'u', b'p']);
    }

    #[test]
    fn refused_input_stays_where_it_was() {
        for (bytes, error) in [
            (&[][..], "truncated integer"),
            (&[0x80, 0xff], "truncated integer"),
            (&[0xff; 11], "integer of more than 64 bits"),
            (
                &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 2],
                "integer of more than 64 bits",
            ),
        ] {
            let mut input = bytes;
            assert_eq!(take_u64(&mut input).unwrap_err().to_string(), error);
            assert_eq!(input, bytes);
        }
        for bytes in [&[3, 1, 2][..], &[0xff; 9], &[0xfe, 0xff, 0xff, 0xff, 0x0f]] {
            let mut input = bytes;
            take_bytes(&mut input).unwrap_err();
            assert_eq!(input, bytes);
        }
    }

    proptest! {
        #[test]
        fn round_trip(a: u64, shift in 0..64u32, b: i64, s: Vec<u8>) {
            let a = a >> shift;
            let b = b >> shift;
            let mut out = Vec::new();
            put_u64(&mut out, a);
            prop_assert_eq!(out.len(), len_u64(a));
            put_i64(&mut out, b);
            put_bytes(&mut out, &s);
            let mut input = &out[..];
            prop_assert_eq!(take_u64(&mut input), Ok(a));
            prop_assert_eq!(take_i64(&mut input), Ok(b));
            prop_assert_eq!(take_bytes(&mut input), Ok(&s[..]));
            prop_assert!(input.is_empty());
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let mut input = &bytes[..];
            while take_u64(&mut input).is_ok() {}
            let mut input = &bytes[..];
            while take_bytes(&mut input).is_ok() {}
        }
    }
}
