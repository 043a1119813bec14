//! The plan of an admitted call: what `execute` works through, and what is stored with its record.

use std::hash::{BuildHasher, BuildHasherDefault};
use std::sync::Arc;
use std::time::Duration;

use admit::Admitted;
use board::AvailabilityView;
use domain::limits::{PREFIX_PROMPT_BYTES_MIN, RECORD_PLAN_ROWS_MAX};
use domain::ports::{FoundResponse, StoredResponse};
use domain::record::{PlanRecord, Rejected};
use domain::{
    CacheMode, FallbackClass, Fault, IdHasher, Principal, Profile, RouteSpec, StoredObjectKind, limits,
};

use crate::attempt::Attempt;
use crate::batches::{Named, decide_batch};
use crate::broker::{Decision, UNROUTED, decide};
use crate::question::{PlanInput, PlanQuery, RequiredSeat, SeatHas};
use crate::reason::{Refusal, Rejection};
use crate::uploads::{self, decide_upload};
use crate::{candidates, faults};

/// The timeouts of a call, from its route and within our own limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    pub head_wait: Duration,
    pub first_byte: Duration,
    pub idle: Duration,
    pub deadline: Duration,
}

impl Timeouts {
    fn of(spec: &RouteSpec) -> Self {
        let deadline = bounded(spec.deadline_ms, limits::DEADLINE, limits::DEADLINE);
        Self {
            head_wait: bounded(spec.head_wait_ms, limits::HEAD_WAIT, deadline),
            first_byte: bounded(spec.first_byte_timeout_ms, limits::FIRST_BYTE_TIME_MAX, deadline),
            idle: bounded(spec.idle_timeout_ms, limits::IDLE_TIME_MAX, deadline),
            deadline,
        }
    }
}

/// An admitted call with its attempts. Only `plan` makes one, so nothing is sent to a seat that was rejected.
///
/// ```
/// fn read(planned: plan::Planned) -> plan::PlannedParts {
///     planned.into_parts()
/// }
/// ```
///
/// Parts that were taken out don't become a plan again, whatever was added to them:
///
/// ```compile_fail
/// fn make(parts: plan::PlannedParts) -> plan::Planned {
///     plan::Planned { parts }
/// }
/// ```
pub struct Planned {
    parts: PlannedParts,
}

/// The parts that a plan is taken apart into.
pub struct PlannedParts {
    pub admitted: Admitted,
    pub resolved_model: Arc<str>,
    /// In the order in which they are to be made; never empty.
    pub attempts: Vec<Attempt>,
    /// Empty means every class that a fallback can help.
    pub fallback_on: Vec<FallbackClass>,
    pub timeouts: Timeouts,
    pub record: PlanRecord,
}

/// An admitted call that nothing serves. The tab is open; the code that answers closes it.
pub struct PlanFailed {
    pub fault: Box<Fault>,
    pub admitted: Admitted,
    /// Empty if the name could not be resolved.
    pub resolved_model: Arc<str>,
    pub record: PlanRecord,
}

/// Plans a call. `random` draws among managed accounts; the same number gives the same plan.
///
/// # Errors
/// Nothing can serve it; the fault says what would.
pub fn plan(
    admitted: Admitted,
    board: &dyn AvailabilityView,
    random: u64,
    now_us: u64,
    now_unix_ms: u64,
) -> Result<Planned, Box<PlanFailed>> {
    if matches!(admitted.call().found_response(), Some(FoundResponse::StoreUnavailable)) {
        return Err(failed(admitted, faults::makers_unknown()));
    }
    if let Some(fault) = files_fault(&admitted) {
        return Err(failed(admitted, fault));
    }
    let object = admitted.call().object();
    if admitted.call().names_stored() && remixed(&admitted).is_none() {
        return plan_for_stored(admitted, now_us, now_unix_ms);
    }
    let affinity = || affinity(&admitted);
    let input = input_of(&admitted, &affinity, random, now_us, now_unix_ms);
    let version = admitted.caller().snapshot().version();
    let keepers = if object.is_some() { uploads::names(input.catalogue) } else { Vec::new() };
    let bundle = admitted.call().request().batch();
    let storage = bundle.and_then(|bundle| Some(&bundle.storage.as_ref()?.places));
    let (decision, names) = match (bundled(&admitted), object) {
        (Some(bundle), _) => decide_batch(&input, bundle, storage, board),
        (None, Some(_)) if input.query.modality.needs_own_credential() => {
            (uploads::of_own(decide(&input, board)), Vec::new())
        }
        (None, Some(_)) => {
            let provider = admitted.call().request().form().and_then(|form| form.provider.as_deref());
            (decide_upload(&input, provider, &keepers, board), Vec::new())
        }
        (None, None) if admitted.call().request().is_background => {
            (uploads::unpooled(decide(&input, board), faults::background_on_account), Vec::new())
        }
        (None, None) => (decide(&input, board), Vec::new()),
    };
    let record = record_of(&decision, version);
    let spec = decision.route.map(|route| &route.spec);
    let fallback_on = spec.map(|spec| spec.fallback_on.clone()).unwrap_or_default();
    let timeouts = Timeouts::of(spec.unwrap_or(&UNROUTED));
    let Decision { resolved, attempts, fault, .. } = decision;
    let resolved_model = resolved.map_or_else(Arc::default, |resolved| resolved.name);
    if attempts.is_empty() {
        let fault = fault.unwrap_or_else(|| Box::new(Fault::internal()));
        return Err(Box::new(PlanFailed { fault, admitted, resolved_model, record }));
    }
    let admitted = if names.is_empty() { admitted } else { admitted.with_upstream_models(names) };
    Ok(Planned { parts: PlannedParts { admitted, resolved_model, attempts, fallback_on, timeouts, record } })
}

