//! The gateway's own addresses: which `Host` and `Origin` headers it trusts, and the base URL of links.

use std::net::{IpAddr, SocketAddr};

use domain::{Fault, FaultClass};
use http::HeaderMap;
use http::header::{HOST, HeaderName, ORIGIN};
use http::uri::{Authority, Uri};

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The names that this gateway is reached by.
#[derive(Debug, Clone)]
pub struct Site {
    listen: SocketAddr,
    public: Option<Public>,
}

#[derive(Debug, Clone)]
struct Public {
    https: bool,
    authority: Authority,
}

impl Site {
    /// `public_url` is the address that people use. Without it, only the local machine and the listen address
    /// are trusted.
    ///
    /// # Errors
    /// The URL is not `http` or `https`, or has a path.
    pub fn new(listen: SocketAddr, public_url: Option<&str>) -> Result<Self, String> {
        let public = public_url.map(read_public).transpose()?;
        Ok(Self { listen, public })
    }

    /// The same names with the port that was actually bound.
    pub fn at(self, listen: SocketAddr) -> Self {
        Self { listen, ..self }
    }

    /// Whether a browser that uses this `Host` must be on one of this gateway's own pages. With DNS
    /// rebinding, an attacker's page still sends the attacker's host name.
    fn trusts(&self, host: &Authority) -> bool {
        let name = host.host().trim_start_matches('[').trim_end_matches(']');
        if self
            .public
            .as_ref()
            .is_some_and(|public| public.authority.host().eq_ignore_ascii_case(host.host()))
        {
            return true;
        }
        match name.parse::<IpAddr>() {
            // When listening on all interfaces, any IP address may be ours. IP addresses can't be rebound,
            // since they aren't resolved.
            Ok(ip) => ip.is_loopback() || self.listen.ip().is_unspecified() || ip == self.listen.ip(),
            Err(_) => name.eq_ignore_ascii_case("localhost"),
        }
    }

    /// Refuses browser requests from pages of another origin. With `must_tell`, the browser has to send the
    /// origin.
    ///
    /// # Errors
    /// 403, naming the setting where the host is at fault.
    pub fn check(&self, headers: &HeaderMap, must_tell: bool) -> Result<(), Box<Fault>> {
        let Some(host) = host(headers).filter(|host| self.trusts(host)) else { return Err(untrusted_host()) };
        let fetch_site = headers.get(FETCH_SITE).map(|value| value.as_bytes());
        if fetch_site.is_some_and(|site| site != b"same-origin" && site != b"none") {
            return Err(cross_origin());
        }
        match headers.get(ORIGIN) {
            Some(origin) => match origin.to_str() {
                Ok(origin) if self.is_own(origin, &host) => Ok(()),
                _ => Err(cross_origin()),
            },
            None if must_tell && fetch_site != Some(b"same-origin") => Err(cross_origin()),
            None => Ok(()),
        }
    }

    /// Whether a request is no page's, or one of a page of this gateway or this machine. It is for paths where a key is needed
    /// anyway: a page elsewhere must not get there by having its own name resolve to this address.
    pub fn lets_page_in(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(ORIGIN) else { return true };
        let authority = origin.to_str().ok().and_then(|origin| {
            let (scheme, authority) = origin.split_once("://")?;
            matches!(scheme, "http" | "https").then(|| Authority::try_from(authority).ok())?
        });
        authority.is_some_and(|authority| self.trusts(&authority))
    }

    /// A proxy in front may change the `Host` header; the public address is configured in advance.
    fn is_own(&self, origin: &str, host: &Authority) -> bool {
        let Some((scheme, authority)) = origin.split_once("://") else { return false };
        let public = |public: &Public| {
            (scheme == "https") == public.https && public.authority.as_str().eq_ignore_ascii_case(authority)
        };
        matches!(scheme, "http" | "https")
            && (host.as_str().eq_ignore_ascii_case(authority) || self.public.as_ref().is_some_and(public))
    }

    /// Whether the cookie can be limited to https. A client that forges the header only affects its own
    /// cookie.
    pub fn is_https(&self, headers: &HeaderMap) -> bool {
        let forwarded = headers.get(FORWARDED_PROTO).is_some_and(|proto| proto.as_bytes() == b"https");
        let public = self.public.as_ref().is_some_and(|public| {
            public.https && host(headers).is_some_and(|host| host.host() == public.authority.host())
        });
        forwarded || public
    }

    /// The base URL of links: the public one, or else the requested host if it is trusted.
    pub fn base_url(&self, headers: &HeaderMap) -> String {
        if let Some(public) = &self.public {
            return format!("{}://{}", if public.https { "https" } else { "http" }, public.authority);
        }
        match host(headers).filter(|host| self.trusts(host)) {
            Some(host) => format!("http://{host}"),
            None if self.listen.ip().is_unspecified() => format!("http://127.0.0.1:{}", self.listen.port()),
            None => format!("http://{}", self.listen),
        }
    }
}

fn read_public(url: &str) -> Result<Public, String> {
    let wrong = || format!("the public URL is \"{url}\"; it must be like https://gateway.example");
    let uri: Uri = url.trim_end_matches('/').parse().map_err(|_| wrong())?;
    let https = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err(wrong()),
    };
    let plain = uri.path_and_query().is_none_or(|path| path.as_str() == "/");
    let authority = uri.authority().filter(|authority| plain && !authority.as_str().contains('@'));
    Ok(Public { https, authority: authority.cloned().ok_or_else(wrong)? })
}

