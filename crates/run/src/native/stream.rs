//! A streamed answer of `/v2/responses`: the events of the responses grammar under our id, of which the last has the
//! outcome.

use std::rc::Rc;

use admit::Caller;
use domain::{Qos, ResponseId};
use http::header::HeaderMap;
use line::Core;
use serde_json::{Map, Value, json};

use super::outcome::{Outcome, describe};
use super::stored::{self, Part};
use super::{append, name_session};
use crate::answer_stream::{EditAnswer, Storing, is_answer};
use crate::session_turn::SessionTurn;

/// What the last event is told of.
pub(super) struct Streamed {
    pub core: Rc<Core>,
    pub caller: Caller,
    pub id: ResponseId,
    pub qos: Qos,
    pub turn: Option<SessionTurn>,
    /// The head of the response.
    pub headers: HeaderMap,
    pub received_us: u64,
    pub ttft_ms: Option<u64>,
}

impl Streamed {
    fn elapsed_ms(&self) -> u64 {
        self.core.deps.world.clock.monotonic_us().saturating_sub(self.received_us) / 1_000
    }
}

impl EditAnswer for Streamed {
    fn ahead(&mut self, response: &mut Map<String, Value>) -> bool {
        response.insert("id".to_owned(), json!(self.id.to_string()));
        true
    }

    fn started(&mut self) {
        self.ttft_ms = Some(self.elapsed_ms());
    }

    /// Adds the outcome. A complete answer is stored.
    fn ended(&mut self, name: &str, data: &mut Map<String, Value>) -> Option<Storing> {
        let (latency_ms, is_answer) = (self.elapsed_ms(), is_answer(name));
        let outcome = if is_answer {
            let ttft_ms = self.ttft_ms.unwrap_or(latency_ms);
            Outcome::answered(self.qos, &self.headers, (ttft_ms, latency_ms))
        } else {
            let error = data.get("response").and_then(|response| response.get("error"));
            let code = error.unwrap_or(&Value::Null).get("code").or_else(|| data.get("code"));
            let code = code.and_then(Value::as_str).unwrap_or_default().to_owned();
            Outcome::broken(self.qos, &self.headers, &code, (self.ttft_ms, latency_ms))
        };
        let Some(Value::Object(response)) = data.get_mut("response") else {
            data.insert("qos_outcome".to_owned(), json!(outcome));
            return None;
        };
        describe(response, self.id, &self.headers, &outcome, is_answer);
        is_answer.then(|| {
            let (core, caller, turn) = (Rc::clone(&self.core), self.caller.clone(), self.turn.clone());
            if let Some(turn) = &turn {
                name_session(response, turn);
            }
            let (id, mut answer) = (self.id, response.clone());
            let storing = async move {
                let is_appended = append(&core, &caller, id, turn.as_ref(), &mut answer).await;
                let answer = Value::Object(answer);
                stored::keep_named(&core, &caller, id, Part::Answer, &answer).await && is_appended
            };
            Box::pin(storing) as Storing
        })
    }

    fn stored(&self, response: &mut Map<String, Value>, is_stored: bool) {
        response.insert("stored".to_owned(), json!(is_stored));
    }
}
