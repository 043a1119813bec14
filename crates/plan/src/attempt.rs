//! One planned attempt, and the seat that it uses. Only the constructors here make one, so that a BYOK
//! attempt can't use another workspace's credential or go to another provider than that credential's own.

use std::sync::Arc;

use board::SeatKey;
use catalogue::{Catalogue, Fees, LongPrompt, Offer, ProviderFacts, TierPrice, TierRates};
use domain::{
    Commitment, FallbackClass, Hosting, OverflowReason, PriceTerms, Principal, Profile, Rates, Subscription,
    SubscriptionId, Tier, Usage, hosting,
};
use snapshot::{AccountEntry, CredentialEntry, NodeEntry, WorkspaceEntry};

use crate::question::PlanQuery;
use crate::reason::Refusal;

/// The value of `Agent-Resolved-Provider` for a node.
const NODE_PROVIDER: &str = "byoc";

/// The credential, account or node that an attempt uses.
#[derive(Debug, Clone)]
pub enum Seat {
    /// A credential of the workspace's own, also one of a subscription.
    Byok(Arc<CredentialEntry>),
    Managed(Arc<AccountEntry>),
    Byoc(Arc<NodeEntry>),
}

impl Seat {
    pub fn principal(&self) -> Principal {
        match self {
            Self::Byok(credential) => credential.principal(),
            Self::Managed(account) => Principal::Account(account.id),
            Self::Byoc(node) => Principal::Node(node.id),
        }
    }

    pub fn profile(&self) -> Profile {
        self.principal().profile()
    }

    /// The hosting config that its owner set, apart from the address.
    pub fn hosting(&self) -> &Hosting {
        match self {
            Self::Byok(credential) => &credential.hosting,
            Self::Managed(account) => &account.hosting,
            Self::Byoc(_) => &hosting::PLAIN,
        }
    }

    /// The name that its owner gave it.
    pub fn display_name(&self) -> &str {
        match self {
            Self::Byok(credential) => &credential.display_name,
            Self::Managed(account) => &account.display_name,
            Self::Byoc(node) => &node.name,
        }
    }

    /// The prices that its owner states.
    pub fn pricing(&self) -> &[(String, Rates)] {
        match self {
            Self::Byok(credential) => &credential.pricing,
            Self::Managed(account) => &account.pricing,
            Self::Byoc(_) => &[],
        }
    }

    /// The provider as it was stored; `byoc` for a node.
    pub fn provider(&self) -> &str {
        match self {
            Self::Byok(credential) => &credential.provider,
            Self::Managed(account) => &account.provider,
            Self::Byoc(_) => NODE_PROVIDER,
        }
    }
}

/// One planned attempt: where it goes, under which model name, and at which prices.
#[derive(Debug, Clone)]
pub struct Attempt {
    seat: Seat,
    provider: Arc<str>,
    upstream_model: Arc<str>,
    /// The model's own name, where the upstream model is another name than the provider's for it: a
    /// deployment's or a release's.
    known_as: Option<Arc<str>>,
    base_url: Arc<str>,
    region: Option<Arc<str>>,
    rates: Option<Rates>,
    /// The rates are its owner's, and the catalogue's price does not count.
    has_own_rates: bool,
    /// Boxed: few providers charge more for long prompts.
    long_prompt: Option<Box<LongPrompt>>,
    tiers: Option<Arc<[TierPrice]>>,
    fees: Fees,
    markup_bps: u32,
    reports_usage: bool,
    is_fallback: bool,
    is_after_nodes: bool,
    /// What the plan found that lets the request begin with a fallback.
    planned_on: Option<FallbackClass>,
    is_emergency: bool,
    drops_hosted_tools: bool,
    overflow: Option<OverflowReason>,
    /// What a subscription saves beside the list, in per cent.
    discount_pct: u8,
    /// The full name of its model, where that is not the one that the request names.
    fallback_model: Option<Arc<str>>,
}

/// The tier prices of the model, or else of the whole provider.
fn tiers(facts: &ProviderFacts, offer: Option<&Offer>) -> Option<Arc<[TierPrice]>> {
    let tiers = offer.map_or(&facts.tiers, |offer| &offer.tiers);
    (!tiers.is_empty()).then(|| Arc::clone(tiers))
}

