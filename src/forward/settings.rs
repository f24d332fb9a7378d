//! Where samples are sent on to, and how (`[forward]` of the configuration).

use reqwest::{Url, header::HeaderMap};

use crate::{net, notify::Secret, store::SpoolBounds};

/// Where longwatch takes remote write.
const LONGWATCH_PATH: &str = "/prometheus/api/v1/write";

/// Settings of forwarding.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The receiver of remote write; `None` forwards nothing (`url`, none). May hold a user and a password.
    pub url: Option<Secret>,
    /// Bearer token (`token_file`, none).
    pub token: Option<Secret>,
    /// Further headers, such as `X-Scope-OrgID` (`headers`, none).
    pub headers: HeaderMap,
    /// Labels that every series gets which has none of that name (`external_labels`, none).
    pub external_labels: Vec<(String, String)>,
    /// Samples of one request (`samples_per_request`, 2,000).
    pub samples_per_request: usize,
    /// What waits at most (`spool_size`, 1 GiB; `spool_age`, 7 d).
    pub spool: SpoolBounds,
    /// Limits on what is fetched.
    pub net: net::Settings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: None,
            token: None,
            headers: HeaderMap::new(),
            external_labels: Vec::new(),
            samples_per_request: 2_000,
            spool: SpoolBounds {
                bytes_max: 1 << 30,
                age_ms_max: 7 * 86_400_000,
            },
            net: net::Settings::default(),
        }
    }
}

/// The address that samples are posted to: a URL without a path is that of a longwatch.
///
/// # Errors
/// Why the text is no URL.
pub fn write_url(text: &str) -> Result<String, String> {
    let mut url = Url::parse(text.trim()).map_err(|e| format!("not a URL: {e}"))?;
    if url.path() == "/" {
        url.set_path(LONGWATCH_PATH);
    }
    Ok(url.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_a_path_is_that_of_a_longwatch() {
        for text in ["http://h:7464", "http://h:7464/"] {
            assert_eq!(
                write_url(text).unwrap(),
                "http://h:7464/prometheus/api/v1/write"
            );
        }
        let mimir = "https://u:p@mimir/api/v1/push?x=1";
        assert_eq!(write_url(mimir).unwrap(), mimir);
        assert!(write_url("mimir").is_err());
    }
}
