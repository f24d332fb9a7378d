//! Who may do what: the rule of the loopback, bearer tokens, hosts that requests may be addressed to.

use std::{
    convert::Infallible,
    fmt, io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use axum::{
    extract::{FromRequestParts, Request},
    http::request::Parts,
};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Settings, tokens};
use crate::model::{AgentId, OWN_ID};

/// Why access cannot be set up. No message holds a token.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// Everybody on the network could read and write.
    #[error(
        "listening on {listen}, beyond loopback, needs tokens (http.tokens_file); --insecure serves everybody without"
    )]
    Open {
        /// The address.
        listen: SocketAddr,
    },
    /// The file of tokens cannot be read.
    #[error("{path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The reason of the operating system.
        source: io::Error,
    },
    /// The file of tokens says something that cannot be understood.
    #[error("{path}:{line}: {why}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
}

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Every question.
    Read,
    /// Pushes and heartbeats.
    Ingest,
    /// Everything.
    Admin,
}

/// A bearer token, known by its digest alone.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) name: String,
    pub(super) role: Role,
    /// The one agent that an ingest token may write as.
    pub(super) agent: Option<AgentId>,
    pub(super) sha256: [u8; 32],
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("name", &self.name)
            .field("role", &self.role)
            .field("agent", &self.agent)
            .finish_non_exhaustive()
    }
}

/// What a route asks of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permission {
    /// Nothing, whatever the address it is asked at.
    Open,
    /// Reading.
    Read,
    /// Writing samples of one agent.
    Ingest,
    /// Writing spans or samples of agents that the body names; a token that is bound to an agent writes those of its agent.
    IngestAny,
    /// Changing what is watched, taking the whole file.
    Admin,
}

/// The one agent that the caller may write as, if its token is bound to one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct BoundAgent(Option<AgentId>);

impl BoundAgent {
    /// Of a request that the guard has let through.
    pub(super) fn of(request: &Request) -> Self {
        request.extensions().get().cloned().unwrap_or_default()
    }

    /// Whether the caller may write as any agent.
    pub(super) const fn is_free(&self) -> bool {
        self.0.is_none()
    }

    /// Whether the caller may write as this one.
    pub(super) fn allows(&self, agent: &AgentId) -> bool {
        let Some(own) = &self.0 else { return true };
        // A longwatch that forwards calls itself so ([`crate::forward`]).
        own == agent || AgentId::of_text(&format!("{OWN_ID}/{own}")).as_ref() == Some(agent)
    }
}

impl<S: Sync> FromRequestParts<S> for BoundAgent {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}

/// Why a caller is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// No token was given.
    Missing,
    /// The token is unknown.
    Unknown,
    /// The token is known and does not allow this.
    Forbidden,
}

/// Who may do what.
#[derive(Clone, Debug)]
pub struct Access {
    listen: IpAddr,
    tokens: Vec<Token>,
    allowed_hosts: Vec<String>,
}

impl Access {
    /// Reads the tokens and applies the rule of the loopback: listening beyond it without any token is
    /// refused unless `insecure` is set.
    ///
    /// # Errors
    /// [`AccessError`]; a token file that holds none is an error too.
    pub fn load(settings: &Settings) -> Result<Self, AccessError> {
        let tokens = match &settings.tokens_file {
            Some(path) => tokens::load(path)?,
            None => Vec::new(),
        };
        let listen = settings.listen.ip();
        if !is_loopback(listen) && tokens.is_empty() {
            if !settings.insecure {
                return Err(AccessError::Open {
                    listen: settings.listen,
                });
            }
            tracing::warn!(
                listen = %settings.listen,
                "everybody who reaches this address may read and write"
            );
        }
        Ok(Self {
            listen,
            tokens,
            allowed_hosts: settings
                .allowed_hosts
                .iter()
                .map(|host| host.trim_end_matches('.').to_ascii_lowercase())
                .collect(),
        })
    }

    /// Whether requests addressed to this host (a `Host` header, with or without port) are answered.
    ///
    /// A page of a stranger's name that resolves to 127.0.0.1 must not reach a server that trusts the
    /// loopback (DNS rebinding). Beyond loopback tokens do that.
    pub(super) fn answers_to(&self, host: &str) -> bool {
        if !is_loopback(self.listen) {
            return true;
        }
        let name = without_port(host)
            .trim_end_matches('.')
            .to_ascii_lowercase();
        let bare = name
            .strip_prefix('[')
            .and_then(|n| n.strip_suffix(']'))
            .unwrap_or(&name);
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return is_loopback(ip) || ip == self.listen || self.allowed_hosts.contains(&name);
        }
        name == "localhost" || self.allowed_hosts.contains(&name)
    }

    /// Whether the caller may. `agent` is the agent that the request writes as, if it is about one.
    pub(super) fn judge(
        &self,
        peer: Option<IpAddr>,
        authorization: Option<&str>,
        needs: Permission,
        agent: Option<&str>,
    ) -> Result<BoundAgent, Denied> {
        let trusts_peer = is_loopback(self.listen) && peer.is_some_and(is_loopback);
        // Listening beyond loopback without tokens is what `insecure` allowed.
        if needs == Permission::Open || trusts_peer || self.tokens.is_empty() {
            return Ok(BoundAgent::default());
        }
        let given = authorization.ok_or(Denied::Missing)?;
        let (scheme, secret) = given.split_once(' ').ok_or(Denied::Unknown)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Denied::Missing);
        }
        let token = self.find(secret.trim()).ok_or(Denied::Unknown)?;
        let allowed = match (token.role, needs) {
            (Role::Admin, _)
            | (Role::Read, Permission::Read)
            | (Role::Ingest, Permission::IngestAny) => true,
            (Role::Ingest, Permission::Ingest) => token
                .agent
                .as_ref()
                .is_none_or(|own| agent == Some(own.as_str())),
            _ => false,
        };
        if allowed {
            Ok(BoundAgent(token.agent.clone()))
        } else {
            Err(Denied::Forbidden)
        }
    }

    /// Compares digests in constant time and looks at every token, so that time tells nothing.
    fn find(&self, secret: &str) -> Option<&Token> {
        let digest = digest(secret);
        let mut found = None;
        for token in &self.tokens {
            if bool::from(token.sha256.ct_eq(&digest)) {
                found = Some(token);
            }
        }
        found
    }
}

