//! Plans batches that name their models when they are made: one credential has to serve every
//! model, since all requests go to it.

use board::AvailabilityView;
use catalogue::Catalogue;
use domain::hosting::{BatchPlaces, StoragePlace};
use domain::{AuthKind, Fault, FaultClass, Hosting, StoredObjectKind};

use crate::attempt::{Attempt, Seat};
use crate::broker::{Decision, decide};
use crate::question::{PlanInput, PlanQuery, RequestNeeds};
use crate::served::own_modality;
use crate::uploads;

const HOW: &str =
    "Send a batch for each provider, or pin the seller of each model, as in provider:publisher/model.";

/// The suffix of a file of requests.
const REQUESTS_SUFFIX: &str = ".jsonl";

/// The faults of a batch that no credential of the workspace's own takes as a whole. A batch that the manifest denies stays
/// refused: operators state that to have none.
const LEFT_TO_US: [&str; 3] = [NEEDS_OWN, "batches_not_taken", "batch_of_several_credentials"];
/// The fault of one whose models accounts or nodes serve, and no credential of the workspace's own.
const NEEDS_OWN: &str = "batch_needs_own_credential";

/// Whether only the gateway itself can work through a batch that is refused with this fault.
pub fn is_left_to_us(fault: &Fault) -> bool {
    LEFT_TO_US.contains(&fault.code)
}

/// Whether a batch that is refused with this fault would have no credential of the workspace's own, so that an account may
/// be looked for.
pub fn has_no_credential(fault: &Fault) -> bool {
    fault.code == NEEDS_OWN
}

/// A model as its client wrote it, and the position of the first request that names it.
pub(crate) type Named<'a> = (&'a str, String);

/// Decides like the broker for each model, and takes the candidates that all of them share. Also
/// returns each model's name there.
pub(crate) fn decide_batch<'a>(
    input: &PlanInput<'a>,
    (kind, models): (StoredObjectKind, Vec<Named<'a>>),
    storage: Option<&BatchPlaces>,
    board: &dyn AvailabilityView,
) -> (Decision<'a>, Vec<String>) {
    let mut found: Option<(Decision<'a>, Vec<Vec<String>>)> = None;
    for (model, position) in models {
        let needs = RequestNeeds { is_batch: true, ..input.query.needs };
        let question = PlanQuery { model, needs, ..input.query };
        let mut decision = decide(&PlanInput { query: question, ..*input }, board);
        if decision.attempts.is_empty() {
            decision.fault = decision.fault.map(|fault| at(*fault, position));
            return (decision, Vec::new());
        }
        let candidates = std::mem::take(&mut decision.attempts);
        let attempts = match takers(input.catalogue, (kind, storage), needs.may_be_pooled, candidates) {
            Ok(attempts) => attempts,
            Err(fault) if fault.param.is_some() => {
                return (Decision::failed(Box::new(fault)), Vec::new());
            }
            Err(fault) => return (Decision::failed(at(fault, position)), Vec::new()),
        };
        let Some((first, names)) = &mut found else {
            let names = attempts.iter().map(|attempt| vec![attempt.upstream_model().to_owned()]).collect();
            found = Some((Decision { attempts, ..decision }, names));
            continue;
        };
        let both = std::mem::take(&mut first.attempts).into_iter().zip(std::mem::take(names));
        (first.attempts, *names) = both
            .filter_map(|(attempt, mut names)| {
                let other = attempts.iter().find(|other| other.principal() == attempt.principal())?;
                names.push(other.upstream_model().to_owned());
                Some((attempt, names))
            })
            .unzip();
        if first.attempts.is_empty() {
            return (Decision::failed(at(several(), position)), Vec::new());
        }
    }
    let Some((mut decision, names)) = found else {
        return (Decision::failed(Box::new(Fault::internal())), Vec::new());
    };
    // Another candidate would need other model names.
    decision.attempts.truncate(1);
    (decision, names.into_iter().next().unwrap_or_default())
}

/// Leaves the credentials of the workspace's own that serve the model which the requests in a file name, else an account that is
/// shared for that, and returns the names that stand for it there. A provider takes a file of one model alone. An alias is the
/// gateway's to follow, so that its requests are, too. A name that nobody serves is for its provider to judge.
pub(crate) fn keepers_of_batch<'a>(
    input: &PlanInput<'a>,
    mut decision: Decision<'a>,
    models: &'a [String],
    board: &dyn AvailabilityView,
) -> (Decision<'a>, Vec<String>) {
    let is_own = |seat: &Seat| matches!(seat, Seat::Byok(_));
    let may_have_later = decision.rejected.iter().any(|rejection| is_own(&rejection.seat));
    if decision.attempts.is_empty() && may_have_later {
        return (decision, Vec::new());
    }
    decision.attempts.retain(|attempt| is_own(attempt.seat()));
    if decision.attempts.is_empty() {
        return match (models, input.query.needs.may_be_pooled) {
            ([model], true) => pooled_keeper(input, model, board),
            _ => (Decision::failed(Box::new(on_account())), Vec::new()),
        };
    }
    let mut names: Vec<String> = Vec::with_capacity(models.len());
    for model in models {
        let served = served_by(input, model, board);
        let name_at = |attempt: &Attempt| {
            let same = |other: &&Attempt| other.principal() == attempt.principal();
            let found = served.attempts.iter().find(same)?;
            Some(found.upstream_model().to_owned()).filter(|_| served.alias.is_none())
        };
        let name = if served.attempts.is_empty() {
            Some(model.clone())
        } else {
            let name = decision.attempts.iter().find_map(name_at);
            decision.attempts.retain(|attempt| name_at(attempt) == name);
            name
        };
        let is_same = |name: &String| names.last().is_none_or(|before| before == name);
        let Some(name) = name.filter(is_same) else {
            return (Decision::failed(at(several(), format!("\"{model}\""))), Vec::new());
        };
        names.push(name);
    }
    (decision, names)
}

