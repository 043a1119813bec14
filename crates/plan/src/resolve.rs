//! What a model's name means: six rules in order, the first that matches decides.

use std::sync::Arc;

use catalogue::Model;
use domain::Fault;

use crate::faults;
use crate::question::Ask;

/// Which rule decided. Rule 1, aliases, has its place before `PinnedSeller` and no member yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    PinnedSeller,
    Catalogue,
    NodeModel,
    ProviderPrefix,
    BareName,
}

impl Rule {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PinnedSeller => "pinned_seller",
            Self::Catalogue => "catalogue",
            Self::NodeModel => "node_model",
            Self::ProviderPrefix => "provider_prefix",
            Self::BareName => "bare_name",
        }
    }
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning<'a> {
    /// A model of the catalogue, at every seller of it or at one.
    Model { model: &'a Model, seller: Option<&'a str> },
    /// A name that only its seller knows.
    AtSeller { seller: &'a str, upstream_model: &'a str },
    /// A model of the workspace's own nodes.
    OnNode { model: &'a str },
}

/// A name with its meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved<'a> {
    pub rule: Rule,
    /// `publisher/model`, `seller/model`, or the node's own name.
    pub name: Arc<str>,
    pub meaning: Meaning<'a>,
}

impl<'a> Resolved<'a> {
    /// The pinned seller, else the publisher's own provider: what a route's `provider` matches.
    pub fn provider(&self, ask: &Ask<'a>) -> Option<&'a str> {
        match self.meaning {
            Meaning::Model { seller: Some(seller), .. } | Meaning::AtSeller { seller, .. } => Some(seller),
            Meaning::Model { model, seller: None } => {
                ask.catalogue.own_provider(&model.publisher).map(|facts| facts.slug.as_str())
            }
            Meaning::OnNode { .. } => None,
        }
    }

    /// The name without its publisher or seller.
    pub fn bare_name(&self) -> &str {
        match self.meaning {
            Meaning::Model { model, .. } => &model.name,
            Meaning::AtSeller { upstream_model, .. } => upstream_model,
            Meaning::OnNode { model } => model,
        }
    }
}

/// # Errors
/// Nothing matches (404, with the nearest names), or a bare name matches several models (400, with their full names).
pub fn resolve<'a>(ask: &Ask<'a>) -> Result<Resolved<'a>, Box<Fault>> {
    let name = ask.question.model;
    if let Some((seller, rest)) = split_seller(ask, name, ':') {
        return Ok(at_seller(ask, Rule::PinnedSeller, seller, rest));
    }
    if let Some(model) = ask.catalogue.model(name) {
        return Ok(anywhere(Rule::Catalogue, model));
    }
    if let Some(model) = node_model(ask, name) {
        let meaning = Meaning::OnNode { model };
        return Ok(Resolved { rule: Rule::NodeModel, name: model.into(), meaning });
    }
    if let Some((seller, rest)) = split_seller(ask, name, '/') {
        return Ok(at_seller(ask, Rule::ProviderPrefix, seller, rest));
    }
    match ask.catalogue.by_bare_name(name).as_slice() {
        [] => Err(faults::unknown_model(ask)),
        [model] => Ok(anywhere(Rule::BareName, model)),
        several => Err(faults::ambiguous_model(name, several)),
    }
}

fn anywhere(rule: Rule, model: &Model) -> Resolved<'_> {
    Resolved { rule, name: Arc::clone(&model.full), meaning: Meaning::Model { model, seller: None } }
}

/// What a pinned seller is asked for: an offer of it by the model's full name or by the seller's own name of it,
/// else whatever the seller may know: the catalogue does not know every model, and no server of a workspace's own.
fn at_seller<'a>(ask: &Ask<'a>, rule: Rule, seller: &'a str, rest: &'a str) -> Resolved<'a> {
    let by_full_name = ask.catalogue.model(rest).filter(|model| model.offer(seller).is_some());
    let known = by_full_name.or_else(|| {
        ask.catalogue
            .models()
            .iter()
            .find(|model| model.offer(seller).is_some_and(|offer| &*offer.upstream_model == rest))
    });
    match known {
        Some(model) => {
            let meaning = Meaning::Model { model, seller: Some(seller) };
            Resolved { rule, name: Arc::clone(&model.full), meaning }
        }
        None => {
            let meaning = Meaning::AtSeller { seller, upstream_model: rest };
            Resolved { rule, name: format!("{seller}/{rest}").into(), meaning }
        }
    }
}

fn split_seller<'a>(ask: &Ask<'a>, name: &'a str, separator: char) -> Option<(&'a str, &'a str)> {
    let (first, rest) = name.split_once(separator).filter(|(_, rest)| !rest.is_empty())?;
    seller(ask, first).map(|seller| (seller, rest))
}

/// The slug of the provider or of the workspace's own server that a word names.
fn seller<'a>(ask: &Ask<'a>, word: &'a str) -> Option<&'a str> {
    if let Some(facts) = ask.catalogue.provider(word) {
        return Some(&facts.slug);
    }
    let own = ask.question.workspace.credentials.iter().any(|credential| &*credential.provider == word);
    let pooled = || ask.accounts.iter().any(|account| &*account.provider == word);
    (own || pooled()).then_some(word)
}

fn node_model<'a>(ask: &Ask<'a>, name: &str) -> Option<&'a str> {
    let nodes = &ask.question.workspace.nodes;
    nodes.iter().flat_map(|node| node.models.iter()).find(|model| *model == name).map(String::as_str)
}
