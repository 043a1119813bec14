//! Every credential, node and account, each either able to serve the call or refused with its reason.

use std::sync::Arc;

use catalogue::{Capability, Catalogue, Model, Offer, ProviderFacts, Release};
use domain::Agreement;
use domain::ports::StoredResponse;
use domain::{
    Hosting, Modality, PolicyRule, PolicySpec, Principal, Profile, Rates, Retention, RouteSpec, Usage,
};
use snapshot::{AccountEntry, CredentialEntry, CredentialState, NodeEntry, NodeState, WorkspaceEntry};

use crate::attempt::{Attempt, Seat};
use crate::broker::UNROUTED;
use crate::capabilities;
use crate::question::PlanInput;
use crate::reason::{Refusal, Rejection};
use crate::resolve::{NamedRelease, Resolved, ResolvedTarget};

/// The provider name of nodes in policies and in answers.
const NODES: &str = "byoc";
/// The label with a node's region.
pub const REGION_LABEL: &str = "region=";
/// Capacity for this many is allocated up front.
const BYOK_USUAL: usize = 4;

/// The candidates that could serve, by profile and in the order of their creation; and those that could not.
#[derive(Debug, Default)]
pub struct Candidates {
    pub subscription: Vec<Attempt>,
    pub byok: Vec<Attempt>,
    pub byoc: Vec<Attempt>,
    pub managed: Vec<Attempt>,
    /// Accounts that serve only when all others have failed.
    pub emergency: Vec<Attempt>,
    pub rejected: Vec<Rejection>,
}

/// What a provider sells of the model.
struct ProviderListing<'a> {
    upstream_model: &'a str,
    offer: Option<&'a Offer>,
}

impl ProviderListing<'_> {
    fn shared_model(&self) -> Arc<str> {
        match self.offer {
            Some(offer) if *offer.upstream_model == *self.upstream_model => Arc::clone(&offer.upstream_model),
            _ => self.upstream_model.into(),
        }
    }
}

pub fn gather(input: &PlanInput<'_>, resolved: &Resolved<'_>, spec: &RouteSpec) -> Candidates {
    let credentials = &input.query.workspace.credentials;
    let byok = Vec::with_capacity(credentials.len().min(BYOK_USUAL));
    let mut found = Candidates { byok, ..Candidates::default() };
    for credential in credentials {
        match credential_attempt(input, resolved, spec, credential) {
            Ok(attempt) if credential.subscription.is_some() => found.subscription.push(attempt),
            Ok(attempt) => found.byok.push(attempt),
            Err(refusal) => found.reject(Seat::Byok(Arc::clone(credential)), refusal),
        }
    }
    for node in &input.query.workspace.nodes {
        match node_attempt(input, resolved, spec, node) {
            Ok(attempt) => found.byoc.push(attempt),
            Err(refusal) => found.reject(Seat::Byoc(Arc::clone(node)), refusal),
        }
    }
    for account in input.accounts {
        match account_attempt(input, resolved, spec, account) {
            Ok(attempt) if attempt.is_emergency() => found.emergency.push(attempt),
            Ok(attempt) => found.managed.push(attempt),
            Err(refusal) => found.reject(Seat::Managed(Arc::clone(account)), refusal),
        }
    }
    found
}

impl Candidates {
    pub fn reject(&mut self, seat: Seat, refusal: Refusal) {
        self.rejected.push(Rejection { seat, refusal });
    }

    /// Whether a node that offers the model is unreachable without its owner having drained it.
    pub fn has_unreachable_node(&self) -> bool {
        self.rejected.iter().any(|rejection| {
            matches!(rejection.seat, Seat::Byoc(_)) && rejection.refusal == Refusal::Unreachable
        })
    }
}

