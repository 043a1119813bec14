//! The tokens that secrets are exchanged for, cached while they live: each is requested once,
//! however many requests wait for it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use domain::limits::{GRANT_BYTES_MAX, GRANT_REFUSED_FOR, GRANT_STEPS_MAX, GRANT_TIME_MAX};
use domain::timeline::micros;
use domain::{Fault, FaultClass, Hosting, Principal, Sealed, Secret};
use egress::{Destination, TargetKind};
use plan::Seat;
use providers::{ExchangeReach, GrantStep, Granted, Granting, Outgoing, Signer};
use tokio::time::timeout;

use crate::failure::AttemptFailure;
use crate::upstream::{destination, open_secret, request_of};
use crate::{Deps, read};

/// The share of a token's life after which another one is requested.
const USED_PERCENT: u64 = 80;

/// The tokens of the process.
#[derive(Debug, Default)]
pub struct SharedTokens {
    slots: Mutex<HashMap<Principal, Arc<Slot>>>,
}

/// The caller that holds it makes the request; the others wait for the outcome.
type Slot = tokio::sync::Mutex<Option<Outcome>>;

/// The outcome of the last exchange.
#[derive(Debug, Clone)]
struct Outcome {
    grounds: TokenInputs,
    found: Result<CachedToken, Refused>,
}

impl Outcome {
    fn ends_us(&self) -> u64 {
        match &self.found {
            Ok(held) => held.expires_us,
            Err(refused) => refused.until_us,
        }
    }
}

/// What it was requested with: it is not a token for anything else.
#[derive(Debug, Clone, PartialEq)]
struct TokenInputs {
    /// Whole: secrets that are tried before a rotation have the same version.
    sealed: Option<Arc<Sealed>>,
    hosting: Arc<Hosting>,
}

#[derive(Debug, Clone)]
struct CachedToken {
    secret: Arc<Secret>,
    refresh_us: u64,
    expires_us: u64,
}

/// A refusal is shared with all who waited, and with those who come right after: a thousand
/// requests don't ask a thousand times.
#[derive(Debug, Clone)]
struct Refused {
    failure: AttemptFailure,
    until_us: u64,
}

