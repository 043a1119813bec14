//! The body of `POST /v2/responses`: that of `/v1/responses`, with the quality of service in it, which goes on as hints.

use std::str::FromStr;

use decode::{Inbound, StatedInHints};
use domain::{Fault, Qos, ReadQos, Why};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::Value;

use crate::answer::word;
use crate::session_turn::{Named, SessionTurn};
use runbody::{members, push_member, refusal};

const DROPPED: HeaderName = HeaderName::from_static("agent-dropped-params");

/// The header that the quality of service goes on in, as dropped parameters name it.
const AS_HINTS: &str = "Agent-Hints.qos.";
/// What a request asks beside its answer.
#[derive(Debug, Default)]
pub(super) struct Requested {
    pub qos: Qos,
    /// The client does not wait for the answer.
    pub is_background: bool,
    /// The session that it continues.
    pub named: Option<Named>,
    /// What is appended to it.
    pub turn: Option<SessionTurn>,
    /// The body states it, and not the header.
    is_in_body: bool,
    /// The request's `Agent-Hints` can't be read.
    is_header_unread: bool,
}

/// Reads the request, and leaves in it what the pipeline reads: the body of `/v1/responses`, with the quality of service
/// in its hints.
pub(super) fn read(inbound: &mut Inbound) -> Result<Requested, Box<Fault>> {
    decode::check_content_type(&inbound.headers)?;
    let mut body = Vec::with_capacity(inbound.body.len() + 16);
    let (mut session, mut branch) = (None, None);
    let (mut qos, mut stores, mut streams, mut is_background) = (None, false, false, false);
    for (name, span) in members(&inbound.body, "")? {
        let value = span.of(&inbound.body);
        match name.as_str() {
            "qos" => qos = Some(value),
            "background" => is_background = read_truth(&name, value)?,
            "session_id" => session = read_id("session_id", value)?,
            "branch_id" => branch = read_id("branch_id", value)?,
            _ => {
                stores |= name == "store";
                streams |= name == "stream" && value == b"true";
                push_member(&mut body, &name, value);
            }
        }
    }
    if !stores {
        // What is kept of the answer is kept here.
        push_member(&mut body, "store", b"false");
    }
    body.push(b'}');
    if streams && is_background {
        let message = "A background answer is read by its id and can't be streamed.";
        return Err(refusal("invalid_value", message, "Leave one of them out.", "stream"));
    }
    let requested = match qos.map(read_qos).transpose()?.flatten() {
        Some((qos, stated)) => state(qos, &stated, &mut inbound.headers)?,
        None => Requested { qos: decode::stated_qos(&inbound.headers), ..Requested::default() },
    };
    inbound.body = body.into();
    let named = session.map(|session| Named { session, branch, param: "session_id" });
    if named.is_none() && branch.is_some() {
        let message = "\"branch_id\" needs the session that the branch belongs to.";
        return Err(refusal("invalid_value", message, "Send its \"session_id\" as well.", "branch_id"));
    }
    Ok(Requested { is_background, named, ..requested })
}

/// An id in a field; `None` where it is null.
fn read_id<T: FromStr>(name: &'static str, value: &[u8]) -> Result<Option<T>, Box<Fault>> {
    let wrong = || {
        let message = format!("\"{name}\" isn't an id of this kind.");
        refusal("invalid_value", message, "Send an id as /v2/sessions shows it, or leave it out.", name)
    };
    let text: Option<String> = serde_json::from_slice(value).map_err(|_| wrong())?;
    text.map(|text| text.parse().map_err(|_| wrong())).transpose()
}

fn read_truth(name: &str, value: &[u8]) -> Result<bool, Box<Fault>> {
    match value {
        b"true" => Ok(true),
        b"false" | b"null" => Ok(false),
        _ => {
            let message = format!("\"{name}\" must be true or false.");
            Err(refusal("invalid_type", message, "Send true or false.", name.to_owned()))
        }
    }
}

/// `None` where it is null. Each field is what it must be; one that is known and not honoured is named in the answer.
fn read_qos(value: &[u8]) -> Result<Option<(Qos, Value)>, Box<Fault>> {
    let wrong =
        |message: String, fix: String, param: String| Err(refusal("invalid_value", message, fix, param));
    let stated: Value = serde_json::from_slice(value).unwrap_or_default();
    if stated.is_null() {
        return Ok(None);
    }
    if stated.is_object() {
        // Of a name that is there twice, readers differ in which one counts.
        members(value, "qos.")?;
    }
    let Ok(read) = ReadQos::deserialize(&stated) else {
        return wrong(
            "\"qos\" must be an object.".to_owned(),
            "Send an object.".to_owned(),
            "qos".to_owned(),
        );
    };
    for one in read.passed_over {
        let param = format!("qos.{}", one.path);
        match one.why {
            Why::NotHonoured => {}
            Why::Unknown => {
                let message = format!("\"{param}\" isn't a field of qos.");
                return Err(refusal("unknown_field", message, "Correct its name, or leave it out.", param));
            }
            Why::Invalid(must_be) => {
                return wrong(format!("\"{param}\" is not {must_be}."), format!("Send {must_be}."), param);
            }
        }
    }
    Ok(Some((read.qos, stated)))
}

fn state(qos: Qos, stated: &Value, headers: &mut HeaderMap) -> Result<Requested, Box<Fault>> {
    let is_header_unread = match decode::state_qos(headers, stated) {
        StatedInHints::Alone => false,
        StatedInHints::InPlaceOfUnread => true,
        StatedInHints::Twice => {
            let message = "The quality of service is set in both the body and the request's hints.";
            return Err(refusal("invalid_value", message, "Send it once.", "qos"));
        }
    };
    Ok(Requested { qos, is_in_body: true, is_header_unread, ..Requested::default() })
}

impl Requested {
    /// Names what was dropped as the client wrote it.
    pub(super) fn name_dropped(&self, headers: &mut HeaderMap) {
        if !self.is_in_body {
            return;
        }
        let dropped = word(headers, &DROPPED).map(|names| names.replace(AS_HINTS, "qos."));
        let unread = self.is_header_unread.then(|| "Agent-Hints".to_owned());
        let names: Vec<String> = dropped.into_iter().chain(unread).collect();
        if let Ok(value) = HeaderValue::try_from(names.join(", "))
            && !names.is_empty()
        {
            headers.insert(DROPPED, value);
        }
    }
}
