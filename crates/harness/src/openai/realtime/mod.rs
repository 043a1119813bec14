//! `GET /v1/realtime`: a session over a WebSocket, with the provider's strictness about its handshake and
//! each event.
//!
//! A response's behaviour is scripted in the text of the last item: `[hang]` stops after two pieces,
//! `[leave]` cuts the connection there, `[fail]` fails, `[long]` makes it longer. Silent audio ends the
//! user's turn, which is then answered.

mod events;
mod session;

use framing::websocket;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::error::ApiError;
use super::flavour::Flavour;
use super::routes::OpenAiCall;
use crate::azure;
use crate::emulator::answering;
use crate::emulator::service::{self, Answer};

/// Accepts a session's handshake, or rejects it.
pub(crate) async fn open(call: &OpenAiCall<'_>) -> Result<Answer, ApiError> {
    let named = model(call)?;
    let model = match call.flavour {
        Flavour::Azure => named.strip_prefix(azure::DEPLOYED).ok_or_else(azure::no_such_deployment)?,
        _ => &*named,
    };
    call.served().find(model).map_err(|error| error.param("model"))?;
    if !model.contains("realtime") && call.flavour != Flavour::Xai {
        let message = format!("Model \"{model}\" is not supported in realtime mode.");
        return Err(ApiError::bad(message).at("model", "invalid_model"));
    }
    let key = handshake(call)?;
    call.guard.note(|entry| {
        entry.model = Some(model.to_owned());
        entry.stream = true;
        entry.billable = true;
    });
    let behaviour = service::behaviour(call.shared, call.key, None)?;
    service::before_head(call.control, call.guard, &behaviour).await;
    if let Some(answer) = answering::special_as(call.flavour, call.guard, &behaviour)? {
        return Ok(answer);
    }
    let upgrade = call.head.extensions.get::<OnUpgrade>().cloned();
    let upgrade = upgrade.ok_or_else(|| ApiError::bad("The connection can't be upgraded."))?;
    let (record, model) = (call.guard.record(), model.to_owned());
    tokio::spawn(async move {
        if let Ok(upgraded) = upgrade.await {
            session::Session::new(record, &model).serve(TokioIo::new(upgraded)).await;
        }
    });
    let headers = [
        ("upgrade".to_owned(), "websocket".to_owned()),
        ("connection".to_owned(), "Upgrade".to_owned()),
        ("sec-websocket-accept".to_owned(), websocket::accept(&key)),
    ];
    Ok(Answer { status: 101, headers: headers.to_vec(), steps: Vec::new() })
}

/// The model in the URL; Azure's older paths call it a deployment.
fn model(call: &OpenAiCall<'_>) -> Result<String, ApiError> {
    let mut named =
        service::query_pairs(&call.head.uri).filter(|(name, _)| matches!(*name, "model" | "deployment"));
    let (_, value) = named.next().ok_or_else(|| ApiError::missing("model"))?;
    let decoded = percent_encoding::percent_decode_str(value).decode_utf8();
    decoded.map(|name| name.into_owned()).map_err(|_| ApiError::bad("The model is no text.").param("model"))
}

/// Checks the WebSocket handshake completely; returns its key.
fn handshake(call: &OpenAiCall<'_>) -> Result<String, ApiError> {
    let header = |name: &str| call.head.headers.get(name).and_then(|value| value.to_str().ok());
    let header_is =
        |name: &str, word: &str| header(name).is_some_and(|value| value.eq_ignore_ascii_case(word));
    let wrong = |what: &str| ApiError::bad(format!("Bad WebSocket handshake: {what}.")).code("bad_handshake");
    if call.head.version != http::Version::HTTP_11 {
        return Err(wrong("not HTTP/1.1"));
    }
    if !header_is("upgrade", "websocket") || !header_is("connection", "upgrade") {
        return Err(wrong("no upgrade"));
    }
    if !header_is("sec-websocket-version", "13") {
        return Err(wrong("another version"));
    }
    let key = header("sec-websocket-key").filter(|key| websocket::is_key(key));
    key.map(str::to_owned).ok_or_else(|| wrong("no key"))
}
