//! Values of numbers, durations and texts as they are written.
//!
//! Sources: Go, `strconv` (numbers and escapes); Prometheus, `model.ParseDuration`.

/// Longest duration, in milliseconds: Go's 2^63 nanoseconds, 292 years.
pub(super) const DURATION_MS_MAX: i64 = i64::MAX / 1_000_000;

/// Units of durations, longest first, with their milliseconds.
const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// The value of a number: decimal, `0x1f`, octal as in `0755`, `1_000`, `Inf`, `NaN`.
pub(super) fn parse_number(text: &str) -> Result<f64, String> {
    let bad = |why: &str| Err(format!("error parsing number: {text:?}: {why}"));
    if !underscores_separate_digits(text) {
        return bad("invalid syntax");
    }
    let digits = text.replace('_', "");
    if let Some(hex) = digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        return match i64::from_str_radix(hex, 16) {
            Ok(value) => Ok(value as f64),
            Err(_) => bad("no 64-bit integer"),
        };
    }
    let is_octal = digits.len() > 1 && digits.starts_with('0');
    if let Some(value) = i64::from_str_radix(&digits, 8).ok().filter(|_| is_octal) {
        return Ok(value as f64);
    }
    match digits.parse::<f64>() {
        Ok(value) if value.is_infinite() && !text.eq_ignore_ascii_case("inf") => {
            bad("value out of range")
        }
        Ok(value) => Ok(value),
        Err(_) => bad("invalid syntax"),
    }
}

/// Each `_` needs a digit on both sides, or the `x` of `0x` before it.
fn underscores_separate_digits(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_digit = |at: Option<usize>| {
        let byte = at.and_then(|at| bytes.get(at));
        byte.is_some_and(u8::is_ascii_hexdigit)
    };
    let stands_well = |at: usize| {
        let follows_prefix = at == 2 && matches!(bytes.get(1), Some(b'x' | b'X'));
        (is_digit(at.checked_sub(1)) || follows_prefix) && is_digit(Some(at + 1))
    };
    text.match_indices('_').all(|(at, _)| stands_well(at))
}

/// Milliseconds of a duration: units from the longest to the shortest, each once at most.
pub(super) fn parse_duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("not a valid duration string: {text:?}");
    let mut units = UNITS.iter();
    let mut total = 0_i64;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, after) = split_run(rest, |c| c.is_ascii_digit());
        let (unit, after) = split_run(after, |c| !c.is_ascii_digit());
        if number.is_empty() {
            return Err(invalid());
        }
        if !UNITS.iter().any(|(name, _)| *name == unit) {
            return Err(format!("unknown unit {unit:?} in duration {text:?}"));
        }
        // Units that were passed are gone: an earlier or the same one is not found again.
        let (_, size) = units.find(|(name, _)| *name == unit).ok_or_else(invalid)?;
        let part = number
            .parse::<i64>()
            .ok()
            .and_then(|n| n.checked_mul(*size));
        total = part
            .and_then(|part| total.checked_add(part))
            .filter(|total| *total <= DURATION_MS_MAX)
            .ok_or("duration out of range")?;
        rest = after;
    }
    Ok(total)
}

/// Milliseconds of a number of seconds that stands for a duration.
pub(super) fn seconds_to_duration(seconds: f64) -> Result<i64, String> {
    let ms = (seconds * 1_000.0).round();
    if ms.is_nan() || ms.abs() > DURATION_MS_MAX as f64 {
        return Err("duration out of range".to_owned());
    }
    Ok(ms as i64)
}

fn split_run(text: &str, fits: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !fits(c)).unwrap_or(text.len()))
}

/// What is wrong in a text, and at which byte of it.
pub(super) type BadText = (usize, String);

/// The value of a text with its quotes: `"..."` and `'...'` with Go's escapes, `` `...` `` as it is.
pub(super) fn unquote(quoted: &str) -> Result<String, BadText> {
    let quote = quoted.chars().next().unwrap_or('"');
    let inner = quoted.strip_prefix(quote).unwrap_or(quoted);
    let inner = inner.strip_suffix(quote).unwrap_or(inner);
    if quote == '`' || !inner.contains('\\') {
        return Ok(inner.to_owned());
    }
    // Bytes, for `\xc3\xa4` is one character.
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        let (plain, escape) = rest.split_at(at);
        out.extend_from_slice(plain.as_bytes());
        let place = 1 + inner.len() - escape.len();
        let length = push_escape(&mut out, escape, quote).map_err(|why| (place, why))?;
        rest = escape.get(length..).unwrap_or("");
    }
    out.extend_from_slice(rest.as_bytes());
    String::from_utf8(out).map_err(|_| (0, format!("the string {quoted} is not UTF-8")))
}

