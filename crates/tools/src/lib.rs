//! Tools that projects declare: their SQL, the calls of HTTP servers, and the client of MCP servers, whose descriptions are
//! pinned as they were accepted.

mod answer;
mod http_call;
mod limits;
mod mcp;
mod openapi;
mod pins;
mod rows;
mod sql;
mod toolbox;

pub use answer::{CallFailure, ToolAnswer, bounded};
pub use http_call::call_http;
pub use limits::{
    CALL_TIME_MAX, IMPORTED_MAX, LIST_TIME_MAX, NAME_BYTES_MAX, RESULT_BYTES_MAX, SERVER_TOOLS_MAX,
    TOOLS_OF_PROJECT_MAX,
};
pub use mcp::{McpSession, ServerAddress, list};
pub use openapi::{ImportError, ImportedTool, import};
pub use pins::{accept, reconciled, suspicion};
pub use rows::{DeclaredRow, Kind, McpServerRow, SealedHeaders, ServerKind, ToolKind, ToolRow, seal_headers};
pub use sql::Declared;
pub use toolbox::{ToolBox, note_listing};
