//! What an OpenAI-compatible server supports: facts with their dates, and the subset that shapes requests to
//! it.

/// One property of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ServerFeature {
    /// Lists its models.
    Models,
    /// Serves chat completions.
    Chat,
    Stream,
    /// Reports usage in a buffered answer.
    Usage,
    StreamOptions,
    /// Reports usage in a stream, requested or not.
    StreamUsage,
    /// Ends a stream with `[DONE]`.
    Done,
    DeveloperRole,
    MaxCompletionTokens,
    /// `tool_choice: "required"`.
    ForcedCall,
    ParallelToolCalls,
    JsonSchema,
    /// Accepts a list of text parts as the content of system and tool messages.
    ContentParts,
    /// Accepts `null` as the content of a message that has only tool calls.
    NullContent,
    /// Ignores unknown fields.
    UnknownFields,
    /// Where it returns the model's thinking.
    Reasoning,
    /// The shape of its errors.
    Errors,
    /// Whether it is a Tidegate runtime, which reports its state and lets adapters and training be managed.
    Runtime,
}

const NO: &str = "no";
const YES: &str = "yes";
const FLAG: &[&str] = &[NO, YES];

/// One row: the trait, its name, and its possible values.
struct Row(ServerFeature, &'static str, &'static [&'static str]);

const TABLE: &[Row] = &[
    Row(ServerFeature::Models, "models", FLAG),
    Row(ServerFeature::Chat, "chat", FLAG),
    Row(ServerFeature::Stream, "stream", FLAG),
    Row(ServerFeature::Usage, "usage", FLAG),
    Row(ServerFeature::StreamOptions, "stream_options", FLAG),
    Row(ServerFeature::StreamUsage, "stream_usage", FLAG),
    Row(ServerFeature::Done, "done", FLAG),
    Row(ServerFeature::DeveloperRole, "developer_role", FLAG),
    Row(ServerFeature::MaxCompletionTokens, "max_completion_tokens", FLAG),
    Row(ServerFeature::ForcedCall, "tool_choice_required", FLAG),
    Row(ServerFeature::ParallelToolCalls, "parallel_tool_calls", FLAG),
    Row(ServerFeature::JsonSchema, "json_schema", FLAG),
    Row(ServerFeature::ContentParts, "content_parts", FLAG),
    Row(ServerFeature::NullContent, "null_content", FLAG),
    Row(ServerFeature::UnknownFields, "unknown_fields", FLAG),
    Row(ServerFeature::Reasoning, "reasoning", &["none", "reasoning", "reasoning_content"]),
    Row(ServerFeature::Errors, "errors", &["object", "text", "detail", "message", "page", "other"]),
    Row(ServerFeature::Runtime, "runtime", &[OTHER, TIDEGATE]),
];

/// The values of `ServerFeature::Runtime`.
pub const TIDEGATE: &str = "tidegate";
pub const OTHER: &str = "other";

impl ServerFeature {
    /// All traits, in the order of the table.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.0)
    }

    pub fn named(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    pub fn name(self) -> &'static str {
        self.row().map_or("", |row| row.1)
    }

    /// The possible values.
    pub fn values(self) -> &'static [&'static str] {
        self.row().map_or(&[], |row| row.2)
    }

    /// A finding with this value; `None` if the trait has no such value.
    pub fn found(self, value: &str, unix_ms: u64) -> Option<Finding> {
        let value = self.values().iter().copied().find(|known| *known == value)?;
        Some(Finding { feature: self, value, unix_ms })
    }

    /// A finding that the server has the trait, or that it lacks it.
    pub const fn is(self, truth: bool, unix_ms: u64) -> Finding {
        Finding { feature: self, value: if truth { YES } else { NO }, unix_ms }
    }

    fn row(self) -> Option<&'static Row> {
        TABLE.iter().find(|row| row.0 == self)
    }
}

/// What is known about one trait, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finding {
    pub feature: ServerFeature,
    /// One of the trait's values.
    pub value: &'static str,
    pub unix_ms: u64,
}

impl Finding {
    /// Whether the server has the trait; `None` for a trait with other values.
    pub fn flag(&self) -> Option<bool> {
        match self.value {
            NO => Some(false),
            YES => Some(true),
            _ => None,
        }
    }
}

crate::words! {
    /// Where a fact comes from.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Evidence {
        /// The server was not probed yet, or the probe was inconclusive.
        Unverified = "unverified",
        Probed = "probed",
        /// Declared by a person; takes precedence over a probe.
        Stated = "stated",
    }
}

/// The result of a probe.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProbeResult {
    pub unix_ms: u64,
    /// The model that the probe used.
    pub model: Option<String>,
    /// Why the probe is incomplete, if it is.
    pub error: Option<String>,
    pub findings: Vec<Finding>,
}

/// All known facts about a server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerFacts {
    /// `None` if it was never probed. What an earlier probe found and this one did not is kept, with its
    /// date.
    pub probed: Option<ProbeResult>,
    pub stated: Vec<Finding>,
}

impl ServerFacts {
    /// The finding for a trait, and where it comes from.
    pub fn of(&self, of: ServerFeature) -> (Option<Finding>, Evidence) {
        let find = |findings: &[Finding]| findings.iter().find(|finding| finding.feature == of).copied();
        let stated = find(&self.stated).map(|finding| (Some(finding), Evidence::Stated));
        let probed =
            || find(&self.probed.as_ref()?.findings).map(|finding| (Some(finding), Evidence::Probed));
        stated.or_else(probed).unwrap_or((None, Evidence::Unverified))
    }

    /// Merges a newer probe.
    pub fn learn(&mut self, mut probed: ProbeResult) {
        if let Some(before) = self.probed.take() {
            let is_found = |of| probed.findings.iter().any(|finding| finding.feature == of);
            let kept: Vec<Finding> =
                before.findings.into_iter().filter(|finding| !is_found(finding.feature)).collect();
            probed.findings.extend(kept);
            probed.model = probed.model.or(before.model);
        }
        self.probed = Some(probed);
    }

    /// The properties that shape requests.
    pub fn missing_features(&self) -> MissingFeatures {
        ServerFeature::all()
            .filter(|of| self.of(*of).0.and_then(|finding| finding.flag()) == Some(false))
            .fold(MissingFeatures::default(), MissingFeatures::lacking)
    }
}

/// The traits that a server is known to lack; empty for a server that was never probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MissingFeatures(u32);

impl MissingFeatures {
    /// Adds a trait.
    pub const fn lacking(self, of: ServerFeature) -> Self {
        Self(self.0 | 1 << of as u32)
    }

    pub const fn lacks(self, of: ServerFeature) -> bool {
        self.0 & 1 << of as u32 != 0
    }

    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}
