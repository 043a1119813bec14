//! Every credential, node and account, each either able to serve the call or refused with its reason.

use std::sync::Arc;

use catalogue::{Offer, ProviderFacts};
use domain::Agreement;
use domain::ports::StoredResponse;
use domain::{Hosting, PolicyRule, Principal, Profile, RouteSpec};
use snapshot::{AccountEntry, CredentialEntry, CredentialState, NodeEntry, NodeState};

use crate::attempt::{Attempt, Seat};
use crate::question::Ask;
use crate::reason::{Refusal, Rejection};
use crate::resolve::{Meaning, Resolved};

/// As what nodes are known to policies, and in answers.
const NODES: &str = "byoc";
/// A node's label that says where it stands.
const REGION_LABEL: &str = "region=";
/// Room for so many is made at once.
const BYOK_USUAL_MAX: usize = 4;

/// Those that could serve, by profile and in the order they were made; and those that could not.
#[derive(Debug, Default)]
pub struct Candidates {
    pub byok: Vec<Attempt>,
    pub byoc: Vec<Attempt>,
    pub managed: Vec<Attempt>,
    /// Accounts that serve only when all of the others have failed.
    pub emergency: Vec<Attempt>,
    pub rejected: Vec<Rejection>,
}

/// What a seller has of the model.
struct Sold<'a> {
    upstream_model: &'a str,
    offer: Option<&'a Offer>,
}

impl Sold<'_> {
    fn shared_model(&self) -> Arc<str> {
        match self.offer {
            Some(offer) if *offer.upstream_model == *self.upstream_model => Arc::clone(&offer.upstream_model),
            _ => self.upstream_model.into(),
        }
    }
}

