//! Single values, from a TOML file or from text (a variable, a flag).

use std::borrow::Cow;

use toml::de::DeValue;
use url::Url;

use crate::model::parse_duration_ms;

/// A value as somebody wrote it.
#[derive(Clone, Copy)]
pub(super) enum Given<'a> {
    /// In the file.
    Toml(&'a DeValue<'a>),
    /// In a variable or a flag.
    Text(&'a str),
}

impl<'a> Given<'a> {
    /// Says what was expected and what was found instead, never the value itself.
    fn mismatch(self, expected: &str) -> String {
        match self {
            Self::Toml(value) => format!("expected {expected}, found {}", kind_of(value)),
            Self::Text(_) => format!("expected {expected}"),
        }
    }

    /// Text that is not empty.
    pub(super) fn text(self, expected: &str) -> Result<&'a str, String> {
        let text = match self {
            Self::Toml(DeValue::String(text)) => text.as_ref(),
            Self::Text(text) => text,
            Self::Toml(_) => return Err(self.mismatch(expected)),
        };
        if text.is_empty() {
            return Err(format!("must not be empty: expected {expected}"));
        }
        Ok(text)
    }

    /// `true` or `false`.
    pub(super) fn switch(self) -> Result<bool, String> {
        match self {
            Self::Toml(DeValue::Boolean(on)) => Ok(*on),
            Self::Text("true") => Ok(true),
            Self::Text("false") => Ok(false),
            _ => Err(self.mismatch("true or false")),
        }
    }

    /// A whole number, not negative.
    pub(super) fn count(self, expected: &str) -> Result<u64, String> {
        match self {
            Self::Toml(DeValue::Integer(number)) => {
                u64::from_str_radix(number.as_str(), number.radix())
                    .map_err(|_| format!("`{number}` is not {expected}"))
            }
            Self::Text(text) => text
                .replace('_', "")
                .parse()
                .map_err(|_| format!("`{text}` is not {expected}")),
            Self::Toml(_) => Err(self.mismatch(expected)),
        }
    }

    /// A finite number.
    pub(super) fn number(self) -> Result<f64, String> {
        let text: Cow<'_, str> = match self {
            Self::Toml(DeValue::Float(number)) => number.as_str().into(),
            Self::Toml(DeValue::Integer(number)) if number.radix() == 10 => number.as_str().into(),
            Self::Text(text) => text.into(),
            Self::Toml(_) => return Err(self.mismatch("a number")),
        };
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => Err(format!("`{text}` is not a finite number")),
        }
    }

    /// A duration such as `30s`, in milliseconds.
    pub(super) fn duration_ms(self) -> Result<i64, String> {
        let expected = "a duration such as \"30s\", \"5m\", \"24h\", \"7d\"";
        parse_duration_ms(self.text(expected)?).map_err(|e| e.to_string())
    }

    /// A size such as `64MB`, `64MiB` or a number, in bytes.
    pub(super) fn size(self) -> Result<u64, String> {
        if let Self::Toml(DeValue::Integer(_)) = self {
            return self.count("a size in bytes");
        }
        parse_size(self.text("a size such as \"64MB\" or \"64MiB\", or a number of bytes")?)
    }

    /// A list of texts, none of them empty; in a variable they are separated by commas.
    pub(super) fn texts(self) -> Result<Vec<String>, String> {
        let expected = "a list of texts such as [\"a\", \"b\"]";
        match self {
            Self::Text(text) => Ok(text
                .split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect()),
            Self::Toml(DeValue::Array(values)) => values
                .iter()
                .map(|value| match value.get_ref() {
                    DeValue::String(text) if !text.is_empty() => Ok(text.to_string()),
                    DeValue::String(_) => Err("must not hold an empty text".to_owned()),
                    other => Err(format!(
                        "expected {expected}, found {} in it",
                        kind_of(other)
                    )),
                })
                .collect(),
            Self::Toml(_) => Err(self.mismatch(expected)),
        }
    }
}

/// What a TOML value is, for people.
pub(super) fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Units of sizes, the largest first.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

