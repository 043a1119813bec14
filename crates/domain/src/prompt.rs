//! A request to a model in the intermediate form that every wire format is read into and written from. It
//! holds what at least two formats can express. What only one can express is listed in `extras`, and values
//! that are JSON are kept exactly as the client wrote them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// JSON text as its author wrote it. The code that makes one has checked that it is valid.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Json(pub String);

/// A complete request.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Prompt {
    /// Instructions before the first turn, from the system or the developer role.
    pub instructions: Vec<Instruction>,
    pub turns: Vec<Turn>,
    pub tools: Vec<Tool>,
    pub tool_choice: Option<ToolChoice>,
    /// Whether the model may call several tools at once; `None` leaves the target's default, which is yes.
    pub parallel_tools: Option<bool>,
    pub sampling: Sampling,
    pub output: Output,
    pub reasoning: Reasoning,
    pub caching: Caching,
    pub stream: bool,
    /// Whether the provider is to store the answer, to be referred to later.
    pub store: Option<bool>,
    pub service_tier: Option<ServiceTier>,
    /// The end user, under the name that the client gave it.
    pub end_user: Option<String>,
    pub metadata: Vec<(String, String)>,
    /// Groups (namespaces) in which the client declared its functions. In formats with flat names a function
    /// is `group__function`, and this list is needed to split the names in its calls again.
    pub namespaces: Vec<String>,
    /// Fields of the request that the intermediate form cannot express.
    pub extras: Vec<Extra>,
    /// Fields for which the client used another of its format's names than the usual one.
    pub aliases: Aliases,
    pub echo: Echo,
    /// Tools of a provider's own that the target lacks are dropped and reported: its route says so.
    pub drops_hosted_tools: bool,
}

/// A field for which some wire format has several names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Aliased {
    CacheMark,
    EndUser,
    Reasoning,
    ThinkingBudget,
    Thought,
}

/// The names that the client used, so that reports about dropped fields use them too. They do not change the
/// request's meaning.
#[derive(Debug, Clone, Default)]
pub struct Aliases(Vec<(Aliased, &'static str)>);

/// Settings as the client wrote them, by name, for wire formats whose answers repeat them. They add nothing
/// to the request.
#[derive(Debug, Clone, Default)]
pub struct Echo(Arc<[(&'static str, Json)]>);

/// One instruction. Consecutive instructions of one role stay separate, because each has its own cache mark.
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
    /// Results of tools that the assistant called; consecutive results form one turn.
    Tool,
    /// An instruction in the middle of a conversation.
    System,
    Developer,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    pub role: Role,
    /// The participant's name, where several share a role.
    pub name: Option<String>,
    pub parts: Vec<Part>,
}

/// A part of a turn, and whether the prompt up to its end is to be cached.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    pub content: Content,
    pub cache: Option<CacheMark>,
    pub path: ValuePath,
}

/// The path of a value that not every upstream can be sent, as errors name it: `messages[2].content[0]`. It
/// takes no part in comparisons.
#[derive(Debug, Clone, Default)]
pub struct ValuePath(Option<Box<str>>);

#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    Text {
        text: String,
        /// Citations in their provider's wire format, each with its type.
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
        /// Context about the document for the model.
        context: Option<String>,
        /// Whether the answer is to cite the document.
        cite: bool,
    },
    ToolCall(ToolCall),
    ToolResult(ToolResult),
    Thought(Thought),
    /// The model's own words when it refuses to answer.
    Refusal {
        text: String,
    },
    /// A part specific to one provider, such as the call of a tool that the provider runs itself.
    Foreign {
        /// The part's type in its wire format, such as `web_search_call`.
        kind: String,
        json: Json,
    },
}

/// Where a part's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Base64, as received.
    Inline {
        media_type: String,
        base64: String,
    },
    /// Plain text instead of a file.
    Text(String),
    Url {
        url: String,
        media_type: Option<String>,
    },
    /// A file stored at a provider, by its id there.
    File {
        id: String,
        media_type: Option<String>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    pub id: String,
    pub name: String,
    /// The arguments, byte for byte as the model wrote them: JSON, unless the model made a mistake. For a
    /// custom tool, free text.
    pub arguments: String,
    pub is_custom: bool,
    /// What the provider must be sent again with this call.
    pub signature: Option<Signature>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ToolResult {
    /// The id of the call that it answers.
    pub id: String,
    /// The tool's name; formats that pair results with calls by id omit it.
    pub name: Option<String>,
    /// Text and media parts; never another call.
    pub parts: Vec<Part>,
    pub is_error: bool,
    pub is_custom: bool,
}

/// The model's thinking before its answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Thought {
    /// The thinking text; empty where the provider withholds it.
    pub text: String,
    /// The text is a summary for readers.
    pub is_summary: bool,
    pub signature: Option<Signature>,
    /// The thinking is given only in a form that the provider alone can read, held by `signature`.
    pub is_redacted: bool,
    /// The item's id at its provider.
    pub id: Option<String>,
}

/// A provider's signature over its own output, valid only there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// The wire format that it was read from.
    pub grammar: crate::Grammar,
    pub value: String,
}

