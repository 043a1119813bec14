//! One request of a run: its content, kept or made up, sent to the candidate, and its answer compared with the kept one.

use bytes::Bytes;
use domain::{Dialect, ObjectOwner, Operation, Principal, SideCall, SideCallPurpose, TraceId, WorkspaceId};
use line::{ItemAnswer, ItemCall};
use proof::Digest;
use reconcilers::Deps;
use replay::{Agreement, ReplayKind, synthetic_body};
use reports::contents::{Conversation, message_of, resent};
use serde_json::Value;
use sessions::open_content;
use transcripts::RequestContents;

use crate::comparing::{Answers, Comparing};
use crate::drawing::operation_of;
use crate::limits::{REPLAY_ITEM_TIME_MAX, REPLAY_TRIES_MAX};
use crate::rows::{OpenTrace, ReplayContent, ReplayRunRow, TraceResult, project_of};

/// What became of a try.
pub enum Sent {
    Ended(u64, TraceResult),
    /// It was not begun: the gateway is behind, or a limit has no room.
    Postponed {
        position: u64,
        wait_ms: u64,
    },
}

/// The content of a request, as it is sent.
struct Content {
    dialect: Dialect,
    body: Value,
    /// Of the kept request.
    messages: Vec<Value>,
    /// The text of the kept answer.
    answer: Option<String>,
    is_kept: bool,
}

/// Sends one request.
pub async fn send(deps: &Deps, run: &ReplayRunRow, open: &OpenTrace) -> Sent {
    let started_unix_ms = deps.world.clock.unix_ms();
    let exchange = exchange_id(run, open, started_unix_ms);
    let ended = |status, is_kept_content, agreement: Option<Agreement>, ended_unix_ms| {
        let result = TraceResult {
            exchange: exchange.to_string(),
            status,
            started_unix_ms,
            ended_unix_ms,
            is_kept_content,
            agreement,
        };
        Sent::Ended(open.position, result)
    };
    let failed = |status, is_kept| ended(status, is_kept, None, deps.world.clock.unix_ms());
    if open.tries >= REPLAY_TRIES_MAX {
        return failed(0, false);
    }
    let content = content_of(deps, run, open).await;
    let Some(call) = call(run, open, &content, exchange) else { return failed(0, content.is_kept) };
    let (grammar, owner, parent) = (content.dialect.grammar(), call.owner, call.side_call.parent);
    match tokio::time::timeout(REPLAY_ITEM_TIME_MAX, deps.outbound.run_item(call)).await {
        Ok(ItemAnswer::Postponed { wait_ms }) => Sent::Postponed { position: open.position, wait_ms },
        Ok(ItemAnswer::Failed { status, .. }) => failed(status, content.is_kept),
        Ok(ItemAnswer::Succeeded { body, status }) => {
            // The comparison is no part of what the candidate took.
            let ended_unix_ms = deps.world.clock.unix_ms();
            let reply = dialects::answer_as_chat(grammar, &body).as_deref().and_then(message_of);
            let reply = reply.as_ref().map(text_of);
            let compared = match content.answer.as_deref().zip(reply.as_deref()) {
                None => None,
                Some((kept, reply)) => {
                    let comparing = Comparing { deps, run, owner, parent, exchange };
                    Some(comparing.compare(&Answers { messages: &content.messages, kept, reply }).await)
                }
            };
            ended(status, content.is_kept, compared, ended_unix_ms)
        }
        Err(_) => failed(504, content.is_kept),
    }
}

/// The id of its exchange: another one for each try, so that a request that a kill interrupted is booked apart.
fn exchange_id(run: &ReplayRunRow, open: &OpenTrace, unix_ms: u64) -> TraceId {
    let parts =
        [run.id.to_string(), open.position.to_string(), open.tries.to_string(), run.spec.seed.to_string()];
    let hash = Digest::of(&[parts.join("/").as_bytes()]);
    TraceId::new(unix_ms, hash.0.first_chunk().copied().unwrap_or_default())
}

fn call(run: &ReplayRunRow, open: &OpenTrace, content: &Content, exchange: TraceId) -> Option<ItemCall> {
    let parent: TraceId = open.trace.request.parse().ok()?;
    let owner = ObjectOwner { workspace: run.workspace, project: project_of(&open.trace)? };
    let body = Bytes::from(serde_json::to_vec(&content.body).ok()?);
    Some(ItemCall {
        seat: run.spec.candidate.node.map(Principal::Node),
        dialect: content.dialect,
        operation: operation_of(run.spec.set.kind),
        ..item(owner, parent, exchange, body)
    })
}

/// A chat request of a project's that a replay makes, for the request that is replayed.
pub fn item(owner: ObjectOwner, parent: TraceId, exchange: TraceId, body: Bytes) -> ItemCall {
    ItemCall {
        owner,
        key: None,
        seat: None,
        dialect: Dialect::Chat,
        operation: Operation::Chat,
        trace: exchange,
        side_call: SideCall { purpose: SideCallPurpose::Replay, parent },
        // An answer of our own cache would say nothing of the model that is tried.
        headers: vec![("cache-control".to_owned(), "no-store".to_owned())],
        addressed: None,
        body,
    }
}

async fn content_of(deps: &Deps, run: &ReplayRunRow, open: &OpenTrace) -> Content {
    let model = &run.spec.candidate.model;
    if run.spec.content == ReplayContent::Kept
        && run.spec.set.kind == ReplayKind::Chat
        && let Some(kept) = kept_content(deps, run.workspace, open, model).await
    {
        return kept;
    }
    Content {
        dialect: Dialect::Chat,
        body: synthetic_body(run.spec.set.kind, run.spec.seed, &open.trace, model),
        messages: Vec::new(),
        answer: None,
        is_kept: false,
    }
}

/// The content of a request that its project kept whole; `None` where it did not, or keeps it no more.
async fn kept_content(deps: &Deps, workspace: WorkspaceId, open: &OpenTrace, model: &str) -> Option<Content> {
    let request: TraceId = open.trace.request.parse().ok()?;
    let contents = RequestContents::of(deps.store.database());
    let row = contents.get(workspace, request, deps.world.clock.unix_ms()).await.ok().flatten()?;
    let kept = open_content(&deps.vault, workspace, &row).ok()?;
    let conversation = Conversation::of(&kept, &open.trace.model)?;
    let (dialect, body) = resent(&kept, &conversation, model, open.trace.stream)?;
    let answer = conversation.answer.as_ref().map(text_of);
    let messages =
        conversation.request.get("messages").and_then(Value::as_array).cloned().unwrap_or_default();
    Some(Content { dialect, body, messages, answer, is_kept: true })
}

/// The text of a message.
pub fn text_of(message: &Value) -> String {
    message.get("content").and_then(Value::as_str).unwrap_or_default().to_owned()
}
