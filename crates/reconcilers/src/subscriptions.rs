//! Subscriptions: renews access tokens before they expire, and compares their use with the books.

use std::sync::Arc;

use domain::limits::SUBSCRIPTIONS_COUNTED_EVERY;
use domain::{AuthKind, Fault, FaultClass, Principal, SubscriptionId, UsageWindow, WindowUse, WorkspaceId};
use plan::Seat;
use snapshot::{CredentialEntry, CredentialState};
use store::{
    Act, Dimension, Renewal, SealedSecret, StoreError, SubscriptionRow, UsageFilter, UsageQuery, Window,
};

use crate::Deps;
use crate::failure::of_store;
use crate::limits::SUBSCRIPTION_RENEWED_BEFORE_MS;

/// The share of an access token's life after which it is renewed, as for tokens that requests exchange.
const USED_PERCENT: u64 = 80;

/// Renews the access tokens that are due. Only one gateway of an installation does: a refresh token may be good for
/// one use.
pub async fn renew_due(deps: &Deps) -> Result<(), StoreError> {
    for entry in renewable(deps) {
        if let Err(fault) = renew_if_due(deps, &entry).await {
            tracing::warn!(subscription = %entry.principal(), %fault, "a subscription's token could not be renewed");
        }
    }
    Ok(())
}

/// Those whose token may be due, by what requests read.
fn renewable(deps: &Deps) -> Vec<Arc<CredentialEntry>> {
    let (snapshot, now) = (deps.keeper.current(), deps.world.clock.unix_ms());
    if !snapshot.catalogue().takes_subscriptions() {
        return Vec::new();
    }
    let is_near = |entry: &CredentialEntry| {
        entry.hosting.auth == AuthKind::SubscriptionOauth
            && entry.state == CredentialState::Active
            && entry
                .expires_unix_ms
                .is_some_and(|end| end <= now.saturating_add(SUBSCRIPTION_RENEWED_BEFORE_MS))
    };
    let all = snapshot.workspaces().flat_map(|workspace| &workspace.credentials);
    all.filter(|entry| is_near(entry)).map(Arc::clone).collect()
}

async fn renew_if_due(deps: &Deps, entry: &Arc<CredentialEntry>) -> Result<(), Box<Fault>> {
    let Principal::Subscription(id) = entry.principal() else { return Ok(()) };
    let subscriptions = deps.store.subscriptions();
    let SubscriptionRow(row) = match subscriptions.get(entry.workspace, id).await {
        Err(StoreError::NotFound { .. }) => return Ok(()),
        row => row.map_err(of_store)?,
    };
    let since = row.last_verified_unix_ms.unwrap_or(row.created_unix_ms);
    let is_current = row.secret.sealed.version == entry.sealed.version;
    let is_due = row.expires_unix_ms.is_some_and(|end| {
        let life = end.saturating_sub(since);
        deps.world.clock.unix_ms() >= since.saturating_add(life / 100 * USED_PERCENT)
    });
    if !is_current || !is_due || row.state != CredentialState::Active {
        return Ok(());
    }
    let renewed = deps.outbound.renew(deps.target(Seat::Byok(Arc::clone(entry)))?).await;
    let version = row.secret.sealed.version;
    let renewal = match renewed {
        Ok(renewed) => {
            let object = row.id.to_string();
            let next = version.saturating_add(1);
            let sealed = deps.vault.sealer.seal(row.workspace, &object, next, &renewed.secret);
            let sealed = sealed.map_err(|error| {
                tracing::error!(%error, object, "a renewed token could not be sealed");
                Box::new(Fault::internal())
            })?;
            let secret = SealedSecret {
                sealed: sealed.sealed,
                floor: sealed.floor,
                fingerprint: format!("tfp_{}", sealed.fingerprint),
            };
            Renewal::Renewed { secret, expires_unix_ms: renewed.expires_unix_ms }
        }
        Err(fault) if fault.class == FaultClass::UpstreamAuth => Renewal::Refused(fault.to_string()),
        // It is tried again while the old one lives, and after.
        Err(fault) => return Err(fault),
    };
    let act = Act::system(&deps.world);
    let written = subscriptions.record_renewal(row.workspace, id, version, renewal, act).await;
    written.map(drop).map_err(of_store)
}

/// Compares the counted use of capped subscriptions with the books, until the process ends.
pub async fn watch_use(deps: Deps) {
    loop {
        if let Err(error) = learn_use(&deps).await {
            tracing::warn!(%error, "the use of subscriptions could not be read from the books");
        }
        tokio::time::sleep(SUBSCRIPTIONS_COUNTED_EVERY).await;
    }
}

async fn learn_use(deps: &Deps) -> Result<(), StoreError> {
    let (snapshot, now) = (deps.keeper.current(), deps.world.clock.unix_ms());
    if !snapshot.catalogue().takes_subscriptions() {
        return Ok(());
    }
    for workspace in snapshot.workspaces() {
        for entry in &workspace.credentials {
            let (Principal::Subscription(id), Some(stated)) = (entry.principal(), &entry.subscription) else {
                continue;
            };
            if stated.windows.is_empty() {
                continue;
            }
            let mut booked = Vec::with_capacity(stated.windows.len());
            for window in &stated.windows {
                booked.push(booked_use(deps, workspace.id, id, window, now).await?);
            }
            deps.board.learn_use(id, &stated.windows, &booked, now);
        }
    }
    Ok(())
}

async fn booked_use(
    deps: &Deps,
    workspace: WorkspaceId,
    id: SubscriptionId,
    window: &UsageWindow,
    now_unix_ms: u64,
) -> Result<WindowUse, StoreError> {
    let query = UsageQuery {
        workspace,
        window: Window { start_unix_ms: window.start(now_unix_ms), end_unix_ms: now_unix_ms },
        group_by: vec![Dimension::Credential],
        interval: None,
        filter: UsageFilter {
            profile: Some(Principal::Subscription(id).profile().as_str().to_owned()),
            ..UsageFilter::default()
        },
    };
    let rows = deps.store.records().usage(query).await?;
    let name = id.to_string();
    let its = rows
        .iter()
        .filter(|row| row.groups.first().is_some_and(|(_, value)| value.as_deref() == Some(name.as_str())));
    Ok(its.fold(WindowUse::default(), |sum, row| {
        let tokens = row.sums.input_tokens.saturating_add(row.sums.output_tokens);
        sum.plus(WindowUse { requests: row.sums.requests, tokens })
    }))
}