pub fn gather(ask: &Ask<'_>, resolved: &Resolved<'_>, spec: &RouteSpec) -> Candidates {
    let credentials = &ask.question.workspace.credentials;
    let byok = Vec::with_capacity(credentials.len().min(BYOK_USUAL_MAX));
    let mut found = Candidates { byok, ..Candidates::default() };
    for credential in credentials {
        match credential_attempt(ask, resolved, spec, credential) {
            Ok(attempt) => found.byok.push(attempt),
            Err(refusal) => found.reject(Seat::Byok(Arc::clone(credential)), refusal),
        }
    }
    for node in &ask.question.workspace.nodes {
        match node_attempt(ask, resolved, spec, node) {
            Ok(attempt) => found.byoc.push(attempt),
            Err(refusal) => found.reject(Seat::Byoc(Arc::clone(node)), refusal),
        }
    }
    for account in ask.accounts {
        match account_attempt(ask, resolved, spec, account) {
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

    /// Whether a node that offers the model is away without its owner having asked for that.
    pub fn has_unreachable_node(&self) -> bool {
        self.rejected.iter().any(|rejection| {
            matches!(rejection.seat, Seat::Byoc(_)) && rejection.refusal == Refusal::Unreachable
        })
    }
}

fn credential_attempt(
    ask: &Ask<'_>,
    resolved: &Resolved<'_>,
    spec: &RouteSpec,
    credential: &Arc<CredentialEntry>,
) -> Result<Attempt, Refusal> {
    let facts = ask.catalogue.provider(&credential.provider);
    let provider = facts.map_or(&*credential.provider, |facts| facts.slug.as_str());
    let sold = match facts.and_then(|facts| facts.models_of.as_deref()) {
        Some(publisher) => deployed_by(resolved, provider, publisher, &credential.hosting)?,
        None => sold_by(resolved, provider).ok_or(Refusal::DoesNotOffer)?,
    };
    check_credential(ask, credential)?;
    if !spec.credential_ids.is_empty() && !spec.credential_ids.contains(&credential.id) {
        return Err(Refusal::CredentialNotInRoute);
    }
    check_provider(ask, spec, provider)?;
    check_region(spec, credential.region.as_deref(), sold.offer)?;
    let held = Held {
        profile: Profile::Byok,
        provider,
        regions: &|| own_or_offered(credential.region.as_deref(), sold.offer),
        agreement: Some(&credential.agreement),
    };
    check_policy(ask, resolved, &held)?;
    Attempt::byok(
        ask.question.workspace,
        credential,
        ask.catalogue,
        facts,
        sold.shared_model(),
        sold.offer,
        &resolved.name,
    )
}

/// Whether it may be used at all, for whatever.
fn check_credential(ask: &Ask<'_>, credential: &CredentialEntry) -> Result<(), Refusal> {
    let other_project = credential.project.is_some_and(|project| project != ask.question.project.id);
    let other_environment =
        credential.environment.as_deref().is_some_and(|name| name != ask.question.environment);
    if other_project || other_environment {
        return Err(Refusal::OutOfScope);
    }
    match credential.state {
        CredentialState::Active => {}
        CredentialState::Invalid => return Err(Refusal::Invalid),
        CredentialState::Disabled => return Err(Refusal::Disabled),
        CredentialState::Revoked => return Err(Refusal::Revoked),
    }
    match credential.expires_unix_ms {
        Some(expires) if expires <= ask.now_unix_ms => Err(Refusal::Expired),
        _ => Ok(()),
    }
}

/// The one that made an answer, to be asked for that answer. Routes say who makes new ones: where an old one lies is
/// settled, and it is read and deleted there.
///
/// # Errors
/// It may not be used now; `None` where it is no more.
pub fn maker(ask: &Ask<'_>, stored: &StoredResponse) -> Result<Attempt, Option<Rejection>> {
    let upstream_model: Arc<str> = stored.upstream_model.as_str().into();
    let facts_of = |provider| {
        let facts = ask.catalogue.provider(provider);
        let slug = facts.map_or(provider, |facts| facts.slug.as_str());
        (facts, ask.catalogue.model(&stored.model).and_then(|model| model.offer(slug)))
    };
    let (seat, attempt) = match stored.maker {
        Principal::Credential(id) => {
            let workspace = ask.question.workspace;
            let credential = workspace.credentials.iter().find(|one| one.id == id).ok_or(None)?;
            let (facts, offer) = facts_of(&credential.provider);
            let attempt = check_credential(ask, credential).and_then(|()| {
                let (catalogue, model) = (ask.catalogue, &stored.model);
                Attempt::byok(workspace, credential, catalogue, facts, upstream_model, offer, model)
            });
            (Seat::Byok(Arc::clone(credential)), attempt)
        }
        Principal::Account(id) => {
            let account = ask.accounts.iter().find(|one| one.id == id).ok_or(None)?;
            let (facts, offer) = facts_of(&account.provider);
            let attempt = match account.disabled {
                true => Err(Refusal::Disabled),
                false => {
                    Attempt::managed(account, ask.catalogue, facts, upstream_model, offer, &stored.model)
                }
            };
            (Seat::Managed(Arc::clone(account)), attempt)
        }
        Principal::Node(_) => return Err(None),
    };
    attempt.map_err(|refusal| Some(Rejection { seat, refusal }))
}

fn node_attempt(
    ask: &Ask<'_>,
    resolved: &Resolved<'_>,
    spec: &RouteSpec,
    node: &Arc<NodeEntry>,
) -> Result<Attempt, Refusal> {
    let wanted = match resolved.meaning {
        Meaning::OnNode { model } => Some(model),
        Meaning::Model { model, seller: None } => Some(&*model.full),
        Meaning::Model { seller: Some(_), .. } | Meaning::AtSeller { .. } => None,
    };
    let model =
        wanted.filter(|name| node.models.iter().any(|model| model == name)).ok_or(Refusal::DoesNotOffer)?;
    match node.state {
        NodeState::Ready => {}
        NodeState::Draining => return Err(Refusal::Draining),
        NodeState::Unreachable => return Err(Refusal::Unreachable),
    }
    if spec.node_labels.iter().any(|label| !node.labels.contains(label)) {
        return Err(Refusal::LabelMissing);
    }
    let regions = || node.labels.iter().filter_map(|label| label.strip_prefix(REGION_LABEL)).collect();
    let held = Held { profile: Profile::Byoc, provider: NODES, regions: &regions, agreement: None };
    check_policy(ask, resolved, &held)?;
    Attempt::byoc(ask.question.workspace, node, model)
}

fn account_attempt(
    ask: &Ask<'_>,
    resolved: &Resolved<'_>,
    spec: &RouteSpec,
    account: &Arc<AccountEntry>,
) -> Result<Attempt, Refusal> {
    let facts = ask.catalogue.provider(&account.provider);
    let provider = facts.map_or(&*account.provider, |facts| facts.slug.as_str());
    let sold = match facts.and_then(|facts| facts.models_of.as_deref()) {
        Some(publisher) => pooled_deployment(resolved, provider, publisher, account)?,
        None => pooled_by(resolved, provider, account)?,
    };
    if account.disabled {
        return Err(Refusal::Disabled);
    }
    check_provider(ask, spec, provider)?;
    check_region(spec, account.region.as_deref(), sold.offer)?;
    check_emergency(ask, spec, facts)?;
    let held = Held {
        profile: Profile::ManagedProvider,
        provider,
        regions: &|| own_or_offered(account.region.as_deref(), sold.offer),
        agreement: Some(&account.agreement),
    };
    check_policy(ask, resolved, &held)?;
    Attempt::managed(account, ask.catalogue, facts, sold.shared_model(), sold.offer, &resolved.name)
}

/// The operator's word and the project's: without both, nobody who is kept for emergencies is asked.
fn check_emergency(ask: &Ask<'_>, spec: &RouteSpec, facts: Option<&ProviderFacts>) -> Result<(), Refusal> {
    match facts {
        Some(facts) if facts.emergency_only => {
            match (ask.catalogue.takes_emergencies(), spec.emergency_allowed) {
                (false, _) => Err(Refusal::EmergencyOff),
                (true, false) => Err(Refusal::EmergencyNotAllowed),
                (true, true) => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

fn sold_by<'a>(resolved: &Resolved<'a>, provider: &str) -> Option<Sold<'a>> {
    match resolved.meaning {
        Meaning::Model { seller: Some(seller), .. } if seller != provider => None,
        Meaning::Model { model, .. } => {
            let offer = model.offer(provider)?;
            Some(Sold { upstream_model: &offer.upstream_model, offer: Some(offer) })
        }
        Meaning::AtSeller { seller, upstream_model } => {
            (seller == provider).then_some(Sold { upstream_model, offer: None })
        }
        Meaning::OnNode { .. } => None,
    }
}

/// What its owner deployed of a model, where a cloud runs those of `publisher` under its customers' names. Behind the
/// seller's prefix a deployment is found by its own name, too.
fn deployed_by<'a>(
    resolved: &Resolved<'a>,
    provider: &str,
    publisher: &str,
    hosting: &'a Hosting,
) -> Result<Sold<'a>, Refusal> {
    match resolved.meaning {
        Meaning::Model { seller: Some(seller), .. } if seller != provider => Err(Refusal::DoesNotOffer),
        Meaning::Model { model, .. } => match hosting.deployment(&[&model.full, &model.name]) {
            Some(upstream_model) => Ok(Sold { upstream_model, offer: model.offer(provider) }),
            None if model.offer(publisher).is_some() => Err(Refusal::NotDeployed),
            None => Err(Refusal::DoesNotOffer),
        },
        Meaning::AtSeller { seller, upstream_model } if seller == provider => {
            let is_own = hosting.deployments.values().any(|own| own == upstream_model);
            let named = hosting.deployment(&[upstream_model]).or_else(|| is_own.then_some(upstream_model));
            named.map(|upstream_model| Sold { upstream_model, offer: None }).ok_or(Refusal::NotDeployed)
        }
        Meaning::AtSeller { .. } | Meaning::OnNode { .. } => Err(Refusal::DoesNotOffer),
    }
}

/// What an account's operator deployed, less what its list leaves out.
fn pooled_deployment<'a>(
    resolved: &Resolved<'a>,
    provider: &str,
    publisher: &str,
    account: &'a AccountEntry,
) -> Result<Sold<'a>, Refusal> {
    let sold = deployed_by(resolved, provider, publisher, &account.hosting)?;
    let is_listed =
        |listed: &[String]| listed.iter().any(|name| *name == *resolved.name || name == sold.upstream_model);
    match account.models.as_deref() {
        Some(listed) if !is_listed(listed) => Err(Refusal::ModelNotListed),
        _ => Ok(sold),
    }
}

