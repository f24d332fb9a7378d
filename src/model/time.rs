//! One notion of time: milliseconds since the Unix epoch, UTC.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

/// Milliseconds of a day.
pub const DAY_MS: i64 = 86_400_000;

/// Numbers above this are milliseconds that somebody gave as seconds: 1e11 s is the year 5138.
const SECONDS_MAX: f64 = 1e11;

/// A moment: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest moment that can be written as RFC 3339 (year 0).
    pub const MIN: Self = Self(-62_167_219_200_000);
    /// The latest moment that can be written as RFC 3339 (end of the year 9999).
    pub const MAX: Self = Self(253_402_300_799_999);

    /// The moment so many milliseconds after the epoch.
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds after the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Unix seconds with fraction.
    pub fn as_seconds(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// The moment `ms` milliseconds later (earlier when negative), saturating.
    pub const fn plus_millis(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this moment; negative when this one is earlier.
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Number of the UTC day that holds the moment; days count from the epoch, saturating.
    pub const fn day(self) -> i32 {
        let day = self.0.div_euclid(DAY_MS);
        if day > i32::MAX as i64 {
            i32::MAX
        } else if day < i32::MIN as i64 {
            i32::MIN
        } else {
            day as i32
        }
    }

    /// RFC 3339 in UTC with milliseconds, as in `2026-11-24T02:27:32.000Z`.
    pub fn to_rfc3339(self) -> String {
        self.to_chrono()
            .to_rfc3339_opts(SecondsFormat::Millis, true)
    }

    /// The same moment as chrono writes it; clamped to the years 0 to 9999.
    pub fn to_chrono(self) -> DateTime<Utc> {
        let clamped = self.clamp(Self::MIN, Self::MAX);
        DateTime::from_timestamp_millis(clamped.0).unwrap_or_default()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

/// A window of time `(from, to]`: the samples that PromQL's `[w]` sees at `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// Exclusive beginning.
    pub from: Timestamp,
    /// Inclusive end.
    pub to: Timestamp,
}

impl Window {
    /// The window `(from, to]`.
    pub const fn new(from: Timestamp, to: Timestamp) -> Self {
        Self { from, to }
    }

    /// Both ends included, as lists of samples are asked for.
    pub const fn closed(from: Timestamp, to: Timestamp) -> Self {
        Self {
            from: from.plus_millis(-1),
            to,
        }
    }

    /// The window of `length_ms` that ends at `to`.
    pub const fn ending_at(to: Timestamp, length_ms: i64) -> Self {
        Self {
            from: to.plus_millis(-length_ms),
            to,
        }
    }

    /// Everything up to and including `to`.
    pub const fn until(to: Timestamp) -> Self {
        Self {
            from: Timestamp(i64::MIN),
            to,
        }
    }

    /// Whether the moment lies in the window.
    pub const fn contains(&self, t: Timestamp) -> bool {
        t.0 > self.from.0 && t.0 <= self.to.0
    }

    /// Whether every moment of `first..=last` lies in the window.
    pub const fn covers(&self, first: Timestamp, last: Timestamp) -> bool {
        self.contains(first) && self.contains(last)
    }

    /// Whether some moment of `first..=last` lies in the window.
    pub const fn touches(&self, first: Timestamp, last: Timestamp) -> bool {
        last.0 > self.from.0 && first.0 <= self.to.0
    }

    /// Length in milliseconds.
    pub const fn length_ms(&self) -> i64 {
        self.to.since(self.from)
    }
}

/// Why a text is neither a time nor a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTime {
    /// A number that only makes sense as milliseconds.
    #[error("`{0}` is too large for unix seconds; is it milliseconds?")]
    Milliseconds(String),
    /// Nothing that is understood as a time.
    #[error(
        "`{0}` is not a time: give RFC 3339, unix seconds, `now`, or a relative time such as `-24h`"
    )]
    NotATime(String),
    /// Nothing that is understood as a duration.
    #[error("`{0}` is not a duration: give a number and a unit, such as `30s`, `5m`, `24h`, `7d`")]
    NotADuration(String),
    /// Further away than the years 0 to 9999.
    #[error("`{0}` is out of range")]
    OutOfRange(String),
}

/// Reads a time as every query takes it: RFC 3339, unix seconds, `now`, or relative to `now` (`-24h`).
///
/// # Errors
/// [`BadTime`] with the text; a number above 1e11 is taken for milliseconds and refused.
pub fn parse_time(text: &str, now: Timestamp) -> Result<Timestamp, BadTime> {
    let trimmed = text.trim();
    if trimmed == "now" {
        return Ok(now);
    }
    if let Ok(seconds) = trimmed.parse::<f64>() {
        return seconds_to_timestamp(seconds, text);
    }
    for (sign, direction) in [('-', -1), ('+', 1)] {
        if let Some(rest) = trimmed.strip_prefix(sign) {
            let ms = parse_duration_ms(rest).map_err(|_| BadTime::NotATime(text.to_owned()))?;
            return in_range(now.plus_millis(direction * ms), text);
        }
    }
    // A `+` of a zone offset that was not percent-encoded arrives as a blank.
    let repaired = trimmed.replacen(' ', "+", usize::from(trimmed.len() > 19));
    DateTime::parse_from_rfc3339(trimmed)
        .or_else(|_| DateTime::parse_from_rfc3339(&repaired))
        .map(|t| Timestamp(t.timestamp_millis()))
        .map_err(|_| BadTime::NotATime(text.to_owned()))
}

