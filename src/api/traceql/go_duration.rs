//! Durations as Go writes them.

/// Units with their nanoseconds; longer names before those that they begin with.
const UNITS: [(&str, i128); 9] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// Nanoseconds of a duration such as `1.2s`, `100ms` or `1h30m`; also of days (`2d`), which Go does not have. `None` for
/// other text, for negative ones and for those beyond 64 bits.
pub(in crate::api) fn parse_go_duration(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut sum: i128 = 0;
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() || rest.len() > 100 {
        return None;
    }
    while !rest.is_empty() {
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let (whole, after) = rest.split_at(digits(rest));
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(digits(after)),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() || whole.len() > 19 {
            return None;
        }
        let (name, unit) = UNITS.iter().find(|(name, _)| after.starts_with(name))?;
        // Beyond 18 digits nothing is left of a nanosecond.
        let fraction = &fraction[..fraction.len().min(18)];
        let number = |text: &str| text.parse::<i128>().unwrap_or(0);
        let scale = 10_i128.pow(fraction.len() as u32);
        sum += number(whole) * unit + number(fraction) * unit / scale;
        rest = &after[name.len()..];
    }
    i64::try_from(sum).ok()
}
