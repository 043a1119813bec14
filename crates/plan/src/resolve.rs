//! Resolves a model's name: rules in order, the first that matches decides.

use std::sync::Arc;

use catalogue::{Model, ProviderFacts, Release};
use domain::{Fault, PolicySpec};

use crate::aliases::ResolvedAlias;
use crate::faults;
use crate::question::PlanInput;

domain::words! {
    /// Which rule decided. Aliases come before all of these, and resolve to a name that these decide about.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Rule {
        PinnedSeller = "pinned_seller",
        Catalogue = "catalogue",
        NodeModel = "node_model",
        ProviderPrefix = "provider_prefix",
        BareName = "bare_name",
        /// A dated, `-latest` or fine-tuned name of a model of the catalogue.
        Release = "release",
        /// A name in the form of a provider's model names.
        Family = "family",
        /// Any other name, on the paths of a provider's own dialect.
        Dialect = "dialect",
    }
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResolvedTarget<'a> {
    /// A model of the catalogue, at every provider of it or at one.
    Model { model: &'a Model, seller: Option<&'a str> },
    /// A name that only its provider knows.
    AtSeller { seller: &'a str, upstream_model: &'a str },
    /// A model of the workspace's own nodes.
    OnNode { model: &'a str },
}

/// The name of a release of a model, for the providers that it is passed on to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamedRelease<'a> {
    pub release: Release,
    /// As its publisher names it.
    pub sent: &'a str,
}

/// A name with its meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved<'a> {
    pub rule: Rule,
    /// `publisher/model`, `provider/model`, or the node's own name.
    pub name: Arc<str>,
    /// A second name that routes and policies may use: `publisher/release`, or with the
    /// publisher in place of its own provider.
    pub other_name: Option<Arc<str>>,
    pub target: ResolvedTarget<'a>,
    /// Which release of the model.
    pub named: Option<NamedRelease<'a>>,
    /// The alias that the model is a target of.
    pub alias: Option<ResolvedAlias<'a>>,
}

impl<'a> Resolved<'a> {
    /// The pinned provider, else the publisher's own: what a route's `provider` matches.
    pub fn provider(&self, input: &PlanInput<'a>) -> Option<&'a str> {
        match self.target {
            ResolvedTarget::Model { seller: Some(seller), .. } | ResolvedTarget::AtSeller { seller, .. } => {
                Some(seller)
            }
            ResolvedTarget::Model { model, seller: None } => {
                input.catalogue.own_provider(&model.publisher).map(|facts| facts.slug.as_str())
            }
            ResolvedTarget::OnNode { .. } => None,
        }
    }

    /// Whether it is a fine-tune that a provider's customer made of the provider's model.
    pub fn is_fine_tuned(&self) -> bool {
        match (self.named, self.target) {
            (Some(named), _) => named.release == Release::FineTuned,
            (None, ResolvedTarget::AtSeller { upstream_model, .. }) => {
                matches!(Release::read(upstream_model), Some((Release::FineTuned, _)))
            }
            _ => false,
        }
    }

    /// Whether a policy allows one of its names.
    pub fn is_allowed_by(&self, spec: &PolicySpec) -> bool {
        self.names().any(|(name, _)| spec.allows_model(name))
    }

    /// Each name, with the length of what precedes the model's own name.
    pub fn names(&self) -> impl Iterator<Item = (&str, usize)> {
        let (own, other) = match self.target {
            ResolvedTarget::Model { model, .. } => (&*model.name, self.named.map(|named| named.sent)),
            ResolvedTarget::AtSeller { upstream_model, .. } => (upstream_model, Some(upstream_model)),
            ResolvedTarget::OnNode { model } => (model, None),
        };
        let with_prefix = |name: &'_ Arc<str>, own: &str| name.len().saturating_sub(own.len());
        let first = (&*self.name, with_prefix(&self.name, own));
        let second = self.other_name.as_ref().zip(other);
        std::iter::once(first).chain(second.map(|(name, own)| (&**name, with_prefix(name, own))))
    }
}

/// # Errors
/// Nothing matches (404, with the nearest names), or a bare name matches several models (400, with their full names).
pub fn resolve<'a>(input: &PlanInput<'a>) -> Result<Resolved<'a>, Box<Fault>> {
    let name = input.query.model;
    if let Some((seller, rest)) = split_seller(input, name, ':') {
        return Ok(at_seller(input, Rule::PinnedSeller, seller, rest));
    }
    if let Some(model) = input.catalogue.model(name) {
        return Ok(anywhere(Rule::Catalogue, model));
    }
    if let Some(model) = node_model(input, name) {
        let meaning = ResolvedTarget::OnNode { model };
        return Ok(of(Rule::NodeModel, model.into(), meaning));
    }
    if let Some((seller, rest)) = split_seller(input, name, '/') {
        return Ok(
            release(input, name).unwrap_or_else(|| at_seller(input, Rule::ProviderPrefix, seller, rest))
        );
    }
    match input.catalogue.by_bare_name(name).as_slice() {
        [] => unlisted(input, name).ok_or_else(|| faults::unknown_model(input)),
        [model] => Ok(anywhere(Rule::BareName, model)),
        several => Err(faults::ambiguous_model(name, several)),
    }
}

/// What a name that is not in the catalogue may mean: a release of a model, one of a family, or a model that
/// only the provider of the client's dialect knows.
fn unlisted<'a>(input: &PlanInput<'a>, name: &'a str) -> Option<Resolved<'a>> {
    let is_bare = !name.contains('/') && !name.is_empty();
    let family = || input.catalogue.family(name).filter(|_| is_bare).map(|facts| (Rule::Family, facts));
    let vendor = || {
        let vendor = input.catalogue.vendor(input.query.dialect).filter(|_| is_bare)?;
        has_credential(input, vendor).then_some((Rule::Dialect, vendor))
    };
    release(input, name).or_else(|| {
        let (rule, facts) = family().or_else(vendor)?;
        Some(unlisted_at(input, rule, &facts.slug, name))
    })
}

