//! Numbers as Go writes them.

/// Digits without point, trailing zeros left off, and the place of the point in them: `0.digits x 10^point`.
fn digits(value: f64, significant: Option<usize>) -> (String, i32) {
    let shown = match significant {
        Some(count) => format!("{:.*e}", count.max(1) - 1, value.abs()),
        None => format!("{:e}", value.abs()),
    };
    let (mantissa, exponent) = shown.split_once('e').unwrap_or((&shown, "0"));
    let all: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits = all.trim_end_matches('0');
    if digits.is_empty() {
        return ("0".to_owned(), 1);
    }
    (digits.to_owned(), exponent + 1)
}

/// What is no number, as Go writes it.
fn special(value: f64) -> Option<&'static str> {
    if value.is_nan() {
        Some("NaN")
    } else if value.is_infinite() {
        Some(if value > 0.0 { "+Inf" } else { "-Inf" })
    } else {
        None
    }
}

/// `%g`, with so many significant digits or as few as tell the number.
pub(super) fn general(value: f64, precision: Option<usize>) -> String {
    if let Some(special) = special(value) {
        return special.to_owned();
    }
    let (digits, point) = digits(value, precision.map(|p| p.max(1)));
    let count = digits.len() as i32;
    // As strconv has it: the shortest form counts as one of 6 digits in this.
    let limit = match precision.map(|precision| precision.max(1) as i32) {
        None => 6,
        Some(limit) if limit > count && count >= point => count,
        Some(limit) => limit,
    };
    let exponent = point - 1;
    let sign = if value.is_sign_negative() { "-" } else { "" };
    if exponent < -4 || exponent >= limit {
        return format!("{sign}{}", scientific(&digits, exponent));
    }
    let text = if point <= 0 {
        format!("0.{}{digits}", "0".repeat(point.unsigned_abs() as usize))
    } else if count <= point {
        format!("{digits}{}", "0".repeat((point - count) as usize))
    } else {
        let (whole, part) = digits.split_at(point as usize);
        format!("{whole}.{part}")
    };
    format!("{sign}{text}")
}

fn scientific(digits: &str, exponent: i32) -> String {
    let (first, rest) = digits.split_at(1);
    let point = if rest.is_empty() { "" } else { "." };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{first}{point}{rest}e{sign}{:02}", exponent.abs())
}

/// `%v`: the shortest text that is read back as the same number.
pub(super) fn shortest(value: f64) -> String {
    general(value, None)
}

/// `%e` with so many digits after the point.
pub(super) fn exponential(value: f64, precision: usize) -> String {
    if let Some(special) = special(value) {
        return special.to_owned();
    }
    let shown = format!("{value:.precision$e}");
    let (mantissa, exponent) = shown.split_once('e').unwrap_or((&shown, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// `%f` with so many digits after the point.
pub(super) fn fixed(value: f64, precision: usize) -> String {
    special(value).map_or_else(|| format!("{value:.precision$}"), str::to_owned)
}
