//! Beginnings of prompts that the gateway has their provider cache by name, where that pays: which of them a request goes on
//! from, which one is ordered, and what is learnt from the answer. A beginning belongs to a project, and to the credential or
//! account that has it.

use std::fmt::Write as _;
use std::sync::Arc;

use board::{CachedContext, ContextKey, ContextUse, PrefixTable};
use bytes::Bytes;
use conversation::divide::NewCache;
use dialects::{Divided, PromptCut, divide_prompt};
use domain::limits::{CONTEXT_CACHE_MARGIN, CONTEXTS_PER_PROMPT_MAX};
use domain::{CacheMode, FaultClass, Grammar, Operation, Profile, SideCallPurpose, Usage, UsageSource};
use plan::Attempt;

use crate::context_order::ContextOrder;
use crate::context_worth::{ContextPrices, ContextWorth};
use crate::exchange::Exchange;
use crate::failure::AttemptFailure;
use crate::side_request::SideRequest;

const SECOND_US: u64 = 1_000_000;
/// The usual estimate; the provider reports the true count.
const BYTES_A_TOKEN: u64 = 4;
/// What fingerprints leave out: the names of members, the configuration of tools and the workspace's own line.
const UNSEEN_BYTES: u64 = 256;

/// What was found out about one request.
pub(crate) struct FoundContext {
    /// The request with a cache in the place of its beginning.
    pub body: Option<Bytes>,
    /// The tokens of the cache that is used, or would be worth it.
    pub tokens: Option<u64>,
    pub care: ContextCare,
}

/// What an attempt has to do with caches by name, until its answer is over.
pub(crate) struct ContextCare {
    table: Arc<PrefixTable>,
    cuts: Vec<(ContextKey, PromptCut)>,
    prompt_bytes: u64,
    used: Option<(ContextKey, Arc<str>)>,
    order: Option<Box<ContextOrder>>,
}

/// What is known before the request is looked at.
pub(crate) struct ContextSearch<'a> {
    pub exchange: &'a Exchange,
    pub attempt: &'a Attempt,
    pub grammar: Grammar,
    pub tokens_min: u64,
    /// The length of the longest beginning that came before, by the fingerprints of its values.
    pub seen_bytes: u64,
    /// It is changed, and not only looked at.
    pub is_applied: bool,
}

impl Exchange {
    /// Whether the project has beginnings cached by name at a seat of this profile.
    pub(crate) fn keeps_contexts(&self, profile: Profile) -> bool {
        let (project, workspace) = (self.caller.project(), self.caller.workspace());
        project.caching.or(&workspace.caching).mode(profile) == CacheMode::Apply
            && self.caller.lets_providers_store()
    }

    /// Whether the gateway may have prefixes of this request kept, beyond what its own answer needs.
    pub(crate) fn may_keep_prefixes(&self) -> bool {
        self.caller.lets_providers_store()
            && !self.call.forbids_storage()
            // Whose files may be named is decided for each request anew.
            && self.call.request().files.is_empty()
    }
}

