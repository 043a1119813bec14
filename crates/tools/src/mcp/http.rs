//! Streamable HTTP: under the address guard, without redirects, bounded in size and time. The transport is ours, since every
//! outgoing byte goes through `egress`.

use std::cell::RefCell;
use std::time::Duration;

use bytes::Bytes;
use domain::{CallOutcome, WorkspaceId};
use egress::{Answer, Client, Destination, OutBody, Request, TargetKind};
use framing::sse::{WholeEvents, read_event};
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, StatusCode, Uri};
use http_body_util::BodyExt as _;
use tokio::time::{sleep, timeout};

use super::ServerAddress;
use super::message::{Incoming, broken, message_with, reply_to};
use crate::answer::{CallFailure, quoted};
use crate::authorization::wanted_scopes;
use crate::limits::{
    ANSWER_BYTES_MAX, RESUMPTIONS_MAX, RETRY_TIME_MAX, SERVER_REQUESTS_MAX, SESSION_CLOSING_TIME_MAX,
};

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const PROTOCOL: HeaderName = HeaderName::from_static("mcp-protocol-version");
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");

/// A session over HTTP.
pub(super) struct HttpTransport {
    client: Client,
    url: Uri,
    owner: WorkspaceId,
    headers: Vec<(HeaderName, HeaderValue)>,
    session: RefCell<Option<HeaderValue>>,
    protocol: RefCell<Option<HeaderValue>>,
}

impl HttpTransport {
    pub(super) fn new(client: &Client, address: &ServerAddress) -> Result<Self, CallFailure> {
        let url = Uri::try_from(&address.url).map_err(|_| broken("an address that isn't a URL"))?;
        let mut headers = Vec::with_capacity(address.headers.len());
        for (name, value) in &address.headers {
            let name =
                HeaderName::try_from(name.as_str()).map_err(|_| broken("a header that can't be sent"))?;
            let value = HeaderValue::from_bytes(value.expose());
            let mut value = value.map_err(|_| broken("a header that can't be sent"))?;
            value.set_sensitive(true);
            headers.push((name, value));
        }
        Ok(Self {
            client: client.clone(),
            url,
            owner: address.owner,
            headers,
            session: RefCell::default(),
            protocol: RefCell::default(),
        })
    }

    /// Each further request names the revision of the protocol.
    pub(super) fn agree_on(&self, version: &str) {
        *self.protocol.borrow_mut() = HeaderValue::try_from(version).ok();
    }

    /// Tells the server that the session is over. Whether it understands is its own matter.
    pub(super) async fn close(&self) {
        if self.session.borrow().is_none() {
            return;
        }
        let request = self.request(Method::DELETE, None);
        let _ = timeout(SESSION_CLOSING_TIME_MAX, self.client.send(&request, self.destination())).await;
    }

    const fn destination(&self) -> Destination {
        Destination { kind: TargetKind::Provider, owner: Some(self.owner) }
    }

    fn request(&self, method: Method, body: Option<Bytes>) -> Request {
        let mut request = Request::new(method, self.url.clone());
        request.headers = vec![
            (ACCEPT, HeaderValue::from_static("application/json, text/event-stream")),
            (USER_AGENT, HeaderValue::from_static(concat!("Tidegate/", env!("CARGO_PKG_VERSION")))),
        ];
        if let Some(body) = body {
            request.headers.push((CONTENT_TYPE, HeaderValue::from_static("application/json")));
            request.body = OutBody::from(body);
        }
        request.headers.extend(self.session.borrow().clone().map(|value| (SESSION, value)));
        request.headers.extend(self.protocol.borrow().clone().map(|value| (PROTOCOL, value)));
        request.headers.extend(self.headers.iter().cloned());
        request
    }

    async fn send(&self, request: &Request) -> Result<Answer, CallFailure> {
        let answer = self.client.send(request, self.destination()).await;
        let answer = answer.map_err(|error| CallFailure::of(&error))?;
        if answer.status.is_redirection() {
            let text = "The MCP server redirects, and redirects aren't followed.";
            return Err(CallFailure::new(CallOutcome::Refused, text));
        }
        Ok(answer)
    }

    pub(super) async fn notify(&self, body: String) -> Result<(), CallFailure> {
        let answer = self.send(&self.request(Method::POST, Some(body.into()))).await?;
        if answer.status.is_success() { Ok(()) } else { Err(refused(&answer)) }
    }

    /// Sends a request and reads the answer to it.
    pub(super) async fn ask(&self, id: u64, method: &str, body: String) -> Result<Incoming, CallFailure> {
        let answer = self.send(&self.request(Method::POST, Some(body.into()))).await?;
        if !answer.status.is_success() {
            return Err(refused(&answer));
        }
        if method == "initialize" {
            let given = answer.headers.get(SESSION.as_str());
            *self.session.borrow_mut() = given.and_then(|value| HeaderValue::from_bytes(value).ok());
        }
        let kind = answer.headers.text(CONTENT_TYPE.as_str()).unwrap_or_default().to_ascii_lowercase();
        if kind.starts_with("text/event-stream") {
            self.message_in_stream(answer, id).await
        } else if kind.starts_with("application/json") {
            let bytes = answer.body.read_to_end(ANSWER_BYTES_MAX).await;
            let bytes = bytes.map_err(|_| broken("more than the gateway reads, or it broke off"))?;
            message_with(&bytes, id).ok_or_else(|| broken("something that isn't an answer to the request"))
        } else {
            Err(broken("neither JSON nor an event stream"))
        }
    }

