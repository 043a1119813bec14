//! Data planes: `/v2/data-planes` invites, lists and revokes them, and `/v2/data-planes/join` lets one in.

use std::sync::Arc;

use api::access::Access;
use api::attempts::AttemptSubject;
use api::caller::UnauthenticatedCaller;
use api::failure::{invalid, missing};
use api::limits::NAME_CHARS_MAX;
use api::moment::Moment;
use api::names::checked_name;
use api::openapi::bounds::NAME;
use api::openapi::description::Nothing;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use api::tokens::{self, Kind};
use dataplane::{
    DataPlaneRow, DataPlanes, EvidenceRow, EvidenceStore, Joining, Progress, seal_key_hash, wire,
};
use domain::limits::JOIN_TOKEN_TIME_MAX;
use domain::{DataPlaneId, Fault, FaultClass, Secret};
use http::Method;
use proof::{PublicKey, from_hex};
use reconcilers::{milliseconds, of_store};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::{Act, StoreError};

use crate::limits::PROGRAM_BYTES_MAX;

const PATH: &str = "/v2/data-planes";
const ONE: &str = "/v2/data-planes/{id}";
const WHAT: &str = "data plane";

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::POST, PATH, Access::MANAGE, invite)
            .says("Creates a token for one data plane. It is only in this response.")
            .takes::<Invitation>()
            .makes_once::<Invited<'_>>()
            .refuses(409, "name_taken"),
        Route::new(Method::GET, PATH, Access::LOOK, list)
            .says("Lists data planes, with the version of the configuration that each serves.")
            .lists::<PlaneView>(),
        Route::new(Method::GET, ONE, Access::LOOK, show)
            .says("Shows a data plane, when it was last heard from, and how far behind it is.")
            .returns::<PlaneView>(),
        Route::new(Method::POST, "/v2/data-planes/{id}/revoke", Access::MANAGE, revoke)
            .says("Revokes a data plane, or its token. Within seconds it stops serving, and forgets its credentials.")
            .takes::<Nothing>()
            .returns::<PlaneView>(),
        Route::new(Method::POST, "/v2/data-planes/{id}/supersede", Access::MANAGE, supersede)
            .says("Makes the configuration newer than the one that a data plane has, so that a data plane that is ahead applies it.")
            .takes::<Nothing>()
            .returns::<PlaneView>()
            .refuses(409, "data_plane_too_far_ahead"),
        Route::new(Method::GET, "/v2/data-planes/{id}/evidence", Access::LOOK, evidence)
            .says("Lists what a data plane signed: receipts of purges, and heads of its audit.")
            .lists::<EvidenceView>(),
        Route::open(Method::POST, wire::JOIN, join)
            .says("Joins a data plane: exchanges a token for the credential that authenticates its calls.")
            .takes::<Join>()
            .no_rehearsal("A token is good for one use: it can't be tried.")
            .returns_value::<Joined<'_>>()
            .refuses(401, "unknown_data_plane_token")
            .refuses(409, "data_plane_token_used")
            .refuses(409, "data_plane_token_expired"),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DataPlaneInvitation")]
struct Invitation {
    /// The data plane's name.
    #[schemars(required)]
    #[schemars(length(min = 1, max = NAME_CHARS_MAX), regex(pattern = NAME))]
    name: Option<String>,
    /// How long the token is valid; an hour by default, a week at most.
    #[schemars(range(min = 1, max = JOIN_TOKEN_TIME_MAX.as_secs() / 60))]
    expires_in_minutes: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DataPlaneToken")]
struct Invited<'a> {
    object: &'static str,
    id: String,
    name: String,
    /// Only in this response.
    token: &'a str,
    expires_at: Moment,
}

