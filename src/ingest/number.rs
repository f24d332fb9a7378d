//! Numbers as the text formats write them.

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
}
