//! Aliases and their releases.

use domain::limits::{ALIASES_OF_WORKSPACE_MAX, RELEASES_OF_ALIAS_MAX};
use domain::*;
use store::{AliasAct, AliasChange, AliasReleaseRow, AliasRow, NewAlias, Page, WithdrawnCanary};

use crate::samples::{Fresh, act, bytes, conflict, missing, project};

fn release(alias: &AliasRow, number: u64, model: &str) -> AliasReleaseRow {
    AliasReleaseRow {
        id: AliasReleaseId::new(2, bytes(number)),
        workspace: alias.workspace,
        alias: alias.id,
        number: 1,
        spec: AliasReleaseSpec {
            split: AliasSplit::Ordered,
            targets: vec![AliasTarget { model: model.into(), weight: 3 }],
            parameters: Vec::new(),
            note: "why".into(),
        },
        manifest_revision: number.is_multiple_of(2).then(|| format!("cap_{number}")),
        created_unix_ms: 5,
    }
}

fn alias(workspace: WorkspaceId, number: u64, name: &str) -> NewAlias {
    let mut row = AliasRow {
        id: AliasId::new(1, bytes(number)),
        number: 1,
        spec: AliasReleaseSpec::default(),
        workspace,
        project: None,
        name: name.into(),
        description: "d".into(),
        active: AliasReleaseId::new(2, bytes(number)),
        previous: None,
        canary: None,
        withdrawn: None,
        created_unix_ms: 4,
        version: 0,
    };
    let release = release(&row, number, "openai/gpt-4o");
    row.spec = release.spec.clone();
    (row, release)
}

fn change(row: &AliasRow, release: Option<AliasReleaseRow>, act: AliasAct) -> AliasChange {
    AliasChange { row: row.clone(), release, act }
}

const GATES: CanaryGates = CanaryGates {
    error_bps_max: Some(500),
    latency_p95_ms_max: Some(900),
    first_byte_p95_ms_max: None,
    requests_min: 20,
    window_s: 600,
};

pub async fn every_field_of_an_alias_reads_back(fresh: &Fresh) {
    let (aliases, workspace) = (fresh.store.aliases(), fresh.founding.workspace.id);
    let new = alias(workspace, 1, "auto");
    let made = aliases.create(new.clone(), act()).await.unwrap().row;
    let read = aliases.get(workspace, made.id).await.unwrap();
    assert_eq!(read, AliasRow { version: made.version, ..new.0.clone() });
    assert_eq!(aliases.releases(workspace, made.id).await.unwrap(), std::slice::from_ref(&new.1));
    let second = release(&made, 2, "openai/gpt-4o-mini");
    let with = AliasRow {
        description: "other".into(),
        previous: Some(made.active),
        active: second.id,
        number: 2,
        spec: second.spec.clone(),
        canary: Some(Canary { release: made.active, percent: 10, gates: GATES, started_unix_ms: 6 }),
        ..made.clone()
    };
    let written = change(&with, Some(second.clone()), AliasAct::Install);
    let written = aliases.replace(written, Some(made.version), act()).await.unwrap().row;
    let read = aliases.get(workspace, made.id).await.unwrap();
    assert_eq!(read, AliasRow { version: written.version, ..with.clone() });
    let releases = aliases.releases(workspace, made.id).await.unwrap();
    assert_eq!(releases, [AliasReleaseRow { number: 2, ..second }, new.1.clone()], "the newest first");
    let (release, reason) = (made.active, "it failed".into());
    let withdrawn = WithdrawnCanary { release, percent: 10, reason, is_automatic: true, unix_ms: 7 };
    // Name, project and creation stay, whatever a change has.
    let ended = AliasRow {
        name: "renamed".into(),
        created_unix_ms: 99,
        canary: None,
        withdrawn: Some(withdrawn.clone()),
        ..written.clone()
    };
    let ended = change(&ended, None, AliasAct::WithdrawCanary);
    let ended = aliases.replace(ended, None, act()).await.unwrap().row;
    let read = aliases.get(workspace, made.id).await.unwrap();
    assert_eq!((read.name.as_str(), read.created_unix_ms, read.canary), ("auto", 4, None));
    assert_eq!((read.withdrawn, read.version), (Some(withdrawn), ended.version));
    // In the snapshot, too.
    let entry = fresh.entry().await;
    let entry = &entry.aliases[0];
    assert_eq!((entry.active.number, entry.releases.len(), &*entry.name), (2, 2, "auto"));
    assert_eq!(entry.releases[0].spec, new.1.spec);
}

pub async fn an_alias_is_one_of_its_name_and_ends_with_its_project(fresh: &Fresh) {
    let (aliases, workspace) = (fresh.store.aliases(), fresh.founding.workspace.id);
    let other = fresh.store.projects().create(project(workspace, 77), act()).await.unwrap().row;
    let made = aliases.create(alias(workspace, 1, "auto"), act()).await.unwrap().row;
    let taken = conflict(aliases.create(alias(workspace, 2, "auto"), act()).await, "name_taken");
    assert_eq!(taken, Some(made.id.to_string()));
    let mut of_project = alias(workspace, 3, "auto");
    of_project.0.project = Some(other.id);
    let owned = aliases.create(of_project, act()).await.unwrap().row;
    // A release of another alias is none of its own.
    let stolen = AliasRow { active: owned.active, ..made.clone() };
    let stolen = aliases.replace(change(&stolen, None, AliasAct::Promote), None, act()).await;
    assert_eq!(missing(stolen), "release");
    let theirs = fresh.workspace(9).await;
    missing(aliases.releases(theirs.workspace.id, made.id).await);
    let mut foreign = alias(theirs.workspace.id, 4, "auto");
    foreign.0.project = Some(other.id);
    missing(aliases.create(foreign, act()).await);
    fresh.store.projects().delete(workspace, other.id, None, act()).await.unwrap();
    let listed = aliases.list(workspace, Page::default()).await.unwrap().rows;
    assert_eq!(listed.iter().map(|row| row.id).collect::<Vec<_>>(), [made.id]);
    missing(aliases.releases(workspace, owned.id).await);
    aliases.delete(workspace, made.id, None, act()).await.unwrap();
    assert!(aliases.list(workspace, Page::default()).await.unwrap().rows.is_empty());
}

pub async fn aliases_and_releases_are_bounded(fresh: &Fresh) {
    let (aliases, workspace) = (fresh.store.aliases(), fresh.founding.workspace.id);
    let mut row = aliases.create(alias(workspace, 1, "a1"), act()).await.unwrap().row;
    for number in 2..=RELEASES_OF_ALIAS_MAX as u64 {
        let next = release(&row, number, "openai/gpt-4o");
        row = aliases.replace(change(&row, Some(next), AliasAct::Install), None, act()).await.unwrap().row;
    }
    let one_more = change(&row, Some(release(&row, 9_999, "openai/gpt-4o")), AliasAct::Install);
    conflict(aliases.replace(one_more, None, act()).await, "too_many_releases");
    for number in 2..=ALIASES_OF_WORKSPACE_MAX as u64 {
        aliases.create(alias(workspace, 10_000 + number, &format!("a{number}")), act()).await.unwrap();
    }
    conflict(aliases.create(alias(workspace, 99_999, "one-more"), act()).await, "too_many_aliases");
}