async fn invite(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let input: Invitation = request.json()?;
    let name = checked_name(input.name, "name")?;
    let time = tokens::join_time(input.expires_in_minutes)?;
    let now = control.deps.world.clock.unix_ms();
    // With the fingerprint of the key that signs here, so that a data plane knows whom it joins.
    let fingerprint = control.deps.auditor.public_key().fingerprint();
    let token = mint(control, &format!(".{fingerprint}"));
    let text = token.expose_text().unwrap_or_default();
    let token_expires_unix_ms = now.saturating_add(milliseconds(time));
    let row = DataPlaneRow {
        id: DataPlaneId::new(now, control.deps.world.id_bytes()),
        workspace: request.workspace(),
        name,
        replica: 0,
        token_digest: tokens::digest(&*control.deps.vault.hasher, Kind::DataPlaneToken, text),
        token_expires_unix_ms,
        joined_unix_ms: None,
        sealed_for: [0; 32],
        signing_key: [0; 32],
        revoked_unix_ms: None,
        seen_unix_ms: None,
        applied_version: None,
        applied_history: None,
        delivered_place: None,
        program: None,
        created_unix_ms: now,
        version: 0,
    };
    let act = request.act(&control.deps.world);
    let written = planes(control).invite(row, act).await.map_err(name_taken)?;
    control.deps.await_published(written.version).await?;
    let DataPlaneRow { id, name, .. } = written.row;
    let expires_at = Moment(token_expires_unix_ms);
    let invited = Invited { object: "data_plane_token", id: id.to_string(), name, token: text, expires_at };
    Ok(Reply::json(&invited)?.as_created(format!("{PATH}/{id}")))
}

fn planes(control: &Control) -> DataPlanes {
    DataPlanes::of(&control.deps.store)
}

fn mint(control: &Control, end: &str) -> Secret {
    let token = tokens::mint(&*control.deps.world.random);
    Secret::from_text(format!("tgp_{}{end}", token.expose_text().unwrap_or_default()))
}

fn name_taken(error: StoreError) -> Box<Fault> {
    match error {
        StoreError::Conflict { what: "name_taken", detail, .. } => Box::new(
            Fault::new(FaultClass::Conflict, "name_taken", format!("{detail}."))
                .param("name")
                .fix("Choose another name, or revoke that data plane first."),
        ),
        other => of_store(other),
    }
}

/// A gateway that serves elsewhere what this installation configures.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DataPlane")]
struct PlaneView {
    object: &'static str,
    id: String,
    name: String,
    #[schemars(extend("enum" = ["invited", "expired", "joined", "revoked"]))]
    status: &'static str,
    /// The version of the configuration that it serves.
    applied_version: Option<u64>,
    /// How that compares with what is in force here, as far as it concerns the workspace. Ahead: it has changes that this
    /// installation lost when it was restored from a backup; it takes nothing until it is superseded, or more is changed.
    #[schemars(extend("enum" = ["current", "behind", "ahead", null]))]
    configuration: Option<&'static str>,
    is_current: bool,
    /// When it was last heard from.
    last_seen_at: Option<Moment>,
    /// Of Tidegate.
    program_version: Option<String>,
    /// The fingerprint of the key that signs its evidence.
    signing_key_fingerprint: Option<String>,
    created_at: Moment,
    joined_at: Option<Moment>,
    revoked_at: Option<Moment>,
    /// Until when its token lets it in.
    token_expires_at: Moment,
}

async fn view(control: &Control, row: &DataPlaneRow) -> Result<PlaneView, Box<Fault>> {
    let status = row.state(control.deps.world.clock.unix_ms()).as_str();
    let progress = match row.applied_version {
        Some(applied) => {
            let builder = crate::plane_calls::builder(control);
            let history = row.applied_history.as_deref();
            Some(builder.progress(row, applied, history).await.map_err(of_store)?)
        }
        None => None,
    };
    let configuration = progress.map(Progress::as_str);
    let signing_key =
        row.joined_unix_ms.and_then(|_| proof::to_hex(&row.signing_key).parse::<PublicKey>().ok());
    Ok(PlaneView {
        object: "data_plane",
        id: row.id.to_string(),
        name: row.name.clone(),
        status,
        applied_version: row.applied_version,
        configuration,
        is_current: progress == Some(Progress::Current),
        last_seen_at: row.seen_unix_ms.map(Moment),
        program_version: row.program.clone(),
        signing_key_fingerprint: signing_key.map(|key| key.fingerprint()),
        created_at: Moment(row.created_unix_ms),
        joined_at: row.joined_unix_ms.map(Moment),
        revoked_at: row.revoked_unix_ms.map(Moment),
        token_expires_at: Moment(row.token_expires_unix_ms),
    })
}

