//! `/v2/audit`: who did what, newest first, and proofs that others can verify offline.

use std::sync::Arc;

use api::access::Access;
use api::failure::invalid;
use api::moment::Moment;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::{Fault, FaultClass, WorkspaceId};
use evidence::NoProof;
use http::Method;
use proof::audit::Proof;
use reconcilers::{moment, of_store};
use schemars::JsonSchema;
use serde::Serialize;
use store::{AuditFilter, AuditRow};

use crate::usage::FORMAT;

pub fn routes() -> Vec<Route> {
    let chain = "`installation`, for the operator: actions that concern no workspace.";
    vec![
        Route::new(Method::GET, "/v2/audit", Access::MANAGE, list)
            .says("Lists the audit entries that match, newest first; a page may have few, though others follow.")
            .lists::<AuditEntryView>()
            .query("q", "A text in the actor, the action, the target or the detail.")
            .query("actor", "Only actions by this key, person or `system`.")
            .query("action", "An action such as `credential.create`, or the first word of some.")
            .query("target", "Only what was done to this object.")
            .query("start", "Only entries at or after this time.")
            .query("end", "Only entries before this time.")
            .query(FORMAT.0, FORMAT.1)
            .query("chain", chain)
            .one_of("chain", &["installation"]),
        Route::new(Method::GET, "/v2/audit/proof", Access::MANAGE, prove)
            .says("Returns a range of the workspace's audit entries with their hashes and a signed head, for `tidegate audit verify`.")
            .query("from", "The number of the first entry; by default 1.")
            .query("to", "The number of the last entry; by default as far as one proof reaches.")
            .query("chain", chain)
            .one_of("chain", &["installation"])
            .returns_value::<ProofView>(),
        Route::new(Method::GET, "/v2/audit/key", Access::ONESELF, key)
            .says("Returns the public key that this installation signs with.")
            .returns_value::<KeyView>(),
    ]
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditEntry")]
struct AuditEntryView {
    id: String,
    object: &'static str,
    at: Moment,
    /// A key, a person, or `system`.
    actor: String,
    action: String,
    target: String,
    detail: String,
    request_id: Option<String>,
    /// A hash of the object as the previous action left it.
    before: Option<String>,
    /// A hash of the object as this action left it.
    after: Option<String>,
    /// Its number in the chain.
    sequence: Option<u64>,
    /// The chain's hash there.
    hash: Option<String>,
    /// The action and the detail in words; `null` for an action that this version doesn't know.
    sentence: Option<String>,
}

fn show(row: &AuditRow) -> AuditEntryView {
    AuditEntryView {
        id: row.id.to_string(),
        object: "audit_entry",
        at: Moment(row.unix_ms),
        actor: row.actor.clone(),
        action: row.action.clone(),
        target: row.object.clone(),
        detail: row.detail.clone(),
        request_id: row.trace.map(|id| id.to_string()),
        before: row.before.map(|digest| digest.to_string()),
        after: row.after.map(|digest| digest.to_string()),
        sequence: row.link.map(|link| link.sequence),
        hash: row.link.map(|link| link.hash.to_string()),
        sentence: domain::audit::sentence(&row.action, &row.detail),
    }
}

/// The workspace's chain, or the installation's chain for the operator.
fn chain(request: &ApiRequest) -> Result<Option<WorkspaceId>, Box<Fault>> {
    match request.query.get("chain").map(String::as_str) {
        None => Ok(Some(request.workspace())),
        Some("installation") if request.is_operator() => Ok(None),
        Some("installation") => Err(Box::new(
            Fault::new(
                FaultClass::Forbidden,
                "insufficient_scope",
                "Only the operator reads the installation's audit.",
            )
            .fix("Leave `chain` out for the audit of your workspace."),
        )),
        Some(other) => {
            Err(invalid("chain", format!("\"{other}\" isn't a chain."), "Use installation, or leave it out."))
        }
    }
}

/// The filter in a request's query.
fn filter(request: &ApiRequest) -> Result<AuditFilter, Box<Fault>> {
    let text = |name: &str| request.query.get(name).filter(|text| !text.is_empty()).cloned();
    let moment_of =
        |name: &'static str| request.query.get(name).map(|text| moment::read(text, name)).transpose();
    Ok(AuditFilter {
        text: text("q"),
        actor: text("actor"),
        action: text("action"),
        target: text("target"),
        since_unix_ms: moment_of("start")?,
        until_unix_ms: moment_of("end")?,
    })
}

async fn list(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let audit = control.deps.store.audit();
    let listed = audit.search(chain(&request)?, filter(&request)?, request.page()?).await;
    let format = request.query.get("format").map(String::as_str);
    Reply::list(format, &request.page_of(listed.map_err(of_store)?, show))
}

/// The file that an offline verifier reads.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditProof")]
struct ProofView {
    object: String,
    chain: String,
    /// The hash before the first entry; zeros at the start of the chain.
    anchor: String,
    entries: Vec<LinkedView>,
    head: HeadView,
}

/// `hash` is SHA-256 over the 32 bytes of the hash before it and the JSON array `["tidegate audit 1", chain, sequence, id,
/// unix_ms, actor, action, target, detail, request_id, before, after]` without spaces.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditLink")]
struct LinkedView {
    sequence: u64,
    id: String,
    unix_ms: u64,
    actor: String,
    action: String,
    target: String,
    detail: String,
    request_id: Option<String>,
    before: Option<String>,
    after: Option<String>,
    hash: String,
}

/// `signature` is Ed25519 over the lines `tidegate audit head 1`, chain, length, hash and `signed_unix_ms`, each with its
/// line feed.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditHead")]
struct HeadView {
    chain: String,
    length: u64,
    hash: String,
    signed_unix_ms: u64,
    public_key: String,
    signature: String,
}

fn show_proof(proof: Proof) -> ProofView {
    let entries = proof.entries.into_iter().map(|linked| {
        let entry = linked.entry;
        LinkedView {
            sequence: entry.sequence,
            id: entry.id,
            unix_ms: entry.unix_ms,
            actor: entry.actor,
            action: entry.action,
            target: entry.target,
            detail: entry.detail,
            request_id: entry.request_id,
            before: entry.before.map(|digest| digest.to_string()),
            after: entry.after.map(|digest| digest.to_string()),
            hash: linked.hash.to_string(),
        }
    });
    ProofView {
        object: proof.object,
        chain: proof.chain,
        anchor: proof.anchor.to_string(),
        entries: entries.collect(),
        head: HeadView {
            chain: proof.head.chain,
            length: proof.head.length,
            hash: proof.head.hash.to_string(),
            signed_unix_ms: proof.head.signed_unix_ms,
            public_key: proof.head.public_key.to_string(),
            signature: proof.head.signature.to_string(),
        },
    }
}

fn position(request: &ApiRequest, name: &'static str) -> Result<Option<u64>, Box<Fault>> {
    let Some(text) = request.query.get(name) else { return Ok(None) };
    let position = text.parse().ok().filter(|position| *position > 0);
    position.map(Some).ok_or_else(|| invalid(name, format!("{name} is \"{text}\"."), "Give a number from 1."))
}

async fn prove(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let (from, to) = (position(&request, "from")?.unwrap_or(1), position(&request, "to")?);
    if to.is_some_and(|to| to < from) {
        return Err(invalid("to", "It ends before it begins.", "Give `to` a place after `from`."));
    }
    let workspace = chain(&request)?;
    match control.deps.auditor.proof(workspace, from, to).await {
        Ok(proof) => {
            record(control, &request, workspace, &proof).await?;
            Reply::json(&show_proof(proof))
        }
        Err(NoProof::Store(error)) => Err(of_store(error)),
        Err(beyond @ NoProof::Beyond { .. }) => {
            Err(invalid("from", format!("{beyond}."), "Begin at one of them."))
        }
    }
}

/// Who took a proof along, in its own chain: without the entry, nobody gets one.
async fn record(
    control: &Control,
    request: &ApiRequest,
    workspace: Option<WorkspaceId>,
    proof: &Proof,
) -> Result<(), Box<Fault>> {
    let entries = proof.entries.first().zip(proof.entries.last());
    let detail = entries.map_or_else(String::new, |(first, last)| {
        format!("entries {} to {}", first.entry.sequence, last.entry.sequence)
    });
    let (act, chain) = (request.act(&control.deps.world), proof.chain.clone());
    let writing = control.deps.store.database().note(move |writing| {
        Box::pin(async move { writing.audit(&act, workspace, "audit.prove", chain, detail).await })
    });
    writing.await.map_err(of_store)
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditKey")]
struct KeyView {
    object: &'static str,
    /// Ed25519, 64 hexadecimal digits.
    public_key: String,
    fingerprint: String,
}

async fn key(control: &Arc<Control>, _: ApiRequest) -> Handled {
    let key = control.deps.auditor.public_key();
    let (public_key, fingerprint) = (key.to_string(), key.fingerprint());
    Reply::json(&KeyView { object: "audit_key", public_key, fingerprint })
}
