//! The names of Anthropic for the request features that it can express.

use conversation::features::{Feature, FeatureNames};

pub(crate) const NAMES: FeatureNames = &[
    (Feature::Temperature, "temperature"),
    (Feature::TopP, "top_p"),
    (Feature::TopK, "top_k"),
    (Feature::Stop, "stop_sequences"),
    (Feature::Image, "image"),
    (Feature::Document, "document"),
    (Feature::ProviderFile, "file_id"),
    (Feature::MediaUrl, "source.url"),
    (Feature::EndUser, "metadata.user_id"),
    (Feature::ServiceTier, "service_tier"),
    (Feature::CacheMark, "cache_control"),
    (Feature::SingleToolCalls, "tool_choice.disable_parallel_tool_use"),
    (Feature::ForcedCall, "tool_choice"),
    (Feature::NoCall, "tool_choice"),
    (Feature::HostedTool, "tools"),
    (Feature::StrictTool, "tools.strict"),
    (Feature::JsonSchema, "output_config.format"),
    (Feature::Reasoning, "thinking"),
    (Feature::VisibleReasoning, "thinking.display"),
    (Feature::ThinkingBudget, "thinking.budget_tokens"),
    (Feature::Thought, "thinking"),
    (Feature::Citations, "citations"),
    (Feature::DocumentContext, "document.context"),
];