fn credential_attempt(
    input: &PlanInput<'_>,
    resolved: &Resolved<'_>,
    spec: &RouteSpec,
    credential: &Arc<CredentialEntry>,
) -> Result<Attempt, Refusal> {
    let facts = input.catalogue.provider(&credential.provider);
    let provider = facts.map_or(&*credential.provider, |facts| facts.slug.as_str());
    let sold = match facts.and_then(|facts| facts.models_of.as_deref()) {
        Some(publisher) => deployed_by(resolved, provider, publisher, &credential.hosting)?,
        None => sold_by(resolved, facts, provider).ok_or(Refusal::DoesNotOffer)?,
    };
    if !input.query.is_in_scope_of(credential) {
        return Err(Refusal::OutOfScope);
    }
    let placement = Placement {
        profile: credential.principal().profile(),
        provider,
        regions: &|| own_or_offered(credential.region.as_deref(), sold.offer),
        agreement: Some(&credential.agreement),
    };
    check_policy(input, &|spec| resolved.is_allowed_by(spec), &placement)?;
    check_credential(input, credential)?;
    if credential.subscription.is_some() {
        check_subscription(input)?;
        // It comes before the winning route, whose conditions are those of what the route lists.
        let spec = if spec.profiles.contains(&Profile::Subscription) { spec } else { &*UNROUTED };
        check_provider(input, spec, provider)?;
        check_region(spec, credential.region.as_deref(), sold.offer)?;
        return own_attempt(input, resolved, credential, facts, &sold);
    }
    let is_listed = spec.credential_ids.is_empty() || spec.credential_ids.contains(&credential.id);
    if !is_listed && spec.overflow_own != Some(credential.id) {
        return Err(Refusal::CredentialNotInRoute);
    }
    check_provider(input, spec, provider)?;
    check_region(spec, credential.region.as_deref(), sold.offer)?;
    own_attempt(input, resolved, credential, facts, &sold)
}

fn own_attempt(
    input: &PlanInput<'_>,
    resolved: &Resolved<'_>,
    credential: &Arc<CredentialEntry>,
    facts: Option<&ProviderFacts>,
    sold: &ProviderListing<'_>,
) -> Result<Attempt, Refusal> {
    let (workspace, catalogue) = (input.query.workspace, input.catalogue);
    let upstream_model = sold.shared_model();
    let attempt =
        Attempt::byok(workspace, credential, catalogue, facts, upstream_model, sold.offer, &resolved.name)?;
    capabilities::check(input, attempt)
}

/// Whether subscriptions may serve this call at all. What a plan is sold for is conversation.
fn check_subscription(input: &PlanInput<'_>) -> Result<(), Refusal> {
    if !input.catalogue.takes_subscriptions() {
        return Err(Refusal::SubscriptionsOff);
    }
    if input.query.modality == Modality::Chat { Ok(()) } else { Err(Refusal::ProfileNotTaken) }
}

/// Whether the credential may be used at all, for any request.
fn check_credential(input: &PlanInput<'_>, credential: &CredentialEntry) -> Result<(), Refusal> {
    if !input.query.is_in_scope_of(credential) {
        return Err(Refusal::OutOfScope);
    }
    match credential.state {
        CredentialState::Active => {}
        CredentialState::Unverified => return Err(Refusal::Unverified),
        CredentialState::Invalid => return Err(Refusal::Invalid),
        CredentialState::Disabled => return Err(Refusal::Disabled),
        CredentialState::Revoked => return Err(Refusal::Revoked),
    }
    match credential.expires_unix_ms {
        Some(expires) if expires <= input.now_unix_ms => Err(Refusal::Expired),
        _ => Ok(()),
    }
}

