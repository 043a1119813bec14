//! The journal: every request sent to the emulator, and its outcome.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

/// The outcome of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    InProgress,
    /// The complete response was passed to the connection.
    Answered,
    /// Rejected by a check, a key's state, or a canned status.
    Rejected,
    /// The client disconnected first.
    Cancelled,
    /// The script broke the response off.
    Cut,
}

/// One request and its response so far.
#[derive(Debug, Clone)]
pub struct Entry {
    pub id: u64,
    /// The `x-request-id` header of the response.
    pub request_id: String,
    pub method: String,
    /// Path and query as sent.
    pub path: String,
    pub headers: Vec<(String, String)>,
    /// The bearer key that was sent, accepted or not.
    pub key: Option<String>,
    pub body: Bytes,
    pub connection: u64,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub version: String,
    pub tls: bool,
    pub status: Option<u16>,
    pub error_code: Option<String>,
    pub model: Option<String>,
    pub stream: bool,
    pub prompt_tokens: u64,
    pub cached_tokens: u64,
    /// Completion tokens generated so far: what the real provider would bill.
    pub said_tokens: u64,
    /// Body bytes passed to the connection so far.
    pub bytes_written: u64,
    pub outcome: Outcome,
    /// Whether the last byte of the scripted response was passed to the connection.
    pub finished: bool,
    pub received: Instant,
    pub head: Option<Instant>,
    pub first_content: Option<Instant>,
    pub last_write: Option<Instant>,
    pub ended: Option<Instant>,
    /// When the client's disconnect was noticed.
    pub cancelled: Option<Instant>,
    /// Whether the real provider would bill the call: chat or embeddings, with every check passed.
    pub billable: bool,
}

/// Totals over calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Requests of any kind.
    pub requests: u64,
    /// Chat and embeddings requests with an accepted key.
    pub calls: u64,
    /// Calls with a complete response.
    pub answered: u64,
    pub rejected: u64,
    pub cancelled: u64,
    pub cut: u64,
    pub prompt_tokens: u64,
    pub cached_tokens: u64,
    pub completion_tokens: u64,
}

/// Totals over all requests and per key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    pub all: Tally,
    pub by_key: BTreeMap<String, Tally>,
    /// The gateway's probes of the server's capabilities; no total counts them.
    pub probes: u64,
}

/// Something a gateway must never send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    pub request_id: String,
    pub path: String,
    /// The violation, without the offending value.
    pub what: String,
}

/// One TCP connection.
#[derive(Debug, Clone, Serialize)]
pub struct ConnectionEntry {
    pub id: u64,
    pub tls: bool,
    pub version: Option<String>,
    pub requests: u64,
    pub open: bool,
}

/// Converts instants to timestamps that other processes can compare.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Epoch {
    instant: Instant,
    system: SystemTime,
}

impl Entry {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Whether the gateway sent the request to probe what this server accepts.
    pub fn is_probe(&self) -> bool {
        self.header("user-agent").is_some_and(|agent| agent.starts_with("tidegate-probe/"))
    }

    /// The body as JSON; null if it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub(crate) fn to_json(&self, epoch: Epoch) -> Value {
        json!({
            "id": self.id, "request_id": self.request_id, "method": self.method, "path": self.path,
            "headers": self.headers, "key": self.key, "body": String::from_utf8_lossy(&self.body),
            "body_bytes": self.body.len(), "connection": self.connection, "version": self.version,
            "tls": self.tls, "status": self.status, "error_code": self.error_code, "model": self.model,
            "stream": self.stream, "prompt_tokens": self.prompt_tokens, "cached_tokens": self.cached_tokens,
            "said_tokens": self.said_tokens, "bytes_written": self.bytes_written, "outcome": self.outcome,
            "finished": self.finished, "received_unix_us": epoch.unix_us(self.received),
            "head_unix_us": self.head.map(|at| epoch.unix_us(at)),
            "first_content_unix_us": self.first_content.map(|at| epoch.unix_us(at)),
            "last_write_unix_us": self.last_write.map(|at| epoch.unix_us(at)),
            "ended_unix_us": self.ended.map(|at| epoch.unix_us(at)),
            "cancelled_unix_us": self.cancelled.map(|at| epoch.unix_us(at)),
        })
    }
}

impl Totals {
    pub(crate) fn request(&mut self) {
        self.all.requests += 1;
    }

    /// Adds a completed entry, also under its key if that key is accepted.
    pub(crate) fn add(&mut self, entry: &Entry, known_key: bool) {
        if entry.is_probe() {
            self.probes += 1;
            return;
        }
        let key = entry.key.as_ref().filter(|_| known_key);
        self.all.add(entry, key.is_some());
        if let Some(key) = key {
            let tally = self.by_key.entry(key.clone()).or_default();
            tally.requests += 1;
            tally.add(entry, true);
        }
    }
}

impl Tally {
    fn add(&mut self, entry: &Entry, known_key: bool) {
        let call = entry.method == "POST" && known_key;
        self.calls += u64::from(call);
        let counter = match entry.outcome {
            Outcome::Answered => &mut self.answered,
            Outcome::Rejected => &mut self.rejected,
            Outcome::Cancelled => &mut self.cancelled,
            Outcome::Cut | Outcome::InProgress => &mut self.cut,
        };
        *counter += u64::from(call);
        if entry.billable {
            self.prompt_tokens += entry.prompt_tokens;
            self.cached_tokens += entry.cached_tokens;
            self.completion_tokens += entry.said_tokens;
        }
    }
}

impl Epoch {
    pub(crate) fn now() -> Self {
        Self { instant: Instant::now(), system: SystemTime::now() }
    }

    pub(crate) fn unix_us(self, at: Instant) -> u64 {
        let time = self.system + at.saturating_duration_since(self.instant);
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }
}
