//! `POST /v2/requests/{id}/replay` and `/v2/sessions/{id}/replay`: kept requests are sent again to another model, and the answers
//! compared. Each is an exchange of its own, admitted, planned and booked like any other.

use std::sync::Arc;
use std::time::Duration;

use api::access::Access;
use api::auditing::record_act;
use api::failure::{invalid, missing};
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use bytes::Bytes;
use domain::{Fault, FaultClass, MeterRecord, ObjectOwner, Operation, SideCall, SideCallPurpose, TraceId};
use http::Method;
use line::{ItemAnswer, ItemCall};
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sessions::KeptContent;
use similar::{ChangeTag, TextDiff};
use store::{Page, RequestFilter, StoreError};

use crate::contents::{self, Conversation, message_of};
use crate::limits::{DIFF_TIME_MAX, REPLAY_RECORD_WAIT_MAX, REPLAYED_AT_ONCE_MAX};

/// How often the record of a replay is looked for, until it is there.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Why a replay can't be rehearsed.
const MADE: &str = "It is a request to a model.";

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::POST, "/v2/requests/{id}/replay", Access::DEVELOP, replay)
            .says("Sends a kept request again, to another model, and compares the answers. It is booked like any request.")
            .takes::<ReplayInput>()
            .returns_value::<ReplayView>()
            .no_rehearsal(MADE)
            .refuses(404, "content_not_kept"),
        Route::new(Method::POST, "/v2/sessions/{id}/replay", Access::DEVELOP, replay_session)
            .says("Sends the newest 20 kept requests of a session to another model, and compares each answer.")
            .takes::<ReplayInput>()
            .returns_value::<SessionReplayView>()
            .no_rehearsal(MADE),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ReplayInput")]
struct ReplayInput {
    /// The model that answers this time, or an alias.
    #[schemars(required)]
    model: Option<String>,
}

impl ReplayInput {
    fn model(self) -> Result<String, Box<Fault>> {
        let model = self.model.filter(|model| !model.trim().is_empty());
        model.ok_or_else(|| missing("model", "Name the model that should answer this time."))
    }
}

/// A request and another model's answer to it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Replay")]
struct ReplayView {
    object: &'static str,
    /// Word for word the same, and the same calls.
    same: bool,
    baseline: SideView,
    candidate: SideView,
    /// From the text of the one to the text of the other.
    diff: Vec<ChangeView>,
}

/// An answer of the two.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReplaySide")]
struct SideView {
    request_id: String,
    model: String,
    status: u16,
    /// The answer's text; `null` where it is an error or was not kept whole.
    text: Option<String>,
    /// The calls of tools, as a chat completion has them.
    tool_calls: Option<Value>,
    error_code: Option<String>,
    input_tokens: u64,
    output_tokens: u64,
    /// What the workspace owes, or its provider bills.
    cost_nanos: i64,
    latency_us: u64,
    /// `null` where the record is not written yet.
    time_to_first_byte_us: Option<u64>,
}

