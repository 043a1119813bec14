//! What the scheduler is asked, and what it answers.

use crate::adapters::AdapterId;
use crate::blocks::CacheScope;
use crate::constraints::Constraint;
use crate::fair_queue::Group;
use crate::sampler::{SampledToken, Sampling};

/// A generation request.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    pub prompt: Vec<u32>,
    pub sampling: Sampling,
    pub max_tokens: usize,
    /// Tokens that end the sequence (EOS).
    pub stop_tokens: Vec<u32>,
    /// The grammar constraint of the answer, which ends where nothing more may follow.
    pub constraint: Option<Constraint>,
    pub cache_scope: CacheScope,
    pub group: Group,
    /// The adapter of the answer. The name is resolved when the sequence is first scheduled; a replacement
    /// later does not affect it.
    pub adapter: Option<AdapterId>,
    /// Adapter switches within the answer, in order. All adapters of such a request must be in memory when it
    /// is submitted.
    pub adapter_switches: Vec<AdapterSwitch>,
}

/// A switch to another adapter, or to none, at a token of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterSwitch {
    /// Index of the first answer token that is sampled with it. Never 0: that is what `Request::adapter` is
    /// for.
    pub from: usize,
    pub adapter: Option<AdapterId>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceId(pub(crate) u64);

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The queue is full.
    Full,
    /// The prompt leaves no room for an answer in the context.
    TooLong {
        tokens: usize,
        most: usize,
    },
    Empty,
    /// No adapter of that name is registered.
    NoAdapter,
    /// A request with adapter switches names an adapter that is not in memory.
    AdapterNotResident,
}

#[derive(Debug, Clone, PartialEq)]
pub enum StepEvent {
    /// The sequence was scheduled for the first time; so many tokens of its prompt came from the prefix
    /// cache.
    Scheduled {
        sequence: SequenceId,
        cached_tokens: usize,
    },
    Token {
        sequence: SequenceId,
        drawn: SampledToken,
    },
    /// The hidden state of an embedding input; its `End` follows.
    State {
        sequence: SequenceId,
        state: Vec<f32>,
    },
    End {
        sequence: SequenceId,
        end: FinishReason,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// It ended by itself: an end token, or the end of its constraint.
    Stop,
    Length,
    /// The model returned NaN or infinity, or the constraint exceeded its cost limits.
    Broken,
    /// The adapter was removed before the sequence was scheduled, or could not be read.
    NoAdapter,
}

/// An input that is only prefilled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddingInput {
    pub tokens: Vec<u32>,
    pub group: Group,
    /// The adapter that it is computed with.
    pub adapter: Option<AdapterId>,
    /// The prefix that it shares with other inputs of its request.
    pub shared_prefix: Option<SharedPrefix>,
}

/// A common prefix of a request's inputs. The first input computed enters its full blocks into the prefix
/// cache, where the others find them until `end_reading`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedPrefix {
    /// The request's number, which must be new. 0 means no shared prefix.
    pub embedding_request: u64,
    /// Its length in tokens.
    pub tokens: usize,
}
