//! Policies.

use domain::*;
use store::{PolicyRow, StoreError};

use crate::Fresh;
use crate::samples::{act, bytes, founding, project};

fn policy(workspace: WorkspaceId, project: ProjectId, number: u64) -> PolicyRow {
    PolicyRow {
        id: PolicyId::new(1, bytes(number)),
        workspace,
        project,
        spec: PolicySpec::default(),
        created_unix_ms: 1,
        version: 0,
    }
}

pub async fn every_field_of_a_policy_reads_back(fresh: &Fresh) {
    let (policies, workspace) = (fresh.store.policies(), fresh.founding.workspace.id);
    let spec = PolicySpec {
        providers: vec!["openai".into()],
        models: vec!["openai/".into(), "anthropic/claude-haiku-4-5".into()],
        regions: vec!["eu-west-1".into()],
        profiles: vec![Profile::Byok, Profile::Byoc],
        retention: Some(Retention::Zero),
        compliance: vec!["hipaa".into()],
    };
    let row = PolicyRow { spec, ..policy(workspace, fresh.founding.project.id, 1) };
    let made = policies.create(row.clone(), act()).await.unwrap().row;
    let read = policies.get(workspace, row.id).await.unwrap();
    assert_eq!(read, PolicyRow { version: made.version, ..row.clone() });
    assert_eq!(policies.list(workspace, Default::default()).await.unwrap().rows, [read]);
    let spec = PolicySpec { retention: Some(Retention::Days(30)), ..PolicySpec::default() };
    let changed = PolicyRow { spec, ..row };
    let stale = policies.replace(changed.clone(), Some(made.version + 7), act()).await;
    assert!(matches!(stale, Err(StoreError::Precondition { .. })), "{stale:?}");
    let written = policies.replace(changed.clone(), Some(made.version), act()).await.unwrap().row;
    assert_eq!(written, PolicyRow { version: written.version, ..changed });
}

pub async fn a_project_has_one_policy_that_ends_with_it(fresh: &Fresh) {
    let (policies, workspace) = (fresh.store.policies(), fresh.founding.workspace.id);
    let other = fresh.store.projects().create(project(workspace, 5), act()).await.unwrap().row;
    let first = policies.create(policy(workspace, other.id, 1), act()).await.unwrap().row;
    match policies.create(policy(workspace, other.id, 2), act()).await {
        Err(StoreError::Conflict { what: "policy_exists", existing, .. }) => {
            assert_eq!(existing, Some(first.id.to_string()));
        }
        other => panic!("{other:?}"),
    }
    let theirs = founding(9);
    fresh.store.workspaces().create(theirs.clone(), act()).await.unwrap();
    let foreign = policies.create(policy(workspace, theirs.project.id, 3), act()).await;
    assert!(matches!(foreign, Err(StoreError::NotFound { .. })), "{foreign:?}");
    let unseen = policies.get(theirs.workspace.id, first.id).await;
    assert!(matches!(unseen, Err(StoreError::NotFound { .. })), "{unseen:?}");
    fresh.store.projects().delete(workspace, other.id, None, act()).await.unwrap();
    assert!(policies.list(workspace, Default::default()).await.unwrap().rows.is_empty());
}
