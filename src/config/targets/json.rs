//! Target files in JSON.

use std::{collections::HashSet, fmt};

use serde::{
    Deserialize,
    de::{Deserializer, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::document::{Group, Placed};
use crate::config::{ConfigError, file::Source};

#[derive(Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "an object with `targets` and `labels`"
)]
struct RawGroup<'a> {
    #[serde(borrow)]
    targets: Option<&'a RawValue>,
    labels: Option<&'a RawValue>,
}

/// An object in its order, each key as often as it comes.
struct RawLabels<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for RawLabels<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Labels;
        impl<'de> Visitor<'de> for Labels {
            type Value = RawLabels<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut labels = Vec::new();
                while let Some(label) = map.next_entry()? {
                    labels.push(label);
                }
                Ok(RawLabels(labels))
            }
        }
        deserializer.deserialize_map(Labels)
    }
}

/// Reads the groups of a file.
pub(super) fn read(source: &Source) -> Result<Vec<Group>, ConfigError> {
    let groups: Vec<&RawValue> = parse(source, source.text())?;
    groups
        .into_iter()
        .map(|group| read_group(source, group.get()))
        .collect()
}

fn read_group(source: &Source, text: &str) -> Result<Group, ConfigError> {
    let raw: RawGroup<'_> = parse(source, text)?;
    let targets: Vec<&RawValue> = match raw.targets {
        Some(targets) => parse(source, targets.get())?,
        None => Vec::new(),
    };
    let labels = match raw.labels {
        Some(labels) => parse::<RawLabels<'_>>(source, labels.get())?.0,
        None => Vec::new(),
    };
    let mut group = Group::default();
    for target in targets {
        group.targets.push(text_of(source, target, "targets")?);
    }
    let mut names = HashSet::new();
    for (name, value) in labels {
        let key = format!("labels.{name}");
        if !names.insert(name.clone()) {
            let at = offset(source, value.get());
            return Err(source.error(at, key, "is given twice".to_owned()));
        }
        let value = text_of(source, value, &key)?;
        group.labels.push((name, value));
    }
    Ok(group)
}

fn text_of(source: &Source, raw: &RawValue, key: &str) -> Result<Placed<String>, ConfigError> {
    let at = offset(source, raw.get());
    match serde_json::from_str::<Option<String>>(raw.get()) {
        Ok(value) => Ok(Placed {
            value: value.unwrap_or_default(),
            at: source.place(at),
        }),
        Err(_) => Err(source.error(at, key.to_owned(), "expected a text".to_owned())),
    }
}

/// Where a part of the source's text begins in it.
fn offset(source: &Source, part: &str) -> usize {
    part.as_ptr().addr() - source.text().as_ptr().addr()
}

/// Reads a part of the source's text; the place of an error is that in the whole.
fn parse<'a, T: Deserialize<'a>>(source: &Source, part: &'a str) -> Result<T, ConfigError> {
    serde_json::from_str(part).map_err(|e| {
        // The parser counts lines from 1, and columns in bytes, from 0 where a line begins.
        let line_start: usize = part
            .split_inclusive('\n')
            .take(e.line().saturating_sub(1))
            .map(str::len)
            .sum();
        let within = (line_start + e.column().saturating_sub(1)).min(part.len());
        let text = e.to_string();
        let place = format!(" at line {} column {}", e.line(), e.column());
        let reason = text.strip_suffix(&place).unwrap_or(&text);
        source.error(
            offset(source, part) + within,
            String::new(),
            reason.to_owned(),
        )
    })
}
