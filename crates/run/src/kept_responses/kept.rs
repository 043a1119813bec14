//! Answers are kept for a month, with the input that was new in their request: in parts, since what is kept at once is
//! bounded, and each with the requests of all answers that it continues, so that one lookup finds them all.

use std::time::Duration;

use admit::Caller;
use bytes::Bytes;
use domain::kept_names::{HEAD_END, parted};
use domain::limits::{BODY_BYTES_MAX, KEPT_RESPONSE_PARTS_MAX, KEPT_TURN_BYTES_MAX, RESPONSE_KNOWN};
use domain::{Fault, FaultClass, KeptName, TraceId};
use json::members::Members;
use line::Core;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::ids::{id_of, request_of};
use crate::items;
use crate::kept_content::{find_all_kept, find_kept_bytes, keep_as};
use crate::limits::{KEPT_RESPONSES_CONTINUED_MAX, KEPT_RESPONSES_READ_BYTES};

/// Bytes of the content in the first part, beside the head.
const FIRST_PART_BYTES: usize = KEPT_TURN_BYTES_MAX - 64 * 1024;

pub(super) const KEPT_FOR: Duration = RESPONSE_KNOWN;

/// A kept answer without its content.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Head {
    bytes: usize,
    /// The answers that it continues, the oldest first.
    ancestors: Vec<Continued>,
}

/// An answer that a later one continues.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Continued {
    request: TraceId,
    bytes: usize,
}

/// A kept answer that was found.
#[derive(Debug, Clone)]
pub(super) struct KeptResponse {
    request: TraceId,
    head: Head,
}

/// What is kept of an answer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Content<'a> {
    /// The new items of its request.
    #[serde(borrow)]
    pub input: Vec<&'a RawValue>,
    #[serde(borrow)]
    pub response: &'a RawValue,
}

impl KeptResponse {
    /// What an answer continues that continues this one.
    pub(super) fn with_itself(self) -> Vec<Continued> {
        let mut all = self.head.ancestors;
        all.push(Continued { request: self.request, bytes: self.head.bytes });
        all
    }
}

impl Continued {
    /// The names of its parts, of which the first has the head.
    fn names(&self) -> impl Iterator<Item = String> {
        let request = self.request;
        let further = self.bytes.saturating_sub(FIRST_PART_BYTES).div_ceil(KEPT_TURN_BYTES_MAX);
        std::iter::once(name_of(request)).chain((1..=further).map(move |part| name_of_part(request, part)))
    }
}

fn name_of(request: TraceId) -> String {
    KeptName::Response.of(request)
}

fn name_of_part(request: TraceId, part: usize) -> String {
    KeptName::ResponsePart(part).of(request)
}