/// The account that stores the file and serves its model, as `takers` finds one for requests in a call. The file is stored under the
/// name of that model, by which a batch that is made of it knows that its requests were read.
fn pooled_keeper<'a>(
    input: &PlanInput<'a>,
    model: &'a str,
    board: &dyn AvailabilityView,
) -> (Decision<'a>, Vec<String>) {
    let mut served = served_by(input, model, board);
    let attempts = std::mem::take(&mut served.attempts).into_iter();
    let managed = attempts.take_while(|attempt| matches!(attempt.seat(), Seat::Managed(_)));
    let mut shared = managed.filter(|attempt| {
        is_shared_for_batches(input.catalogue, attempt)
            && uploads::seller(input.catalogue, attempt.provider(), input.query.dialect).is_some()
    });
    match shared.next().filter(|_| served.alias.is_none()) {
        Some(attempt) => {
            let names = vec![attempt.upstream_model().to_owned()];
            (Decision { attempts: vec![attempt], ..served }, names)
        }
        None => (Decision::failed(Box::new(on_account())), Vec::new()),
    }
}

/// Where a request to this model would go.
fn served_by<'a>(input: &PlanInput<'a>, model: &'a str, board: &dyn AvailabilityView) -> Decision<'a> {
    let named = PlanInput { query: PlanQuery { model, ..input.query }, ..*input };
    let modality = own_modality(&named).unwrap_or(input.query.modality);
    let needs = RequestNeeds { is_batch: true, ..input.query.needs };
    let question = PlanQuery { model, modality, needs, ..input.query };
    decide(&PlanInput { query: question, ..*input }, board)
}

/// The candidates that take such a batch, and whose owner pays for it.
fn takers(
    catalogue: &Catalogue,
    (kind, storage): (StoredObjectKind, Option<&BatchPlaces>),
    may_be_pooled: bool,
    attempts: Vec<Attempt>,
) -> Result<Vec<Attempt>, Fault> {
    let is_own = |attempt: &Attempt| match attempt.seat() {
        Seat::Byok(_) => true,
        Seat::Managed(_) => may_be_pooled && is_shared_for_batches(catalogue, attempt),
        Seat::Byoc(_) => false,
    };
    let has_own = attempts.iter().any(is_own);
    let takes = |attempt: &Attempt| {
        catalogue.provider(attempt.provider()).is_some_and(|facts| facts.takes(kind) && facts.available)
    };
    let takers: Vec<Attempt> =
        attempts.into_iter().filter(|attempt| is_own(attempt) && takes(attempt)).collect();
    match (takers.is_empty(), has_own) {
        (false, _) => match storage {
            Some(storage) => let_in(storage, takers),
            None => Ok(takers),
        },
        (true, true) => Err(not_supported(catalogue, kind)),
        (true, false) => Err(on_account()),
    }
}

/// Whether the operator lets workspaces have its provider's batches with this account, what a request costs in them is
/// known, and accounts are what a single request would go to first.
fn is_shared_for_batches(catalogue: &Catalogue, attempt: &Attempt) -> bool {
    let percent = || catalogue.batch_percent(attempt.provider(), attempt.upstream_model());
    attempt.seat().hosting().shared_batches
        && !attempt.is_emergency()
        && !attempt.is_fallback()
        && attempt.overflow().is_none()
        && attempt.rates().is_some()
        && percent().is_some()
}

