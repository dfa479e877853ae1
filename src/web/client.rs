//! At which address somebody is: that of the socket, or what a proxy of ours says of where its request came from.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use actix_web::HttpRequest;
use actix_web::http::header::HeaderMap;

use super::site::Site;
use crate::config::Network;
use crate::wire::strangers::Client;

const X_FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED: &str = "forwarded";

/// Who sent a request.
pub fn client(site: &Site, request: &HttpRequest) -> Client {
    let socket = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.ip());
    Client::at(origin(socket, request.headers(), &site.trusted_proxies))
}

/// The nearest address that is no proxy of ours. Whoever stands in front of the nearest proxy can write whatever it likes
/// into these headers, but only before what our proxies append.
fn origin(socket: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    if !is_trusted(socket) {
        return socket;
    }
    let walk = |hops: &[&str], read: fn(&str) -> Option<IpAddr>| {
        let mut nearest = socket;
        for hop in hops.iter().rev() {
            let Some(address) = read(hop) else { break };
            nearest = address;
            if !is_trusted(address) {
                break;
            }
        }
        nearest
    };
    let (plain, forwarded) = (hops(headers, X_FORWARDED_FOR), hops(headers, FORWARDED));
    match (plain.is_empty(), forwarded.is_empty()) {
        (true, true) => socket,
        (false, true) => walk(&plain, address),
        (true, false) => walk(&forwarded, forwarded_for),
        // A proxy writes one of them and passes the other on as it came: where they differ, one is the client's invention.
        (false, false) => match (walk(&plain, address), walk(&forwarded, forwarded_for)) {
            (one, other) if one == other => one,
            _ => socket,
        },
    }
}

/// All elements of a header in their order, those of several lines as well.
fn hops<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    // What is no text is an element that cannot be read, behind which nothing is believed.
    headers.get_all(name).flat_map(|value| value.to_str().unwrap_or("?").split(',')).map(str::trim).collect()
}

/// `for=` of one element of `Forwarded` (RFC 7239 section 4).
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut given = element.split(';').filter_map(|pair| pair.trim().split_once('='));
    let (_, node) = given.find(|(name, _)| name.eq_ignore_ascii_case("for"))?;
    address(node.trim_matches('"'))
}

/// An address, with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse().ok().map(|address: SocketAddr| address.ip()))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    const OURS: &str = "10.0.0.0/8";

    fn found(socket: &str, given: &[(&str, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        origin(socket.parse().unwrap(), &headers, &[Network::parse(OURS).unwrap()]).to_string()
    }

    #[test]
    fn headers_of_strangers_say_nothing() {
        for header in ["x-forwarded-for", "forwarded"] {
            assert_eq!(found("192.0.2.1", &[(header, "198.51.100.7")]), "192.0.2.1");
            assert_eq!(found("192.0.2.1", &[(header, "for=198.51.100.7")]), "192.0.2.1");
        }
        assert_eq!(found("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn a_proxy_of_ours_says_who_called_it_in_either_form() {
        for (header, value, wanted) in [
            ("x-forwarded-for", "198.51.100.7", "198.51.100.7"),
            ("x-forwarded-for", "198.51.100.7:4711", "198.51.100.7"),
            ("x-forwarded-for", "2001:db8::1", "2001:db8::1"),
            ("x-forwarded-for", "[2001:db8::1]:4711", "2001:db8::1"),
            ("forwarded", "for=198.51.100.7", "198.51.100.7"),
            ("forwarded", "proto=https; For=\"198.51.100.7:80\";by=10.0.0.1", "198.51.100.7"),
            ("forwarded", "for=\"[2001:db8::1]:4711\"", "2001:db8::1"),
        ] {
            assert_eq!(found("10.0.0.1", &[(header, value)]), wanted, "{header}: {value}");
        }
    }

    #[test]
    fn only_what_our_own_proxies_appended_counts() {
        let given = |value| [("x-forwarded-for", value)];
        assert_eq!(found("10.0.0.1", &given("203.0.113.1, 198.51.100.7")), "198.51.100.7");
        assert_eq!(found("10.0.0.1", &given("203.0.113.1, 198.51.100.7, 10.0.0.2")), "198.51.100.7");
        // The address that a client made up stands before its own, on whatever line.
        let lines = [("x-forwarded-for", "203.0.113.1"), ("x-forwarded-for", "198.51.100.7")];
        assert_eq!(found("10.0.0.1", &lines), "198.51.100.7");
        let open = [("forwarded", "for=203.0.113.1;by=\"x"), ("forwarded", "for=198.51.100.7")];
        assert_eq!(found("10.0.0.1", &open), "198.51.100.7");
    }

    #[test]
    fn what_cannot_be_read_counts_for_the_proxy_that_passed_it_on() {
        for value in ["unknown", "", "for=_hidden", "198.51.100.7.example", "1", "\u{fc}", "198.51.100.7, "] {
            assert_eq!(found("10.0.0.1", &[("x-forwarded-for", value)]), "10.0.0.1", "{value:?}");
            assert_eq!(found("10.0.0.1", &[("forwarded", value)]), "10.0.0.1", "{value:?}");
        }
        assert_eq!(found("10.0.0.1", &[("x-forwarded-for", "203.0.113.1, nobody, 10.0.0.2")]), "10.0.0.2");
    }

    #[test]
    fn a_header_that_the_proxy_only_passed_on_hides_nobody() {
        let given = |forwarded| [("x-forwarded-for", "198.51.100.7"), ("forwarded", forwarded)];
        assert_eq!(found("10.0.0.1", &given("for=203.0.113.1")), "10.0.0.1");
        assert_eq!(found("10.0.0.1", &given("for=198.51.100.7")), "198.51.100.7");
    }
}
