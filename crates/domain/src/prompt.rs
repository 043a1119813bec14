//! A request to a model in the form that every grammar is read into and written from. It holds what two grammars can
//! both say; what only one can say is named in `extras`, and where a thing is written as JSON it is kept as written.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// JSON as somebody wrote it. Whoever makes one has checked that it is JSON.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Json(pub String);

/// A whole request.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Prompt {
    /// What comes before the first turn: instructions of the system or of the developer.
    pub instructions: Vec<Instruction>,
    pub turns: Vec<Turn>,
    pub tools: Vec<Tool>,
    pub tool_choice: Option<ToolChoice>,
    /// Whether several tools may be called at once; `None` is the target's own default, which is yes.
    pub parallel_tools: Option<bool>,
    pub sampling: Sampling,
    pub output: Output,
    pub reasoning: Reasoning,
    pub caching: Caching,
    pub stream: bool,
    /// The answer shall be kept by the provider, to be referred to later.
    pub store: Option<bool>,
    pub service_tier: Option<ServiceTier>,
    /// Who asks, as the client's own users are named.
    pub end_user: Option<String>,
    pub metadata: Vec<(String, String)>,
    /// Groups that the client declared its functions in. Where names are flat, a function is `group__function`, and its
    /// calls are told apart again by these.
    pub namespaces: Vec<String>,
    /// What was said and has no place here.
    pub extras: Vec<Extra>,
    /// Where the client used another of its grammar's names than the usual one.
    pub aliases: Aliases,
    pub echo: Echo,
}

/// A thing that some grammar has several names for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Aliased {
    CacheMark,
    EndUser,
    Reasoning,
    ThinkingBudget,
    Thought,
}

/// The names that the client used, so that it is told of what was left out by these. They change nothing of what is asked.
#[derive(Debug, Clone, Default)]
pub struct Aliases(Vec<(Aliased, &'static str)>);

/// Settings as the client wrote them, by name, for grammars whose answers repeat them. They ask for nothing that the rest
/// of the prompt does not.
#[derive(Debug, Clone, Default)]
pub struct Echo(Arc<[(&'static str, Json)]>);

/// One instruction; texts of one kind that follow each other stay apart, as their cache marks do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    pub is_developer: bool,
    pub text: String,
    pub cache: Option<CacheMark>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    User,
    Assistant,
    /// Results of tools that the assistant called; all that follow each other are one turn.
    Tool,
    /// An instruction in the middle of a conversation.
    System,
    Developer,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    pub role: Role,
    /// Which of several participants of one role speaks.
    pub name: Option<String>,
    pub parts: Vec<Part>,
}

/// A part of a turn, and whether what comes up to its end is to be cached.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    pub content: Content,
    pub cache: Option<CacheMark>,
    pub place: Place,
}

/// Where the client said a thing that not every upstream can be told, as errors name it: `messages[2].content[0]`. What is
/// said is the same wherever it stands.
#[derive(Debug, Clone, Default)]
pub struct Place(Option<Box<str>>);

#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    Text {
        text: String,
        /// Citations as the grammar of their provider writes them, each with its kind.
        citations: Vec<Json>,
    },
    Image {
        source: Source,
        detail: Option<String>,
    },
    Audio {
        source: Source,
    },
    Video {
        source: Source,
    },
    Document {
        source: Source,
        name: Option<String>,
        /// What the model is told about it.
        context: Option<String>,
        /// The answer shall cite it.
        cite: bool,
    },
    ToolCall(ToolCall),
    ToolResult(ToolResult),
    Thought(Thought),
    /// The model's own words for not answering.
    Refusal {
        text: String,
    },
    /// A part of one provider's own making, such as the call of a tool that it runs itself.
    Foreign {
        /// As its grammar calls it, such as `web_search_call`.
        kind: String,
        json: Json,
    },
}

/// Where the bytes of a part are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Base64, as it came.
    Inline {
        media_type: String,
        base64: String,
    },
    /// Plain text in the place of a file.
    Text(String),
    Url {
        url: String,
        media_type: Option<String>,
    },
    /// A file that a provider keeps, by its id there.
    File {
        id: String,
        media_type: Option<String>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    pub id: String,
    pub name: String,
    /// The arguments, byte for byte as the model wrote them: JSON, unless the model erred. Of a custom tool, free text.
    pub arguments: String,
    pub is_custom: bool,
    /// What a provider needs to see again with this call.
    pub signature: Option<Signature>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ToolResult {
    /// Of the call that it answers.
    pub id: String,
    /// Of the tool; grammars that pair by id leave it out.
    pub name: Option<String>,
    /// Texts and media; never another call.
    pub parts: Vec<Part>,
    pub is_error: bool,
    pub is_custom: bool,
}

/// What the model thought before it answered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Thought {
    /// Its own words, or empty where the provider keeps them back.
    pub text: String,
    /// The text is a summary that was made for readers.
    pub is_summary: bool,
    pub signature: Option<Signature>,
    /// The provider gives it only in a form that it alone reads; `signature` holds it.
    pub is_redacted: bool,
    /// The item's id at its provider.
    pub id: Option<String>,
}

/// A provider's seal on its own words, good only there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// The grammar that it was read from.
    pub grammar: crate::Grammar,
    pub value: String,
}

