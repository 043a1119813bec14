//! Answers that are kept here, and those that continue such.

use std::rc::Rc;

use admit::Caller;
use decode::Inbound;
use domain::TraceId;
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use json::members::Members;
use line::Core;
use serde_json::{Map, Value, json};
use settle::ReplyBody;

use super::ids::{conversation_id_of, id_of};
use super::kept::{self, Continued};
use crate::answer_stream::{AnswerEditor, EditAnswer, Storing, is_answer, is_stream};
use crate::context_care::compact_older;
use crate::session_turn::{self, SessionBranch};
use crate::truncation::{name_as_heeded, name_dropped, truncate};

const STORE: &str = "store";

/// How an answer is made.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub request: TraceId,
    /// What it continues, if that is kept here, and everything before that.
    pub previous: Option<String>,
    pub ancestors: Vec<Continued>,
    /// The new items of its input.
    pub input: Vec<String>,
    /// The conversation or session that it continues.
    pub session: Option<SessionBranch>,
    /// Its answer names that as a conversation.
    pub is_conversation: bool,
    pub keeps: bool,
    pub is_background: bool,
    /// What comes first in the answer: the summary that took the place of what it continues.
    pub first_item: Option<Map<String, Value>>,
}

/// What became of an answer.
struct Kept {
    /// Its conversation has it.
    is_appended: bool,
    /// And it is kept under its id, if it is to be.
    is_whole: bool,
}

impl Made {
    /// Keeps an answer as its client gets it, if it is to be kept here, and what was said in its conversation.
    async fn keep(&self, core: &Core, caller: &Caller, response: &Map<String, Value>, is_own: bool) -> Kept {
        let is_appended = match self.session {
            Some(to) => session_turn::append(core, caller, (self.request, to), &self.input, response).await,
            None => true,
        };
        if !is_own || !self.keeps {
            return Kept { is_appended, is_whole: is_appended };
        }
        let written = Value::Object(response.clone()).to_string();
        let is_kept = kept::keep(core, caller, self.request, &self.ancestors, (&self.input, &written)).await;
        Kept { is_appended, is_whole: is_kept && is_appended }
    }

    /// Says of an answer what its client asked for.
    pub(super) fn describe(&self, response: &mut Map<String, Value>, is_own: bool) {
        if let Some(to) = self.session.filter(|_| self.is_conversation) {
            response.insert("conversation".to_owned(), json!({"id": conversation_id_of(to.session)}));
        }
        if !is_own {
            return;
        }
        response.insert("previous_response_id".to_owned(), json!(self.previous));
        response.insert(STORE.to_owned(), json!(self.keeps));
        if self.is_background {
            response.insert("id".to_owned(), json!(id_of(self.request)));
            response.insert("background".to_owned(), json!(true));
        }
    }

    /// Puts into an answer what comes first in it.
    fn put_first(&self, response: &mut Map<String, Value>) {
        if let (Some(item), Some(Value::Array(output))) = (&self.first_item, response.get_mut("output")) {
            output.insert(0, Value::Object(item.clone()));
        }
    }

    /// Whether a response of this id is kept here: one that a provider stores has an id of the provider's. Of what is made
    /// here in the background, no provider stores anything.
    fn is_own(&self, id: &str) -> bool {
        self.is_background || id == id_of(self.request)
    }
}

/// Serves a request, and keeps the answer if no provider does.
pub(super) async fn serve(
    core: &Rc<Core>,
    mut inbound: Inbound,
    caller: Caller,
    mut made: Made,
) -> Response<ReplyBody> {
    let compacted = compact_older(core, &mut inbound, &caller).await;
    made.first_item = compacted.item;
    let dropped_items = truncate(core, &mut inbound, &caller).await;
    let mut response = line::serve(core, inbound, caller.clone()).await;
    if line::keeps_answers(&caller) {
        line::name_bypass(response.headers_mut());
    }
    if response.status() != StatusCode::OK {
        return response;
    }
    name_dropped(response.headers_mut(), dropped_items);
    if compacted.is_ours {
        name_as_heeded(response.headers_mut(), "context_management");
    }
    if !is_stream(response.headers()) {
        return answered(core, &caller, &made, response).await;
    }
    if made.keeps {
        name_as_heeded(response.headers_mut(), STORE);
    }
    let streamed = Streamed { core: Rc::clone(core), caller, made, is_own: false };
    response.map(|body| body.edited(Box::new(AnswerEditor::new(streamed))))
}

/// The whole answer, which was complete before it was returned.
async fn answered(
    core: &Core,
    caller: &Caller,
    made: &Made,
    response: Response<ReplyBody>,
) -> Response<ReplyBody> {
    let (head, body) = response.into_parts();
    let mut headers = head.headers;
    let Ok(read) = body.collect().await else {
        let fault = domain::Fault::internal();
        return line::refuse(core, domain::Dialect::Responses, &fault, made.request);
    };
    let bytes = read.to_bytes();
    let id = Members::of_answer(&bytes).and_then(|answer| Some(answer.find_text("id")?.into_owned()));
    let is_own = id.is_some_and(|id| made.is_own(&id));
    if !is_own && made.session.is_none() && made.first_item.is_none() {
        return settle::whole(head.status, headers, bytes);
    }
    let Ok(Value::Object(mut answer)) = serde_json::from_slice(&bytes) else {
        return settle::whole(head.status, headers, bytes);
    };
    made.describe(&mut answer, is_own);
    made.put_first(&mut answer);
    let Kept { is_appended, is_whole } = made.keep(core, caller, &answer, is_own).await;
    if made.session.is_some() && !made.is_conversation {
        line::name_stored(&mut headers, is_appended);
    }
    if is_own && made.keeps {
        name_as_heeded(&mut headers, STORE);
        if !is_whole {
            answer.insert(STORE.to_owned(), json!(false));
        }
    }
    settle::whole(head.status, headers, Value::Object(answer).to_string().into())
}

struct Streamed {
    core: Rc<Core>,
    caller: Caller,
    made: Made,
    is_own: bool,
}

impl EditAnswer for Streamed {
    fn ahead(&mut self, response: &mut Map<String, Value>) -> bool {
        self.is_own = response.get("id").and_then(Value::as_str).is_some_and(|id| self.made.is_own(id));
        self.made.describe(response, self.is_own);
        self.is_own || self.made.session.is_some() || self.made.first_item.is_some()
    }

    fn first_item(&mut self) -> Option<Map<String, Value>> {
        self.made.first_item.clone()
    }

    fn ended(&mut self, name: &str, data: &mut Map<String, Value>) -> Option<Storing> {
        let Some(Value::Object(response)) = data.get_mut("response") else { return None };
        self.made.describe(response, self.is_own);
        if is_answer(name) {
            self.made.put_first(response);
        }
        if !is_answer(name) {
            if self.is_own {
                response.insert(STORE.to_owned(), json!(false));
            }
            return None;
        }
        let (core, caller, made) = (Rc::clone(&self.core), self.caller.clone(), self.made.clone());
        let (response, is_own) = (response.clone(), self.is_own);
        Some(Box::pin(async move { made.keep(&core, &caller, &response, is_own).await.is_whole }))
    }

    fn stored(&self, response: &mut Map<String, Value>, is_stored: bool) {
        if self.is_own {
            response.insert(STORE.to_owned(), json!(self.made.keeps && is_stored));
        }
    }
}