/// The rates less what a subscription saves.
fn discounted(rates: Option<Rates>, discount_pct: u8) -> Option<Rates> {
    rates.map(|rates| match discount_pct {
        0 => rates,
        _ => rates.percent(u16::from(100_u8.saturating_sub(discount_pct))),
    })
}

fn discounted_long_prompt(offer: Option<&Offer>, discount_pct: u8) -> Option<Box<LongPrompt>> {
    let mut long = long_prompt(offer)?;
    long.rates = discounted(Some(long.rates), discount_pct)?;
    Some(long)
}

fn long_prompt(offer: Option<&Offer>) -> Option<Box<LongPrompt>> {
    offer?.long_prompt.map(Box::new)
}

impl Attempt {
    /// An attempt on a customer's credential, under BYOK or of a subscription. `known` is the catalogue's entry for its provider. The address
    /// is the credential's, else its provider's own; no caller can pass another one in.
    pub(crate) fn byok(
        workspace: &WorkspaceEntry,
        credential: &Arc<CredentialEntry>,
        catalogue: &Catalogue,
        known: Option<&ProviderFacts>,
        upstream_model: Arc<str>,
        offer: Option<&Offer>,
        full_name: &str,
    ) -> Result<Self, Refusal> {
        if credential.workspace != workspace.id {
            return Err(Refusal::OutOfScope);
        }
        let facts = known.or_else(|| catalogue.facts(&credential.provider)).ok_or(Refusal::NotInBuild)?;
        if facts.emergency_only {
            return Err(Refusal::EmergencyOnly);
        }
        usable(facts, facts.byok)?;
        let own = own_rates(&credential.pricing, full_name, &upstream_model);
        let discount_pct = credential.subscription.as_ref().map_or(0, |stated| stated.discount_pct);
        Ok(Self {
            discount_pct,
            fallback_model: None,
            provider: slug(known, &credential.provider),
            known_as: known_as(facts, offer, &upstream_model, full_name),
            upstream_model,
            base_url: address(credential.base_url.as_ref(), facts, &credential.hosting)?,
            region: credential.region.clone(),
            // The customer's own prices hold for prompts of any length.
            rates: own.or_else(|| discounted(offer?.rates, discount_pct)),
            has_own_rates: own.is_some(),
            long_prompt: if own.is_none() { discounted_long_prompt(offer, discount_pct) } else { None },
            tiers: tiers(facts, offer),
            fees: Fees::of(&facts.fees),
            markup_bps: 0,
            reports_usage: facts.reports_usage,
            is_fallback: false,
            is_after_nodes: false,
            planned_on: None,
            is_emergency: false,
            drops_hosted_tools: false,
            overflow: None,
            seat: Seat::Byok(Arc::clone(credential)),
        })
    }

    /// An attempt on one of the operator's accounts, which needs a known price.
    pub(crate) fn managed(
        account: &Arc<AccountEntry>,
        catalogue: &Catalogue,
        known: Option<&ProviderFacts>,
        upstream_model: Arc<str>,
        offer: Option<&Offer>,
        full_name: &str,
        question: &PlanQuery<'_>,
    ) -> Result<Self, Refusal> {
        let facts = known.or_else(|| catalogue.facts(&account.provider)).ok_or(Refusal::NotInBuild)?;
        usable(facts, facts.managed)?;
        let own = own_rates(&account.pricing, full_name, &upstream_model);
        let rates = own.or_else(|| offer?.rates);
        if rates.is_none() && !account.allow_unpriced && !question.needs.is_of_stored_file {
            return Err(Refusal::Unpriced);
        }
        let attempt = Self {
            provider: slug(known, &account.provider),
            known_as: known_as(facts, offer, &upstream_model, full_name),
            upstream_model,
            base_url: address(account.base_url.as_ref(), facts, &account.hosting)?,
            region: account.region.clone(),
            rates,
            has_own_rates: own.is_some(),
            long_prompt: if own.is_none() { long_prompt(offer) } else { None },
            tiers: tiers(facts, offer),
            fees: Fees::of(&facts.fees),
            markup_bps: account.markup_bps,
            reports_usage: facts.reports_usage,
            is_fallback: false,
            is_after_nodes: false,
            planned_on: None,
            is_emergency: facts.emergency_only,
            drops_hosted_tools: false,
            overflow: None,
            discount_pct: 0,
            fallback_model: None,
            seat: Seat::Managed(Arc::clone(account)),
        };
        let stores = question.needs.stores_prompt && !account.allow_unpriced;
        if stores && rates.is_none_or(|rates| rates.units.cache_token_hour.is_none()) {
            return Err(Refusal::StorageUnpriced);
        }
        if !question.terms.is_none() && !account.allow_unpriced {
            attempt.check_priced(catalogue, question)?;
        }
        Ok(attempt)
    }

