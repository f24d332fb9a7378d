//! One setting: its form and bounds, and how it gets into a configuration.

use std::path::PathBuf;

use super::{
    Config,
    value::{Given, format_size},
};
use crate::{api::TlsFiles, model::format_duration_ms};

/// A configuration while it is put together.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// What is set so far.
    pub(super) config: Config,
    /// `http.tls_cert`, until its key is known too.
    pub(super) tls_cert: Option<PathBuf>,
    /// `http.tls_key`, until its certificate is known too.
    pub(super) tls_key: Option<PathBuf>,
    /// `collect.file_sd`, until each is known to be a pattern.
    pub(super) file_sd: Vec<String>,
    /// `forward.headers`, until each is known to be a header.
    pub(super) forward_headers: Vec<String>,
    /// `forward.external_labels`, until each is known to be a label.
    pub(super) forward_labels: Vec<String>,
}

impl Draft {
    /// The TLS files, when both are named.
    pub(super) fn tls(&self) -> Option<TlsFiles> {
        Some(TlsFiles {
            cert: self.tls_cert.clone()?,
            key: self.tls_key.clone()?,
        })
    }
}

/// Form of a setting's value, its bounds, and how it is read from and put into a draft.
pub(super) enum Kind {
    /// A duration in milliseconds; `None` shows as not set.
    Duration(Field<Option<i64>, i64>, i64, i64),
    /// Bytes; `None` shows as not set.
    Size(Field<Option<u64>, u64>, u64, u64),
    /// A whole number.
    Count(Field<u64, u64>, u64, u64),
    /// A number.
    Number(Field<f64, f64>, f64, f64),
    /// `true` or `false`.
    Switch(Field<bool, bool>),
    /// Text of some form, checked by what takes it.
    Text(&'static str, TextField),
    /// A list of texts.
    Texts(Field<Vec<String>, Vec<String>>),
}

/// How to read and to put a value.
pub(super) struct Field<Shown, Taken> {
    pub(super) get: fn(&Draft) -> Shown,
    pub(super) set: fn(&mut Draft, Taken),
}

/// How to read and to put a text.
pub(super) struct TextField {
    pub(super) get: fn(&Draft) -> Option<String>,
    pub(super) set: fn(&mut Draft, &str) -> Result<(), String>,
}

/// One setting.
pub(super) struct Setting {
    /// `section.key`, or the key alone at the top of the file.
    pub(super) name: &'static str,
    /// Flag of `serve` that sets it too.
    pub(super) flag: Option<&'static str>,
    /// Form and bounds of its value.
    pub(super) kind: Kind,
    /// What it does.
    pub(super) meaning: &'static str,
}

impl Setting {
    /// The same setting with a flag of `serve`.
    pub(super) const fn or_flag(self, flag: &'static str) -> Self {
        Self {
            flag: Some(flag),
            ..self
        }
    }

    /// Its section; empty for the top of the file.
    pub(super) fn section(&self) -> &'static str {
        self.name.split_once('.').map_or("", |(section, _)| section)
    }

    /// Its key within the section.
    pub(super) fn key(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(_, key)| key)
    }

    /// The environment variable that sets it: `LONGWATCH_`, section and key in capitals.
    pub(super) fn variable(&self) -> String {
        format!("LONGWATCH_{}", self.name.replace('.', "_").to_uppercase())
    }

    /// Reads the value, checks it, and puts it into the draft.
    pub(super) fn take(&self, draft: &mut Draft, given: Given<'_>) -> Result<(), String> {
        match &self.kind {
            Kind::Duration(field, least, most) => {
                let ms = within(given.duration_ms()?, *least, *most, format_duration_ms)?;
                (field.set)(draft, ms);
            }
            Kind::Size(field, least, most) => {
                let bytes = within(given.size()?, *least, *most, format_size)?;
                (field.set)(draft, bytes);
            }
            Kind::Count(field, least, most) => {
                let number = given.count("a whole number, 0 or more")?;
                (field.set)(draft, within(number, *least, *most, |n| n.to_string())?);
            }
            Kind::Number(field, least, most) => {
                let number = within(given.number()?, *least, *most, |n| n.to_string())?;
                (field.set)(draft, number);
            }
            Kind::Switch(field) => (field.set)(draft, given.switch()?),
            Kind::Text(form, field) => (field.set)(draft, given.text(form)?)?,
            Kind::Texts(field) => (field.set)(draft, given.texts()?),
        }
        Ok(())
    }

    /// What a value looks like, with its bounds.
    pub(super) fn form(&self) -> String {
        match &self.kind {
            Kind::Duration(_, least, most) => format!(
                "duration, {} to {}",
                format_duration_ms(*least),
                format_duration_ms(*most)
            ),
            Kind::Size(_, least, most) => {
                format!("size, {} to {}", format_size(*least), format_size(*most))
            }
            Kind::Count(_, least, most) => format!("number, {least} to {most}"),
            Kind::Number(_, least, most) => format!("number, {least} to {most}"),
            Kind::Switch(_) => "`true` or `false`".to_owned(),
            Kind::Text(form, _) => (*form).to_owned(),
            Kind::Texts(_) => "list of texts".to_owned(),
        }
    }

    /// The value in the draft as TOML; `None` when it is not set.
    pub(super) fn shown(&self, draft: &Draft) -> Option<String> {
        let quoted = |text: String| toml::Value::String(text).to_string();
        match &self.kind {
            Kind::Duration(field, ..) => {
                (field.get)(draft).map(|ms| quoted(format_duration_ms(ms)))
            }
            Kind::Size(field, ..) => (field.get)(draft).map(|bytes| quoted(format_size(bytes))),
            Kind::Count(field, ..) => Some((field.get)(draft).to_string()),
            Kind::Number(field, ..) => Some((field.get)(draft).to_string()),
            Kind::Switch(field) => Some((field.get)(draft).to_string()),
            Kind::Text(_, field) => (field.get)(draft).map(quoted),
            Kind::Texts(field) => {
                let values = (field.get)(draft).into_iter().map(toml::Value::String);
                Some(toml::Value::Array(values.collect()).to_string())
            }
        }
    }
}

fn within<T: PartialOrd + Copy>(
    value: T,
    least: T,
    most: T,
    show: impl Fn(T) -> String,
) -> Result<T, String> {
    if value >= least && value <= most {
        return Ok(value);
    }
    Err(format!(
        "must be between {} and {}, not {}",
        show(least),
        show(most),
        show(value)
    ))
}
