//! A chat as its session keeps it: turns, each with what was said and called, and beside them what was decided and how it ended.

use std::collections::BTreeSet;

use domain::TaskId;
use domain::ports::HistoryEvent;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// What events of a chat are that are no part of the conversation.
pub(crate) const ASIDE: &str = "note";

/// Tokens, and money in nano-USD: what steps used, or what they may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Spent {
    pub tokens: u64,
    pub nanos: u64,
}

impl Spent {
    pub const fn plus(self, other: Self) -> Self {
        let (tokens, nanos) =
            (self.tokens.saturating_add(other.tokens), self.nanos.saturating_add(other.nanos));
        Self { tokens, nanos }
    }

    /// What came since it was as another says.
    pub const fn since(self, other: Self) -> Self {
        let (tokens, nanos) =
            (self.tokens.saturating_sub(other.tokens), self.nanos.saturating_sub(other.nanos));
        Self { tokens, nanos }
    }

    /// The lower of two limits.
    pub fn within(self, other: Self) -> Self {
        Self { tokens: self.tokens.min(other.tokens), nanos: self.nanos.min(other.nanos) }
    }

    /// Whether one of the two limits is reached.
    pub const fn reaches(self, limit: Self) -> bool {
        self.tokens >= limit.tokens || self.nanos >= limit.nanos
    }
}

/// Something that a chat's session keeps beside the conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "agent_chat", rename_all = "snake_case")]
pub enum Aside {
    /// A turn begins: what follows belongs to it.
    Turn { task: TaskId, agent: String, unix_ms: u64 },
    /// A step of the model ended, which used so much. Turns that older versions wrote have no costs.
    Step(Spent),
    /// The agents that its model called used so much.
    Called(Spent),
    /// The turn waits for people.
    Waiting { calls: Vec<WaitingCall> },
    /// Somebody decided about a call.
    Decided { call: String, is_allowed: bool, reason: String },
    /// Calls of this tool need no approval in this chat any more.
    Allowed { tool: String },
    /// The turn ended.
    Ended { task: TaskId, status: EndStatus, error: Option<String>, output: Value, unix_ms: u64 },
}

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndStatus {
    Ready,
    Failed,
    Cancelled,
}

/// A call that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingCall {
    pub id: String,
    /// The client executes it; else it waits for approval.
    pub is_clients: bool,
}

/// A call of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub id: String,
    pub name: String,
    /// As the model wrote them.
    pub arguments: String,
}

/// One message with all that came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    pub task: TaskId,
    pub agent: String,
    pub started_unix_ms: u64,
    /// What was texts_so_far and called, as items of a request.
    pub items: Vec<Value>,
    pub steps: u32,
    /// With what the agents used that its model called.
    pub spent: Spent,
    pub waiting: Vec<WaitingCall>,
    /// All calls of the turn that its client makes, also those that wait no more.
    pub client_calls: BTreeSet<String>,
    pub decided: Vec<(String, bool, String)>,
    pub ended: Option<Ended>,
}

/// The end of a turn.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    pub status: EndStatus,
    pub error: Option<String>,
    /// What fits the schema of its agent, where that has one.
    pub output: Value,
    pub unix_ms: u64,
}

/// All of a chat.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Chat {
    /// What was in the session before it was a chat.
    pub before: Vec<Value>,
    pub turns: Vec<Turn>,
    pub allowed: BTreeSet<String>,
    /// How many events it was read from.
    pub events: usize,
}

fn text<'a>(item: &'a Value, name: &str) -> &'a str {
    item.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// An item that a call's result is.
pub fn result_item(call: &str, output: &str) -> Value {
    json!({"type": "function_call_output", "call_id": call, "output": output})
}

impl Turn {
    pub fn new(task: TaskId, agent: String, started_unix_ms: u64) -> Self {
        Self {
            task,
            agent,
            started_unix_ms,
            items: Vec::new(),
            steps: 0,
            spent: Spent::default(),
            waiting: Vec::new(),
            client_calls: BTreeSet::new(),
            decided: Vec::new(),
            ended: None,
        }
    }

    /// The calls of its model, in their order.
    pub fn calls(&self) -> Vec<Call> {
        let calls = self.items.iter().filter(|item| text(item, "type") == "function_call");
        let call = |item: &Value| Call {
            id: text(item, "call_id").to_owned(),
            name: text(item, "name").to_owned(),
            arguments: text(item, "arguments").to_owned(),
        };
        calls.map(call).collect()
    }

    /// What a call brought.
    pub fn result(&self, call: &str) -> Option<&str> {
        let is_its =
            |item: &&Value| text(item, "type") == "function_call_output" && text(item, "call_id") == call;
        self.items.iter().find(is_its).map(|item| text(item, "output"))
    }

    /// Calls without a result.
    pub fn pending(&self) -> Vec<Call> {
        self.calls().into_iter().filter(|call| self.result(&call.id).is_none()).collect()
    }

