//! Which seat stores a file, or makes a video. A file has no model: its sender names one that is to read it,
//! or a provider, or leaves the choice to the project's providers that store files.

use board::AvailabilityView;
use catalogue::Catalogue;
use domain::ports::StoredResponse;
use domain::{Dialect, Fault, FaultClass, PriceTerms, StoredKind, StoredObjectKind};

use crate::attempt::{Attempt, Seat};
use crate::broker::{Decision, decide};
use crate::faults;
use crate::question::{PlanInput, PlanQuery};
use crate::served::own_modality;

/// Stands for a model's name behind the provider's, for files.
const FILES: &str = "files";
const HOW: &str = "Name a provider in the field \"provider\" of the form before the file, or in the address as \
                   /v1/files?provider=NAME, or name a model that is to read it in \"model\".";

/// Decides like the broker, among providers that store files.
pub(crate) fn decide_upload<'a>(
    input: &PlanInput<'a>,
    provider: Option<&str>,
    names: &'a [String],
    board: &dyn AvailabilityView,
) -> Decision<'a> {
    let dialect = input.query.dialect;
    if let Some(word) = provider
        && seller(input.catalogue, word, dialect).is_none()
    {
        return Decision::failed(no_keeper(word, input));
    }
    if provider.is_none() && !input.query.model.is_empty() {
        let modality = own_modality(input).unwrap_or(input.query.modality);
        let question = PlanQuery { modality, ..input.query };
        return of_keepers(input, decide(&PlanInput { query: question, ..*input }, board));
    }
    let wanted = provider.and_then(|word| seller(input.catalogue, word, dialect));
    let is_wanted = |name: &&String| wanted.is_none_or(|slug| name.split(':').next() == Some(slug));
    let decided = names.iter().filter(is_wanted).map(|name| {
        let question = PlanQuery { model: name, ..input.query };
        decide(&PlanInput { query: question, ..*input }, board)
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
    found.or(first_failed).unwrap_or_else(|| Decision::failed(no_keeper("", input)))
}

/// What a request says of the length of the video that it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VideoLength {
    Stated,
    /// It leaves that to the model, or to the video that it is to be like.
    Unstated,
    /// There is no request: only the modality is known.
    Unknown,
}

/// Leaves the seats that may make a video. What an account of the operator's makes has to have a price before it is made, which
/// the video holds of its workspace's budgets until it has ended.
pub(crate) fn of_video(mut decision: Decision<'_>, length: VideoLength) -> Decision<'_> {
    let is_priced = decision.attempts.iter().any(|attempt| makes_video(attempt, VideoLength::Stated));
    let had_some = !decision.attempts.is_empty();
    decision.attempts.retain(|attempt| makes_video(attempt, length));
    if had_some && decision.attempts.is_empty() {
        decision.fault = Some(if is_priced { faults::video_length() } else { faults::video_on_account() });
    }
    decision
}

pub(crate) fn makes_video(attempt: &Attempt, length: VideoLength) -> bool {
    match attempt.seat() {
        Seat::Byok(_) => true,
        Seat::Byoc(_) => false,
        Seat::Managed(_) => length != VideoLength::Unstated && has_price_of_a_second(attempt),
    }
}

/// Whether videos cost so much per second, and nothing that their provider counts otherwise.
fn has_price_of_a_second(attempt: &Attempt) -> bool {
    let units = attempt.rates_on(PriceTerms::default(), 0).map(|rates| rates.units);
    units.is_some_and(|units| units.video_ms.is_some() && units.billed.is_none())
}

/// Leaves the candidates that are not shared by several workspaces, or the
/// fault that says why there are none.
pub(crate) fn unpooled(mut decision: Decision<'_>, fault: fn() -> Box<Fault>) -> Decision<'_> {
    let had_some = !decision.attempts.is_empty();
    decision.attempts.retain(|attempt| !matches!(attempt.seat(), Seat::Managed(_)));
    if had_some && decision.attempts.is_empty() {
        decision.fault = Some(fault());
    }
    decision
}

/// Whether the provider of an attempt caches prompts by name.
pub(crate) fn caches(catalogue: &Catalogue, attempt: &Attempt) -> bool {
    catalogue.provider(attempt.provider()).is_some_and(|facts| facts.cached_contents)
}

/// Leaves only the candidates that cache prompts by name.
pub(crate) fn of_caches<'a>(catalogue: &Catalogue, mut decision: Decision<'a>) -> Decision<'a> {
    let had_some = !decision.attempts.is_empty();
    decision.attempts.retain(|attempt| caches(catalogue, attempt));
    if had_some && decision.attempts.is_empty() {
        let message = "No provider that serves this model for this project caches prompts by name.";
        let fault = Fault::new(FaultClass::Unsupported, "cached_contents_unsupported", message);
        let fix = "Send the prompt with each request, or add a credential of a provider that does.";
        decision.fault = Some(Box::new(fault.param("model").fix(fix)));
    }
    decision
}