/// A piece of text that is in both, or in one of the two.
#[derive(Debug, Serialize, JsonSchema, PartialEq, Eq)]
#[schemars(rename = "TextChange")]
struct ChangeView {
    #[schemars(extend("enum" = ["same", "removed", "added"]))]
    change: &'static str,
    text: String,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SessionReplay")]
struct SessionReplayView {
    object: &'static str,
    session_id: String,
    model: String,
    /// In order of creation.
    data: Vec<ReplayView>,
    same: u64,
    /// Requests of the session, among the newest that were read, whose content isn't kept.
    not_kept: u64,
    baseline_cost_nanos: i64,
    candidate_cost_nanos: i64,
}

async fn replay(control: &Arc<Control>, request: ApiRequest) -> Handled {
    // Who may not see the request is told so first.
    let record = contents::record_of(control, &request).await?;
    let model = request.json::<ReplayInput>()?.model()?;
    let content = contents::opened(control, &request, &record).await?;
    record_act(control, &request, "content.replay", &record.trace.to_string(), &model).await?;
    Reply::json(&replayed(control, &record, &content, &model).await?)
}

async fn replay_session(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let session = request.id::<domain::SessionId>("session")?;
    let workspace = request.workspace();
    let sessions = control.deps.store.sessions();
    let found = sessions.get(workspace, session, control.deps.world.clock.unix_ms()).await;
    let found = found.map_err(of_store)?;
    request.seen_project(Some(found.project))?;
    let model = request.json::<ReplayInput>()?.model()?;
    let filter = RequestFilter::of_session(&session.to_string());
    let page = Page::first(REPLAYED_AT_ONCE_MAX);
    let records = control.deps.store.records().matching(workspace, filter, page).await.map_err(of_store)?;
    let mut view = SessionReplayView {
        object: "session_replay",
        session_id: session.to_string(),
        model: model.clone(),
        data: Vec::new(),
        same: 0,
        not_kept: 0,
        baseline_cost_nanos: 0,
        candidate_cost_nanos: 0,
    };
    record_act(control, &request, "content.replay", &session.to_string(), &model).await?;
    for record in records.rows.iter().rev() {
        match contents::opened(control, &request, record).await {
            Ok(content) => view.take(replayed(control, record, &content, &model).await?),
            Err(fault) if fault.code == "content_not_kept" => view.not_kept += 1,
            Err(fault) => return Err(fault),
        }
    }
    Reply::json(&view)
}

impl SessionReplayView {
    fn take(&mut self, one: ReplayView) {
        self.same += u64::from(one.same);
        self.baseline_cost_nanos += one.baseline.cost_nanos;
        self.candidate_cost_nanos += one.candidate.cost_nanos;
        self.data.push(one);
    }
}

async fn replayed(
    control: &Control,
    record: &MeterRecord,
    content: &KeptContent,
    model: &str,
) -> Result<ReplayView, Box<Fault>> {
    let conversation = Conversation::of(content, &record.requested_model).ok_or_else(not_replayable)?;
    let call = item(control, record, content, &conversation, model).ok_or_else(not_replayable)?;
    let (trace, grammar) = (call.trace, call.dialect.grammar());
    let (status, message) = match control.deps.outbound.run_item(call).await {
        ItemAnswer::Succeeded { body, status } => {
            (status, dialects::answer_as_chat(grammar, &body).as_deref().and_then(message_of))
        }
        ItemAnswer::Failed { status, .. } => (status, None),
        ItemAnswer::Postponed { .. } => return Err(busy()),
    };
    let candidate = booked(control, record, trace).await;
    let baseline =
        side(Some(record), (record.trace, content.status, &record.requested_model), conversation.answer);
    let candidate = side(candidate.as_ref(), (trace, status, model), message);
    let texts = (baseline.text.as_deref(), candidate.text.as_deref());
    Ok(ReplayView {
        object: "replay",
        same: texts.0.is_some() && texts.0 == texts.1 && same_calls(&baseline, &candidate),
        diff: match texts {
            (Some(before), Some(after)) => diff(before, after),
            _ => Vec::new(),
        },
        baseline,
        candidate,
    })
}

/// The request for the other model.
fn item(
    control: &Control,
    record: &MeterRecord,
    content: &KeptContent,
    conversation: &Conversation,
    model: &str,
) -> Option<ItemCall> {
    let (dialect, body) = contents::resent(content, conversation, model, false)?;
    let world = &control.deps.world;
    Some(ItemCall {
        owner: ObjectOwner { workspace: record.workspace, project: record.project },
        key: None,
        seat: None,
        dialect,
        operation: Operation::Chat,
        trace: TraceId::new(world.clock.unix_ms(), world.id_bytes()),
        side_call: SideCall { purpose: SideCallPurpose::Replay, parent: record.trace },
        headers: Vec::new(),
        addressed: None,
        body: Bytes::from(serde_json::to_vec(&body).ok()?),
    })
}

/// The record of the replay, once it is there.
async fn booked(control: &Control, record: &MeterRecord, trace: TraceId) -> Option<MeterRecord> {
    let look = async {
        loop {
            match control.deps.store.records().request(record.workspace, trace).await {
                Ok(found) => return Some(found),
                Err(StoreError::NotFound { .. }) => tokio::time::sleep(LOOK_EVERY).await,
                Err(_) => return None,
            }
        }
    };
    tokio::time::timeout(REPLAY_RECORD_WAIT_MAX, look).await.ok().flatten()
}

fn side(record: Option<&MeterRecord>, of: (TraceId, u16, &str), message: Option<Value>) -> SideView {
    let (trace, status, model) = of;
    let text = message.as_ref().map(|message| match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        _ => String::new(),
    });
    let usage = record.map(|record| record.usage).unwrap_or_default();
    let cost = record.map_or(0, |record| record.charge.cost.0.max(record.charge.provider_cost.0));
    SideView {
        request_id: trace.to_string(),
        model: record
            .map(|record| record.resolved_model.clone())
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| model.to_owned()),
        status,
        text,
        tool_calls: message
            .and_then(|message| message.get("tool_calls").cloned())
            .filter(|calls| !calls.is_null()),
        error_code: record.and_then(|record| record.fault_code.clone()),
        input_tokens: usage.prompt_total(),
        output_tokens: usage.completion_total(),
        cost_nanos: cost,
        latency_us: record.map_or(0, |record| record.timeline.settled_us),
        time_to_first_byte_us: record.map(|record| record.timeline.first_byte_us).filter(|at| *at > 0),
    }
}

