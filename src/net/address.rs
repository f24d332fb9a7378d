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

/// Metadata services that lie outside of the link-local ranges: Alibaba Cloud; Azure's host (it hands out the
/// machine's certificates and settings).
const METADATA_V4: [Ipv4Addr; 2] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
];

/// The same over IPv6: EC2, Google Compute Engine. Both lie in the private range.
const METADATA_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

fn refusal_v4(address: Ipv4Addr) -> Option<&'static str> {
    if address.is_link_local() {
        Some("a link-local address")
    } else if METADATA_V4.contains(&address) {
        Some("the address of a cloud's metadata service")
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

fn refusal_v6(address: Ipv6Addr) -> Option<&'static str> {
    if address.is_loopback() {
        None
    } else if address.is_unspecified() {
        Some("an unspecified address")
    } else if address.is_multicast() {
        Some("a multicast address")
    } else if address.is_unicast_link_local() {
        Some("a link-local address")
    } else if METADATA_V6.contains(&address) {
        Some("the address of a cloud's metadata service")
    } else {
        embedded_v4(address).find_map(refusal_v4)
    }
}

/// The IPv4 addresses that an IPv6 address may stand for, whatever gateway there is:
/// - mapped, compatible (RFC 4291) and translated (RFC 2765) forms;
/// - NAT64: the well-known prefix (RFC 6052) and the one for local use (RFC 8215), in its two usual layouts;
/// - 6to4 (RFC 3056), Teredo (RFC 4380, with inverted bits), ISATAP (RFC 5214).
fn embedded_v4(address: Ipv6Addr) -> impl Iterator<Item = Ipv4Addr> {
    let joined = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    let segments = address.segments();
    let [.., high, low] = segments;
    let last = joined(high, low);
    let found = match segments {
        // 48 bits of prefix, 16 of the address, 8 zero bits, the other 16 of the address.
        [0x64, 0xff9b, 1, first, middle, third, ..] => {
            let second = ((middle & 0xff) << 8) | (third >> 8);
            [Some(last), (first != 0).then(|| joined(first, second))]
        }
        [0x2002, high, low, ..] => [Some(joined(high, low)), None],
        [0x2001, 0, ..] => [Some(joined(!high, !low)), None],
        [0, 0, 0, 0, 0, 0 | 0xffff, ..]
        | [0, 0, 0, 0, 0xffff, 0, ..]
        | [0x64, 0xff9b, 0, 0, 0, 0, ..]
        | [_, _, _, _, 0 | 0x200, 0x5efe, ..] => [Some(last), None],
        _ => [None, None],
    };
    found.into_iter().flatten()
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

/// Where addresses of names come from.
#[derive(Clone, Debug)]
pub(super) enum Names {
    /// The system's resolver.
    System,
    /// What a test says.
    #[cfg(test)]
    Fixed(std::collections::HashMap<String, Vec<SocketAddr>>),
}

impl Names {
    async fn lookup(&self, name: &str) -> std::io::Result<Vec<SocketAddr>> {
        match self {
            Self::System => Ok(tokio::net::lookup_host((name, 0)).await?.collect()),
            #[cfg(test)]
            Self::Fixed(known) => Ok(known.get(name).cloned().unwrap_or_default()),
        }
    }
}

/// A resolver without the addresses that are refused. Filtering here and not when the URL is read leaves no
/// gap in which a name could change its address.
#[derive(Debug)]
pub(super) struct GuardedResolver(pub(super) Names);

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let name = name.as_str().to_owned();
        let names = self.0.clone();
        Box::pin(async move {
            let unknown = |reason: String| ResolveError::Unknown {
                name: name.clone(),
                reason,
            };
            let found = names
                .lookup(&name)
                .await
                .map_err(|e| unknown(e.to_string()))?;
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
            "::ffff:0:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::169.254.169.254",
            "64:ff9b:1:a9fe:a9:fe00::",
            "2002:a9fe:a9fe::1",
            "2001:0:1:2:3:4:5601:5601",
            "2001:db8::5efe:169.254.169.254",
            "fd00::200:5efe:169.254.0.1",
            "100.100.100.200",
            "::ffff:100.100.100.200",
            "168.63.129.16",
            "fd20:ce::254",
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
            "2001:db8::169.254.1.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::10.0.0.1",
            "2002:a00:1::1",
            "100.100.100.100",
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