impl ContextSearch<'_> {
    /// `None` where no beginning of the request came before.
    pub(crate) fn run(self, body: &[u8]) -> Option<FoundContext> {
        let divided = divide_prompt(self.grammar, body)?;
        let (exchange, now_us) = (self.exchange, self.exchange.now_us());
        let table = exchange.deps.board.prefixes(exchange.caller.workspace().id, now_us);
        let cuts = self.recurring(&divided);
        if cuts.is_empty() {
            return None;
        }
        let prompt_bytes = divided.bytes();
        let mut care = ContextCare { table, cuts, prompt_bytes, used: None, order: None };
        let (mut body, mut tokens) = (None, None);
        let found = if self.is_applied { self.cached(&care, &divided) } else { None };
        if let Some((key, cut, cached)) = found {
            body = Some(divided.rest(cut, &cached.id));
            tokens = Some(cached.tokens);
            care.used = Some((key, cached.id));
        }
        if let Some((key, cut, worth, length)) = self.worthwhile(&care) {
            if self.is_applied {
                care.order = Some(Box::new(self.order(&care, &divided, (key, cut), worth)));
            } else {
                tokens = Some(length);
            }
        }
        Some(FoundContext { body, tokens, care })
    }

    /// The beginnings that came before: the shortest, and the longest of the others.
    fn recurring(&self, divided: &Divided<'_>) -> Vec<(ContextKey, PromptCut)> {
        let is_recurring = |cut: &&PromptCut| {
            cut.bytes / BYTES_A_TOKEN >= self.tokens_min && cut.bytes <= self.seen_bytes + UNSEEN_BYTES
        };
        let recurring: Vec<_> = divided.cuts().iter().filter(is_recurring).collect();
        let surplus = recurring.len().saturating_sub(CONTEXTS_PER_PROMPT_MAX);
        let scanned =
            recurring.into_iter().enumerate().filter(|(number, _)| *number == 0 || *number > surplus);
        scanned.map(|(_, cut)| (self.key(cut), *cut)).collect()
    }

    fn key(&self, cut: &PromptCut) -> ContextKey {
        ContextKey(cut.fingerprint ^ self.exchange.prefix_owner(self.attempt))
    }

    /// The longest beginning that is cached.
    fn cached(
        &self,
        care: &ContextCare,
        divided: &Divided<'_>,
    ) -> Option<(ContextKey, PromptCut, CachedContext)> {
        let margin_ms = u64::try_from(CONTEXT_CACHE_MARGIN.as_millis()).unwrap_or(u64::MAX);
        let soon = self.exchange.deps.world.clock.unix_ms().saturating_add(margin_ms);
        let longest_first = care.cuts.iter().rev();
        let (number, cached) =
            care.table.contexts().find(longest_first.clone().map(|(key, _)| *key), soon)?;
        let (key, cut) = longest_first.clone().nth(number)?;
        (self.digest(divided, *cut) == cached.digest).then_some((*key, *cut, cached))
    }

    /// The beginning for which a cache pays best, the longer one of two that pay the same, and its tokens.
    fn worthwhile(&self, care: &ContextCare) -> Option<(ContextKey, PromptCut, ContextWorth, u64)> {
        let now_unix_ms = self.exchange.deps.world.clock.unix_ms();
        let now_s = self.exchange.now_us() / SECOND_US;
        let terms = self.exchange.call.request().terms;
        let worth_of = |(key, cut): &(ContextKey, PromptCut)| {
            let uses = care.table.contexts().uses(*key, now_unix_ms);
            let tokens = uses.last()?.tokens;
            let prices = ContextPrices::of(self.attempt.rates_on(terms, tokens)?)?;
            let worth = prices.worth(tokens, &uses, now_s).filter(|_| tokens >= self.tokens_min)?;
            Some((*key, *cut, worth, tokens))
        };
        care.cuts.iter().filter_map(worth_of).max_by_key(|(_, cut, worth, _)| (worth.per_hour, cut.bytes))
    }

    fn order(
        &self,
        care: &ContextCare,
        divided: &Divided<'_>,
        (key, cut): (ContextKey, PromptCut),
        worth: ContextWorth,
    ) -> ContextOrder {
        let (exchange, attempt) = (self.exchange, self.attempt);
        let new = NewCache { model: exchange.model_of(attempt), ttl_s: worth.ttl_s };
        let (purpose, operation) = (SideCallPurpose::ContextCache, Operation::CachedContent);
        let request = SideRequest::beside(exchange, attempt, purpose, divided.dialect(), operation);
        ContextOrder {
            table: Arc::clone(&care.table),
            key,
            request: SideRequest { body: divided.cache(cut, new), ..request },
            digest: self.digest(divided, cut),
            ttl_s: worth.ttl_s,
        }
    }

    /// Of the whole beginning, and of whom it belongs to. The fingerprint alone would be the same for some other prompt.
    fn digest(&self, divided: &Divided<'_>, cut: PromptCut) -> [u8; 32] {
        let (caller, attempt) = (&self.exchange.caller, self.attempt);
        let mut text = format!(
            "context {} {} {} {} {}\n",
            caller.workspace().id,
            caller.project().id,
            attempt.principal(),
            attempt.base_url(),
            attempt.upstream_model()
        );
        for piece in divided.prefix(cut) {
            let _infallible = writeln!(text, "{}", piece.len());
            text.push_str(&String::from_utf8_lossy(piece));
        }
        caller.snapshot().context_digest(&text)
    }
}

impl ContextCare {
    pub(crate) fn take_order(&mut self) -> Option<Box<ContextOrder>> {
        self.order.take()
    }

    /// The answer is over: what of each beginning came from no cache is remembered, as far as its provider says.
    pub(crate) fn learn(&self, usage: &Usage, now_us: u64) {
        if let Some((key, _)) = &self.used {
            self.table.contexts().accepted(*key);
        }
        let prompt_tokens = usage.prompt_total();
        if usage.source != UsageSource::Provider || prompt_tokens == 0 {
            return;
        }
        let at_s = now_us / SECOND_US;
        self.table.contexts().note(self.cuts.iter().map(|(key, cut)| {
            let share =
                u128::from(prompt_tokens) * u128::from(cut.bytes) / u128::from(self.prompt_bytes.max(1));
            let tokens = u64::try_from(share).unwrap_or(u64::MAX);
            let missed_tokens = tokens.saturating_sub(usage.cached_read);
            (*key, ContextUse { at_s, tokens, missed_tokens })
        }));
    }

    /// Whether the attempt failed for the cache that it went on from, as far as that can be told: the same request without it
    /// may succeed.
    pub(crate) fn is_refused(&self, failure: &AttemptFailure) -> bool {
        let (Some((key, id)), Some(_)) = (&self.used, failure.status) else { return false };
        let is_gone = match failure.class() {
            FaultClass::UpstreamNotFound | FaultClass::UpstreamPermission | FaultClass::NotFound => true,
            FaultClass::BadRequest | FaultClass::Unsupported => false,
            _ => return false,
        };
        self.table.contexts().refused(*key, id, is_gone);
        true
    }
}

domain::brief_debug!(ContextCare, |it| used = it.used.is_some());
