//! `printf`, as far as templates use it.
//!
//! Source of the behaviour: Go, `fmt`.

use std::fmt::Write;

use super::{
    number::{exponential, fixed, general},
    value::Value,
};

/// How wide and how exact something is printed.
#[derive(Default)]
struct Form {
    is_left: bool,
    is_zero: bool,
    has_plus: bool,
    is_sharp: bool,
    width: usize,
    precision: Option<usize>,
}

/// Widest field.
const WIDTH_MAX: usize = 1_000;

/// Fills a format in.
pub(super) fn printf(format: &str, arguments: &[Value]) -> String {
    let mut out = String::new();
    let mut arguments = arguments.iter();
    let mut rest = format.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut form = Form::default();
        while let Some(flag) = rest.next_if(|c| matches!(c, '-' | '+' | '0' | ' ' | '#')) {
            form.is_left |= flag == '-';
            form.is_zero |= flag == '0';
            form.has_plus |= flag == '+';
            form.is_sharp |= flag == '#';
        }
        let mut number = || {
            let mut number: Option<usize> = None;
            while let Some(digit) = rest.next_if(char::is_ascii_digit) {
                let digit = digit.to_digit(10).unwrap_or(0) as usize;
                number = Some((number.unwrap_or(0) * 10 + digit).min(WIDTH_MAX));
            }
            number
        };
        form.width = number().unwrap_or(0);
        if rest.next_if_eq(&'.').is_some() {
            let mut precision = 0;
            while let Some(digit) = rest.next_if(char::is_ascii_digit) {
                precision =
                    (precision * 10 + digit.to_digit(10).unwrap_or(0) as usize).min(WIDTH_MAX);
            }
            form.precision = Some(precision);
        }
        match rest.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => match arguments.next() {
                None => {
                    out.push_str("%!");
                    out.push(verb);
                    out.push_str("(MISSING)");
                }
                Some(argument) => out.push_str(&form.padded(verb, argument)),
            },
        }
    }
    let extra: Vec<String> = arguments
        .map(|value| format!("{}={}", value.kind(), value.show()))
        .collect();
    if !extra.is_empty() {
        let _ = write!(out, "%!(EXTRA {})", extra.join(", "));
    }
    out
}

impl Form {
    fn padded(&self, verb: char, value: &Value) -> String {
        let mut text = self
            .verb(verb, value)
            .unwrap_or_else(|| format!("%!{verb}({}={})", value.kind(), value.show()));
        let is_number = matches!(value, Value::Int(_) | Value::Float(_));
        if self.has_plus && is_number && !text.starts_with(['-', '+']) {
            text.insert(0, '+');
        }
        let missing = self.width.saturating_sub(text.chars().count());
        if self.is_left {
            text.push_str(&" ".repeat(missing));
        } else if self.is_zero && is_number {
            let sign = usize::from(text.starts_with(['-', '+']));
            text.insert_str(sign, &"0".repeat(missing));
        } else {
            text.insert_str(0, &" ".repeat(missing));
        }
        text
    }

    /// The text of a value by a verb; `None` where the verb is not for such a value.
    fn verb(&self, verb: char, value: &Value) -> Option<String> {
        let text = match (verb, value) {
            ('v' | 'g', Value::Float(n)) => general(*n, self.precision),
            ('v', Value::Text(text)) if self.is_sharp => format!("{text:?}"),
            ('v' | 's', Value::Nil) => "%!s(<nil>)".replace('s', &verb.to_string()),
            ('v', value) => value.show(),
            ('T', value) => value.kind().to_owned(),
            ('t', Value::Bool(is)) => is.to_string(),
            ('d', Value::Int(n)) => n.to_string(),
            ('x', Value::Int(n)) => format!("{n:x}"),
            ('X', Value::Int(n)) => format!("{n:X}"),
            ('o', Value::Int(n)) => format!("{n:o}"),
            ('b', Value::Int(n)) => format!("{n:b}"),
            ('c', Value::Int(n)) => char::from_u32(u32::try_from(*n).ok()?)?.to_string(),
            ('f' | 'F', Value::Float(n)) => fixed(*n, self.precision.unwrap_or(6)),
            ('e', Value::Float(n)) => exponential(*n, self.precision.unwrap_or(6)),
            ('q', Value::Text(text)) => format!("{text:?}"),
            ('x', Value::Text(text)) => text
                .bytes()
                .fold(String::new(), |out, byte| out + &format!("{byte:02x}")),
            ('s', Value::Text(text)) => match self.precision {
                Some(most) => text.chars().take(most).collect(),
                None => text.clone(),
            },
            (
                's',
                Value::List(_)
                | Value::Labels(_)
                | Value::Object(_)
                | Value::Time(_)
                | Value::Duration(_),
            ) => value.show(),
            _ => return None,
        };
        Some(text)
    }
}
