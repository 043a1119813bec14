//! Prompt caching help for one attempt: cache marks at recurring prefixes where they pay, or a cache key that
//! keeps requests with the same prefix together.

use std::hash::{BuildHasher, BuildHasherDefault};
use std::time::Duration;

use board::prefix_at;
use bytes::Bytes;
use conversation::request::Insert;
use dialects::{CacheSalt, Prefixes};
use domain::limits::{CACHE_TOKENS_MIN_UNKNOWN, PREFIX_PROMPT_BYTES_MIN};
use domain::{CacheFacts, CacheMode, CacheRecord, Grammar, IdHasher, Profile, PromptReuse, Rates};
use http::header::{HeaderName, HeaderValue};
use plan::{Attempt, Seat};
use providers::{CacheHelp, KeyOf, KeyPlace, Provider};

use crate::context_cache::{ContextSearch, FoundContext};
use crate::exchange::Exchange;
use crate::keep_alive::{self, KeepAliveCare, MarkedPrefix, PrefixUse};

/// The usual estimate; the provider reports the true count.
const BYTES_A_TOKEN: u64 = 4;

/// The caching help that one attempt gets.
pub(crate) struct CacheHints<'a> {
    exchange: &'a Exchange,
    attempt: &'a Attempt,
    provider: &'a dyn Provider,
    are_prefixes_recorded: &'a mut bool,
    mode: CacheMode,
    /// Inserted whatever the mode.
    salt: Option<String>,
    record: Option<CacheRecord>,
    reuse: Option<PromptReuse>,
    header: Option<(HeaderName, HeaderValue)>,
    /// The shortest beginning that its provider caches by name, in tokens, and the longest that came before, in bytes.
    context_bounds: Option<(u64, u64)>,
    /// Whether prefixes of the project are kept alive at this seat.
    keeps_alive: bool,
    /// How often the prefix was refreshed before this request.
    refreshes: u8,
    /// The longest prefix that has a mark of ours.
    marked: Option<MarkedPrefix>,
    keep_alive: Option<Box<KeepAliveCare>>,
}

/// The end of a prefix, and how often that prefix was seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SeenPrefix {
    times_before: u8,
    tokens: u64,
    is_head: bool,
    takes_mark: bool,
}

/// What writing a token to the cache costs beyond a fresh one, and what reading it from
/// there saves; in the same unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CachePrices {
    premium: u64,
    discount: u64,
}

/// Records that a seat is sent the prompt's prefixes, where its provider caches them: by itself, or at the marks of the client
/// or of ours.
pub(crate) fn note_at_seat(
    exchange: &Exchange,
    attempt: &Attempt,
    provider: &dyn Provider,
    body: &[u8],
    applied: Option<&CacheRecord>,
) {
    let call = &exchange.call;
    if call.request().prompt_bytes < PREFIX_PROMPT_BYTES_MIN || exchange.is_refresh() {
        return;
    }
    let Some(prefixes) = call.prefixes(body) else { return };
    if attempt.is_node() {
        return note_at_node(exchange, attempt, prefixes);
    }
    let manifest = exchange.caller.snapshot().catalogue().capabilities();
    let facts = manifest.cache_facts(attempt.provider(), attempt.known_model());
    let is_marked =
        prefixes.has_client_caching() || applied.is_some_and(|record| record.is_applied && record.marks > 0);
    if !is_kept(&facts, provider.cache_help(call.dialect().grammar()), is_marked) {
        return;
    }
    let lifetime = facts.lifetime;
    let now_us = exchange.now_us();
    let table = exchange.deps.board.prefixes(exchange.caller.workspace().id, now_us);
    for end in prefixes.ends() {
        let at_seat = prefix_at(end.fingerprint, attempt.principal(), attempt.upstream_model());
        table.note(at_seat, lifetime, now_us);
    }
}

/// Records which node is sent the prompt: the next turn of its conversation finds the whole of it, and other conversations find
/// its head.
fn note_at_node(exchange: &Exchange, attempt: &Attempt, prefixes: &Prefixes) {
    let now_us = exchange.now_us();
    let table = exchange.deps.board.prefixes(exchange.caller.workspace().id, now_us);
    let ends = prefixes.ends();
    for end in [ends.iter().rev().find(|end| end.is_head), ends.last()].into_iter().flatten() {
        table.at_nodes().note(end.fingerprint, plan::node_hash(attempt), now_us / 1_000_000);
    }
}

