//! Addresses that are never connected to, whoever names them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Why an address is refused, `None` when it may be connected to.
///
/// Link-local addresses reach the metadata services of clouds, which hand out credentials. Loopback
/// and private addresses are where agents live.
pub(super) fn refusal(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => refusal_v4(v4),
        IpAddr::V6(v6) => refusal_v6(v6),
    }
}

fn refusal_v4(address: Ipv4Addr) -> Option<&'static str> {
    if address.is_link_local() {
        Some("a link-local address")
    } else if address.octets()[0] == 0 {
        Some("an unspecified address")
    } else if address.is_multicast() {
        Some("a multicast address")
    } else if address.is_broadcast() {
        Some("the broadcast address")
    } else {
        None
    }
}

/// The metadata service of EC2 over IPv6 lies in the private range.
const EC2_METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

fn refusal_v6(address: Ipv6Addr) -> Option<&'static str> {
    if address.is_loopback() {
        None
    } else if address.is_unspecified() {
        Some("an unspecified address")
    } else if address.is_multicast() {
        Some("a multicast address")
    } else if address.is_unicast_link_local() || address == EC2_METADATA_V6 {
        Some("a link-local address")
    } else {
        embedded_v4(address).and_then(refusal_v4)
    }
}

/// The IPv4 address that an IPv6 address stands for: mapped and compatible forms, NAT64
/// (RFC 6052, `64:ff9b::/96`) and 6to4 (RFC 3056, `2002::/16`).
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let joined = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            Some(joined(high, low))
        }
        [0x2002, high, low, ..] => Some(joined(high, low)),
        _ => None,
    }
}

/// Why a name gave no address to connect to.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResolveError {
    /// The resolver's own reason.
    #[error("cannot resolve `{name}`: {reason}")]
    Unknown { name: String, reason: String },
    /// Every address is refused.
    #[error("`{name}` is {address}, {why}: refused")]
    Refused {
        name: String,
        address: IpAddr,
        why: &'static str,
    },
}

/// The system's resolver, without the addresses that are refused. Filtering here and not when the URL
/// is read leaves no gap in which a name could change its address.
#[derive(Debug)]
pub(super) struct GuardedResolver;

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let name = name.as_str().to_owned();
        Box::pin(async move {
            let unknown = |reason: String| ResolveError::Unknown {
                name: name.clone(),
                reason,
            };
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0))
                .await
                .map_err(|e| unknown(e.to_string()))?
                .collect();
            let allowed = allowed(&name, &found).map_err(|e| match e {
                Some(refused) => refused,
                None => unknown("no address".to_owned()),
            })?;
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// The addresses that may be connected to; if there is none, the refusal of the first one.
fn allowed(name: &str, found: &[SocketAddr]) -> Result<Vec<SocketAddr>, Option<ResolveError>> {
    let kept: Vec<_> = found
        .iter()
        .filter(|a| refusal(a.ip()).is_none())
        .copied()
        .collect();
    if !kept.is_empty() {
        return Ok(kept);
    }
    Err(found.first().and_then(|first| {
        Some(ResolveError::Refused {
            name: name.to_owned(),
            address: first.ip(),
            why: refusal(first.ip())?,
        })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_metadata_services_are_refused_in_every_form() {
        for text in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::169.254.169.254",
            "2002:a9fe:a9fe::1",
            "fe80::1",
            "febf::1",
            "fd00:ec2::254",
            "0.0.0.0",
            "::ffff:0.0.0.0",
            "::",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
        ] {
            assert!(refusal(text.parse().unwrap()).is_some(), "{text}");
        }
        for text in [
            "127.0.0.1",
            "::1",
            "::ffff:127.0.0.1",
            "10.0.0.1",
            "192.168.1.1",
            "169.253.1.1",
            "fd00::1",
            "2001:db8::1",
        ] {
            assert_eq!(refusal(text.parse().unwrap()), None, "{text}");
        }
    }

    #[test]
    fn a_name_keeps_its_good_addresses_only() {
        let found: Vec<SocketAddr> = ["169.254.169.254:0", "10.0.0.1:0"]
            .iter()
            .map(|a| a.parse().unwrap())
            .collect();
        assert_eq!(allowed("x", &found).unwrap(), found[1..]);
        let refused = allowed("metadata.internal", &found[..1])
            .unwrap_err()
            .unwrap();
        assert_eq!(
            refused.to_string(),
            "`metadata.internal` is 169.254.169.254, a link-local address: refused"
        );
        assert!(allowed("x", &[]).unwrap_err().is_none());
    }
}
