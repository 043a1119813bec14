//! Webhooks, events and deliveries.

use domain::limits::WEBHOOKS_OF_WORKSPACE_MAX;
use domain::{AlertRuleId, EventId, WebhookId, WorkspaceId};
use serde_json::json;
use snapshot::CredentialState;
use store::alerts::MEASURE;
use store::jobs::{JobClaim, JobLease, JobResult};
use store::webhooks::DELIVER;
use store::{
    AlertMetric, AlertRuleRow, AlertState, DeliveryAttempt, DeliveryState, EventKind, EventRow, JobRow, Page,
    SigningSecret, StoreError, Verification, WebhookFormat, WebhookRow,
};

use crate::samples::{Fresh, NOW, act, bytes, conflict, credential, founding, missing, secret};

const LATER: u64 = 1 << 45;

fn signing(generation: u32) -> SigningSecret {
    SigningSecret { generation, secret: secret(1), expires_unix_ms: None }
}

pub(super) fn webhook(fresh: &Fresh, number: u64, events: &[EventKind]) -> WebhookRow {
    WebhookRow {
        id: WebhookId::new(NOW, bytes(number)),
        workspace: fresh.founding.workspace.id,
        format: WebhookFormat::Standard,
        url: "https://example.com/hook".into(),
        description: "ours".into(),
        quiet: None,
        events: events.to_vec(),
        disabled_reason: None,
        secrets: vec![signing(1)],
        created_unix_ms: NOW,
        version: 0,
    }
}

async fn claim(fresh: &Fresh, kind: &str) -> Vec<JobRow> {
    let claim = JobClaim { lease_ms: 1, limit: 100, ..super::jobs::claim("one", LATER) };
    let jobs = fresh.store.jobs().claim(claim).await.unwrap();
    jobs.into_iter().filter(|job| job.kind == kind).collect()
}

async fn kinds(fresh: &Fresh, id: WebhookId) -> Vec<EventKind> {
    let workspace = fresh.founding.workspace.id;
    let listed = fresh.store.webhooks().deliveries(workspace, id, Page::default()).await.unwrap();
    listed.rows.iter().rev().map(|row| row.event.kind).collect()
}

pub async fn a_webhook_is_made_changed_rotated_and_deleted(fresh: &Fresh) {
    let (webhooks, workspace) = (fresh.store.webhooks(), fresh.founding.workspace.id);
    let made = webhooks.create(webhook(fresh, 1, &[EventKind::KeyRevoked]), act()).await.unwrap().row;
    assert_eq!(webhooks.get(workspace, made.id).await.unwrap(), made);
    missing(webhooks.get(founding(2).workspace.id, made.id).await);
    let changed = WebhookRow { url: "https://example.com/b".into(), ..made.clone() };
    let changed = webhooks.replace(changed, Some(made.version), act()).await.unwrap().row;
    let stale = webhooks.replace(made.clone(), Some(made.version), act()).await;
    assert!(matches!(stale, Err(StoreError::Precondition { .. })));
    let rotated = webhooks.rotate(workspace, made.id, signing(2), NOW + 5, act()).await.unwrap().row;
    let generations: Vec<_> = rotated.secrets.iter().map(|s| (s.generation, s.expires_unix_ms)).collect();
    assert_eq!(generations, [(2, None), (1, Some(NOW + 5))]);
    conflict(webhooks.rotate(workspace, made.id, signing(2), NOW + 5, act()).await, "secret_version");
    let again = webhooks.rotate(workspace, made.id, signing(3), NOW + 9, act()).await.unwrap().row;
    assert_eq!(again.secrets.iter().map(|s| s.generation).collect::<Vec<_>>(), [3, 2], "never three");
    assert_eq!(again.url, changed.url);
    webhooks.delete(workspace, made.id, None, act()).await.unwrap();
    assert_eq!(webhooks.list(workspace, Page::default()).await.unwrap().rows, []);
}

