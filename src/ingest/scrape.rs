//! A scrape's body by its Content-Type.

use super::{
    BodyError, Parsed, json_push::parse_document, openmetrics::parse_openmetrics, shown::Shown,
    text::parse_text,
};
use crate::model::{Limits, Timestamp};

/// Reads what a target answered. `application/json` is the document of a push,
/// `application/openmetrics-text` is OpenMetrics 1.0, `text/plain` or no type is Prometheus text 0.0.4,
/// and no type before a body that begins with `{` is JSON. Samples without a timestamp get `at`.
///
/// Text and OpenMetrics are all or nothing, but for a sample whose time cannot be held: that one is
/// refused alone. In JSON each bad metric is.
///
/// # Errors
/// [`BodyError`]: another type, broken syntax with its place, a limit.
pub fn parse_scrape(
    content_type: Option<&str>,
    body: &[u8],
    at: Timestamp,
    honor_labels: bool,
    limits: &Limits,
) -> Result<Parsed, BodyError> {
    let given = content_type.unwrap_or_default();
    let media = given.split(';').next().unwrap_or_default().trim();
    let is = |name: &str| media.eq_ignore_ascii_case(name);
    let looks_like_json = || body.trim_ascii_start().starts_with(b"{");
    if is("application/json") || (media.is_empty() && looks_like_json()) {
        return parse_document(body, at, honor_labels, limits);
    }
    let parse = if is("application/openmetrics-text") {
        parse_openmetrics
    } else if is("text/plain") || media.is_empty() {
        parse_text
    } else {
        return Err(BodyError::ContentType(format!(
            "content type {} is not understood: expected text/plain, application/openmetrics-text \
             or application/json",
            Shown(given)
        )));
    };
    let text = std::str::from_utf8(body)
        .map_err(|e| BodyError::at_byte(body, e.valid_up_to(), "the text is not UTF-8"))?;
    parse(text, at, honor_labels, limits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AT: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn samples(content_type: Option<&str>, body: &[u8]) -> Result<usize, BodyError> {
        parse_scrape(content_type, body, AT, false, &Limits::default()).map(|p| p.batch.len())
    }

    #[test]
    fn the_type_chooses_the_format() {
        let json = br#" {"metrics":[{"name":"a","value":1}]}"#;
        let text = b"a 1\n\n{\"b.c\"} 2\n";
        let openmetrics = b"a 1\n# EOF\n";
        for media in ["application/json", "Application/JSON; charset=utf-8", " "] {
            assert_eq!(samples(Some(media), json), Ok(1), "{media}");
        }
        assert_eq!(samples(None, json), Ok(1));
        for media in [
            "text/plain",
            "text/plain; version=0.0.4",
            "text/plain;version=1.0.0",
            "",
        ] {
            assert_eq!(samples(Some(media), text), Ok(2), "{media}");
        }
        assert_eq!(samples(None, text), Ok(2));
        assert_eq!(samples(None, b""), Ok(0));
        let media = Some("application/openmetrics-text; version=1.0.0; charset=utf-8");
        assert_eq!(samples(media, openmetrics), Ok(1));
        assert!(samples(media, text).is_err());
        assert!(samples(Some("text/plain"), json).is_err());
        assert!(samples(Some("application/json"), text).is_err());
    }

    #[test]
    fn strangers_are_named() {
        for media in ["text/html", "application/vnd.google.protobuf; proto=x"] {
            let error = samples(Some(media), b"a 1").unwrap_err();
            assert!(
                matches!(&error, BodyError::ContentType(m) if m.contains(media)),
                "{error}"
            );
        }
        let error = samples(Some("text/plain"), b"a 1\nb{c=\"\xff\"} 1\n").unwrap_err();
        assert_eq!(error.to_string(), "line 2, column 6: the text is not UTF-8");
    }

    #[test]
    fn honored_labels_stay() {
        for (media, body) in [
            ("text/plain", &b"a{job=\"x\"} 1"[..]),
            ("application/openmetrics-text", b"a{job=\"x\"} 1\n# EOF"),
            (
                "application/json",
                br#"{"metrics":[{"name":"a","value":1,"labels":{"job":"x"}}]}"#,
            ),
        ] {
            for (honor, key) in [
                (true, &b"\x01a\x03job\x01x"[..]),
                (false, b"\x01a\x0cexported_job\x01x"),
            ] {
                let parsed =
                    parse_scrape(Some(media), body, AT, honor, &Limits::default()).unwrap();
                let batch = &parsed.batch;
                assert_eq!(batch.key(&batch.rows()[0]), key, "{media}");
            }
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            for media in ["text/plain", "application/openmetrics-text", "application/json", ""] {
                let _ = samples(Some(media), &body);
            }
        }
    }
}
