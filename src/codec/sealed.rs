//! The envelope of what is stored in bulk: a directory that answers what it can alone, and data behind
//! it, each under a checksum of its own.
//!
//! ```text
//! format: u8 | directory length: varint | directory | CRC32C of all before: u32
//!   | data | CRC32C of data: u32
//! ```

use super::{Corrupt, varint};

/// Puts directory and data into their envelope.
pub(super) fn seal(format: u8, directory: &[u8], data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(directory.len() + data.len() + 16);
    out.push(format);
    varint::put_bytes(&mut out, directory);
    let checksum = crc32c::crc32c(&out);
    out.extend_from_slice(&checksum.to_le_bytes());
    out.extend_from_slice(data);
    out.extend_from_slice(&crc32c::crc32c(data).to_le_bytes());
    out
}

/// An opened envelope.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sealed<'a> {
    /// Its first byte.
    pub(super) format: u8,
    /// The directory; its checksum holds.
    pub(super) directory: &'a [u8],
    data: &'a [u8],
    data_checksum: u32,
}

impl<'a> Sealed<'a> {
    /// Opens an envelope and checks its directory.
    ///
    /// # Errors
    /// The bytes are cut off, or the directory fails its checksum.
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, Corrupt> {
        let (format, mut rest) = bytes
            .split_first()
            .ok_or(Corrupt::new("an envelope is empty"))?;
        let directory = varint::take_bytes(&mut rest)?;
        let head = &bytes[..bytes.len() - rest.len()];
        let (checksum, rest) = rest.split_first_chunk::<4>().ok_or(CUT_OFF)?;
        if u32::from_le_bytes(*checksum) != crc32c::crc32c(head) {
            return Err(Corrupt::new("a directory fails its checksum"));
        }
        let (data, checksum) = rest.split_last_chunk::<4>().ok_or(CUT_OFF)?;
        Ok(Self {
            format: *format,
            directory,
            data,
            data_checksum: u32::from_le_bytes(*checksum),
        })
    }

    /// Bytes of the data.
    pub(super) const fn data_len(&self) -> usize {
        self.data.len()
    }

    /// The data, once its checksum was found to hold.
    ///
    /// # Errors
    /// The checksum does not hold.
    pub(super) fn data(&self) -> Result<&'a [u8], Corrupt> {
        if crc32c::crc32c(self.data) != self.data_checksum {
            return Err(Corrupt::new("data fails its checksum"));
        }
        Ok(self.data)
    }
}

const CUT_OFF: Corrupt = Corrupt::new("an envelope is cut off");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_flipped_bit_is_noticed() {
        let bytes = seal(7, b"directory", b"data");
        let opened = Sealed::open(&bytes).unwrap();
        assert_eq!(
            (opened.format, opened.directory, opened.data().unwrap()),
            (7, &b"directory"[..], &b"data"[..])
        );
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(
                Sealed::open(&flipped).and_then(|s| s.data()).is_err(),
                "bit {bit}"
            );
        }
        for length in 0..bytes.len() {
            assert!(
                Sealed::open(&bytes[..length])
                    .and_then(|s| s.data())
                    .is_err()
            );
        }
    }
}
