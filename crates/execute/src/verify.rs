//! The cheapest real call with a credential, an account or a node: whether its secret
//! works, and which models are there.

use std::sync::Arc;

use domain::limits::{FIRST_BYTE_TIME_MAX, VERIFY_TIME_MAX};
use domain::{Fault, FaultClass, Principal};
use plan::Seat;
use snapshot::Snapshot;
use tokio::time::{Instant, timeout};

use crate::failure::{ADDRESS_REFUSED, AttemptFailure};
use crate::timer::Timer;
use crate::upstream::{self, no_headers, request_of, sign};
use crate::{Deps, read};

/// What is to be verified.
#[derive(Debug, Clone)]
pub struct VerifyTarget {
    pub seat: Seat,
    /// The canonical slug; anything for a node.
    pub provider: Arc<str>,
    pub base_url: Arc<str>,
}

impl VerifyTarget {
    /// Resolves a seat's address. `None` if neither the seat nor the catalogue knows one.
    pub fn of(seat: Seat, snapshot: &Snapshot) -> Option<Self> {
        let (slug, own) = match &seat {
            Seat::Byok(credential) => (Arc::clone(&credential.provider), credential.base_url.clone()),
            Seat::Managed(account) => (Arc::clone(&account.provider), account.base_url.clone()),
            Seat::Byoc(node) => ("byoc".into(), Some(Arc::clone(&node.base_url))),
        };
        let facts = snapshot.catalogue().provider(&slug);
        let provider = facts.map_or(slug, |facts| facts.slug.as_str().into());
        let base_url = own.or_else(|| facts?.address(seat.hosting()).ok().map(Arc::from))?;
        Some(Self { seat, provider, base_url })
    }
}

/// Whether only a probe can tell what the provider's servers accept.
pub fn is_probed(provider: &str) -> bool {
    providers::provider(provider).facts().is_probed
}

/// What a verification found.
#[derive(Debug, Clone)]
pub struct VerifyReport {
    pub principal: Principal,
    pub checked_unix_ms: u64,
    pub latency_ms: u64,
    /// `None` if it answered as it should.
    pub fault: Option<Box<Fault>>,
    /// The secret itself or the account was refused, and not the request.
    pub is_of_account: bool,
    /// The models that it serves, if it lists them.
    pub models: Option<Vec<String>>,
}

impl VerifyReport {
    /// The provider accepted the secret, or needs none.
    pub const fn is_well(&self) -> bool {
        self.fault.is_none()
    }

    /// Whether the secret itself was refused. A permission that it lacks for this call says
    /// nothing about its others. A secret that can't be exchanged for a token, or whose address is
    /// never reached, serves nothing.
    pub fn is_refused(&self) -> bool {
        self.fault.as_ref().is_some_and(|fault| match fault.class {
            FaultClass::UpstreamAuth => true,
            FaultClass::UpstreamPermission => self.is_of_account,
            _ => fault.code == ADDRESS_REFUSED,
        })
    }
}

/// Asks the target for its models. Nothing is generated and nothing is metered. Success clears
/// the target's record on the board.
pub async fn verify(target: &VerifyTarget, deps: &Deps) -> VerifyReport {
    let started_us = deps.now_us();
    let limit = VERIFY_TIME_MAX.min(FIRST_BYTE_TIME_MAX);
    let result = match timeout(limit, fetch_models(target, deps)).await {
        Ok(result) => result,
        Err(_) => Err(AttemptFailure::timeout(&target.provider, "did not answer", limit.as_secs())),
    };
    let principal = target.seat.principal();
    if result.is_ok() {
        deps.board.shared().forgive(principal);
    }
    let (models, fault, is_of_account) = match result {
        Ok(models) => (models, None, false),
        Err(failure) => (None, Some(failure.fault), failure.is_of_account),
    };
    VerifyReport {
        principal,
        checked_unix_ms: deps.world.clock.unix_ms(),
        latency_ms: deps.now_us().saturating_sub(started_us).div_ceil(1_000),
        fault,
        is_of_account,
        models,
    }
}

async fn fetch_models(target: &VerifyTarget, deps: &Deps) -> Result<Option<Vec<String>>, AttemptFailure> {
    let provider = providers::provider(&target.provider);
    let mut outgoing = provider.list_models(&target.base_url, target.seat.hosting());
    sign(deps, &target.seat, provider, &target.provider, &target.base_url, &mut outgoing).await?;
    let request = request_of(&deps.egress, outgoing).map_err(|fault| AttemptFailure::new(*fault))?;
    let mut opened = upstream::send(deps, &target.provider, &target.seat, &request, no_headers).await?;
    let (mut timer, deadline) = (Timer::new(&deps.timers), Instant::now() + VERIFY_TIME_MAX);
    let bytes =
        read::whole(&mut opened.body, &mut timer, VERIFY_TIME_MAX, deadline, &target.provider).await?;
    let bytes = read::decoded(&opened.headers, bytes)
        .await
        .map_err(|what| AttemptFailure::broken(&target.provider, what))?;
    Ok(provider.read_models(&bytes))
}