/// The object that a new one of its kind is made from: by the same seat with the same model, if that may still
/// be used.
fn remixed(admitted: &Admitted) -> Option<&StoredResponse> {
    let call = admitted.call();
    match call.found_response() {
        Some(FoundResponse::Known(known)) if call.derives_from_stored() => {
            Some(known).filter(|_| !call.is_made_from_file())
        }
        _ => None,
    }
}

/// The models that a batch names when it is made, and the kind of batch.
fn bundled(admitted: &Admitted) -> Option<(StoredObjectKind, Vec<Named<'_>>)> {
    let bundle = admitted.call().request().batch()?;
    let models = bundle.models.iter().map(|model| (&*model.name, model.path.clone()));
    Some((admitted.call().names_kind()?, models.collect()))
}

/// The plan of a call about an existing object: the seat that made it, and no other.
fn plan_for_stored(admitted: Admitted, now_us: u64, now_unix_ms: u64) -> Result<Planned, Box<PlanFailed>> {
    let (attempt, resolved_model) = match pinned_attempt(&admitted, now_us, now_unix_ms) {
        Ok(found) => found,
        Err(fault) => return Err(failed(admitted, fault)),
    };
    let record = PlanRecord {
        resolution: if admitted.call().is_about_object() { "kept" } else { "stored_response" }.into(),
        candidates: vec![attempt.principal()],
        snapshot_version: admitted.caller().snapshot().version(),
        ..PlanRecord::default()
    };
    let (attempts, fallback_on, timeouts) = (vec![attempt], Vec::new(), Timeouts::of(&UNROUTED));
    Ok(Planned { parts: PlannedParts { admitted, resolved_model, attempts, fallback_on, timeouts, record } })
}

fn pinned_attempt(
    admitted: &Admitted,
    now_us: u64,
    now_unix_ms: u64,
) -> Result<(Attempt, Arc<str>), Box<Fault>> {
    let call = admitted.call();
    let Some(FoundResponse::Known(known)) = call.found_response() else {
        let id = call.request().stored.as_ref().map_or("", |stored| &stored.id);
        return Err(match call.object() {
            Some(_) if call.is_made_from_file() => faults::unknown_input(id),
            Some(object) => faults::unknown_object(call.operation().as_str(), object.not_found, id),
            None => faults::unknown_response(id),
        });
    };
    if call.derives_from_stored() && matches!(known.created_by, Principal::Account(_)) {
        return Err(faults::batch_on_account());
    }
    let is_bundle = call.is_about_batch_with_models();
    if is_bundle && call.deletes_stored_object() && !known.is_booked {
        return Err(faults::batch_not_booked());
    }
    let attempt = candidates::pinned_attempt(&input_of(admitted, &|| None, 0, now_us, now_unix_ms), known);
    let attempt = attempt.map_err(|rejection| {
        if call.is_about_object() {
            faults::keeper_away(call.operation().as_str(), rejection.as_ref())
        } else {
            faults::maker_away(rejection.as_ref())
        }
    })?;
    Ok((attempt, known.model.as_str().into()))
}

/// Why the files that a call names can't be read, if they can't.
fn files_fault(admitted: &Admitted) -> Option<Box<Fault>> {
    let call = admitted.call();
    match (call.files()?, call.found_response()) {
        (Err(fault), _) => Some(Box::new(fault.clone())),
        (Ok(files), Some(FoundResponse::Known(known))) if known.created_by != files.principal => {
            Some(faults::files_apart(&files.place))
        }
        (Ok(_), _) => None,
    }
}