async fn list(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let listed = planes(control).list(request.workspace(), request.page()?).await.map_err(of_store)?;
    let mut data = Vec::with_capacity(listed.rows.len());
    for row in &listed.rows {
        data.push(view(control, row).await?);
    }
    let api::reply::Page { next_cursor, has_more, .. } = request.page_of(listed, |_| ());
    Reply::json(&api::reply::Page { data, next_cursor, has_more })
}

async fn render(control: &Control, row: &DataPlaneRow) -> Result<Reply, Box<Fault>> {
    Ok(Reply::json(&view(control, row).await?)?.version(row.version))
}

async fn show(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row = planes(control).get(request.workspace(), request.id(WHAT)?).await.map_err(of_store)?;
    render(control, &row).await
}

async fn revoke(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let Nothing {} = request.json()?;
    let act = request.act(&control.deps.world);
    let written = planes(control).revoke(request.workspace(), request.id(WHAT)?, act).await;
    let written = written.map_err(of_store)?;
    control.deps.await_published(written.version).await?;
    render(control, &written.row).await
}

async fn supersede(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let Nothing {} = request.json()?;
    let act = request.act(&control.deps.world);
    let written = planes(control).supersede(request.workspace(), request.id(WHAT)?, act).await;
    let written = written.map_err(too_far)?;
    control.deps.await_published(written.version).await?;
    render(control, &written.row).await
}

fn too_far(error: StoreError) -> Box<Fault> {
    match error {
        StoreError::Conflict { what: "data_plane_too_far_ahead", detail, .. } => Box::new(
            Fault::new(FaultClass::Conflict, "data_plane_too_far_ahead", format!("{detail}."))
                .fix("Revoke it, and join another."),
        ),
        other => of_store(other),
    }
}

/// What a data plane signed.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DataPlaneEvidenceShown")]
struct EvidenceView {
    object: &'static str,
    #[schemars(extend("enum" = ["purge_receipt", "audit_head"]))]
    kind: String,
    /// The purge job, or the chain and its length.
    of: String,
    received_at: Moment,
    /// With the data plane's signature.
    document: Map<String, Value>,
}

