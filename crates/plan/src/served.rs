//! Which models a key may use: the answer of `/v1/models`, by the same decision that would serve each name.

use std::collections::BTreeMap;
use std::sync::Arc;

use board::AllOpen;
use catalogue::{Capability, Catalogue, Model};
use domain::{Fault, Modality, Operation, Rates};
use snapshot::Snapshot;

use crate::aliases;
use crate::broker::{Decision, decide};
use crate::question::{PlanInput, PlanQuery};
use crate::resolve::{ResolvedTarget, Rule, resolve};

/// What messages may have beside text, in the words of lists of models.
const INPUTS: [(Capability, &str); 4] = [
    (Capability::Vision, "image"),
    (Capability::Documents, "file"),
    (Capability::AudioInput, "audio"),
    (Capability::VideoInput, "video"),
];
/// The owner of an alias in lists of models.
const ALIAS_OWNER: &str = "alias";

/// One model that would be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedModel {
    /// The name to request it by.
    pub id: String,
    /// Its publisher; `byoc` for a model that only a node names, `alias` for an alias, the slug for one
    /// of the workspace's own servers.
    pub owned_by: String,
    /// What the name means: `publisher/model`, `provider/model`, or the node's own name.
    pub name: Arc<str>,
    /// What the vendor calls the model; `None` of an alias, whose own name says more.
    pub display_name: Option<String>,
    /// `false` of a name that nothing here knows: it would be passed on to the provider of the client's dialect, which may not
    /// know it either.
    pub is_known: bool,
    pub facts: ModelFacts,
    /// What its messages may consist of, where that is stated of what would serve it: `text` and others.
    pub inputs: Option<Vec<&'static str>>,
    /// What the caller pays where it would be served first, for a prompt that is not long.
    pub rates: Option<Rates>,
}

/// What is known of a model that a name means, as far as it decides what it can be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelFacts {
    /// As the catalogue says, or its name tells; `None` of any other name that only its provider or node knows.
    pub modality: Option<Modality>,
    /// The usual modality of its provider's models, where nothing tells of this one.
    pub usual: Option<Modality>,
    /// What it does, where models of its modality do different things.
    pub operation: Option<Operation>,
    pub context_tokens: Option<u64>,
    pub output_tokens_max: Option<u64>,
    /// Whether what would serve it may be sent pictures, and documents such as PDFs.
    pub takes_pictures: bool,
    pub takes_documents: bool,
}

/// Every model that the caller would be served now, sorted by name. `question.model` is not
/// read. A model that the catalogue does not know is served if it is pinned to its provider,
/// and listed if its price is known.
pub fn served_models(question: &PlanQuery<'_>, snapshot: &Snapshot, now_unix_ms: u64) -> Vec<ServedModel> {
    let catalogue = snapshot.catalogue();
    let known = catalogue.models().iter().filter(|model| model.modality == question.modality);
    let mut names: BTreeMap<String, ()> = known.map(|model| ((*model.full).to_owned(), ())).collect();
    for node in &question.workspace.nodes {
        names.extend(node.models.iter().map(|model| (model.clone(), ())));
    }
    for credential in &question.workspace.credentials {
        let own_server = catalogue.provider(&credential.provider).is_none_or(|facts| facts.custom);
        if own_server {
            let priced = credential.pricing.iter();
            names.extend(priced.map(|(name, _)| (format!("{}/{name}", credential.provider), ())));
        }
    }
    let own = question
        .workspace
        .aliases
        .iter()
        .filter(|alias| alias.project.is_none_or(|project| project == question.project.id));
    names.extend(own.map(|alias| ((*alias.name).to_owned(), ())));
    names.into_keys().filter_map(|name| served(question, snapshot, now_unix_ms, &name)).collect()
}

/// What a name means to the caller, whatever the modality of the model. `question.modality` is not read.
///
/// # Errors
/// It means nothing here, or nothing would serve it.
pub fn named_model(
    question: &PlanQuery<'_>,
    snapshot: &Snapshot,
    now_unix_ms: u64,
) -> Result<ServedModel, Box<Fault>> {
    let as_chat = PlanQuery { modality: Modality::Chat, ..*question };
    let input = input_of(&as_chat, snapshot, now_unix_ms);
    let decision = decide(&input, &AllOpen);
    let target = decision.resolved.as_ref().map(|resolved| resolved.target);
    let modality = target.and_then(|target| known_or_usual(input.catalogue, target));
    match modality.filter(|modality| *modality != Modality::Chat) {
        None => model_of(&input, decision),
        Some(modality) => {
            let query = PlanQuery { modality, ..*question };
            let input = input_of(&query, snapshot, now_unix_ms);
            model_of(&input, decide(&input, &AllOpen))
        }
    }
}

fn served(
    question: &PlanQuery<'_>,
    snapshot: &Snapshot,
    now_unix_ms: u64,
    name: &str,
) -> Option<ServedModel> {
    let query = PlanQuery { model: name, ..*question };
    let input = input_of(&query, snapshot, now_unix_ms);
    model_of(&input, decide(&input, &AllOpen)).ok()
}

