//! Answers of `/v2/responses` are stored for a day in the project that requested them, in parts.

use admit::Caller;
use domain::limits::TURN_KEPT;
use domain::{KeptName, ResponseId, TraceId};
use line::Core;
use serde_json::Value;

use crate::kept_content::{find_kept, keep_as};

/// What is stored of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// It is being generated in the background.
    Started,
    /// It is to be cancelled.
    Cancelled,
    /// The answer, or what became of it.
    Answer,
}

fn name_of(id: ResponseId, part: Part) -> String {
    let name = match part {
        Part::Started => KeptName::OwnMark(KeptName::STARTED),
        Part::Cancelled => KeptName::OwnMark(KeptName::CANCELLED),
        Part::Answer => KeptName::OwnResponse,
    };
    name.of(TraceId::from_uuid(*id.as_uuid()))
}

/// Stores a part of an answer; `false` where the project's policy forbids it, or it is too long.
pub(super) async fn keep_named(
    core: &Core,
    caller: &Caller,
    id: ResponseId,
    part: Part,
    content: &Value,
) -> bool {
    let content = serde_json::to_vec(content).ok();
    let request = TraceId::from_uuid(*id.as_uuid());
    keep_as(core, caller, request, (name_of(id, part), TURN_KEPT), content).await.is_ok()
}

/// A part of an answer of the caller's project.
pub(super) async fn find_named(core: &Core, caller: &Caller, id: ResponseId, part: Part) -> Option<Value> {
    find_kept(core, caller, name_of(id, part)).await
}
