//! The client: one GET with everything bounded.

use std::{net::IpAddr, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use reqwest::{
    Method, Response,
    header::{
        AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, LOCATION, RETRY_AFTER,
    },
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use url::{Host, Url};

use super::{
    BuildError, FetchError, Settings,
    address::{GuardedResolver, Names, refusal},
    error::{describe, is_lost_connection, one_line},
};

/// Idle connections are kept so long; targets are asked every 30 s.
const IDLE: Duration = Duration::from_secs(90);

/// Bodies above this are large, in bytes.
const LARGE_BODY: usize = 64 << 10;
/// Large bodies that may be in memory at once, so that a fleet of hostile targets cannot fill it. A target
/// whose body is not large never waits for one that is.
const LARGE_BODIES_MAX: usize = 8;

/// What a successful GET brought.
#[derive(Debug)]
pub struct Fetched {
    /// Status, 200 to 299.
    pub status: u16,
    /// Content-Type, if it was sent as readable text.
    pub content_type: Option<String>,
    /// Content-Encoding, all of them where there are several; the body is still encoded.
    pub content_encoding: Option<String>,
    /// The body as it came over the wire.
    pub body: Bytes,
    /// Its place among the large bodies; keep it as long as the body.
    _place: Option<OwnedSemaphorePermit>,
}

/// So much of the answer to a POST is kept, in bytes.
const EXCERPT_BYTES_MAX: usize = 1 << 10;
/// Its status is known by then, so nobody waits longer for the rest.
const EXCERPT_WAIT: Duration = Duration::from_secs(1);

/// How a POST was answered, whatever the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Retry-After, if it was sent as readable text.
    pub retry_after: Option<String>,
    /// How the body begins, at most 1 KiB of it; whoever answered chose it.
    pub excerpt: Bytes,
}

/// Guarded HTTP client. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    body_bytes_max: usize,
    redirects_max: usize,
    large_bodies: Arc<Semaphore>,
}

impl Client {
    /// Builds a client. Where the system has no certificates https fails with each fetch and http works.
    ///
    /// # Errors
    /// [`BuildError`] when TLS cannot be set up.
    pub fn new(settings: &Settings) -> Result<Self, BuildError> {
        Self::with_names(settings, &Names::System)
    }

