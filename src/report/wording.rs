//! How figures read in text for people. One place, so that every rendering says the same.

use crate::model::{Timestamp, Window, format_duration_ms};

use super::{shape::word_for, trend::Trend};

/// One digit after the point, as the recommendations have it.
pub(super) fn one_digit(value: f64) -> String {
    word_for(value).map_or_else(|| format!("{value:.1}"), str::to_owned)
}

/// The figure of a measurement that may never have been made.
pub(super) fn measured(value: f64, samples: u64) -> String {
    if samples == 0 {
        "-".to_owned()
    } else {
        one_digit(value)
    }
}

/// A whole number with thousands separated: `1,234,567`.
pub(super) fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share of 1 as percent; rounded down, so that only what is complete reads as 100 %.
pub(super) fn percent_of(share: f64) -> String {
    if share >= 1.0 {
        return "100".to_owned();
    }
    let permille = (share * 1000.0).floor();
    if share > 0.0 && permille == 0.0 {
        return "less than 0.1".to_owned();
    }
    format!("{:.1}", permille / 10.0)
}

/// `2026-07-01 14:03:00`, with milliseconds only where there are some.
pub(super) fn moment(time: Timestamp) -> String {
    let pattern = if time.as_millis().rem_euclid(1000) == 0 {
        "%Y-%m-%d %H:%M:%S"
    } else {
        "%Y-%m-%d %H:%M:%S%.3f"
    };
    time.to_chrono().format(pattern).to_string()
}

/// `2026-07-01 00:00:00 to 2026-07-02 00:00:00 UTC (24h)`.
pub(super) fn window(window: Window) -> String {
    format!(
        "{} to {} UTC ({})",
        moment(window.from),
        moment(window.to),
        format_duration_ms(window.length_ms()),
    )
}

/// A duration, to the second where it is longer than one.
pub(super) fn duration(ms: i64) -> String {
    if ms.abs() < 1000 {
        return format_duration_ms(ms);
    }
    format_duration_ms(ms / 1000 * 1000)
}

/// One line without anything that could steer a terminal or turn the reading direction: control
/// characters, line and paragraph separators, bidirectional controls.
pub(super) fn plain(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\r' | '\t' => ' ',
            c if c.is_control() || turns_direction(c) => char::REPLACEMENT_CHARACTER,
            c => c,
        })
        .collect()
}

const fn turns_direction(c: char) -> bool {
    matches!(
        c,
        '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

/// A difference with its sign, one digit after the point: `+2.3`, `-0.5`, `0.0`.
pub(super) fn signed(difference: f64) -> String {
    signed_to(difference, 1)
}

/// A difference with its sign; what rounds to nothing has none.
fn signed_to(difference: f64, digits: usize) -> String {
    if let Some(word) = word_for(difference) {
        return word.to_owned();
    }
    let text = format!("{difference:+.digits$}");
    if text.bytes().any(|b| (b'1'..=b'9').contains(&b)) {
        text
    } else {
        text[1..].to_owned()
    }
}

/// Rise in percent points an hour with its sign, two digits after the point; `-` without a trend.
pub(super) fn per_hour(trend: Option<Trend>) -> String {
    trend.map_or_else(|| "-".to_owned(), |t| signed_to(t.per_hour, 2))
}

/// A figure with what it rose by since the report that it is compared with: `39.1 (+2.3)`.
pub(super) fn with_change(figure: String, change: Option<f64>) -> String {
    match change {
        Some(change) => format!("{figure} ({})", signed(change)),
        None => figure,
    }
}

/// Bytes in decimal units, three digits or so: `999 B`, `1.2 kB`, `35.0 MB`.
pub(super) fn bytes(bytes: f64) -> String {
    if let Some(word) = word_for(bytes) {
        return word.to_owned();
    }
    let mut scaled = bytes;
    // What rounds to a thousand is told in the next unit.
    for unit in ["B", "kB", "MB", "GB", "TB", "PB"] {
        if scaled.abs() < 999.95 {
            let digits = usize::from(unit != "B" || scaled.fract() != 0.0);
            return format!("{scaled:.digits$} {unit}");
        }
        scaled /= 1000.0;
    }
    format!("{scaled:.1} EB")
}

/// Times without contact: how many, and how long together; `0` without any.
pub(super) fn gaps(count: u64, seconds: f64) -> String {
    if count == 0 {
        return "0".to_owned();
    }
    format!(
        "{}, {}",
        thousands(count),
        duration((seconds * 1000.0) as i64)
    )
}

/// Plural of a word by its count: `1 agent`, `2 agents`.
pub(super) fn counted(count: usize, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", thousands(count as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1000), "1,000");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(one_digit(69.96), "70.0");
        assert_eq!(one_digit(f64::NEG_INFINITY), "-Inf");
        assert_eq!(percent_of(0.999_999), "99.9");
        assert_eq!(percent_of(1.0), "100");
        assert_eq!(percent_of(0.000_002), "less than 0.1");
        assert_eq!(counted(1, "agent"), "1 agent");
        assert_eq!(duration(61_500), "1m1s");
        assert_eq!(gaps(0, 0.0), "0");
        assert_eq!(gaps(1_200, 61.5), "1,200, 1m1s");
    }

    #[test]
    fn differences_have_a_sign_where_there_is_one() {
        assert_eq!(signed(2.25), "+2.2");
        assert_eq!(signed(-2.35), "-2.4");
        assert_eq!(signed(-0.04), "0.0");
        assert_eq!(signed(0.04), "0.0");
        assert_eq!(signed(f64::INFINITY), "+Inf");
        assert_eq!(with_change("7.0".to_owned(), Some(-10.0)), "7.0 (-10.0)");
        assert_eq!(with_change("7.0".to_owned(), None), "7.0");
        let trend = |per_hour| Trend {
            per_hour,
            at_end: 0.0,
            steps: 3,
            hours: 1.0,
            r_squared: 1.0,
        };
        assert_eq!(per_hour(Some(trend(0.044))), "+0.04");
        assert_eq!(per_hour(Some(trend(-0.004))), "0.00");
        assert_eq!(per_hour(None), "-");
    }

    #[test]
    fn bytes_come_in_decimal_units() {
        assert_eq!(bytes(0.0), "0 B");
        assert_eq!(bytes(999.0), "999 B");
        assert_eq!(bytes(0.25), "0.2 B");
        assert_eq!(bytes(999.96), "1.0 kB");
        assert_eq!(bytes(1_250_000.0), "1.2 MB");
        assert_eq!(bytes(999_949.0), "999.9 kB");
        assert_eq!(bytes(5e20), "500.0 EB");
        assert_eq!(bytes(f64::NAN), "NaN");
    }

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(plain("a\x1b[2Jb\u{202e}c\nd"), "a\u{fffd}[2Jb\u{fffd}c d");
    }
}
