//! Why a request got no response, or half of one: the kind decides about a retry, the text is for people.

use h2::Reason;

use crate::http1::ExchangeError;

/// The step at which it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EgressErrorKind {
    /// The address guard refused the target; no byte was sent anywhere.
    Guard,
    /// The name has no address, or the resolver failed.
    Dns,
    /// No connection could be opened.
    Connect,
    /// The connection was opened, but the TLS handshake failed.
    Tls,
    /// The peer cut the connection or the stream.
    Reset,
    /// The peer violated HTTP, or sent more than we read.
    Protocol,
    /// It took too long.
    Timeout,
    /// The connection was closed before a response came.
    Closed,
    /// The request body broke off.
    Body,
}

/// One failed request. Cloned to every request that waited for the same connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EgressError {
    pub kind: EgressErrorKind,
    /// One sentence; it names host and setting, never a header or a body.
    pub message: String,
    /// `true` once a byte of the request may have reached the peer: a retry may then do the work twice.
    pub request_sent: bool,
}

impl EgressError {
    pub fn new(kind: EgressErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), request_sent: false }
    }

    pub fn sent(mut self) -> Self {
        self.request_sent = true;
        self
    }
}

/// Names what ended an HTTP/1.1 exchange.
pub(crate) fn from_broke(broke: ExchangeError, host: &str) -> EgressError {
    let (kind, text) = match broke {
        ExchangeError::Closed => {
            (EgressErrorKind::Closed, format!("{host} closed the connection before its answer was complete."))
        }
        ExchangeError::Wire(error) => {
            (EgressErrorKind::Reset, format!("{host} broke the connection off: {error}."))
        }
        ExchangeError::Body => {
            (EgressErrorKind::Body, format!("The body broke off that {host} was being sent."))
        }
        ExchangeError::Protocol(why) => {
            (EgressErrorKind::Protocol, format!("{host} answered with what is not HTTP: {why}."))
        }
    };
    EgressError::new(kind, text)
}

/// Whether the node said that it did nothing for the request.
pub(crate) fn is_untouched(error: &h2::Error) -> bool {
    let reason = error.reason();
    error.is_remote()
        && (error.is_reset() && reason == Some(Reason::REFUSED_STREAM)
            || error.is_go_away() && reason == Some(Reason::NO_ERROR))
}

/// Classifies an error of a tunnel.
pub(crate) fn from_h2(error: &h2::Error, host: &str) -> EgressError {
    let (kind, what) = if error.is_go_away() && error.is_remote() {
        (EgressErrorKind::Closed, "closed the connection")
    } else {
        (EgressErrorKind::Reset, "broke the connection off")
    };
    EgressError::new(kind, format!("{host} {what}: {error}."))
}

/// Classifies an error of hyper; `sent` is whether the request had been passed to the connection.
pub(crate) fn from_hyper(error: &hyper::Error, sent: bool, host: &str) -> EgressError {
    let (kind, what) = if error.is_incomplete_message() {
        (EgressErrorKind::Closed, "closed the connection before its answer was complete")
    } else if error.is_canceled() || error.is_closed() {
        (EgressErrorKind::Closed, "closed the connection")
    } else if error.is_timeout() {
        (EgressErrorKind::Timeout, "did not answer in time")
    } else if error.is_parse() {
        (EgressErrorKind::Protocol, "answered with what is not HTTP")
    } else {
        (EgressErrorKind::Reset, "broke the connection off")
    };
    let mut text = format!("{host} {what}");
    let mut refused = false;
    if let Some(cause) = std::error::Error::source(error) {
        let cause = cause.to_string();
        // For HTTP/2 this means that the stream was not processed; hyper does not expose
        // the type, so the text is checked.
        refused = cause.contains("refused stream");
        text.push_str(": ");
        text.push_str(&cause);
    }
    text.push('.');
    EgressError { kind, message: text, request_sent: sent && !refused }
}
