//! `/v2/mcp-servers/{id}/authorize` and `/v2/mcp-servers/authorized`: a person signs a project in at the authorization server of
//! its MCP server, and the console brings the answer.

use std::sync::Arc;

use ::tools::{
    CallFailure, CodeOrder, Declared, GrantRow, Grants, Kind as _, McpServerRow, SIGN_IN_TIME_MAX,
    ServerKind, SignInOrder, SignInRow, SignInSecret, note_wanted_scopes,
};
use api::access::{Access, People};
use api::failure::{invalid, missing, not_there};
use api::moment::Moment;
use api::openapi::description::Nothing;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use api::tokens::{self, Kind};
use domain::{Fault, FaultClass, Role, Secret};
use http::Method;
use reconcilers::{milliseconds, of_store};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::declared;
use crate::limits::OAUTH_ANSWER_BYTES_MAX;
use crate::mcp_servers::{ServerView, read_tools, view_of};
use crate::scope;

/// The console's page that browsers come back to.
const RETURN_PATH: &str = "/mcp-servers/authorized";
/// What a person may end: only in a browser, where the sign-in began.
const PERSON: Access = Access { key: None, people: Some(People::Least(Role::Admin)) };

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::POST, "/v2/mcp-servers/{id}/authorize", Access::MANAGE, begin)
            .says("Begins the sign-in at the server's authorization server: a person opens the address.")
            .takes_nothing()
            .returns::<SignInView>()
            .no_rehearsal("Only a call shows how the authorization server answers.")
            .refuses(409, "mcp_server_without_oauth")
            .refuses(502, "mcp_authorization_failed"),
        Route::new(Method::POST, "/v2/mcp-servers/authorized", PERSON, end)
            .says("Completes a sign-in with the parameters that the authorization server sent back through the browser.")
            .takes::<Returned>()
            .returns::<ServerView>()
            .no_rehearsal("A code can be used only once.")
            .refuses(409, "mcp_sign_in_over")
            .refuses(502, "mcp_authorization_failed"),
    ]
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "McpSignIn")]
struct SignInView {
    object: &'static str,
    mcp_server_id: String,
    /// Where a person signs in. It comes back to the console, where that person must be signed in, too.
    authorization_url: String,
    expires_at: Moment,
}

