//! Content-Encoding.

use std::{borrow::Cow, io::Read};

use flate2::bufread::{GzDecoder, ZlibDecoder};

use super::{BodyError, shown::Shown};

/// Members of one gzip body. A member may be empty, and each costs a decoder; parallel compressors
/// write one per 64 KiB or more.
const GZIP_MEMBERS_MAX: usize = 65_536;

/// Bytes that are decompressed at a time.
const STEP: usize = 16 * 1024;

/// Undoes a body's Content-Encoding: `identity` (or none), `gzip` (any number of members) and `deflate`
/// (zlib). The limit of `decompressed_max` bytes holds while decompressing; no size that the body
/// declares is believed.
///
/// # Errors
/// [`BodyError::ContentType`] for another encoding, [`BodyError::Limit`] when there is more than
/// `decompressed_max`, [`BodyError::Encoding`] when the compression is damaged.
pub fn decompress<'a>(
    content_encoding: Option<&str>,
    body: &'a [u8],
    decompressed_max: usize,
) -> Result<Cow<'a, [u8]>, BodyError> {
    let encoding = content_encoding.unwrap_or_default().trim();
    let is = |name: &str| encoding.eq_ignore_ascii_case(name);
    if encoding.is_empty() || is("identity") {
        if body.len() > decompressed_max {
            return Err(too_large(decompressed_max));
        }
        return Ok(Cow::Borrowed(body));
    }
    let mut out = Vec::new();
    if is("gzip") || is("x-gzip") {
        gunzip(body, &mut out, decompressed_max)?;
    } else if is("deflate") {
        let mut decoder = ZlibDecoder::new(body);
        read_all(&mut decoder, "deflate", &mut out, decompressed_max)?;
        if !decoder.into_inner().is_empty() {
            return Err(damaged("deflate", "bytes follow its end"));
        }
    } else {
        return Err(BodyError::ContentType(format!(
            "content encoding {} is not understood: expected gzip, deflate or identity",
            Shown(encoding)
        )));
    }
    Ok(Cow::Owned(out))
}

fn gunzip(body: &[u8], out: &mut Vec<u8>, max: usize) -> Result<(), BodyError> {
    let mut rest = body;
    for _ in 0..GZIP_MEMBERS_MAX {
        let mut decoder = GzDecoder::new(rest);
        read_all(&mut decoder, "gzip", out, max)?;
        rest = decoder.into_inner();
        if rest.is_empty() {
            return Ok(());
        }
    }
    Err(BodyError::Limit(format!(
        "the gzip body has more than {GZIP_MEMBERS_MAX} members"
    )))
}

fn read_all(
    decoder: &mut impl Read,
    encoding: &str,
    out: &mut Vec<u8>,
    max: usize,
) -> Result<(), BodyError> {
    let mut step = [0; STEP];
    loop {
        let n = decoder
            .read(&mut step)
            .map_err(|e| damaged(encoding, &e.to_string()))?;
        if n == 0 {
            return Ok(());
        }
        if n > max - out.len() {
            return Err(too_large(max));
        }
        if out.capacity() - out.len() < n {
            // Doubling that stops at the limit; a plain push would reserve up to twice of it.
            out.reserve_exact(out.len().max(STEP).min(max - out.len()).max(n));
        }
        out.extend_from_slice(&step[..n]);
    }
}

fn too_large(max: usize) -> BodyError {
    BodyError::Limit(format!(
        "the body is larger than {max} bytes when decompressed"
    ))
}

fn damaged(encoding: &str, why: &str) -> BodyError {
    BodyError::Encoding(format!("the {encoding} body is damaged: {why}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{
        Compression,
        write::{GzEncoder, ZlibEncoder},
    };
    use proptest::prelude::*;

    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn deflate(data: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn identity_is_borrowed_and_limited() {
        for encoding in [None, Some(""), Some("identity"), Some(" Identity ")] {
            let body = decompress(encoding, b"abc", 3).unwrap();
            assert!(matches!(body, Cow::Borrowed(b"abc")));
            assert!(matches!(
                decompress(encoding, b"abcd", 3),
                Err(BodyError::Limit(_))
            ));
        }
    }

    #[test]
    fn members_follow_each_other() {
        let mut body = gzip(b"hello ");
        body.extend(gzip(b""));
        body.extend(gzip(b"world"));
        for encoding in ["gzip", "GZIP", "x-gzip"] {
            assert_eq!(
                &*decompress(Some(encoding), &body, 11).unwrap(),
                b"hello world"
            );
        }
        assert!(matches!(
            decompress(Some("gzip"), &body, 10),
            Err(BodyError::Limit(_))
        ));
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let zeros = vec![0; 8 << 20];
        for (encoding, bomb) in [("gzip", gzip(&zeros)), ("deflate", deflate(&zeros))] {
            assert!(bomb.len() < 100_000);
            let error = decompress(Some(encoding), &bomb, 1 << 20).unwrap_err();
            assert_eq!(
                error.to_string(),
                "the body is larger than 1048576 bytes when decompressed"
            );
            let whole = decompress(Some(encoding), &bomb, 8 << 20).unwrap();
            assert_eq!(whole.len(), 8 << 20);
            let Cow::Owned(whole) = whole else {
                panic!("borrowed")
            };
            assert!(whole.capacity() <= 8 << 20, "{}", whole.capacity());
        }
    }

    #[test]
    fn endless_empty_members_stop() {
        let body = gzip(b"").repeat(GZIP_MEMBERS_MAX + 1);
        assert!(matches!(
            decompress(Some("gzip"), &body, 10),
            Err(BodyError::Limit(_))
        ));
    }

    #[test]
    fn damage_and_strangers_are_named() {
        let good = gzip(b"some text that is long enough");
        let mut flipped = good.clone();
        let crc = flipped.len() - 6;
        flipped[crc] ^= 1;
        let cut = &good[..good.len() - 3];
        let mut trailed = good.clone();
        trailed.extend(b"junk");
        for bad in [&flipped[..], cut, &trailed, b"", b"plain"] {
            let error = decompress(Some("gzip"), bad, 1000).unwrap_err();
            assert!(
                error.to_string().starts_with("the gzip body is damaged: "),
                "{error}"
            );
        }
        let mut trailed = deflate(b"abc");
        trailed.push(0);
        assert!(matches!(
            decompress(Some("deflate"), &trailed, 10),
            Err(BodyError::Encoding(_))
        ));
        for stranger in ["br", "gzip, gzip", "zstd"] {
            assert!(matches!(
                decompress(Some(stranger), b"", 10),
                Err(BodyError::ContentType(m)) if m.contains(stranger)
            ));
        }
    }

    proptest! {
        #[test]
        fn round_trip(data in proptest::collection::vec(any::<u8>(), 0..40_000)) {
            for (encoding, body) in [("gzip", gzip(&data)), ("deflate", deflate(&data))] {
                let plain = decompress(Some(encoding), &body, data.len()).unwrap();
                prop_assert_eq!(&*plain, &data[..]);
            }
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(data in proptest::collection::vec(any::<u8>(), 0..200), flip in 0usize..60) {
            let _ = decompress(Some("gzip"), &data, 100);
            let _ = decompress(Some("deflate"), &data, 100);
            let mut body = gzip(&data);
            let at = flip % body.len();
            body[at] ^= 0x55;
            let _ = decompress(Some("gzip"), &body, 1000);
        }
    }
}
