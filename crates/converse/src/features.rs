//! The names of Converse for the request features that it can express.

use conversation::features::{Feature, FeatureNames};

pub(crate) const NAMES: FeatureNames = &[
    (Feature::Temperature, "inferenceConfig.temperature"),
    (Feature::TopP, "inferenceConfig.topP"),
    (Feature::TopK, "additionalModelRequestFields.top_k"),
    (Feature::Stop, "inferenceConfig.stopSequences"),
    (Feature::Image, "image"),
    (Feature::Audio, "audio"),
    (Feature::Video, "video"),
    (Feature::Document, "document"),
    (Feature::Metadata, "requestMetadata"),
    (Feature::ServiceTier, "serviceTier"),
    (Feature::CacheMark, "cachePoint"),
    (Feature::SingleToolCalls, "additionalModelRequestFields.tool_choice.disable_parallel_tool_use"),
    (Feature::ForcedCall, "toolConfig.toolChoice"),
    (Feature::StrictTool, "toolSpec.strict"),
    (Feature::JsonSchema, "outputConfig.textFormat"),
    (Feature::Reasoning, "outputConfig.effort"),
    (Feature::VisibleReasoning, "additionalModelRequestFields.thinking.display"),
    (Feature::ThinkingBudget, "additionalModelRequestFields.thinking.budget_tokens"),
    (Feature::Thought, "reasoningContent"),
    (Feature::Citations, "citationsContent"),
    (Feature::DocumentContext, "document.context"),
];
