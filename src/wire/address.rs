//! The address check: which addresses this node may connect to at all.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use crate::actors::blocking::Blocklist;
use crate::domains::blocks::Blocked;
use crate::domains::identity::{Authority, Iri};

/// What the operator allows beyond the open internet. Empty by default.
#[derive(Debug, Clone, Default)]
pub struct AddressPolicy {
    /// Exact authorities that may be reached over http and at any address.
    pub allow: BTreeSet<Authority>,
    /// Where the operator lists them.
    pub list: AllowList,
    /// Never connected to either, whatever is allowed.
    pub blocks: Arc<Blocklist>,
    /// Where this process listens. Never connected to, whatever is allowed.
    pub own_listeners: Vec<SocketAddr>,
}

/// The setting that allows more: peers and services have one each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AllowList {
    #[default]
    Fetch,
    Http,
    Kernel,
}

/// Why this node does not connect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressRefused {
    #[error(transparent)]
    Blocked(#[from] Blocked),
    #[error("{url} is not https: list {authority} under {list} if it is meant")]
    PlainHttp { url: Iri, authority: Authority, list: AllowList },
    #[error("{authority} is at {address}, which is not on the open internet: list it under {list} if it is meant")]
    NotGlobal { authority: Authority, address: IpAddr, list: AllowList },
    #[error("{authority} is at {address}, where this node itself listens")]
    OwnListener { authority: Authority, address: SocketAddr },
    #[error("{authority} has no address")]
    NoAddress { authority: Authority },
}

impl fmt::Display for AllowList {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Fetch => "[fetch] allow",
            Self::Http => "[http] allow",
            Self::Kernel => "[kernel] reach",
        })
    }
}

impl AddressPolicy {
    /// Whether the host and the scheme will do, before anything is looked up.
    pub fn check_url(&self, url: &Iri) -> Result<(), AddressRefused> {
        let authority = url.authority();
        self.blocks.judge(&authority)?;
        if url.is_https() || self.allow.contains(&authority) {
            return Ok(());
        }
        Err(AddressRefused::PlainHttp { url: url.clone(), authority, list: self.list })
    }

    /// Whether this address will do for this authority. Asked for every address before connecting, and again for the
    /// one that the connection has.
    pub fn check_address(&self, authority: &Authority, address: SocketAddr) -> Result<(), AddressRefused> {
        let plain = SocketAddr::new(address.ip().to_canonical(), address.port());
        if self.own_listeners.iter().any(|own| reaches(plain, *own)) {
            return Err(AddressRefused::OwnListener { authority: authority.clone(), address });
        }
        if is_global(address.ip()) || self.allow.contains(authority) {
            return Ok(());
        }
        Err(AddressRefused::NotGlobal { authority: authority.clone(), address: address.ip(), list: self.list })
    }
}

/// Whether an address is one that strangers may send us to: unicast, and routed on the open internet. A rule of what is
/// allowed, since lists of what is not were never complete.
pub fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => is_global_v4(four),
        IpAddr::V6(six) => is_global_v6(six),
    }
}

/// From the IANA special-purpose registry: what of 1.0.0.0 to 223.255.255.255 is not globally reachable.
fn is_global_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = matches!(
        (a, b, c),
        (10 | 127, ..)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18..=19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    );
    (1..=223).contains(&a) && !special
}

