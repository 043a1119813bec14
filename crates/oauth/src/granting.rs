//! Codes and refresh tokens for access tokens, which are short-lived keys of a project; and their end.

use std::collections::BTreeMap;

use api::state::Control;
use api::tokens::{self, Kind};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::{KeyId, Role, Secret, TraceId, WorkspaceId};
use reconcilers::{milliseconds, of_store};
use serde_json::{Value, json};
use snapshot::Scopes;
use store::{Act, ApiKeyRow, StoreError};
use subtle::ConstantTimeEq as _;
use url::form_urlencoded;

use crate::answer::Refusal;
use crate::claims::{Claims as _, CodeClaims, RefreshClaims, fingerprint, generation};
use crate::limits::{ACCESS_TIME_MAX, GRANT_TIME_MAX};
use crate::metadata::SCOPE;
use crate::sql::{self, Renewal};

/// The parameters of a form; one that is there twice counts as wrong.
fn form(body: &[u8]) -> Result<BTreeMap<String, String>, Refusal> {
    let mut fields = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(body) {
        if fields.insert(name.into_owned(), value.into_owned()).is_some() {
            return Err(Refusal::bad("invalid_request", "A parameter is there twice."));
        }
    }
    Ok(fields)
}

fn field<'a>(fields: &'a BTreeMap<String, String>, name: &str) -> Result<&'a str, Refusal> {
    let value = fields.get(name).map(String::as_str).filter(|value| !value.is_empty());
    value.ok_or_else(|| Refusal::bad("invalid_request", &format!("The parameter {name} is missing.")))
}

/// Answers a request for tokens.
pub(crate) async fn token(control: &Control, body: &[u8], trace: TraceId) -> Result<Value, Refusal> {
    let fields = form(body)?;
    match field(&fields, "grant_type")? {
        "authorization_code" => redeem(control, &fields, trace).await,
        "refresh_token" => refresh(control, &fields, trace).await,
        _ => Err(Refusal::bad("unsupported_grant_type", "Send authorization_code or refresh_token.")),
    }
}

fn answers(verifier: &str, challenge: &str) -> bool {
    let digest = proof::Digest::of(&[verifier.as_bytes()]);
    let is_long_enough = (43..=128).contains(&verifier.len());
    is_long_enough && bool::from(URL_SAFE_NO_PAD.encode(digest.0).as_bytes().ct_eq(challenge.as_bytes()))
}

async fn redeem(
    control: &Control,
    fields: &BTreeMap<String, String>,
    trace: TraceId,
) -> Result<Value, Refusal> {
    let (world, hasher) = (&control.deps.world, &*control.deps.vault.hasher);
    let now_unix_ms = world.clock.unix_ms();
    let code = CodeClaims::open(hasher, field(fields, "code")?, now_unix_ms).ok_or_else(Refusal::grant)?;
    let client = fingerprint(field(fields, "client_id")?);
    let is_its = code.client == client && fields.get("redirect_uri").is_none_or(|to| *to == code.redirect);
    if !is_its || !answers(field(fields, "code_verifier")?, &code.challenge) {
        return Err(Refusal::grant());
    }
    if fields.get("resource").is_some_and(|wanted| wanted.trim_end_matches('/') != code.resource) {
        return Err(Refusal::bad("invalid_target", "The code was issued for another resource."));
    }
    let store = &control.deps.store;
    let memberships = store.people().memberships(code.person).await.map_err(of_store)?;
    let membership = memberships.into_iter().find(|one| one.workspace == code.workspace);
    let membership = membership.filter(|one| one.role.covers(Role::Developer)).ok_or_else(Refusal::grant)?;
    let project = store.projects().get(code.workspace, code.project).await.map_err(|_| Refusal::grant())?;
    let (text, mut key) = minted(control, now_unix_ms, &project.environment);
    key.name = format!("{} (signed in)", code.client_name);
    (key.id, key.workspace, key.project) = (code.key, code.workspace, code.project);
    let digest = key.digest;
    let act = Act::new(world, code.person.to_string(), Some(trace));
    let device = tokens::digest(hasher, Kind::Device, &code.device);
    let granted = store.devices().grant(device, membership.role, key, act).await;
    let written = match granted {
        Err(StoreError::NotFound { .. }) => {
            // A code that comes twice was stolen, from its client or by it: what it was redeemed for ends.
            revoke_key(control, code.workspace, code.key, trace).await?;
            return Err(Refusal::grant());
        }
        granted => granted.map_err(of_store)?,
    };
    control.deps.await_published(written.version).await?;
    let until_unix_ms = now_unix_ms.saturating_add(milliseconds(GRANT_TIME_MAX));
    let next = RefreshClaims {
        client,
        key: code.key,
        workspace: code.workspace,
        generation: generation(hasher, &digest),
        expires_unix_ms: until_unix_ms,
    };
    Ok(tokens_of(control, &text, &next))
}

