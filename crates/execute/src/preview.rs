//! What is known of an attempt before anything is sent: its price, and what its provider can't be asked for.

use admit::{Call, Caller};
use bytes::Bytes;
use domain::Fault;
use operations::Subject;
use plan::Attempt;

use crate::quote::{Quote, quote};
use crate::{Deps, attempt, outgoing};

/// What would become of an attempt, as far as it is known before it is sent.
#[derive(Debug, Clone, Default)]
pub struct AttemptPreview {
    /// The most that it would cost; `None` if it is unpriced, or not known before the end.
    pub price: Option<Quote>,
    /// The client's parameters that would not be sent.
    pub dropped: Vec<String>,
    /// What the provider can't be asked for: the request would end with it.
    pub refusal: Option<Box<Fault>>,
}

/// Prices an attempt, and writes its request as it would be sent, to no one.
pub fn preview(
    call: &Call,
    caller: &Caller,
    resolved_model: &str,
    attempt: &Attempt,
    deps: &Deps,
) -> AttemptPreview {
    let price = quote(call, caller, resolved_model, attempt, deps);
    match would_drop(call, call.body(), caller, attempt) {
        Ok(dropped) => AttemptPreview { price, dropped, refusal: None },
        Err(fault) => AttemptPreview { price, dropped: Vec::new(), refusal: Some(fault) },
    }
}

/// What an attempt's request would lose.
///
/// # Errors
/// What the provider can't be asked for.
pub(crate) fn would_drop(
    call: &Call,
    body: &Bytes,
    caller: &Caller,
    attempt: &Attempt,
) -> Result<Vec<String>, Box<Fault>> {
    let is_spoken = attempt::check(call, attempt, body)?;
    let facts = call.spec().facts();
    // Of a form the fields are planned, and its files are not there to be written.
    let is_written =
        facts.subject == Subject::NewAnswer && !facts.is_session && call.request().form().is_none();
    let dropped =
        if is_written { outgoing::would_drop(call, body, caller, attempt, is_spoken)? } else { Vec::new() };
    Ok(dropped.into_iter().chain(call.unheeded().iter().cloned()).collect())
}
