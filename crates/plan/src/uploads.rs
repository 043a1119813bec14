//! Who is to keep a file, or to make a film. A file is of no model: its sender names one that is to read it, or a
//! provider, or leaves it to whoever keeps files for the project.

use board::Standings;
use catalogue::{Catalogue, Modality};
use domain::{Fault, FaultClass};

use crate::attempt::Seat;
use crate::broker::{Decision, decide};
use crate::faults;
use crate::question::{Ask, Question};

/// In the place of a model's name, behind the seller's.
const FILES: &str = "files";
const HOW: &str = "Name a provider in the field \"provider\" of the form before the file, or in the address as \
                   /v1/files?provider=NAME, or name a model that is to read it in \"model\".";

/// Decides like the broker, of those that keep files.
pub(crate) fn decide_upload<'a>(
    ask: &Ask<'a>,
    provider: Option<&str>,
    names: &'a [String],
    board: &dyn Standings,
) -> Decision<'a> {
    if let Some(word) = provider
        && seller(ask.catalogue, word).is_none()
    {
        return Decision::failed(no_keeper(word, ask.catalogue));
    }
    if provider.is_none() && !ask.question.model.is_empty() {
        let model = ask.question.model;
        let known = ask.catalogue.model(model);
        let modality = known.or_else(|| ask.catalogue.by_bare_name(model).first().copied());
        let modality = modality.map_or(Modality::Chat, |model| model.modality);
        let question = Question { modality, ..ask.question };
        return of_keepers(ask.catalogue, decide(&Ask { question, ..*ask }, board));
    }
    let wanted = provider.and_then(|word| seller(ask.catalogue, word));
    let is_wanted = |name: &&String| wanted.is_none_or(|slug| name.split(':').next() == Some(slug));
    let decided = names.iter().filter(is_wanted).map(|name| {
        let question = Question { model: name, modality: Modality::Chat, ..ask.question };
        decide(&Ask { question, ..*ask }, board)
    });
    let mut first_failed = None;
    let mut found: Option<Decision<'a>> = None;
    for decision in decided {
        if decision.attempts.is_empty() {
            first_failed.get_or_insert(decision);
        } else if found.is_some() {
            return Decision::failed(unclear());
        } else {
            found = Some(decision);
        }
    }
    found.or(first_failed).unwrap_or_else(|| Decision::failed(no_keeper("", ask.catalogue)))
}

/// Those that are the customer's own: what a film will cost is known once it is made, so that no money could be held for
/// it before, and it is looked for by the identity that had it made.
pub(crate) fn of_own(mut decision: Decision<'_>) -> Decision<'_> {
    let had_some = !decision.attempts.is_empty();
    decision.attempts.retain(|attempt| matches!(attempt.seat(), Seat::Byok(_)));
    if had_some && decision.attempts.is_empty() {
        decision.fault = Some(faults::film_on_account());
    }
    decision
}

/// What stands for the files of each seller that keeps some.
pub(crate) fn names(catalogue: &Catalogue) -> Vec<String> {
    let keepers = catalogue.providers().iter().filter(|facts| facts.files && facts.available);
    keepers.map(|facts| format!("{}:{FILES}", facts.slug)).collect()
}

fn seller<'c>(catalogue: &'c Catalogue, word: &str) -> Option<&'c str> {
    catalogue.provider(word).filter(|facts| facts.files && facts.available).map(|facts| facts.slug.as_str())
}

/// Of those that serve a model only the ones that keep files.
fn of_keepers<'a>(catalogue: &Catalogue, mut decision: Decision<'a>) -> Decision<'a> {
    let had_some = !decision.attempts.is_empty();
    decision.attempts.retain(|attempt| seller(catalogue, attempt.provider()).is_some());
    if had_some && decision.attempts.is_empty() {
        let message = "Nobody who serves this model for this project keeps files.";
        let fault = Fault::new(FaultClass::Unsupported, "files_not_kept", message);
        decision.fault = Some(Box::new(fault.param("model").fix(HOW)));
    }
    decision
}

fn no_keeper(word: &str, catalogue: &Catalogue) -> Box<Fault> {
    let shown: String = word.chars().filter(|letter| !letter.is_control()).take(64).collect();
    let known: Vec<String> =
        names(catalogue).iter().map(|name| name.trim_end_matches(":files").to_owned()).collect();
    let message =
        format!("\"{shown}\" is no provider that keeps files. Those that do: {}.", known.join(", "));
    Box::new(Fault::new(FaultClass::BadRequest, "files_not_kept", message).param("provider").fix(HOW))
}

fn unclear() -> Box<Fault> {
    let message = "Several providers could keep this file for this project.";
    Box::new(Fault::new(FaultClass::BadRequest, "provider_unclear", message).param("provider").fix(HOW))
}