/// Whether a provider caches a prompt with cache marks or without.
fn is_kept(facts: &CacheFacts, help: Option<CacheHelp>, is_marked: bool) -> bool {
    let Some(help) = help.filter(|_| !facts.is_denied) else { return false };
    is_marked || !facts.needs_marks.unwrap_or(help == CacheHelp::Marks)
}

impl<'a> CacheHints<'a> {
    /// `None` if there is nothing to do, which is decided without reading the prompt.
    pub(crate) fn of(
        exchange: &'a Exchange,
        attempt: &'a Attempt,
        provider: &'a dyn Provider,
        are_prefixes_recorded: &'a mut bool,
    ) -> Option<Self> {
        let (call, caller) = (&exchange.call, &exchange.caller);
        if !call.spec().facts().continues_conversation
            || call.request().prompt_bytes < PREFIX_PROMPT_BYTES_MIN
            // What goes on from a cached prompt may have no instructions of its own.
            || call.request().names_cached_content()
            // A refresh repeats the marks and the salt of an earlier request, and is not another use of its prefixes.
            || exchange.is_refresh()
        {
            return None;
        }
        let policy = caller.project().caching.or(&caller.workspace().caching);
        let mode = policy.mode(attempt.profile());
        let keeps_alive = policy.keeps_alive(attempt.profile())
            && caller.side_call().is_none_or(|call| call.is_wanted())
            && exchange.may_keep_prefixes();
        let salt = salt_for(exchange, attempt, provider);
        // A node caches by itself, and what it reuses is compared with what came before.
        let is_needed = mode != CacheMode::Off || salt.is_some() || attempt.profile() == Profile::Byoc;
        is_needed.then_some(Self {
            exchange,
            attempt,
            provider,
            are_prefixes_recorded,
            mode,
            salt,
            record: None,
            reuse: None,
            header: None,
            context_bounds: None,
            keeps_alive,
            refreshes: 0,
            marked: None,
            keep_alive: None,
        })
    }

    /// What to insert into the client's own bytes.
    pub(crate) fn inserts_for_call(&mut self, body: &Bytes) -> Vec<Insert> {
        let call = &self.exchange.call;
        let grammar = call.dialect().grammar();
        let inserts = self.find_inserts(grammar, body.len(), || call.prefixes(body));
        let inserts = self.with_salt(grammar, body, inserts);
        self.watch(grammar, body, &inserts);
        inserts
    }

    /// What to insert into a request that was translated to this dialect.
    pub(crate) fn inserts_for_body(&mut self, grammar: Grammar, body: &Bytes) -> Vec<Insert> {
        let read = std::cell::OnceCell::new();
        let inserts = self.find_inserts(grammar, body.len(), || {
            read.get_or_init(|| dialects::read_prefixes(grammar, body)).as_ref()
        });
        let inserts = self.with_salt(grammar, body, inserts);
        self.watch(grammar, body, &inserts);
        inserts
    }

    fn with_salt(&self, grammar: Grammar, body: &[u8], mut inserts: Vec<Insert>) -> Vec<Insert> {
        if let Some(word) = &self.salt {
            let (snapshot, workspace) =
                (self.exchange.caller.snapshot(), self.exchange.caller.workspace().id);
            let salt = CacheSalt { word, key: &|own| snapshot.cache_key_of(workspace, own) };
            inserts.extend(dialects::salt_cache(grammar, body, &salt, !inserts.is_empty()));
        }
        inserts
    }

    /// Watches the prefix that these inserts mark. What is to be read again must be what was sent, to the letter.
    fn watch(&mut self, grammar: Grammar, body: &Bytes, inserts: &[Insert]) {
        let Some(prefix) = self.marked.take() else { return };
        let (exchange, attempt) = (self.exchange, self.attempt);
        let manifest = exchange.caller.snapshot().catalogue().capabilities();
        let lifetime = manifest.cache_facts(attempt.provider(), attempt.known_model()).lifetime;
        let used = PrefixUse { exchange, attempt, grammar, lifetime, prefix };
        self.keep_alive = used.watch(|| dialects::insert(body, inserts).concat().into()).map(Box::new);
    }

