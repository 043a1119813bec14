//! The list of a workspace's nodes that are in a mesh of peers. It is signed, so that nodes admit each other by it, also while the
//! gateway is away.

use std::time::Duration;

use api::state::Control;
use domain::{Fault, WorkspaceId};
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use store::{NodeRow, Page};

use crate::limits::{
    MESH_ADDRESSES_MAX, MESH_EJECTED_MAX, MESH_TEXT_BYTES_MAX, PEER_LIST_LIFE, PEER_LIST_MEMBERS_MAX,
    PEER_LIST_MODELS_MAX,
};

/// A node's part in a mesh of peers, as it reports it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "NodeMesh")]
pub struct NodeMesh {
    /// The key by which peers know it; the gateway fills it in.
    #[serde(default)]
    public_key: Option<String>,
    /// Where peers reach it.
    #[serde(default)]
    addresses: Vec<String>,
    /// The peers that it has ejected.
    #[serde(default)]
    ejected: Vec<MeshEjection>,
}

/// A peer that a node has caught lying.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "NodeMeshEjection")]
pub struct MeshEjection {
    name: String,
    public_key: String,
    /// What was seen.
    why: String,
    until_unix_ms: u64,
}

impl NodeMesh {
    /// What is stored of it, under the key that the gateway knows the node by.
    pub fn checked(mut self, public_key: Option<[u8; 32]>) -> Self {
        self.public_key = public_key.map(|key| proof::to_hex(&key));
        self.addresses.retain(|address| address.parse::<std::net::SocketAddr>().is_ok());
        self.addresses.truncate(MESH_ADDRESSES_MAX);
        self.ejected.truncate(MESH_EJECTED_MAX);
        for ejection in &mut self.ejected {
            // The database's integers are signed.
            ejection.until_unix_ms = ejection.until_unix_ms.min(i64::MAX.unsigned_abs());
            for text in [&mut ejection.name, &mut ejection.public_key, &mut ejection.why] {
                text.truncate(text.floor_char_boundary(MESH_TEXT_BYTES_MAX));
            }
        }
        self
    }
}

/// The signed list, as of now.
pub async fn signed(control: &Control, workspace: WorkspaceId) -> Result<Map<String, Value>, Box<Fault>> {
    let mut members = Vec::new();
    let mut after = None;
    loop {
        let page = Page { limit: domain::limits::PAGE_ROWS_MAX, after };
        let listed = control.deps.store.nodes().list(workspace, page).await.map_err(of_store)?;
        members.extend(listed.rows.iter().filter_map(member));
        after = listed.next;
        if after.is_none() || members.len() >= PEER_LIST_MEMBERS_MAX {
            break;
        }
    }
    members.truncate(PEER_LIST_MEMBERS_MAX);
    let issued_unix_ms = control.deps.world.clock.unix_ms();
    let life_ms = u64::try_from(Duration::as_millis(&PEER_LIST_LIFE)).unwrap_or(u64::MAX);
    let list = json!({
        "object": "peer_list",
        "workspace_id": workspace.to_string(),
        "issued_unix_ms": issued_unix_ms,
        "expires_unix_ms": issued_unix_ms.saturating_add(life_ms),
        "members": members,
    });
    let Value::Object(list) = list else { return Err(Box::new(Fault::internal())) };
    control.deps.auditor.sign(list).map_err(|_| Box::new(Fault::internal()))
}

/// A node that has joined and whose credential holds.
fn member(row: &NodeRow) -> Option<Value> {
    let joined = row.joined.as_ref().filter(|joined| joined.revoked_unix_ms.is_none())?;
    let mesh: NodeMesh = serde_json::from_value(joined.report.as_ref()?.get("mesh")?.clone()).ok()?;
    let models: Vec<&String> = row.learned_models.iter().take(PEER_LIST_MODELS_MAX).collect();
    Some(json!({
        "node_id": row.id.to_string(),
        "name": row.name,
        "public_key": mesh.public_key?,
        "addresses": mesh.addresses,
        "models": models,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_says_of_its_mesh_is_bounded_and_its_key_is_the_one_that_is_known() {
        let ejection = MeshEjection {
            name: "ä".repeat(1_000),
            public_key: String::new(),
            why: String::new(),
            until_unix_ms: u64::MAX,
        };
        let said = NodeMesh {
            public_key: Some("another".to_owned()),
            addresses: vec!["10.0.0.1:7000".to_owned(), "no address".to_owned()],
            ejected: vec![ejection; MESH_EJECTED_MAX + 1],
        };
        let kept = said.checked(Some([7; 32]));
        assert_eq!(kept.public_key, Some("07".repeat(32)));
        assert_eq!(kept.addresses, ["10.0.0.1:7000"]);
        assert_eq!(kept.ejected.len(), MESH_EJECTED_MAX);
        assert!(kept.ejected[0].name.len() <= MESH_TEXT_BYTES_MAX);
    }
}