fn input_of<'a>(query: &PlanQuery<'a>, snapshot: &'a Snapshot, now_unix_ms: u64) -> PlanInput<'a> {
    PlanInput {
        query: *query,
        accounts: snapshot.accounts(),
        catalogue: snapshot.catalogue(),
        data_plane: snapshot.data_plane(),
        required: None,
        random: 0,
        affinity: &|| None,
        prefix_ends: &Vec::new,
        now_us: 0,
        now_unix_ms,
        began_unix_ms: now_unix_ms,
    }
}

fn model_of(input: &PlanInput<'_>, decision: Decision<'_>) -> Result<ServedModel, Box<Fault>> {
    let unserved = || Box::new(Fault::internal());
    let Some(attempt) = decision.attempts.first() else {
        return Err(decision.fault.unwrap_or_else(unserved));
    };
    let Some(resolved) = decision.resolved else { return Err(unserved()) };
    let owned_by = match resolved.target {
        _ if resolved.alias.is_some() => ALIAS_OWNER.to_owned(),
        ResolvedTarget::Model { model, .. } => model.publisher.clone(),
        ResolvedTarget::AtSeller { seller, .. } => seller.to_owned(),
        ResolvedTarget::OnNode { .. } => "byoc".to_owned(),
    };
    let model = known_model(input, resolved.target);
    let manifest = input.catalogue.capabilities();
    let may_have = |capability| !manifest.denies(attempt.provider(), attempt.known_model(), capability);
    // Of a model that only a node names nothing is known, and few runtimes read documents themselves.
    let reads_documents = !matches!(resolved.target, ResolvedTarget::OnNode { .. });
    let facts = ModelFacts {
        modality: model
            .map(|model| model.modality)
            .or_else(|| known_modality(input.catalogue, resolved.target)),
        usual: usual_modality(input.catalogue, resolved.target),
        operation: model.and_then(|model| model.operation),
        context_tokens: model.and_then(|model| model.context_tokens),
        output_tokens_max: model.and_then(|model| model.output_tokens_max),
        takes_pictures: may_have(Capability::Vision),
        takes_documents: reads_documents && may_have(Capability::Documents),
    };
    let display_name =
        model.filter(|_| resolved.alias.is_none()).and_then(|model| model.display_name.clone());
    let is_known = resolved.alias.is_some() || resolved.rule != Rule::Dialect;
    let stated = |capability| manifest.states(attempt.provider(), attempt.known_model(), capability);
    let is_stated = facts.modality == Some(Modality::Chat) && stated(Capability::Vision).is_some();
    let others = INPUTS.iter().filter(|(capability, _)| stated(*capability) == Some(true));
    let inputs = || std::iter::once("text").chain(others.map(|(_, word)| *word)).collect();
    Ok(ServedModel {
        id: input.query.model.to_owned(),
        owned_by,
        name: resolved.name,
        display_name,
        is_known,
        facts,
        inputs: is_stated.then(inputs),
        rates: attempt.rates().map(|rates| rates.with_markup(attempt.markup_bps())),
    })
}

/// The model of the catalogue that a name means, or that a node names as the catalogue does.
fn known_model<'a>(input: &PlanInput<'a>, target: ResolvedTarget<'a>) -> Option<&'a Model> {
    match target {
        ResolvedTarget::Model { model, .. } => Some(model),
        ResolvedTarget::AtSeller { .. } => None,
        ResolvedTarget::OnNode { model } => match input.catalogue.by_bare_name(model).as_slice() {
            [model] => Some(*model),
            _ => None,
        },
    }
}

/// The modality of a name's model, whether or not anything serves it: that of an alias's first target.
pub fn modality_of(question: &PlanQuery<'_>, snapshot: &Snapshot, now_unix_ms: u64) -> Option<Modality> {
    own_modality(&input_of(question, snapshot, now_unix_ms))
}

pub(crate) fn own_modality(input: &PlanInput<'_>) -> Option<Modality> {
    let target = aliases::find(input).and_then(|alias| {
        let first = aliases::order(alias.release, input.query.split_key).into_iter().next()?;
        alias.release.spec.targets.get(first)
    });
    let model = target.map_or(input.query.model, |target| &target.model);
    let input = PlanInput { query: PlanQuery { model, ..input.query }, ..*input };
    known_or_usual(input.catalogue, resolve(&input).ok()?.target)
}

fn known_or_usual(catalogue: &Catalogue, target: ResolvedTarget<'_>) -> Option<Modality> {
    known_modality(catalogue, target).or_else(|| usual_modality(catalogue, target))
}

/// By the catalogue, or by the name.
fn known_modality(catalogue: &Catalogue, target: ResolvedTarget<'_>) -> Option<Modality> {
    match target {
        ResolvedTarget::Model { model, .. } => Some(model.modality),
        ResolvedTarget::AtSeller { seller, upstream_model } => {
            catalogue.modality_by_name(seller, upstream_model)
        }
        ResolvedTarget::OnNode { .. } => None,
    }
}

fn usual_modality(catalogue: &Catalogue, target: ResolvedTarget<'_>) -> Option<Modality> {
    match target {
        ResolvedTarget::AtSeller { seller, .. } => catalogue.provider(seller)?.modality,
        ResolvedTarget::Model { .. } | ResolvedTarget::OnNode { .. } => None,
    }
}
