//! Functions: Go's own, and Prometheus'.

use std::{cmp::Ordering, collections::BTreeMap};

use regex::Regex;

use super::{Facts, TemplateError, error, humanize, printf::printf, value::Value};
use crate::model::parse_duration_ms;

const KNOWN: [&str; 46] = [
    "and",
    "args",
    "eq",
    "externalURL",
    "first",
    "ge",
    "graphLink",
    "gt",
    "html",
    "humanize",
    "humanize1024",
    "humanizeDuration",
    "humanizePercentage",
    "humanizeTimestamp",
    "index",
    "js",
    "label",
    "le",
    "len",
    "lt",
    "match",
    "ne",
    "not",
    "now",
    "or",
    "parseDuration",
    "pathPrefix",
    "print",
    "printf",
    "println",
    "query",
    "reReplaceAll",
    "safeHtml",
    "sortByLabel",
    "stripDomain",
    "stripPort",
    "strvalue",
    "tableLink",
    "title",
    "toDuration",
    "toLower",
    "toTime",
    "toUpper",
    "urlQueryEscape",
    "urlquery",
    "value",
];

/// Bytes that `reReplaceAll` may make of its texts, at most.
const REPLACED_BYTES_MAX: usize = 64 << 20;

/// Whether there is such a function.
pub(super) fn is_known(name: &str) -> bool {
    KNOWN.contains(&name)
}

type Called = Result<Value, TemplateError>;

/// Calls a function.
pub(super) fn call(name: &str, arguments: &[Value], facts: &Facts<'_>) -> Called {
    if let Some(found) = of_prometheus(name, arguments, facts) {
        return found;
    }
    match (name, arguments) {
        ("not", [value]) => Ok(Value::Bool(!value.is_true())),
        ("len", [value]) => length(value),
        ("index", [value, keys @ ..]) => index(value, keys),
        ("print", values) => Ok(Value::Text(print(values))),
        ("println", values) => Ok(Value::Text(spaced(values) + "\n")),
        ("printf", [Value::Text(format), values @ ..]) => Ok(Value::Text(printf(format, values))),
        ("urlquery" | "urlQueryEscape", values) => Ok(Value::Text(escaped(&print(values)))),
        ("html", values) => Ok(Value::Text(html(&print(values)))),
        ("js", values) => {
            let text = print(values).replace('\\', "\\\\").replace('\'', "\\'");
            Ok(Value::Text(
                text.replace('"', "\\\"").replace('\n', "\\u000A"),
            ))
        }
        ("eq", [value, others @ ..]) if !others.is_empty() => {
            let mut is_one = false;
            for other in others {
                is_one |= compared(value, other)? == Some(Ordering::Equal);
            }
            Ok(Value::Bool(is_one))
        }
        ("ne" | "lt" | "le" | "gt" | "ge", [a, b]) => {
            let order = compared(a, b)?;
            Ok(Value::Bool(match name {
                "ne" => order != Some(Ordering::Equal),
                "lt" => order == Some(Ordering::Less),
                "le" => matches!(order, Some(Ordering::Less | Ordering::Equal)),
                "gt" => order == Some(Ordering::Greater),
                _ => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
            }))
        }
        (name, arguments) => error(format!(
            "wrong number or types of arguments for {name}: {} given",
            arguments.len()
        )),
    }
}