/// An account sells its provider's offers, less what its list leaves out, and what its list names without an offer.
fn pooled_by<'a>(
    resolved: &Resolved<'a>,
    provider: &str,
    account: &AccountEntry,
) -> Result<Sold<'a>, Refusal> {
    let sold = sold_by(resolved, provider);
    let Some(listed) = account.models.as_deref() else {
        return sold.ok_or(Refusal::DoesNotOffer);
    };
    let lists = |name: &str| listed.iter().any(|model| model == name);
    match (sold, resolved.meaning) {
        (Some(sold), _) => {
            let named = match resolved.meaning {
                Meaning::Model { model, .. } => lists(&model.full),
                Meaning::AtSeller { .. } | Meaning::OnNode { .. } => false,
            };
            if named || lists(sold.upstream_model) { Ok(sold) } else { Err(Refusal::ModelNotListed) }
        }
        (None, Meaning::Model { model, seller: None }) if lists(&model.full) => {
            Ok(Sold { upstream_model: &model.full, offer: None })
        }
        (None, _) => Err(Refusal::DoesNotOffer),
    }
}

fn check_provider(ask: &Ask<'_>, spec: &RouteSpec, provider: &str) -> Result<(), Refusal> {
    let listed = spec.providers.iter().any(|name| ask.canonical(name) == provider);
    if spec.providers.is_empty() || listed { Ok(()) } else { Err(Refusal::ProviderNotInRoute) }
}

