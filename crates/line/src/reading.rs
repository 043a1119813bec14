//! From bytes to a call: screened by the caller's policies, decoded, and with the stored hints that it refers to.

use admit::Caller;
use conversation::request::StoredAct;
use decode::{Call, HINTS_REF, Inbound, decode};
use domain::limits::HINT_NAME_CHARS_MAX;
use domain::{ContentRetention, Fault, FaultClass};

use crate::screening;

/// Reads a request.
///
/// # Errors
/// What is wrong with it; not what a policy refuses, which its plan tells.
pub(crate) fn read(mut inbound: Inbound, caller: &Caller, now_us: u64) -> Result<Call, Box<Fault>> {
    let screening = screening::screen(&mut inbound, caller, now_us);
    let call = decode(inbound, now_us)?.with_screening(screening);
    if call.request().stored.as_deref().is_some_and(|stored| stored.act == StoredAct::Delete) {
        caller.check_deletion()?;
    }
    completed(call, caller)
}

/// The call with what the configuration says of it.
pub(crate) fn completed(call: Call, caller: &Caller) -> Result<Call, Box<Fault>> {
    with_stored_hints(with_kept_trace(call, caller)?, caller)
}

/// The call, unless it wishes more to be kept of it than its project keeps.
fn with_kept_trace(call: Call, caller: &Caller) -> Result<Call, Box<Fault>> {
    let kept = || caller.kept_content().unwrap_or(ContentRetention::NOTHING).mode;
    let Some(wish) = call.trace_wish().filter(|wish| *wish > kept()) else { return Ok(call) };
    let (header, fault) = decode::too_much_kept(wish);
    if call.is_lenient() { Ok(call.without_trace_wish(header)) } else { Err(fault) }
}

/// The call with the stored hints that it refers to, if it refers to any. They may say where it must not go, so that one
/// whose hints are not there is refused, unless its client lets them be dropped.
fn with_stored_hints(call: Call, caller: &Caller) -> Result<Call, Box<Fault>> {
    let Some(reference) = call.hints_reference() else { return Ok(call) };
    let stored = caller.workspace().stored_hints(reference);
    match stored {
        None if !call.is_lenient() => Err(unknown_hints(reference)),
        stored => Ok(call.with_stored_hints(stored)),
    }
}

fn unknown_hints(reference: &str) -> Box<Fault> {
    let printable: String =
        reference.chars().filter(|letter| !letter.is_control()).take(HINT_NAME_CHARS_MAX).collect();
    let message = format!("Agent-Hints-Ref names \"{printable}\", and this workspace has no such hints.");
    let fault = Fault::new(FaultClass::BadRequest, "unknown_hints", message).param(HINTS_REF);
    let fix = "Use an id that GET /v2/agent-hints lists, or send \"Agent-Lenient: true\" to be served without hints.";
    Box::new(fault.fix(fix))
}
