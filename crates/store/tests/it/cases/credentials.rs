//! Credentials.

use domain::{Evidence, ProbeResult, ServerFacts, ServerFeature};
use snapshot::CredentialState;
use store::{ApiKeyRow, CredentialFilter, CredentialRow, Verification};

use crate::samples::{Fresh, account, act, conflict, credential, secret};

pub async fn everything_of_a_credential_reads_back(fresh: &Fresh) {
    let (credentials, workspace) = (fresh.store.credentials(), fresh.founding.workspace.id);
    let (project, environment) = (Some(fresh.founding.project.id), Some("staging".into()));
    let row = CredentialRow { project, environment, ..credential(workspace, 5) };
    let made = credentials.create(row.clone(), act()).await.unwrap();
    let read = credentials.get(workspace, row.id).await.unwrap();
    assert_eq!(read, CredentialRow { version: made.version, ..row });
    assert_eq!(read.metadata.to_string(), r#"{"z":1,"a":2}"#, "members keep their order");
    let filter = CredentialFilter { provider: Some("mistral".into()), ..CredentialFilter::default() };
    assert!(credentials.filter(workspace, filter, Default::default()).await.unwrap().rows.is_empty());
    let filter = CredentialFilter { state: Some(CredentialState::Active), ..CredentialFilter::default() };
    assert_eq!(credentials.filter(workspace, filter, Default::default()).await.unwrap().rows, [read]);
}

/// The detail of the newest audit entry.
async fn newest_detail(fresh: &Fresh, workspace: Option<domain::WorkspaceId>) -> String {
    let listed = fresh.store.audit().list(workspace, store::Page::first(1)).await.unwrap();
    listed.rows[0].detail.clone()
}

pub async fn the_audit_names_the_facts_that_changed_and_not_what_they_are(fresh: &Fresh) {
    let (credentials, workspace) = (fresh.store.credentials(), fresh.founding.workspace.id);
    let made = credentials.create(credential(workspace, 5), act()).await.unwrap().row;
    let none = CredentialRow { agreement: Default::default(), pricing: vec![], ..made.clone() };
    let none = credentials.replace((none, None), None, act()).await.unwrap().row;
    let bare = "secret version 1, fingerprint 0000000000000001";
    let detail = newest_detail(fresh, Some(workspace)).await;
    assert_eq!(detail, format!("{bare}, other limits, retention, commitment, compliance, pricing"));
    assert_eq!(credentials.get(workspace, made.id).await.unwrap(), none);
    credentials.replace((none, None), None, act()).await.unwrap();
    assert_eq!(newest_detail(fresh, Some(workspace)).await, bare);
    let pooled = fresh.store.accounts().create(account(6), act()).await.unwrap().row;
    let mut tagged = pooled.clone();
    tagged.agreement.compliance = vec!["iso27001".into()];
    let tagged = fresh.store.accounts().replace((tagged, None), None, act()).await.unwrap().row;
    assert_eq!(newest_detail(fresh, None).await, format!("{bare}, other compliance"));
    assert_eq!(fresh.store.accounts().get((), pooled.id).await.unwrap(), tagged);
    let entries = fresh.store.source().load().await.unwrap().accounts.unwrap();
    assert_eq!(*entries[0].pricing, pooled.pricing, "plans know what the operator pays there");
}

pub async fn another_address_needs_the_secret_anew(fresh: &Fresh) {
    let (credentials, workspace) = (fresh.store.credentials(), fresh.founding.workspace.id);
    let made = credentials.create(credential(workspace, 5), act()).await.unwrap().row;
    let moved = CredentialRow { base_url: Some("https://evil.example/v1".into()), ..made.clone() };
    conflict(credentials.replace((moved.clone(), None), None, act()).await, "base_url_needs_secret");
    let gone = CredentialRow { base_url: None, ..made.clone() };
    assert!(credentials.replace((gone, None), None, act()).await.is_err(), "to the provider's own too");
    let moved = credentials.replace((moved, Some(secret(2))), None, act()).await.unwrap().row;
    assert_eq!(moved.base_url.as_deref(), Some("https://evil.example/v1"));
    assert_eq!(moved.secret, secret(2));
}

pub async fn what_a_probe_found_stays_until_the_address_changes(fresh: &Fresh) {
    let (credentials, workspace) = (fresh.store.credentials(), fresh.founding.workspace.id);
    let made = credentials.create(credential(workspace, 5), act()).await.unwrap().row;
    let found = |unix_ms, of: ServerFeature| ProbeResult {
        unix_ms,
        model: Some("m".into()),
        error: Some("It answered with status 429.".into()),
        findings: vec![of.is(false, unix_ms), ServerFeature::Errors.found("text", unix_ms).unwrap()],
    };
    let probe = |probed| credentials.record_probe(workspace, made.id, made.base_url.clone(), probed, act());
    probe(found(3, ServerFeature::DeveloperRole)).await.unwrap();
    let probed = probe(found(4, ServerFeature::StreamOptions)).await.unwrap().row;
    assert_eq!(credentials.get(workspace, made.id).await.unwrap(), probed);
    assert_eq!(probed.server.of(ServerFeature::DeveloperRole).0.unwrap().unix_ms, 3);
    assert_eq!(probed.server.of(ServerFeature::Errors).0.unwrap().unix_ms, 4);
    let elsewhere = Some("https://elsewhere.example/v1".to_owned());
    let late = found(5, ServerFeature::Done);
    let late = credentials.record_probe(workspace, made.id, elsewhere, late, act()).await.unwrap().row;
    assert_eq!(late, probed, "another server said so");
    let mut stated = CredentialRow { server: ServerFacts::default(), ..probed.clone() };
    stated.server.stated.push(ServerFeature::StreamOptions.is(true, 6));
    let stated = credentials.replace((stated, None), None, act()).await.unwrap().row;
    assert_eq!(stated.server.probed, probed.server.probed, "only a probe writes what it found");
    assert_eq!(stated.server.of(ServerFeature::StreamOptions).1, Evidence::Stated);
    let moved = CredentialRow { base_url: Some("https://new.example/v1".into()), ..stated.clone() };
    let moved = credentials.replace((moved, Some(secret(2))), None, act()).await.unwrap().row;
    assert_eq!((moved.server.probed, moved.server.stated), (None, stated.server.stated));
}

pub async fn a_rotation_takes_the_next_version_and_mends_an_invalid_one(fresh: &Fresh) {
    let (credentials, workspace) = (fresh.store.credentials(), fresh.founding.workspace.id);
    let made = credentials.create(credential(workspace, 5), act()).await.unwrap().row;
    let refused = |unix_ms, error: &str| {
        let error = Some(error.to_owned());
        let found = Verification { secret_version: 1, unix_ms, accepted: Some(false), error };
        credentials.record_verification(workspace, made.id, found, act())
    };
    let invalid = refused(7, "401").await.unwrap().row;
    assert_eq!((invalid.state, invalid.last_error.as_deref()), (CredentialState::Invalid, Some("401")));
    for version in [1, 3] {
        let other = (invalid.clone(), Some(secret(version)));
        conflict(credentials.replace(other, None, act()).await, "secret_version");
    }
    let rotated = credentials.replace((invalid, Some(secret(2))), None, act()).await.unwrap().row;
    assert_eq!((rotated.state, rotated.last_error.as_deref()), (CredentialState::Active, None));
    let read = credentials.get(workspace, made.id).await.unwrap();
    assert_eq!(read, rotated);
    assert_eq!(read.secret.floor, secret(2).floor);
    let kept = refused(9, "old").await.unwrap().row;
    assert_eq!(kept.state, CredentialState::Active, "what is found of the old secret is past");
}

pub async fn names_are_unique(fresh: &Fresh) {
    let (credentials, keys) = (fresh.store.credentials(), fresh.store.api_keys());
    let workspace = fresh.founding.workspace.id;
    let first = credentials.create(credential(workspace, 5), act()).await.unwrap().row;
    let same = CredentialRow { display_name: first.display_name.clone(), ..credential(workspace, 6) };
    conflict(credentials.create(same.clone(), act()).await, "name_taken");
    let other = credentials.create(credential(workspace, 6), act()).await.unwrap().row;
    conflict(credentials.replace((same, None), None, act()).await, "name_taken");
    credentials.replace((other, None), None, act()).await.unwrap();
    credentials.delete(workspace, first.id, None, act()).await.unwrap();
    let again = CredentialRow { display_name: first.display_name, ..credential(workspace, 7) };
    credentials.create(again, act()).await.unwrap();

    let key = keys.create((fresh.key(5), None), act()).await.unwrap().row;
    let same = ApiKeyRow { name: key.name.clone(), ..fresh.key(6) };
    conflict(keys.create((same.clone(), None), act()).await, "name_taken");
    keys.delete(workspace, key.id, None, act()).await.unwrap();
    keys.create((same, None), act()).await.unwrap();
}

pub async fn an_unverified_one_is_active_once_it_was_accepted(fresh: &Fresh) {
    let (credentials, workspace) = (fresh.store.credentials(), fresh.founding.workspace.id);
    let row = CredentialRow { state: CredentialState::Unverified, ..credential(workspace, 5) };
    let made = credentials.create(row, act()).await.unwrap().row;
    assert_eq!(credentials.get(workspace, made.id).await.unwrap().state, CredentialState::Unverified);
    let verify = |secret_version, accepted: Option<bool>| {
        let error = accepted.is_none().then(|| "away".to_owned());
        let found = Verification { secret_version, unix_ms: 7, accepted, error };
        credentials.record_verification(workspace, made.id, found, act())
    };
    let away = verify(1, None).await.unwrap().row;
    assert_eq!((away.state, away.last_error.as_deref()), (CredentialState::Unverified, Some("away")));
    let rotated = credentials.replace((away, Some(secret(2))), None, act()).await.unwrap().row;
    assert_eq!(rotated.state, CredentialState::Unverified, "another secret is none that was accepted");
    assert_eq!(verify(2, Some(true)).await.unwrap().row.state, CredentialState::Active);
    let away = verify(2, None).await.unwrap().row;
    assert_eq!(away.state, CredentialState::Active, "it serves while its provider is away");
}

pub async fn verification_never_enables_what_its_owner_shut(fresh: &Fresh) {
    let (credentials, workspace) = (fresh.store.credentials(), fresh.founding.workspace.id);
    let made = credentials.create(credential(workspace, 5), act()).await.unwrap().row;
    let good = || Verification { secret_version: 1, unix_ms: 7, accepted: Some(true), error: None };
    credentials.set_state(workspace, made.id, CredentialState::Disabled, None, act()).await.unwrap();
    let row = credentials.record_verification(workspace, made.id, good(), act()).await.unwrap().row;
    assert_eq!((row.state, row.last_verified_unix_ms), (CredentialState::Disabled, Some(7)));
    credentials.set_state(workspace, made.id, CredentialState::Revoked, None, act()).await.unwrap();
    let row = credentials.record_verification(workspace, made.id, good(), act()).await.unwrap().row;
    assert_eq!(row.state, CredentialState::Revoked);
    let again = credentials.set_state(workspace, made.id, CredentialState::Active, None, act());
    conflict(again.await, "credential_revoked");
    assert!(credentials.replace((row, Some(secret(2))), None, act()).await.is_err());
}

pub async fn deleting_removes_secret_and_floor(fresh: &Fresh) {
    let (store, workspace) = (&fresh.store, fresh.founding.workspace.id);
    let made = store.credentials().create(credential(workspace, 5), act()).await.unwrap().row;
    assert_eq!(store.source().load().await.unwrap().minimum_versions.len(), 1);
    store.credentials().delete(workspace, made.id, Some(made.version), act()).await.unwrap();
    assert!(store.source().load().await.unwrap().minimum_versions.is_empty());
    assert!(store.credentials().get(workspace, made.id).await.is_err());
}