/// Global unicast is 2000::/3, less the blocks with a meaning of their own. The translation prefix 64:ff9b::/96 is what
/// the address inside it is; mapped and other embedding forms are no addresses to connect to.
fn is_global_v6(address: Ipv6Addr) -> bool {
    let parts = address.segments();
    if parts[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        let [.., a, b, c, d] = address.octets();
        return is_global_v4(Ipv4Addr::new(a, b, c, d));
    }
    let special = match parts {
        // 2001::/23: Teredo, benchmarking, ORCHID and other protocols.
        [0x2001, 0..=0x01ff, ..] => true,
        // Documentation, twice.
        [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => true,
        // 6to4 embeds any IPv4 address; 6bone is gone.
        [0x2002 | 0x3ffe, ..] => true,
        _ => false,
    };
    parts[0] & 0xe000 == 0x2000 && !special
}

/// Whether a connection to `address` would end at the listener `own`.
fn reaches(address: SocketAddr, own: SocketAddr) -> bool {
    let own_ip = own.ip().to_canonical();
    if address.port() != own.port() {
        return false;
    }
    // The system takes a connection to the unspecified address as one to this machine.
    address.ip() == own_ip || ((own_ip.is_unspecified() || address.ip().is_unspecified()) && is_ours(address.ip()))
}

/// Whether the address is one of this machine's: only such can be bound.
fn is_ours(address: IpAddr) -> bool {
    address.is_loopback() || address.is_unspecified() || UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GLOBAL: [&str; 22] = [
        "1.0.0.0",
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.167.255.255",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2001:200::1",
        "2001:4860:4860::8888",
        "2606:4700:4700::1111",
        "2a00:1450:4001::1",
        "64:ff9b::8.8.8.8",
        "3ffd::1",
    ];

    const REFUSED: [&str; 52] = [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.0.170",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::8.8.8.8",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:8.8.8.8",
        "::ffff:0:127.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::8.8.8.8",
        "100::1",
        "1fff:ffff::1",
        "2001::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2001:2::1",
        "2001:10::1",
        "2001:20::1",
        "2001:1ff:ffff::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:808:808::1",
        "3ffe::1",
        "3fff::1",
        "4000::1",
        "5f00::1",
        "fc00::1",
        "fe80::1",
    ];

    fn authority(text: &str) -> Authority {
        Authority::parse(text).unwrap()
    }

    #[test]
    fn only_the_open_internet_is_global() {
        for text in GLOBAL {
            assert!(is_global(text.parse().unwrap()), "{text}");
        }
        for text in REFUSED.into_iter().chain(["fdff::1", "fec0::1", "ff02::1", "ffff::1"]) {
            assert!(!is_global(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn a_listed_authority_may_be_anywhere_and_speak_http_and_no_other() {
        let policy = AddressPolicy { allow: [authority("127.0.0.1:8002")].into(), ..AddressPolicy::default() };
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(policy.check_address(&authority("127.0.0.1:8002"), at("127.0.0.1:8002")), Ok(()));
        assert!(matches!(
            policy.check_address(&authority("127.0.0.1:8003"), at("127.0.0.1:8003")),
            Err(AddressRefused::NotGlobal { .. })
        ));
        assert!(policy.check_address(&authority("a.example"), at("127.0.0.1:8002")).is_err());
        assert_eq!(policy.check_address(&authority("a.example"), at("8.8.8.8:443")), Ok(()));
        let url = |text: &str| Iri::parse(text).unwrap();
        assert_eq!(policy.check_url(&url("http://127.0.0.1:8002/inbox")), Ok(()));
        assert_eq!(policy.check_url(&url("https://a.example/inbox")), Ok(()));
        assert!(matches!(policy.check_url(&url("http://a.example/inbox")), Err(AddressRefused::PlainHttp { .. })));
        assert!(policy.check_url(&url("http://127.0.0.1:8003/inbox")).is_err());
    }

    #[test]
    fn a_refusal_names_the_list_that_would_allow_it() {
        let said = |list| {
            let policy = AddressPolicy { list, ..AddressPolicy::default() };
            let plain = policy.check_url(&Iri::parse("http://a.example/").unwrap()).unwrap_err();
            let inside = policy.check_address(&authority("a.example"), "10.0.0.1:443".parse().unwrap()).unwrap_err();
            (plain.to_string(), inside.to_string())
        };
        let (plain, inside) = said(AllowList::Http);
        assert!(plain.contains("under [http] allow") && inside.contains("under [http] allow"), "{plain}, {inside}");
        assert!(said(AllowList::Fetch).0.contains("under [fetch] allow"));
    }

    #[test]
    fn our_own_listeners_are_refused_however_they_are_named_and_listed() {
        let own = ["127.0.0.1:8001", "0.0.0.0:9001", "8.8.8.8:443", "[::]:9443"];
        let own_listeners = own.iter().map(|text| text.parse().unwrap()).collect();
        let policy =
            AddressPolicy { allow: [authority("self.example:1")].into(), own_listeners, ..AddressPolicy::default() };
        for address in [
            "127.0.0.1:8001",
            "[::ffff:127.0.0.1]:8001",
            "0.0.0.0:8001",
            "127.0.0.1:9001",
            "127.9.9.9:9001",
            "[::1]:9443",
            "[::]:9001",
            "8.8.8.8:443",
        ] {
            let check = policy.check_address(&authority("self.example:1"), address.parse().unwrap());
            assert!(matches!(check, Err(AddressRefused::OwnListener { .. })), "{address}");
        }
        for address in ["127.0.0.1:8002", "192.0.2.77:9001", "8.8.8.8:444"] {
            assert_eq!(
                policy.check_address(&authority("self.example:1"), address.parse().unwrap()),
                Ok(()),
                "{address}"
            );
        }
    }
}