    /// Whether a person allowed a call, and what was said.
    pub fn decision(&self, call: &str) -> Option<(bool, &str)> {
        let decided = self.decided.iter().find(|(id, ..)| id == call);
        decided.map(|(_, is_allowed, reason)| (*is_allowed, reason.as_str()))
    }

    /// The calls that wait for people now.
    pub fn waits_for(&self) -> impl Iterator<Item = &WaitingCall> {
        self.waiting.iter().filter(|call| {
            self.ended.is_none() && self.result(&call.id).is_none() && self.decision(&call.id).is_none()
        })
    }

    /// The texts of its messages with a role; those of the assistant's end with the answer.
    pub fn texts(&self, role: &str) -> Vec<String> {
        let of_role = self.items.iter().filter(|item| text(item, "role") == role);
        of_role.map(text_of).filter(|text| !text.is_empty()).collect()
    }

    /// Takes in what an event says.
    fn take(&mut self, aside: Aside) {
        match aside {
            Aside::Step(spent) => {
                self.steps += 1;
                self.spent = self.spent.plus(spent);
            }
            Aside::Called(spent) => self.spent = self.spent.plus(spent),
            Aside::Waiting { calls } => {
                let of_client = calls.iter().filter(|call| call.is_clients);
                self.client_calls.extend(of_client.map(|call| call.id.clone()));
                self.waiting = calls;
            }
            Aside::Decided { call, is_allowed, reason } => self.decided.push((call, is_allowed, reason)),
            Aside::Ended { status, error, output, unix_ms, .. } => {
                self.ended = Some(Ended { status, error, output, unix_ms });
            }
            Aside::Turn { .. } | Aside::Allowed { .. } => {}
        }
    }

    /// The items as a later turn repeats them: each call has a result.
    fn repeated(&self) -> Vec<Value> {
        let mut repeated: Vec<Value> = Vec::with_capacity(self.items.len());
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        for item in &self.items {
            let is_result = text(item, "type") == "function_call_output";
            if is_result && !seen.insert(text(item, "call_id")) {
                continue;
            }
            repeated.push(item.clone());
        }
        let lost = self.pending();
        repeated.extend(lost.iter().map(|call| result_item(&call.id, "The call was not made.")));
        repeated
    }
}

/// The text of a message.
fn text_of(item: &Value) -> String {
    match item.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts.iter().map(|part| text(part, "text")).collect(),
        _ => String::new(),
    }
}

impl Chat {
    /// Reads the events of a session. `item_of` is an event as an item of a request.
    pub fn read(events: &[HistoryEvent], item_of: impl Fn(&HistoryEvent) -> Option<String>) -> Self {
        let mut chat = Self { events: events.len(), ..Self::default() };
        for event in events {
            if event.kind == ASIDE {
                if let Ok(aside) = serde_json::from_str::<Aside>(&event.content) {
                    chat.take(aside);
                }
                continue;
            }
            let Some(item) = item_of(event).and_then(|item| serde_json::from_str(&item).ok()) else {
                continue;
            };
            match chat.turns.last_mut() {
                Some(turn) => turn.items.push(item),
                None => chat.before.push(item),
            }
        }
        chat
    }

    pub fn take(&mut self, aside: Aside) {
        match aside {
            Aside::Turn { task, agent, unix_ms } => self.turns.push(Turn::new(task, agent, unix_ms)),
            Aside::Allowed { tool } => {
                self.allowed.insert(tool);
            }
            other => {
                if let Some(turn) = self.turns.last_mut() {
                    turn.take(other);
                }
            }
        }
    }

    pub fn turn(&self, task: TaskId) -> Option<&Turn> {
        self.turns.iter().find(|turn| turn.task == task)
    }

    /// What the model of a turn reads: what came before, as far as it remembers, and the turn itself.
    pub fn input(&self, task: TaskId, turns: Option<u32>) -> Vec<Value> {
        let place = self.turns.iter().position(|turn| turn.task == task).unwrap_or(self.turns.len());
        let remembered = turns.map_or(usize::MAX, |turns| usize::try_from(turns).unwrap_or(usize::MAX));
        let skipped = place.saturating_sub(remembered);
        let mut input = if skipped == 0 && remembered > 0 { self.before.clone() } else { Vec::new() };
        input.extend(self.turns.iter().take(place).skip(skipped).flat_map(Turn::repeated));
        if let Some(turn) = self.turns.get(place) {
            let pending: BTreeSet<String> = turn.pending().into_iter().map(|call| call.id).collect();
            let is_open = |item: &Value| pending.contains(text(item, "call_id"));
            input.extend(
                turn.repeated()
                    .into_iter()
                    .filter(|item| text(item, "type") != "function_call_output" || !is_open(item)),
            );
        }
        input
    }
}

/// An aside as an event.
pub fn event(aside: &Aside) -> (String, String) {
    // Serialising this type can't fail.
    (ASIDE.to_owned(), serde_json::to_string(aside).unwrap_or_default())
}

/// Arguments as an object; `None` of what is none.
pub fn arguments(written: &str) -> Option<Map<String, Value>> {
    let written = if written.trim().is_empty() { "{}" } else { written };
    serde_json::from_str(written).ok()
}

