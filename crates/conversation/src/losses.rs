//! Request features that one dialect has and another can't express: one table, which says for each whether
//! the feature may be dropped.

use std::collections::HashSet;

use domain::prompt::{Aliased, Aliases, ToolKind, ValuePath};
use domain::{Fault, FaultClass, Grammar, Prompt};

use crate::calls::Declared;

/// A request feature that some dialect can't express.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Feature {
    Choices,
    Logprobs,
    Seed,
    Temperature,
    TopP,
    TopK,
    PresencePenalty,
    FrequencyPenalty,
    LogitBias,
    Stop,
    Image,
    Audio,
    Video,
    Document,
    ProviderFile,
    /// Media given by URL.
    MediaUrl,
    Modalities,
    SpokenAudio,
    Prediction,
    Verbosity,
    Metadata,
    EndUser,
    ServiceTier,
    Store,
    CacheMark,
    CacheKey,
    CacheRetention,
    CachedContent,
    SingleToolCalls,
    /// `tool_choice` that forces a call.
    ForcedCall,
    /// `tool_choice` that forbids calls although tools are declared.
    NoCall,
    /// The grammar constraint on a custom tool's text.
    CustomFormat,
    HostedTool,
    StrictTool,
    JsonObject,
    JsonSchema,
    Reasoning,
    /// Whether reasoning is returned to the client.
    ShownReasoning,
    ThinkingBudget,
    EncryptedReasoning,
    /// Reasoning in the history that only its own provider can read, or that has no field.
    Thought,
    Citations,
    ParticipantName,
    ImageDetail,
    DocumentContext,
    /// Usage in a stream.
    StreamUsage,
}

/// Whether a feature may be dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Droppable {
    /// Without it the answer differs: the request is refused unless the client is lenient.
    Meaning,
    /// Without it the answer is the same, or as good: it is dropped and reported.
    Hint,
}

