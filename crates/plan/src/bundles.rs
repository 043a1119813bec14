//! Who works through requests that come together: one credential that serves every model they name, for they all go to it.

use board::Standings;
use catalogue::Catalogue;
use domain::{Fault, FaultClass, KeptKind};

use crate::attempt::{Attempt, Seat};
use crate::broker::{Decision, decide};
use crate::question::{Ask, Question};

const HOW: &str =
    "Send a batch for each provider, or pin the seller of each model, as in provider:publisher/model.";

/// A model as its client wrote it, and the place of the first request that names it.
pub(crate) type Named<'a> = (&'a str, String);

/// Decides like the broker for each model, of those that all of them have in common. With it comes what each model is
/// called there.
pub(crate) fn decide_bundle<'a>(
    ask: &Ask<'a>,
    (kind, models): (KeptKind, Vec<Named<'a>>),
    board: &dyn Standings,
) -> (Decision<'a>, Vec<String>) {
    let mut found: Option<(Decision<'a>, Vec<Vec<String>>)> = None;
    for (model, place) in models {
        let question = Question { model, ..ask.question };
        let mut decision = decide(&Ask { question, ..*ask }, board);
        if decision.attempts.is_empty() {
            decision.fault = decision.fault.map(|fault| at(*fault, place));
            return (decision, Vec::new());
        }
        let attempts = match takers(ask.catalogue, kind, std::mem::take(&mut decision.attempts)) {
            Ok(attempts) => attempts,
            Err(fault) => return (Decision::failed(at(fault, place)), Vec::new()),
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
            return (Decision::failed(at(several(), place)), Vec::new());
        }
    }
    let Some((mut decision, names)) = found else {
        return (Decision::failed(Box::new(Fault::internal())), Vec::new());
    };
    // Another one would have to be told other names.
    decision.attempts.truncate(1);
    (decision, names.into_iter().next().unwrap_or_default())
}

/// Those that work through such a batch, and whose owner pays for it.
fn takers(catalogue: &Catalogue, kind: KeptKind, attempts: Vec<Attempt>) -> Result<Vec<Attempt>, Fault> {
    let is_own = |attempt: &Attempt| matches!(attempt.seat(), Seat::Byok(_));
    let has_own = attempts.iter().any(is_own);
    let takes = |attempt: &Attempt| {
        catalogue.provider(attempt.provider()).is_some_and(|facts| facts.takes(kind) && facts.available)
    };
    let takers: Vec<Attempt> =
        attempts.into_iter().filter(|attempt| is_own(attempt) && takes(attempt)).collect();
    match (takers.is_empty(), has_own) {
        (false, _) => Ok(takers),
        (true, true) => Err(not_taken(catalogue, kind)),
        (true, false) => Err(on_account()),
    }
}

fn not_taken(catalogue: &Catalogue, kind: KeptKind) -> Fault {
    let known = catalogue.providers().iter().filter(|facts| facts.takes(kind) && facts.available);
    let known: Vec<&str> = known.map(|facts| facts.slug.as_str()).collect();
    let message = format!(
        "Nobody who serves this model for this project takes batches of it here. Those that do: {}.",
        known.join(", ")
    );
    Fault::new(FaultClass::Unsupported, "batches_not_taken", message).fix(HOW)
}

fn on_account() -> Fault {
    let message = "A batch is worked through on a credential of your own, and this model is served by none.";
    let fault = Fault::new(FaultClass::Unsupported, "batch_needs_own_credential", message);
    fault.fix("Add a credential of a provider that takes batches of this model.")
}

fn several() -> Fault {
    let message = "No credential serves this model together with those of the requests before it.";
    Fault::new(FaultClass::BadRequest, "batch_of_several_credentials", message).fix(HOW)
}

/// Errors of some grammars have no field for the place, so that it is said.
fn at(mut fault: Fault, place: String) -> Box<Fault> {
    fault.message = format!("{place}: {}", fault.message).into();
    Box::new(fault.param(place))
}
