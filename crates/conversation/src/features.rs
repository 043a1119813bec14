//! Request features that one dialect has and another can't express: one table, which says for each whether
//! the feature may be dropped.

use domain::Grammar;
use domain::prompt::Aliased;

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
    VisibleReasoning,
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

/// The name of a feature in each grammar; empty where it has none.
#[derive(Debug, Clone, Copy)]
struct Names {
    chat: &'static str,
    responses: &'static str,
    anthropic: &'static str,
    gemini: &'static str,
    converse: &'static str,
}

const NO_NAMES: Names = Names { chat: "", responses: "", anthropic: "", gemini: "", converse: "" };

struct Row {
    feature: Feature,
    droppable: Droppable,
    names: Names,
}

const TABLE: &[Row] = &[
    Row {
        feature: Feature::Choices,
        droppable: Droppable::Meaning,
        names: Names { chat: "n", gemini: "generationConfig.candidateCount", ..NO_NAMES },
    },
    Row {
        feature: Feature::Logprobs,
        droppable: Droppable::Meaning,
        names: Names {
            chat: "logprobs",
            responses: "top_logprobs",
            gemini: "generationConfig.responseLogprobs",
            ..NO_NAMES
        },
    },
    Row {
        feature: Feature::Seed,
        droppable: Droppable::Hint,
        names: Names { chat: "seed", gemini: "generationConfig.seed", ..NO_NAMES },
    },
    Row {
        feature: Feature::Temperature,
        droppable: Droppable::Hint,
        names: Names {
            chat: "temperature",
            responses: "temperature",
            anthropic: "temperature",
            gemini: "generationConfig.temperature",
            converse: "inferenceConfig.temperature",
        },
    },
    Row {
        feature: Feature::TopP,
        droppable: Droppable::Hint,
        names: Names {
            chat: "top_p",
            responses: "top_p",
            anthropic: "top_p",
            gemini: "generationConfig.topP",
            converse: "inferenceConfig.topP",
        },
    },
    Row {
        feature: Feature::TopK,
        droppable: Droppable::Hint,
        names: Names {
            anthropic: "top_k",
            gemini: "generationConfig.topK",
            converse: "additionalModelRequestFields.top_k",
            ..NO_NAMES
        },
    },
    Row {
        feature: Feature::PresencePenalty,
        droppable: Droppable::Hint,
        names: Names { chat: "presence_penalty", gemini: "generationConfig.presencePenalty", ..NO_NAMES },
    },
    Row {
        feature: Feature::FrequencyPenalty,
        droppable: Droppable::Hint,
        names: Names { chat: "frequency_penalty", gemini: "generationConfig.frequencyPenalty", ..NO_NAMES },
    },
    Row {
        feature: Feature::LogitBias,
        droppable: Droppable::Hint,
        names: Names { chat: "logit_bias", ..NO_NAMES },
    },
    Row {
        feature: Feature::Stop,
        droppable: Droppable::Meaning,
        names: Names {
            chat: "stop",
            anthropic: "stop_sequences",
            gemini: "generationConfig.stopSequences",
            converse: "inferenceConfig.stopSequences",
            ..NO_NAMES
        },
    },
    Row {
        feature: Feature::Image,
        droppable: Droppable::Meaning,
        names: Names {
            chat: "image_url",
            responses: "input_image",
            anthropic: "image",
            gemini: "inlineData",
            converse: "image",
        },
    },
    Row {
        feature: Feature::Audio,
        droppable: Droppable::Meaning,
        names: Names { chat: "input_audio", gemini: "inlineData", converse: "audio", ..NO_NAMES },
    },
    Row {
        feature: Feature::Video,
        droppable: Droppable::Meaning,
        names: Names { gemini: "inlineData", converse: "video", ..NO_NAMES },
    },
    Row {
        feature: Feature::Document,
        droppable: Droppable::Meaning,
        names: Names {
            chat: "file",
            responses: "input_file",
            anthropic: "document",
            gemini: "inlineData",
            converse: "document",
        },
    },
    Row {
        feature: Feature::ProviderFile,
        droppable: Droppable::Meaning,
        names: Names {
            chat: "file_id",
            responses: "file_id",
            anthropic: "file_id",
            gemini: "fileData",
            ..NO_NAMES
        },
    },
    Row {
        feature: Feature::MediaUrl,
        droppable: Droppable::Meaning,
        names: Names {
            chat: "image_url.url",
            responses: "image_url",
            anthropic: "source.url",
            gemini: "fileData.fileUri",
            ..NO_NAMES
        },
    },
    Row {
        feature: Feature::Modalities,
        droppable: Droppable::Meaning,
        names: Names { chat: "modalities", gemini: "generationConfig.responseModalities", ..NO_NAMES },
    },
    Row {
        feature: Feature::SpokenAudio,
        droppable: Droppable::Meaning,
        names: Names { chat: "audio", gemini: "generationConfig.speechConfig", ..NO_NAMES },
    },
    Row {
        feature: Feature::Prediction,
        droppable: Droppable::Hint,
        names: Names { chat: "prediction", ..NO_NAMES },
    },
    Row {
        feature: Feature::Verbosity,
        droppable: Droppable::Hint,
        names: Names { chat: "verbosity", responses: "text.verbosity", ..NO_NAMES },
    },
    Row {
        feature: Feature::Metadata,
        droppable: Droppable::Hint,
        names: Names {
            chat: "metadata",
            responses: "metadata",
            gemini: "labels",
            converse: "requestMetadata",
            ..NO_NAMES
        },
    },
    Row {
        feature: Feature::EndUser,
        droppable: Droppable::Hint,
        names: Names { chat: "user", responses: "user", anthropic: "metadata.user_id", ..NO_NAMES },
    },
    Row {
        feature: Feature::ServiceTier,
        droppable: Droppable::Hint,
        names: Names {
            chat: "service_tier",
            responses: "service_tier",
            anthropic: "service_tier",
            gemini: "serviceTier",
            converse: "serviceTier",
        },
    },
    Row {
        feature: Feature::Store,
        droppable: Droppable::Hint,
        names: Names { chat: "store", responses: "store", gemini: "store", ..NO_NAMES },
    },
    Row {
        feature: Feature::CacheMark,
        droppable: Droppable::Hint,
        names: Names {
            chat: "prompt_cache_breakpoint",
            responses: "prompt_cache_breakpoint",
            anthropic: "cache_control",
            converse: "cachePoint",
            ..NO_NAMES
        },
    },
    Row {
        feature: Feature::CacheKey,
        droppable: Droppable::Hint,
        names: Names { chat: "prompt_cache_key", responses: "prompt_cache_key", ..NO_NAMES },
    },
    Row {
        feature: Feature::CacheRetention,
        droppable: Droppable::Hint,
        names: Names { chat: "prompt_cache_retention", responses: "prompt_cache_retention", ..NO_NAMES },
    },
    Row {
        feature: Feature::CachedContent,
        droppable: Droppable::Meaning,
        names: Names { gemini: "cachedContent", ..NO_NAMES },
    },
    // Where it can't be expressed and several tools could be called, only the first call of the answer is
    // forwarded.
    Row {
        feature: Feature::SingleToolCalls,
        droppable: Droppable::Hint,
        names: Names {
            chat: "parallel_tool_calls",
            responses: "parallel_tool_calls",
            anthropic: "tool_choice.disable_parallel_tool_use",
            converse: "additionalModelRequestFields.tool_choice.disable_parallel_tool_use",
            ..NO_NAMES
        },
    },
    Row {
        feature: Feature::ForcedCall,
        droppable: Droppable::Meaning,
        names: Names {
            chat: "tool_choice",
            responses: "tool_choice",
            anthropic: "tool_choice",
            gemini: "toolConfig.functionCallingConfig.mode",
            converse: "toolConfig.toolChoice",
        },
    },
    Row {
        feature: Feature::NoCall,
        droppable: Droppable::Meaning,
        names: Names {
            chat: "tool_choice",
            responses: "tool_choice",
            anthropic: "tool_choice",
            gemini: "toolConfig.functionCallingConfig.mode",
            ..NO_NAMES
        },
    },
    Row {
        feature: Feature::CustomFormat,
        droppable: Droppable::Hint,
        names: Names { chat: "custom.format", responses: "format", ..NO_NAMES },
    },
    Row {
        feature: Feature::HostedTool,
        droppable: Droppable::Hint,
        names: Names {
            chat: "web_search_options",
            responses: "tools",
            anthropic: "tools",
            gemini: "tools",
            ..NO_NAMES
        },
    },
    Row {
        feature: Feature::StrictTool,
        droppable: Droppable::Hint,
        names: Names {
            chat: "tools.function.strict",
            responses: "tools.strict",
            anthropic: "tools.strict",
            converse: "toolSpec.strict",
            ..NO_NAMES
        },
    },
    // Where it can't be expressed, the instructions say it.
    Row {
        feature: Feature::JsonObject,
        droppable: Droppable::Hint,
        names: Names {
            chat: "response_format",
            responses: "text.format",
            gemini: "generationConfig.responseMimeType",
            ..NO_NAMES
        },
    },
    Row {
        feature: Feature::JsonSchema,
        droppable: Droppable::Meaning,
        names: Names {
            chat: "response_format",
            responses: "text.format",
            anthropic: "output_config.format",
            gemini: "generationConfig.responseJsonSchema",
            converse: "outputConfig.textFormat",
        },
    },
    Row {
        feature: Feature::Reasoning,
        droppable: Droppable::Hint,
        names: Names {
            chat: "reasoning_effort",
            responses: "reasoning",
            anthropic: "thinking",
            gemini: "generationConfig.thinkingConfig",
            converse: "outputConfig.effort",
        },
    },
    Row {
        feature: Feature::VisibleReasoning,
        droppable: Droppable::Hint,
        names: Names {
            responses: "reasoning.summary",
            anthropic: "thinking.display",
            gemini: "generationConfig.thinkingConfig.includeThoughts",
            converse: "additionalModelRequestFields.thinking.display",
            ..NO_NAMES
        },
    },
    Row {
        feature: Feature::ThinkingBudget,
        droppable: Droppable::Hint,
        names: Names {
            anthropic: "thinking.budget_tokens",
            gemini: "generationConfig.thinkingConfig.thinkingBudget",
            converse: "additionalModelRequestFields.thinking.budget_tokens",
            ..NO_NAMES
        },
    },
    Row {
        feature: Feature::EncryptedReasoning,
        droppable: Droppable::Hint,
        names: Names { responses: "include", ..NO_NAMES },
    },
    Row {
        feature: Feature::Thought,
        droppable: Droppable::Hint,
        names: Names {
            chat: "reasoning_content",
            responses: "reasoning",
            anthropic: "thinking",
            gemini: "thought",
            converse: "reasoningContent",
        },
    },
    Row {
        feature: Feature::Citations,
        droppable: Droppable::Hint,
        names: Names {
            chat: "annotations",
            responses: "annotations",
            anthropic: "citations",
            converse: "citationsContent",
            ..NO_NAMES
        },
    },
    Row {
        feature: Feature::ParticipantName,
        droppable: Droppable::Hint,
        names: Names { chat: "messages.name", ..NO_NAMES },
    },
    Row {
        feature: Feature::ImageDetail,
        droppable: Droppable::Hint,
        names: Names { chat: "image_url.detail", responses: "input_image.detail", ..NO_NAMES },
    },
    Row {
        feature: Feature::DocumentContext,
        droppable: Droppable::Hint,
        names: Names { anthropic: "document.context", converse: "document.context", ..NO_NAMES },
    },
    Row {
        feature: Feature::StreamUsage,
        droppable: Droppable::Hint,
        names: Names { chat: "stream_options", ..NO_NAMES },
    },
];