    /// Checks that the prices of the requested tier and of each hosted tool that may run are known.
    fn check_priced(&self, catalogue: &Catalogue, question: &PlanQuery<'_>) -> Result<(), Refusal> {
        let PriceTerms { tier, hosted } = question.terms;
        let known = catalogue.capabilities().provider(&self.provider);
        // A translation drops the hosted tools of other providers, and tiers that
        // this one is known not to have.
        let is_translated =
            known.is_some_and(|known| !known.grammars().contains(&question.dialect.grammar()));
        let words = known.and_then(|known| known.service_tiers(self.known_model()));
        let words = words.filter(|_| is_translated);
        let takes =
            |tier| words.is_none_or(|words| words.iter().any(|word| Tier::from_word(word) == Some(tier)));
        if let Some(tier) = tier.filter(|tier| self.rates_at(Some(*tier), 0).is_none() && takes(*tier)) {
            return Err(Refusal::TierUnpriced { tier });
        }
        match hosted.iter().find(|tool| !is_translated && !self.fees.has_price_for(*tool)) {
            Some(tool) => Err(Refusal::ToolUnpriced { tool }),
            None => Ok(()),
        }
    }

    /// An attempt on a customer's node: no token price.
    pub(crate) fn byoc(
        workspace: &WorkspaceEntry,
        node: &Arc<NodeEntry>,
        upstream_model: &str,
    ) -> Result<Self, Refusal> {
        if node.workspace != workspace.id {
            return Err(Refusal::OutOfScope);
        }
        Ok(Self {
            provider: NODE_PROVIDER.into(),
            upstream_model: upstream_model.into(),
            known_as: None,
            base_url: Arc::clone(&node.base_url),
            region: None,
            rates: None,
            has_own_rates: false,
            long_prompt: None,
            tiers: None,
            fees: Fees::default(),
            markup_bps: 0,
            reports_usage: true,
            is_fallback: false,
            is_after_nodes: false,
            planned_on: None,
            is_emergency: false,
            drops_hosted_tools: false,
            overflow: None,
            discount_pct: 0,
            fallback_model: None,
            seat: Seat::Byoc(Arc::clone(node)),
        })
    }

    pub(crate) fn into_seat(self) -> Seat {
        self.seat
    }

    /// For what exceeds the customer's own capacity.
    pub(crate) fn into_overflow(mut self, reason: OverflowReason) -> Self {
        self.overflow = Some(reason);
        self
    }

    pub(crate) fn into_fallback(mut self) -> Self {
        self.is_fallback = true;
        self
    }

    /// For what the nodes of the request's route do not serve.
    pub(crate) fn into_after_nodes(mut self) -> Self {
        self.is_after_nodes = true;
        self
    }

    /// Made without an attempt on what it is a fallback for, for this reason.
    pub(crate) fn planned_on(mut self, class: FallbackClass) -> Self {
        self.planned_on = Some(class);
        self
    }

    /// Its route drops the tools of providers that the target lacks.
    pub(crate) const fn drop_hosted_tools(&mut self) {
        self.drops_hosted_tools = true;
    }

    /// For another model than the one that the request names.
    pub(crate) fn with_fallback_model(mut self, model: Arc<str>) -> Self {
        self.fallback_model = Some(model);
        self
    }

    /// The full name of its model, where that is not the one that the request names.
    pub const fn fallback_model(&self) -> Option<&Arc<str>> {
        self.fallback_model.as_ref()
    }

