//! Joining of nodes: `/v2/byoc/nodes/join-tokens` invites one, and its heartbeats and records arrive here
//! afterwards.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::access::Access;
use api::attempts::AttemptSubject;
use api::caller::{Reporter, UnauthenticatedCaller};
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
use api::tunnels;
use domain::limits::{
    ANSWER_TOKENS_MAX, JOIN_TOKEN_KEPT, JOIN_TOKEN_TIME_MAX, MODEL_NAME_BYTES_MAX, NODE_MODELS_MAX,
    NODE_RECORDS_MAX,
};
use domain::server::TIDEGATE;
use domain::{
    Fault, FaultClass, JoinTokenId, NodeId, ProbeResult, Secret, ServerFacts, ServerFeature, TraceId,
};
use egress::TargetKind;
use fleet::peer_list::{self, NodeMesh};
use hardware::Counters;
use http::Method;
use reconcilers::{away, milliseconds, node_books, of_store};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::{Act, Heartbeat, JoinToken, Joining, NodeRecord, NodeRecordRow, NodeRow, StoreError};

use super::nodes::{self, NodeView};
use super::secrets;
use crate::joined_nodes::{Load, NodeReport};
use crate::limits::{NODE_TEXT_BYTES_MAX, RECORD_TOOK_MS_MAX};
use crate::resource::{Resource, delete, delete_row, get, list, reply_written};

const OF_A_NODE: &str = "A node reports facts, so this has no dry run.";

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::POST, JoinToken::PATH, JoinToken::WRITE, invite)
            .says("Creates a join token for one node. It is only in this response.")
            .takes::<Invitation>()
            .makes_once::<Invited<'_>>()
            .refuses(409, "name_taken"),
        list::<JoinToken>("Lists join tokens, without their text. Used and expired ones are listed for a week."),
        get::<JoinToken>("Shows whether a join token is still valid, or which node used it; never the token itself."),
        delete::<JoinToken>("Revokes an unused join token. A node that tries to join with it is refused.")
            .refuses(409, "join_token_used"),
        Route::open(Method::POST, "/v2/byoc/nodes/join", join)
            .says("Joins a node: exchanges a join token for the credential that authenticates the node's reports.")
            .takes::<Join>()
            .no_rehearsal("A token is good for one use: it can't be tried.")
            .returns_value::<JoinedNode<'_>>()
            .refuses(401, "unknown_join_token")
            .refuses(409, "join_token_used")
            .refuses(409, "join_token_expired")
            .refuses(409, "name_taken"),
        Route::of_node(Method::POST, "/v2/byoc/nodes/heartbeat", beat)
            .says("Receives a node's heartbeat, with its models and its load.")
            .takes::<Beat>()
            .no_rehearsal(OF_A_NODE)
            .returns_value::<HeartbeatReply>()
            .refuses(401, "unknown_node_credential")
            .refuses(401, "node_credential_revoked"),
        Route::of_node(Method::POST, "/v2/byoc/nodes/records", report)
            .says("Stores the records of a node's journal. A record that is sent repeatedly is stored once.")
            .takes::<Report>()
            .no_rehearsal(OF_A_NODE)
            .returns_value::<ReportReceipt>()
            .refuses(401, "unknown_node_credential")
            .refuses(401, "node_credential_revoked"),
        Route::new(Method::POST, "/v2/byoc/nodes/{id}/revoke", Access::MANAGE, revoke)
            .says("Revokes the credential of a joined node. The node can no longer report, and gets no requests.")
            .takes::<Nothing>()
            .returns::<NodeView>()
            .refuses(409, "not_joined"),
        Route::new(Method::GET, "/v2/byoc/nodes/{id}/usage", Access::LOOK, usage)
            .says("Lists the answers that a joined node has reported, in the order of their arrival.")
            .lists::<UsageView>(),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NodeInvitation")]