    /// What its answer is to tell of the prefix.
    pub(crate) fn take_keep_alive(&mut self) -> Option<Box<KeepAliveCare>> {
        self.keep_alive.take()
    }

    fn is_applied(&self) -> bool {
        self.mode == CacheMode::Apply
    }

    /// The header that carries the cache key, unless the client sent that header itself.
    pub(crate) fn header(&mut self, sent: &[(HeaderName, HeaderValue)]) -> Option<(HeaderName, HeaderValue)> {
        let header = self.header.take()?;
        if sent.iter().any(|(name, _)| *name == header.0) {
            self.record = None;
            return None;
        }
        Some(header).filter(|_| self.is_applied())
    }

    /// Whether a request in this format may have a beginning that is cached by name, or is worth it.
    pub(crate) fn seeks_context(&self, grammar: Grammar) -> bool {
        self.context_bounds.is_some() && self.provider.cache_help(grammar) == Some(CacheHelp::Named)
    }

    /// Looks for it, and records what was found.
    pub(crate) fn find_context(&mut self, grammar: Grammar, body: &[u8]) -> Option<FoundContext> {
        let (exchange, attempt, is_applied) = (self.exchange, self.attempt, self.is_applied());
        let (tokens_min, seen_bytes) = self.context_bounds?;
        let search = ContextSearch { exchange, attempt, grammar, tokens_min, seen_bytes, is_applied };
        let found = search.run(body)?;
        if let Some(reusable_tokens) = found.tokens {
            let has_context = true;
            self.record =
                Some(CacheRecord { is_applied, has_context, reusable_tokens, ..CacheRecord::default() });
        }
        Some(found)
    }

    pub(crate) fn record(&self) -> Option<CacheRecord> {
        let found =
            self.reuse.map(|reuse| CacheRecord { reuse: Some(reuse), ..self.record.unwrap_or_default() });
        let record = found.or(self.record)?;
        Some(CacheRecord { refreshes: self.refreshes, ..record })
    }

