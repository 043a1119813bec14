//! Policies.

use domain::*;
use store::{HookSecretRow, PolicyRow, StoreError};

use crate::samples::{Fresh, act, bytes, conflict, missing, project, secret};

pub fn policy(workspace: WorkspaceId, project: ProjectId, number: u64) -> PolicyRow {
    PolicyRow {
        id: PolicyId::new(1, bytes(number)),
        workspace,
        project: Some(project),
        spec: PolicySpec::default(),
        hook_secret: None,
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
        region_policy: RegionPolicy::EuOnly,
        data_boundary: DataBoundary::Strict,
        request: RequestRules {
            output_tokens_max: Some(1),
            input_tokens_max: Some(2),
            cost_micros_max: Some(3),
            duration_ms_max: Some(4),
            required_metadata: vec!["team".into()],
            parameters: vec![ParameterRule {
                name: "temperature".into(),
                default: Thousandths::of(0.2),
                least: Thousandths::of(0.0),
                most: Thousandths::of(1.0),
                clamps: true,
            }],
            tools: Some(Vec::new()),
            hosted_tools: Some(vec!["web_search*".into()]),
            file_kinds: Some(vec![FileKind::Pdf]),
        },
        checks: vec![ContentCheck {
            detect: Detector::Words(vec!["tide".into()]),
            action: CheckAction::Mask,
            side: CheckedSide::Both,
            restores: true,
        }],
        hooks: vec![PolicyHook {
            at: HookPoint::Pre,
            url: "https://hooks.example/ask".into(),
            timeout_ms: 500,
            on_silence: OnSilence::Refuse,
            reads_content: true,
        }],
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

pub async fn a_change_keeps_the_secret_of_hooks_or_brings_the_next(fresh: &Fresh) {
    let (policies, workspace) = (fresh.store.policies(), fresh.founding.workspace.id);
    let with = |row: PolicyRow, version: u32| PolicyRow {
        hook_secret: Some(HookSecretRow { secret: secret(version), made_unix_ms: u64::from(version) }),
        ..row
    };
    let read = async |id: PolicyId| {
        let own = policies.get(workspace, id).await.unwrap().hook_secret?;
        Some((own.secret.sealed, own.secret.fingerprint, own.made_unix_ms))
    };
    let kept = |version: u32| {
        let secret = secret(version);
        Some((secret.sealed, secret.fingerprint, u64::from(version)))
    };
    let bare = policies.create(policy(workspace, fresh.founding.project.id, 1), act()).await.unwrap().row;
    assert_eq!(read(bare.id).await, None);
    let first = policies.replace(with(bare.clone(), 1), None, act()).await.unwrap().row;
    assert_eq!(read(bare.id).await, kept(1));
    // Of two who seal the next one at once, the later is refused; who knows of none changes none.
    for late in [with(first.clone(), 3), with(bare.clone(), 9)] {
        conflict(policies.replace(late, None, act()).await, "secret_version");
    }
    policies.replace(bare, None, act()).await.unwrap();
    assert_eq!(read(first.id).await, kept(1));
    policies.replace(with(first.clone(), 2), None, act()).await.unwrap();
    assert_eq!(read(first.id).await, kept(2));
    policies.delete(workspace, first.id, None, act()).await.unwrap();
}

pub async fn a_project_has_one_policy_that_ends_with_it(fresh: &Fresh) {
    let (policies, workspace) = (fresh.store.policies(), fresh.founding.workspace.id);
    let other = fresh.store.projects().create(project(workspace, 5), act()).await.unwrap().row;
    let first = policies.create(policy(workspace, other.id, 1), act()).await.unwrap().row;
    let taken = conflict(policies.create(policy(workspace, other.id, 2), act()).await, "policy_exists");
    assert_eq!(taken, Some(first.id.to_string()));
    let theirs = fresh.workspace(9).await;
    missing(policies.create(policy(workspace, theirs.project.id, 3), act()).await);
    missing(policies.get(theirs.workspace.id, first.id).await);
    fresh.store.projects().delete(workspace, other.id, None, act()).await.unwrap();
    assert!(policies.list(workspace, Default::default()).await.unwrap().rows.is_empty());
}

pub async fn a_workspace_has_one_policy_beside_those_of_its_projects(fresh: &Fresh) {
    let (policies, workspace) = (fresh.store.policies(), fresh.founding.workspace.id);
    let of_workspace =
        |number| PolicyRow { project: None, ..policy(workspace, fresh.founding.project.id, number) };
    let first = policies.create(of_workspace(1), act()).await.unwrap().row;
    assert_eq!(policies.get(workspace, first.id).await.unwrap().project, None);
    let taken = conflict(policies.create(of_workspace(2), act()).await, "policy_exists");
    assert_eq!(taken, Some(first.id.to_string()));
    policies.create(policy(workspace, fresh.founding.project.id, 3), act()).await.unwrap();
    policies.delete(workspace, first.id, None, act()).await.unwrap();
    policies.create(of_workspace(4), act()).await.unwrap();
    // Another workspace has its own.
    let theirs = fresh.workspace(9).await;
    policies.create(PolicyRow { workspace: theirs.workspace.id, ..of_workspace(5) }, act()).await.unwrap();
}
