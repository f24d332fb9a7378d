//! Posting JSON, and what the answer means.

use std::time::Duration;

use chrono::DateTime;
use reqwest::{
    StatusCode,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};

use super::{
    Secret,
    channel::{Surroundings, failed},
};
use crate::{
    model::{Delivery, DeliveryOutcome, Timestamp},
    net::Answer,
};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The deliverer ends an attempt in time; this bounds what nobody awaits any more.
const TIMEOUT_MAX: Duration = Duration::from_hours(1);

/// Posts a body; fails when there is no answer.
pub(super) async fn json(
    url: &Secret,
    mut headers: HeaderMap,
    body: Vec<u8>,
    delivery: &Delivery,
    around: &Surroundings,
) -> Result<Answer, DeliveryOutcome> {
    let url = url.reveal().await.map_err(failed)?;
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let key = HeaderValue::from_str(&delivery.idempotency_key)
        .map_err(|_| failed("the idempotency key holds characters that no header may hold"))?;
    headers.insert(IDEMPOTENCY_KEY, key);
    around
        .http
        .post(url.trim(), TIMEOUT_MAX, &headers, body.into())
        .await
        .map_err(failed)
}

/// What an answer means: 2xx has arrived, 4xx never will; the rest may later, and so may 408 and 429. `word` is
/// what the receiver said, if that may be shown.
pub(super) fn judge(answer: &Answer, word: &str, now: Timestamp) -> DeliveryOutcome {
    let phrase = StatusCode::from_u16(answer.status)
        .ok()
        .and_then(|status| status.canonical_reason());
    let mut error = format!("status {}", answer.status);
    for (before, part) in [(" ", phrase.unwrap_or_default()), (": ", word)] {
        if !part.is_empty() {
            error.push_str(before);
            error.push_str(part);
        }
    }
    match answer.status {
        200..=299 => DeliveryOutcome::Delivered,
        300..=399 => failed(format_args!(
            "{error}: redirects are not followed, give the URL that it leads to"
        )),
        408 | 429 | 500.. => DeliveryOutcome::Failed {
            error,
            retry_at: answer
                .retry_after
                .as_deref()
                .and_then(|text| retry_at(text, now)),
        },
        _ => DeliveryOutcome::Refused { error },
    }
}

/// The moment that a Retry-After names: seconds from now, or a date (RFC 9110, 10.2.3).
pub fn retry_at(text: &str, now: Timestamp) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(now.plus_millis(i64::from(seconds) * 1_000));
    }
    let date = DateTime::parse_from_rfc2822(text).ok()?;
    Some(Timestamp::from_millis(date.timestamp_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::fake::START;

    fn judged(status: u16, retry_after: Option<&str>) -> DeliveryOutcome {
        let answer = Answer {
            status,
            retry_after: retry_after.map(str::to_owned),
            excerpt: bytes::Bytes::new(),
        };
        judge(&answer, "", START)
    }

    #[test]
    fn statuses_mean_what_alertmanager_takes_them_for() {
        for status in [200, 202, 204] {
            assert_eq!(judged(status, None), DeliveryOutcome::Delivered);
        }
        for status in [301, 308, 408, 429, 500, 502, 503, 599] {
            assert!(
                matches!(judged(status, None), DeliveryOutcome::Failed { .. }),
                "{status}"
            );
        }
        for status in [400, 401, 403, 404, 410, 413, 422] {
            assert!(
                matches!(judged(status, None), DeliveryOutcome::Refused { .. }),
                "{status}"
            );
        }
        let DeliveryOutcome::Refused { error } = judged(404, None) else {
            panic!()
        };
        assert_eq!(error, "status 404 Not Found");
    }

    #[test]
    fn retry_after_in_both_forms() {
        let asked = |text: &str| match judged(503, Some(text)) {
            DeliveryOutcome::Failed { retry_at, .. } => retry_at.map(|at| at.since(START)),
            other => panic!("{other:?}"),
        };
        assert_eq!(asked("120"), Some(120_000));
        assert_eq!(asked("Thu, 01 Jan 2026 00:10:00 GMT"), Some(600_000));
        for text in ["", "-1", "soon", "1.5", "99999999999", "2026-01-01"] {
            assert_eq!(asked(text), None, "{text}");
        }
    }
}
