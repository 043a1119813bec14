//! Agents: a message to one is a task, which runs the loop of its model and its tools and writes what was said into the session of
//! the chat. Whoever follows a chat reads it from there.

mod acting;
mod content;
mod following;
mod starting;
mod step;
mod team;
mod turn;
mod turns;

pub use acting::{AgentRequest, agent};
pub use turns::{AGENT_APP, NamedAgent, TurnRecord, agent_of, agent_turn, named_agent};

pub(crate) use acting::queue_app;
pub(crate) use content::{input_schema, output_schema};
pub(crate) use starting::{Agent, named};
pub(crate) use turn::{WAITS_FOR_PEOPLE, rouse, take_turn};

/// Reads a chat from the events of its session.
fn chat_of(events: &[domain::ports::HistoryEvent]) -> agents::Chat {
    agents::Chat::read(events, crate::session_turn::item_of)
}

/// Items of an answer as they are kept.
fn kept(items: &[serde_json::Value]) -> Vec<String> {
    items.iter().filter_map(|item| crate::items::repeated(item.to_string().as_bytes())).collect()
}