/// The candidates whose owner allows batches in the storage that this one reads from and writes to.
fn let_in(storage: &BatchPlaces, takers: Vec<Attempt>) -> Result<Vec<Attempt>, Fault> {
    let (mut let_in, mut first) = (Vec::new(), None);
    for attempt in takers {
        match reach(storage, attempt.seat().hosting()) {
            Ok(()) => let_in.push(attempt),
            Err(fault) => {
                first.get_or_insert(fault);
            }
        }
    }
    match first {
        Some(fault) if let_in.is_empty() => Err(fault),
        _ => Ok(let_in),
    }
}

fn reach(storage: &BatchPlaces, hosting: &Hosting) -> Result<(), Fault> {
    // The model service's own API key can't open storage, and the machine's identity belongs to its operator.
    let can_sign =
        matches!(hosting.auth, AuthKind::IamStatic | AuthKind::IamRole | AuthKind::WorkloadIdentity);
    let own = hosting.batch_storage.as_deref().filter(|_| can_sign);
    let own = own.and_then(StoragePlace::read).ok_or_else(no_storage)?;
    for (field, uri) in [(BatchPlaces::INPUT, &storage.input), (BatchPlaces::OUTPUT, &storage.output)] {
        let is_held = StoragePlace::read(uri).is_some_and(|other| own.holds(&other));
        if !is_held {
            return Err(outside(field, &own));
        }
    }
    // For a folder it is not known how many files of results there will be.
    if !storage.input.ends_with(REQUESTS_SUFFIX) {
        let message = format!(
            "{}: A batch is made of one file, whose name ends with {REQUESTS_SUFFIX}.",
            BatchPlaces::INPUT
        );
        let fault = Fault::new(FaultClass::Unsupported, "batch_of_folder", message);
        return Err(fault.fix("Create a job for each file.").param(BatchPlaces::INPUT));
    }
    match hosting.batch_role.as_deref() {
        Some(role) if role != storage.role => Err(other_role()),
        _ => Ok(()),
    }
}

fn no_storage() -> Fault {
    let message = "No credential that serves this model states where batches can be stored.";
    let fault = Fault::new(FaultClass::Unsupported, "batch_storage_not_set", message);
    fault.fix("Set config.batch_storage of a credential with access keys or a role of your own, as in s3://bucket/prefix.")
}

fn outside(field: &'static str, own: &StoragePlace<'_>) -> Fault {
    let message = format!("{field}: This lies outside of where the credential lets batches lie.");
    let fault = Fault::new(FaultClass::Forbidden, "batch_outside_storage", message).param(field);
    fault.fix(format!("Name a place below s3://{}/{}.", own.bucket, own.key))
}

fn other_role() -> Fault {
    let message = format!("{}: Batches of this credential may take on another role only.", BatchPlaces::ROLE);
    let fault = Fault::new(FaultClass::Forbidden, "batch_role_not_allowed", message);
    fault.fix("Name the role in the credential's config.batch_role.").param(BatchPlaces::ROLE)
}

fn not_supported(catalogue: &Catalogue, kind: StoredObjectKind) -> Fault {
    let known = catalogue.providers().iter().filter(|facts| facts.takes(kind) && facts.available);
    let known: Vec<&str> = known.map(|facts| facts.slug.as_str()).collect();
    let message = format!(
        "No provider that serves this model for this project takes batches of it. Providers that do: {}.",
        known.join(", ")
    );
    Fault::new(FaultClass::Unsupported, "batches_not_taken", message).fix(HOW)
}

fn on_account() -> Fault {
    let message = "A batch is worked through on a credential of your own, and this model is served by none.";
    let fault = Fault::new(FaultClass::Unsupported, NEEDS_OWN, message);
    fault.fix("Add a credential of a provider that takes batches of this model.")
}

/// A provider would work through the whole of it, and nobody would hold each request to the rules of a policy.
pub(crate) fn held_to_rules() -> Box<Fault> {
    let message = "A policy has rules for each request, which a provider's batch would not be held to.";
    let fault = Fault::new(FaultClass::Unsupported, NEEDS_OWN, message);
    Box::new(fault.fix("Send the requests one by one."))
}

fn several() -> Fault {
    let message = "No credential serves this model together with those of the requests before it.";
    Fault::new(FaultClass::BadRequest, "batch_of_several_credentials", message).fix(HOW)
}

/// The errors of some dialects have no field for the position, so the message has it too.
fn at(mut fault: Fault, position: String) -> Box<Fault> {
    fault.message = format!("{position}: {}", fault.message).into();
    Box::new(fault.param(position))
}
