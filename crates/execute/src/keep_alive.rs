//! Keeps marked prefixes in their provider's cache while a return is likely: watches what becomes of each after its
//! request, and has it read again shortly before it expires, where that pays.

use std::sync::Arc;
use std::time::Duration;

use board::{ExpiringPrefix, PrefixTable, RepeatedPrompt, WatchedDue, WatchedGroup, WatchedKey, prefix_at};
use bytes::Bytes;
use conversation::repeat::RepeatedPrefix;
use domain::limits::KEEP_ALIVE_MARGIN;
use domain::timeline::micros;
use domain::{Grammar, Operation, SideCallPurpose, Usage, UsageSource};
use plan::Attempt;

use crate::Deps;
use crate::caching::model_hash;
use crate::exchange::Exchange;
use crate::keep_alive_worth::{RefreshPrices, RefreshSize};
use crate::side_request::SideRequest;

/// The usual estimate; the provider reports the true count.
const BYTES_A_TOKEN: u64 = 4;

/// The longest prefix of a request that has a mark of ours.
#[derive(Debug, Clone)]
pub(crate) struct MarkedPrefix {
    pub fingerprint: u64,
    pub bytes: u64,
    pub turns: usize,
    /// Whether it is what conversations have in common, whose gaps are others than those within one.
    pub is_head: bool,
    /// The fingerprints of this prefix and those in it.
    pub within: Vec<u64>,
}

/// What an attempt has to do with the prefix that it marked, until its answer is over.
pub(crate) struct KeepAliveCare {
    table: Arc<PrefixTable>,
    key: WatchedKey,
    board: Arc<board::Shared>,
    used_us: u64,
    /// What would be sent again; `None` if that is not worth holding.
    prompt: Option<RepeatedPrompt>,
    keep_alive: Option<Box<KeepAlive>>,
}

/// A prefix that is to be looked after, beside the requests.
pub struct KeepAlive {
    table: Arc<PrefixTable>,
    key: WatchedKey,
    lifetime: Duration,
    /// The prefix and those in it, as their sights are counted: for the workspace, and at the principal.
    sights: Vec<u64>,
    prices: RefreshPrices,
    grammar: Grammar,
    /// The request without its body, which is held only while it may pay.
    request: SideRequest,
}

/// What is known when an attempt is written.
pub(crate) struct PrefixUse<'a> {
    pub exchange: &'a Exchange,
    pub attempt: &'a Attempt,
    pub grammar: Grammar,
    pub lifetime: Duration,
    pub prefix: MarkedPrefix,
}

/// The key of a prefix for this project and principal.
pub(crate) fn key(exchange: &Exchange, attempt: &Attempt, fingerprint: u64) -> WatchedKey {
    WatchedKey(fingerprint ^ exchange.prefix_owner(attempt))
}

impl PrefixUse<'_> {
    /// Watches the prefix from the end of the answer on. `marked` writes the request with its marks. `None` where nobody
    /// could tell what a refresh costs.
    pub(crate) fn watch(self, marked: impl FnOnce() -> Bytes) -> Option<KeepAliveCare> {
        let Self { exchange, attempt, grammar, lifetime, prefix } = self;
        let used_us = exchange.now_us();
        let table = exchange.deps.board.prefixes(exchange.caller.workspace().id, used_us);
        let estimate = prefix.bytes / BYTES_A_TOKEN;
        let prices = RefreshPrices::of(attempt.rates_on(exchange.call.request().terms, estimate)?)?;
        let owner = exchange.prefix_owner(attempt);
        let (key, group) =
            (WatchedKey(prefix.fingerprint ^ owner), WatchedGroup(owner ^ u64::from(prefix.is_head)));
        // Nothing is copied before prefixes of this kind are known to come back.
        let may_pay = table.keep_alive().first_rate(group, used_us);
        let may_pay =
            may_pay.is_some_and(|rate| prices.pays(RefreshSize { cached: estimate, rest: 0 }, rate));
        let repeat = if may_pay {
            let model = exchange.model_of(attempt);
            let repeated = RepeatedPrefix { body: &marked(), turns: prefix.turns, model };
            dialects::repeat_prefix(grammar, repeated)
        } else {
            None
        };
        let prompt = repeat.map(|repeat| RepeatedPrompt {
            body: repeat.body.into(),
            rest_tokens: repeat.rest_bytes.div_ceil(BYTES_A_TOKEN),
            parent: exchange.trace(),
        });
        let is_new = table.keep_alive().enlist(key, group, micros(period(lifetime)), used_us);
        let keep_alive = is_new.then(|| {
            Box::new(KeepAlive {
                table: Arc::clone(&table),
                key,
                lifetime,
                sights: sights(attempt, &prefix),
                prices,
                grammar,
                request: request(exchange, attempt, grammar),
            })
        });
        let board = Arc::clone(exchange.deps.board.shared());
        Some(KeepAliveCare { table, key, board, used_us, prompt, keep_alive })
    }
}

