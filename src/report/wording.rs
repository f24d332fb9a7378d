//! How figures read in text for people. One place, so that every rendering says the same.

use crate::model::{Timestamp, Window, format_duration_ms};

use super::shape::word_for;

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
    }

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(plain("a\x1b[2Jb\u{202e}c\nd"), "a\u{fffd}[2Jb\u{fffd}c d");
    }
}