/// The seat that made an answer, for requests about that answer. Routes decide who makes new ones; an old one
/// is read and deleted where it is.
///
/// # Errors
/// It may not be used now; `None` if it no longer exists.
pub fn pinned_attempt(
    input: &PlanInput<'_>,
    stored: &StoredResponse,
    makes_something: bool,
) -> Result<Attempt, Option<Rejection>> {
    let upstream_model: Arc<str> = stored.upstream_model.as_str().into();
    let facts_of = |provider| facts_of(input.catalogue, provider, &stored.model);
    let (seat, attempt) = match stored.created_by {
        Principal::Credential(_) | Principal::Subscription(_) => {
            let workspace = input.query.workspace;
            let id = stored.created_by.own_credential().ok_or(None)?;
            let credential = workspace.credentials.iter().find(|one| one.id == id).ok_or(None)?;
            let (facts, offer) = facts_of(&credential.provider);
            let placement = Placement {
                profile: credential.principal().profile(),
                provider: facts.map_or(&*credential.provider, |facts| facts.slug.as_str()),
                regions: &|| own_or_offered(credential.region.as_deref(), offer),
                agreement: Some(&credential.agreement),
            };
            let allowed = check_pinned(input, stored, &placement, makes_something);
            let attempt = allowed.and_then(|()| check_credential(input, credential)).and_then(|()| {
                let (catalogue, model) = (input.catalogue, &stored.model);
                Attempt::byok(workspace, credential, catalogue, facts, upstream_model, offer, model)
            });
            (Seat::Byok(Arc::clone(credential)), attempt)
        }
        Principal::Account(id) => {
            let account = input.accounts.iter().find(|one| one.id == id).ok_or(None)?;
            let (facts, offer) = facts_of(&account.provider);
            let placement = Placement {
                profile: Profile::ManagedProvider,
                provider: facts.map_or(&*account.provider, |facts| facts.slug.as_str()),
                regions: &|| own_or_offered(account.region.as_deref(), offer),
                agreement: Some(&account.agreement),
            };
            let attempt = match check_pinned(input, stored, &placement, makes_something) {
                Err(refusal) => Err(refusal),
                Ok(()) if account.disabled => Err(Refusal::Disabled),
                Ok(()) => {
                    let (catalogue, model) = (input.catalogue, &stored.model);
                    Attempt::managed(account, catalogue, facts, upstream_model, offer, model, &input.query)
                }
            };
            (Seat::Managed(Arc::clone(account)), attempt)
        }
        Principal::Node(_) => return Err(None),
    };
    attempt.map_err(|refusal| Some(Rejection { seat, refusal }))
}

/// What exists may be read and deleted where it is; something new is made of it only where the policies allow
/// that today.
fn check_pinned(
    input: &PlanInput<'_>,
    stored: &StoredResponse,
    placement: &Placement<'_>,
    makes_something: bool,
) -> Result<(), Refusal> {
    if makes_something {
        check_policy(input, &|spec| spec.allows_model(&stored.model), placement)
    } else {
        Ok(())
    }
}

/// What is known of a provider, and its offer of a model.
fn facts_of<'a>(
    catalogue: &'a Catalogue,
    provider: &str,
    model: &str,
) -> (Option<&'a ProviderFacts>, Option<&'a Offer>) {
    let facts = catalogue.provider(provider);
    let slug = facts.map_or(provider, |facts| facts.slug.as_str());
    (facts, catalogue.model(model).and_then(|model| model.offer(slug)))
}

/// The rates for an object that a credential's provider made, as they would apply to a client's own request
/// for it. `None` if unpriced. The model is its full name and the provider's.
pub fn rates_of_made(
    workspace: &WorkspaceEntry,
    credential: &Arc<CredentialEntry>,
    catalogue: &Catalogue,
    (model, upstream_model): (&str, &str),
    usage: &Usage,
) -> Option<Rates> {
    let (facts, offer) = facts_of(catalogue, &credential.provider, model);
    let attempt = Attempt::byok(workspace, credential, catalogue, facts, upstream_model.into(), offer, model);
    attempt.ok()?.rates_of(usage)
}

fn node_attempt(
    input: &PlanInput<'_>,
    resolved: &Resolved<'_>,
    spec: &RouteSpec,
    node: &Arc<NodeEntry>,
) -> Result<Attempt, Refusal> {
    let wanted = match resolved.target {
        ResolvedTarget::OnNode { model } => Some(model),
        ResolvedTarget::Model { model, seller: None } if !resolved.is_fine_tuned() => Some(&*model.full),
        ResolvedTarget::Model { .. } | ResolvedTarget::AtSeller { .. } => None,
    };
    let model =
        wanted.filter(|name| node.models.iter().any(|model| model == name)).ok_or(Refusal::DoesNotOffer)?;
    // What the policy forbids is forbidden whether the node is reachable or not.
    let regions = || node.labels.iter().filter_map(|label| label.strip_prefix(REGION_LABEL)).collect();
    let placement = Placement { profile: Profile::Byoc, provider: NODES, regions: &regions, agreement: None };
    check_policy(input, &|spec| resolved.is_allowed_by(spec), &placement)?;
    match node.state {
        NodeState::Ready => {}
        NodeState::Cordoned => return Err(Refusal::Cordoned),
        NodeState::Draining => return Err(Refusal::Draining),
        NodeState::Unreachable => return Err(Refusal::Unreachable),
    }
    if spec.node_labels.iter().any(|label| !node.labels.contains(label)) {
        return Err(Refusal::LabelMissing);
    }
    Attempt::byoc(input.query.workspace, node, model)
}

