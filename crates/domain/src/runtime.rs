//! The trait of a model engine: a node serves whatever implements it.

use std::pin::Pin;
use std::task::{Context, Poll};

use crate::adapters::{Adapters, Doing};
use crate::event::Event;
use crate::fault::Fault;
use crate::prompt::{Json, Prompt};
use crate::reckoning::{EmbedRequest, Makes, RankRequest, Reckoned, not_made};
use crate::training::Trainer;
use crate::usage::Usage;

/// A model that a runtime has loaded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuntimeModel {
    pub id: String,
    pub owned_by: String,
    pub created_unix_s: u64,
    /// `true` where the runtime is honest-to-goodness inference; `echo` says `false`.
    pub is_model: bool,
    /// The longest text, prompt and answer together.
    pub context_tokens: Option<u64>,
    pub makes: Makes,
}

/// What to generate.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GenerateRequest {
    pub model: String,
    /// The conversation, and how it is to be answered.
    pub prompt: Prompt,
    /// What is to be gone on with, in the place of a conversation.
    pub continues: Option<Continues>,
    pub words: RuntimeWords,
}

/// A text that is no conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Continues {
    Text(String),
    Tokens(Vec<u32>),
}

/// What no vendor's grammar has a word for, and servers of one's own models are told.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RuntimeWords {
    /// Relative to the likeliest.
    pub min_p: Option<f64>,
    pub repetition_penalty: Option<f64>,
    /// Beside the end of its own, nothing ends the answer.
    pub ignores_end: bool,
    /// What the template is given beside the conversation.
    pub template: Option<Json>,
    pub rule: Option<RuleText>,
    /// A LoRA that the model answers with.
    pub adapter: Option<String>,
    /// Those, or none, that it goes on with from a token of the answer on, in order.
    pub later_adapters: Vec<(u64, Option<String>)>,
    /// Whose remembered beginnings may be used: those of the same word.
    pub share: Option<String>,
}

/// What every answer has to be of, written in a language of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleText {
    Expression(String),
    Grammar(String),
    /// One of these texts.
    Choice(Vec<String>),
}

/// A running generation: `Begin` to `Done`. Dropping it cancels within one step.
pub trait Generation {
    /// The next event, or `None` after `Done`.
    ///
    /// # Errors
    /// A fault ends the generation.
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Event, Fault>>>;

    /// What was used up to now, whether or not that was told.
    fn used(self: Pin<&Self>) -> Usage;
}

/// A generation that somebody else drives.
pub type Generating = Pin<Box<dyn Generation + Send>>;

/// A model engine. It knows no HTTP and no tenant.
pub trait Runtime: Send + Sync {
    fn models(&self) -> Vec<RuntimeModel>;

    /// # Errors
    /// The model is unknown, or the request asks for what the runtime can't do.
    fn generate(&self, request: GenerateRequest) -> Result<Generating, Fault>;

    /// The tokens of the prompt as the model would be given it. Faults are those of `generate`.
    fn count(&self, request: GenerateRequest) -> Doing<'_, u64>;

    /// Vectors of texts, one for each in their order.
    ///
    /// # Errors
    /// The model is unknown, or makes none.
    fn embed(&self, _request: EmbedRequest) -> Result<Reckoned<Vec<Vec<f32>>>, Fault> {
        Err(not_made("vectors of texts"))
    }

    /// How well each document fits the question, from 0 to 1, in their order.
    ///
    /// # Errors
    /// The model is unknown, or can't tell.
    fn rank(&self, _request: RankRequest) -> Result<Reckoned<Vec<f64>>, Fault> {
        Err(not_made("ranks of documents"))
    }

    /// What it can be asked about adapters; nothing where it takes none.
    fn adapters(&self) -> Option<&dyn Adapters> {
        None
    }

    /// What it can be asked to train; nothing where it only answers.
    fn trainer(&self) -> Option<&dyn Trainer> {
        None
    }

    /// What it has to do just now; nothing where it keeps no texts waiting.
    fn load(&self) -> RuntimeLoad {
        RuntimeLoad::default()
    }

    /// Forgets all that is remembered of conversations of this word (`RuntimeWords::share`), and tells how much that was.
    /// Answers that go on keep what they have until they end; nothing of them is remembered any more.
    fn forget(&self, _share: Option<String>) -> Doing<'_, Forgotten> {
        Box::pin(async { Ok(Forgotten::default()) })
    }
}

/// What a runtime has to do, and what it remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RuntimeLoad {
    /// Texts that are carried on, and those that wait for their turn.
    pub running: u64,
    pub waiting: u64,
    /// Memory in which something of a conversation is, of all that there is for it.
    pub cache_bytes: u64,
    pub cache_bytes_max: u64,
}

/// What a runtime had remembered of conversations, and has no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Forgotten {
    /// Those that a later request could have found.
    pub tokens: u64,
    /// What is empty now.
    pub blocks: u64,
    pub bytes: u64,
    /// What goes when the answers that have it end.
    pub held: Held,
}

/// What answers that go on still have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    pub answers: u64,
    pub blocks: u64,
    pub bytes: u64,
}