#[cfg(test)]
mod tests {
    use domain::SessionEventId;

    use super::*;

    fn chat(events: &[(&str, Value)]) -> Chat {
        let event = |(kind, content): &(&str, Value)| HistoryEvent {
            id: SessionEventId::new(1, [0; 10]),
            kind: (*kind).to_owned(),
            content: content.to_string(),
        };
        Chat::read(&events.iter().map(event).collect::<Vec<_>>(), |event| Some(event.content.clone()))
    }

    fn task(number: u64) -> TaskId {
        TaskId::new(number, [1; 10])
    }

    fn start(number: u64) -> (&'static str, Value) {
        let aside = Aside::Turn { task: task(number), agent: "a".to_owned(), unix_ms: number };
        (ASIDE, serde_json::to_value(aside).unwrap())
    }

    fn texts_so_far(text: &str) -> (&'static str, Value) {
        ("user_message", json!({"role": "user", "content": text}))
    }

    fn call(id: &str) -> (&'static str, Value) {
        ("assistant_message", json!({"type": "function_call", "call_id": id, "name": "f", "arguments": "{}"}))
    }

    #[test]
    fn a_chat_is_read_from_the_events_of_its_session() {
        let waiting = Aside::Waiting { calls: vec![WaitingCall { id: "c2".into(), is_clients: true }] };
        let chat = chat(&[
            texts_so_far("before"),
            start(1),
            texts_so_far("hi"),
            call("c1"),
            ("tool_result", result_item("c1", "one")),
            (ASIDE, json!({"agent_chat": "step", "tokens": 7})),
            (ASIDE, json!({"agent_chat": "called", "nanos": 10})),
            (ASIDE, serde_json::to_value(Aside::Called(Spent { tokens: 4, nanos: 20 })).unwrap()),
            (ASIDE, serde_json::to_value(Aside::Step(Spent { tokens: 2, nanos: 5 })).unwrap()),
            call("c2"),
            (ASIDE, serde_json::to_value(waiting).unwrap()),
            (ASIDE, json!({"agent_chat": "allowed", "tool": "g"})),
            (ASIDE, json!({"somebody": "else's note"})),
        ]);
        assert_eq!((chat.before.len(), chat.turns.len(), chat.events), (1, 1, 13));
        let turn = chat.turn(task(1)).unwrap();
        assert_eq!((turn.steps, turn.result("c1")), (2, Some("one")));
        // What an older version wrote has no costs.
        assert_eq!(turn.spent, Spent { tokens: 13, nanos: 35 });
        assert_eq!(turn.waits_for().map(|call| call.id.as_str()).collect::<Vec<_>>(), ["c2"]);
        assert_eq!(turn.texts("user"), ["hi"]);
        assert!(chat.allowed.contains("g"));
    }

    #[test]
    fn a_limit_is_reached_by_tokens_or_by_money() {
        let of = |tokens, nanos| Spent { tokens, nanos };
        for (spent, limit, is_reached) in [
            (of(0, 0), of(1, 1), false),
            (of(5, 0), of(5, u64::MAX), true),
            (of(0, 7), of(u64::MAX, 7), true),
            (of(4, 6), of(5, 7), false),
        ] {
            assert_eq!(spent.reaches(limit), is_reached, "{spent:?} of {limit:?}");
        }
        assert_eq!(of(3, 9).within(of(u64::MAX, 4)), of(3, 4));
        assert_eq!(of(3, 9).plus(of(u64::MAX, 1)), of(u64::MAX, 10));
        assert_eq!(of(3, 9).since(of(1, 10)), of(2, 0));
        for written in [Aside::Step(of(1, 2)), Aside::Called(of(1, 2))] {
            assert_eq!(serde_json::from_str::<Aside>(&event(&written).1).unwrap(), written);
        }
    }

    #[test]
    fn a_model_reads_what_it_remembers_and_each_old_call_has_a_result() {
        let chat = chat(&[
            start(1),
            texts_so_far("one"),
            call("c1"),
            start(2),
            texts_so_far("two"),
            start(3),
            texts_so_far("three"),
            call("c3"),
        ]);
        let texts = |turns| -> Vec<String> {
            let input = chat.input(task(3), turns);
            input.iter().map(|item| format!("{}{}", text_of(item), text(item, "output"))).collect()
        };
        assert_eq!(texts(None), ["one", "", "The call was not made.", "two", "three", ""]);
        assert_eq!(texts(Some(1)), ["two", "three", ""]);
        assert_eq!(texts(Some(0)), ["three", ""]);
    }

    #[test]
    fn a_result_that_came_twice_counts_once() {
        let chat = chat(&[
            start(1),
            texts_so_far("one"),
            call("c1"),
            ("tool_result", result_item("c1", "first")),
            ("tool_result", result_item("c1", "second")),
            start(2),
        ]);
        let input = chat.input(task(2), None);
        assert_eq!(input.iter().map(|item| text(item, "output")).collect::<Vec<_>>(), ["", "", "first"]);
    }
}