/// The sights that a refresh lengthens.
fn sights(attempt: &Attempt, prefix: &MarkedPrefix) -> Vec<u64> {
    let model = model_hash(attempt);
    let at_principal = |fingerprint| prefix_at(fingerprint, attempt.principal(), attempt.upstream_model());
    prefix.within.iter().flat_map(|fingerprint| [fingerprint ^ model, at_principal(*fingerprint)]).collect()
}

fn request(exchange: &Exchange, attempt: &Attempt, grammar: Grammar) -> SideRequest {
    let is_native = exchange.dialect().grammar() == grammar;
    let headers = if is_native { exchange.call.native_headers().to_vec() } else { Vec::new() };
    let purpose = SideCallPurpose::CacheKeepAlive;
    let request = SideRequest::beside(exchange, attempt, purpose, grammar.dialect(), Operation::Chat);
    SideRequest { headers, ..request }
}

impl KeepAliveCare {
    /// What looks after the prefix, unless something does already.
    pub(crate) fn take(&mut self) -> Option<Box<KeepAlive>> {
        self.keep_alive.take()
    }

    /// The answer is over: what its provider has of the prefix is as much as it reports.
    pub(crate) fn learn(&mut self, usage: &Usage) {
        let tokens = usage.cached_read.saturating_add(usage.cache_write);
        if usage.source != UsageSource::Provider || tokens == 0 {
            return;
        }
        let prompt = self.prompt.take().and_then(|prompt| self.board.hold_prompt(prompt));
        self.table.keep_alive().used(self.key, self.used_us, tokens, prompt);
    }
}

impl KeepAlive {
    /// Looks after the prefix beside the requests, until it was away for long. `refresh` sends a request, and returns the
    /// provider's answer to it; `None` if there was none.
    pub fn run(self: Box<Self>, deps: &Deps, refresh: impl AsyncFn(&SideRequest) -> Option<Bytes> + 'static) {
        let deps = deps.clone();
        tasks::spawn_on_core(async move {
            let mut this = self;
            loop {
                let now_us = deps.now_us();
                match this.table.keep_alive().due(this.key, now_us) {
                    WatchedDue::Over => return,
                    WatchedDue::At { us } => {
                        tokio::time::sleep(Duration::from_micros(us.saturating_sub(now_us))).await;
                    }
                    WatchedDue::Now(expiring) => this.decide(expiring, &deps, &refresh).await,
                }
            }
        });
    }

    async fn decide(
        &mut self,
        expiring: ExpiringPrefix,
        deps: &Deps,
        refresh: &impl AsyncFn(&SideRequest) -> Option<Bytes>,
    ) {
        let (table, key) = (Arc::clone(&self.table), self.key);
        let pays = |prompt: &RepeatedPrompt| {
            let size = RefreshSize { cached: expiring.tokens, rest: prompt.rest_tokens };
            expiring.rate.is_some_and(|rate| self.prices.pays(size, rate))
        };
        let begin = |prompt| Some((prompt, deps.board.shared().begin_refresh()?));
        let Some((prompt, running)) = expiring.prompt.filter(pays).and_then(begin) else {
            return table.keep_alive().left(key);
        };
        let sent_us = deps.now_us();
        self.request.side_call.parent = prompt.parent;
        self.request.body = prompt.body;
        let answer = refresh(&self.request).await;
        self.request.body = Bytes::new();
        drop(running);
        let Some(answer) = answer else { return table.keep_alive().left(key) };
        match dialects::cached_tokens_of_repeat(self.grammar, &answer) {
            Some(1..) => {
                table.keep_alive().refreshed(key);
                self.sights.iter().for_each(|sight| table.refresh(*sight, self.lifetime, sent_us));
            }
            Some(0) | None => table.keep_alive().missed(key, sent_us),
        }
    }
}

/// Its request failed, or its core ends: nobody else looks after the prefix.
impl Drop for KeepAlive {
    fn drop(&mut self) {
        self.table.keep_alive().forget(self.key);
    }
}

/// How long after a read the next one is due.
fn period(lifetime: Duration) -> Duration {
    lifetime.saturating_sub(KEEP_ALIVE_MARGIN.min(lifetime / 4))
}

domain::brief_debug!(KeepAliveCare, key);