/// What a policy looks at in a candidate.
struct Held<'a> {
    profile: Profile,
    provider: &'a str,
    /// All where it may run; empty where that is not known.
    regions: &'a dyn Fn() -> Vec<&'a str>,
    /// `None` where nothing leaves the workspace's own machines.
    agreement: Option<&'a Agreement>,
}

fn own_or_offered<'a>(own: Option<&'a str>, offer: Option<&'a Offer>) -> Vec<&'a str> {
    match (own, offer) {
        (Some(own), _) => vec![own],
        (None, Some(offer)) => offer.regions.iter().map(String::as_str).collect(),
        (None, None) => Vec::new(),
    }
}

fn is_within(allowed: &[String], regions: &[&str]) -> bool {
    !regions.is_empty() && regions.iter().all(|region| allowed.iter().any(|one| one == region))
}

/// The project's word holds over every route's. What is not known of a candidate is not allowed where it matters.
fn check_policy(ask: &Ask<'_>, resolved: &Resolved<'_>, held: &Held<'_>) -> Result<(), Refusal> {
    let Some(policy) = &ask.question.project.policy else { return Ok(()) };
    let spec = &policy.spec;
    let is_listed = |listed: &[String], name: &str| listed.iter().any(|one| one == name);
    let agreed = |holds: &dyn Fn(&Agreement) -> bool| held.agreement.is_none_or(holds);
    let checks = [
        (PolicyRule::Profiles, spec.profiles.is_empty() || spec.profiles.contains(&held.profile)),
        (PolicyRule::Providers, spec.providers.is_empty() || is_listed(&spec.providers, held.provider)),
        (PolicyRule::Models, spec.allows_model(&resolved.name)),
        (PolicyRule::Regions, spec.regions.is_empty() || is_within(&spec.regions, &(held.regions)())),
        (
            PolicyRule::Retention,
            spec.retention.is_none_or(|most| agreed(&|agreement| most.is_kept_by(agreement.retention))),
        ),
        (
            PolicyRule::Compliance,
            spec.compliance.iter().all(|tag| agreed(&|agreement| agreement.compliance.contains(tag))),
        ),
    ];
    match checks.into_iter().find(|(_, holds)| !holds) {
        Some((rule, _)) => Err(Refusal::PolicyForbids { rule }),
        None => Ok(()),
    }
}

/// What does not say where it runs may run anywhere, so a route that allows certain regions does not allow it.
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
