//! Request features that one dialect has and another can't express: one table, which says for each whether
//! the feature may be dropped. Each dialect has its own names for them.

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
    /// A tool that the provider runs, or whose calls have a form of its own.
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

/// The names of a dialect for the features that it can express, in the order in which they are looked up.
pub type FeatureNames = &'static [(Feature, &'static str)];

/// The feature with this name.
pub fn named(names: FeatureNames, name: &str) -> Option<Feature> {
    names.iter().find(|(_, known)| *known == name).map(|(feature, _)| *feature)
}

const TABLE: &[(Feature, Droppable)] = &[
    (Feature::Choices, Droppable::Meaning),
    (Feature::Logprobs, Droppable::Meaning),
    (Feature::Seed, Droppable::Hint),
    (Feature::Temperature, Droppable::Hint),
    (Feature::TopP, Droppable::Hint),
    (Feature::TopK, Droppable::Hint),
    (Feature::PresencePenalty, Droppable::Hint),
    (Feature::FrequencyPenalty, Droppable::Hint),
    (Feature::LogitBias, Droppable::Hint),
    (Feature::Stop, Droppable::Meaning),
    (Feature::Image, Droppable::Meaning),
    (Feature::Audio, Droppable::Meaning),
    (Feature::Video, Droppable::Meaning),
    (Feature::Document, Droppable::Meaning),
    (Feature::ProviderFile, Droppable::Meaning),
    (Feature::MediaUrl, Droppable::Meaning),
    (Feature::Modalities, Droppable::Meaning),
    (Feature::SpokenAudio, Droppable::Meaning),
    (Feature::Prediction, Droppable::Hint),
    (Feature::Verbosity, Droppable::Hint),
    (Feature::Metadata, Droppable::Hint),
    (Feature::EndUser, Droppable::Hint),
    (Feature::ServiceTier, Droppable::Hint),
    (Feature::Store, Droppable::Hint),
    (Feature::CacheMark, Droppable::Hint),
    (Feature::CacheKey, Droppable::Hint),
    (Feature::CacheRetention, Droppable::Hint),
    (Feature::CachedContent, Droppable::Meaning),
    // Where it can't be expressed and several tools could be called, only the first call of the answer is
    // forwarded.
    (Feature::SingleToolCalls, Droppable::Hint),
    (Feature::ForcedCall, Droppable::Meaning),
    (Feature::NoCall, Droppable::Meaning),
    (Feature::CustomFormat, Droppable::Hint),
    // An answer that should have searched or calculated would look as if it had. What such tools did in earlier
    // turns is a hint.
    (Feature::HostedTool, Droppable::Meaning),
    (Feature::StrictTool, Droppable::Hint),
    // Where it can't be expressed, the instructions say it.
    (Feature::JsonObject, Droppable::Hint),
    (Feature::JsonSchema, Droppable::Meaning),
    (Feature::Reasoning, Droppable::Hint),
    (Feature::VisibleReasoning, Droppable::Hint),
    (Feature::ThinkingBudget, Droppable::Hint),
    (Feature::EncryptedReasoning, Droppable::Hint),
    (Feature::Thought, Droppable::Hint),
    (Feature::Citations, Droppable::Hint),
    (Feature::ParticipantName, Droppable::Hint),
    (Feature::ImageDetail, Droppable::Hint),
    (Feature::DocumentContext, Droppable::Hint),
    (Feature::StreamUsage, Droppable::Hint),
];

impl Feature {
    /// Every feature, in the order of the table.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|(feature, _)| *feature)
    }

    pub fn droppable(self) -> Droppable {
        let row = TABLE.iter().find(|(feature, _)| *feature == self);
        row.map_or(Droppable::Meaning, |(_, droppable)| *droppable)
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

    /// Its name among those of a dialect; `None` where the dialect can't express it.
    pub fn name(self, names: FeatureNames) -> Option<&'static str> {
        names.iter().find(|(feature, _)| *feature == self).map(|(_, name)| *name)
    }
}