pub(super) fn digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// Loopback in either family, IPv4 written as IPv6 included.
fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|b| b.is_ascii_digit())
                && (!name.contains(':') || name.ends_with(']')) =>
        {
            name
        }
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(name: &str, role: Role, agent: Option<&str>) -> Token {
        Token {
            name: name.to_owned(),
            role,
            agent: agent.map(|a| AgentId::new(a).unwrap()),
            sha256: digest(name),
        }
    }

    fn access(listen: &str, tokens: Vec<Token>) -> Access {
        Access {
            listen: listen.parse().unwrap(),
            tokens,
            allowed_hosts: vec!["monitor.example".to_owned()],
        }
    }

    #[test]
    fn roles_allow_what_they_say() {
        use Permission::{Admin, Ingest, IngestAny, Open, Read};
        let access = access(
            "0.0.0.0",
            vec![
                token("r", Role::Read, None),
                token("i", Role::Ingest, None),
                token("one", Role::Ingest, Some("a7")),
                token("all", Role::Admin, None),
            ],
        );
        let peer = Some("10.0.0.9".parse().unwrap());
        let ask = |secret: &str, needs, agent| {
            access.judge(peer, Some(&format!("Bearer {secret}")), needs, agent)
        };
        for (secret, allowed) in [
            ("r", vec![Open, Read]),
            ("i", vec![Open, Ingest, IngestAny]),
            ("one", vec![Open, Ingest, IngestAny]),
            ("all", vec![Open, Read, Ingest, IngestAny, Admin]),
        ] {
            for needs in [Open, Read, Ingest, IngestAny, Admin] {
                let answer = ask(secret, needs, Some("a7"));
                let expected = if allowed.contains(&needs) {
                    let own =
                        (secret == "one" && needs != Open).then(|| AgentId::new("a7").unwrap());
                    Ok(BoundAgent(own))
                } else {
                    Err(Denied::Forbidden)
                };
                assert_eq!(answer, expected, "{secret} {needs:?}");
            }
        }
        assert_eq!(ask("one", Ingest, Some("a8")), Err(Denied::Forbidden));
        assert_eq!(ask("one", Ingest, None), Err(Denied::Forbidden));
        assert_eq!(ask("other", Read, None), Err(Denied::Unknown));
        assert_eq!(access.judge(peer, None, Read, None), Err(Denied::Missing));
        assert_eq!(
            access.judge(peer, Some("Basic cjpy"), Read, None),
            Err(Denied::Missing)
        );
        // A connection from loopback to a socket that is open to the network is nothing special.
        let near = Some("127.0.0.1".parse().unwrap());
        assert_eq!(access.judge(near, None, Read, None), Err(Denied::Missing));
    }

    #[test]
    fn loopback_needs_no_token() {
        let access = access("127.0.0.1", vec![token("r", Role::Read, None)]);
        let near = Some("127.0.0.1".parse().unwrap());
        let far = Some("10.0.0.9".parse().unwrap());
        assert_eq!(
            access.judge(near, None, Permission::Admin, None),
            Ok(BoundAgent::default())
        );
        for peer in [far, None] {
            assert_eq!(
                access.judge(peer, None, Permission::Read, None),
                Err(Denied::Missing)
            );
        }
    }

    #[test]
    fn strange_hosts_are_not_answered_on_loopback() {
        let near = access("127.0.0.1", Vec::new());
        for host in [
            "localhost",
            "LOCALHOST:7464",
            "localhost.",
            "127.0.0.1:1",
            "[::1]:7464",
            "[::1]",
            "monitor.example:80",
            "Monitor.Example.",
        ] {
            assert!(near.answers_to(host), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:7464",
            "10.0.0.1",
            "",
            ":7464",
            "[::1",
        ] {
            assert!(!near.answers_to(host), "{host}");
        }
        assert!(access("0.0.0.0", Vec::new()).answers_to("anything"));
    }

    #[test]
    fn beyond_loopback_tokens_are_asked_for() {
        let mut settings = Settings {
            listen: "0.0.0.0:0".parse().unwrap(),
            ..Settings::default()
        };
        assert!(matches!(
            Access::load(&settings),
            Err(AccessError::Open { .. })
        ));
        settings.insecure = true;
        let open = Access::load(&settings).unwrap();
        assert_eq!(
            open.judge(None, None, Permission::Admin, None),
            Ok(BoundAgent::default())
        );
        settings.listen = "[::1]:0".parse().unwrap();
        settings.insecure = false;
        assert!(Access::load(&settings).is_ok());
    }

    #[test]
    fn digests_are_not_shown() {
        let shown = format!(
            "{:?}",
            access("0.0.0.0", vec![token("r", Role::Read, None)])
        );
        assert!(
            shown.contains("\"r\"") && !shown.contains("sha256"),
            "{shown}"
        );
    }
}