pub async fn a_webhook_too_many_or_twice_is_a_conflict(fresh: &Fresh) {
    let webhooks = fresh.store.webhooks();
    webhooks.create(webhook(fresh, 1, &[]), act()).await.unwrap();
    conflict(webhooks.create(webhook(fresh, 1, &[]), act()).await, "already_exists");
    for number in 2..=u64::from(WEBHOOKS_OF_WORKSPACE_MAX) {
        webhooks.create(webhook(fresh, number, &[]), act()).await.unwrap();
    }
    conflict(webhooks.create(webhook(fresh, 1_000, &[]), act()).await, "too_many_webhooks");
}

pub async fn an_act_is_told_to_whoever_wants_its_kind(fresh: &Fresh) {
    let (store, workspace) = (&fresh.store, fresh.founding.workspace.id);
    store.credentials().create(credential(workspace, 4), act()).await.unwrap();
    assert_eq!(claim(fresh, DELIVER).await, [], "nobody listens");
    let all = store.webhooks().create(webhook(fresh, 1, &[]), act()).await.unwrap().row.id;
    let wanted = [EventKind::CredentialInvalid];
    let some = store.webhooks().create(webhook(fresh, 2, &wanted), act()).await.unwrap().row.id;
    let silent = WebhookRow { disabled_reason: Some("off".into()), ..webhook(fresh, 3, &[]) };
    let silent = store.webhooks().create(silent, act()).await.unwrap().row.id;
    let made = store.credentials().create(credential(workspace, 5), act()).await.unwrap().row;
    let refused = Verification { secret_version: 1, accepted: Some(false), ..verification() };
    let credentials = store.credentials();
    credentials.record_verification(workspace, made.id, refused.clone(), act()).await.unwrap();
    credentials.record_verification(workspace, made.id, refused, act()).await.unwrap();
    let rotated = credentials.replace((made.clone(), Some(secret(2))), None, act()).await.unwrap().row;
    assert_eq!(rotated.state, CredentialState::Active);
    for state in [CredentialState::Disabled, CredentialState::Revoked] {
        credentials.set_state(workspace, made.id, state, None, act()).await.unwrap();
    }
    store.api_keys().delete(workspace, fresh.founding.keys[0].id, None, act()).await.unwrap();
    assert_eq!(
        kinds(fresh, all).await,
        [
            EventKind::CredentialInvalid,
            EventKind::CredentialActive,
            EventKind::CredentialDisabled,
            EventKind::CredentialRevoked,
            EventKind::KeyRevoked,
        ],
        "each change once"
    );
    assert_eq!(kinds(fresh, some).await, [EventKind::CredentialInvalid]);
    assert_eq!(kinds(fresh, silent).await, []);
    assert_eq!(claim(fresh, DELIVER).await.len(), 6, "a job for each delivery");
}

/// Two claims, of which the first still runs when the rule is changed.
pub async fn a_rule_that_is_changed_while_it_is_measured_is_measured_again(fresh: &Fresh) {
    let rules = fresh.store.alert_rules();
    let rule = AlertRuleRow {
        id: AlertRuleId::new(NOW, bytes(1)),
        workspace: fresh.founding.workspace.id,
        name: "many".into(),
        metric: AlertMetric::Requests,
        project: None,
        key: None,
        model: None,
        provider: None,
        window_minutes: 60,
        threshold: 9,
        requests_min: 0,
        is_enabled: true,
        state: AlertState::default(),
        created_unix_ms: NOW,
        version: 0,
    };
    let made = rules.create(rule, act()).await.unwrap().row;
    assert_eq!(claim(fresh, MEASURE).await.len(), 1);
    rules.replace(AlertRuleRow { threshold: 0, ..made }, None, act()).await.unwrap();
    assert_eq!(claim(fresh, MEASURE).await.len(), 1);
}

fn verification() -> Verification {
    Verification { secret_version: 1, unix_ms: NOW, accepted: None, error: None }
}

