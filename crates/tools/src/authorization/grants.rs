//! What is stored of sign-ins and of grants, sealed with the key of their workspace.

use std::sync::Arc;

use domain::grants::{ClientProof, HeldGrant, McpGrant, OauthClient};
use domain::{McpServerId, ObjectOwner, Secret, TraceId};
use proof::Digest;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use vault::{Vault, VaultError};

use super::sign_in::Party;
use crate::sealed::{SealedHeaders, seal_bytes};

/// A grant of an MCP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantRow {
    pub server: McpServerId,
    pub owner: ObjectOwner,
    /// `None` once the authorization server refused to renew it.
    pub secret: Option<SealedHeaders>,
    pub scopes: Vec<String>,
    /// It has a refresh token.
    pub is_renewable: bool,
    pub expires_unix_ms: Option<u64>,
    pub claimed_until_unix_ms: Option<u64>,
    pub version: u64,
}

/// A sign-in that a person has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignInRow {
    /// The keyed hash of the state.
    pub state: [u8; 32],
    pub server: McpServerId,
    pub owner: ObjectOwner,
    /// Who began it: a member's id, or a key's.
    pub actor: String,
    /// The session of the person who began it.
    pub session: Option<[u8; 32]>,
    pub secret: SealedHeaders,
    pub expires_unix_ms: u64,
}

/// What ends a sign-in, opened.
#[derive(Debug, Clone)]
pub struct SignInSecret {
    pub party: Party,
    pub verifier: Arc<Secret>,
    /// The address that the server had: at another one is another server.
    pub url: String,
}

#[derive(Serialize, Deserialize)]
struct KeptClient {
    id: String,
    secret: Option<String>,
    proof: ClientProof,
}

#[derive(Serialize, Deserialize)]
struct KeptGrant {
    access: String,
    refresh: Option<String>,
    issuer: String,
    token_endpoint: String,
    client: KeptClient,
    redirect: String,
    resource: String,
}

#[derive(Serialize, Deserialize)]
struct KeptSignIn {
    issuer: String,
    token_endpoint: String,
    names_issuer: bool,
    client: KeptClient,
    redirect: String,
    resource: String,
    scopes: Vec<String>,
    verifier: String,
    url: String,
}

fn plain(secret: &Secret) -> String {
    secret.expose_text().unwrap_or_default().to_owned()
}

fn secret(text: String) -> Arc<Secret> {
    Arc::new(Secret::from_text(text))
}

impl KeptClient {
    fn of(client: &OauthClient) -> Self {
        let secret = client.secret.as_deref().map(plain);
        Self { id: client.id.clone(), secret, proof: client.proof }
    }

    fn opened(self) -> OauthClient {
        OauthClient { id: self.id, secret: self.secret.map(secret), proof: self.proof }
    }
}

fn seal(
    vault: &Vault,
    owner: ObjectOwner,
    (name, request): (&str, TraceId),
    kept: &impl Serialize,
) -> Result<SealedHeaders, VaultError> {
    let bytes = Secret::new(serde_json::to_vec(kept).unwrap_or_default());
    seal_bytes(vault, owner, (name, request), &bytes)
}

fn open<T: DeserializeOwned>(sealed: &SealedHeaders, vault: &Vault, owner: ObjectOwner) -> Option<T> {
    serde_json::from_slice(sealed.open_bytes(vault, owner)?.expose()).ok()
}

impl GrantRow {
    pub fn seal(
        vault: &Vault,
        (owner, server): (ObjectOwner, McpServerId),
        request: TraceId,
        grant: &McpGrant,
    ) -> Result<Self, VaultError> {
        let kept = KeptGrant {
            access: plain(&grant.access),
            refresh: grant.refresh.as_deref().map(plain),
            issuer: grant.issuer.clone(),
            token_endpoint: grant.token_endpoint.clone(),
            client: KeptClient::of(&grant.client),
            redirect: grant.redirect.clone(),
            resource: grant.resource.clone(),
        };
        let name = format!("grant of {server}");
        Ok(Self {
            server,
            owner,
            secret: Some(seal(vault, owner, (&name, request), &kept)?),
            scopes: grant.scopes.clone(),
            is_renewable: grant.refresh.is_some(),
            expires_unix_ms: grant.expires_unix_ms,
            claimed_until_unix_ms: None,
            version: 1,
        })
    }

    /// The grant, opened. One that does not open any more must be given again.
    pub fn open(&self, vault: &Vault) -> HeldGrant {
        let kept = self.secret.as_ref().and_then(|sealed| open::<KeptGrant>(sealed, vault, self.owner));
        let grant = kept.map(|kept| McpGrant {
            access: secret(kept.access),
            refresh: kept.refresh.map(secret),
            expires_unix_ms: self.expires_unix_ms,
            scopes: self.scopes.clone(),
            issuer: kept.issuer,
            token_endpoint: kept.token_endpoint,
            client: kept.client.opened(),
            redirect: kept.redirect,
            resource: kept.resource,
        });
        HeldGrant { grant, claimed_until_unix_ms: self.claimed_until_unix_ms, version: self.version }
    }
}

impl SignInSecret {
    pub fn seal(
        &self,
        vault: &Vault,
        owner: ObjectOwner,
        (state, request): (&[u8; 32], TraceId),
    ) -> Result<SealedHeaders, VaultError> {
        let party = &self.party;
        let kept = KeptSignIn {
            issuer: party.issuer.clone(),
            token_endpoint: party.token_endpoint.clone(),
            names_issuer: party.names_issuer,
            client: KeptClient::of(&party.client),
            redirect: party.redirect.clone(),
            resource: party.resource.clone(),
            scopes: party.scopes.clone(),
            verifier: plain(&self.verifier),
            url: self.url.clone(),
        };
        seal(vault, owner, (&format!("sign-in {}", Digest(*state)), request), &kept)
    }

    /// `None` if it does not open any more.
    pub fn open(row: &SignInRow, vault: &Vault) -> Option<Self> {
        let kept: KeptSignIn = open(&row.secret, vault, row.owner)?;
        let party = Party {
            issuer: kept.issuer,
            token_endpoint: kept.token_endpoint,
            names_issuer: kept.names_issuer,
            client: kept.client.opened(),
            redirect: kept.redirect,
            resource: kept.resource,
            scopes: kept.scopes,
        };
        Some(Self { party, verifier: secret(kept.verifier), url: kept.url })
    }
}
