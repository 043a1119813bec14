//! Subscription credentials.

use domain::{Subscription, UsageWindow};
use snapshot::CredentialState;
use store::{CredentialRow, Page, Renewal, SubscriptionRow};

use crate::samples::{Fresh, NOW, act, conflict, credential, missing, secret};

fn subscription(fresh: &Fresh, number: u64) -> SubscriptionRow {
    let windows = vec![UsageWindow { hours: 5, starts_unix_ms: NOW, requests: Some(9), tokens: None }];
    let stated =
        Subscription { product: "codex".into(), plan: Some("pro".into()), discount_pct: 50, windows };
    SubscriptionRow(CredentialRow {
        project: Some(fresh.founding.project.id),
        subscription: Some(stated),
        ..credential(fresh.founding.workspace.id, number)
    })
}

/// One table, two resources: neither lists, reads, changes or deletes what is the other's.
pub async fn a_subscription_reads_back_and_is_no_credential(fresh: &Fresh) {
    let (store, workspace) = (&fresh.store, fresh.founding.workspace.id);
    let (subscriptions, credentials) = (store.subscriptions(), store.credentials());
    let row = subscription(fresh, 5);
    let made = subscriptions.create(row.clone(), act()).await.unwrap();
    assert_eq!(subscriptions.get(workspace, row.id()).await.unwrap(), made.row);
    assert_eq!(made.row.0.subscription, row.0.subscription);
    let own = credentials.create(credential(workspace, 6), act()).await.unwrap().row;
    assert_eq!(subscriptions.list(workspace, Page::first(9)).await.unwrap().rows, [made.row]);
    assert_eq!(credentials.list(workspace, Page::first(9)).await.unwrap().rows, std::slice::from_ref(&own));
    let found = credentials.filter(workspace, Default::default(), Page::first(9)).await.unwrap();
    assert_eq!(found.rows, std::slice::from_ref(&own));
    missing(credentials.get(workspace, row.0.id).await);
    missing(credentials.replace((row.0.clone(), None), None, act()).await);
    missing(credentials.delete(workspace, row.0.id, None, act()).await);
    let as_subscription = domain::SubscriptionId::from_uuid(*own.id.as_uuid());
    missing(subscriptions.delete(workspace, as_subscription, None, act()).await);
    let entry = fresh.entry().await;
    let kinds: Vec<_> = entry.credentials.iter().map(|it| (it.id, it.subscription.is_some())).collect();
    assert_eq!(kinds, [(row.0.id, true), (own.id, false)]);
    subscriptions.delete(workspace, row.id(), None, act()).await.unwrap();
    missing(subscriptions.get(workspace, row.id()).await);
}

/// A renewal takes the next version, unless a rotation came first; a refusal makes it invalid, and a rotation active again.
pub async fn a_renewal_and_a_rotation_cannot_overwrite_each_other(fresh: &Fresh) {
    let (subscriptions, workspace) = (fresh.store.subscriptions(), fresh.founding.workspace.id);
    let row = subscriptions.create(subscription(fresh, 5), act()).await.unwrap().row;
    let id = row.id();
    let renewed = |version| Renewal::Renewed { secret: secret(version), expires_unix_ms: NOW + 60_000 };
    let next = subscriptions.record_renewal(workspace, id, 1, renewed(2), act()).await.unwrap().row;
    assert_eq!((&next.0.secret, next.0.expires_unix_ms), (&secret(2), Some(NOW + 60_000)));
    let late = subscriptions.record_renewal(workspace, id, 1, renewed(2), act()).await.unwrap().row;
    assert_eq!(late, next, "another renewal came first");
    let refused = Renewal::Refused("no".into());
    let ended = subscriptions.record_renewal(workspace, id, 2, refused, act()).await.unwrap().row;
    assert_eq!((ended.0.state, ended.0.last_error.as_deref()), (CredentialState::Invalid, Some("no")));
    let rotated = subscriptions.replace((ended, Some(secret(3))), None, act()).await.unwrap().row;
    assert_eq!((rotated.0.state, &rotated.0.secret), (CredentialState::Active, &secret(3)));
    let shut = SubscriptionRow(CredentialRow { state: CredentialState::Disabled, ..rotated.0.clone() });
    let shut = subscriptions.replace((shut, None), None, act()).await.unwrap().row;
    assert_eq!(shut.0.state, CredentialState::Disabled);
    conflict(subscriptions.replace((rotated, Some(secret(3))), None, act()).await, "secret_version");
}