    /// A client that learns addresses from `names`.
    pub(super) fn with_names(settings: &Settings, names: &Names) -> Result<Self, BuildError> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Another thread may install one at the same moment; either serves.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let builder = || {
            reqwest::Client::builder()
                .user_agent(concat!("longwatch/", env!("CARGO_PKG_VERSION")))
                .no_proxy()
                .referer(false)
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .dns_resolver(GuardedResolver(names.clone()))
                .pool_idle_timeout(IDLE)
                .pool_max_idle_per_host(2)
        };
        let http = match builder().build() {
            Ok(http) => http,
            Err(error) => {
                tracing::warn!(%error, "no certificates of the system: https endpoints will fail");
                builder()
                    .tls_certs_only([])
                    .build()
                    .map_err(|e| BuildError(e.to_string()))?
            }
        };
        Ok(Self {
            http,
            body_bytes_max: settings.body_bytes_max,
            redirects_max: settings.redirects_max,
            large_bodies: Arc::new(Semaphore::new(LARGE_BODIES_MAX)),
        })
    }

    /// Fetches a URL; all of it, redirects and body included, within `timeout`.
    ///
    /// User and password in the URL are sent as basic authentication to its own origin only.
    ///
    /// # Errors
    /// [`FetchError`]; any status but 2xx is one.
    pub async fn get(
        &self,
        url: &str,
        timeout: Duration,
        headers: &HeaderMap,
    ) -> Result<Fetched, FetchError> {
        tokio::time::timeout(timeout, async {
            let (response, place) = self.follow(url, headers).await?;
            self.read(response, &place).await
        })
        .await
        .unwrap_or(Err(FetchError::TimedOut(timeout)))
    }

    /// Asks a URL for its status alone, redirects included; the body is not read.
    ///
    /// # Errors
    /// [`FetchError`]; any status but 2xx is one.
    pub async fn probe(&self, url: &str, timeout: Duration) -> Result<u16, FetchError> {
        let headers = HeaderMap::new();
        let asked = tokio::time::timeout(timeout, self.follow(url, &headers)).await;
        let (response, _) = asked.unwrap_or(Err(FetchError::TimedOut(timeout)))?;
        Ok(response.status().as_u16())
    }

    /// Posts a body; all of it within `timeout`. Redirects are not followed: they would carry the body and the
    /// headers to where nobody sent them.
    ///
    /// User and password in the URL are sent as basic authentication, unless `headers` say otherwise. A request on a kept connection that was
    /// closed under it is sent twice.
    ///
    /// # Errors
    /// [`FetchError`] when there is no answer; no status is one.
    pub async fn post(
        &self,
        url: &str,
        timeout: Duration,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Answer, FetchError> {
        let mut url = Url::parse(url).map_err(|e| FetchError::BadUrl(e.to_string()))?;
        let credentials = take_credentials(&mut url);
        check(&url)?;
        let place = place(&url);
        let credentials = credentials.as_ref();
        let request = Request {
            method: Method::POST,
            headers,
            body,
        };
        let mut response =
            tokio::time::timeout(timeout, self.ask(&url, &request, credentials, &place))
                .await
                .unwrap_or(Err(FetchError::TimedOut(timeout)))?;
        let retry_after = response.headers().get(RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok());
        Ok(Answer {
            status: response.status().as_u16(),
            retry_after: retry_after.map(str::to_owned),
            excerpt: excerpt(&mut response).await,
        })
    }

    /// Follows redirects to a successful response; also tells host and port of who gave it.
    async fn follow(
        &self,
        url: &str,
        headers: &HeaderMap,
    ) -> Result<(Response, String), FetchError> {
        // The parser's message quotes nothing of the text, which may hold a password.
        let mut url = Url::parse(url).map_err(|e| FetchError::BadUrl(e.to_string()))?;
        let credentials = take_credentials(&mut url);
        let origin = url.origin();
        let request = Request {
            method: Method::GET,
            headers,
            body: Bytes::new(),
        };
        for _ in 0..=self.redirects_max {
            check(&url)?;
            let place = place(&url);
            let credentials = credentials.as_ref().filter(|_| url.origin() == origin);
            let response = self.ask(&url, &request, credentials, &place).await?;
            let status = response.status();
            if status.is_success() {
                return Ok((response, place));
            }
            let status = status.as_u16();
            if !matches!(status, 301 | 302 | 303 | 307 | 308) {
                return Err(FetchError::Status(status));
            }
            url =
                next_hop(&url, &response).map_err(|why| FetchError::BadRedirect { status, why })?;
        }
        Err(FetchError::TooManyRedirects(self.redirects_max))
    }

    /// One request. A server may close a kept connection just as it is used again; only then is the
    /// request repeated.
    async fn ask(
        &self,
        url: &Url,
        request: &Request<'_>,
        credentials: Option<&(String, Option<String>)>,
        place: &str,
    ) -> Result<Response, FetchError> {
        let request = || {
            let mut built = self
                .http
                .request(request.method.clone(), url.clone())
                .headers(request.headers.clone());
            if !request.body.is_empty() {
                built = built.body(request.body.clone());
            }
            match credentials {
                // Two of these headers would leave open which one counts.
                Some((user, password)) if !request.headers.contains_key(AUTHORIZATION) => {
                    built.basic_auth(user, password.as_deref())
                }
                _ => built,
            }
        };
        match request().send().await {
            Err(error) if is_lost_connection(&error) => request().send().await,
            answer => answer,
        }
        .map_err(|e| describe(&e, place))
    }

    async fn read(&self, mut response: Response, place: &str) -> Result<Fetched, FetchError> {
        let limit = self.body_bytes_max;
        let announced = response.content_length().unwrap_or(0);
        if announced > limit as u64 {
            return Err(FetchError::BodyTooLarge { limit });
        }
        // What a peer announces is no reason to allocate it.
        let mut body = BytesMut::with_capacity((announced as usize).min(LARGE_BODY));
        let mut large = None;
        while let Some(chunk) = response.chunk().await.map_err(|e| describe(&e, place))? {
            let length = body.len() + chunk.len();
            if length > limit {
                return Err(FetchError::BodyTooLarge { limit });
            }
            if length > LARGE_BODY && large.is_none() {
                // Waits before it is large, so that none of those who wait holds what another waits for.
                // The semaphore is never closed.
                large = Arc::clone(&self.large_bodies).acquire_owned().await.ok();
            }
            body.extend_from_slice(&chunk);
        }
        let header = |name: HeaderName| {
            let value = response.headers().get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        Ok(Fetched {
            status: response.status().as_u16(),
            content_type: header(CONTENT_TYPE),
            content_encoding: content_encoding(response.headers()),
            body: body.freeze(),
            _place: large,
        })
    }
}

/// What is asked of a URL.
struct Request<'a> {
    method: Method,
    headers: &'a HeaderMap,
    body: Bytes,
}

