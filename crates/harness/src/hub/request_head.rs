//! A request to the hub as received, and the faults that a correct client would not have.

use std::io::{self, BufRead, BufReader};
use std::net::TcpStream;

use percent_encoding::percent_decode_str;

/// A request's head; requests have no body.
pub(super) struct RequestHead {
    pub method: String,
    /// Each path segment decoded separately, so that an escaped slash stays part of its name.
    pub parts: Vec<String>,
    pub path: String,
    pub query: String,
    pub headers: Vec<(String, String)>,
}

impl RequestHead {
    pub(super) fn read(stream: &TcpStream) -> io::Result<Self> {
        let mut lines = BufReader::new(stream).lines();
        let first = lines.next().transpose()?.unwrap_or_default();
        let mut words = first.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut headers = Vec::new();
        for line in lines {
            let line = line?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let parts = path.split('/').skip(1);
        Ok(Self {
            method: method.to_owned(),
            parts: parts.map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned()).collect(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers,
        })
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn token(&self) -> Option<&str> {
        self.header("authorization").map(|value| value.strip_prefix("Bearer ").unwrap_or(value))
    }

    /// The start of the requested range.
    pub(super) fn from(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }

    /// The request's faults at this address.
    pub(super) fn faults(&self, at_storage: bool) -> Vec<String> {
        let agent = self.header("user-agent").unwrap_or_default();
        let is_agent = agent.strip_prefix("tidegate/").is_some_and(|version| version.split('.').count() == 3);
        let is_range = self.header("range").is_none() || self.from().is_some_and(|from| from > 0);
        let checks = [
            (is_agent, "no User-Agent of ours"),
            (self.header("accept-encoding") == Some("identity"), "it would be compressed"),
            (is_range, "a range that begins nowhere"),
            (matches!(self.method.as_str(), "GET" | "HEAD"), "a method that reads nothing"),
            (!at_storage || self.token().is_none(), "a token that the storage has no business with"),
            (!self.parts.iter().any(|part| part == ".." || part == "."), "a path that leads upwards"),
        ];
        let wrong = checks.iter().filter(|(is_right, _)| !is_right);
        wrong.map(|(_, what)| format!("{} {}: {what}", self.method, self.path)).collect()
    }
}
