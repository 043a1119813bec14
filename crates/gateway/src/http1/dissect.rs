//! How this server would read some bytes, without a connection: for comparison tests and fuzzing.

use http::{HeaderMap, Request};

use super::{Refusal, head};

/// A request with its body.
pub type Whole = Request<Vec<u8>>;

/// The requests at the start of some bytes, and what came behind the last of them.
#[derive(Debug)]
pub struct Dissection {
    pub requests: Vec<Whole>,
    pub end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// More bytes are needed, or there are none.
    Open,
    Refused(Refusal),
    /// The framing of a body is malformed.
    Malformed,
    /// The last request says that none follows.
    Closed,
}

/// Reads bytes as if they came over one HTTP/1 connection.
pub fn dissect(bytes: &[u8]) -> Dissection {
    let mut dissection = Dissection { requests: Vec::new(), end: End::Open };
    let mut rest = bytes;
    loop {
        match next(&mut rest) {
            Ok(Some((request, true))) => dissection.requests.push(request),
            Ok(Some((request, false))) => {
                dissection.requests.push(request);
                dissection.end = End::Closed;
                return dissection;
            }
            Ok(None) => return dissection,
            Err(end) => {
                dissection.end = end;
                return dissection;
            }
        }
    }
}

/// The next complete request, and whether another may follow.
fn next(rest: &mut &[u8]) -> Result<Option<(Whole, bool)>, End> {
    if rest.is_empty() {
        return Ok(None);
    }
    let Some(head) = head::read(rest, &mut HeaderMap::new()).map_err(End::Refused)? else { return Ok(None) };
    let mut framing = head.framing;
    let mut behind = rest.get(head.length..).unwrap_or_default();
    let mut body = Vec::new();
    while !framing.is_over() {
        if behind.is_empty() {
            return Ok(None);
        }
        let found = framing.read(behind).map_err(|_| End::Malformed)?;
        body.extend_from_slice(behind.get(found.data).unwrap_or_default());
        behind = behind.get(found.used..).unwrap_or_default();
    }
    *rest = behind;
    let mut request = Request::new(body);
    *request.method_mut() = head.method;
    *request.uri_mut() = head.uri;
    *request.version_mut() = head.version;
    *request.headers_mut() = head.headers;
    Ok(Some((request, head.keeps)))
}
