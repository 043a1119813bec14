//! Help for providers' prompt caches: what a workspace allows the gateway to do, and the record of what it
//! did.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::limits::{RESPONSE_CACHE_TTL_S, SEMANTIC_CACHE_SIMILARITY_BPS};
use crate::money::Nanos;
use crate::profile::Profile;
use crate::reuse::{CachedAnswer, PromptReuse};

crate::words! {
    /// How far the gateway goes.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub enum CacheMode by of {
        Off = "off",
        /// Reports with the request what would have been done; leaves its bytes unchanged.
        Suggest = "suggest",
        Apply = "apply",
    }
}

crate::words! {
    /// What our own cache does with whole answers.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum ResponseCacheMode by of {
        Off = "off",
        /// An answer is given again to the same request.
        Exact = "exact",
        /// The same, and to a request that differs from it in the words of its last message alone, where they mean the same.
        Semantic = "semantic",
    }
}

/// The setting of a workspace or project; `None` inherits the wider one, and in the end our default.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct CachePolicy {
    /// For the operator's accounts.
    pub managed: Option<CacheMode>,
    /// For the customer's own credentials.
    pub byok: Option<CacheMode>,
    /// Whether prefixes that the gateway has marked are read again before they expire, where that pays; off by default.
    pub keep_alive: Option<bool>,
    /// For whole answers; off by default.
    pub responses: Option<ResponseCacheMode>,
    /// How long an answer is kept.
    pub responses_ttl_s: Option<u32>,
    /// The model by whose embeddings texts are compared.
    pub semantic_model: Option<Arc<str>>,
    /// How alike two texts must be, as the cosine of their embeddings in basis points.
    pub semantic_similarity_bps_min: Option<u16>,
    /// Raised by a purge: answers that were kept before are not found again, on any replica.
    pub generation: u64,
}

impl CachePolicy {
    /// This policy, filled in from `wider` where it is unset.
    pub fn or(&self, wider: &Self) -> Self {
        Self {
            managed: self.managed.or(wider.managed),
            byok: self.byok.or(wider.byok),
            keep_alive: self.keep_alive.or(wider.keep_alive),
            responses: self.responses.or(wider.responses),
            responses_ttl_s: self.responses_ttl_s.or(wider.responses_ttl_s),
            semantic_model: self.semantic_model.as_ref().or(wider.semantic_model.as_ref()).cloned(),
            semantic_similarity_bps_min: self
                .semantic_similarity_bps_min
                .or(wider.semantic_similarity_bps_min),
            generation: self.generation,
        }
    }

    /// How long whole answers are kept, by `wider` where this policy says nothing; `None` if they are not.
    pub fn responses_lifetime(&self, wider: &Self) -> Option<Duration> {
        let ttl_s = self.responses_ttl_s.or(wider.responses_ttl_s).unwrap_or(RESPONSE_CACHE_TTL_S);
        match self.responses.or(wider.responses)? {
            ResponseCacheMode::Off => None,
            ResponseCacheMode::Exact | ResponseCacheMode::Semantic => {
                Some(Duration::from_secs(u64::from(ttl_s)))
            }
        }
    }

    /// How answers are given to requests that mean the same; `None` where only the same request is given them.
    pub fn semantic(&self) -> Option<SemanticCache> {
        let model = self.semantic_model.as_ref()?;
        (self.responses == Some(ResponseCacheMode::Semantic)).then(|| SemanticCache {
            model: Arc::clone(model),
            similarity_bps_min: self.semantic_similarity_bps_min.unwrap_or(SEMANTIC_CACHE_SIMILARITY_BPS),
        })
    }

    /// Whether prefixes are kept alive at seats of a profile: only where the gateway may change requests, and never by a
    /// subscription, which is for its owner's own requests.
    pub fn keeps_alive(&self, profile: Profile) -> bool {
        self.keep_alive == Some(true)
            && profile != Profile::Subscription
            && self.mode(profile) == CacheMode::Apply
    }

    /// The mode for a profile. Requests on a customer's own credential are not modified unless the customer
    /// allows it; a node does its own caching.
    pub fn mode(&self, profile: Profile) -> CacheMode {
        match profile {
            Profile::ManagedProvider => self.managed.unwrap_or(CacheMode::Apply),
            Profile::Byok | Profile::Subscription => self.byok.unwrap_or(CacheMode::Suggest),
            Profile::Byoc => CacheMode::Off,
        }
    }
}

/// By which model texts are compared, and how alike they must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SemanticCache {
    pub model: Arc<str>,
    pub similarity_bps_min: u16,
}

/// How a provider caches a model's prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheFacts {
    /// Whether prompts are cached at all, as far as that is known.
    pub is_supported: bool,
    /// It is known that they are not.
    pub is_denied: bool,
    /// Whether a prompt is only cached where it has cache marks; `None` if unknown.
    pub needs_marks: Option<bool>,
    /// How many cache marks a request may have; `None` if unknown.
    pub marks_max: Option<u64>,
    /// It is known that the provider does not tell how many tokens came from its cache.
    pub is_unreported: bool,
    /// The shortest prefix that is cached; `None` if unknown.
    pub tokens_min: Option<u64>,
    /// Prefixes are cached in steps of this many tokens; `None` if unknown.
    pub tokens_step: Option<u64>,
    pub lifetime: Duration,
    /// The price of a written token and the saving on a read one, in per cent of the price of an uncached
    /// token.
    pub write_pct: Option<u64>,
    pub discount_pct: Option<u64>,
}