    fn find_inserts<'p>(
        &mut self,
        grammar: Grammar,
        body_bytes: usize,
        read: impl FnOnce() -> Option<&'p Prefixes>,
    ) -> Vec<Insert> {
        let manifest = self.exchange.caller.snapshot().catalogue().capabilities();
        let facts = manifest.cache_facts(self.attempt.provider(), self.attempt.known_model());
        let help = self.provider.cache_help(grammar);
        let help = help.filter(|_| self.mode != CacheMode::Off && !facts.is_denied);
        if help.is_none() && !self.is_compared(&facts) {
            return Vec::new();
        }
        let tokens_min = facts.tokens_min.unwrap_or(match help {
            Some(CacheHelp::Marks | CacheHelp::Named) => CACHE_TOKENS_MIN_UNKNOWN,
            // A key costs nothing.
            Some(CacheHelp::Key { .. }) | None => 0,
        });
        let known = PromptReuse {
            prompt_bytes: body_bytes as u64,
            seen_bytes: 0,
            tokens_min,
            tokens_step: facts.tokens_step.unwrap_or(0),
            is_unreported: facts.is_unreported,
        };
        self.reuse = Some(known);
        if body_bytes as u64 / BYTES_A_TOKEN < tokens_min {
            return Vec::new();
        }
        let Some(prefixes) = read() else { return Vec::new() };
        if self.keeps_alive && help == Some(CacheHelp::Marks) {
            self.note_return(prefixes);
        }
        let sights = self.sights(prefixes, tokens_min, facts.lifetime);
        self.reuse = Some(PromptReuse {
            prompt_bytes: sights.last().map_or(0, |sight| sight.tokens) * BYTES_A_TOKEN,
            seen_bytes: reusable(&sights, 1) * BYTES_A_TOKEN,
            ..known
        });
        let Some(help) = help.filter(|_| !prefixes.has_client_caching()) else { return Vec::new() };
        let inserts = match help {
            CacheHelp::Marks => self.mark(prefixes, &sights, &facts),
            CacheHelp::Key { place: location, of } => self.name(prefixes, &sights, location, of),
            CacheHelp::Named => {
                let seen_bytes = reusable(&sights, 1) * BYTES_A_TOKEN;
                let is_sought = seen_bytes > 0 && self.exchange.may_keep_prefixes();
                self.context_bounds = is_sought.then_some((tokens_min, seen_bytes));
                Vec::new()
            }
        };
        if self.is_applied() { inserts } else { Vec::new() }
    }

    /// Whether the prompt is compared with earlier ones though nothing is done for its cache.
    fn is_compared(&self, facts: &CacheFacts) -> bool {
        match self.attempt.profile() {
            Profile::Byoc => true,
            _ => self.mode != CacheMode::Off && facts.is_supported,
        }
    }

    /// Looks up all prefixes that are long enough and records them: once per
    /// exchange, however many attempts it has.
    fn sights(&mut self, prefixes: &Prefixes, tokens_min: u64, lifetime: Duration) -> Vec<SeenPrefix> {
        let (exchange, now_us) = (self.exchange, self.exchange.now_us());
        let table = exchange.deps.board.prefixes(exchange.caller.workspace().id, now_us);
        let model = model_hash(self.attempt);
        let own = u8::from(std::mem::replace(self.are_prefixes_recorded, true));
        let ends = prefixes.ends().iter().map(|end| {
            let tokens = end.bytes / BYTES_A_TOKEN;
            let mut sight =
                SeenPrefix { times_before: 0, tokens, is_head: end.is_head, takes_mark: end.takes_mark() };
            if tokens >= tokens_min {
                let fingerprint = end.fingerprint ^ model;
                sight.times_before = table.count(fingerprint, lifetime, now_us).saturating_sub(own);
                if own == 0 {
                    table.note(fingerprint, lifetime, now_us);
                }
            }
            sight
        });
        ends.collect()
    }

    /// Tells those that look after this request's prefixes that they came back.
    fn note_return(&mut self, prefixes: &Prefixes) {
        let (exchange, attempt, now_us) = (self.exchange, self.attempt, self.exchange.now_us());
        let table = exchange.deps.board.prefixes(exchange.caller.workspace().id, now_us);
        let keys = prefixes.ends().iter().map(|end| keep_alive::key(exchange, attempt, end.fingerprint));
        self.refreshes = table.keep_alive().returned(keys, now_us);
    }

    fn mark(&mut self, prefixes: &Prefixes, sights: &[SeenPrefix], facts: &CacheFacts) -> Vec<Insert> {
        let rates = self.attempt.rates_for(sights.last().map_or(0, |sight| sight.tokens));
        let Some(stakes) = CachePrices::of(rates, facts) else { return Vec::new() };
        let chosen = choose(sights, stakes, facts.marks_max);
        if let Some(last) = chosen.last().copied().filter(|_| self.keeps_alive) {
            self.marked = marked(prefixes, last);
        }
        if !chosen.is_empty() {
            self.record = Some(CacheRecord {
                is_applied: self.is_applied(),
                marks: u8::try_from(chosen.len()).unwrap_or(u8::MAX),
                // A prefix that was seen twice had its mark the last time.
                reusable_tokens: reusable(sights, 2),
                ..CacheRecord::default()
            });
        }
        prefixes.marks(&chosen)
    }

    fn name(
        &mut self,
        prefixes: &Prefixes,
        sights: &[SeenPrefix],
        location: KeyPlace,
        of: KeyOf,
    ) -> Vec<Insert> {
        let reusable_tokens = reusable(sights, 1);
        if !self.is_applied() && reusable_tokens == 0 {
            return Vec::new();
        }
        let (exchange, is_applied) = (self.exchange, self.is_applied());
        self.record =
            Some(CacheRecord { is_applied, has_key: true, reusable_tokens, ..CacheRecord::default() });
        let (snapshot, workspace) = (exchange.caller.snapshot(), exchange.caller.workspace().id);
        let key = match (exchange.call.session(), of) {
            // Its requests belong together, whatever of the prompt is new.
            (Some(session), _) => snapshot.cache_key_of_session(workspace, session),
            (None, KeyOf::Head) => snapshot.cache_key(workspace, prefixes.head()),
            (None, KeyOf::Conversation) => snapshot.cache_key(workspace, prefixes.conversation()),
        };
        match location {
            KeyPlace::Member(name) => vec![prefixes.member(name, &key)],
            KeyPlace::Header(name) => {
                let value = HeaderValue::try_from(key).ok();
                self.header = value.map(|value| (HeaderName::from_static(name), value));
                Vec::new()
            }
        }
    }
}

