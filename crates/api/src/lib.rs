//! What the routes of the admin API, `/v2`, share: the server and its route table, who may call, how requests are read and
//! answered, and the OpenAPI document. It runs on a runtime of its own, never on the serving cores.

pub mod access;
mod answering;
pub mod attempts;
pub mod auditing;
mod body;
pub mod caller;
mod cursor;
mod downloads;
mod export;
pub mod failure;
pub mod filter;
#[cfg(feature = "fixtures")]
pub mod fixtures;
mod idempotency;
mod incoming;
pub mod limits;
mod managed;
pub mod moment;
pub mod named;
pub mod names;
pub mod openapi;
mod passwords;
pub mod planner;
pub mod pounds;
pub mod reply;
pub mod request;
pub mod router;
pub mod server;
pub mod site;
pub mod state;
pub mod table;
pub mod tokens;
pub mod tunnels;
mod version;