/// Adds what the escape at the head of `text` stands for; tells how long it is.
fn push_escape(out: &mut Vec<u8>, text: &str, quote: char) -> Result<usize, String> {
    const NOT_TERMINATED: &str = "escape sequence not terminated";
    let head = text.chars().nth(1).ok_or(NOT_TERMINATED)?;
    let single = match head {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' => b'\\',
        '0'..='7' => return push_code(out, text, 1, 3, 8),
        'x' => return push_code(out, text, 2, 2, 16),
        'u' => return push_code(out, text, 2, 4, 16),
        'U' => return push_code(out, text, 2, 8, 16),
        _ if head == quote => quote as u8,
        _ => return Err(format!("unknown escape sequence {:?}", format!("\\{head}"))),
    };
    out.push(single);
    Ok(2)
}

/// Adds the byte or the character whose number has `count` digits from byte `start` on.
fn push_code(
    out: &mut Vec<u8>,
    text: &str,
    start: usize,
    count: usize,
    radix: u32,
) -> Result<usize, String> {
    let digits = text.get(start..start + count);
    let digits = digits.filter(|digits| digits.chars().all(|c| c.is_digit(radix)));
    let digits = digits.ok_or_else(|| {
        let head: String = text.chars().take(start).collect();
        format!("escape sequence {head:?} needs {count} digits of base {radix}")
    })?;
    let code = u32::from_str_radix(digits, radix).unwrap_or(u32::MAX);
    let invalid = "escape sequence is an invalid Unicode code point";
    if count <= 3 {
        out.push(u8::try_from(code).map_err(|_| invalid)?);
    } else {
        let character = char::from_u32(code).ok_or(invalid)?;
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Ok(start + count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_every_form() {
        for (text, value) in [
            ("1", 1.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("5e-3", 0.005),
            ("1_000_000", 1e6),
            ("1_0.5_0", 10.5),
            ("0xc", 12.0),
            ("0X_1F", 31.0),
            ("0755", 493.0),
            ("089", 89.0),
            ("00", 0.0),
            ("iNf", f64::INFINITY),
            ("9223372036854775808", 9_223_372_036_854_775_808.0),
        ] {
            assert_eq!(parse_number(text), Ok(value), "{text}");
        }
        assert!(parse_number("NAN").unwrap().is_nan());
        for text in [
            "1__0",
            "1_",
            "1_.5",
            "0x",
            "1e400",
            "0x8000000000000000",
            "1e",
            ".",
        ] {
            assert!(parse_number(text).is_err(), "{text}");
        }
    }

    #[test]
    fn units_of_durations_descend() {
        for (text, ms) in [
            ("1ms", 1),
            ("1m1ms", 60_001),
            ("1h30m", 5_400_000),
            ("1y2w3d4h5m6s7ms", 33_019_506_007),
            ("0s", 0),
            ("292y", 9_208_512_000_000),
        ] {
            assert_eq!(parse_duration(text), Ok(ms), "{text}");
        }
        for (text, why) in [
            ("5m1h", "not a valid duration string: \"5m1h\""),
            ("5m5m", "not a valid duration string"),
            ("5", "unknown unit \"\" in duration \"5\""),
            ("5hs", "unknown unit \"hs\""),
            ("m", "not a valid duration string"),
            ("293y", "duration out of range"),
            ("99999999999999999999s", "duration out of range"),
        ] {
            let error = parse_duration(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert_eq!(seconds_to_duration(1.5), Ok(1_500));
        assert!(seconds_to_duration(f64::NAN).is_err());
        assert!(seconds_to_duration(1e10).is_err());
    }

    #[test]
    fn escapes_are_those_of_go() {
        for (quoted, value) in [
            (r#""a\n\t\\\"b""#, "a\n\t\\\"b"),
            (r"'it\'s'", "it's"),
            (r"`a\nb`", r"a\nb"),
            (r#""\x41\101\u00e4\U0001F600""#, "AAä😀"),
            (r#""\xc3\xa4\a\b\f\r\v""#, "ä\u{7}\u{8}\u{c}\r\u{b}"),
            ("\"\"", ""),
        ] {
            assert_eq!(unquote(quoted).as_deref(), Ok(value), "{quoted}");
        }
        for (quoted, at, why) in [
            (r#""ab\q""#, 3, "unknown escape sequence"),
            (r#""\'""#, 1, "unknown escape sequence"),
            (r#""\x4""#, 1, "needs 2 digits of base 16"),
            (r#""\400""#, 1, "invalid Unicode code point"),
            (r#""\ud800""#, 1, "invalid Unicode code point"),
            (r#""a\xc5z""#, 0, "is not UTF-8"),
            (r#""\xä""#, 1, "needs 2 digits"),
        ] {
            let (place, message) = unquote(quoted).unwrap_err();
            assert!(message.contains(why), "{quoted}: {message}");
            assert_eq!(place, at, "{quoted}");
        }
    }
}
