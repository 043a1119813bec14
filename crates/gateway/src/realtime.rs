//! The entry of a realtime session: the WebSocket handshake, and the handover of the connection after it.

use std::rc::Rc;

use admit::Caller;
use bytes::Bytes;
use conversation::request::Addressed;
use domain::{Dialect, Fault, FaultClass, Operation};
use framing::websocket;
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, Version};
use percent_encoding::percent_decode_str;

use crate::handle::{Arrival, CoreHandler, inbound, refuse};
use crate::linger;
use crate::protocols::protocols;
use crate::reply::{HandedOver, Reply};

/// The dialect's WebSocket subprotocol.
const PROTOCOL: &str = "realtime";
const VERSION: &str = "13";
const HOW: &str = "Open a WebSocket at /v1/realtime?model=… over HTTP/1.1, as the SDKs' realtime clients do.";

/// What a handshake requests.
struct Handshake {
    accept: String,
    protocol: Option<&'static str>,
    model: String,
}

/// Answers a request for a session: with a refusal, or with the head behind which it begins.
pub(crate) async fn open(
    handler: Rc<CoreHandler>,
    mut head: Parts,
    dialect: Dialect,
    caller: Caller,
    arrival: Arrival,
) -> Response<Reply> {
    let handshake = match read(&head) {
        Ok(handshake) => handshake,
        Err(fault) => return refuse(&handler, dialect, &fault, arrival.trace),
    };
    for name in [
        UPGRADE,
        CONNECTION,
        SEC_WEBSOCKET_KEY,
        SEC_WEBSOCKET_VERSION,
        SEC_WEBSOCKET_EXTENSIONS,
        SEC_WEBSOCKET_PROTOCOL,
    ] {
        head.headers.remove(name);
    }
    let addressed = Box::new(Addressed { model: handshake.model, ..Addressed::default() });
    let operation = Operation::Realtime;
    let inbound = inbound(head.headers, Some(addressed), Bytes::new(), dialect, operation, arrival);
    let (headers, session) = match line::open_session(&handler.core, inbound, caller, arrival.peer).await {
        Ok(opened) => opened,
        Err(answer) => return answer.map(Reply::from),
    };
    let mut answer = Response::new(Reply::handover(move |handed: HandedOver| async move {
        let HandedOver { socket, early, closing } = handed;
        if let Some(mut socket) = session.run(socket, &early, move || closing.get()).await {
            linger::linger(&mut socket).await;
        }
    }));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *answer.headers_mut() = headers;
    answer.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
    let optional = [
        (SEC_WEBSOCKET_ACCEPT, HeaderValue::try_from(handshake.accept).ok()),
        (SEC_WEBSOCKET_PROTOCOL, handshake.protocol.map(HeaderValue::from_static)),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            answer.headers_mut().insert(name, value);
        }
    }
    answer
}

fn read(head: &Parts) -> Result<Handshake, Box<Fault>> {
    if head.version != Version::HTTP_11 || head.method != Method::GET {
        return Err(no_handshake("A WebSocket can't be opened here with this HTTP version or method."));
    }
    if !has_token(&head.headers, &UPGRADE, "websocket") || !has_token(&head.headers, &CONNECTION, "upgrade") {
        return Err(no_handshake("This path takes WebSockets, but the request doesn't ask for one."));
    }
    if text(&head.headers, &SEC_WEBSOCKET_VERSION) != Some(VERSION) {
        return Err(no_handshake("The WebSocket's version is not 13."));
    }
    let key = text(&head.headers, &SEC_WEBSOCKET_KEY).filter(|key| websocket::is_key(key));
    let key = key.ok_or_else(|| no_handshake("The WebSocket's key is missing, or isn't 16 bytes long."))?;
    let protocol = protocols(&head.headers).any(|name| name == PROTOCOL).then_some(PROTOCOL);
    Ok(Handshake { accept: websocket::accept(key), protocol, model: model(&head.uri)? })
}

/// The value of a header that occurs exactly once.
fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value.trim())
}

fn has_token(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|token| token.trim().eq_ignore_ascii_case(word))
}

/// The model that the address of a session names.
pub(crate) fn model(uri: &Uri) -> Result<String, Box<Fault>> {
    let query = uri.query().unwrap_or_default();
    let named = query.split('&').find_map(|pair| pair.strip_prefix("model="));
    let named = named.and_then(|name| percent_decode_str(name).decode_utf8().ok());
    match named.filter(|name| !name.is_empty()) {
        Some(name) => Ok(name.into_owned()),
        None => {
            let fault = Fault::new(FaultClass::BadRequest, "missing_model", "The address names no model.");
            Err(Box::new(fault.param("model").fix(HOW)))
        }
    }
}

fn no_handshake(message: &'static str) -> Box<Fault> {
    Box::new(Fault::new(FaultClass::BadRequest, "websocket_required", message).fix(HOW))
}