    /// The answer to a request among the events of a stream. One that breaks off is resumed where its server lets that be.
    async fn message_in_stream(&self, mut answer: Answer, id: u64) -> Result<Incoming, CallFailure> {
        let (mut left, mut place) = (ANSWER_BYTES_MAX, StreamPlace::default());
        for _ in 0..=RESUMPTIONS_MAX {
            if let Some(message) = self.read_stream(&mut answer, id, &mut left, &mut place).await? {
                return Ok(message);
            }
            let last = place.last_event.as_ref().and_then(|last| HeaderValue::from_bytes(last).ok());
            let Some(last) = last else { break };
            // A server that says when to come again is busy until then.
            sleep(place.retry).await;
            let mut request = self.request(Method::GET, None);
            request.headers.push((LAST_EVENT, last));
            answer = self.send(&request).await?;
            if !answer.status.is_success() {
                break;
            }
        }
        Err(broken("a stream that ends without the result"))
    }

    /// Reads events until the answer to a request is among them; `None` at the end of the stream. What the server asks meanwhile is
    /// answered, since it may wait for that.
    async fn read_stream(
        &self,
        answer: &mut Answer,
        id: u64,
        left: &mut usize,
        place: &mut StreamPlace,
    ) -> Result<Option<Incoming>, CallFailure> {
        let mut events = WholeEvents::default();
        while let Some(frame) = answer.body.frame().await {
            // What broke off may be resumed.
            let Ok(frame) = frame else { return Ok(None) };
            let Ok(piece) = frame.into_data() else { continue };
            *left = left.checked_sub(piece.len()).ok_or_else(|| broken("more than the gateway reads"))?;
            let mut rest = piece.as_ref();
            while let Some(whole) = events.next_in(&mut rest) {
                place.note(&whole);
                let data = read_event(&whole).data.json(&whole);
                if let Some(message) = message_with(&data, id) {
                    return Ok(Some(message));
                }
                if let Some(reply) = reply_to(&data) {
                    let requests =
                        place.requests.checked_add(1).filter(|count| *count <= SERVER_REQUESTS_MAX);
                    place.requests =
                        requests.ok_or_else(|| broken("more requests than the gateway answers"))?;
                    // A server that does not take the reply says so in its result.
                    let _ = self.notify(reply).await;
                }
            }
        }
        Ok(None)
    }
}

fn refused(answer: &Answer) -> CallFailure {
    let status = answer.status;
    let challenge = answer.headers.text("www-authenticate").unwrap_or_default();
    let wanted = if status == StatusCode::FORBIDDEN { wanted_scopes(challenge) } else { Vec::new() };
    if !wanted.is_empty() {
        let scopes = quoted(&wanted.join(" "));
        let text = format!("The MCP server refuses the token (403): it lacks scopes ({scopes}).");
        return CallFailure::new(CallOutcome::Refused, text).wanting(wanted);
    }
    let text = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            format!("The MCP server refuses the credentials ({}).", status.as_u16())
        }
        _ => format!("The MCP server answers with status {}.", status.as_u16()),
    };
    match status {
        StatusCode::UNAUTHORIZED => CallFailure::unreachable(text).unauthorized(),
        StatusCode::FORBIDDEN => CallFailure::new(CallOutcome::Refused, text),
        _ => CallFailure::unreachable(text),
    }
}

/// Where a stream is, and how long its server wants to be left alone before it goes on.
#[derive(Default)]
struct StreamPlace {
    last_event: Option<Vec<u8>>,
    retry: Duration,
    /// How many requests the server sent.
    requests: u32,
}

impl StreamPlace {
    fn note(&mut self, event: &[u8]) {
        if let Some(id) = field_of(event, b"id:").filter(|id| !id.is_empty()) {
            self.last_event = Some(id);
        }
        let retry = field_of(event, b"retry:").and_then(|text| String::from_utf8(text).ok()?.parse().ok());
        if let Some(retry) = retry {
            self.retry = Duration::from_millis(retry).min(RETRY_TIME_MAX);
        }
    }
}

/// The value of a field of an event.
fn field_of(event: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let mut lines = event.split(|byte| matches!(byte, b'\n' | b'\r'));
    let line = lines.find_map(|line| line.strip_prefix(name))?;
    Some(line.strip_prefix(b" ").unwrap_or(line).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_an_event_are_read() {
        let event = b"event: message\nid: 4_1\nretry:500\ndata: {}\n\n";
        assert_eq!(field_of(event, b"id:"), Some(b"4_1".to_vec()));
        assert_eq!(field_of(event, b"retry:"), Some(b"500".to_vec()));
        assert_eq!(field_of(b"data: {}\n\n", b"id:"), None);
    }
}