/// Whether both call the same tools with the same arguments. The ids of calls are each model's own.
fn same_calls(baseline: &SideView, candidate: &SideView) -> bool {
    let calls = |side: &SideView| {
        let calls = side.tool_calls.as_ref().and_then(Value::as_array);
        let functions = calls.into_iter().flatten().map(|call| call.get("function").cloned());
        functions.collect::<Vec<_>>()
    };
    calls(baseline) == calls(candidate)
}

/// The words that were removed and added, neighbours of a kind in one piece.
fn diff(before: &str, after: &str) -> Vec<ChangeView> {
    let mut changes: Vec<ChangeView> = Vec::new();
    for change in TextDiff::configure().timeout(DIFF_TIME_MAX).diff_words(before, after).iter_all_changes() {
        let kind = match change.tag() {
            ChangeTag::Equal => "same",
            ChangeTag::Delete => "removed",
            ChangeTag::Insert => "added",
        };
        match changes.last_mut().filter(|last| last.change == kind) {
            Some(last) => last.text.push_str(change.value()),
            None => changes.push(ChangeView { change: kind, text: change.value().to_owned() }),
        }
    }
    changes
}

fn not_replayable() -> Box<Fault> {
    invalid(
        "id",
        "This request can't be sent again: it isn't a conversation, or not all of it is kept.",
        "Replay a conversation that was kept with encrypted_full_fidelity, whose body has at most 1 MiB, and that no provider keeps.",
    )
}

fn busy() -> Box<Fault> {
    let fault = Fault::new(
        FaultClass::Unavailable,
        "gateway_overloaded",
        "The gateway is overloaded, and runs no replays now.",
    );
    Box::new(fault.fix("Send it again in a moment.").retry_after_ms(1_000))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_that_changed_are_told_apart() {
        let change = |change, text: &str| ChangeView { change, text: text.to_owned() };
        assert_eq!(diff("a b c", "a b c"), [change("same", "a b c")]);
        assert_eq!(
            diff("the cat sat", "the dog sat"),
            [
                change("same", "the "),
                change("removed", "cat"),
                change("added", "dog"),
                change("same", " sat")
            ]
        );
        assert_eq!(diff("", "x"), [change("added", "x")]);
        assert_eq!(diff("", ""), []);
    }

    proptest! {
        #[test]
        fn both_texts_can_be_told_from_a_diff(before in "[a-c \n]{0,40}", after in "[a-c \n]{0,40}") {
            let changes = diff(&before, &after);
            let of = |other: &str| {
                changes.iter().filter(|one| one.change != other).map(|one| one.text.as_str()).collect::<String>()
            };
            prop_assert_eq!(of("added"), before);
            prop_assert_eq!(of("removed"), after);
        }
    }
}