/// What was done for one exchange, or would have been done, and what is known of its prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(into = "CacheForm")]
pub struct CacheRecord {
    /// If false, this is a suggestion.
    pub is_applied: bool,
    /// Cache marks inserted into the prompt.
    pub marks: u8,
    /// A cache key was set, which tells the provider which requests share a prefix.
    pub has_key: bool,
    /// A beginning that the gateway had its provider cache by name was in the place of the prompt's own.
    pub has_context: bool,
    /// How often in a row the gateway had the prefix read before this request came, so that it did not expire.
    pub refreshes: u8,
    /// Prompt tokens that had been sent before: an estimate of what a cache can save.
    pub reusable_tokens: u64,
    /// How much of the prompt a cache could have served; `None` if nobody looked.
    pub reuse: Option<PromptReuse>,
    /// The answer came from our own response cache.
    pub served: Option<CachedAnswer>,
}

impl CacheRecord {
    /// Whether anything was done for the provider's cache, or would have been.
    pub const fn has_help(&self) -> bool {
        self.is_applied || self.marks > 0 || self.has_key || self.has_context
    }
}

/// The serialised form. Earlier versions know the first four fields; the sign that more follow is a bit of the
/// marks, of which there are never so many. What follows is numbered, so that a version skips what it does not
/// know.
#[derive(Serialize)]
struct CacheForm(bool, u8, bool, u64, #[serde(skip_serializing_if = "Vec::is_empty")] Vec<(u8, u64)>);

const MORE_FOLLOWS: u8 = 0x80;
const PROMPT_BYTES: u8 = 1;
const SEEN_BYTES: u8 = 2;
const TOKENS_MIN: u8 = 3;
const TOKENS_STEP: u8 = 4;
const SERVED_INPUT: u8 = 5;
const SERVED_OUTPUT: u8 = 6;
const SAVED_NANOS: u8 = 7;
const UNREPORTED: u8 = 8;
const CONTEXT: u8 = 9;
const REFRESHES: u8 = 10;

impl From<CacheRecord> for CacheForm {
    fn from(record: CacheRecord) -> Self {
        let CacheRecord {
            is_applied,
            marks,
            has_key,
            has_context,
            refreshes,
            reusable_tokens,
            reuse,
            served,
        } = record;
        let mut more = Vec::new();
        let some = |more: &mut Vec<(u8, u64)>, number, count| {
            if count > 0 {
                more.push((number, count));
            }
        };
        if let Some(reuse) = reuse {
            more.push((PROMPT_BYTES, reuse.prompt_bytes));
            some(&mut more, SEEN_BYTES, reuse.seen_bytes);
            some(&mut more, TOKENS_MIN, reuse.tokens_min);
            some(&mut more, TOKENS_STEP, reuse.tokens_step);
            some(&mut more, UNREPORTED, u64::from(reuse.is_unreported));
        }
        if let Some(served) = served {
            more.push((SERVED_INPUT, served.input_tokens));
            some(&mut more, SERVED_OUTPUT, served.output_tokens);
            some(&mut more, SAVED_NANOS, u64::try_from(served.saved.0).unwrap_or(0));
        }
        some(&mut more, CONTEXT, u64::from(has_context));
        some(&mut more, REFRESHES, u64::from(refreshes));
        let marks = if more.is_empty() { marks } else { marks | MORE_FOLLOWS };
        Self(is_applied, marks, has_key, reusable_tokens, more)
    }
}

impl<'de> Deserialize<'de> for CacheRecord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_tuple(5, CacheVisitor)
    }
}

struct CacheVisitor;

impl<'de> Visitor<'de> for CacheVisitor {
    type Value = CacheRecord;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("what was done for a prompt's cache")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut fields: A) -> Result<CacheRecord, A::Error> {
        let short = |count| de::Error::invalid_length(count, &self);
        let is_applied = fields.next_element()?.ok_or_else(|| short(0))?;
        let marks: u8 = fields.next_element()?.ok_or_else(|| short(1))?;
        let has_key = fields.next_element()?.ok_or_else(|| short(2))?;
        let reusable_tokens = fields.next_element()?.ok_or_else(|| short(3))?;
        let more: Vec<(u8, u64)> = match marks & MORE_FOLLOWS {
            0 => Vec::new(),
            _ => fields.next_element()?.ok_or_else(|| short(4))?,
        };
        let find = |number: u8| more.iter().find(|(of, _)| *of == number).map(|(_, count)| *count);
        let count = |number: u8| find(number).unwrap_or(0);
        Ok(CacheRecord {
            is_applied,
            marks: marks & !MORE_FOLLOWS,
            has_key,
            has_context: count(CONTEXT) > 0,
            refreshes: u8::try_from(count(REFRESHES)).unwrap_or(u8::MAX),
            reusable_tokens,
            reuse: find(PROMPT_BYTES).map(|prompt_bytes| PromptReuse {
                prompt_bytes,
                seen_bytes: count(SEEN_BYTES),
                tokens_min: count(TOKENS_MIN),
                is_unreported: count(UNREPORTED) > 0,
                tokens_step: count(TOKENS_STEP),
            }),
            served: find(SERVED_INPUT).map(|input_tokens| CachedAnswer {
                input_tokens,
                output_tokens: count(SERVED_OUTPUT),
                saved: Nanos(i64::try_from(count(SAVED_NANOS)).unwrap_or(i64::MAX)),
            }),
        })
    }
}