struct Invitation {
    /// The node's name.
    #[schemars(required)]
    #[schemars(length(min = 1, max = NAME_CHARS_MAX), regex(pattern = NAME))]
    name: Option<String>,
    /// How long the token is valid; an hour by default, a week at most.
    #[schemars(range(min = 1, max = JOIN_TOKEN_TIME_MAX.as_secs() / 60))]
    expires_in_minutes: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "JoinToken")]
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
    let token = mint_token(control, "tgj_");
    let text = token.expose_text().unwrap_or_default();
    let expires_unix_ms = now.saturating_add(milliseconds(time));
    let id = JoinTokenId::new(now, control.deps.world.id_bytes());
    let row = JoinToken {
        id,
        digest: tokens::digest(&*control.deps.vault.hasher, Kind::Join, text),
        workspace: request.workspace(),
        name: name.clone(),
        used_unix_ms: None,
        created_unix_ms: now,
        expires_unix_ms,
    };
    let forgotten = now.saturating_sub(milliseconds(JOIN_TOKEN_KEPT));
    let act = request.act(&control.deps.world);
    control.deps.store.joins().invite(row, forgotten, act).await.map_err(name_taken)?;
    let expires_at = Moment(expires_unix_ms);
    let invited = Invited { object: "join_token", id: id.to_string(), name, token: text, expires_at };
    Ok(Reply::json(&invited)?.as_created(format!("{}/{id}", JoinToken::PATH)))
}

/// A join token, without its text.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "JoinTokenShown")]
pub struct TokenView {
    object: &'static str,
    id: String,
    /// The node's name.
    name: String,
    #[schemars(extend("enum" = ["open", "used", "expired"]))]
    status: &'static str,
    created_at: Moment,
    expires_at: Moment,
    /// When a node joined with it.
    used_at: Option<Moment>,
}

fn show_token(token: &JoinToken, now_unix_ms: u64) -> TokenView {
    TokenView {
        object: "join_token",
        id: token.id.to_string(),
        name: token.name.clone(),
        status: match token.used_unix_ms {
            Some(_) => "used",
            None if token.expires_unix_ms <= now_unix_ms => "expired",
            None => "open",
        },
        created_at: Moment(token.created_unix_ms),
        expires_at: Moment(token.expires_unix_ms),
        used_at: token.used_unix_ms.map(Moment),
    }
}

impl Resource for JoinToken {
    const PATH: &'static str = "/v2/byoc/nodes/join-tokens";
    const ONE: &'static str = "/v2/byoc/nodes/join-tokens/{id}";
    const WHAT: &'static str = "join token";
    type View = TokenView;

    fn table(control: &Control) -> &dyn store::Resource<Self> {
        control.deps.store.join_tokens()
    }

    async fn view(&self, control: &Control) -> Result<TokenView, Box<Fault>> {
        Ok(show_token(self, control.deps.world.clock.unix_ms()))
    }

    /// A used token can't be withdrawn: the credential that it was exchanged for stays.
    async fn delete(control: &Control, request: &ApiRequest) -> Result<u64, Box<Fault>> {
        delete_row::<Self>(control, request).await.map_err(|fault| match fault.code {
            "join_token_used" => Box::new(
                Fault::new(FaultClass::Conflict, "join_token_used", "A node has joined with this token.")
                    .fix("Revoke the node's credential with `tidegate nodes revoke`, or remove the node."),
            ),
            _ => fault,
        })
    }
}

fn mint_token(control: &Control, prefix: &str) -> Secret {
    let token = tokens::mint(&*control.deps.world.random);
    Secret::from_text(format!("{prefix}{}", token.expose_text().unwrap_or_default()))
}

