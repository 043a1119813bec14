//! Nodes that dial: their certificates, and the tunnels that they open to this gateway.

use std::sync::Arc;

use api::caller::Reporter;
use api::openapi::description::Nothing;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use api::tunnels::TunnelEntrance;
use domain::{Fault, FaultClass};
use http::Method;
use proof::{PublicKey, Signature};
use reconcilers::{milliseconds, of_store};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use snapshot::NodeState;

use crate::limits::TUNNELS_CHECKED_EVERY;

pub fn routes() -> Vec<Route> {
    vec![
        Route::of_node(Method::POST, "/v2/byoc/nodes/certificate", certify)
            .says("Signs the certificate of a node: its public key, and until when it may serve on alone.")
            .takes::<CertificateRequest>()
            .no_rehearsal("A certificate is a statement, not a change.")
            .returns_value::<NodeCertificate>()
            .refuses(401, "unknown_node_credential")
            .refuses(401, "node_credential_revoked")
            .refuses(403, "node_key_unproven")
            .refuses(409, "other_node_key"),
        Route::of_node(Method::POST, "/v2/byoc/nodes/tunnel", enter)
            .says("Accepts a node's tunnel over HTTP/1.1 with `Upgrade: tidegate-tunnel`. The gateway's requests go over that connection.")
            .takes::<Nothing>()
            .no_rehearsal("A connection is not a change.")
            .becomes_tunnel()
            .refuses(400, "tunnel_required")
            .refuses(401, "unknown_node_credential")
            .refuses(401, "node_credential_revoked")
            .refuses(409, "tunnel_version")
            .refuses(409, "node_key_missing")
            .refuses(409, "too_many_tunnels"),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NodeCertificateRequest")]
struct CertificateRequest {
    /// The node's Ed25519 key, in hexadecimal digits.
    #[schemars(with = "String")]
    public_key: PublicKey,
    /// Of the text `tidegate node certificate 1`, the node's id and the key, each with a line feed.
    #[schemars(with = "String")]
    signature: Signature,
}

/// What a node shows when it opens a tunnel, and what it knows of its control plane while that is away.
#[derive(Serialize, JsonSchema)]
struct NodeCertificate {
    object: &'static str,
    node_id: String,
    workspace_id: String,
    name: String,
    /// The node's key. `public_key` is its signer's.
    node_key: String,
    issued_unix_ms: u64,
    expires_unix_ms: u64,
    /// How long the node may serve without hearing from its control plane.
    serves_until_unix_ms: u64,
    /// The version of the configuration when it was issued.
    policy_version: u64,
    /// The only models that the node may serve: those that its owner declared; null for all.
    models: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<String>,
}

async fn certify(control: &Arc<Control>, request: ApiRequest<Reporter>) -> Handled {
    let CertificateRequest { public_key, signature } = request.json()?;
    let Reporter { credential, known } = request.caller;
    let text = format!("tidegate node certificate 1\n{}\n{public_key}\n", known.node);
    if !public_key.verify(text.as_bytes(), &signature) {
        let message = "The request is not signed with the key that it names.";
        return Err(Box::new(
            Fault::new(FaultClass::Forbidden, "node_key_unproven", message)
                .param("signature")
                .fix("Sign the text with the node's key; `tidegate node` does."),
        ));
    }
    let joins = control.deps.store.joins();
    joins.keep_key(credential, *public_key.as_bytes()).await.map_err(of_store)?;
    let kept = joins.node_of_credential(credential).await.map_err(of_store)?;
    if kept.and_then(|kept| kept.public_key) != Some(*public_key.as_bytes()) {
        let message = "This credential belongs to a node with another key.";
        return Err(Box::new(
            Fault::new(FaultClass::Conflict, "other_node_key", message)
                .param("public_key")
                .fix("Restore its node.key, or revoke the node and join again."),
        ));
    }
    let row = control.deps.store.nodes().get(known.workspace, known.node).await.map_err(of_store)?;
    let now = control.deps.world.clock.unix_ms();
    let terms = control.nodes.terms();
    let certificate = NodeCertificate {
        object: "node_certificate",
        node_id: known.node.to_string(),
        workspace_id: known.workspace.to_string(),
        name: row.name,
        node_key: public_key.to_string(),
        issued_unix_ms: now,
        expires_unix_ms: now.saturating_add(milliseconds(terms.certificate)),
        serves_until_unix_ms: now.saturating_add(milliseconds(terms.alone)),
        policy_version: control.deps.keeper.current().version(),
        models: row.declared_models,
        public_key: None,
        fingerprint: None,
        signature: None,
    };
    Reply::json(&signed(control, &certificate)?)
}

fn signed(control: &Control, certificate: &NodeCertificate) -> Result<Map<String, Value>, Box<Fault>> {
    let Ok(Value::Object(document)) = serde_json::to_value(certificate) else {
        return Err(Box::new(Fault::internal()));
    };
    control.deps.auditor.sign(document).map_err(|_| Box::new(Fault::internal()))
}

async fn enter(control: &Arc<Control>, request: ApiRequest<Reporter>) -> Handled {
    let entrance = TunnelEntrance::open(control, request.caller, &request.headers)?;
    Ok(Reply::switching(entrance))
}

/// Closes tunnels whose credential was revoked at another gateway, or whose node was removed, until the process ends.
pub async fn watch(control: Arc<Control>) {
    let tunnels = &control.web.egress.tunnels;
    loop {
        tokio::time::sleep(TUNNELS_CHECKED_EVERY).await;
        let snapshot = control.deps.keeper.current();
        for owner in tunnels.owners() {
            let entry = snapshot
                .workspace(owner.workspace)
                .and_then(|workspace| workspace.nodes.iter().find(|entry| entry.id == owner.node));
            // A revoked node is never ready, and gets no requests; those that are need no look at the store.
            if entry.is_some_and(|entry| entry.state == NodeState::Ready) {
                continue;
            }
            match control.deps.store.joins().node_of_credential(owner.credential).await {
                Ok(Some(known)) if !known.is_revoked => {}
                Ok(_) => tunnels.close_credential(owner.node, owner.credential),
                Err(error) => {
                    tracing::warn!(%error, "whether a tunnel's credential is valid could not be looked up")
                }
            }
        }
    }
}
