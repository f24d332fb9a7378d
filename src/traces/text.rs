//! Words and times on a terminal.

/// A duration in three digits or so: `850 ns`, `1.25 ms`, `12.3 s`, `2 min 05 s`.
pub(super) fn duration(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    let ns = ns.unsigned_abs();
    let scaled = |unit: u64, name: &str| {
        let number = ns as f64 / unit as f64;
        let decimals = match number {
            n if n < 9.995 => 2,
            n if n < 99.95 => 1,
            _ => 0,
        };
        format!("{sign}{number:.decimals$} {name}")
    };
    match ns {
        0 => "0".to_owned(),
        1..1_000 => format!("{sign}{ns} ns"),
        1_000..999_500 => scaled(1_000, "us"),
        999_500..999_500_000 => scaled(1_000_000, "ms"),
        999_500_000..60_000_000_000 => scaled(1_000_000_000, "s"),
        _ => {
            let seconds = (ns + 500_000_000) / 1_000_000_000;
            let (minutes, rest) = (seconds / 60, seconds % 60);
            if minutes < 60 {
                format!("{sign}{minutes} min {rest:02} s")
            } else {
                format!("{sign}{} h {:02} min", minutes / 60, minutes % 60)
            }
        }
    }
}

/// A text without what would move a terminal's cursor.
pub(super) fn plain(text: &str) -> String {
    let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(clean).collect()
}

/// A plain text of at most so many characters; a cut one ends in `…`.
pub(super) fn shortened(text: &str, characters: usize) -> String {
    if text.chars().nth(characters).is_none() {
        return plain(text);
    }
    let mut short: String = text.chars().take(characters.saturating_sub(1)).collect();
    short.push('…');
    plain(&short)
}