impl Names {
    const fn of(&self, grammar: Grammar) -> &'static str {
        match grammar {
            Grammar::Chat => self.chat,
            Grammar::Responses => self.responses,
            Grammar::Anthropic => self.anthropic,
            Grammar::Gemini => self.gemini,
            Grammar::Converse => self.converse,
        }
    }
}

impl Feature {
    /// Every feature, in the order of the table.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.feature)
    }

    /// The feature with this name in a dialect.
    #[must_use]
    pub fn named(grammar: Grammar, name: &str) -> Option<Self> {
        Self::all().find(|feature| feature.name(grammar) == Some(name))
    }

    fn row(self) -> Option<&'static Row> {
        TABLE.iter().find(|row| row.feature == self)
    }

    #[must_use]
    pub fn droppable(self) -> Droppable {
        self.row().map_or(Droppable::Meaning, |row| row.droppable)
    }

    pub(super) const fn aliased(self) -> Option<Aliased> {
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
        let name = self.row()?.names.of(grammar);
        (!name.is_empty()).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_is_in_the_table_once_and_said_by_some_grammar() {
        for (at, row) in TABLE.iter().enumerate() {
            assert!(TABLE.iter().take(at).all(|other| other.feature != row.feature), "{:?}", row.feature);
            assert!(
                Grammar::ALL.into_iter().any(|grammar| row.feature.name(grammar).is_some()),
                "{:?}",
                row.feature
            );
        }
    }
}