/// Keeps an answer; `false` where it is too long, or continues too many.
pub(super) async fn keep(
    core: &Core,
    caller: &Caller,
    request: TraceId,
    ancestors: &[Continued],
    (input, response): (&[String], &str),
) -> bool {
    let content = format!(r#"{{"input":[{}],"response":{response}}}"#, input.join(","));
    let (first, rest) = content.as_bytes().split_at(content.len().min(FIRST_PART_BYTES));
    let further = rest.chunks(KEPT_TURN_BYTES_MAX);
    if further.len() >= KEPT_RESPONSE_PARTS_MAX || ancestors.len() >= KEPT_RESPONSES_CONTINUED_MAX {
        return false;
    }
    for (number, part) in further.enumerate() {
        let name = name_of_part(request, number + 1);
        if keep_as(core, caller, request, (name, KEPT_FOR), Some(part.to_vec())).await.is_err() {
            return false;
        }
    }
    let head = Head { bytes: content.len(), ancestors: ancestors.to_vec() };
    let Ok(mut headed) = serde_json::to_vec(&head) else { return false };
    headed.push(HEAD_END);
    headed.extend_from_slice(first);
    keep_as(core, caller, request, (name_of(request), KEPT_FOR), Some(headed)).await.is_ok()
}

/// The kept answer of this id, if the gateway keeps it for the caller's project.
pub(super) async fn find(core: &Core, caller: &Caller, id: &str) -> Option<KeptResponse> {
    find_made(core, caller, request_of(id)?).await
}

/// The same by the request that made it.
pub(super) async fn find_made(core: &Core, caller: &Caller, request: TraceId) -> Option<KeptResponse> {
    let found = find_kept_bytes(core, caller, name_of(request)).await?;
    let (head, _) = parted(&found)?;
    Some(KeptResponse { request, head: serde_json::from_slice(head).ok()? })
}

/// The content of a kept answer.
pub(super) async fn content(core: &Core, caller: &Caller, kept: &KeptResponse) -> Option<Bytes> {
    let own = Continued { request: kept.request, bytes: kept.head.bytes };
    read(core, caller, &[own]).await.pop().flatten()
}

/// The items of all that a request continues, the oldest first.
///
/// # Errors
/// Some of it is gone, or it is too long to be sent.
pub(super) async fn history(
    core: &Core,
    caller: &Caller,
    previous: &KeptResponse,
) -> Result<Vec<String>, Box<Fault>> {
    let all = previous.clone().with_itself();
    if all.iter().map(|one| one.bytes).sum::<usize>() > BODY_BYTES_MAX {
        return Err(decode::too_large(BODY_BYTES_MAX));
    }
    let contents = read(core, caller, &all).await;
    let mut history = Vec::new();
    for (one, content) in all.iter().zip(contents) {
        let content = content.ok_or_else(|| gone(previous.request, one.request))?;
        let read: Content<'_> =
            serde_json::from_slice(&content).map_err(|_| gone(previous.request, one.request))?;
        history.extend(read.input.iter().map(|item| item.get().to_owned()));
        let output = Members::of_answer(read.response.get().as_bytes());
        let output = output.map(|response| response.find_elements("output")).unwrap_or_default();
        history.extend(output.into_iter().filter_map(items::repeated));
    }
    Ok(history)
}

/// The contents, each `None` where it is gone.
async fn read(core: &Core, caller: &Caller, all: &[Continued]) -> Vec<Option<Bytes>> {
    let mut contents = Vec::with_capacity(all.len());
    let mut rest = all;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fit = rest.iter().take_while(|one| {
            bytes += one.bytes;
            bytes <= KEPT_RESPONSES_READ_BYTES
        });
        let (some, later) = rest.split_at(fit.count().max(1));
        rest = later;
        let names: Vec<String> = some.iter().flat_map(Continued::names).collect();
        let mut found = find_all_kept(core, caller, names).await.into_iter();
        for one in some {
            let parts: Option<Vec<Bytes>> = one.names().map(|_| found.next().flatten()).collect();
            let whole = parts.and_then(joined);
            contents.push(whole.filter(|whole| whole.len() == one.bytes));
        }
    }
    contents
}

/// The content without its head.
fn joined(parts: Vec<Bytes>) -> Option<Bytes> {
    let first = parts.first()?;
    let start = first.len() - parted(first)?.1.len();
    match <[Bytes; 1]>::try_from(parts) {
        Ok([part]) => Some(part.slice(start..)),
        Err(parts) => Some(Bytes::from(parts.concat()).slice(start..)),
    }
}

fn gone(previous: TraceId, ancestor: TraceId) -> Box<Fault> {
    let (previous, ancestor) = (id_of(previous), id_of(ancestor));
    let message = if previous == ancestor {
        format!("The content of the response {previous} is no longer stored.")
    } else {
        format!(
            "The response {previous} continues {ancestor}, which is no longer stored: it was deleted, purged or is older \
             than a month."
        )
    };
    let fault = Fault::new(FaultClass::BadRequest, "previous_response_not_found", message);
    Box::new(fault.param("previous_response_id").fix("Send the whole conversation in \"input\"."))
}