/// Reads `64MB`, `64 MiB`, `1.5GiB` or a plain number of bytes. Units ignore case.
fn parse_size(text: &str) -> Result<u64, String> {
    let bad = || {
        format!("`{text}` is not a size: give a number and kB, MB, GB, TB or KiB, MiB, GiB, TiB")
    };
    let trimmed = text.trim();
    let digits = trimmed
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_'))
        .unwrap_or(trimmed.len());
    let number = trimmed[..digits].replace('_', "");
    let unit = trimmed[digits..].trim_start();
    let factor = if unit.is_empty() {
        1
    } else {
        SIZE_UNITS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit))
            .ok_or_else(bad)?
            .1
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole
            .checked_mul(factor)
            .ok_or_else(|| format!("`{text}` is too large"));
    }
    let bytes = number.parse::<f64>().map_err(|_| bad())? * factor as f64;
    if bytes >= u64::MAX as f64 {
        return Err(format!("`{text}` is too large"));
    }
    Ok(bytes.round() as u64)
}

/// Writes a size the way [`parse_size`] reads it, in the largest unit that divides it.
pub(super) fn format_size(bytes: u64) -> String {
    SIZE_UNITS
        .iter()
        .find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor))
        .map_or_else(
            || format!("{bytes}B"),
            |(unit, factor)| format!("{}{unit}", bytes / factor),
        )
}

/// Longest URL, in bytes.
const URL_BYTES_MAX: usize = 2_048;

/// Checks that a text is an http or https URL with a host. The error never holds the URL, which may
/// carry user and password.
pub(super) fn check_url(text: &str) -> Result<(), String> {
    if text.len() > URL_BYTES_MAX {
        return Err(format!("a URL has at most {URL_BYTES_MAX} bytes"));
    }
    // The parser drops line breaks, and what is stored is the text.
    if text.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err("a URL holds no blanks and no control characters".to_owned());
    }
    let url = Url::parse(text).map_err(|e| format!("not a URL: {e}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("the URL must begin with http:// or https://".to_owned());
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("the URL names no host".to_owned());
    }
    Ok(())
}

/// The same of a URL that everybody is shown.
pub(super) fn check_public_url(text: &str) -> Result<(), String> {
    check_url(text)?;
    let has_login =
        Url::parse(text).is_ok_and(|url| !url.username().is_empty() || url.password().is_some());
    if has_login {
        return Err("the URL must hold no user and no password, since it is shown".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_in_every_form() {
        for (text, bytes) in [
            ("0", 0),
            ("1024", 1024),
            ("64MB", 64_000_000),
            ("64MiB", 64 << 20),
            ("64 mib", 64 << 20),
            ("1.5GiB", 3 << 29),
            ("2kB", 2_000),
            ("2KB", 2_000),
            ("1_000B", 1_000),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "MB",
            "-1MB",
            "64M",
            "64 parsecs",
            "1.2.3MB",
            "99999999999TB",
            "1e3",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn urls_must_be_http() {
        assert_eq!(check_url("http://user:pw@10.0.0.1:9100/metrics"), Ok(()));
        assert_eq!(check_url("https://[::1]/health"), Ok(()));
        for text in [
            "ftp://a/",
            "file:///etc/passwd",
            "10.0.0.1:9100",
            "http://",
            "a b",
            "",
        ] {
            assert!(check_url(text).is_err(), "{text}");
        }
        assert!(check_url("http://a/\nb").is_err());
        assert!(check_url(&format!("http://a/{}", "x".repeat(2_048))).is_err());
        let secret = check_url("gopher://user:hunter2@host/").unwrap_err();
        assert!(!secret.contains("hunter2"), "{secret}");
    }

    proptest! {
        #[test]
        fn sizes_round_trip(bytes in any::<u64>(), shift in 0u32..63) {
            let bytes = bytes >> shift << (shift / 2);
            prop_assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,20}") {
            let given = Given::Text(&text);
            let _ = (given.size(), given.number(), given.duration_ms(), given.texts(), given.switch());
            let _ = (given.count("a number"), check_url(&text));
        }
    }
}