/// Functions that Prometheus adds; `None` if it is none of them or the arguments do not fit.
fn of_prometheus(name: &str, arguments: &[Value], facts: &Facts<'_>) -> Option<Called> {
    let text = |text: String| Some(Ok(Value::Text(text)));
    let humanized =
        |value: &Value, show: fn(f64) -> String| Some(number(value).map(|n| Value::Text(show(n))));
    match (name, arguments) {
        ("query", [Value::Text(query)]) => Some(queried(query, facts)),
        ("first", [Value::List(list)]) => Some(match list.first() {
            Some(first) => Ok(first.clone()),
            None => error("first() called on vector with no elements"),
        }),
        ("label", [Value::Text(name), sample]) => Some(label(sample, name).map(Value::Text)),
        ("value", [sample]) => Some(sample.field("Value")),
        ("strvalue", [sample]) => Some(label(sample, "__value__").map(Value::Text)),
        ("args", values) => {
            let named = values.iter().enumerate();
            let named: BTreeMap<String, Value> = named
                .map(|(at, value)| (format!("arg{at}"), value.clone()))
                .collect();
            Some(Ok(Value::Object(named)))
        }
        ("sortByLabel", [Value::Text(name), Value::List(list)]) => Some(sorted(name, list)),
        // Every byte of the replacement may stand for all of the text.
        ("reReplaceAll", [_, Value::Text(with), Value::Text(given)])
            if with.len().saturating_mul(given.len()) > REPLACED_BYTES_MAX =>
        {
            Some(error("reReplaceAll: the texts are too long"))
        }
        ("reReplaceAll", [Value::Text(pattern), Value::Text(with), Value::Text(given)]) => Some(
            regex(pattern)
                .map(|regex| Value::Text(regex.replace_all(given, with.as_str()).into_owned())),
        ),
        ("match", [Value::Text(pattern), Value::Text(given)]) => {
            Some(regex(pattern).map(|regex| Value::Bool(regex.is_match(given))))
        }
        ("safeHtml", [Value::Text(given)]) => text(given.clone()),
        ("title", [Value::Text(given)]) => text(title(given)),
        ("toUpper", [Value::Text(given)]) => text(given.to_uppercase()),
        ("toLower", [Value::Text(given)]) => text(given.to_lowercase()),
        ("graphLink", [Value::Text(query)]) => {
            text(format!("/graph?g0.expr={}&g0.tab=0", escaped(query)))
        }
        ("tableLink", [Value::Text(query)]) => {
            text(format!("/graph?g0.expr={}&g0.tab=1", escaped(query)))
        }
        ("stripPort", [Value::Text(host)]) => text(strip_port(host)),
        ("stripDomain", [Value::Text(host)]) => text(strip_domain(host)),
        ("humanize", [value]) => humanized(value, humanize::humanize),
        ("humanize1024", [value]) => humanized(value, humanize::humanize_1024),
        ("humanizeDuration", [value]) => humanized(value, humanize::humanize_duration),
        ("humanizePercentage", [value]) => humanized(value, humanize::humanize_percentage),
        ("humanizeTimestamp", [value]) => {
            Some(number(value).and_then(|n| humanize::humanize_timestamp(n).map(Value::Text)))
        }
        ("toTime", [value]) => {
            Some(number(value).and_then(|n| humanize::to_time(n).map(Value::Time)))
        }
        ("toDuration", [value]) => Some(number(value).map(|n| Value::Duration((n * 1e9) as i64))),
        ("parseDuration", [Value::Text(given)]) => {
            let (sign, bare) = match given.strip_prefix('-') {
                Some(bare) => (-1.0, bare),
                None => (1.0, given.as_str()),
            };
            Some(match parse_duration_ms(bare) {
                Ok(ms) => Ok(Value::Float(sign * ms as f64 / 1_000.0)),
                Err(why) => error(why.to_string()),
            })
        }
        ("now", []) => Some(Ok(Value::Float(facts.at.as_seconds()))),
        ("pathPrefix", []) => text(path_of(facts.external_url)),
        ("externalURL", []) => text(facts.external_url.to_owned()),
        _ => None,
    }
}

/// A number, or a text that is one.
fn number(value: &Value) -> Result<f64, TemplateError> {
    match value {
        Value::Float(n) => Ok(*n),
        Value::Int(n) => Ok(*n as f64),
        Value::Duration(ns) => Ok(*ns as f64 / 1e9),
        Value::Text(text) => match text.parse() {
            Ok(number) => Ok(number),
            Err(_) => error(format!("{text:?} is not a number")),
        },
        other => error(format!("can't convert {} to float", other.kind())),
    }
}

fn queried(query: &str, facts: &Facts<'_>) -> Called {
    match (facts.query)(query) {
        Ok(rows) => {
            let samples = rows
                .iter()
                .map(|(labels, value)| Value::sample(labels, *value));
            Ok(Value::List(samples.collect()))
        }
        Err(why) => error(format!("query {query:?}: {why}")),
    }
}

fn label(sample: &Value, name: &str) -> Result<String, TemplateError> {
    Ok(sample.field("Labels")?.field(name)?.show())
}

