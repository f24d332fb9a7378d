//! Numbers as the text formats write them.

use crate::model::Timestamp;

/// Reads a float the way Go's `strconv.ParseFloat` does, without what Prometheus refuses besides:
/// hexadecimal floats and underscores. `None` for anything else, also for digits that overflow.
///
/// Source: Prometheus, `model/textparse/promparse.go`, `parseFloat`.
pub(super) fn parse_float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let value: f64 = text.parse().ok()?;
    if value.is_nan() {
        // A NaN has no sign; the standard NaN is made so that no bits of meaning slip in.
        return (unsigned.len() == text.len()).then_some(f64::NAN);
    }
    if value.is_infinite() && unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    Some(value)
}

/// Nanoseconds since the epoch, the resolution in which OpenMetrics compares times.
pub(super) type Nanos = i128;

const NANOS_PER_SECOND: i128 = 1_000_000_000;
const NANOS_PER_MILLI: i128 = 1_000_000;
/// Digits of a fraction of a second that are kept.
const NANOS_DIGITS: usize = 9;

/// Reads a float of unix seconds, cut to the nanosecond. Infinities and NaN are no times; a moment of
/// any other size is, whether it can be held or not.
pub(super) fn parse_nanos(text: &str) -> Option<Nanos> {
    let seconds = parse_float(text).filter(|seconds| seconds.is_finite())?;
    // A product too large becomes the largest integer, which is out of range all the same.
    let rounded = (seconds * NANOS_PER_SECOND as f64) as i128;
    if text.contains(['e', 'E']) {
        return Some(rounded);
    }
    let unsigned = text.trim_start_matches(['+', '-']);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let whole = match whole {
        "" => Some(0),
        digits => digits.parse::<i128>().ok(),
    };
    let kept = &fraction[..fraction.len().min(NANOS_DIGITS)];
    let fraction: i128 = format!("{kept:0<NANOS_DIGITS$}").parse().ok()?;
    let nanos = whole
        .and_then(|whole| whole.checked_mul(NANOS_PER_SECOND)?.checked_add(fraction))
        .map(|nanos| if text.starts_with('-') { -nanos } else { nanos });
    Some(nanos.unwrap_or(rounded))
}

/// The millisecond next to a moment; `None` beyond the years 0 to 9999.
pub(super) fn to_timestamp(nanos: Nanos) -> Option<Timestamp> {
    let millis = nanos
        .saturating_add(NANOS_PER_MILLI / 2)
        .div_euclid(NANOS_PER_MILLI);
    let time = Timestamp::from_millis(i64::try_from(millis).ok()?);
    (Timestamp::MIN..=Timestamp::MAX)
        .contains(&time)
        .then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_as_go_reads_them() {
        for (text, value) in [
            ("1", 1.0),
            ("-0.5e-3", -0.0005),
            ("+1.", 1.0),
            (".5", 0.5),
            ("1E3", 1000.0),
            ("0000000000000000000000000000000000001.2e-1", 0.12),
            ("1e-999", 0.0),
            ("Inf", f64::INFINITY),
            ("+inf", f64::INFINITY),
            ("-INFINITY", f64::NEG_INFINITY),
        ] {
            assert_eq!(parse_float(text), Some(value), "{text}");
        }
        for text in ["NaN", "nan"] {
            assert_eq!(
                parse_float(text).map(f64::to_bits),
                Some(f64::NAN.to_bits()),
                "{text}"
            );
        }
        for text in [
            "", " 1", "1 ", ".", "e5", "1_2", "0x1p-3", "0X1", "0b1", "0o1", "1e999", "-1e999",
            "+nan", "-NaN", "infinit", "1f", "true", "١", "--1", "1e", "1e+",
        ] {
            assert_eq!(parse_float(text), None, "{text}");
        }
    }
    #[test]
    fn seconds_are_cut_to_the_nanosecond() {
        for (text, nanos) in [
            ("0", 0),
            ("000", 0),
            ("1.1", 1_100_000_000),
            ("-1.1", -1_100_000_000),
            ("0.0000000001", 0),
            ("0.0000000010", 1),
            ("1700000000.123456789", 1_700_000_000_123_456_789),
            ("1.5e3", 1_500_000_000_000),
            ("5.", 5_000_000_000),
            (".5", 500_000_000),
            (
                "12345678901234567890.1234567890",
                12_345_678_901_234_567_890_123_456_789,
            ),
        ] {
            assert_eq!(parse_nanos(text), Some(nanos), "{text}");
        }
        for text in ["", "Inf", "-Inf", "NaN", "0x1p-3", "1_2", "1.1.1", "z"] {
            assert_eq!(parse_nanos(text), None, "{text}");
        }
        let digits = "9".repeat(60);
        assert_eq!(parse_nanos(&digits), Some(i128::MAX));
        assert_eq!(parse_nanos(&format!("-{digits}.5")), Some(i128::MIN));
    }

    #[test]
    fn moments_are_rounded_to_the_millisecond() {
        let millis = |nanos| to_timestamp(nanos).map(Timestamp::as_millis);
        assert_eq!(millis(1_499_999), Some(1));
        assert_eq!(millis(1_500_000), Some(2));
        assert_eq!(millis(-1_600_000), Some(-2));
        assert_eq!(
            millis(253_402_300_799_999_000_000),
            Some(253_402_300_799_999)
        );
        assert_eq!(millis(253_402_300_800_000_000_000), None);
        assert_eq!(millis(i128::MAX), None);
        assert_eq!(millis(i128::MIN), None);
    }
}