/// Unix seconds as a moment, rounded to the millisecond. `text` is what the error quotes.
pub(crate) fn seconds_to_timestamp(seconds: f64, text: &str) -> Result<Timestamp, BadTime> {
    if !seconds.is_finite() {
        return Err(BadTime::NotATime(text.to_owned()));
    }
    if seconds.abs() > SECONDS_MAX {
        return Err(BadTime::Milliseconds(text.to_owned()));
    }
    in_range(Timestamp((seconds * 1000.0).round() as i64), text)
}

fn in_range(t: Timestamp, text: &str) -> Result<Timestamp, BadTime> {
    if (Timestamp::MIN..=Timestamp::MAX).contains(&t) {
        Ok(t)
    } else {
        Err(BadTime::OutOfRange(text.to_owned()))
    }
}

const UNITS: [(&str, i64); 7] = [
    ("ms", 1),
    ("y", 365 * DAY_MS),
    ("w", 7 * DAY_MS),
    ("d", DAY_MS),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
];

/// Reads a duration such as `30s`, `1h30m`, `7d`, `500ms`; returns milliseconds.
///
/// # Errors
/// [`BadTime::NotADuration`]; an empty text, a missing unit and an overflow are errors too.
pub fn parse_duration_ms(text: &str) -> Result<i64, BadTime> {
    let bad = || BadTime::NotADuration(text.to_owned());
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(bad());
    }
    if rest == "0" {
        return Ok(0);
    }
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .ok_or_else(bad)?;
        let number: f64 = rest[..digits].parse().map_err(|_| bad())?;
        rest = &rest[digits..];
        let (unit, ms) = UNITS
            .iter()
            .find(|(unit, _)| rest.starts_with(unit))
            .ok_or_else(bad)?;
        rest = &rest[unit.len()..];
        let part = number * *ms as f64;
        if part > i64::MAX as f64 / 4.0 {
            return Err(bad());
        }
        total = total.checked_add(part.round() as i64).ok_or_else(bad)?;
    }
    Ok(total)
}

/// Writes milliseconds the way [`parse_duration_ms`] reads them, largest unit first: `1h30m`, `24h`, `7d`.
pub fn format_duration_ms(ms: i64) -> String {
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut rest = ms.unsigned_abs();
    let mut text = String::new();
    if ms < 0 {
        text.push('-');
    }
    // One day reads better as 24h, as the report's window is called everywhere.
    let units: [(&str, u64); 5] = [
        ("d", DAY_MS as u64),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
        ("ms", 1),
    ];
    for (unit, size) in units {
        if unit == "d" && rest < 2 * size {
            continue;
        }
        if rest >= size {
            text.push_str(&(rest / size).to_string());
            text.push_str(unit);
            rest %= size;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_every_form() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let read = |text| parse_time(text, now).map(Timestamp::as_millis);
        assert_eq!(read("1700000000"), Ok(1_700_000_000_000));
        assert_eq!(read("1700000000.5"), Ok(1_700_000_000_500));
        assert_eq!(read("2023-11-14T22:13:20Z"), Ok(1_700_000_000_000));
        assert_eq!(read("2023-11-14T23:13:20+01:00"), Ok(1_700_000_000_000));
        assert_eq!(read("2023-11-14T23:13:20 01:00"), Ok(1_700_000_000_000));
        assert_eq!(read("-24h"), Ok(1_700_000_000_000 - DAY_MS));
        assert_eq!(read("now"), Ok(1_700_000_000_000));
        assert!(matches!(
            read("1700000000000"),
            Err(BadTime::Milliseconds(_))
        ));
        assert!(matches!(read("yesterday"), Err(BadTime::NotATime(_))));
        assert!(matches!(read("NaN"), Err(BadTime::NotATime(_))));
        assert!(matches!(read("-9000y"), Err(BadTime::OutOfRange(_))));
    }

    #[test]
    fn durations_round_trip() {
        for text in ["30s", "5m", "24h", "7d", "1h30m", "500ms", "2d3h"] {
            let ms = parse_duration_ms(text).unwrap();
            assert_eq!(format_duration_ms(ms), text);
        }
        for text in ["", "5", "h", "5 m", "1e400s", "-5m", "5mm"] {
            assert!(parse_duration_ms(text).is_err(), "{text}");
        }
    }

    #[test]
    fn windows_are_left_open() {
        let w = Window::ending_at(Timestamp::from_millis(100), 50);
        assert!(!w.contains(Timestamp::from_millis(50)));
        assert!(w.contains(Timestamp::from_millis(51)));
        assert!(w.contains(Timestamp::from_millis(100)));
        assert!(!w.contains(Timestamp::from_millis(101)));
    }
}