/// Everything up to here may be cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CacheMark {
    pub lifetime: Option<CacheLifetime>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CacheLifetime {
    Minutes5,
    Minutes30,
    Hour1,
    Hours12,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    pub kind: ToolKind,
    pub cache: Option<CacheMark>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ToolKind {
    Function {
        name: String,
        description: Option<String>,
        /// JSON Schema; `None` where it takes nothing.
        schema: Option<Json>,
        strict: Option<bool>,
    },
    /// A tool that takes free text, or text of a grammar.
    Custom { name: String, description: Option<String>, format: Option<Json> },
    /// A tool that the provider runs itself.
    Hosted { kind: String, json: Json },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolChoice {
    Auto,
    None,
    /// At least one of them.
    Required,
    Named {
        name: String,
        is_custom: bool,
    },
    /// Only some of those that are declared.
    Allowed {
        names: Vec<String>,
        is_required: bool,
    },
}

/// How tokens are drawn. Numbers are kept as they were written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sampling {
    pub temperature: Option<Json>,
    pub top_p: Option<Json>,
    pub top_k: Option<u64>,
    pub seed: Option<i64>,
    pub presence_penalty: Option<Json>,
    pub frequency_penalty: Option<Json>,
    /// Token id to bias, as an object.
    pub logit_bias: Option<Json>,
    pub stop: Vec<String>,
    pub logprobs: bool,
    pub top_logprobs: Option<u64>,
    /// How many answers; `None` is one.
    pub choices: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Output {
    pub tokens_max: Option<u64>,
    pub format: Option<OutputFormat>,
    /// Other than text.
    pub modalities: Vec<String>,
    /// Voice and format of spoken answers.
    pub audio: Option<Json>,
    /// `low`, `medium`, `high`.
    pub verbosity: Option<String>,
    /// What most of the answer is expected to be.
    pub prediction: Option<Json>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputFormat {
    Text,
    JsonObject,
    JsonSchema { name: Option<String>, description: Option<String>, schema: Json, strict: Option<bool> },
}

/// How much the model thinks, and how much of it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reasoning {
    pub effort: Option<Effort>,
    pub budget_tokens: Option<u64>,
    /// The model decides how much, up to the effort.
    pub is_adaptive: bool,
    pub shows: Option<Shows>,
    /// The provider's own form of it is wanted back, to be sent again.
    pub wants_encrypted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Effort {
    None,
    Minimal,
    Low,
    Medium,
    High,
    XHigh,
    Max,
}

impl Effort {
    pub const ALL: [Self; 7] =
        [Self::None, Self::Minimal, Self::Low, Self::Medium, Self::High, Self::XHigh, Self::Max];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::XHigh => "xhigh",
            Self::Max => "max",
        }
    }

    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|effort| effort.as_str().eq_ignore_ascii_case(word))
    }

    /// What a budget of thinking tokens comes to.
    #[must_use]
    pub const fn of_budget(tokens: u64) -> Self {
        match tokens {
            0 => Self::None,
            1..=1_024 => Self::Low,
            1_025..=8_192 => Self::Medium,
            8_193..=24_576 => Self::High,
            _ => Self::XHigh,
        }
    }

    /// What models are given that only know a budget.
    #[must_use]
    pub const fn budget(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Minimal | Self::Low => 1_024,
            Self::Medium => 8_192,
            Self::High => 24_576,
            Self::XHigh | Self::Max => 32_768,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shows {
    Nothing,
    /// Nothing is said of it, in a grammar that shows thoughts unasked: those of a grammar that doesn't are asked for.
    Unasked,
    Summary,
    Full,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Caching {
    /// Requests of one key go to where the prefix is cached.
    pub key: Option<String>,
    /// The provider places a mark by itself.
    pub automatic: Option<CacheMark>,
    /// What is kept beyond the usual, as the provider names it.
    pub retention: Option<String>,
    /// A prefix that the provider keeps, by its name there.
    pub content: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServiceTier {
    Auto,
    Default,
    Flex,
    Priority,
}

/// A field that has no place in the form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extra {
    /// As the client wrote it, with the way to it: `context_management`, `messages[2].content[0].source`.
    pub name: String,
    /// Without it the answer is another: it may not be left out silently.
    pub is_meaning: bool,
}

impl Prompt {
    /// What one says; no turn where that is nothing.
    pub fn push_turn(&mut self, role: Role, parts: Vec<Part>) {
        if !parts.is_empty() {
            self.turns.push(Turn { role, name: None, parts });
        }
    }

    /// What a user says where the results of tools are part of that. They come first, wherever among it they stand: other
    /// grammars have them right behind the call.
    pub fn push_user(&mut self, parts: Vec<Part>) {
        let is_result = |part: &Part| matches!(part.content, Content::ToolResult(_));
        let (mut results, parts): (Vec<Part>, Vec<Part>) = parts.into_iter().partition(is_result);
        match self.turns.last_mut() {
            Some(last) if last.role == Role::Tool => last.parts.append(&mut results),
            _ => self.push_turn(Role::Tool, results),
        }
        self.push_turn(Role::User, parts);
    }
}

impl PartialEq for Place {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Aliases {}

impl PartialEq for Aliases {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Aliases {
    /// The first name counts.
    pub fn add(&mut self, of: Aliased, name: &'static str) {
        if self.name(of).is_none() {
            self.0.push((of, name));
        }
    }

    #[must_use]
    pub fn name(&self, of: Aliased) -> Option<&'static str> {
        self.0.iter().find(|(known, _)| *known == of).map(|(_, name)| *name)
    }
}

impl PartialEq for Echo {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl FromIterator<(&'static str, Json)> for Echo {
    fn from_iter<I: IntoIterator<Item = (&'static str, Json)>>(settings: I) -> Self {
        Self(settings.into_iter().collect())
    }
}

impl Echo {
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Json)> {
        self.0.iter().map(|(name, json)| (*name, json))
    }
}

impl Place {
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl Part {
    #[must_use]
    pub const fn of(content: Content) -> Self {
        Self { content, cache: None, place: Place(None) }
    }

    /// As the client said it there. Of most parts nobody will ask where they stood.
    #[must_use]
    pub fn said(content: Content, cache: Option<CacheMark>, place: &str) -> Self {
        let is_asked_for = match content {
            Content::Image { .. } | Content::Audio { .. } | Content::Video { .. } => true,
            Content::Document { .. } | Content::Foreign { .. } => true,
            _ => cache.is_some(),
        };
        Self { content, cache, place: Place(is_asked_for.then(|| place.into())) }
    }

    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::of(Content::Text { text: text.into(), citations: Vec::new() })
    }
}

impl Json {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
