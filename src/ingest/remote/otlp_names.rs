//! Names of OpenTelemetry as names of Prometheus.
//!
//! Source of the rules: OpenTelemetry, `compatibility/prometheus_and_openmetrics.md`; where it leaves a choice, what
//! Prometheus' receiver does.

use std::borrow::Cow;

/// Words for units of UCUM.
const UNITS: [(&str, &str); 26] = [
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    ("TiBy", "tebibytes"),
    ("kBy", "kilobytes"),
    ("KBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("GBy", "gigabytes"),
    ("TBy", "terabytes"),
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("g", "grams"),
    ("Cel", "celsius"),
    ("Hz", "hertz"),
    ("%", "percent"),
];

/// Words for units behind a slash.
const PER_UNITS: [(&str, &str); 7] = [
    ("s", "second"),
    ("m", "minute"),
    ("h", "hour"),
    ("d", "day"),
    ("w", "week"),
    ("mo", "month"),
    ("y", "year"),
];

/// What a metric's kind adds to its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suffix {
    /// `total`, of sums that only grow.
    Total,
    /// `ratio`, of gauges without a unit.
    Ratio,
    None,
}

/// The name and the unit of a metric. The name is empty where nothing of it can stand in one.
pub(super) fn metric_name(name: &str, unit: &str, suffix: Suffix) -> (String, String) {
    let (main, per) = unit_words(unit);
    let mut words: Vec<&str> = words(name).collect();
    if words.is_empty() {
        return (String::new(), String::new());
    }
    append(&mut words, &main);
    append(&mut words, &per);
    let mut unit = [main, per].concat();
    match suffix {
        Suffix::Total => move_last(&mut words, "total"),
        Suffix::Ratio => {
            move_last(&mut words, "ratio");
            unit = vec!["ratio"];
        }
        Suffix::None => {}
    }
    let mut name = words.join("_");
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert(0, '_');
    }
    (name, unit.join("_"))
}

/// The runs of characters that may stand in a metric's name.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != ':');
    words.filter(|word| !word.is_empty())
}

/// Words of a unit, and of what stands behind its slash. What is in braces is none.
fn unit_words(unit: &str) -> (Vec<&str>, Vec<&str>) {
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let expand = |unit: &'_ str, table: &[(&str, &'static str)]| -> Option<&'static str> {
        let found = table.iter().find(|(short, _)| *short == unit);
        found.map(|(_, word)| *word)
    };
    let without_braces = |unit: &'_ str| !unit.contains(['{', '}']);
    let main = Some(main.trim()).filter(|main| without_braces(main) && *main != "1");
    let per = Some(per.trim()).filter(|per| without_braces(per));
    let main = main.map_or_else(Vec::new, |unit| {
        words(expand(unit, &UNITS).unwrap_or(unit)).collect()
    });
    let per = per.map_or_else(Vec::new, |unit| {
        words(expand(unit, &PER_UNITS).unwrap_or(unit)).collect()
    });
    if per.is_empty() {
        return (main, per);
    }
    (main, [vec!["per"], per].concat())
}

/// Appends the words unless they stand there already, one behind the other.
fn append<'a>(words: &mut Vec<&'a str>, more: &[&'a str]) {
    let is_there = !more.is_empty() && words.windows(more.len()).any(|part| part == more);
    if !is_there {
        words.extend_from_slice(more);
    }
}

fn move_last(words: &mut Vec<&str>, word: &'static str) {
    words.retain(|other| *other != word);
    words.push(word);
}

/// The name of a label for an attribute: other characters than letters, digits and `_` become `_`, many of those one;
/// a digit in front gets `key_`, a `_` in front `key`. `None` where no letter or digit is left.
pub(super) fn label_name(key: &str) -> Option<Cow<'_, str>> {
    let is_plain = |c: u8| c.is_ascii_alphanumeric();
    let bytes = key.as_bytes();
    if !bytes.iter().copied().any(is_plain) {
        return None;
    }
    let is_good = bytes[0].is_ascii_alphabetic()
        && bytes.iter().all(|c| is_plain(*c) || *c == b'_')
        && !bytes.windows(2).any(|pair| pair == b"__");
    if is_good {
        return Some(Cow::Borrowed(key));
    }
    let mut name = String::with_capacity(key.len() + 4);
    for c in key.chars() {
        if c.is_ascii_alphanumeric() {
            name.push(c);
        } else if !name.ends_with('_') {
            name.push('_');
        }
    }
    let prefix = match name.as_bytes().first() {
        Some(b'0'..=b'9') => "key_",
        Some(b'_') => "key",
        _ => "",
    };
    name.insert_str(0, prefix);
    Some(Cow::Owned(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_get_units_and_suffixes() {
        use Suffix::{None, Ratio, Total};
        for (name, unit, suffix, expected, expected_unit) in [
            (
                "http.server.duration",
                "ms",
                None,
                "http_server_duration_milliseconds",
                "milliseconds",
            ),
            ("requests", "", Total, "requests_total", ""),
            ("requests_total", "1", Total, "requests_total", ""),
            ("total.requests", "{request}", Total, "requests_total", ""),
            ("cpu_usage", "1", Ratio, "cpu_usage_ratio", "ratio"),
            ("ratio of cpu", "1", Ratio, "of_cpu_ratio", "ratio"),
            ("cpu.time", "s", Total, "cpu_time_seconds_total", "seconds"),
            (
                "cpu_seconds_total",
                "s",
                Total,
                "cpu_seconds_total",
                "seconds",
            ),
            (
                "throughput",
                "By/s",
                None,
                "throughput_bytes_per_second",
                "bytes_per_second",
            ),
            ("requests", "1/s", None, "requests_per_second", "per_second"),
            (
                "requests_per_second",
                "1/s",
                None,
                "requests_per_second",
                "per_second",
            ),
            ("disk", "By/{custom}", None, "disk_bytes", "bytes"),
            (
                "m__x",
                "unit@with#special/chars",
                None,
                "m_x_unit_with_special_per_chars",
                "unit_with_special_per_chars",
            ),
            ("disk", "%", None, "disk_percent", "percent"),
            ("rule:rate", "", None, "rule:rate", ""),
            ("2xx", "", None, "_2xx", ""),
            ("_private", "", None, "private", ""),
            ("größe", "TiBy", None, "gr_e_tebibytes", "tebibytes"),
            ("@#$", "s", Total, "", ""),
        ] {
            let (name, unit) = metric_name(name, unit, suffix);
            assert_eq!((&*name, &*unit), (expected, expected_unit));
        }
    }

    #[test]
    fn attributes_get_names_of_labels() {
        for (key, expected) in [
            ("http.method", Some("http_method")),
            ("a_b", Some("a_b")),
            ("a..b__c", Some("a_b_c")),
            ("1st", Some("key_1st")),
            ("_x", Some("key_x")),
            ("__name__", Some("key_name_")),
            ("é", None),
            ("", None),
        ] {
            assert_eq!(label_name(key).as_deref(), expected, "{key}");
        }
    }
}