/// A cache mark: the prompt up to here may be cached.
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
        /// JSON Schema of the parameters; `None` if there are none.
        schema: Option<Json>,
        strict: Option<bool>,
    },
    /// A tool whose input is free text, or text that follows a grammar.
    Custom { name: String, description: Option<String>, format: Option<Json> },
    /// A hosted tool, which the provider runs itself.
    Hosted { kind: String, json: Json },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolChoice {
    Auto,
    None,
    /// The model must call at least one tool.
    Required,
    Named {
        name: String,
        is_custom: bool,
    },
    /// Only some of the declared tools may be called.
    Allowed {
        names: Vec<String>,
        is_required: bool,
    },
}

/// Sampling parameters. Numbers are kept as they were written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sampling {
    pub temperature: Option<Json>,
    pub top_p: Option<Json>,
    pub top_k: Option<u64>,
    pub seed: Option<i64>,
    pub presence_penalty: Option<Json>,
    pub frequency_penalty: Option<Json>,
    /// An object from token id to bias.
    pub logit_bias: Option<Json>,
    pub stop: Vec<String>,
    pub logprobs: bool,
    pub top_logprobs: Option<u64>,
    /// How many answers; `None` means one.
    pub choices: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Output {
    pub tokens_max: Option<u64>,
    pub format: Option<OutputFormat>,
    /// Output modalities other than text.
    pub modalities: Vec<String>,
    /// Voice and format of audio output.
    pub audio: Option<Json>,
    /// `low`, `medium`, `high`.
    pub verbosity: Option<String>,
    /// Predicted output: the expected text of most of the answer.
    pub prediction: Option<Json>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputFormat {
    Text,
    JsonObject,
    JsonSchema { name: Option<String>, description: Option<String>, schema: Json, strict: Option<bool> },
}

/// How much the model thinks, and how much of its thinking is returned.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reasoning {
    pub effort: Option<Effort>,
    pub budget_tokens: Option<u64>,
    /// Adaptive thinking: the model decides how much, up to the effort.
    pub is_adaptive: bool,
    pub visibility: Option<ThinkingVisibility>,
    /// Whether to return the thinking in the provider's encrypted form, so that it can be sent again.
    pub wants_encrypted: bool,
}

crate::words! {
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub enum Effort {
        None = "none",
        Minimal = "minimal",
        Low = "low",
        Medium = "medium",
        High = "high",
        XHigh = "xhigh",
        Max = "max",
    }
}

impl Effort {
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|effort| effort.as_str().eq_ignore_ascii_case(word))
    }

    /// The effort that corresponds to a budget of thinking tokens.
    pub const fn of_budget(tokens: u64) -> Self {
        match tokens {
            0 => Self::None,
            1..=1_024 => Self::Low,
            1_025..=8_192 => Self::Medium,
            8_193..=24_576 => Self::High,
            _ => Self::XHigh,
        }
    }

    /// The budget for models that accept no effort.
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
pub enum ThinkingVisibility {
    Nothing,
    /// Unset, in a format that returns thinking by default. Towards a format that does not, thinking is
    /// requested.
    Unasked,
    Summary,
    Full,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Caching {
    /// Cache key: requests with the same key are routed to where the prefix is cached.
    pub key: Option<String>,
    /// The provider places a cache mark by itself.
    pub automatic: Option<CacheMark>,
    /// Retention beyond the default, in the provider's word.
    pub retention: Option<String>,
    /// An explicitly cached prefix at the provider, by its name there.
    pub content: Option<String>,
}

crate::words! {
    /// Its words are those of OpenAI's APIs.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum ServiceTier by by_name {
        Auto = "auto",
        Default = "default",
        Flex = "flex",
        Priority = "priority",
    }
}

/// A field that the intermediate form cannot express.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extra {
    /// The field's path, as the client wrote it: `context_management`, `messages[2].content[0].source`.
    pub name: String,
    /// Whether dropping the field would change the answer, so that it may not be dropped silently.
    pub affects_answer: bool,
}

impl Prompt {
    /// Appends a turn, unless it has no parts.
    pub fn push_turn(&mut self, role: Role, parts: Vec<Part>) {
        if !parts.is_empty() {
            self.turns.push(Turn { role, name: None, parts });
        }
    }

    /// Appends a user message that may contain tool results. Results come first, wherever in the message they
    /// were: other formats want them directly after the call.
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

impl PartialEq for ValuePath {
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
    /// Records the name used for a field; the first one counts.
    pub fn add(&mut self, of: Aliased, name: &'static str) {
        if self.name(of).is_none() {
            self.0.push((of, name));
        }
    }

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

impl ValuePath {
    pub fn as_str(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl Part {
    pub const fn of(content: Content) -> Self {
        Self { content, cache: None, path: ValuePath(None) }
    }

    /// A part with its path in the request. The path is kept only for parts that some upstream cannot be
    /// sent.
    pub fn with_path(content: Content, cache: Option<CacheMark>, path: &str) -> Self {
        let needs_path = match content {
            Content::Image { .. } | Content::Audio { .. } | Content::Video { .. } => true,
            Content::Document { .. } | Content::Foreign { .. } => true,
            _ => cache.is_some(),
        };
        Self { content, cache, path: ValuePath(needs_path.then(|| path.into())) }
    }

    pub fn text(text: impl Into<String>) -> Self {
        Self::of(Content::Text { text: text.into(), citations: Vec::new() })
    }
}

impl Json {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