fn host(headers: &HeaderMap) -> Option<Authority> {
    Authority::try_from(headers.get(HOST)?.as_bytes()).ok().filter(|host| !host.as_str().contains('@'))
}

fn untrusted_host() -> Box<Fault> {
    let message = "People can't be signed in under the host name that this request carries.";
    let fix = "Use this gateway's own address, or set TIDEGATE_PUBLIC_URL to the one that people use.";
    Box::new(Fault::new(FaultClass::Forbidden, "untrusted_host", message).param("Host").fix(fix))
}

fn cross_origin() -> Box<Fault> {
    let message = "The request comes from a page of another origin, or doesn't say which.";
    let fix = "Send it from the console, or with an API key; behind a proxy, set TIDEGATE_PUBLIC_URL.";
    Box::new(Fault::new(FaultClass::Forbidden, "cross_origin", message).param("Origin").fix(fix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn site(listen: &str, public_url: Option<&str>) -> Site {
        Site::new(listen.parse().unwrap(), public_url).unwrap()
    }

    #[test]
    fn only_names_of_ours_are_trusted() {
        let plain = site("127.0.0.1:8787", None);
        let public = site("10.0.0.5:8787", Some("https://gate.example"));
        let everywhere = site("0.0.0.0:8787", None);
        for (site, host, trusted) in [
            (&plain, "127.0.0.1:8787", true),
            (&plain, "localhost:8787", true),
            (&plain, "LOCALHOST", true),
            (&plain, "[::1]:8787", true),
            (&plain, "evil.example:8787", false),
            (&plain, "localhost.evil.example", false),
            (&plain, "127.0.0.1.evil.example", false),
            (&plain, "192.168.1.7:8787", false),
            (&plain, "a@localhost", false),
            (&public, "gate.example", true),
            (&public, "10.0.0.5:8787", true),
            (&public, "gate.example.evil.example", false),
            (&everywhere, "192.168.1.7:8787", true),
            (&everywhere, "evil.example:8787", false),
        ] {
            let checked = site.check(&headers(&[("host", host)]), false);
            assert_eq!(checked.is_ok(), trusted, "{host}: {checked:?}");
        }
        assert_eq!(plain.check(&HeaderMap::new(), false).unwrap_err().code, "untrusted_host");
    }

    #[test]
    fn a_page_must_be_of_the_same_origin_and_say_so() {
        let site = site("127.0.0.1:8787", Some("https://gate.example"));
        let host = ("host", "127.0.0.1:8787");
        for (more, fine) in [
            (vec![("origin", "http://127.0.0.1:8787")], true),
            (vec![("origin", "https://gate.example")], true),
            (vec![("sec-fetch-site", "same-origin")], true),
            (vec![("origin", "http://gate.example")], false),
            (vec![("origin", "http://127.0.0.1:9999")], false),
            (vec![("origin", "null")], false),
            (vec![("origin", "file://127.0.0.1:8787")], false),
            (vec![("origin", "http://127.0.0.1:8787"), ("sec-fetch-site", "same-site")], false),
            (vec![("sec-fetch-site", "cross-site")], false),
            (vec![("sec-fetch-site", "none")], false),
            (vec![], false),
        ] {
            let mut all = vec![host];
            all.extend(&more);
            assert_eq!(site.check(&headers(&all), true).is_ok(), fine, "{more:?}");
        }
        assert!(site.check(&headers(&[host]), false).is_ok(), "a program isn't a page");
    }

    #[test]
    fn a_page_elsewhere_is_kept_out_whatever_its_name_resolves_to() {
        let site = site("127.0.0.1:8787", Some("https://gate.example"));
        for (origin, is_let_in) in [
            ("http://localhost:6274", true),
            ("http://127.0.0.1:8787", true),
            ("https://gate.example", true),
            ("http://evil.example:8787", false),
            ("https://gate.example.evil.example", false),
            ("null", false),
            ("file://localhost", false),
        ] {
            let sent = headers(&[("host", "evil.example:8787"), ("origin", origin)]);
            assert_eq!(site.lets_page_in(&sent), is_let_in, "{origin}");
        }
        assert!(site.lets_page_in(&headers(&[("host", "evil.example")])), "a program isn't a page");
    }

    #[test]
    fn links_begin_with_an_address_of_ours() {
        let evil = headers(&[("host", "evil.example")]);
        let near = headers(&[("host", "localhost:8787")]);
        let plain = site("127.0.0.1:8787", None);
        assert_eq!(plain.base_url(&near), "http://localhost:8787");
        assert_eq!(plain.base_url(&evil), "http://127.0.0.1:8787");
        assert_eq!(site("0.0.0.0:80", None).base_url(&evil), "http://127.0.0.1:80");
        let public = site("127.0.0.1:1", Some("https://gate.example/"));
        assert_eq!(public.base_url(&near), "https://gate.example");
        assert!(public.is_https(&headers(&[("host", "gate.example")])) && !public.is_https(&near));
        assert!(plain.is_https(&headers(&[("x-forwarded-proto", "https")])));
        for wrong in ["gate.example", "ftp://gate.example", "https://gate.example/x", "https://a@b.example"] {
            assert!(Site::new("127.0.0.1:1".parse().unwrap(), Some(wrong)).is_err(), "{wrong}");
        }
    }
}