fn sorted(name: &str, list: &[Value]) -> Called {
    let mut keyed = Vec::with_capacity(list.len());
    for sample in list {
        keyed.push((label(sample, name)?, sample.clone()));
    }
    keyed.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(Value::List(
        keyed.into_iter().map(|(_, sample)| sample).collect(),
    ))
}

fn regex(pattern: &str) -> Result<Regex, TemplateError> {
    Regex::new(pattern).or_else(|why| error(why.to_string()))
}

/// The first letter of every word in upper case, the others as they are.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut is_start = true;
    for c in text.chars() {
        if is_start {
            out.extend(c.to_uppercase());
        } else {
            out.push(c);
        }
        is_start = !(c.is_alphanumeric() || matches!(c, '_' | '\''));
    }
    out
}

/// Host and port of `host:port` and `[v6]:port`; `None` if it is neither.
fn split_host(text: &str) -> Option<(&str, &str)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        let port = after.strip_prefix(':')?;
        return (!port.contains(':')).then_some((host, port));
    }
    let (host, port) = text.split_once(':')?;
    (!port.contains(':')).then_some((host, port))
}

fn strip_port(text: &str) -> String {
    split_host(text).map_or(text, |(host, _)| host).to_owned()
}

/// Leaves the first part of a host's name, and the port.
fn strip_domain(text: &str) -> String {
    let (host, port) = match split_host(text) {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    if host.parse::<std::net::IpAddr>().is_ok() || host.contains(['[', ']']) {
        return text.to_owned();
    }
    let short = host.split('.').next().unwrap_or(host);
    port.map_or_else(|| short.to_owned(), |port| format!("{short}:{port}"))
}

/// The path of a URL, without a slash at its end.
fn path_of(url: &str) -> String {
    let after = url.split_once("://").map_or(url, |(_, after)| after);
    let path = after.find('/').map_or("", |at| &after[at..]);
    path.trim_end_matches('/').to_owned()
}

/// As in the query of a URL.
fn escaped(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn html(text: &str) -> String {
    let text = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    text.replace('"', "&#34;").replace('\'', "&#39;")
}

/// `fmt.Sprint`: blanks between neighbours of which neither is a text.
fn print(values: &[Value]) -> String {
    let mut out = String::new();
    let mut was_text = true;
    for (at, value) in values.iter().enumerate() {
        let is_text = matches!(value, Value::Text(_));
        if at > 0 && !is_text && !was_text {
            out.push(' ');
        }
        out.push_str(&value.show());
        was_text = is_text;
    }
    out
}

fn spaced(values: &[Value]) -> String {
    let shown: Vec<String> = values.iter().map(Value::show).collect();
    shown.join(" ")
}

fn length(value: &Value) -> Called {
    let length = match value {
        Value::Text(text) => text.len(),
        Value::List(list) => list.len(),
        Value::Labels(map) => map.len(),
        Value::Object(map) => map.len(),
        other => return error(format!("len of type {}", other.kind())),
    };
    Ok(Value::Int(length as i64))
}

fn index(value: &Value, keys: &[Value]) -> Called {
    let mut value = value.clone();
    for key in keys {
        value = match (&value, key) {
            (Value::List(list), Value::Int(at)) => {
                let found = usize::try_from(*at).ok().and_then(|at| list.get(at));
                match found {
                    Some(found) => found.clone(),
                    None => return error(format!("index out of range: {at}")),
                }
            }
            (Value::Labels(_) | Value::Object(_), Value::Text(name)) => value.field(name)?,
            (value, key) => {
                return error(format!("can't index {} by {}", value.kind(), key.show()));
            }
        };
    }
    Ok(value)
}

/// How two values of one kind compare; `None` where neither is first, as with NaN.
fn compared(a: &Value, b: &Value) -> Result<Option<Ordering>, TemplateError> {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => Ok(Some(a.cmp(b))),
        (Value::Int(a), Value::Int(b)) | (Value::Duration(a), Value::Duration(b)) => {
            Ok(Some(a.cmp(b)))
        }
        (Value::Float(a), Value::Float(b)) => Ok(a.partial_cmp(b)),
        (Value::Text(a), Value::Text(b)) => Ok(Some(a.cmp(b))),
        (Value::Nil, Value::Nil) => Ok(Some(Ordering::Equal)),
        (a, b) => error(format!(
            "incompatible types for comparison: {} and {}",
            a.kind(),
            b.kind()
        )),
    }
}
