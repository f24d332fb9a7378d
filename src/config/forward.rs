//! Settings of forwarding: `[forward]`.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::{
    catalogue::{MIB, MINUTE_MS, TIB, YEAR_MS, setting},
    setting::{Draft, Field, Kind, Setting, TextField},
    value::check_url,
};
use crate::notify::Secret;

/// All of them.
pub(super) static SETTINGS: &[Setting] = &[
    setting!(
        "forward.url",
        text("URL, http or https"),
        |d| d.config.forward.url.as_ref().map(ToString::to_string),
        |d, text| {
            check_url(text)?;
            d.config.forward.url = Some(Secret::Text(text.to_owned()));
            Ok(())
        },
        "All samples are sent on, each at least once, to this receiver of Prometheus remote write. Without a path it is another longwatch, which takes it at `/prometheus/api/v1/write`; it must not send them back. May hold a user and a password. Never shown."
    ),
    setting!(
        "forward.token_file",
        text("path"),
        |d| match &d.config.forward.token {
            Some(Secret::File(path)) => Some(path.display().to_string()),
            _ => None,
        },
        |d, text| {
            d.config.forward.token = Some(Secret::File(text.into()));
            Ok(())
        },
        "File of the bearer token that the receiver asks for. Read at each request, so that a new one counts at once."
    ),
    Setting {
        name: "forward.headers",
        flag: None,
        kind: Kind::Texts(Field {
            get: |d| shown_headers(d),
            set: |d, headers| d.forward_headers = headers,
        }),
        meaning: "Further headers of each request, such as `X-Scope-OrgID: team`. Their values are never shown.",
    },
    Setting {
        name: "forward.external_labels",
        flag: None,
        kind: Kind::Texts(Field {
            get: |d| d.forward_labels.clone(),
            set: |d, labels| d.forward_labels = labels,
        }),
        meaning: "Labels, such as `vm=berlin-1`, that every forwarded series gets which has none of that name.",
    },
    setting!(
        "forward.samples_per_request",
        count(1, 100_000),
        forward.samples_per_request as usize,
        "Samples of one request."
    ),
    setting!(
        "forward.spool_size",
        size(MIB, TIB),
        forward.spool.bytes_max as u64,
        "So much of the log is kept in the file while the receiver is away; beyond it the oldest samples are dropped unsent, and counted. Spans of the same commits count, though they are not sent on."
    ),
    setting!(
        "forward.spool_age",
        duration(MINUTE_MS, YEAR_MS),
        forward.spool.age_ms_max as i64,
        "Samples that wait longer are dropped unsent, and counted."
    ),
];

/// The names of the headers.
fn shown_headers(draft: &Draft) -> Vec<String> {
    let names = draft.forward_headers.iter();
    names
        .map(|header| {
            header
                .split_once(':')
                .map_or("", |(name, _)| name)
                .to_owned()
        })
        .collect()
}

/// Headers as requests have them, or which one cannot be one.
pub(super) fn headers(texts: &[String]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (place, text) in (1..).zip(texts) {
        // What stands in a header may be a secret.
        let named = text
            .split_once(':')
            .ok_or_else(|| format!("header {place} is not `Name: value`"))?;
        let name = HeaderName::try_from(named.0.trim())
            .map_err(|_| format!("header {place} has a name that no header may have"))?;
        let mut value = HeaderValue::from_str(named.1.trim())
            .map_err(|_| format!("header `{name}` holds characters that no header may hold"))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// Names and values of labels, or which text is none.
pub(super) fn labels(texts: &[String]) -> Result<Vec<(String, String)>, String> {
    let mut labels: Vec<(String, String)> = Vec::with_capacity(texts.len());
    for text in texts {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| format!("`{text}` is not `name=value`"))?;
        let (name, value) = (name.trim(), value.trim());
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !name.starts_with("__");
        if !is_name {
            return Err(format!("`{name}` is no name of a label"));
        }
        if value.is_empty() {
            return Err(format!("label `{name}` has no value"));
        }
        if labels.iter().any(|(known, _)| known == name) {
            return Err(format!("label `{name}` is given twice"));
        }
        labels.push((name.to_owned(), value.to_owned()));
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(all: &[&str]) -> Vec<String> {
        all.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn headers_and_labels_are_named_when_they_are_none() {
        let good = headers(&texts(&["X-Scope-OrgID: team"])).unwrap();
        assert_eq!(good["x-scope-orgid"], "team");
        assert!(!format!("{good:?}").contains("team"));
        let wrong = |text: &str| headers(&texts(&[text])).unwrap_err();
        assert_eq!(wrong("secret"), "header 1 is not `Name: value`");
        assert_eq!(
            wrong("a b: c"),
            "header 1 has a name that no header may have"
        );
        let good = labels(&texts(&["vm=berlin=1", "zone = a"])).unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(good, [pair("vm", "berlin=1"), pair("zone", "a")]);
        for (all, why) in [
            (&["vm"][..], "`vm` is not `name=value`"),
            (&["1=a"], "`1` is no name of a label"),
            (&["__name__=a"], "`__name__` is no name of a label"),
            (&["a="], "label `a` has no value"),
            (&["a=1", "a=2"], "label `a` is given twice"),
        ] {
            assert_eq!(labels(&texts(all)).unwrap_err(), why);
        }
    }
}