fn name_taken(error: StoreError) -> Box<Fault> {
    match error {
        StoreError::Conflict { what: "name_taken", detail, .. } => Box::new(
            Fault::new(FaultClass::Conflict, "name_taken", format!("{detail}."))
                .param("name")
                .fix("Choose another name; or remove that node, or revoke its credential, which lets another node take the name over."),
        ),
        other => of_store(other),
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NodeJoin")]
struct Join {
    #[schemars(required, extend("writeOnly" = true))]
    token: Option<String>,
    /// Where the gateway reaches the node, ending in /v1; null if the node opens a tunnel.
    #[schemars(url)]
    base_url: Option<String>,
    /// The gateway's requests go through a tunnel that the node opens.
    #[serde(default)]
    tunnel: bool,
    /// The node's Ed25519 key, in hexadecimal digits.
    public_key: Option<String>,
    /// The key that the node requires from the gateway.
    #[schemars(with = "Option<String>", extend("writeOnly" = true))]
    secret: Option<Value>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NodeJoinAnswer")]
struct JoinedNode<'a> {
    object: &'static str,
    node_id: String,
    name: String,
    workspace_id: String,
    /// The credential for the node's reports; only in this response.
    credential: &'a str,
    heartbeat_every_ms: u64,
    /// The key that certificates are signed with.
    control_key: String,
}

async fn join(control: &Arc<Control>, request: ApiRequest<UnauthenticatedCaller>) -> Handled {
    let mut input: Join = request.json()?;
    let now = control.deps.world.clock.unix_ms();
    let trier = AttemptSubject::address(request.peer);
    control.sign_in.attempts.count(&control.deps.store, &trier, None, now).await?;
    let token = input.token.take().map(Secret::from_text);
    let token = token.ok_or_else(|| missing("token", "Send what `tidegate nodes invite` showed."))?;
    let digest =
        tokens::digest(&*control.deps.vault.hasher, Kind::Join, token.expose_text().unwrap_or_default());
    let found = control.deps.store.joins().token(digest).await.map_err(of_store)?;
    let held = check_usable(found.ok_or_else(unknown_token)?, now)?;
    control.sign_in.attempts.forget(&control.deps.store, &trier);
    let public_key = tunnels::read_key(input.public_key.take())?;
    let row = row_of(control, &held, input, now).await?;
    let credential = mint_token(control, "tgn_");
    let text = credential.expose_text().unwrap_or_default();
    let credential = tokens::digest(&*control.deps.vault.hasher, Kind::Node, text);
    let act = Act::new(&control.deps.world, row.id.to_string(), Some(request.trace));
    let joining = Joining { token: digest, credential, row };
    let written = control.deps.store.joins().join(joining, act).await.map_err(not_joined)?;
    if let Some(key) = public_key {
        control.deps.store.joins().keep_key(credential, key).await.map_err(of_store)?;
    }
    // Those that were opened with the credential before.
    control.web.egress.tunnels.close(written.row.id);
    control.deps.await_published(written.version).await?;
    Reply::json(&JoinedNode {
        object: "node_join",
        node_id: written.row.id.to_string(),
        name: written.row.name,
        workspace_id: written.row.workspace.to_string(),
        credential: text,
        heartbeat_every_ms: milliseconds(control.nodes.beat_every()),
        control_key: control.deps.auditor.public_key().to_string(),
    })
}

fn unknown_token() -> Box<Fault> {
    let message = "This join token is unknown here.";
    let fix = "Copy the whole token, and name the control plane that created it; `tidegate nodes invite` creates another.";
    Box::new(Fault::new(FaultClass::Unauthenticated, "unknown_join_token", message).param("token").fix(fix))
}

fn token_spent(code: &'static str, message: &'static str) -> Box<Fault> {
    let fix = "Create another with `tidegate nodes invite`; each admits one node.";
    Box::new(Fault::new(FaultClass::Conflict, code, message).param("token").fix(fix))
}

fn check_usable(token: JoinToken, now_unix_ms: u64) -> Result<JoinToken, Box<Fault>> {
    match token.used_unix_ms {
        Some(_) => Err(token_spent("join_token_used", "This join token was used before.")),
        None if token.expires_unix_ms <= now_unix_ms => {
            Err(token_spent("join_token_expired", "This join token is too old."))
        }
        None => Ok(token),
    }
}

/// Another node used the token first, or took the name.
fn not_joined(error: StoreError) -> Box<Fault> {
    match error {
        StoreError::NotFound { .. } => unknown_token(),
        StoreError::Conflict { what: "join_token_used", .. } => {
            token_spent("join_token_used", "This join token was used before.")
        }
        StoreError::Conflict { what: "join_token_expired", .. } => {
            token_spent("join_token_expired", "This join token is too old.")
        }
        other => name_taken(other),
    }
}

/// The row of the node that the token is for: a new one, or the node whose credential was revoked, at its new
/// address. It gets no requests before its first heartbeat.
async fn row_of(
    control: &Control,
    token: &JoinToken,
    input: Join,
    now_unix_ms: u64,
) -> Result<NodeRow, Box<Fault>> {
    let named = control.deps.store.joins().node_by_name(token.workspace, token.name.clone());
    let old = named.await.map_err(of_store)?;
    let id =
        old.as_ref().map_or_else(|| NodeId::new(now_unix_ms, control.deps.world.id_bytes()), |old| old.id);
    let base_url = if input.tunnel { Some(egress::tunnel_url(id)) } else { input.base_url };
    let base_url = secrets::base_url(control, base_url, TargetKind::Node)?.ok_or_else(|| {
        missing(
            "base_url",
            "Give the address that the gateway reaches the node at, or have it open a tunnel.",
        )
    })?;
    let version = old.as_ref().map_or(0, |old| old.secret_version_last).saturating_add(1);
    let secret = nodes::seal(control, token.workspace, id, version, input.secret)?;
    let stated = old.as_ref().map(|old| old.server.stated.clone()).unwrap_or_default();
    let server = ServerFacts { probed: Some(ours(now_unix_ms)), stated };
    let last_error = Some("It has joined, and hasn't sent a heartbeat yet.".to_owned());
    let base = old.unwrap_or_else(|| NodeRow {
        name: token.name.clone(),
        ..nodes::blank(token.workspace, id, now_unix_ms)
    });
    Ok(NodeRow { base_url, secret, server, reachable: false, last_error, ..base })
}

/// The facts known of every Tidegate runtime. A joined node is not probed for them, since the calls would
/// appear in its journal.
fn ours(unix_ms: u64) -> ProbeResult {
    let known = [
        ServerFeature::Runtime.found(TIDEGATE, unix_ms),
        ServerFeature::Errors.found("object", unix_ms),
        Some(ServerFeature::UnknownFields.is(false, unix_ms)),
    ];
    ProbeResult { unix_ms, model: None, error: None, findings: known.into_iter().flatten().collect() }
}

/// Fields of later node versions are ignored.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "NodeHeartbeat")]
struct Beat {
    #[serde(default)]
    models: Vec<String>,
    /// Of Tidegate.
    #[serde(default)]
    version: String,
    /// What computes its answers: `engine`, or `echo`, which needs no model.
    #[serde(default)]
    runtime: String,
    /// The device: `cpu`, `cuda:0`.
    #[serde(default)]
    device: Option<String>,
    /// How large its models and adapters are, by the names in `models`.
    #[serde(default)]
    model_bytes: BTreeMap<String, u64>,
    #[serde(default)]
    load: Load,
    #[serde(default)]
    counters: Option<Counters>,
    /// The node's Ed25519 key, in hexadecimal digits; the first that it sends stays.
    #[serde(default)]
    public_key: Option<String>,
    /// How far its clock is ahead of ours, by the answer to its last heartbeat.
    #[serde(default)]
    clock_skew_ms: Option<i64>,
    /// Whether the gateway's requests go through a tunnel that it opens, from now on.
    #[serde(default)]
    tunnel: bool,
    /// The node has peers, and gets the signed list of them.
    #[serde(default)]
    mesh: Option<NodeMesh>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NodeHeard")]
struct HeartbeatReply {
    object: &'static str,
    node_id: String,
    heartbeat_every_ms: u64,
    /// The time here.
    unix_ms: u64,
    /// The signed list of the nodes that may connect to it, for a node with peers.
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_list: Option<Map<String, Value>>,
    /// The gateways that a node with a tunnel opens one to each; without any, to the address that it joined at.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tunnel_urls: Arc<[String]>,
}

async fn beat(control: &Arc<Control>, request: ApiRequest<Reporter>) -> Handled {
    let Beat {
        models,
        version,
        runtime,
        device,
        mut model_bytes,
        load,
        counters,
        public_key,
        clock_skew_ms,
        tunnel,
        mesh,
    } = request.json()?;
    check_models(&models)?;
    let key = tunnels::read_key(public_key)?;
    let mesh = mesh.map(|mesh| mesh.checked(request.caller.known.public_key.or(key)));
    let has_mesh = mesh.is_some();
    let model_bytes = models.iter().filter_map(|name| model_bytes.remove_entry(name)).collect();
    let report = NodeReport { version, runtime, device, load, model_bytes, counters, clock_skew_ms, mesh };
    let report = check_report(report)?;
    let counters = report.counters;
    let now = control.deps.world.clock.unix_ms();
    let load = report.load.reported();
    let report = serde_json::to_value(&report).map_err(|_| Box::new(Fault::internal()))?;
    let (due_unix_ms, not_polled) = (control.nodes.due_unix_ms(now), reconcilers::not_polled_yet());
    let heartbeat = Heartbeat { unix_ms: now, due_unix_ms, models, counters, report, not_polled };
    let written = control
        .deps
        .store
        .joins()
        .record_heartbeat(request.caller.credential, heartbeat)
        .await
        .map_err(revoked)?;
    let credential = request.caller.credential;
    if let Some(key) = key.filter(|_| request.caller.known.public_key.is_none()) {
        control.deps.store.joins().keep_key(credential, key).await.map_err(of_store)?;
    }
    let url = egress::tunnel_url(written.row.id);
    let written = if tunnel && written.row.base_url != url {
        let act = Act::new(&control.deps.world, written.row.id.to_string(), Some(request.trace));
        control.deps.store.joins().move_to(credential, url, act).await.map_err(revoked)?
    } else {
        written
    };
    control.deps.await_published(written.version).await?;
    control.nodes.poll_soon(written.row.workspace, written.row.id);
    control.nodes.note_load(written.row.id, load, now);
    let node_id = written.row.id.to_string();
    let heartbeat_every_ms = milliseconds(control.nodes.beat_every());
    let unix_ms = control.deps.world.clock.unix_ms();
    let workspace = written.row.workspace;
    let peer_list = if has_mesh { Some(peer_list::signed(control, workspace).await?) } else { None };
    Reply::json(&HeartbeatReply {
        object: "node_heartbeat",
        node_id,
        heartbeat_every_ms,
        unix_ms,
        peer_list,
        tunnel_urls: Arc::clone(&control.nodes.terms().tunnel_urls),
    })
}

fn check_models(models: &[String]) -> Result<(), Box<Fault>> {
    let is_name = |model: &String| model.len() <= MODEL_NAME_BYTES_MAX && !model.contains(char::is_control);
    if models.len() <= NODE_MODELS_MAX && models.iter().all(is_name) {
        return Ok(());
    }
    let message = format!(
        "A node serves at most {NODE_MODELS_MAX} models, with names of at most {MODEL_NAME_BYTES_MAX} bytes without control characters."
    );
    Err(invalid("models", message, "Have it serve fewer."))
}

fn check_report(report: NodeReport) -> Result<NodeReport, Box<Fault>> {
    let words = [Some(&report.version), Some(&report.runtime), report.device.as_ref()];
    if words.into_iter().flatten().any(|word| word.len() > NODE_TEXT_BYTES_MAX) {
        let message =
            format!("Each text that a node reports about itself has at most {NODE_TEXT_BYTES_MAX} bytes.");
        return Err(invalid("runtime", message, "Shorten it."));
    }
    // The database's integers are signed.
    let fits = |count: u64| count.min(i64::MAX.unsigned_abs());
    let Load { running, waiting, cache_bytes, cache_bytes_max, cache_held_bytes, token_us } = report.load;
    let load = Load {
        running: fits(running),
        waiting: fits(waiting),
        cache_bytes: fits(cache_bytes),
        cache_bytes_max: fits(cache_bytes_max),
        cache_held_bytes: cache_held_bytes.map(fits),
        token_us: token_us.map(fits),
    };
    let counters = report.counters.map(|counters| counters.map(fits));
    let model_bytes = report.model_bytes.into_iter().map(|(name, bytes)| (name, fits(bytes))).collect();
    Ok(NodeReport { load, counters, model_bytes, ..report })
}

/// The node was removed or its credential revoked since it was looked up.
fn revoked(error: StoreError) -> Box<Fault> {
    match error {
        StoreError::NotFound { .. } => Box::new(
            Fault::new(
                FaultClass::Unauthenticated,
                "node_credential_revoked",
                "The credential of this node is revoked.",
            )
            .fix("Join again with a token of `tidegate nodes invite`."),
        ),
        other => of_store(other),
    }
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "NodeReport")]
struct Report {
    /// In the order of the node's journal.
    records: Vec<Reported>,
}

/// One answer, as recorded in the node's journal.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "NodeReportedRecord")]
struct Reported {
    /// The node's own id of it; a record that is sent twice is stored once.
    event_id: String,
    /// The gateway's request that it answered.
    request_id: Option<String>,
    model: String,
    adapter: Option<String>,
    operation: String,
    end: String,
    #[serde(rename = "begun_unix_ms")]
    started_unix_ms: u64,
    took_ms: u64,
    input_tokens: u64,
    cached_tokens: u64,
    output_tokens: u64,
    reasoning_tokens: u64,
    is_measured: bool,
    /// The backend that answered in the node's place.
    #[serde(default)]
    left_to: Option<String>,
    /// Why the request left; null if the client sent it there.
    #[serde(default)]
    left_because: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NodeReportKept")]
struct ReportReceipt {
    object: &'static str,
    /// How many were new.
    kept: u64,
}

async fn report(control: &Arc<Control>, request: ApiRequest<Reporter>) -> Handled {
    let Report { records } = request.json()?;
    if records.len() > NODE_RECORDS_MAX {
        let message = format!("A report holds at most {NODE_RECORDS_MAX} records.");
        return Err(invalid("records", message, "Send the others with the next."));
    }
    let records = records.into_iter().map(record_of).collect::<Result<Vec<_>, _>>()?;
    // Booked first: once a record is stored as known, the node doesn't report it again.
    let snapshot = control.deps.keeper.current();
    let booked = node_books::book(&control.deps, &snapshot, request.caller.known, &records).await;
    booked.map_err(|error| {
        tracing::warn!(%error, "what a node reports could not be booked");
        away()
    })?;
    let now = control.deps.world.clock.unix_ms();
    let kept = control.deps.store.joins().report(request.caller.credential, records, now);
    Reply::json(&ReportReceipt { object: "node_report", kept: kept.await.map_err(revoked)? })
}

fn record_of(reported: Reported) -> Result<NodeRecord, Box<Fault>> {
    let id = |field: &'static str, text: &str| {
        text.parse::<TraceId>().map_err(|error| invalid(field, format!("{error}."), "Send the id unchanged."))
    };
    let is_printable = |character: &char| !character.is_control();
    let word =
        |text: String| text.chars().filter(is_printable).take(MODEL_NAME_BYTES_MAX).collect::<String>();
    // One false count would be in every sum of the workspace from then on.
    let tokens = |field: &'static str, count: u64| {
        if count <= ANSWER_TOKENS_MAX {
            return Ok(count);
        }
        let message = format!("{count} tokens are more than one answer has: {ANSWER_TOKENS_MAX} at most.");
        Err(invalid(
            field,
            message,
            "No record of this report was booked: correct the record and send it again.",
        ))
    };
    let input_tokens = tokens("input_tokens", reported.input_tokens)?;
    let output_tokens = tokens("output_tokens", reported.output_tokens)?;
    Ok(NodeRecord {
        event: id("event_id", &reported.event_id)?,
        request: reported.request_id.as_deref().map(|text| id("request_id", text)).transpose()?,
        model: word(reported.model),
        adapter: reported.adapter.map(word),
        operation: word(reported.operation),
        ended: word(reported.end),
        started_unix_ms: reported.started_unix_ms,
        // By the node's clock, which may have been set meanwhile.
        took_ms: reported.took_ms.min(RECORD_TOOK_MS_MAX),
        input_tokens,
        cached_tokens: reported.cached_tokens.min(input_tokens),
        output_tokens,
        reasoning_tokens: reported.reasoning_tokens.min(output_tokens),
        is_measured: reported.is_measured,
        left_to: reported.left_to.map(word),
        left_because: reported.left_because.map(word),
    })
}

async fn revoke(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let Nothing {} = request.json()?;
    let act = request.act(&control.deps.world);
    let revoked =
        control.deps.store.joins().revoke(request.workspace(), request.id("node")?, request.if_match()?, act);
    let written = revoked.await.map_err(of_store)?;
    control.web.egress.tunnels.close(written.row.id);
    reply_written(control, written).await
}

/// One answer of a node, by its own count. If it answered a request of the gateway, that request is counted; otherwise it is a
/// request of the workspace's first project, and costs nothing. What left the node for a backend is listed, and not counted.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NodeUsage")]
struct UsageView {
    object: &'static str,
    event_id: String,
    /// The gateway's request that it answered; null if another client called the node.
    request_id: Option<String>,
    model: String,
    adapter: Option<String>,
    operation: String,
    /// `whole`, `failed`, `left` by its client, or `lost` with the node's process.
    end: String,
    started_at: Moment,
    received_at: Moment,
    took_ms: u64,
    input_tokens: u64,
    cached_tokens: u64,
    output_tokens: u64,
    reasoning_tokens: u64,
    /// Whether the runtime itself counted.
    is_measured: bool,
    /// The backend that answered in the node's place; null if the node answered. Such a record is in this list alone:
    /// it books no request and no tokens.
    left_to: Option<String>,
    /// Why the request left: `model_missing`, `queue_wait`, `context_too_long`, `node_failed` or `deadline`; null if it
    /// did not, or if its client sent it there.
    left_because: Option<String>,
}

async fn usage(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let listed =
        control.deps.store.joins().records(request.workspace(), request.id("node")?, request.page()?);
    let listed = listed.await.map_err(of_store)?;
    Reply::json(&request.page_of(listed, show_usage))
}

fn show_usage(row: &NodeRecordRow) -> UsageView {
    let record = row.record.clone();
    UsageView {
        object: "node_usage",
        event_id: record.event.to_string(),
        request_id: record.request.map(|request| request.to_string()),
        model: record.model,
        adapter: record.adapter,
        operation: record.operation,
        end: record.ended,
        started_at: Moment(record.started_unix_ms),
        received_at: Moment(row.kept_unix_ms),
        took_ms: record.took_ms,
        input_tokens: record.input_tokens,
        cached_tokens: record.cached_tokens,
        output_tokens: record.output_tokens,
        reasoning_tokens: record.reasoning_tokens,
        is_measured: record.is_measured,
        left_to: record.left_to,
        left_because: record.left_because,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_why_it_is_good_for_nothing() {
        let of = |used_unix_ms, expires_unix_ms| JoinToken {
            id: JoinTokenId::new(1, [0; 10]),
            digest: [0; 32],
            workspace: domain::WorkspaceId::new(1, [0; 10]),
            name: "attic".into(),
            used_unix_ms,
            created_unix_ms: 1,
            expires_unix_ms,
        };
        let code_of = |token: JoinToken| check_usable(token, 50).err().map(|fault| fault.code);
        assert_eq!(code_of(of(None, 51)), None);
        assert_eq!(code_of(of(None, 50)), Some("join_token_expired"));
        assert_eq!(code_of(of(Some(3), 51)), Some("join_token_used"));
        assert_eq!(code_of(of(Some(3), 50)), Some("join_token_used"), "what was used is used");
    }

    #[test]
    fn a_record_is_of_one_answer() {
        let record = |more: Value| {
            let mut record = serde_json::json!({
                "event_id": TraceId::new(1, [1; 10]).to_string(), "model": "tide\u{0}\u{1b}[31m", "operation": "chat", "end": "whole",
                "begun_unix_ms": 1, "took_ms": u64::MAX, "input_tokens": 7, "cached_tokens": u64::MAX, "output_tokens": 3,
                "reasoning_tokens": u64::MAX, "is_measured": true,
            });
            record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            record_of(serde_json::from_value(record).unwrap())
        };
        let taken = record(serde_json::json!({})).unwrap();
        assert_eq!((taken.model.as_str(), taken.took_ms), ("tide[31m", RECORD_TOOK_MS_MAX));
        assert_eq!((taken.cached_tokens, taken.reasoning_tokens), (7, 3), "parts of the whole");
        for field in ["input_tokens", "output_tokens"] {
            let refused = record(serde_json::json!({field: ANSWER_TOKENS_MAX + 1})).unwrap_err();
            assert_eq!((refused.code, refused.param.as_deref()), ("invalid_value", Some(field)));
            assert!(record(serde_json::json!({field: ANSWER_TOKENS_MAX})).is_ok());
        }
    }

    #[test]
    fn what_a_node_of_another_version_says_is_taken() {
        let beat: Beat =
            serde_json::from_str(r#"{"models": ["m"], "load": {"running": 2, "hot": 1}, "mood": 3}"#)
                .unwrap();
        assert_eq!((beat.models.len(), beat.load.running, beat.load.waiting), (1, 2, 0));
        let endless = Load { running: u64::MAX, ..Load::default() };
        let report = check_report(NodeReport { load: endless, ..NodeReport::default() }).unwrap();
        assert_eq!(report.load.running, i64::MAX.unsigned_abs());
        let long = NodeReport { version: "a".repeat(NODE_TEXT_BYTES_MAX + 1), ..NodeReport::default() };
        assert_eq!(check_report(long).unwrap_err().code, "invalid_value");
    }
}