async fn refresh(
    control: &Control,
    fields: &BTreeMap<String, String>,
    trace: TraceId,
) -> Result<Value, Refusal> {
    let (world, hasher) = (&control.deps.world, &*control.deps.vault.hasher);
    let now_unix_ms = world.clock.unix_ms();
    let claims = RefreshClaims::open(hasher, field(fields, "refresh_token")?, now_unix_ms);
    let claims =
        claims.filter(|claims| fields.get("client_id").is_some_and(|id| fingerprint(id) == claims.client));
    let claims = claims.ok_or_else(Refusal::grant)?;
    let (workspace, key) = (claims.workspace, claims.key);
    let row = match control.deps.store.api_keys().get(workspace, key).await {
        Err(StoreError::NotFound { .. }) => return Err(Refusal::grant()),
        found => found.map_err(of_store)?,
    };
    let (text, new) = minted(control, now_unix_ms, &row.environment);
    let renewal = Renewal {
        workspace,
        key,
        from: row.digest,
        digest: new.digest,
        last4: new.last4,
        expires_unix_ms: new.expires_unix_ms.unwrap_or_default(),
    };
    let is_first = generation(hasher, &row.digest) == claims.generation;
    let act = Act::new(world, key.to_string(), Some(trace));
    let renewed = match is_first {
        true => Some(sql::renew(&control.deps.store, renewal, act).await.map_err(of_store)?),
        false => None,
    };
    let Some(written) = renewed.filter(|written| written.row) else {
        // A refresh token that comes twice is in two hands: neither keeps the key.
        revoke_key(control, workspace, key, trace).await?;
        return Err(Refusal::grant());
    };
    control.deps.await_published(written.version).await?;
    let next = RefreshClaims { generation: generation(hasher, &new.digest), ..claims };
    Ok(tokens_of(control, &text, &next))
}

/// A key that calls models, for a while.
fn minted(control: &Control, now_unix_ms: u64, environment: &str) -> (Secret, ApiKeyRow) {
    let (world, vault) = (&control.deps.world, &control.deps.vault);
    let minted = vault::mint_api_key(&*world.random, &*vault.hasher, environment == "production");
    let row = ApiKeyRow {
        origins: String::new(),
        id: KeyId::new(now_unix_ms, world.id_bytes()),
        workspace: WorkspaceId::new(0, [0; 10]),
        project: domain::ProjectId::new(0, [0; 10]),
        name: String::new(),
        digest: minted.digest,
        last4: minted.last4,
        environment: environment.to_owned(),
        scopes: Scopes { inference: true, read: false, admin: false, operator: false },
        expires_unix_ms: Some(now_unix_ms.saturating_add(milliseconds(ACCESS_TIME_MAX))),
        ip_allowlist: Vec::new(),
        priority: None,
        revoked_unix_ms: None,
        access_secret: None,
        created_by: None,
        created_unix_ms: now_unix_ms,
        version: 0,
    };
    (minted.text, row)
}

fn tokens_of(control: &Control, access: &Secret, next: &RefreshClaims) -> Value {
    json!({
        "access_token": access.expose_text().unwrap_or_default(),
        "token_type": "Bearer",
        "expires_in": ACCESS_TIME_MAX.as_secs(),
        "refresh_token": next.seal(&*control.deps.vault.hasher),
        "scope": SCOPE,
    })
}

async fn revoke_key(
    control: &Control,
    workspace: WorkspaceId,
    key: KeyId,
    trace: TraceId,
) -> Result<(), Refusal> {
    let act = Act::new(&control.deps.world, key.to_string(), Some(trace));
    match control.deps.store.devices().revoke_key(workspace, key, act).await {
        Err(StoreError::NotFound { .. }) => Ok(()),
        revoked => {
            let version = revoked.map_err(of_store)?.version;
            control.deps.await_published(version).await?;
            Ok(())
        }
    }
}

/// Ends a client's key by its access or refresh token (RFC 7009). Of a token that is none, nothing is said.
pub(crate) async fn revoke(control: &Control, body: &[u8], trace: TraceId) -> Result<(), Refusal> {
    let fields = form(body)?;
    let token = field(&fields, "token")?;
    let now_unix_ms = control.deps.world.clock.unix_ms();
    if let Some(claims) = RefreshClaims::open(&*control.deps.vault.hasher, token, now_unix_ms) {
        return revoke_key(control, claims.workspace, claims.key, trace).await;
    }
    let snapshot = control.deps.keeper.current();
    match snapshot.find_key(token) {
        Some(key) => revoke_key(control, key.workspace, key.id, trace).await,
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_answers_its_challenge() {
        // The example of RFC 7636.
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert!(answers(verifier, "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"));
        assert!(!answers(verifier, "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cN"));
        assert!(!answers("short", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"));
    }

    #[test]
    fn a_form_has_each_parameter_once() {
        let fields = form(b"grant_type=a+b&code=%2F").unwrap();
        assert_eq!((fields["grant_type"].as_str(), fields["code"].as_str()), ("a b", "/"));
        assert_eq!(field(&fields, "token").unwrap_err().error, "invalid_request");
        assert_eq!(form(b"a=1&a=2").unwrap_err().error, "invalid_request");
    }
}