/// How the body begins; what cannot be read in a moment is left out.
async fn excerpt(response: &mut Response) -> Bytes {
    let mut begun = BytesMut::new();
    let reading = async {
        while begun.len() < EXCERPT_BYTES_MAX
            && let Ok(Some(chunk)) = response.chunk().await
        {
            let room = EXCERPT_BYTES_MAX - begun.len();
            begun.extend_from_slice(&chunk[..chunk.len().min(room)]);
        }
    };
    let _ = tokio::time::timeout(EXCERPT_WAIT, reading).await;
    begun.freeze()
}

/// Encodings in the order in which they were applied, in however many lines they are told.
fn content_encoding(headers: &HeaderMap) -> Option<String> {
    let told: Vec<_> = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .collect();
    (!told.is_empty()).then(|| told.join(", "))
}

/// Takes user and password out of the URL, so that nothing later can print them.
fn take_credentials(url: &mut Url) -> Option<(String, Option<String>)> {
    let decoded = |text: &str| {
        let bytes: Vec<u8> = percent_decoded(text.as_bytes());
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let user = decoded(url.username());
    let password = url.password().map(decoded);
    // These fail for URLs without a host, which have no credentials.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    (!user.is_empty() || password.is_some()).then_some((user, password))
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let hex = |byte: u8| char::from(byte).to_digit(16).map(|d| d as u8);
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        if let (b'%', [high, low, after @ ..]) = (first, tail)
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            out.push(high << 4 | low);
            rest = after;
        } else {
            out.push(first);
            rest = tail;
        }
    }
    out
}

/// Refuses what must not be connected to; names are checked again when they are resolved.
fn check(url: &Url) -> Result<(), FetchError> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(FetchError::BadUrl(format!(
            "the scheme must be http or https, not `{}`",
            one_line(url.scheme())
        )));
    }
    let address = match url.host() {
        Some(Host::Ipv4(v4)) => IpAddr::V4(v4),
        Some(Host::Ipv6(v6)) => IpAddr::V6(v6),
        Some(Host::Domain(_)) => return Ok(()),
        None => return Err(FetchError::BadUrl("it names no host".to_owned())),
    };
    match refusal(address) {
        Some(why) => Err(FetchError::Refused(format!("{address} is {why}: refused"))),
        None => Ok(()),
    }
}

/// Host and port, for messages.
fn place(url: &Url) -> String {
    let port = url.port_or_known_default().unwrap_or_default();
    format!("{}:{port}", url.host_str().unwrap_or_default())
}

/// Where a redirect leads, without credentials that the Location may carry.
fn next_hop(from: &Url, response: &Response) -> Result<Url, String> {
    let location = response
        .headers()
        .get(LOCATION)
        .ok_or("there is none")?
        .to_str()
        .map_err(|_| "it is not ASCII")?;
    let mut next = from.join(location).map_err(|e| e.to_string())?;
    take_credentials(&mut next);
    Ok(next)
}

#[cfg(test)]
mod tests;