    /// Whether one of the workspace's nodes is asked.
    pub const fn is_node(&self) -> bool {
        matches!(self.seat, Seat::Byoc(_))
    }

    pub const fn seat(&self) -> &Seat {
        &self.seat
    }

    pub fn principal(&self) -> Principal {
        self.seat.principal()
    }

    pub fn profile(&self) -> Profile {
        self.seat.profile()
    }

    /// The seat as the board keeps state for it.
    pub fn seat_key(&self) -> SeatKey<'_> {
        let (owner, secret_version, limits) = match &self.seat {
            Seat::Byok(one) => (Some(one.workspace), one.sealed.version, Some(&one.agreement.limits)),
            Seat::Managed(one) => (None, one.sealed.version, Some(&one.agreement.limits)),
            Seat::Byoc(one) => {
                (Some(one.workspace), one.sealed.as_ref().map_or(0, |sealed| sealed.version), None)
            }
        };
        SeatKey {
            principal: self.principal(),
            model: &self.upstream_model,
            secret_version,
            owner,
            provider: &self.provider,
            base_url: &self.base_url,
            region: self.region.as_deref(),
            limits: limits.and_then(SeatKey::pacing),
        }
    }

    /// The provider's slug; `byoc` for a node.
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// The same as `provider`, to hold on to.
    pub const fn provider_shared(&self) -> &Arc<str> {
        &self.provider
    }

    /// The same as `upstream_model`, to hold on to.
    pub const fn upstream_model_shared(&self) -> &Arc<str> {
        &self.upstream_model
    }

    /// The same as `region`, to hold on to.
    pub const fn region_shared(&self) -> Option<&Arc<str>> {
        self.region.as_ref()
    }

    /// The model's name at that provider.
    pub fn upstream_model(&self) -> &str {
        &self.upstream_model
    }

    /// The model's name in the capability manifest.
    pub fn known_model(&self) -> &str {
        self.known_as.as_deref().unwrap_or(&self.upstream_model)
    }

    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    pub fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// `None` if unpriced, or a node.
    pub const fn rates(&self) -> Option<Rates> {
        self.rates
    }

    pub const fn asks_more_for_long_prompts(&self) -> bool {
        self.long_prompt.is_some()
    }

    /// The prices of a request whose prompt has this many tokens.
    pub fn rates_for(&self, prompt_tokens: u64) -> Option<Rates> {
        match &self.long_prompt {
            Some(long) if prompt_tokens > long.above_tokens => Some(long.rates),
            _ => self.rates,
        }
    }

    /// The same at a tier, the standard one if none is named; `None` if its price is not known.
    fn rates_at(&self, tier: Option<Tier>, prompt_tokens: u64) -> Option<Rates> {
        let standard = self.rates_for(prompt_tokens)?;
        let Some(tier) = tier.filter(|tier| *tier != Tier::Standard) else { return Some(standard) };
        let found = self.tiers.as_deref()?.iter().find(|price| price.tier == tier)?;
        match found.price {
            TierRates::Percent(percent) => Some(standard.percent(percent)),
            TierRates::Rates(rates) if !self.has_own_rates && self.rates == Some(standard) => {
                discounted(Some(rates), self.discount_pct)
            }
            TierRates::Rates(_) => None,
        }
    }

    /// The prices of a request on these terms, for a prompt of this many tokens; those of a shorter prompt if
    /// the tier has no prices for long ones.
    pub fn rates_on(&self, terms: PriceTerms, prompt_tokens: u64) -> Option<Rates> {
        let rates = self.rates_at(terms.tier, prompt_tokens).or_else(|| self.rates_at(terms.tier, 0))?;
        Some(if terms.hosted.is_none() { rates } else { self.fees.beside(rates) })
    }

    /// The prices of what was used.
    pub fn rates_of(&self, usage: &Usage) -> Option<Rates> {
        let rates = self.rates_at(usage.tier, usage.prompt_total())?;
        Some(if usage.units.has_hosted_calls() { self.fees.beside(rates) } else { rates })
    }

    pub const fn markup_bps(&self) -> u32 {
        self.markup_bps
    }

    /// Whether a stream may be asked to report its usage.
    pub const fn reports_usage(&self) -> bool {
        self.reports_usage
    }

    /// The commitment of its credential.
    pub fn commitment(&self) -> Option<Commitment> {
        match &self.seat {
            Seat::Byok(credential) => credential.agreement.commitment,
            Seat::Managed(_) | Seat::Byoc(_) => None,
        }
    }

    /// Whether its provider was paid for capacity ahead, or reserves some for it.
    pub fn has_capacity_of_its_own(&self) -> bool {
        match &self.seat {
            Seat::Byok(credential) => {
                let agreement = &credential.agreement;
                agreement.commitment.is_some() || agreement.limits.reserved_units.is_some()
            }
            Seat::Managed(_) | Seat::Byoc(_) => false,
        }
    }

    /// Whether its owner stated limits, so that an exceeded quota is lack of capacity.
    pub fn states_limits(&self) -> bool {
        match &self.seat {
            Seat::Byok(credential) => {
                let limits = credential.agreement.limits.named();
                credential.agreement.commitment.is_some() || limits.iter().any(|(_, limit)| limit.is_some())
            }
            Seat::Managed(_) | Seat::Byoc(_) => false,
        }
    }

    /// Why it is tried if it is: set where it takes what exceeds the customer's own capacity.
    pub const fn overflow(&self) -> Option<OverflowReason> {
        self.overflow
    }

    /// The subscription that it uses; `None` under every other profile.
    pub fn subscription(&self) -> Option<(SubscriptionId, &Subscription)> {
        match (&self.seat, self.principal()) {
            (Seat::Byok(credential), Principal::Subscription(id)) => {
                credential.subscription.as_deref().map(|stated| (id, stated))
            }
            _ => None,
        }
    }

    /// Tried only after one of the customer's own credentials failed, and if the route allows it.
    pub const fn is_fallback(&self) -> bool {
        self.is_fallback
    }

    /// Tried only after the nodes of its route: it has another profile, which the route lists after theirs.
    pub const fn is_after_nodes(&self) -> bool {
        self.is_after_nodes
    }

    /// Why the plan itself left what this is a fallback for; `None` where an attempt finds out.
    pub const fn left_in_plan_on(&self) -> Option<FallbackClass> {
        self.planned_on
    }

    /// Whether tools of a provider's own that the target lacks are dropped.
    pub const fn drops_hosted_tools(&self) -> bool {
        self.drops_hosted_tools
    }

    /// Reserved for when all others of the pool have failed.
    pub const fn is_emergency(&self) -> bool {
        self.is_emergency
    }
}

