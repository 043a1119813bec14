//! How a picker works, and which endpoints it has.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use placement::LoadReport;

/// How a picker works.
#[derive(Debug, Clone)]
pub struct PickerSettings {
    pub listen: SocketAddr,
    /// Where health checks are answered without TLS.
    pub health_listen: Option<SocketAddr>,
    pub security: Security,
    pub endpoints: Vec<EndpointSource>,
    /// A file with more endpoints, one a line, which is read again and again.
    pub endpoints_file: Option<PathBuf>,
    pub metrics_path: String,
    /// The port of the metrics, where it is not the endpoint's.
    pub metrics_port: Option<u16>,
    pub poll_every: Duration,
    /// The objectives whose requests are refused rather than that they wait.
    pub sheddable: Vec<String>,
    pub shedding: Shedding,
    /// How many more endpoints are named, for the proxy to retry at.
    pub fallbacks: usize,
}

/// Whether connections are encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Security {
    Plaintext,
    /// With a certificate that is made at the start.
    SelfSigned,
    Files {
        certificate: PathBuf,
        key: PathBuf,
    },
}

/// An endpoint of a pool, or several behind a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EndpointSource {
    pub host: String,
    pub port: u16,
}

/// From when on an endpoint counts as full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shedding {
    pub waiting: u32,
    pub kv_permille: u16,
}

impl Shedding {
    /// An endpoint that says nothing of its load is not full.
    pub(crate) fn is_full(self, report: Option<LoadReport>) -> bool {
        report.is_some_and(|report| {
            report.waiting >= self.waiting || report.kv_permille.is_some_and(|kv| kv >= self.kv_permille)
        })
    }
}

impl EndpointSource {
    /// Reads `http://host:port` or `host:port`. A name stands for all its addresses.
    ///
    /// # Errors
    /// It is neither.
    pub fn read(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("{text} isn't an endpoint: write http://HOST:PORT, where HOST is an address or a name.")
        };
        let rest = text.strip_prefix("http://").unwrap_or(text);
        let authority: http::uri::Authority =
            rest.strip_suffix('/').unwrap_or(rest).parse().map_err(|_| wrong())?;
        let port = authority.port_u16().filter(|port| *port > 0).ok_or_else(wrong)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || rest.contains('@') {
            return Err(wrong());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<(&str, u16)>) {
        let read = EndpointSource::read(text).ok();
        assert_eq!(read.as_ref().map(|one| (one.host.as_str(), one.port)), expected, "{text}");
    }

    #[test]
    fn endpoints_are_read() {
        check("http://10.0.0.7:8000", Some(("10.0.0.7", 8000)));
        check("http://10.0.0.7:8000/", Some(("10.0.0.7", 8000)));
        check(
            "qwen-servers.models.svc.cluster.local:8000",
            Some(("qwen-servers.models.svc.cluster.local", 8000)),
        );
        check("http://[fd00::7]:8000", Some(("fd00::7", 8000)));
        for wrong in [
            "",
            "http://",
            "10.0.0.7",
            "https://10.0.0.7:8000",
            "http://a:0",
            "http://u@a:1",
            "a:1/v1",
            ":80",
        ] {
            check(wrong, None);
        }
    }
}
