//! Numbers for people, as Prometheus writes them (`template/template.go`, `util/convert`).

use super::{TemplateError, error, number::general, time};

fn four(value: f64) -> String {
    general(value, Some(4))
}

/// With metric prefixes: `1.235M`, `120m`.
pub(super) fn humanize(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return four(value);
    }
    if value.abs() >= 1.0 {
        return large(value, 1_000.0, ["k", "M", "G", "T", "P", "E", "Z", "Y"]);
    }
    small(value)
}

/// With binary prefixes: `1.5Gi`.
pub(super) fn humanize_1024(value: f64) -> String {
    if value.abs() <= 1.0 || !value.is_finite() {
        return four(value);
    }
    large(
        value,
        1_024.0,
        ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"],
    )
}

fn large(mut value: f64, by: f64, prefixes: [&str; 8]) -> String {
    let mut prefix = "";
    for next in prefixes {
        if value.abs() < by {
            break;
        }
        prefix = next;
        value /= by;
    }
    format!("{}{prefix}", four(value))
}

fn small(mut value: f64) -> String {
    let mut prefix = "";
    for next in ["m", "u", "n", "p", "f", "a", "z", "y"] {
        if value.abs() >= 1.0 {
            break;
        }
        prefix = next;
        value *= 1_000.0;
    }
    format!("{}{prefix}", four(value))
}

/// Seconds as `1d 2h 3m 4s`, or with a prefix below one.
pub(super) fn humanize_duration(value: f64) -> String {
    if !value.is_finite() {
        return four(value);
    }
    if value == 0.0 {
        return "0s".to_owned();
    }
    if value.abs() < 1.0 {
        return format!("{}s", small(value));
    }
    let sign = if value < 0.0 { "-" } else { "" };
    let whole = value.abs() as i64;
    let (days, hours) = (whole / 86_400, whole / 3_600 % 24);
    let (minutes, seconds) = (whole / 60 % 60, whole % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{sign}{}s", four(value.abs())),
        (0, 0, _) => format!("{sign}{minutes}m {seconds}s"),
        (0, _, _) => format!("{sign}{hours}h {minutes}m {seconds}s"),
        _ => format!("{sign}{days}d {hours}h {minutes}m {seconds}s"),
    }
}

/// A share as percent.
pub(super) fn humanize_percentage(value: f64) -> String {
    format!("{}%", four(value * 100.0))
}

/// Seconds since the epoch as a time.
pub(super) fn humanize_timestamp(value: f64) -> Result<String, TemplateError> {
    if !value.is_finite() {
        return Ok(four(value));
    }
    Ok(time::show_time(to_time(value)?))
}

/// Seconds since the epoch in nanoseconds, to the millisecond.
pub(super) fn to_time(value: f64) -> Result<i128, TemplateError> {
    let ns = value * 1e9;
    if ns.is_nan() || ns.abs() >= i64::MAX as f64 {
        return error(format!(
            "{value} cannot be represented as a nanoseconds timestamp since it overflows int64"
        ));
    }
    Ok((value * 1_000.0).round() as i128 * 1_000_000)
}