/// One row: the feature, its sort, and its name in Chat Completions, Responses, Anthropic, Gemini and
/// Converse; empty where that dialect can't express it.
struct Row(Feature, Droppable, [&'static str; 5]);

const TABLE: &[Row] = &[
    Row(Feature::Choices, Droppable::Meaning, ["n", "", "", "generationConfig.candidateCount", ""]),
    Row(
        Feature::Logprobs,
        Droppable::Meaning,
        ["logprobs", "top_logprobs", "", "generationConfig.responseLogprobs", ""],
    ),
    Row(Feature::Seed, Droppable::Hint, ["seed", "", "", "generationConfig.seed", ""]),
    Row(
        Feature::Temperature,
        Droppable::Hint,
        [
            "temperature",
            "temperature",
            "temperature",
            "generationConfig.temperature",
            "inferenceConfig.temperature",
        ],
    ),
    Row(
        Feature::TopP,
        Droppable::Hint,
        ["top_p", "top_p", "top_p", "generationConfig.topP", "inferenceConfig.topP"],
    ),
    Row(
        Feature::TopK,
        Droppable::Hint,
        ["", "", "top_k", "generationConfig.topK", "additionalModelRequestFields.top_k"],
    ),
    Row(
        Feature::PresencePenalty,
        Droppable::Hint,
        ["presence_penalty", "", "", "generationConfig.presencePenalty", ""],
    ),
    Row(
        Feature::FrequencyPenalty,
        Droppable::Hint,
        ["frequency_penalty", "", "", "generationConfig.frequencyPenalty", ""],
    ),
    Row(Feature::LogitBias, Droppable::Hint, ["logit_bias", "", "", "", ""]),
    Row(
        Feature::Stop,
        Droppable::Meaning,
        ["stop", "", "stop_sequences", "generationConfig.stopSequences", "inferenceConfig.stopSequences"],
    ),
    Row(Feature::Image, Droppable::Meaning, ["image_url", "input_image", "image", "inlineData", "image"]),
    Row(Feature::Audio, Droppable::Meaning, ["input_audio", "", "", "inlineData", "audio"]),
    Row(Feature::Video, Droppable::Meaning, ["", "", "", "inlineData", "video"]),
    Row(Feature::Document, Droppable::Meaning, ["file", "input_file", "document", "inlineData", "document"]),
    Row(Feature::ProviderFile, Droppable::Meaning, ["file_id", "file_id", "file_id", "fileData", ""]),
    Row(
        Feature::MediaUrl,
        Droppable::Meaning,
        ["image_url.url", "image_url", "source.url", "fileData.fileUri", ""],
    ),
    Row(
        Feature::Modalities,
        Droppable::Meaning,
        ["modalities", "", "", "generationConfig.responseModalities", ""],
    ),
    Row(Feature::SpokenAudio, Droppable::Meaning, ["audio", "", "", "generationConfig.speechConfig", ""]),
    Row(Feature::Prediction, Droppable::Hint, ["prediction", "", "", "", ""]),
    Row(Feature::Verbosity, Droppable::Hint, ["verbosity", "text.verbosity", "", "", ""]),
    Row(Feature::Metadata, Droppable::Hint, ["metadata", "metadata", "", "labels", "requestMetadata"]),
    Row(Feature::EndUser, Droppable::Hint, ["user", "user", "metadata.user_id", "", ""]),
    Row(
        Feature::ServiceTier,
        Droppable::Hint,
        ["service_tier", "service_tier", "service_tier", "serviceTier", "serviceTier"],
    ),
    Row(Feature::Store, Droppable::Hint, ["store", "store", "", "store", ""]),
    Row(
        Feature::CacheMark,
        Droppable::Hint,
        ["prompt_cache_breakpoint", "prompt_cache_breakpoint", "cache_control", "", "cachePoint"],
    ),
    Row(Feature::CacheKey, Droppable::Hint, ["prompt_cache_key", "prompt_cache_key", "", "", ""]),
    Row(
        Feature::CacheRetention,
        Droppable::Hint,
        ["prompt_cache_retention", "prompt_cache_retention", "", "", ""],
    ),
    Row(Feature::CachedContent, Droppable::Meaning, ["", "", "", "cachedContent", ""]),
    // Where it can't be expressed and several tools could be called, only the first call of the answer is
    // forwarded.
    Row(
        Feature::SingleToolCalls,
        Droppable::Hint,
        [
            "parallel_tool_calls",
            "parallel_tool_calls",
            "tool_choice.disable_parallel_tool_use",
            "",
            "additionalModelRequestFields.tool_choice.disable_parallel_tool_use",
        ],
    ),
    Row(
        Feature::ForcedCall,
        Droppable::Meaning,
        [
            "tool_choice",
            "tool_choice",
            "tool_choice",
            "toolConfig.functionCallingConfig.mode",
            "toolConfig.toolChoice",
        ],
    ),
    Row(
        Feature::NoCall,
        Droppable::Meaning,
        ["tool_choice", "tool_choice", "tool_choice", "toolConfig.functionCallingConfig.mode", ""],
    ),
    Row(Feature::CustomFormat, Droppable::Hint, ["custom.format", "format", "", "", ""]),
    Row(Feature::HostedTool, Droppable::Hint, ["web_search_options", "tools", "tools", "tools", ""]),
    Row(
        Feature::StrictTool,
        Droppable::Hint,
        ["tools.function.strict", "tools.strict", "tools.strict", "", "toolSpec.strict"],
    ),
    // Where it can't be expressed, the instructions say it.
    Row(
        Feature::JsonObject,
        Droppable::Hint,
        ["response_format", "text.format", "", "generationConfig.responseMimeType", ""],
    ),
    Row(
        Feature::JsonSchema,
        Droppable::Meaning,
        [
            "response_format",
            "text.format",
            "output_config.format",
            "generationConfig.responseJsonSchema",
            "outputConfig.textFormat",
        ],
    ),
    Row(
        Feature::Reasoning,
        Droppable::Hint,
        [
            "reasoning_effort",
            "reasoning",
            "thinking",
            "generationConfig.thinkingConfig",
            "outputConfig.effort",
        ],
    ),
    Row(
        Feature::ShownReasoning,
        Droppable::Hint,
        [
            "",
            "reasoning.summary",
            "thinking.display",
            "generationConfig.thinkingConfig.includeThoughts",
            "additionalModelRequestFields.thinking.display",
        ],
    ),
    Row(
        Feature::ThinkingBudget,
        Droppable::Hint,
        [
            "",
            "",
            "thinking.budget_tokens",
            "generationConfig.thinkingConfig.thinkingBudget",
            "additionalModelRequestFields.thinking.budget_tokens",
        ],
    ),
    Row(Feature::EncryptedReasoning, Droppable::Hint, ["", "include", "", "", ""]),
    Row(
        Feature::Thought,
        Droppable::Hint,
        ["reasoning_content", "reasoning", "thinking", "thought", "reasoningContent"],
    ),
    Row(
        Feature::Citations,
        Droppable::Hint,
        ["annotations", "annotations", "citations", "", "citationsContent"],
    ),
    Row(Feature::ParticipantName, Droppable::Hint, ["messages.name", "", "", "", ""]),
    Row(Feature::ImageDetail, Droppable::Hint, ["image_url.detail", "input_image.detail", "", "", ""]),
    Row(Feature::DocumentContext, Droppable::Hint, ["", "", "document.context", "", "document.context"]),
    Row(Feature::StreamUsage, Droppable::Hint, ["stream_options", "", "", "", ""]),
];

/// Extension fields of Chat Completions servers that are not in the table, and that the answer is as good
/// without.
const ADDED_HINTS: &[&str] = &[
    "min_p",
    "typical_p",
    "repetition_penalty",
    "chat_template_kwargs",
    "reasoning_format",
    "reasoning_history",
    "include_reasoning",
    // OpenRouter's request for usage in the answer: every answer reports it.
    "usage",
];

/// The names of a cache breakpoint.
const MARKS: &[&str] = &["cache_control", "prompt_cache_breakpoint", "cachePoint"];

/// Whether it is a cache breakpoint: wherever it is, the answer is the same without it.
pub fn is_mark(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    MARKS.contains(&last)
}

/// The tool kind that stands for web search in Chat Completions, where it is a field and not a tool.
pub const WEB_SEARCH: &str = "web_search_options";

/// Whether dropping a Chat Completions field that is not in the table changes the answer.
pub fn is_meaning(name: &str) -> bool {
    !ADDED_HINTS.contains(&name)
}

const fn column(grammar: Grammar) -> usize {
    match grammar {
        Grammar::Chat => 0,
        Grammar::Responses => 1,
        Grammar::Anthropic => 2,
        Grammar::Gemini => 3,
        Grammar::Converse | Grammar::Hosted => 4,
    }
}

impl Feature {
    /// Every feature, in the order of the table.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.0)
    }

    /// The feature with this name in a dialect.
    #[must_use]
    pub fn named(grammar: Grammar, name: &str) -> Option<Self> {
        Self::all().find(|feature| feature.name(grammar) == Some(name))
    }

    fn row(self) -> Option<&'static Row> {
        TABLE.iter().find(|row| row.0 == self)
    }

    #[must_use]
    pub fn droppable(self) -> Droppable {
        self.row().map_or(Droppable::Meaning, |row| row.1)
    }

    const fn aliased(self) -> Option<Aliased> {
        match self {
            Self::CacheMark => Some(Aliased::CacheMark),
            Self::EndUser => Some(Aliased::EndUser),
            Self::Reasoning => Some(Aliased::Reasoning),
            Self::ThinkingBudget => Some(Aliased::ThinkingBudget),
            Self::Thought => Some(Aliased::Thought),
            _ => None,
        }
    }

    /// Its name in a dialect; `None` where the dialect can't express it.
    #[must_use]
    pub fn name(self, grammar: Grammar) -> Option<&'static str> {
        let name = *self.row()?.2.get(column(grammar))?;
        (!name.is_empty()).then_some(name)
    }
}