async fn evidence(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let id: DataPlaneId = request.id(WHAT)?;
    planes(control).get(request.workspace(), id).await.map_err(of_store)?;
    let listed = EvidenceStore::of(&control.deps.store).list(id, request.page()?).await;
    Reply::json(&request.page_of(listed.map_err(of_store)?, |row: &EvidenceRow| EvidenceView {
        object: "data_plane_evidence",
        kind: row.kind.clone(),
        of: row.object.clone(),
        received_at: Moment(row.received_unix_ms),
        document: row.document.clone(),
    }))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DataPlaneJoin")]
struct Join {
    #[schemars(required, extend("writeOnly" = true))]
    token: Option<String>,
    /// The X25519 key that secrets are sealed for, in hexadecimal.
    #[schemars(required)]
    sealed_for: Option<String>,
    /// The Ed25519 key that signs its evidence, in hexadecimal.
    #[schemars(required)]
    signing_key: Option<String>,
    /// Of Tidegate.
    #[serde(default)]
    program: String,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DataPlaneJoined")]
struct Joined<'a> {
    object: &'static str,
    data_plane_id: String,
    name: String,
    workspace_id: String,
    /// The credential for its calls; only in this response.
    credential: &'a str,
    /// The Ed25519 key that signs its configuration, in hexadecimal.
    control_key: String,
    /// The key of the hash of API keys, sealed for it, as Base64.
    key_hash: String,
}

async fn join(control: &Arc<Control>, request: ApiRequest<UnauthenticatedCaller>) -> Handled {
    let mut input: Join = request.json()?;
    let now = control.deps.world.clock.unix_ms();
    let trier = AttemptSubject::address(request.peer);
    control.sign_in.attempts.count(&control.deps.store, &trier, None, now).await?;
    let token = input.token.take().map(Secret::from_text);
    let token = token.ok_or_else(|| missing("token", "Send what `tidegate data-planes invite` showed."))?;
    let sealed_for = key_in(input.sealed_for, "sealed_for")?;
    let signing_key = key_in(input.signing_key, "signing_key")?;
    let hasher = &*control.deps.vault.hasher;
    let credential = mint(control, "");
    let text = credential.expose_text().unwrap_or_default();
    let joining = Joining {
        token: tokens::digest(hasher, Kind::DataPlaneToken, token.expose_text().unwrap_or_default()),
        credential: tokens::digest(hasher, Kind::DataPlane, text),
        sealed_for,
        signing_key,
        program: input.program.chars().take(PROGRAM_BYTES_MAX).collect(),
    };
    let act = Act::new(&control.deps.world, "data_plane", Some(request.trace));
    let written = planes(control).join(joining, act).await.map_err(not_joined)?;
    control.sign_in.attempts.forget(&control.deps.store, &trier);
    let row = written.row;
    let key_hash = seal_key_hash(&row, &control.deps.vault, &control.deps.world);
    let key_hash = key_hash.map_err(|_| invalid("sealed_for", "It isn't an X25519 key.", "Send the key."))?;
    Reply::json(&Joined {
        object: "data_plane_join",
        data_plane_id: row.id.to_string(),
        name: row.name,
        workspace_id: row.workspace.to_string(),
        credential: text,
        control_key: control.deps.auditor.public_key().to_string(),
        key_hash,
    })
}

fn key_in(text: Option<String>, field: &'static str) -> Result<[u8; 32], Box<Fault>> {
    const FIX: &str = "Send 64 hexadecimal digits.";
    let text = text.ok_or_else(|| missing(field, FIX))?;
    from_hex(&text).ok_or_else(|| invalid(field, "It is not a key of 32 bytes.", FIX))
}

fn not_joined(error: StoreError) -> Box<Fault> {
    let fault = |class, code, message: &'static str, fix: &'static str| {
        Box::new(Fault::new(class, code, message).param("token").fix(fix))
    };
    const ANOTHER: &str = "Make another with `tidegate data-planes invite`; each lets one data plane in.";
    match error {
        StoreError::NotFound { .. } => fault(
            FaultClass::Unauthenticated,
            "unknown_data_plane_token",
            "This token is unknown here.",
            "Copy it whole, and name the control plane that made it; `tidegate data-planes invite` makes another.",
        ),
        StoreError::Conflict { what: "data_plane_token_used", .. } => fault(
            FaultClass::Conflict,
            "data_plane_token_used",
            "This token was used before, or its data plane is revoked.",
            ANOTHER,
        ),
        StoreError::Conflict { what: "data_plane_token_expired", .. } => {
            fault(FaultClass::Conflict, "data_plane_token_expired", "This token is too old.", ANOTHER)
        }
        other => of_store(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_lets_nobody_in_says_why() {
        let code_of = |what: &'static str| not_joined(StoreError::conflict(what, "why", None)).code;
        assert_eq!(code_of("data_plane_token_expired"), "data_plane_token_expired");
        assert_eq!(code_of("data_plane_token_used"), "data_plane_token_used");
        let unknown = not_joined(StoreError::NotFound { what: WHAT });
        assert_eq!((unknown.code, unknown.class), ("unknown_data_plane_token", FaultClass::Unauthenticated));
    }
}
