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
