//! Why a request head is refused, in words for its sender.

use domain::{Fault, FaultClass};

domain::words! {
    /// What is wrong with a head that is not accepted.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Refusal {
        BareLineFeed = "bare_line_feed",
        RequestLine = "invalid_request_line",
        AuthorityForm = "authority_form",
        HeaderLine = "invalid_header",
        Folded = "folded_header",
        LengthInvalid = "invalid_content_length",
        LengthTwice = "duplicate_content_length",
        LengthAndEncoding = "length_and_transfer_encoding",
        Encoding = "invalid_transfer_encoding",
        Host = "invalid_host",
        TooLarge = "headers_too_large",
        Slow = "headers_too_slow",
        Version = "unknown_http_version",
    }
}

impl Refusal {
    /// The error that the client gets.
    pub(crate) fn fault(self) -> Fault {
        let class = match self {
            Self::TooLarge => FaultClass::TooLarge,
            Self::Slow => FaultClass::ClientTimeout,
            _ => FaultClass::BadRequest,
        };
        Fault::new(class, self.as_str(), self.message()).fix(self.fix())
    }

    /// What is wrong, in one sentence.
    fn message(self) -> &'static str {
        match self {
            Self::BareLineFeed => "A line of the request's head ends with a bare line feed.",
            Self::RequestLine => "The request line is malformed.",
            Self::AuthorityForm => {
                "The request line names a host instead of a path: this isn't a forward proxy."
            }
            Self::HeaderLine => "A header line is malformed.",
            Self::Folded => "A header is folded over several lines.",
            Self::LengthInvalid => "Content-Length is not a number.",
            Self::LengthTwice => "Content-Length is given more than once.",
            Self::LengthAndEncoding => "Content-Length and Transfer-Encoding are both given.",
            Self::Encoding => "Transfer-Encoding is not exactly \"chunked\" on HTTP/1.1.",
            Self::Host => "The request does not name exactly one plain host.",
            Self::TooLarge => "The request's headers are larger than this server takes.",
            Self::Slow => "The request's headers came too slowly.",
            Self::Version => "The server doesn't support this HTTP version.",
        }
    }

    /// How to fix it.
    fn fix(self) -> &'static str {
        match self {
            Self::LengthAndEncoding | Self::LengthTwice | Self::LengthInvalid | Self::Encoding => {
                "Give the body's length once: by Content-Length, or by Transfer-Encoding: chunked."
            }
            Self::AuthorityForm => "Send the path alone, and the host in Host.",
            Self::Host => "Send one Host header that holds a name or address and a port.",
            Self::TooLarge => "Send fewer or shorter headers.",
            Self::Slow => "Send the whole head without pausing.",
            Self::Version => "Use HTTP/1.1, or HTTP/2.",
            _ => "Send a request as RFC 9112 writes it; every line ends with CRLF.",
        }
    }
}
