//! The token that a server of a project is shown: renewed before it expires, by one process at a time.

use std::sync::Arc;

use domain::grants::{HeldGrant, McpGrant, Renewal};
use domain::tools::DeclaredServer;
use domain::{CallOutcome, McpServerId, ObjectOwner, Secret, ToolStore};
use egress::Client;
use tokio::sync::oneshot;
use tokio::time::sleep;
use world::World;

use super::sign_in::renew;
use crate::answer::CallFailure;
use crate::limits::{RENEWAL_MARGIN, RENEWAL_POLL, RENEWAL_WAITS_MAX};

/// With what servers of a project are called.
#[derive(Clone)]
pub struct Reach {
    pub(crate) client: Client,
    tools: Arc<dyn ToolStore>,
    world: World,
    pub(crate) owner: ObjectOwner,
}

/// The message about a server that a person must authorize.
pub fn authorization_needed() -> CallFailure {
    let text = "The MCP server needs a person's authorization: POST /v2/mcp-servers/ID/authorize begins it.";
    CallFailure::new(CallOutcome::Refused, text).unauthorized()
}

/// Whether there is nothing to show a server that wants a token.
pub fn needs_authorization(server: &DeclaredServer) -> bool {
    let is_held = server.held.as_ref().is_some_and(|held| held.grant.is_some());
    server.definition.oauth.is_some() && !is_held
}

impl Reach {
    pub fn new(client: &Client, tools: &Arc<dyn ToolStore>, world: &World, owner: ObjectOwner) -> Self {
        Self { client: client.clone(), tools: Arc::clone(tools), world: world.clone(), owner }
    }

    /// Keeps the scopes that a server refused a request for, where a sign-in can bring them.
    pub async fn note_refusal(&self, server: &DeclaredServer, failure: &CallFailure) {
        if server.definition.oauth.is_some() && !failure.wanted_scopes.is_empty() {
            self.tools.note_wanted_scopes(self.owner, server.id, failure.wanted_scopes.clone()).await;
        }
    }

    /// The token for a server; another than `refused`, which the server took no more.
    ///
    /// # Errors
    /// A person must authorize the server, or its authorization server does not answer.
    pub(crate) async fn token(
        &self,
        server: &DeclaredServer,
        refused: Option<&Secret>,
    ) -> Result<Arc<Secret>, CallFailure> {
        let mut held = server.held.clone();
        for _ in 0..RENEWAL_WAITS_MAX {
            let Some(HeldGrant { grant: Some(grant), version, .. }) = &held else {
                return Err(authorization_needed());
            };
            let now_unix_ms = self.world.clock.unix_ms();
            let state = state_of(grant, refused, now_unix_ms);
            if state == TokenState::Fresh {
                return Ok(Arc::clone(&grant.access));
            }
            if self.tools.claim_renewal(self.owner, server.id, *version).await {
                return self.renewed(server.id, grant, version.saturating_add(1), state).await;
            }
            // Another request renews it. What still holds is used meanwhile.
            if state == TokenState::Ending {
                return Ok(Arc::clone(&grant.access));
            }
            sleep(RENEWAL_POLL).await;
            held = self.tools.held_grant(self.owner, server.id).await;
        }
        let text = "The token for the MCP server was not renewed in time.";
        Err(CallFailure::new(CallOutcome::Timeout, text))
    }

    async fn renewed(
        &self,
        server: McpServerId,
        grant: &McpGrant,
        version: u64,
        state: TokenState,
    ) -> Result<Arc<Secret>, CallFailure> {
        let (answer, answered) = oneshot::channel();
        let (reach, old) = (self.clone(), grant.clone());
        // A refresh token may be good for one use: a request that is gone meanwhile must not take the new tokens with it.
        tasks::spawn_on_core(async move {
            let now_unix_ms = reach.world.clock.unix_ms();
            let renewed = renew(&reach.client, reach.owner.workspace, &old, now_unix_ms).await;
            let held = reach.tools.keep_renewal(reach.owner, server, version, renewed.renewal.clone()).await;
            let _ = answer.send((renewed, held));
        });
        let Ok((renewed, held)) = answered.await else { return Err(authorization_needed()) };
        match renewed.renewal {
            Renewal::Renewed(grant) => Ok(grant.access),
            // Somebody signed in again meanwhile, or the token is used until it expires.
            _ if state == TokenState::Ending => Ok(Arc::clone(&grant.access)),
            Renewal::Refused => match held.and_then(|held| held.grant) {
                Some(other) if other.access.expose() != grant.access.expose() => Ok(other.access),
                _ => Err(authorization_needed()),
            },
            Renewal::NotMade => Err(renewed.why.unwrap_or_else(authorization_needed)),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TokenState {
    Fresh,
    /// It expires soon, and can be renewed.
    Ending,
    /// It expired, or was refused.
    Over,
}

fn state_of(grant: &McpGrant, refused: Option<&Secret>, now_unix_ms: u64) -> TokenState {
    if refused.is_some_and(|refused| refused.expose() == grant.access.expose()) {
        return TokenState::Over;
    }
    let margin_ms = u64::try_from(RENEWAL_MARGIN.as_millis()).unwrap_or(u64::MAX);
    match grant.expires_unix_ms {
        Some(expires) if expires <= now_unix_ms => TokenState::Over,
        Some(expires) if expires <= now_unix_ms.saturating_add(margin_ms) && grant.refresh.is_some() => {
            TokenState::Ending
        }
        _ => TokenState::Fresh,
    }
}

#[cfg(test)]
mod tests {
    use domain::grants::{ClientProof, OauthClient};

    use super::*;

    fn grant(expires_unix_ms: Option<u64>, refresh: bool) -> McpGrant {
        let secret = |text: &str| Arc::new(Secret::from_text(text.to_owned()));
        McpGrant {
            access: secret("a"),
            refresh: refresh.then(|| secret("r")),
            expires_unix_ms,
            scopes: Vec::new(),
            issuer: String::new(),
            token_endpoint: String::new(),
            client: OauthClient { id: String::new(), secret: None, proof: ClientProof::None },
            redirect: String::new(),
            resource: String::new(),
        }
    }

    #[test]
    fn a_token_is_renewed_before_it_expires_or_when_it_is_refused() {
        let refused = Secret::from_text("a".to_owned());
        let other = Secret::from_text("b".to_owned());
        for (grant, refused, expected) in [
            (grant(None, true), None, TokenState::Fresh),
            (grant(None, true), Some(&refused), TokenState::Over),
            (grant(None, true), Some(&other), TokenState::Fresh),
            (grant(Some(1_000_000), true), None, TokenState::Fresh),
            (grant(Some(130_000), true), None, TokenState::Ending),
            (grant(Some(130_000), false), None, TokenState::Fresh),
            (grant(Some(100_000), true), None, TokenState::Over),
        ] {
            assert_eq!(state_of(&grant, refused, 100_000), expected, "{grant:?}");
        }
    }
}
