//! What can go wrong with a fetch, in one short line that holds no secret.

use std::{error::Error, time::Duration};

use super::address::ResolveError;
use crate::model::format_duration_ms;

/// Longest reason that is passed on, in bytes; a peer must not fill the log.
const REASON_BYTES_MAX: usize = 200;

/// Why the client could not be built.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client cannot be built: {0}")]
pub struct BuildError(pub(super) String);

/// Why a fetch failed. No text holds a URL's user, password, path or query.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The address given is no URL that can be fetched.
    #[error("the endpoint is not a usable URL: {0}")]
    BadUrl(String),
    /// The host is, or resolves to, an address that is never connected to.
    #[error("{0}")]
    Refused(String),
    /// No whole answer in time.
    #[error("timed out after {}", format_duration_ms(millis(*.0)))]
    TimedOut(Duration),
    /// Answered, but not with success.
    #[error("status {0}{phrase}", phrase = phrase(*.0))]
    Status(u16),
    /// The body is longer than allowed; reading stopped there.
    #[error("the body is over the limit of {limit} bytes")]
    BodyTooLarge {
        /// Bytes allowed.
        limit: usize,
    },
    /// Redirected too often.
    #[error("redirected more than {0} times")]
    TooManyRedirects(usize),
    /// A redirect that leads nowhere.
    #[error("status {status} with an unusable Location: {why}")]
    BadRedirect {
        /// The redirect's status.
        status: u16,
        /// What is wrong with it.
        why: String,
    },
    /// Connecting, the TLS handshake or the exchange failed.
    #[error("{0}")]
    Failed(String),
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn phrase(status: u16) -> String {
    reqwest::StatusCode::from_u16(status)
        .ok()
        .and_then(|s| s.canonical_reason())
        .map(|reason| format!(" {reason}"))
        .unwrap_or_default()
}

/// Every error of the chain, outermost first.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let this = next?;
        next = this.source();
        Some(this)
    })
}

/// Whether a connection kept from before was closed while the request was on its way, so that asking
/// once more is right.
pub(super) fn is_lost_connection(error: &reqwest::Error) -> bool {
    chain(error).any(|e| {
        e.downcast_ref::<hyper::Error>()
            .is_some_and(|e| e.is_incomplete_message() || e.is_canceled() || e.is_closed())
            || e.downcast_ref::<std::io::Error>().is_some_and(|e| {
                matches!(
                    e.kind(),
                    std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe
                )
            })
    })
}

/// Turns the client's error into ours. `place` is host and port, nothing else of the URL.
pub(super) fn describe(error: &reqwest::Error, place: &str) -> FetchError {
    if let Some(resolve) = chain(error).find_map(|e| e.downcast_ref::<ResolveError>()) {
        return match resolve {
            ResolveError::Refused { .. } => FetchError::Refused(one_line(&resolve.to_string())),
            ResolveError::Unknown { .. } => FetchError::Failed(one_line(&resolve.to_string())),
        };
    }
    if let Some(e) = chain(error).find_map(|e| e.downcast_ref::<hyper::Error>())
        && e.is_incomplete_message()
    {
        return FetchError::Failed(format!("{place} closed the connection before it answered"));
    }
    let io = chain(error).find_map(|e| e.downcast_ref::<std::io::Error>());
    let reason = match io {
        Some(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => {
            "connection refused".to_owned()
        }
        Some(e) if e.kind() == std::io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        Some(e) => e.to_string(),
        // The outermost error names the URL, the innermost the cause.
        None => chain(error)
            .skip(1)
            .last()
            .map_or_else(|| "request failed".to_owned(), ToString::to_string),
    };
    let doing = if error.is_connect() {
        "cannot connect to "
    } else {
        ""
    };
    FetchError::Failed(one_line(&format!("{doing}{place}: {reason}")))
}

/// Cuts a text to one short line (about 200 bytes, no control characters): a peer may have chosen it.
pub fn one_line(text: &str) -> String {
    let mut line = String::new();
    for c in text.chars() {
        if line.len() + c.len_utf8() > REASON_BYTES_MAX {
            line.push('…');
            break;
        }
        line.push(if c.is_control() { ' ' } else { c });
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_short_and_say_what() {
        assert_eq!(
            FetchError::TimedOut(Duration::from_secs(10)).to_string(),
            "timed out after 10s"
        );
        assert_eq!(
            FetchError::Status(500).to_string(),
            "status 500 Internal Server Error"
        );
        assert_eq!(FetchError::Status(799).to_string(), "status 799");
        let long = one_line(&format!("a\nb{}", "ä".repeat(300)));
        assert!(long.starts_with("a b") && long.len() < 210 && !long.contains('\n'));
    }
}