fn event(workspace: WorkspaceId) -> EventRow {
    let (kind, payload) = (EventKind::BudgetAlert, json!({"percent": 80}));
    EventRow { id: EventId::new(NOW, bytes(9)), workspace, kind, payload, created_unix_ms: NOW }
}

pub async fn an_event_is_kept_once_and_its_delivery_told(fresh: &Fresh) {
    let (store, workspace) = (&fresh.store, fresh.founding.workspace.id);
    let id = store.webhooks().create(webhook(fresh, 1, &[]), act()).await.unwrap().row.id;
    let event = event(workspace);
    store.events().emit(event.clone()).await.unwrap();
    store.events().emit(event.clone()).await.unwrap();
    assert_eq!(claim(fresh, DELIVER).await.len(), 1);
    let (row, pending) = store.webhooks().delivery(id, event.id).await.unwrap().unwrap();
    assert_eq!((row.id, &pending.event, pending.state), (id, &event, DeliveryState::Pending));
    let error = Some("it answered 500".into());
    let failed =
        DeliveryAttempt { state: DeliveryState::Pending, status: Some(500), error, unix_ms: NOW + 3 };
    store.webhooks().record_attempt(id, event.id, failed.clone()).await.unwrap();
    let done = DeliveryAttempt { state: DeliveryState::Delivered, status: Some(204), error: None, ..failed };
    store.webhooks().record_attempt(id, event.id, done).await.unwrap();
    let listed = store.webhooks().deliveries(workspace, id, Page::default()).await.unwrap().rows;
    assert_eq!((listed.len(), listed[0].attempts, listed[0].last_status), (1, 2, Some(204)));
    assert_eq!(listed[0].state, DeliveryState::Delivered);
    missing(store.webhooks().deliveries(founding(2).workspace.id, id, Page::default()).await);
    assert_eq!(store.events().forget(NOW + 1).await.unwrap(), 1);
    assert_eq!(store.webhooks().delivery(id, event.id).await.unwrap(), None);
}

pub async fn a_delivery_is_asked_for_anew(fresh: &Fresh) {
    let (store, workspace) = (&fresh.store, fresh.founding.workspace.id);
    let id = store.webhooks().create(webhook(fresh, 1, &[]), act()).await.unwrap().row.id;
    let event = event(workspace);
    store.events().emit(event.clone()).await.unwrap();
    let resend = || store.webhooks().resend(workspace, id, event.id, act());
    let first = claim(fresh, DELIVER).await.remove(0);
    conflict(resend().await, "delivery_running");
    let done = DeliveryAttempt { state: DeliveryState::Failed, status: None, error: None, unix_ms: NOW };
    store.webhooks().record_attempt(id, event.id, done).await.unwrap();
    let hold = JobLease { job: first.id, worker: "one".into(), attempt: first.attempts };
    let ending = JobResult::Retry { unix_ms: LATER * 2, error: "it answered 500".into() };
    assert!(store.jobs().settle(hold, ending).await.unwrap());
    assert!(claim(fresh, DELIVER).await.is_empty(), "it waits for its time");
    // A pending delivery is due at once, stays one job however often it is requested, and retries as long as
    // a new one.
    for _ in 0..2 {
        let pending = resend().await.unwrap();
        assert_eq!((pending.state, pending.attempts), (DeliveryState::Pending, 1));
    }
    let jobs = claim(fresh, DELIVER).await;
    let told: Vec<_> = jobs.iter().map(|job| (job.attempts, &job.payload)).collect();
    assert_eq!(told, [(1, &first.payload)]);
    assert!(jobs[0].created_unix_ms > first.created_unix_ms);
    for (of, event) in [(founding(2).workspace.id, event.id), (workspace, EventId::new(NOW, bytes(8)))] {
        missing(store.webhooks().resend(of, id, event, act()).await);
    }
    let off = WebhookRow { disabled_reason: Some("somebody disabled it".into()), ..webhook(fresh, 1, &[]) };
    store.webhooks().replace(off, None, act()).await.unwrap();
    conflict(resend().await, "webhook_disabled");
}