/// Whether the project has a credential of its own there, usable or not.
fn has_credential(input: &PlanInput<'_>, facts: &ProviderFacts) -> bool {
    let is_its = |provider: &str| input.canonical(provider) == facts.slug;
    let mut credentials = input.query.workspace.credentials.iter();
    credentials.any(|credential| is_its(&credential.provider) && input.query.is_in_scope_of(credential))
}

const fn of<'a>(rule: Rule, name: Arc<str>, meaning: ResolvedTarget<'a>) -> Resolved<'a> {
    Resolved { rule, name, other_name: None, target: meaning, named: None, alias: None }
}

fn anywhere(rule: Rule, model: &Model) -> Resolved<'_> {
    of(rule, Arc::clone(&model.full), ResolvedTarget::Model { model, seller: None })
}

/// A release of a model that the catalogue knows, by its own name or prefixed with its publisher's.
fn release<'a>(input: &PlanInput<'a>, name: &'a str) -> Option<Resolved<'a>> {
    let (release, model) = input.catalogue.release(name)?;
    let sent = name.split_once('/').map_or(name, |(_, sent)| sent);
    Some(with_release(anywhere(Rule::Release, model), model, NamedRelease { release, sent }))
}

fn with_release<'a>(resolved: Resolved<'a>, model: &Model, named: NamedRelease<'a>) -> Resolved<'a> {
    let other_name = Some(format!("{}/{}", model.publisher, named.sent).into());
    Resolved { other_name, named: Some(named), ..resolved }
}

/// What a name means at a pinned provider: an offer of it, by the model's full name or by the provider's own;
/// a release of such a model; else any name that the provider may know, since the catalogue does not list
/// every model, nor any of a workspace's own servers.
fn at_seller<'a>(input: &PlanInput<'a>, rule: Rule, seller: &'a str, rest: &'a str) -> Resolved<'a> {
    let by_full_name = input.catalogue.model(rest).filter(|model| model.offer(seller).is_some());
    let known = by_full_name.or_else(|| {
        input
            .catalogue
            .models()
            .iter()
            .find(|model| model.offer(seller).is_some_and(|offer| &*offer.upstream_model == rest))
    });
    let pinned = |model: &'a Model| {
        of(rule, Arc::clone(&model.full), ResolvedTarget::Model { model, seller: Some(seller) })
    };
    if let Some(model) = known {
        return pinned(model);
    }
    // Where customers deploy the models, the names are theirs.
    let deploys = input.catalogue.provider(seller).is_some_and(|facts| facts.models_of.is_some());
    let of_release =
        input.catalogue.release(rest).filter(|(_, model)| !deploys && model.offer(seller).is_some());
    match of_release {
        Some((release, model)) => {
            let is_own = input.catalogue.own_provider(&model.publisher).is_some_and(|own| own.slug == seller);
            let bare = rest.split_once('/').map_or(rest, |(_, bare)| bare);
            let sent = if is_own { bare } else { rest };
            with_release(pinned(model), model, NamedRelease { release, sent })
        }
        None if rule == Rule::PinnedSeller => unknown_at(input, rule, seller, rest),
        None => unlisted_at(input, rule, seller, rest),
    }
}

/// A name that only a provider knows: its publisher's own, or the one that serves models of such names in its place.
fn unlisted_at<'a>(input: &PlanInput<'a>, rule: Rule, own: &'a str, upstream_model: &'a str) -> Resolved<'a> {
    let named = unknown_at(input, rule, own, upstream_model);
    match input.catalogue.served_elsewhere(own, upstream_model) {
        None => named,
        Some(facts) => Resolved {
            other_name: named.other_name.or(Some(named.name)),
            ..unknown_at(input, rule, &facts.slug, upstream_model)
        },
    }
}

/// A name that only a provider knows.
fn unknown_at<'a>(
    input: &PlanInput<'a>,
    rule: Rule,
    seller: &'a str,
    upstream_model: &'a str,
) -> Resolved<'a> {
    let name = format!("{seller}/{upstream_model}").into();
    let publisher = input.catalogue.provider(seller).and_then(|facts| facts.publishers.first());
    let other = publisher.filter(|publisher| *publisher != seller);
    let other_name = other.map(|publisher| format!("{publisher}/{upstream_model}").into());
    Resolved { other_name, ..of(rule, name, ResolvedTarget::AtSeller { seller, upstream_model }) }
}

fn split_seller<'a>(input: &PlanInput<'a>, name: &'a str, separator: char) -> Option<(&'a str, &'a str)> {
    let (first, rest) = name.split_once(separator).filter(|(_, rest)| !rest.is_empty())?;
    seller(input, first).map(|seller| (seller, rest))
}

/// The slug of the provider, or of the workspace's own server, that a word names.
fn seller<'a>(input: &PlanInput<'a>, word: &'a str) -> Option<&'a str> {
    if let Some(facts) = input.catalogue.provider(word) {
        return Some(&facts.slug);
    }
    let own = input.query.workspace.credentials.iter().any(|credential| &*credential.provider == word);
    let pooled = || input.accounts.iter().any(|account| &*account.provider == word);
    (own || pooled()).then_some(word)
}

fn node_model<'a>(input: &PlanInput<'a>, name: &str) -> Option<&'a str> {
    let nodes = &input.query.workspace.nodes;
    nodes.iter().flat_map(|node| node.models.iter()).find(|model| *model == name).map(String::as_str)
}
