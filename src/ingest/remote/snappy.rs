//! Snappy's block format, which remote write bodies come in.
//! <https://github.com/google/snappy/blob/main/format_description.txt>

/// Bytes that a body of remote write may have when decompressed, as Prometheus allows.
pub const REMOTE_WRITE_BYTES_MAX: usize = 32 << 20;

/// Why a body was not decompressed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSnappy {
    /// It declares a size above the limit.
    #[error("the body declares {declared} bytes when decompressed, at most {max} are taken")]
    TooLarge {
        /// Bytes that the body says it holds.
        declared: usize,
        /// Bytes that are taken.
        max: usize,
    },
    /// It is no block of Snappy.
    #[error("the body is no Snappy block: {0}")]
    Damaged(String),
}

/// Undoes Snappy's block format; at most `max` bytes and never more than [`REMOTE_WRITE_BYTES_MAX`]. The size that the
/// body declares is checked before anything is allocated.
///
/// # Errors
/// [`BadSnappy`].
pub fn unsnappy(body: &[u8], max: usize) -> Result<Vec<u8>, BadSnappy> {
    let damaged = |error: snap::Error| BadSnappy::Damaged(error.to_string());
    let max = max.min(REMOTE_WRITE_BYTES_MAX);
    let declared = snap::raw::decompress_len(body).map_err(damaged)?;
    if declared > max {
        return Err(BadSnappy::TooLarge { declared, max });
    }
    // Three bytes make 64 at most, so a larger size is a lie; it shall cost nothing.
    if declared / 22 > body.len() {
        return Err(BadSnappy::Damaged(format!(
            "{} bytes cannot hold the {declared} that they declare",
            body.len()
        )));
    }
    snap::raw::Decoder::new()
        .decompress_vec(body)
        .map_err(damaged)
}

/// Compresses a body into Snappy's block format; `None` where it has 4 GiB or more.
pub fn snappy(body: &[u8]) -> Option<Vec<u8>> {
    snap::raw::Encoder::new().compress_vec(body).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_checked_before_they_are_believed() {
        let body = snappy(&[7; 1000]).unwrap();
        assert_eq!(unsnappy(&body, 1000).unwrap(), [7; 1000]);
        let error = unsnappy(&body, 999).unwrap_err().to_string();
        assert_eq!(
            error,
            "the body declares 1000 bytes when decompressed, at most 999 are taken"
        );
        // 32 MiB and one byte, declared by four bytes of length alone.
        let error = unsnappy(b"\x81\x80\x80\x10", usize::MAX).unwrap_err();
        assert!(matches!(error, BadSnappy::TooLarge { .. }), "{error}");
        let error = unsnappy(b"\x80\x80\x80\x10", usize::MAX).unwrap_err();
        assert!(matches!(error, BadSnappy::Damaged(_)), "{error}");
        for damaged in [&b""[..], b"\xff\xff\xff\xff\xff\xff", b"\x05\x00", b"0abc"] {
            let error = unsnappy(damaged, 1000).unwrap_err();
            assert!(matches!(error, BadSnappy::Damaged(_)), "{error}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(body in prop::collection::vec(0u8..4, 0..5000), noise in prop::collection::vec(any::<u8>(), 0..50)) {
            prop_assert_eq!(unsnappy(&snappy(&body).unwrap(), 5000).unwrap(), body);
            let _ = unsnappy(&noise, 1 << 20);
        }
    }
}