/// One pseudo model name for each provider that stores the files of a dialect.
pub(crate) fn names(catalogue: &Catalogue, dialect: Dialect) -> Vec<String> {
    let slugs = catalogue.providers().iter().map(|facts| facts.slug.as_str());
    slugs.filter_map(|slug| Some(format!("{}:{FILES}", seller(catalogue, slug, dialect)?))).collect()
}

/// Whether a file of a batch was stored under the name of its model: nothing but the plan of an upload whose requests were read does
/// that with an account.
pub(crate) fn is_for_shared_batch(file: &StoredResponse) -> bool {
    !file.upstream_model.is_empty() && file.upstream_model != FILES
}

/// The provider of this name, if it stores files of a dialect.
pub(crate) fn seller<'c>(catalogue: &'c Catalogue, word: &str, dialect: Dialect) -> Option<&'c str> {
    let facts = catalogue.provider(word).filter(|facts| facts.files && facts.available)?;
    let speaks = catalogue.grammars(&facts.slug).contains(&dialect.grammar());
    speaks.then_some(facts.slug.as_str())
}

/// Leaves the seats that a file may go to. On shared accounts there are files of OpenAI's API alone.
pub(crate) fn of_file<'a>(input: &PlanInput<'a>, decision: Decision<'a>) -> Decision<'a> {
    let kind = StoredObjectKind::of(input.query.dialect, StoredKind::File);
    if kind == StoredObjectKind::FILE { decision } else { unpooled(decision, faults::file_on_account) }
}

/// Leaves only the candidates that store files.
fn of_keepers<'a>(input: &PlanInput<'a>, mut decision: Decision<'a>) -> Decision<'a> {
    let keeps =
        |attempt: &Attempt| seller(input.catalogue, attempt.provider(), input.query.dialect).is_some();
    let had_some = !decision.attempts.is_empty();
    decision.attempts.retain(keeps);
    if had_some && decision.attempts.is_empty() {
        let message = "No provider that serves this model for this project stores files.";
        let fault = Fault::new(FaultClass::Unsupported, "files_not_kept", message);
        decision.fault = Some(Box::new(fault.param("model").fix(HOW)));
    }
    decision
}

fn no_keeper(word: &str, input: &PlanInput<'_>) -> Box<Fault> {
    let printable: String = word.chars().filter(|letter| !letter.is_control()).take(64).collect();
    let known = names(input.catalogue, input.query.dialect);
    let known: Vec<&str> = known.iter().map(|name| name.trim_end_matches(":files")).collect();
    let message =
        format!("\"{printable}\" isn't a provider that keeps files. Those that do: {}.", known.join(", "));
    Box::new(Fault::new(FaultClass::BadRequest, "files_not_kept", message).param("provider").fix(HOW))
}

fn unclear() -> Box<Fault> {
    let message = "Several providers could keep this file for this project.";
    Box::new(Fault::new(FaultClass::BadRequest, "provider_unclear", message).param("provider").fix(HOW))
}
