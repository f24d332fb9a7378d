//! Answers as Prometheus writes them in JSON.

use std::fmt::Write;

use super::answer::{Answer, AnswerSeries, show_number};
use crate::model::Labels;

impl Answer {
    /// Its name in JSON.
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Scalar(..) => "scalar",
            Self::Text(..) => "string",
            Self::Vector(_) => "vector",
            Self::Matrix(_) => "matrix",
        }
    }

    /// `{"resultType":...,"result":...}`: times in seconds, values as texts.
    pub fn to_json(&self) -> String {
        let mut out = format!("{{\"resultType\":\"{}\",\"result\":", self.type_name());
        match self {
            Self::Scalar(at_ms, value) => put_sample(&mut out, *at_ms, *value),
            Self::Text(at_ms, text) => {
                out.push('[');
                put_seconds(&mut out, *at_ms);
                out.push(',');
                put_text(&mut out, text);
                out.push(']');
            }
            Self::Vector(series) => put_series(&mut out, series, false),
            Self::Matrix(series) => put_series(&mut out, series, true),
        }
        out.push('}');
        out
    }
}

fn put_series(out: &mut String, series: &[AnswerSeries], is_matrix: bool) {
    out.push('[');
    for (at, one) in series.iter().enumerate() {
        out.push_str(if at == 0 {
            "{\"metric\":"
        } else {
            ",{\"metric\":"
        });
        put_labels(out, &one.labels);
        if is_matrix {
            out.push_str(",\"values\":[");
            for (at, (time, value)) in one.samples.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                put_sample(out, *time, *value);
            }
            out.push(']');
        } else if let Some((time, value)) = one.samples.first() {
            out.push_str(",\"value\":");
            put_sample(out, *time, *value);
        }
        out.push('}');
    }
    out.push(']');
}

fn put_sample(out: &mut String, at_ms: i64, value: f64) {
    out.push('[');
    put_seconds(out, at_ms);
    out.push_str(",\"");
    put_number(out, value);
    out.push_str("\"]");
}

/// Labels as a JSON object.
pub fn put_labels(out: &mut String, labels: &Labels) {
    out.push('{');
    for (at, (name, value)) in labels.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        put_text(out, name);
        out.push(':');
        put_text(out, value);
    }
    out.push('}');
}

/// A text as JSON.
pub fn put_text(out: &mut String, text: &str) {
    // Texts always serialise.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

/// Unix seconds with at most three decimals.
fn put_seconds(out: &mut String, ms: i64) {
    let sign = if ms < 0 { "-" } else { "" };
    let (whole, rest) = (ms.unsigned_abs() / 1000, ms.unsigned_abs() % 1000);
    let _ = if rest == 0 {
        write!(out, "{sign}{whole}")
    } else {
        let digits = format!("{rest:03}");
        write!(out, "{sign}{whole}.{}", digits.trim_end_matches('0'))
    };
}

/// As Go's JSON has it: an exponent below 1e-6 and from 1e21 on.
fn put_number(out: &mut String, value: f64) {
    let size = value.abs();
    if value.is_finite() && size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{value:e}");
        out.push_str(&if size >= 1e21 {
            text.replace('e', "e+")
        } else {
            text
        });
        return;
    }
    out.push_str(&show_number(value));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_and_values_are_texts() {
        let series = |value: f64| AnswerSeries {
            labels: Labels::new([("__name__", "m"), ("a", "\"x\n")]),
            samples: vec![(1_435_781_430_781, value)],
        };
        let vector = Answer::Vector(vec![series(f64::NAN)]);
        assert_eq!(
            vector.to_json(),
            r#"{"resultType":"vector","result":[{"metric":{"__name__":"m","a":"\"x\n"},"value":[1435781430.781,"NaN"]}]}"#
        );
        let matrix = Answer::Matrix(vec![series(1e-9)]);
        assert!(
            matrix
                .to_json()
                .ends_with(r#""values":[[1435781430.781,"1e-9"]]}]}"#)
        );
        let scalar = |at_ms, value| Answer::Scalar(at_ms, value).to_json();
        assert!(scalar(-1_500, 1e21).ends_with(r#"[-1.5,"1e+21"]}"#));
        assert!(scalar(10, f64::NEG_INFINITY).ends_with(r#"[0.01,"-Inf"]}"#));
        assert!(scalar(1_000, 0.1 + 0.2).ends_with(r#"[1,"0.30000000000000004"]}"#));
    }
}
