//! What a template computes with.

use std::collections::BTreeMap;

use super::{TemplateError, error, number::shortest, time};
use crate::model::Labels;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Value>),
    /// A map of texts: a key that is not there is worth the empty text.
    Labels(BTreeMap<String, String>),
    /// A struct, or a map such as that of `args`: a field that is not there is an error, or nothing.
    Object(BTreeMap<String, Value>),
    /// Nanoseconds since the epoch.
    Time(i128),
    /// Nanoseconds.
    Duration(i64),
}

impl Value {
    pub(super) fn labels(labels: &Labels) -> Self {
        let pairs = labels.iter().map(|(k, v)| (k.to_owned(), v.to_owned()));
        Self::Labels(pairs.collect())
    }

    pub(super) fn object<const N: usize>(fields: [(&str, Self); N]) -> Self {
        let fields = fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value));
        Self::Object(fields.collect())
    }

    /// A row of `query`.
    pub(super) fn sample(labels: &Labels, value: f64) -> Self {
        Self::object([
            ("Labels", Self::labels(labels)),
            ("Value", Self::Float(value)),
        ])
    }

    /// Bytes of memory that it takes, about.
    pub(super) fn bytes(&self) -> usize {
        let held = match self {
            Self::Text(text) => text.len(),
            Self::List(list) => list.iter().map(Self::bytes).sum(),
            Self::Labels(map) => map.iter().map(|(k, v)| k.len() + v.len()).sum(),
            Self::Object(map) => map.iter().map(|(k, v)| k.len() + v.bytes()).sum(),
            _ => 0,
        };
        size_of::<Self>() + held
    }

    /// Whether it counts as true in `if`.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(is) => *is,
            Self::Int(n) => *n != 0,
            Self::Float(n) => *n != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::List(list) => !list.is_empty(),
            Self::Labels(map) => !map.is_empty(),
            Self::Object(_) | Self::Time(_) => true,
            Self::Duration(ns) => *ns != 0,
        }
    }

    /// Name of its type in Go.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::List(_) => "slice",
            Self::Labels(_) => "map[string]string",
            Self::Object(_) => "struct",
            Self::Time(_) => "time.Time",
            Self::Duration(_) => "time.Duration",
        }
    }

    /// A field or a key.
    pub(super) fn field(&self, name: &str) -> Result<Self, TemplateError> {
        match self {
            // As Go has it: nothing of nothing is nothing, and printed as such.
            Self::Nil => Ok(Self::Nil),
            Self::Labels(map) => Ok(Self::Text(map.get(name).cloned().unwrap_or_default())),
            Self::Object(fields) => match fields.get(name) {
                Some(value) => Ok(value.clone()),
                None if fields.contains_key("arg0") => Ok(Self::Nil),
                None => error(format!("can't evaluate field {name}")),
            },
            other => error(format!(
                "can't evaluate field {name} in type {}",
                other.kind()
            )),
        }
    }

    /// As `print` shows it.
    pub(super) fn show(&self) -> String {
        match self {
            Self::Nil => "<no value>".to_owned(),
            Self::Bool(is) => is.to_string(),
            Self::Int(n) => n.to_string(),
            Self::Float(n) => shortest(*n),
            Self::Text(text) => text.clone(),
            Self::List(list) => {
                let shown: Vec<String> = list.iter().map(Self::show).collect();
                format!("[{}]", shown.join(" "))
            }
            Self::Labels(map) => {
                let shown: Vec<String> = map.iter().map(|(k, v)| format!("{k}:{v}")).collect();
                format!("map[{}]", shown.join(" "))
            }
            Self::Object(fields) => {
                let shown: Vec<String> = fields
                    .iter()
                    .map(|(k, v)| format!("{k}:{}", v.show()))
                    .collect();
                format!("map[{}]", shown.join(" "))
            }
            Self::Time(ns) => time::show_time(*ns),
            Self::Duration(ns) => time::show_duration(*ns),
        }
    }
}