impl SharedTokens {
    /// The slot in which a token is requested. Slots whose token has expired, for example of a
    /// deleted credential, are removed.
    fn slot(&self, principal: Principal, now_us: u64) -> Arc<Slot> {
        let mut slots = self.slots();
        slots.retain(|of, slot| {
            let is_over = |slot: &Slot| {
                let outcome = slot.try_lock();
                outcome
                    .is_ok_and(|outcome| outcome.as_ref().is_none_or(|outcome| outcome.ends_us() <= now_us))
            };
            *of == principal || Arc::strong_count(slot) > 1 || !is_over(slot)
        });
        Arc::clone(slots.entry(principal).or_default())
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Principal, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a seat may use the machine's own identity: operator accounts, and
/// workspaces that the operator lists.
fn may_be_machine(deps: &Deps, seat: &Seat) -> bool {
    match seat {
        Seat::Managed(_) => true,
        Seat::Byok(credential) => deps.egress.settings().host_identity.contains(&credential.workspace),
        Seat::Byoc(_) => false,
    }
}

/// One core's copies of the process's tokens, read without its locks.
#[derive(Debug, Default)]
pub struct Tokens {
    own: RefCell<HashMap<Principal, (TokenInputs, CachedToken)>>,
    shared: Arc<SharedTokens>,
}

/// A token, and whether it was cached before this request.
pub(crate) struct Token {
    pub secret: Arc<Secret>,
    pub was_cached: bool,
}

impl Tokens {
    pub fn new(shared: Arc<SharedTokens>) -> Self {
        Self { own: RefCell::default(), shared }
    }

    /// The token that signs for a seat whose secret does not.
    ///
    /// # Errors
    /// It was refused, or there was no answer.
    pub(crate) async fn of(
        &self,
        deps: &Deps,
        seat: &Seat,
        slug: &str,
        base_url: &str,
    ) -> Result<Token, AttemptFailure> {
        let (principal, grounds) = (seat.principal(), grounds(seat));
        if let Some(held) = self.cached(principal, &grounds, deps.now_us()) {
            return Ok(Token { secret: held.secret, was_cached: true });
        }
        let slot = self.shared.slot(principal, deps.now_us());
        let mut outcome = slot.lock().await;
        let now_us = deps.now_us();
        let known = outcome.as_ref().filter(|outcome| outcome.grounds == grounds).map(|known| &known.found);
        let old = match known {
            Some(Err(refused)) if now_us < refused.until_us => return Err(refused.failure.clone()),
            Some(Ok(held)) if now_us < held.refresh_us => {
                return Ok(self.keep(principal, grounds, held.clone(), true, now_us));
            }
            Some(Ok(held)) if now_us < held.expires_us => Some(held.clone()),
            _ => None,
        };
        // If this is cancelled, the slot is unchanged and the next caller asks.
        let result = exchange(deps, seat, slug, base_url).await;
        let now_us = deps.now_us();
        let found = match (result, old) {
            (Ok(granted), _) => Ok(hold(granted, now_us)),
            // While the old one lives, a directory that is down for a moment stops no request.
            (Err(_), Some(old)) => Ok(old),
            (Err(failure), None) => {
                let until_us = now_us.saturating_add(micros(GRANT_REFUSED_FOR));
                Err(Refused { failure, until_us })
            }
        };
        *outcome = Some(Outcome { grounds: grounds.clone(), found: found.clone() });
        match found {
            Ok(held) => Ok(self.keep(principal, grounds, held, false, now_us)),
            Err(refused) => Err(refused.failure),
        }
    }

    /// Forgets a token that an upstream refused before it expired, so that no request gets it again.
    pub(crate) fn forget(&self, principal: Principal, refused: &Arc<Secret>) {
        self.own.borrow_mut().retain(|of, (_, held)| *of != principal || !Arc::ptr_eq(&held.secret, refused));
        let slot = self.shared.slots().get(&principal).map(Arc::clone);
        // The caller that holds the slot is already requesting another one.
        if let Some(mut outcome) = slot.as_ref().and_then(|slot| slot.try_lock().ok()) {
            let is_it = |outcome: &Outcome| {
                outcome.found.as_ref().is_ok_and(|held| Arc::ptr_eq(&held.secret, refused))
            };
            if outcome.as_ref().is_some_and(is_it) {
                *outcome = None;
            }
        }
    }

    fn cached(&self, principal: Principal, grounds: &TokenInputs, now_us: u64) -> Option<CachedToken> {
        let own = self.own.borrow();
        let (cached_grounds, held) = own.get(&principal)?;
        (cached_grounds == grounds && now_us < held.refresh_us).then(|| held.clone())
    }

    fn keep(
        &self,
        principal: Principal,
        grounds: TokenInputs,
        held: CachedToken,
        was_cached: bool,
        now_us: u64,
    ) -> Token {
        let secret = Arc::clone(&held.secret);
        let mut own = self.own.borrow_mut();
        own.retain(|_, (_, held)| now_us < held.expires_us);
        own.insert(principal, (grounds, held));
        Token { secret, was_cached }
    }
}

fn grounds(seat: &Seat) -> TokenInputs {
    let (sealed, hosting) = match seat {
        Seat::Byok(credential) => (Some(&credential.sealed), Some(&credential.hosting)),
        Seat::Managed(account) => (Some(&account.sealed), Some(&account.hosting)),
        Seat::Byoc(node) => (node.sealed.as_ref(), None),
    };
    TokenInputs { sealed: sealed.cloned(), hosting: hosting.map(Arc::clone).unwrap_or_default() }
}

fn hold(granted: Granted, now_us: u64) -> CachedToken {
    let lives_us = granted.lives_s.saturating_mul(1_000_000);
    CachedToken {
        secret: Arc::new(granted.secret),
        refresh_us: now_us.saturating_add(lives_us / 100 * USED_PERCENT),
        expires_us: now_us.saturating_add(lives_us),
    }
}

/// All steps from the secret to the token.
async fn exchange(deps: &Deps, seat: &Seat, slug: &str, base_url: &str) -> Result<Granted, AttemptFailure> {
    let granted = match timeout(GRANT_TIME_MAX, walk(deps, seat, slug, base_url)).await {
        Ok(granted) => granted,
        Err(_) => Err(AttemptFailure::timeout(
            slug,
            "did not exchange the secret for a token",
            GRANT_TIME_MAX.as_secs(),
        )),
    };
    // The request itself was never sent: an exchange that failed bills none of its tokens.
    granted.map_err(
        |failure| if failure.class() == FaultClass::UpstreamAuth { failure } else { failure.unsent() },
    )
}

async fn walk(deps: &Deps, seat: &Seat, slug: &str, base_url: &str) -> Result<Granted, AttemptFailure> {
    let kind = seat.hosting().auth;
    let exchange = providers::granting(providers::provider(slug), kind).map_err(AttemptFailure::of_us)?;
    let secret =
        open_secret(deps, seat).map_err(AttemptFailure::of_us)?.unwrap_or_else(|| Secret::new(Vec::new()));
    let mut answers: Vec<Bytes> = Vec::new();
    while answers.len() < GRANT_STEPS_MAX {
        let unix_s = deps.world.clock.unix_ms() / 1_000;
        let signer = Signer { secret: &secret, hosting: seat.hosting(), unix_s };
        match exchange.grant(base_url, &signer, &answers).map_err(AttemptFailure::of_us)? {
            GrantStep::Granted(granted) => return Ok(granted),
            GrantStep::Read { path } => {
                answers.push(read_file(deps, seat, &path).map_err(AttemptFailure::of_us)?)
            }
            GrantStep::Request { outgoing, reach: door } => {
                let reach = match door {
                    ExchangeReach::Cloud => TargetKind::Provider,
                    ExchangeReach::Machine if may_be_machine(deps, seat) => TargetKind::Machine,
                    ExchangeReach::Machine => return Err(AttemptFailure::of_us(not_the_machine())),
                };
                let destination = Destination { kind: reach, owner: destination(seat).owner };
                answers.push(request_grant(deps, exchange, slug, *outgoing, destination).await?);
            }
        }
    }
    Err(AttemptFailure::broken(slug, "the token exchange takes too many steps"))
}

/// Reads a token file of the machine, if the operator allows it. It is small, and in
/// memory on machines that have one.
fn read_file(deps: &Deps, seat: &Seat, path: &str) -> Result<Bytes, Box<Fault>> {
    if !may_be_machine(deps, seat) {
        return Err(not_the_machine());
    }
    if !deps.egress.settings().may_read(path) {
        let message = format!("Tidegate can't read a token from {path}.");
        let fault = Fault::new(FaultClass::UpstreamAuth, "token_file_not_allowed", message);
        return Err(Box::new(fault.fix("Ask the operator to list the file in TIDEGATE_TOKEN_FILES.")));
    }
    deps.world.disk.read(Path::new(path), GRANT_BYTES_MAX).map(Bytes::from).map_err(|error| {
        tracing::warn!(path, %error, "a token file could not be read");
        let message = format!("The token in {path} can't be read.");
        let fault = Fault::new(FaultClass::UpstreamAuth, "credential_unusable", message);
        Box::new(fault.fix("Ask the operator to give Tidegate read access to the file.").should_retry(false))
    })
}

fn not_the_machine() -> Box<Fault> {
    let message = "This workspace's credentials may not use the identity of the machine.";
    let fault = Fault::new(FaultClass::UpstreamAuth, "host_identity_not_allowed", message);
    Box::new(fault.fix("Ask the operator to list the workspace in TIDEGATE_HOST_IDENTITY."))
}

pub(crate) async fn request_grant(
    deps: &Deps,
    exchange: &dyn Granting,
    slug: &str,
    mut outgoing: Outgoing,
    destination: Destination,
) -> Result<Bytes, AttemptFailure> {
    if destination.kind == TargetKind::Machine {
        outgoing.url = deps.egress.machine_url(outgoing.url);
    }
    let request = request_of(&deps.egress, outgoing).map_err(AttemptFailure::of_us)?;
    let answer = deps
        .egress
        .send(&request, destination)
        .await
        .map_err(|error| AttemptFailure::egress(&error, slug))?;
    let (status, headers) = (answer.status, answer.headers);
    let body = read::prefix(answer.body, GRANT_BYTES_MAX).await;
    let body = read::decoded(&headers, body).await.map_err(|what| AttemptFailure::broken(slug, what))?;
    if status.is_success() {
        return Ok(body);
    }
    let mut classified = exchange.classify_grant(status.as_u16(), &headers.to_map(), &body, slug);
    classified.report.request_id = None;
    // Only a token was requested so far, so what is refused is the account.
    classified.is_of_account = true;
    Err(AttemptFailure::classified(classified, status.as_u16()))
}