/// The dropped fields of one request, under the client's names for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DroppedFields {
    client: Grammar,
    aliases: Aliases,
    by: By,
    lost: Vec<(String, Droppable, Option<Feature>)>,
    /// The names in `lost`: a body may hold as many as fit into it, so lookups must be fast.
    names: HashSet<String>,
}

/// Why something is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// The upstream's dialect can't express it.
    Grammar(Grammar),
    /// The dialect can, but this server does not accept it.
    Server,
}

impl DroppedFields {
    #[must_use]
    pub fn new(client: Grammar, upstream: Grammar) -> Self {
        let aliases = Aliases::default();
        Self { client, aliases, by: By::Grammar(upstream), lost: Vec::new(), names: HashSet::new() }
    }

    /// Sets the names that the client used where its dialect has several.
    #[must_use]
    pub fn with_aliases(mut self, aliases: &Aliases) -> Self {
        self.aliases.clone_from(aliases);
        self
    }

    /// For a server that supports only part of its dialect.
    #[must_use]
    pub fn of_server(client: Grammar) -> Self {
        let aliases = Aliases::default();
        Self { client, aliases, by: By::Server, lost: Vec::new(), names: HashSet::new() }
    }

    /// The client's name for a feature; `None` where its dialect can't express it.
    fn own_name(&self, feature: Feature) -> Option<&'static str> {
        let alias = feature.aliased().and_then(|aliased| self.aliases.name(aliased));
        alias.or_else(|| feature.name(self.client))
    }

    /// The dialect whose names are reported.
    #[must_use]
    pub const fn client(&self) -> Grammar {
        self.client
    }

    /// The target can't express the feature.
    pub fn drop_feature(&mut self, feature: Feature) {
        let name = self.own_name(feature).unwrap_or("this");
        self.drop_at(feature, name);
    }

    /// Drops those features that the request uses.
    pub fn drop_used(&mut self, rows: impl IntoIterator<Item = (bool, Feature)>) {
        rows.into_iter().filter(|(is_used, _)| *is_used).for_each(|(_, feature)| self.drop_feature(feature));
    }

    /// The target can't express the feature, which the client used at this path: `messages[2].content[0]`.
    pub fn drop_at(&mut self, feature: Feature, name: impl Into<String>) {
        self.push(name.into(), feature.droppable(), Some(feature));
    }

    /// The target can't express a feature used in a part, whose place may be known.
    pub fn drop_in(&mut self, feature: Feature, path: &ValuePath) {
        match (path.as_str(), self.own_name(feature)) {
            (Some(path), Some(name)) => self.drop_at(feature, format!("{path}.{name}")),
            _ => self.drop_feature(feature),
        }
    }

    /// The target does not have this tool.
    pub fn drop_tool(&mut self, index: usize, tool: &ToolKind) {
        match tool {
            // In the client's dialect this is a field, not a tool.
            ToolKind::Hosted { kind, .. } if kind == WEB_SEARCH => {
                self.drop_at(Feature::HostedTool, WEB_SEARCH)
            }
            _ => self.drop_at(Feature::HostedTool, format!("tools[{index}]")),
        }
    }

    /// Reports a custom tool's grammar constraint, where it is only described in prose.
    pub fn drop_custom_format(&mut self, index: usize, declared: &Declared<'_>) {
        if declared.loses_format {
            let name = self.own_name(Feature::CustomFormat).unwrap_or("format");
            self.drop_at(Feature::CustomFormat, format!("tools[{index}].{name}"));
        }
    }

    /// Calls and results of hosted tools in earlier turns, and other parts that only their own provider can
    /// read. A long history has many, so each kind is reported once.
    pub fn drop_foreign(&mut self, kind: &str) {
        self.drop_at(Feature::HostedTool, kind);
    }

    /// The target can't express one aspect of the feature, and the answer is as good without it: always a
    /// hint.
    pub fn drop_aspect(&mut self, feature: Feature) {
        let name = self.own_name(feature).unwrap_or("this");
        self.push(name.to_owned(), Droppable::Hint, Some(feature));
    }

    /// A field that no table has.
    pub fn drop_unknown(&mut self, name: impl Into<String>, is_meaning: bool) {
        self.push(name.into(), if is_meaning { Droppable::Meaning } else { Droppable::Hint }, None);
    }

    fn push(&mut self, name: String, sort: Droppable, feature: Option<Feature>) {
        if self.names.insert(name.clone()) {
            self.lost.push((name, sort, feature));
        }
    }

    /// The dropped fields, under the client's names.
    ///
    /// # Errors
    /// A field that changes the answer would be dropped, and the client has not allowed that: the fault names
    /// it.
    pub fn finish(self, is_lenient: bool) -> Result<Vec<String>, Box<Fault>> {
        let needed = self.lost.iter().find(|(_, sort, _)| *sort == Droppable::Meaning && !is_lenient);
        if let Some((name, _, feature)) = needed {
            return Err(match self.by {
                By::Grammar(upstream) => unsupported_by_grammar(name, *feature, upstream),
                By::Server => unsupported_by_server(name),
            });
        }
        Ok(self.lost.into_iter().map(|(name, _, _)| name).collect())
    }
}

