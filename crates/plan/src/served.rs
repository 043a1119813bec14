//! Which models a key may use: the answer of `/v1/models`, by the same decision that would serve each name.

use std::collections::BTreeMap;

use board::AllOpen;
use snapshot::Snapshot;

use crate::broker::decide;
use crate::question::{PlanInput, PlanQuery};
use crate::resolve::ResolvedTarget;

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
}

/// Every model that the caller would be served now, sorted by name. `question.model` is not
/// read. A model that the catalogue does not know is served if it is pinned to its provider,
/// and listed if its price is known.
#[must_use]
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
    names.into_keys().filter_map(|name| served(question, snapshot, now_unix_ms, name)).collect()
}

fn served(
    question: &PlanQuery<'_>,
    snapshot: &Snapshot,
    now_unix_ms: u64,
    name: String,
) -> Option<ServedModel> {
    let input = PlanInput {
        query: PlanQuery { model: &name, ..*question },
        accounts: snapshot.accounts(),
        catalogue: snapshot.catalogue(),
        required: None,
        random: 0,
        affinity: &|| None,
        prefix_ends: &Vec::new,
        now_us: 0,
        now_unix_ms,
        began_unix_ms: now_unix_ms,
    };
    let decision = decide(&input, &AllOpen);
    if decision.attempts.is_empty() {
        return None;
    }
    let resolved = decision.resolved?;
    let owned_by = match resolved.target {
        _ if resolved.alias.is_some() => ALIAS_OWNER.to_owned(),
        ResolvedTarget::Model { model, .. } => model.publisher.clone(),
        ResolvedTarget::AtSeller { seller, .. } => seller.to_owned(),
        ResolvedTarget::OnNode { .. } => "byoc".to_owned(),
    };
    Some(ServedModel { id: name, owned_by })
}
