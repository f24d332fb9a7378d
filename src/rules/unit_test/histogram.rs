//! Native histograms as promtool writes them: `{{schema:1 sum:-0.3 count:32.1 buckets:[5 10]}}`. A test may give them
//! and compare them; nothing is computed with them.

use std::{collections::BTreeMap, fmt};

use crate::query::show_number;

/// A native histogram.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Histogram {
    schema: i64,
    sum: f64,
    count: f64,
    zero_count: f64,
    zero_width: f64,
    /// Buckets by number, those with a count alone.
    positive: BTreeMap<i64, f64>,
    negative: BTreeMap<i64, f64>,
    custom_values: Vec<f64>,
}

impl Histogram {
    /// Reads what stands between `{{` and `}}`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut histogram = Self::default();
        let (mut offset, mut negative_offset) = (0, 0);
        let (mut positive, mut negative) = (Vec::new(), Vec::new());
        let mut rest = text.trim();
        while !rest.is_empty() {
            let (key, after) = rest.split_once(':').ok_or_else(|| bad(rest))?;
            let (value, after) = match after.strip_prefix('[') {
                Some(list) => list.split_once(']').ok_or_else(|| bad(rest))?,
                None => after.split_once(char::is_whitespace).unwrap_or((after, "")),
            };
            rest = after.trim_start();
            match key {
                "schema" => histogram.schema = value.parse().map_err(|_| bad(value))?,
                "sum" => histogram.sum = number(value)?,
                "count" => histogram.count = number(value)?,
                "z_bucket" => histogram.zero_count = number(value)?,
                "z_bucket_w" => histogram.zero_width = number(value)?,
                "offset" => offset = value.parse().map_err(|_| bad(value))?,
                "n_offset" => negative_offset = value.parse().map_err(|_| bad(value))?,
                "buckets" => positive = numbers(value)?,
                "n_buckets" => negative = numbers(value)?,
                "custom_values" => histogram.custom_values = numbers(value)?,
                // How a series came to it, which is not compared.
                "counter_reset_hint" => {}
                key => return Err(format!("unknown key {key:?} in a histogram")),
            }
        }
        histogram.positive = numbered(&positive, offset);
        histogram.negative = numbered(&negative, negative_offset);
        Ok(histogram)
    }

    /// The same with another added `sign` times.
    pub(super) fn plus(&self, other: &Self, sign: f64) -> Result<Self, String> {
        let fits = self.schema == other.schema
            && self.zero_width == other.zero_width
            && self.custom_values == other.custom_values;
        if !fits {
            return Err("histograms of different schemas cannot be added".to_owned());
        }
        let added = |a: &BTreeMap<i64, f64>, b: &BTreeMap<i64, f64>| {
            let mut sum = a.clone();
            for (bucket, count) in b {
                *sum.entry(*bucket).or_default() += sign * count;
            }
            sum.retain(|_, count| *count != 0.0);
            sum
        };
        Ok(Self {
            sum: self.sum + sign * other.sum,
            count: self.count + sign * other.count,
            zero_count: self.zero_count + sign * other.zero_count,
            positive: added(&self.positive, &other.positive),
            negative: added(&self.negative, &other.negative),
            ..self.clone()
        })
    }
}

fn bad(text: &str) -> String {
    format!("unexpected {text:?} in a histogram")
}

fn number(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| bad(text))
}

fn numbers(text: &str) -> Result<Vec<f64>, String> {
    text.split_whitespace().map(number).collect()
}

fn numbered(counts: &[f64], offset: i64) -> BTreeMap<i64, f64> {
    let numbered = counts.iter().zip(0_i64..);
    let numbered = numbered.map(|(count, at)| (offset.saturating_add(at), *count));
    numbered.filter(|(_, count)| *count != 0.0).collect()
}

impl fmt::Display for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let buckets = |buckets: &BTreeMap<i64, f64>| {
            let shown: Vec<String> = buckets
                .iter()
                .map(|(bucket, count)| format!("{bucket}={}", show_number(*count)))
                .collect();
            shown.join(" ")
        };
        write!(
            f,
            "{{{{schema:{} sum:{} count:{} z_bucket:{} z_bucket_w:{} buckets:[{}] n_buckets:[{}]}}}}",
            self.schema,
            show_number(self.sum),
            show_number(self.count),
            show_number(self.zero_count),
            show_number(self.zero_width),
            buckets(&self.positive),
            buckets(&self.negative)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_buckets_and_where_they_begin_make_no_difference() {
        let a = Histogram::parse(
            "schema:1 sum:-0.3 count:32.1 buckets:[0 5.1 10] offset:-3 n_buckets:[4.1 0]",
        );
        let b = Histogram::parse(
            "count:32.1 schema:1 buckets:[5.1 10] offset:-2 sum:-0.3 n_buckets:[4.1]",
        );
        assert_eq!(a, b);
        let other = Histogram::parse(
            "count:32.1 schema:1 buckets:[5.1 10] offset:-1 sum:-0.3 n_buckets:[4.1]",
        );
        assert_ne!(a, other);
    }

    #[test]
    fn they_are_added() {
        let read = |text| Histogram::parse(text).unwrap();
        let one = read("sum:1.25 count:1 buckets:[1]");
        let sum = read("sum:3 count:2 buckets:[2 1]").plus(&one, 1.0).unwrap();
        assert_eq!(
            sum,
            read("count:3 sum:4.25 buckets:[3 1] counter_reset_hint:not_reset")
        );
        assert_eq!(
            sum.plus(&one, -1.0).unwrap(),
            read("sum:3 count:2 buckets:[2 1]")
        );
        assert!(sum.plus(&read("schema:2"), 1.0).is_err());
        for bad in ["sum", "sum:x", "buckets:[1", "colour:1", "buckets:[a]"] {
            assert!(Histogram::parse(bad).is_err(), "{bad}");
        }
    }
}