/// Sampling settings that only chat dialects can express.
pub fn of_sampling(prompt: &Prompt) -> [(bool, Feature); 6] {
    let sampling = &prompt.sampling;
    [
        (sampling.choices.is_some_and(|choices| choices > 1), Feature::Choices),
        (sampling.logprobs || sampling.top_logprobs.is_some(), Feature::Logprobs),
        (sampling.seed.is_some(), Feature::Seed),
        (sampling.presence_penalty.is_some(), Feature::PresencePenalty),
        (sampling.frequency_penalty.is_some(), Feature::FrequencyPenalty),
        (sampling.logit_bias.is_some(), Feature::LogitBias),
    ]
}

/// Output, reasoning and caching settings that Messages-like dialects (Anthropic, Converse) can't express.
pub fn of_messages(prompt: &Prompt) -> [(bool, Feature); 8] {
    let Prompt { output, caching, .. } = prompt;
    [
        (output.modalities.iter().any(|modality| modality != "text"), Feature::Modalities),
        (output.audio.is_some(), Feature::SpokenAudio),
        (output.verbosity.is_some(), Feature::Verbosity),
        (output.prediction.is_some(), Feature::Prediction),
        (prompt.reasoning.wants_encrypted, Feature::EncryptedReasoning),
        (caching.key.is_some(), Feature::CacheKey),
        (caching.retention.is_some(), Feature::CacheRetention),
        (caching.content.is_some(), Feature::CachedContent),
    ]
}

