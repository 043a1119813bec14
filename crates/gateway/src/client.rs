//! The client behind a proxy: the address that a trusted proxy names, and whether the
//! request may have been forwarded.

use std::net::{IpAddr, SocketAddr};

use admit::is_within;
use http::header::{FORWARDED, HOST, HeaderName, VIA};
use http::{HeaderMap, Uri};
use snapshot::IpNet;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Headers that proxies add to the requests that they forward.
const PASSED_ON: [HeaderName; 6] = [
    FORWARDED,
    VIA,
    FORWARDED_FOR,
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
];

/// The proxies in front of the gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// The proxies whose `X-Forwarded-For` is trusted.
    pub trusted: Vec<IpNet>,
    /// There is one: clients reach the gateway at another address than its own.
    pub is_fronted: bool,
}

impl Proxies {
    /// The client's address: the last one in the header that is not a trusted proxy's. Everything before it
    /// was written by the client itself.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if !self.trusts(client) {
            return client;
        }
        let lines = headers.get_all(FORWARDED_FOR).iter().rev();
        let hops = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        for hop in hops {
            // Nothing before an entry that is not an address can be trusted.
            let Some(address) = read_hop(hop) else { break };
            client = address;
            if !self.trusts(client) {
                break;
            }
        }
        client
    }

    /// Whether a request over a connection from this machine was sent on it, rather
    /// than forwarded by a proxy on it.
    pub(crate) fn is_local(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        !self.is_fronted
            && !PASSED_ON.iter().any(|name| headers.contains_key(name))
            && names_this_machine(uri, headers)
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|block| is_within(address, block))
    }
}

/// An address as proxies write it: alone, or with a port.
fn read_hop(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse().ok().map(|socket: SocketAddr| socket.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

/// Checks the host name: in a DNS rebinding attack a page sends its own, and so does a
/// proxy that does not rewrite it.
fn names_this_machine(uri: &Uri, headers: &HeaderMap) -> bool {
    let host = match headers.get(HOST) {
        Some(host) => host.to_str().unwrap_or("?"),
        None => match uri.authority() {
            Some(authority) => authority.as_str(),
            // HTTP/1.0 sends no host.
            None => return true,
        },
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn proxies() -> Proxies {
        let block = |address: &str, prefix_bits| IpNet { address: address.parse().unwrap(), prefix_bits };
        Proxies { trusted: vec![block("10.0.0.0", 8), block("fd00::", 8)], is_fronted: false }
    }

    fn headers(lines: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name.clone(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn the_last_hop_that_is_no_proxy_is_the_client() {
        for (peer, lines, client) in [
            ("10.0.0.1", &["203.0.113.9"][..], "203.0.113.9"),
            // An untrusted peer's header is ignored.
            ("203.0.113.1", &["127.0.0.1"], "203.0.113.1"),
            ("10.0.0.1", &["127.0.0.1, 203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["127.0.0.1, 203.0.113.9, 10.2.2.2"], "203.0.113.9"),
            ("10.0.0.1", &["203.0.113.9", "10.2.2.2"], "203.0.113.9"),
            ("10.0.0.1", &["10.3.3.3,10.2.2.2"], "10.3.3.3"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &[""], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.9, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.9, unknown, 10.2.2.2"], "10.2.2.2"),
            ("::ffff:10.0.0.1", &["203.0.113.9:4711"], "203.0.113.9"),
            ("fd00::1", &["[2001:db8::9]:4711"], "2001:db8::9"),
            ("fd00::1", &[" [2001:db8::9] "], "2001:db8::9"),
            ("fd00::1", &["2001:db8::9"], "2001:db8::9"),
        ] {
            let lines: Vec<_> = lines.iter().map(|line| (FORWARDED_FOR, *line)).collect();
            let found = proxies().client(peer.parse().unwrap(), &headers(&lines));
            assert_eq!(found, client.parse::<IpAddr>().unwrap(), "{peer} {lines:?}");
        }
    }

    #[test]
    fn only_who_sits_at_the_machine_is_local() {
        let check = |lines: &[(HeaderName, &str)], proxies: &Proxies| {
            proxies.is_local(&Uri::from_static("/metrics"), &headers(lines))
        };
        let open = proxies();
        for host in ["localhost", "LOCALHOST:8787", "127.0.0.1", "127.0.0.1:8787", "[::1]:8787", "[::1]"] {
            assert!(check(&[(HOST, host)], &open), "{host}");
        }
        assert!(check(&[], &open));
        for host in ["evil.example", "localhost.evil.example", "10.0.0.1", "127.0.0.1.evil.example:80"] {
            assert!(!check(&[(HOST, host)], &open), "{host}");
        }
        for name in PASSED_ON {
            assert!(!check(&[(name.clone(), "127.0.0.1")], &open), "{name}");
        }
        assert!(!check(&[], &Proxies { is_fronted: true, ..open }));
    }
}
