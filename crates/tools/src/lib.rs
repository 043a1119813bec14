//! Tools and apps that projects declare: their SQL, the calls of HTTP servers, and the client of MCP servers, whose descriptions
//! are pinned as they were accepted.

mod answer;
mod app_call;
mod app_versions;
mod authorization;
mod http_call;
mod limits;
mod mcp;
mod openapi;
mod pins;
mod rows;
mod sealed;
mod sealed_sql;
mod sql;
mod toolbox;

pub use answer::{CallFailure, ToolAnswer, cut};
pub use app_call::{AppAnswer, AppFailure, is_schema, misfits, run_app};
pub use app_versions::AppVersion;
pub use authorization::{
    CodeOrder, GrantRow, Grants, Party, Reach, SignInOrder, SignInPlan, SignInRow, SignInSecret,
    authorization_needed, needs_authorization, plan_sign_in, redeem_code,
};
pub use http_call::call_http;
pub use limits::{
    CALL_TIME_MAX, IMPORTED_MAX, LIST_TIME_MAX, NAME_BYTES_MAX, RESULT_BYTES_MAX, SERVER_TOOLS_MAX,
    SIGN_IN_TIME_MAX, TOOLS_OF_PROJECT_MAX,
};
#[cfg(feature = "fixtures")]
pub use mcp::fixtures;
pub use mcp::{McpSession, STDIO_SCHEME, ServerAddress, list, open};
pub use openapi::{ImportError, ImportedTool, import};
pub use pins::{accept, reconciled, suspicion};
pub use rows::{
    AppKind, AppRow, DeclaredRow, Kind, McpServerRow, SecretKind, SecretRow, ServerKind, ToolKind, ToolRow,
};
pub use sealed::{CLIENT_SECRET, SealedHeaders, seal_headers};
pub use sql::Declared;
pub use toolbox::{ToolBox, note_listing, note_wanted_scopes};
