//! Agents that projects define: what a definition says and what may be wrong with it, the SQL of its sealed versions, and chats as
//! sessions keep them and as clients read them.

mod book;
mod chat;
mod definition;
mod hosted_form;
mod limits;
mod sql;
mod view;

pub use book::AgentBook;
pub use chat::{
    Aside, Call, Chat, EndStatus, Ended, Spent, Turn, WaitingCall, arguments, event, result_item,
};
pub use definition::{AgentHook, AgentLimits, AgentMemory, AgentTool, Definition, Wrong, is_name};
pub use hosted_form::from_config;
pub use limits::{HOOK_TIMEOUT, OUTPUT_TRIES_MAX, STEPS, SUB_AGENT_DEPTH_MAX, TIME};
pub use sql::{AgentRow, Stored, VersionRow, seal, unsealed};
pub use view::{ChatView, Part, text_of_input};
