//! Stored hints.

use domain::limits::HINTS_OF_WORKSPACE_MAX;
use domain::{HintsId, WorkspaceId};
use store::AgentHintsRow;

use crate::samples::{Fresh, act, bytes, conflict};

fn hints(workspace: WorkspaceId, number: u64) -> AgentHintsRow {
    AgentHintsRow {
        id: HintsId::new(1, bytes(number)),
        workspace,
        name: format!("hints {number}"),
        hints: serde_json::json!({"qos": {"deadline_ms": number}}),
        created_unix_ms: 5,
        version: 0,
    }
}

pub async fn stored_hints_read_back_and_are_bounded(fresh: &Fresh) {
    let (store, workspace) = (fresh.store.agent_hints(), fresh.founding.workspace.id);
    for number in 1..=HINTS_OF_WORKSPACE_MAX as u64 {
        let made = store.create(hints(workspace, number), act()).await.unwrap().row;
        assert_eq!(made, AgentHintsRow { version: made.version, ..hints(workspace, number) });
    }
    conflict(store.create(hints(workspace, 9_999), act()).await, "too_many_hints");
}
