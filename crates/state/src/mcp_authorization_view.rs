//! What is shown of the authorization of an MCP server: never a token.

use ::tools::GrantRow;
use api::moment::Moment;
use domain::grants::McpOauth;
use domain::tools::McpState;
use schemars::JsonSchema;
use serde::Serialize;

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "McpAuthorization")]
pub(crate) struct AuthorizationView {
    /// `needed`: a person must sign in for the server. `expired`: its token is over, and nothing renews it.
    #[schemars(extend("enum" = ["needed", "authorized", "expired"]))]
    state: &'static str,
    /// The scopes that were given, or else those that are requested.
    scopes: Vec<String>,
    /// The scopes that a call lacked. Unless `auth` states which are requested, authorizing again requests these, too.
    wanted_scopes: Vec<String>,
    /// Of the token that is used now; it is renewed before.
    expires_at: Option<Moment>,
    /// Of the client that you registered; absent where the gateway registers itself.
    client_id: Option<String>,
}

impl AuthorizationView {
    pub(crate) fn of(
        (oauth, state): (&McpOauth, &McpState),
        grant: Option<&GrantRow>,
        now_unix_ms: u64,
    ) -> Self {
        let held = grant.filter(|grant| grant.secret.is_some());
        let is_over = |grant: &GrantRow| {
            !grant.is_renewable && grant.expires_unix_ms.is_some_and(|expires| expires <= now_unix_ms)
        };
        Self {
            state: match held {
                None => "needed",
                Some(grant) if is_over(grant) => "expired",
                Some(_) => "authorized",
            },
            scopes: held.map_or_else(|| oauth.scopes.clone(), |grant| grant.scopes.clone()),
            wanted_scopes: state.wanted_scopes.clone(),
            expires_at: held.and_then(|grant| grant.expires_unix_ms).map(Moment),
            client_id: oauth.client_id.clone(),
        }
    }

    pub(crate) fn is_authorized(&self) -> bool {
        self.state == "authorized"
    }
}