/// The salt that separates the workspaces of a shared account in its prompt cache: a workspace that could hit
/// another's prefix would learn from the price that it was sent.
///
/// `None` if the account is not shared, if cached reads have no price (so that there is no cache), and if the
/// provider separates them itself.
pub(crate) fn salt_for(exchange: &Exchange, attempt: &Attempt, provider: &dyn Provider) -> Option<String> {
    if !matches!(attempt.seat(), Seat::Managed(_)) {
        return None;
    }
    let (snapshot, workspace) = (exchange.caller.snapshot(), exchange.caller.workspace().id);
    // Its servers take a tenant key, and the manifest does not say that something else separates its cache.
    let known = snapshot.catalogue().capabilities().provider(attempt.provider());
    let by_key = || known.and_then(|known| known.isolates_by_key(attempt.known_model())).unwrap_or(true);
    if provider.facts().isolates_tenants && by_key() {
        return None;
    }
    let is_shared = snapshot.workspaces().nth(1).is_some();
    let is_cached = attempt.rates_for(0).is_some_and(|rates| rates.cached_read.is_some());
    (is_shared && is_cached).then(|| snapshot.cache_salt(workspace))
}

impl CachePrices {
    /// From the attempt's prices, else from what is known of the provider. `None` if a cached
    /// read is not known to be cheaper.
    fn of(rates: Option<Rates>, facts: &CacheFacts) -> Option<Self> {
        if let Some((rates, read)) = rates.and_then(|rates| Some((rates, rates.cached_read?))) {
            let write = rates.cache_write.unwrap_or(rates.input);
            let premium = write.0.saturating_sub(rates.input.0);
            return Some(Self { premium, discount: rates.input.0.saturating_sub(read.0) });
        }
        Some(Self { premium: facts.write_pct?.saturating_sub(100), discount: facts.discount_pct? })
    }

    /// Weighs one write against the reads that are expected: as many as the prefix had before.
    fn pay(self, times_before: u8) -> bool {
        self.premium < self.discount.saturating_mul(u64::from(times_before))
    }
}

/// Where to put marks, at most three and no more than the provider takes: the longest prefix that was seen before; the longest that was seen
/// twice, which has had its mark and is far from the first where a turn is long; and the instructions, which
/// other conversations share.
fn choose(sights: &[SeenPrefix], stakes: CachePrices, marks_max: Option<u64>) -> Vec<usize> {
    let pays = |sight: &SeenPrefix| sight.takes_mark && stakes.pay(sight.times_before);
    let last =
        |is_it: &dyn Fn(&SeenPrefix) -> bool| sights.iter().rposition(|sight| pays(sight) && is_it(sight));
    let longest = [last(&|_| true), last(&|sight| sight.times_before > 1), last(&|sight| sight.is_head)];
    let mut chosen: Vec<usize> = Vec::new();
    for index in longest.into_iter().flatten() {
        let has_room = marks_max.is_none_or(|most| (chosen.len() as u64) < most);
        if has_room && !chosen.contains(&index) {
            chosen.push(index);
        }
    }
    chosen.sort_unstable();
    chosen
}

/// What tells the prefixes of one model from those of another.
pub(crate) fn model_hash(attempt: &Attempt) -> u64 {
    BuildHasherDefault::<IdHasher>::default().hash_one(attempt.upstream_model())
}

/// The prefix that ends here.
fn marked(prefixes: &Prefixes, last: usize) -> Option<MarkedPrefix> {
    let within = prefixes.ends().get(..=last)?;
    let end = within.last()?;
    Some(MarkedPrefix {
        fingerprint: end.fingerprint,
        bytes: end.bytes,
        turns: end.turns,
        is_head: end.is_head,
        within: within.iter().map(|end| end.fingerprint).collect(),
    })
}

/// The tokens of the longest prefix that was seen at least so often.
fn reusable(sights: &[SeenPrefix], times_before: u8) -> u64 {
    sights.iter().rfind(|sight| sight.times_before >= times_before).map_or(0, |sight| sight.tokens)
}

#[cfg(test)]
mod tests {
    use domain::Price;