fn known_as(
    facts: &ProviderFacts,
    offer: Option<&Offer>,
    upstream_model: &str,
    full_name: &str,
) -> Option<Arc<str>> {
    let is_other = offer.is_some_and(|offer| *offer.upstream_model != *upstream_model);
    (facts.models_of.is_some() || is_other).then(|| full_name.into())
}

/// The owner's own price for a model, under its full name or the provider's.
fn own_rates(pricing: &[(String, Rates)], full_name: &str, upstream_model: &str) -> Option<Rates> {
    let own = pricing.iter().find(|(name, _)| name == full_name || name == upstream_model);
    own.map(|(_, rates)| *rates)
}

fn usable(facts: &ProviderFacts, takes_profile: bool) -> Result<(), Refusal> {
    if !facts.available {
        return Err(Refusal::NotInBuild);
    }
    if takes_profile { Ok(()) } else { Err(Refusal::ProfileNotTaken) }
}

fn address(own: Option<&Arc<str>>, facts: &ProviderFacts, hosting: &Hosting) -> Result<Arc<str>, Refusal> {
    match own {
        Some(own) => Ok(Arc::clone(own)),
        None => facts.address(hosting).map(Arc::from).map_err(|_| Refusal::NoAddress),
    }
}

/// The canonical slug, or that of a workspace's own server.
fn slug(known: Option<&ProviderFacts>, provider: &Arc<str>) -> Arc<str> {
    match known {
        Some(facts) if *facts.slug != **provider => facts.slug.as_str().into(),
        _ => Arc::clone(provider),
    }
}
