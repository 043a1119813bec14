//! Whether a candidate's provider can do what a request asks for, by the capability manifest. What nobody verified is
//! left to the provider; what the manifest denies is not sent.

use catalogue::{Capability, Catalogue, ProviderManifest};
use domain::{Fault, FaultClass, HostedTool, Tier};

use crate::attempt::Attempt;
use crate::limits::NAMES_LISTED_MAX;
use crate::prompt_view::{EFFORTS, PromptView};
use crate::question::{PlanInput, PlanQuery, RequestNeeds};
use crate::reason::{Refusal, Rejection};

/// The code of a fault for what the manifest denies.
pub(crate) const NOT_SUPPORTED: &str = "capability_not_supported";
/// The fact with the names of the service tiers.
const SERVICE_TIERS: &str = "service_tiers";

/// The attempt, unless the manifest denies something that the request needs. Nothing is looked up for a request that needs
/// nothing.
pub(crate) fn check(input: &PlanInput<'_>, attempt: Attempt) -> Result<Attempt, Refusal> {
    let query = &input.query;
    let asks_nothing = query.needs == RequestNeeds::NOTHING && query.terms.is_none();
    if asks_nothing && query.prompt.is_none_or(PromptView::is_plain) {
        return Ok(attempt);
    }
    match denied(input.catalogue, query, &attempt) {
        Some(fact) => Err(Refusal::NotSupported { fact }),
        None => Ok(attempt),
    }
}

/// The fact that keeps a provider from what an attempt needs.
fn denied(catalogue: &Catalogue, query: &PlanQuery<'_>, attempt: &Attempt) -> Option<&'static str> {
    let (provider, model) = (attempt.provider(), attempt.known_model());
    let manifest = catalogue.capabilities();
    let denies = |capability: Capability| manifest.denies(provider, model, capability);
    if query.needs.is_batch && denies(Capability::Batch) {
        return Some(Capability::Batch.as_str());
    }
    let is_translated = !catalogue.grammars(provider).contains(&query.dialect.grammar());
    if let Some(prompt) = query.prompt {
        // Every format has pictures.
        let judges = |input: Capability| !is_translated || input == Capability::Vision;
        let inputs = prompt.may_have().iter().filter(|input| judges(**input) && denies(**input));
        if let Some(input) = inputs.copied().find(|input| prompt.has(*input).is_some()) {
            return Some(input.as_str());
        }
    }
    // A translation has its own word for what it can't express.
    if is_translated {
        return None;
    }
    let needed = [
        (query.needs.is_background, Capability::Background),
        (query.needs.continues_stored, Capability::ConversationState),
        (searches(query), Capability::LiveSearch),
    ];
    let needed = needed.into_iter().filter(|(is_needed, _)| *is_needed);
    if let Some((_, capability)) = needed.into_iter().find(|(_, capability)| denies(*capability)) {
        return Some(capability.as_str());
    }
    let known = manifest.provider(provider)?;
    let effort = query.prompt.and_then(PromptView::effort);
    if effort.is_some_and(|effort| known.lacks_effort(model, effort)) {
        return Some(EFFORTS);
    }
    query.terms.tier.filter(|tier| lacks_tier(known, model, *tier)).map(|_| SERVICE_TIERS)
}

fn searches(query: &PlanQuery<'_>) -> bool {
    let hosted = query.terms.hosted;
    hosted.has(HostedTool::WebSearch) || hosted.has(HostedTool::WebSearchPreview)
}

/// Whether the manifest names a provider's tiers, and not this one. A tier that has no name here is the provider's to judge.
fn lacks_tier(known: &ProviderManifest, model: &str, tier: Tier) -> bool {
    let has = |words: &[String]| words.iter().any(|word| Tier::from_word(word) == Some(tier));
    !matches!(tier, Tier::Standard | Tier::Other)
        && known.service_tiers(model).is_some_and(|words| !has(words))
}

/// What a client reads where only providers could serve that can't do what it asks for.
pub(crate) fn fault(input: &PlanInput<'_>, near: &[&Rejection]) -> Option<Box<Fault>> {
    let fact = near.iter().find_map(|rejection| match rejection.refusal {
        Refusal::NotSupported { fact } => Some(fact),
        _ => None,
    })?;
    let reasons: Vec<String> =
        near.iter().take(NAMES_LISTED_MAX).map(|rejection| rejection.sentence()).collect();
    let mut fault = not_supported(input.catalogue, fact, &reasons.join("; "));
    if let Some(field) = input.query.prompt.and_then(|prompt| prompt.field_of(fact)) {
        fault = Box::new(fault.param(field));
    }
    Some(fault)
}

/// What a client reads where the only seat that could serve can't do what it asks for.
pub(crate) fn denied_to(
    catalogue: &Catalogue,
    attempt: &Attempt,
    capability: Capability,
) -> Option<Box<Fault>> {
    let is_denied = catalogue.capabilities().denies(attempt.provider(), attempt.known_model(), capability);
    is_denied.then(|| {
        let seat = attempt.seat().clone();
        let rejection = Rejection { seat, refusal: Refusal::NotSupported { fact: capability.as_str() } };
        not_supported(catalogue, capability.as_str(), &rejection.sentence())
    })
}

fn not_supported(catalogue: &Catalogue, fact: &'static str, reasons: &str) -> Box<Fault> {
    let revision = catalogue.capabilities().revision();
    let message = format!("By the capability manifest {revision}, {reasons}.");
    let (param, what) = match fact {
        "background_mode_supported" => (Some("background"), "Leave \"background\" out"),
        "conversation_state_supported" => {
            (Some("previous_response_id"), "Send the whole conversation in \"input\"")
        }
        "live_search_supported" => (Some("tools"), "Leave the tool out"),
        SERVICE_TIERS => (Some("service_tier"), "Leave the tier out"),
        EFFORTS => (None, "Ask for another reasoning effort"),
        "vision" => (None, "Leave the pictures out"),
        "audio_input" => (None, "Leave the sound out"),
        "video_input" => (None, "Leave the video out"),
        "documents" => (None, "Leave the file out"),
        "batch_api_supported" => (None, "Send the requests one by one"),
        _ => (None, "Keep the answer as it came"),
    };
    let fix = format!(
        "{what}, or ask for a model whose provider can do it: GET /v2/capabilities lists them. An operator corrects a fact \
         that is wrong there."
    );
    let fault = Fault::new(FaultClass::Unsupported, NOT_SUPPORTED, message).fix(fix);
    Box::new(match param {
        Some(param) => fault.param(param),
        None => fault,
    })
}