fn failed(admitted: Admitted, fault: Box<Fault>) -> Box<PlanFailed> {
    let snapshot_version = admitted.caller().snapshot().version();
    let record = PlanRecord { snapshot_version, ..PlanRecord::default() };
    Box::new(PlanFailed { fault, admitted, resolved_model: Arc::default(), record })
}

fn input_of<'a>(
    admitted: &'a Admitted,
    affinity: &'a dyn Fn() -> Option<u64>,
    random: u64,
    now_us: u64,
    now_unix_ms: u64,
) -> PlanInput<'a> {
    let (caller, call) = (admitted.caller(), admitted.call());
    let source = remixed(admitted);
    let question = PlanQuery {
        model: source.map_or(&call.request().model, |source| &source.model),
        workspace: caller.workspace(),
        project: caller.project(),
        environment: caller.environment(),
        key: caller.key().map(|key| key.id),
        tag: call.tag(),
        modality: call.operation().modality(),
        dialect: call.dialect(),
        terms: call.request().terms,
    };
    let files = call.files().and_then(Result::ok);
    let has = match (source, files) {
        (Some(_), _) => SeatHas::SourceObject,
        (None, Some(files)) => SeatHas::File(&files.place),
        (None, None) => SeatHas::Answer,
    };
    let maker = match (call.found_response(), files) {
        (Some(FoundResponse::Known(known)), _) => Some(known.created_by),
        (_, Some(files)) => Some(files.principal),
        _ => None,
    };
    let required = maker.map(|principal| RequiredSeat { principal, has });
    let snapshot = caller.snapshot();
    let (accounts, catalogue) = (snapshot.accounts(), snapshot.catalogue());
    PlanInput { query: question, accounts, catalogue, required, random, affinity, now_us, now_unix_ms }
}

impl Planned {
    #[must_use]
    pub fn into_parts(self) -> PlannedParts {
        self.parts
    }

    #[must_use]
    pub const fn admitted(&self) -> &Admitted {
        &self.parts.admitted
    }

    #[must_use]
    pub fn resolved_model(&self) -> &str {
        &self.parts.resolved_model
    }

    #[must_use]
    pub fn attempts(&self) -> &[Attempt] {
        &self.parts.attempts
    }

    #[must_use]
    pub fn fallback_on(&self) -> &[FallbackClass] {
        &self.parts.fallback_on
    }

    #[must_use]
    pub const fn timeouts(&self) -> Timeouts {
        self.parts.timeouts
    }

    #[must_use]
    pub const fn record(&self) -> &PlanRecord {
        &self.parts.record
    }
}

/// A hash of the workspace and the prompt's head, if the prompt is long enough to be cached.
fn affinity(admitted: &Admitted) -> Option<u64> {
    let (call, caller) = (admitted.call(), admitted.caller());
    if !call.spec().facts().continues_conversation || call.request().prompt_bytes < PREFIX_PROMPT_BYTES_MIN {
        return None;
    }
    let policy = caller.project().caching.or(caller.workspace().caching);
    if policy.mode(Profile::ManagedProvider) != CacheMode::Apply {
        return None;
    }
    let head = call.prefixes(call.body())?.head();
    Some(BuildHasherDefault::<IdHasher>::default().hash_one((caller.workspace().id, head)))
}

/// The part of a decision that is stored. Candidates that have nothing to do with the model are left out.
pub fn record_of(decision: &Decision<'_>, snapshot_version: u64) -> PlanRecord {
    let near = decision.rejected.iter().filter(|rejection| rejection.refusal != Refusal::DoesNotOffer);
    PlanRecord {
        resolution: decision
            .resolved
            .as_ref()
            .map_or_else(Default::default, |resolved| resolved.rule.as_str().into()),
        route: decision.route.map_or(String::new(), |route| route.id.to_string()),
        candidates: decision.attempts.iter().map(Attempt::principal).collect(),
        rejected: near.take(RECORD_PLAN_ROWS_MAX).map(rejected).collect(),
        snapshot_version,
    }
}

pub fn rejected(rejection: &Rejection) -> Rejected {
    Rejected {
        principal: rejection.seat.principal(),
        provider: rejection.seat.provider().to_owned(),
        reason: rejection.refusal.as_str().to_owned(),
        detail: rejection.sentence(),
    }
}

fn bounded(own_ms: Option<u64>, usual: Duration, most: Duration) -> Duration {
    own_ms.map_or(usual, Duration::from_millis).min(most)
}