    use super::*;

    const FACTS: CacheFacts = CacheFacts {
        is_supported: true,
        is_denied: false,
        needs_marks: Some(true),
        marks_max: Some(4),
        is_unreported: false,
        tokens_min: Some(1_024),
        tokens_step: None,
        lifetime: Duration::from_secs(300),
        write_pct: Some(125),
        discount_pct: Some(90),
    };
    const SHORT: CachePrices = CachePrices { premium: 25, discount: 90 };

    /// One per number, which is how often it was seen; a dot takes no mark. The first is the head.
    fn sights(times: &str) -> Vec<SeenPrefix> {
        let sight = |(number, word): (usize, &str)| SeenPrefix {
            times_before: word.trim_end_matches('.').parse().unwrap(),
            tokens: (number as u64 + 1) * 1_000,
            is_head: number == 0,
            takes_mark: !word.ends_with('.'),
        };
        times.split(' ').enumerate().map(sight).collect()
    }

    #[test]
    fn marks_stand_where_prefixes_came_before() {
        for (times, expected) in [
            ("0 0 0", &[][..]),
            ("1 0 0", &[0]),
            ("1 1 0 0", &[0, 1]),
            ("2 2 1 1 0 0", &[0, 1, 3]),
            ("9 9 9 9 1 1 0", &[0, 3, 5]),
            ("2. 2 1. 1. 0", &[1]),
            ("0. 0. 0.", &[]),
        ] {
            assert_eq!(choose(&sights(times), SHORT, None), expected, "{times}");
        }
        for (most, expected) in [(4, &[0, 3, 5][..]), (2, &[3, 5]), (1, &[5]), (0, &[])] {
            assert_eq!(choose(&sights("9 9 9 9 1 1 0"), SHORT, Some(most)), expected, "{most}");
        }
        assert_eq!(reusable(&sights("2 2 1 0"), 2), 2_000);
        assert_eq!((reusable(&sights("2 2 1 0"), 1), reusable(&sights("0 0"), 1)), (3_000, 0));
    }

    #[test]
    fn a_mark_is_put_where_reads_save_more_than_the_write_costs() {
        let dear = CachePrices { premium: 100, discount: 90 };
        assert_eq!(choose(&sights("1 1 0"), dear, None), [] as [usize; 0]);
        assert_eq!(choose(&sights("2 2 1 0"), dear, None), [0, 1]);
        assert!(choose(&sights("9 9 9"), CachePrices { premium: 0, discount: 0 }, None).is_empty());
    }

    #[test]
    fn the_manifest_says_whether_a_prompt_is_kept() {
        let key = CacheHelp::Key { place: KeyPlace::Member("k"), of: KeyOf::Head };
        let facts = |needs_marks, is_denied| CacheFacts { needs_marks, is_denied, ..FACTS };
        for (facts, help, unmarked, marked) in [
            (facts(Some(true), false), Some(CacheHelp::Marks), false, true),
            (facts(Some(false), false), Some(CacheHelp::Marks), true, true),
            (facts(None, false), Some(CacheHelp::Marks), false, true),
            (facts(None, false), Some(key), true, true),
            (facts(Some(true), false), Some(key), false, true),
            (facts(Some(false), true), Some(key), false, false),
            (facts(Some(false), false), None, false, false),
        ] {
            let found = (is_kept(&facts, help, false), is_kept(&facts, help, true));
            assert_eq!(found, (unmarked, marked), "{facts:?} {help:?}");
        }
    }

    #[test]
    fn stakes_are_of_the_prices_that_are_known() {
        let rates = Rates {
            input: Price(3_000_000),
            cached_read: Some(Price(300_000)),
            cache_write: Some(Price(3_750_000)),
            ..Rates::default()
        };
        let priced = CachePrices { premium: 750_000, discount: 2_700_000 };
        assert_eq!(CachePrices::of(Some(rates), &FACTS), Some(priced));
        assert_eq!(CachePrices::of(None, &FACTS), Some(SHORT));
        assert_eq!(CachePrices::of(Some(Rates { cached_read: None, ..rates }), &FACTS), Some(SHORT));
        assert_eq!(CachePrices::of(None, &CacheFacts { discount_pct: None, ..FACTS }), None);
    }
}
