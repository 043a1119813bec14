//! `POST /v2/oauth/consent`: a signed-in person is shown who wants a key of a project, and lets it have one or not.

use std::sync::Arc;

use api::access::{Access, insufficient_role, person_needed};
use api::failure::{invalid, missing, not_found};
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use api::tokens::{self, Kind};
use domain::{Fault, FaultClass, KeyId, ProjectId, Role};
use http::Method;
use reconcilers::{milliseconds, of_store};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::StoreError;
use url::Url;

use crate::claims::{Claims as _, ClientClaims, CodeClaims, fingerprint};
use crate::clients;
use crate::limits::{CODE_TIME_MAX, STATE_BYTES_MAX};
use crate::metadata::{SCOPE, resource};
use crate::sql::{self, ConsentRow};

const AGAIN: &str = "Begin the sign-in again in the program that you came from.";

pub(crate) fn route() -> Route {
    Route::new(Method::POST, "/v2/oauth/consent", Access::PERSON, consent)
        .says("Shows which program requests a key of a project and, with `approve`, grants or denies it.")
        .takes::<Input>()
        .returns_value::<Consent>()
}

/// The parameters that a program sent the person's browser here with, and what the person says.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "OauthConsent")]
struct Input {
    #[schemars(required)]
    client_id: Option<String>,
    #[schemars(required)]
    redirect_uri: Option<String>,
    /// `code`, the only one.
    response_type: Option<String>,
    /// Of PKCE.
    #[schemars(required)]
    code_challenge: Option<String>,
    /// `S256`, the only one.
    code_challenge_method: Option<String>,
    #[schemars(length(max = STATE_BYTES_MAX))]
    state: Option<String>,
    scope: Option<String>,
    /// This gateway's `/mcp`.
    resource: Option<String>,
    /// The project of the key; required to approve.
    #[schemars(regex(pattern = ProjectId::pattern()))]
    project_id: Option<String>,
    /// Without it, the program is only shown.
    approve: Option<bool>,
}

#[derive(Serialize, JsonSchema)]
struct Consent {
    object: &'static str,
    client_name: String,
    /// Where the browser goes afterwards.
    redirect_host: String,
    scope: &'static str,
    #[schemars(extend("enum" = ["pending", "denied", "approved"]))]
    status: &'static str,
    /// The address to continue at, once it is decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    redirect_to: Option<String>,
}

/// What a program asks for.
struct Wanted {
    client: ClientClaims,
    client_id: String,
    redirect: Url,
    redirect_text: String,
    challenge: String,
    resource: String,
    state: Option<String>,
}

async fn consent(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let input: Input = request.json()?;
    let approve = input.approve;
    let project = input.project_id.clone();
    let wanted = read(control, &request, input)?;
    let (status, answer) = match approve {
        None => ("pending", None),
        Some(false) => ("denied", Some(("error", "access_denied".to_owned()))),
        Some(true) => ("approved", Some(("code", code(control, &request, &wanted, project).await?))),
    };
    let redirect_to = answer.map(|(name, value)| {
        let mut to = wanted.redirect.clone();
        to.query_pairs_mut().append_pair(name, &value);
        if let Some(state) = &wanted.state {
            to.query_pairs_mut().append_pair("state", state);
        }
        to.query_pairs_mut().append_pair("iss", &control.web.site.base_url(&request.headers));
        to.to_string()
    });
    let redirect_host = place_of(&wanted.redirect);
    let client_name = wanted.client.name;
    Reply::json(&Consent {
        object: "oauth_consent",
        client_name,
        redirect_host,
        scope: SCOPE,
        status,
        redirect_to,
    })
}

/// Where a person is returned to, as they are told. An app's own scheme may name any host, and it is the scheme that says who is meant.
fn place_of(redirect: &Url) -> String {
    let host = redirect.host_str().unwrap_or_default();
    match redirect.scheme() {
        "https" | "http" => host.to_owned(),
        own => format!("{own}://{host}"),
    }
}

