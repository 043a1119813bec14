//! Reports on how well workloads are reused.

use domain::{DiagnosticsId, WorkspaceId};
use store::{DiagnosticsRow, Page};

use crate::samples::*;

fn row(workspace: WorkspaceId, number: u64) -> DiagnosticsRow {
    DiagnosticsRow {
        id: DiagnosticsId::new(NOW + number, bytes(number)),
        workspace,
        created_unix_ms: NOW + number,
        summary: format!("{{\"points\":{number}}}"),
        report: format!("{{\"number\":{number}}}"),
    }
}

pub async fn the_newest_reports_of_each_workspace_are_kept(fresh: &Fresh) {
    let reports = fresh.store.diagnostics();
    let workspace = fresh.founding.workspace.id;
    for number in 1..=5 {
        reports.add(row(workspace, number), 3, act()).await.unwrap();
    }
    let first = reports.list(workspace, Page::first(2)).await.unwrap();
    let expected = |number| DiagnosticsRow { report: String::new(), ..row(workspace, number) };
    assert_eq!(first.rows, [expected(5), expected(4)]);
    let rest = reports.list(workspace, Page { limit: 2, after: first.next }).await.unwrap();
    assert_eq!((rest.rows, rest.next), (vec![expected(3)], None));
    assert_eq!(reports.get(workspace, row(workspace, 5).id).await.unwrap(), row(workspace, 5));
    let stranger = WorkspaceId::new(NOW, bytes(99));
    for (workspace, number) in [(workspace, 2), (workspace, 9), (stranger, 5)] {
        reports.get(workspace, row(workspace, number).id).await.unwrap_err();
    }
    assert_eq!(reports.list(stranger, Page::first(9)).await.unwrap().rows, []);
    let entries = fresh.store.audit().list(Some(workspace), Page::first(9)).await.unwrap().rows;
    let newest = row(workspace, 5).id.to_string();
    assert_eq!((entries[0].action.as_str(), &entries[0].object), ("diagnostics.create", &newest));
    assert!(entries[0].after.is_some());
}