fn unsupported_by_grammar(name: &str, feature: Option<Feature>, upstream: Grammar) -> Box<Fault> {
    let message = format!(
        "The model that was to answer is spoken to in the {} grammar, which has no words for \"{name}\".",
        upstream.as_str()
    );
    let able: Vec<&str> = Grammar::ALL
        .into_iter()
        .filter(|grammar| feature.is_some_and(|feature| feature.name(*grammar).is_some()))
        .map(Grammar::as_str)
        .collect();
    let other = if able.is_empty() {
        String::new()
    } else {
        format!(" use a model whose provider speaks {} (GET /v2/capabilities lists them),", able.join(" or "))
    };
    let fix = format!("Leave it out,{other} or send \"Agent-Lenient: true\" to have it dropped.");
    let fault = Fault::new(FaultClass::Unsupported, "unsupported_parameter", message);
    Box::new(fault.fix(fix).param(name.to_owned()))
}

fn unsupported_by_server(name: &str) -> Box<Fault> {
    let message = format!("The server that was to answer does not take \"{name}\".");
    let fix = "Leave it out, use another model, or send \"Agent-Lenient: true\" to have it dropped. If the server does take it, \
               probe it again or state so on its credential or node.";
    let fault = Fault::new(FaultClass::Unsupported, "unsupported_parameter", message);
    Box::new(fault.fix(fix).param(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_is_in_the_table_once_and_said_by_some_grammar() {
        for (at, row) in TABLE.iter().enumerate() {
            assert!(TABLE.iter().take(at).all(|other| other.0 != row.0), "{:?}", row.0);
            assert!(Grammar::ALL.into_iter().any(|grammar| row.0.name(grammar).is_some()), "{:?}", row.0);
        }
    }

    #[test]
    fn meaning_is_refused_by_name_and_a_hint_is_told() {
        let mut losses = DroppedFields::new(Grammar::Chat, Grammar::Anthropic);
        losses.drop_feature(Feature::Seed);
        losses.drop_feature(Feature::Seed);
        assert_eq!(losses.clone().finish(false).unwrap(), ["seed"]);
        losses.drop_feature(Feature::Logprobs);
        let fault = losses.clone().finish(false).unwrap_err();
        assert_eq!(fault.param.as_deref(), Some("logprobs"));
        assert!(fault.to_string().contains("chat or responses or gemini"), "{fault}");
        assert_eq!(losses.finish(true).unwrap(), ["seed", "logprobs"]);
    }
}