fn account_attempt(
    input: &PlanInput<'_>,
    resolved: &Resolved<'_>,
    spec: &RouteSpec,
    account: &Arc<AccountEntry>,
) -> Result<Attempt, Refusal> {
    let facts = input.catalogue.provider(&account.provider);
    let provider = facts.map_or(&*account.provider, |facts| facts.slug.as_str());
    let sold = match facts.and_then(|facts| facts.models_of.as_deref()) {
        Some(publisher) => pooled_deployment(resolved, provider, publisher, account)?,
        None => pooled_by(resolved, facts, provider, account)?,
    };
    let placement = Placement {
        profile: Profile::ManagedProvider,
        provider,
        regions: &|| own_or_offered(account.region.as_deref(), sold.offer),
        agreement: Some(&account.agreement),
    };
    check_policy(input, &|spec| resolved.is_allowed_by(spec), &placement)?;
    if account.disabled {
        return Err(Refusal::Disabled);
    }
    check_provider(input, spec, provider)?;
    check_region(spec, account.region.as_deref(), sold.offer)?;
    check_emergency(input, spec, facts)?;
    let attempt = Attempt::managed(
        account,
        input.catalogue,
        facts,
        sold.shared_model(),
        sold.offer,
        &resolved.name,
        &input.query,
    )?;
    capabilities::check(input, attempt)
}

/// Emergency accounts need the consent of both the operator and the project's route.
fn check_emergency(
    input: &PlanInput<'_>,
    spec: &RouteSpec,
    facts: Option<&ProviderFacts>,
) -> Result<(), Refusal> {
    match facts {
        Some(facts) if facts.emergency_only => {
            match (input.catalogue.takes_emergencies(), spec.emergency_allowed) {
                (false, _) => Err(Refusal::EmergencyOff),
                (true, false) => Err(Refusal::EmergencyNotAllowed),
                (true, true) => check_boundary(input),
            }
        }
        _ => Ok(()),
    }
}

/// Whether the data boundary of each policy, and of the client's hints, lets a request reach an emergency provider.
fn check_boundary(input: &PlanInput<'_>) -> Result<(), Refusal> {
    if input.query.placement().is_some_and(|placement| placement.data_boundary.forbids_emergency()) {
        return Err(Refusal::HintsForbid { rule: PolicyRule::DataBoundary });
    }
    let mut each = input.query.project.policy.iter().flat_map(|policies| policies.each());
    match each.find(|policy| policy.spec.data_boundary.forbids_emergency()) {
        Some(policy) => Err(Refusal::PolicyForbids {
            rule: PolicyRule::DataBoundary,
            policy: policy.id,
            owner: policy.owner(),
        }),
        None => Ok(()),
    }
}

fn sold_by<'a>(
    resolved: &Resolved<'a>,
    facts: Option<&ProviderFacts>,
    provider: &str,
) -> Option<ProviderListing<'a>> {
    match resolved.target {
        ResolvedTarget::Model { seller: Some(seller), .. } if seller != provider => None,
        ResolvedTarget::Model { model, seller } => {
            let offer = model.offer(provider)?;
            let is_own = facts.is_some_and(|facts| facts.publishers.contains(&model.publisher));
            let upstream_model = match resolved.named {
                Some(named) if is_own || seller.is_some() => named.sent,
                // Other providers have their own name for the model, and no
                // fine-tune that was made elsewhere.
                Some(NamedRelease { release: Release::FineTuned, .. }) => return None,
                Some(named) if Release::is_of_another_day(named.sent, &offer.upstream_model) => return None,
                _ => &offer.upstream_model,
            };
            Some(ProviderListing { upstream_model, offer: Some(offer) })
        }
        ResolvedTarget::AtSeller { seller, upstream_model } => {
            (seller == provider).then_some(ProviderListing { upstream_model, offer: None })
        }
        ResolvedTarget::OnNode { .. } => None,
    }
}

