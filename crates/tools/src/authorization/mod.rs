//! OAuth 2.1 as a client of MCP servers: discovery, registration, sign-in with PKCE, and tokens that are kept sealed and renewed.
//! The protocol's own SDK brings an HTTP client for it, which knows nothing of the address guard.

mod discovery;
mod grants;
mod renewing;
mod sign_in;
mod sql;
mod wire;

pub use grants::{GrantRow, SignInRow, SignInSecret};
pub use renewing::{Reach, authorization_needed, needs_authorization};
pub use sign_in::{CodeOrder, Party, SignInOrder, SignInPlan, plan_sign_in, redeem_code};
pub use sql::Grants;

pub(crate) use discovery::wanted_scopes;
pub(crate) use sql::forget;
