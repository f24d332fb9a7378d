//! Times and durations as Go writes them.

use chrono::{DateTime, Utc};

const SECOND_NS: i64 = 1_000_000_000;

/// `Time.String` in UTC.
pub(super) fn show_time(ns: i128) -> String {
    let Some(time) = date(ns) else {
        return "out of range".to_owned();
    };
    let fraction = fraction(ns.rem_euclid(i128::from(SECOND_NS)) as i64);
    format!("{}{fraction} +0000 UTC", time.format("%Y-%m-%d %H:%M:%S"))
}

fn date(ns: i128) -> Option<DateTime<Utc>> {
    let seconds = i64::try_from(ns.div_euclid(i128::from(SECOND_NS))).ok()?;
    DateTime::from_timestamp(seconds, 0)
}

/// A fraction of a second with its point, trailing zeros left off.
fn fraction(ns: i64) -> String {
    if ns == 0 {
        return String::new();
    }
    format!(".{ns:09}").trim_end_matches('0').to_owned()
}

/// `Duration.String`: `1h2m3.5s`, `1.5ms`.
pub(super) fn show_duration(ns: i64) -> String {
    if ns == 0 {
        return "0s".to_owned();
    }
    let sign = if ns < 0 { "-" } else { "" };
    let all = i128::from(ns).unsigned_abs();
    let small = |unit: u128, name: &str| {
        let (whole, part) = (all / unit, all % unit);
        let width = unit.ilog10() as usize;
        let part = format!(".{part:0width$}");
        let part = if unit == 1 {
            ""
        } else {
            part.trim_end_matches('0').trim_end_matches('.')
        };
        format!("{sign}{whole}{part}{name}")
    };
    match all {
        0..1_000 => return small(1, "ns"),
        1_000..1_000_000 => return small(1_000, "µs"),
        1_000_000..1_000_000_000 => return small(1_000_000, "ms"),
        _ => {}
    }
    let seconds = all / u128::from(SECOND_NS.unsigned_abs());
    let part = fraction((all % u128::from(SECOND_NS.unsigned_abs())) as i64);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{sign}{seconds}{part}s"),
        (0, _) => format!("{sign}{minutes}m{seconds}{part}s"),
        _ => format!("{sign}{hours}h{minutes}m{seconds}{part}s"),
    }
}

/// Elements of Go's reference time with chrono's name of each, the longer ones first.
const ELEMENTS: [(&str, &str); 21] = [
    ("2006", "%Y"),
    ("January", "%B"),
    ("Monday", "%A"),
    ("-07:00", "%:z"),
    ("-0700", "%z"),
    ("Z07:00", "Z"),
    ("Jan", "%b"),
    ("Mon", "%a"),
    ("MST", "UTC"),
    ("01", "%m"),
    ("02", "%d"),
    ("15", "%H"),
    ("03", "%I"),
    ("04", "%M"),
    ("05", "%S"),
    ("06", "%y"),
    ("PM", "%p"),
    ("_2", "%e"),
    ("1", "%-m"),
    ("2", "%-d"),
    ("3", "%-I"),
];

/// `Time.Format` in UTC.
pub(super) fn format_time(ns: i128, layout: &str) -> String {
    let Some(time) = date(ns) else {
        return "out of range".to_owned();
    };
    let mut pattern = String::new();
    let mut rest = layout;
    while let Some(first) = rest.chars().next() {
        let element = ELEMENTS.iter().find(|(name, _)| rest.starts_with(name));
        if let Some((name, chrono)) = element {
            pattern.push_str(chrono);
            rest = &rest[name.len()..];
        } else {
            if first == '%' {
                pattern.push('%');
            }
            pattern.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    time.format(&pattern).to_string()
}