/// The deployment of a model by its owner, at a cloud that runs the models of `publisher` under names of its
/// customers. Behind the provider's prefix a deployment's own name works, too.
fn deployed_by<'a>(
    resolved: &Resolved<'a>,
    provider: &str,
    publisher: &str,
    hosting: &'a Hosting,
) -> Result<ProviderListing<'a>, Refusal> {
    match resolved.target {
        ResolvedTarget::Model { seller: Some(seller), .. } if seller != provider => {
            Err(Refusal::DoesNotOffer)
        }
        ResolvedTarget::Model { model, .. } => match hosting.deployment(&deployed_names(resolved, model)) {
            Some(upstream_model) => Ok(ProviderListing { upstream_model, offer: model.offer(provider) }),
            None if model.offer(publisher).is_some() => Err(Refusal::NotDeployed),
            None => Err(Refusal::DoesNotOffer),
        },
        ResolvedTarget::AtSeller { seller, upstream_model } if seller == provider => {
            let is_own = hosting.deployments.values().any(|own| own == upstream_model);
            let named = hosting.deployment(&[upstream_model]).or_else(|| is_own.then_some(upstream_model));
            named
                .map(|upstream_model| ProviderListing { upstream_model, offer: None })
                .ok_or(Refusal::NotDeployed)
        }
        ResolvedTarget::AtSeller { .. } | ResolvedTarget::OnNode { .. } => Err(Refusal::DoesNotOffer),
    }
}

/// The names that a deployment may be of: a fine-tune of a model is not a deployment of the model itself.
fn deployed_names<'a>(resolved: &Resolved<'a>, model: &'a Model) -> Vec<&'a str> {
    match resolved.named {
        None => vec![&model.full, &model.name],
        Some(NamedRelease { release: Release::FineTuned, sent }) => vec![sent],
        Some(NamedRelease { sent, .. }) => vec![sent, &model.full, &model.name],
    }
}

/// What an account's operator deployed, without what its model list leaves out.
fn pooled_deployment<'a>(
    resolved: &Resolved<'a>,
    provider: &str,
    publisher: &str,
    account: &'a AccountEntry,
) -> Result<ProviderListing<'a>, Refusal> {
    let sold = deployed_by(resolved, provider, publisher, &account.hosting)?;
    let is_listed =
        |listed: &[String]| listed.iter().any(|name| *name == *resolved.name || name == sold.upstream_model);
    match account.models.as_deref() {
        Some(listed) if !is_listed(listed) => Err(Refusal::ModelNotListed),
        _ => Ok(sold),
    }
}

/// An account sells its provider's offers, without what its model list leaves out, and models
/// on that list without an offer.
fn pooled_by<'a>(
    resolved: &Resolved<'a>,
    facts: Option<&ProviderFacts>,
    provider: &str,
    account: &AccountEntry,
) -> Result<ProviderListing<'a>, Refusal> {
    let sold = sold_by(resolved, facts, provider);
    let listed: &[String] = match account.models.as_deref() {
        Some(listed) => listed,
        // A fine-tune belongs to one customer of the provider, unless the operator lists it.
        None if resolved.is_fine_tuned() => &[],
        None => return sold.ok_or(Refusal::DoesNotOffer),
    };
    let lists = |name: &str| listed.iter().any(|model| model == name);
    match (sold, resolved.target) {
        (Some(sold), _) if resolved.is_fine_tuned() => {
            if lists(sold.upstream_model) {
                Ok(sold)
            } else {
                Err(Refusal::ModelNotListed)
            }
        }
        (Some(sold), _) => {
            let named = match resolved.target {
                ResolvedTarget::Model { model, .. } => lists(&model.full),
                ResolvedTarget::AtSeller { .. } | ResolvedTarget::OnNode { .. } => false,
            };
            let sells = sold.offer.is_some_and(|offer| lists(&offer.upstream_model));
            if named || sells || lists(sold.upstream_model) { Ok(sold) } else { Err(Refusal::ModelNotListed) }
        }
        (None, ResolvedTarget::Model { model, seller: None })
            if lists(&model.full) && !resolved.is_fine_tuned() =>
        {
            Ok(ProviderListing { upstream_model: &model.full, offer: None })
        }
        (None, _) => Err(Refusal::DoesNotOffer),
    }
}

fn check_provider(input: &PlanInput<'_>, spec: &RouteSpec, provider: &str) -> Result<(), Refusal> {
    let listed = spec.providers.iter().any(|name| input.canonical(name) == provider);
    if spec.providers.is_empty() || listed { Ok(()) } else { Err(Refusal::ProviderNotInRoute) }
}