/// The query with which the authorization server sent the browser back.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "McpSignInReturn")]
struct Returned {
    #[schemars(required)]
    state: Option<String>,
    #[schemars(extend("writeOnly" = true))]
    code: Option<String>,
    /// The issuer (RFC 9207).
    iss: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

fn failed(failure: &CallFailure) -> Box<Fault> {
    let fix = "Nothing was changed. Begin the sign-in again once the authorization server works.";
    let fault = Fault::new(FaultClass::Upstream, "mcp_authorization_failed", failure.text.clone());
    Box::new(fault.fix(fix))
}

fn refused(message: impl Into<String>) -> Box<Fault> {
    let fault = Fault::new(FaultClass::Upstream, "mcp_authorization_failed", message.into());
    Box::new(fault.fix("Begin the sign-in again."))
}

fn over() -> Box<Fault> {
    let message = "This sign-in has ended, took too long, or was begun by another person.";
    let fault = Fault::new(FaultClass::Conflict, "mcp_sign_in_over", message);
    Box::new(fault.fix("Begin it again: POST /v2/mcp-servers/ID/authorize."))
}

fn unsealed(row: &McpServerRow, error: &impl std::fmt::Display) -> Box<Fault> {
    tracing::error!(workspace = %row.owner.workspace, %error, "a grant of an MCP server could not be sealed");
    Box::new(Fault::internal())
}

/// What calls lacked, with what was given before, so that nothing is lost; nothing where no call lacked any.
fn wanted_scopes(row: &McpServerRow, held: Option<&GrantRow>) -> Vec<String> {
    let wanted = &row.state.wanted_scopes;
    let given = held.filter(|_| !wanted.is_empty()).map(|held| held.scopes.as_slice()).unwrap_or_default();
    given.iter().chain(wanted).cloned().collect()
}

async fn begin(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row = declared::load::<ServerKind>(control, &request).await?;
    let Nothing {} = request.json()?;
    let Some(oauth) = row.definition.oauth.clone() else {
        let message = "The server is called without OAuth.";
        let fault = Fault::new(FaultClass::Conflict, "mcp_server_without_oauth", message);
        return Err(Box::new(fault.fix(r#"Change its "auth" to {"type": "oauth"} first."#)));
    };
    let deps = &control.deps;
    let grants = Grants::of(&deps.store);
    let held = grants.find(row.id).await.map_err(of_store)?;
    let wanted_scopes = wanted_scopes(&row, held.as_ref());
    let known = held.and_then(|held| held.open(&deps.vault).grant);
    let order = SignInOrder {
        url: row.definition.url.clone(),
        owner: row.owner.workspace,
        client_secret: row.client_secret(&deps.vault).filter(|_| oauth.has_client_secret),
        oauth,
        wanted_scopes,
        redirect: format!("{}{RETURN_PATH}", control.web.site.base_url(&request.headers)),
        known: known.map(|grant| (grant.client, grant.issuer, grant.redirect)),
    };
    let plan = deps.outbound.plan_sign_in(order).await.map_err(|failure| failed(&failure))?;
    let (state, verifier) = (tokens::mint(&*deps.world.random), tokens::mint(&*deps.world.random));
    let address = plan.address(&state, &verifier).map_err(|failure| failed(&failure))?;
    let digest =
        tokens::digest(&*deps.vault.hasher, Kind::SignInState, state.expose_text().unwrap_or_default());
    let (url, verifier) = (row.definition.url.clone(), Arc::new(verifier));
    let secret = SignInSecret { party: plan.party, verifier, url };
    let secret = secret.seal(&deps.vault, row.owner, (&digest, request.trace));
    let now_unix_ms = deps.world.clock.unix_ms();
    let expires_unix_ms = now_unix_ms.saturating_add(milliseconds(SIGN_IN_TIME_MAX));
    let sign_in = SignInRow {
        state: digest,
        server: row.id,
        owner: row.owner,
        actor: request.caller.actor(),
        session: request.caller.person().map(|person| person.signed_in.session.digest),
        secret: secret.map_err(|error| unsealed(&row, &error))?,
        expires_unix_ms,
    };
    grants.begin(sign_in, now_unix_ms).await.map_err(of_store)?;
    Reply::json(&SignInView {
        object: "mcp_sign_in",
        mcp_server_id: row.id.to_string(),
        authorization_url: address,
        expires_at: Moment(expires_unix_ms),
    })
}

async fn end(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let returned: Returned = request.json()?;
    check_lengths(&returned)?;
    let deps = &control.deps;
    let (sign_in, secret) = taken(control, &request, returned.state.as_deref()).await?;
    let server = Declared::of(&deps.store).get::<ServerKind>(request.workspace(), sign_in.server).await;
    let server = server.map_err(|error| not_there(error, ServerKind::WHAT, &sign_in.server))?;
    if server.definition.url != secret.url || server.definition.oauth.is_none() {
        return Err(over());
    }
    check_issuer(&returned, &secret)?;
    let code = code_of(returned)?;
    let now_unix_ms = deps.world.clock.unix_ms();
    let SignInSecret { party, verifier, .. } = secret;
    let order = CodeOrder { owner: server.owner.workspace, party, code, verifier, now_unix_ms };
    let grant = deps.outbound.redeem_code(order).await.map_err(|failure| failed(&failure))?;
    let sealed = GrantRow::seal(&deps.vault, (server.owner, server.id), request.trace, &grant);
    let sealed = sealed.map_err(|error| unsealed(&server, &error))?;
    let act = request.act(&deps.world);
    Grants::of(&deps.store).give(sealed, act).await.map_err(of_store)?;
    // What is lacking still, the next call says again.
    note_wanted_scopes(&deps.store, (server.owner, server.id), Vec::new()).await.map_err(of_store)?;
    let server = read_tools(control, server).await?;
    view_of(control, &server).await
}

fn check_lengths(returned: &Returned) -> Result<(), Box<Fault>> {
    let Returned { state, code, iss, error, error_description } = returned;
    for (name, text) in [
        ("state", state),
        ("code", code),
        ("iss", iss),
        ("error", error),
        ("error_description", error_description),
    ] {
        if text.as_ref().is_some_and(|text| text.len() > OAUTH_ANSWER_BYTES_MAX) {
            return Err(invalid(
                name,
                "It is too long.",
                "Send the query exactly as the browser received it.",
            ));
        }
    }
    Ok(())
}

/// The sign-in of a state: of the same workspace, and of the person and session where a person began it.
async fn taken(
    control: &Control,
    request: &ApiRequest,
    state: Option<&str>,
) -> Result<(SignInRow, SignInSecret), Box<Fault>> {
    let deps = &control.deps;
    let state =
        state.ok_or_else(|| missing("state", "Send the query exactly as the browser received it."))?;
    let digest = tokens::digest(&*deps.vault.hasher, Kind::SignInState, state);
    let now_unix_ms = deps.world.clock.unix_ms();
    let grants = Grants::of(&deps.store);
    let sign_in = grants.sign_in(digest).await.map_err(of_store)?;
    let session = request.caller.person().map(|person| person.signed_in.session.digest);
    let is_its = |row: &SignInRow| {
        row.owner.workspace == request.workspace()
            && row.expires_unix_ms > now_unix_ms
            && (row.session.is_none() || (row.session == session && row.actor == request.caller.actor()))
    };
    let sign_in = sign_in.filter(is_its).ok_or_else(over)?;
    scope::check(request, sign_in.owner.project, ServerKind::WHAT, &sign_in.server)?;
    let row = grants.take(digest).await.map_err(of_store)?.ok_or_else(over)?;
    let secret = SignInSecret::open(&row, &deps.vault).ok_or_else(over)?;
    Ok((row, secret))
}

/// An answer of another authorization server than the one that was asked is not redeemed (RFC 9207).
fn check_issuer(returned: &Returned, secret: &SignInSecret) -> Result<(), Box<Fault>> {
    let party = &secret.party;
    match &returned.iss {
        Some(issuer) if *issuer != party.issuer => {
            Err(refused("The answer comes from another authorization server than the sign-in."))
        }
        None if party.names_issuer => Err(refused("The answer does not name its authorization server.")),
        _ => Ok(()),
    }
}

fn code_of(returned: Returned) -> Result<Arc<Secret>, Box<Fault>> {
    if let Some(error) = returned.error {
        let words = format!("{error} {}", returned.error_description.unwrap_or_default());
        let words: String = words.chars().filter(|letter| !letter.is_control()).take(300).collect();
        return Err(refused(format!("The authorization server refuses: {}", words.trim_end())));
    }
    let code = returned.code.filter(|code| !code.is_empty());
    let code = code.ok_or_else(|| missing("code", "Send the query exactly as the browser received it."))?;
    Ok(Arc::new(Secret::from_text(code)))
}
