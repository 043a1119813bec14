//! The gateway as an MCP server: a project's apps, tasks, files, tools, usage and plans over streamable HTTP, as the same calls of the
//! API that its key could make itself.

mod calls;
#[cfg(feature = "fixtures")]
pub mod fixtures;
mod following;
mod level;
mod limits;
mod media;
mod messages;
mod methods;
mod prompts;
mod resources;
mod results;
mod revision;
mod sessions;
mod tools;
mod transport;

pub use calls::{CallerContext, ControlPlane};
pub use limits::MESSAGE_BYTES_MAX;
pub use sessions::Sessions;
pub use transport::{foreign_origin, serve};