/// What a policy checks in a candidate.
struct Placement<'a> {
    profile: Profile,
    provider: &'a str,
    /// All regions where it may run; empty if that is not known.
    regions: &'a dyn Fn() -> Vec<&'a str>,
    /// `None` if nothing leaves the workspace's own machines.
    agreement: Option<&'a Agreement>,
}

fn own_or_offered<'a>(own: Option<&'a str>, offer: Option<&'a Offer>) -> Vec<&'a str> {
    match (own, offer) {
        (Some(own), _) => vec![own],
        (None, Some(offer)) => offer.regions.iter().map(String::as_str).collect(),
        (None, None) => Vec::new(),
    }
}

/// The workspace's policy and the project's override every route, and the client's hints tighten them. Where one
/// restricts something, a candidate of which that is not known is refused.
fn check_policy(
    input: &PlanInput<'_>,
    is_model_allowed: &dyn Fn(&PolicySpec) -> bool,
    placement: &Placement<'_>,
) -> Result<(), Refusal> {
    let policies = input.query.project.policy.iter().flat_map(|policies| policies.each());
    for policy in policies {
        if let Some(rule) = placement.forbidden_by(input.catalogue, &policy.spec, is_model_allowed) {
            return Err(Refusal::PolicyForbids { rule, policy: policy.id, owner: policy.owner() });
        }
    }
    let Some(wanted) = input.query.placement() else { return Ok(()) };
    match placement.forbidden_by(input.catalogue, wanted, is_model_allowed) {
        Some(rule) => Err(Refusal::HintsForbid { rule }),
        None => Ok(()),
    }
}

impl Placement<'_> {
    fn forbidden_by(
        &self,
        catalogue: &Catalogue,
        spec: &PolicySpec,
        is_model_allowed: &dyn Fn(&PolicySpec) -> bool,
    ) -> Option<PolicyRule> {
        let is_listed = |listed: &[String], name: &str| listed.iter().any(|one| one == name);
        let agreed = |holds: &dyn Fn(&Agreement) -> bool| self.agreement.is_none_or(holds);
        // What a provider does not offer, nobody has agreed with it.
        let denies_zero = || catalogue.capabilities().denies(self.provider, "", Capability::ZeroRetention);
        let kept =
            |terms: &Agreement| terms.retention.filter(|kept| *kept != Retention::Zero || !denies_zero());
        if !spec.profiles.is_empty() && !spec.profiles.contains(&self.profile) {
            Some(PolicyRule::Profiles)
        } else if !spec.providers.is_empty() && !is_listed(&spec.providers, self.provider) {
            Some(PolicyRule::Providers)
        } else if !is_model_allowed(spec) {
            Some(PolicyRule::Models)
        } else if let Some(rule) = self.region_forbidden_by(spec) {
            Some(rule)
        } else if spec.retention.is_some_and(|most| !agreed(&|terms| most.is_kept_by(kept(terms)))) {
            Some(PolicyRule::Retention)
        } else if spec.compliance.iter().any(|tag| !agreed(&|terms| terms.compliance.contains(tag))) {
            Some(PolicyRule::Compliance)
        } else {
            None
        }
    }

    /// A candidate that may run in several regions must be allowed in each; one of unknown region is allowed
    /// in none.
    fn region_forbidden_by(&self, spec: &PolicySpec) -> Option<PolicyRule> {
        let restriction = spec.restricts_regions()?;
        let regions = (self.regions)();
        if regions.is_empty() {
            return Some(restriction);
        }
        regions.iter().find_map(|region| spec.forbids_region(region))
    }
}

/// A candidate without a stated region may run anywhere, so a route that allows
/// only certain regions refuses it.
fn check_region(spec: &RouteSpec, own: Option<&str>, offer: Option<&Offer>) -> Result<(), Refusal> {
    if spec.regions.is_empty() {
        return Ok(());
    }
    let allowed = |region: &str| spec.regions.iter().any(|name| name == region);
    let offered = offer.map_or(&[][..], |offer| offer.regions.as_slice());
    match own {
        Some(region) if allowed(region) => Ok(()),
        Some(_) => Err(Refusal::RegionNotAllowed),
        None if offered.is_empty() => Err(Refusal::RegionUnknown),
        None if offered.iter().all(|region| allowed(region)) => Ok(()),
        None => Err(Refusal::RegionNotAllowed),
    }
}