/// Reads what the program asks for. Until its address is known to be its own, the browser is sent nowhere.
fn read(control: &Control, request: &ApiRequest, input: Input) -> Result<Wanted, Box<Fault>> {
    let client_id = input.client_id.ok_or_else(|| missing("client_id", AGAIN))?;
    let redirect_text = input.redirect_uri.ok_or_else(|| missing("redirect_uri", AGAIN))?;
    let challenge = input.code_challenge.ok_or_else(|| missing("code_challenge", AGAIN))?;
    let now_unix_ms = control.deps.world.clock.unix_ms();
    let client = clients::client(&*control.deps.vault.hasher, &client_id, &redirect_text, now_unix_ms);
    let client = client.ok_or_else(|| {
        invalid("client_id", "The program is not registered here with this address, or no longer.", AGAIN)
    })?;
    let redirect =
        Url::parse(&redirect_text).map_err(|_| invalid("redirect_uri", "It isn't an address.", AGAIN))?;
    let is_challenge = challenge.len() == 43
        && challenge.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if !is_challenge || input.code_challenge_method.as_deref() != Some("S256") {
        return Err(invalid("code_challenge", "It must be an S256 challenge.", AGAIN));
    }
    if input.response_type.is_some_and(|kind| kind != "code") {
        return Err(invalid("response_type", "Only \"code\" is supported.", AGAIN));
    }
    let is_known = |scope: &str| scope == SCOPE || scope == "offline_access";
    if input.scope.is_some_and(|scopes| !scopes.split(' ').filter(|scope| !scope.is_empty()).all(is_known)) {
        return Err(invalid("scope", "Programs can only get the scope \"inference\".", AGAIN));
    }
    let own = resource(&control.web.site.base_url(&request.headers));
    if input.resource.as_deref().is_some_and(|wanted| wanted.trim_end_matches('/') != own) {
        return Err(invalid("resource", format!("Keys are issued only for {own}."), AGAIN));
    }
    if input.state.as_ref().is_some_and(|state| state.len() > STATE_BYTES_MAX) {
        return Err(invalid("state", "It is too long.", AGAIN));
    }
    Ok(Wanted { client, client_id, redirect, redirect_text, challenge, resource: own, state: input.state })
}

/// A code of the person's consent, which is redeemed once.
async fn code(
    control: &Control,
    request: &ApiRequest,
    wanted: &Wanted,
    project: Option<String>,
) -> Result<String, Box<Fault>> {
    let person = request.caller.person().ok_or_else(person_needed)?.signed_in.person.id;
    let workspace = request.workspace();
    let memberships = control.deps.store.people().memberships(person).await.map_err(of_store)?;
    let membership =
        memberships.into_iter().find(|one| one.workspace == workspace).ok_or_else(person_needed)?;
    if !membership.role.covers(Role::Developer) {
        return Err(insufficient_role(Role::Developer.as_str(), membership.role));
    }
    let project = project.ok_or_else(|| missing("project_id", "Choose the project of the key."))?;
    let found = project.parse::<ProjectId>().map_err(|_| not_found("project", &project))?;
    let project = control.deps.store.projects().get(workspace, found).await.map_err(of_store)?.id;
    let world = &control.deps.world;
    let (now_unix_ms, hasher) = (world.clock.unix_ms(), &*control.deps.vault.hasher);
    let (device, handle) = (tokens::mint(&*world.random), tokens::mint(&*world.random));
    let device = device.expose_text().unwrap_or_default().to_owned();
    let expires_unix_ms = now_unix_ms.saturating_add(milliseconds(CODE_TIME_MAX));
    let row = ConsentRow {
        digest: tokens::digest(hasher, Kind::Device, &device),
        user_code: tokens::digest(hasher, Kind::UserCode, handle.expose_text().unwrap_or_default()),
        client_name: wanted.client.name.clone(),
        address: request.peer.to_string(),
        person,
        workspace,
        created_unix_ms: now_unix_ms,
        expires_unix_ms,
    };
    let act = request.act(world);
    sql::keep(&control.deps.store, row, act).await.map_err(busy)?;
    let claims = CodeClaims {
        client: fingerprint(&wanted.client_id),
        client_name: wanted.client.name.clone(),
        redirect: wanted.redirect_text.clone(),
        challenge: wanted.challenge.clone(),
        resource: wanted.resource.clone(),
        device,
        key: KeyId::new(now_unix_ms, world.id_bytes()),
        person,
        workspace,
        project,
        expires_unix_ms,
    };
    Ok(claims.seal(hasher))
}

fn busy(error: StoreError) -> Box<Fault> {
    match error {
        StoreError::Conflict { what: "too_many_devices", .. } => Box::new(
            Fault::new(FaultClass::RateLimit, "too_many_attempts", "Too many programs wait for their keys.")
                .fix("Try again in a minute: until then, what you approved waits for its programs.")
                .retry_after_ms(60_000),
        ),
        other => of_store(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_told_the_scheme_of_an_apps_own_address() {
        for (address, told) in [
            ("https://accounts.example.com/cb?x=1", "accounts.example.com"),
            ("http://127.0.0.1:33418/cb", "127.0.0.1"),
            ("evilapp://accounts.example.com/cb", "evilapp://accounts.example.com"),
            ("editor:///cb", "editor://"),
        ] {
            assert_eq!(place_of(&Url::parse(address).unwrap()), told);
        }
    }
}
