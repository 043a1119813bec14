//! Reconciliations: stored for one workspace, the oldest giving way.

use domain::ReconciliationId;
use domain::limits::RECONCILIATIONS_OF_WORKSPACE_MAX;
use serde_json::json;
use store::{Page, ReconciliationRow};

use crate::samples::{Fresh, act, founding};

pub async fn a_reconciliation_is_its_workspaces_and_the_oldest_give_way(fresh: &Fresh) {
    let (reconciliations, workspace) = (fresh.store.reconciliations(), fresh.founding.workspace.id);
    let row = |number: u64| ReconciliationRow {
        id: ReconciliationId::new(number, [7; 10]),
        workspace,
        report: json!({"number": number}),
        created_unix_ms: number,
    };
    let beyond = RECONCILIATIONS_OF_WORKSPACE_MAX as u64 + 2;
    for number in 1..=beyond {
        reconciliations.put(row(number), act()).await.unwrap();
    }
    let get = async |of, number: u64| reconciliations.get(of, row(number).id).await.unwrap();
    assert_eq!((get(workspace, 1).await, get(workspace, 2).await), (None, None), "the oldest are gone");
    assert_eq!(get(workspace, 3).await, Some(row(3)));
    assert_eq!(get(founding(2).workspace.id, 3).await, None, "another workspace's is none");
    let page = reconciliations.list(workspace, Page::first(2)).await.unwrap();
    assert_eq!(page.rows, vec![row(beyond), row(beyond - 1)]);
    let next = reconciliations.list(workspace, Page { limit: 1, after: page.next }).await.unwrap();
    assert_eq!(next.rows, vec![row(beyond - 2)]);
    assert!(reconciliations.list(founding(2).workspace.id, Page::first(9)).await.unwrap().rows.is_empty());
}
