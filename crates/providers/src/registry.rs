//! The implementation of each provider, by its slug: one line each.

use crate::Provider;
use crate::anthropic::Anthropic;
use crate::aws_bedrock::AwsBedrock;
use crate::azure_foundry::AzureFoundry;
use crate::azure_openai::AzureOpenAi;
use crate::bedrock_mantle::BedrockMantle;
use crate::exports::Export;
use crate::fal::Fal;
use crate::fireworks_ai::FireworksAi;
use crate::gemini::Gemini;
use crate::mistral::Mistral;
use crate::nebius::Nebius;
use crate::openai::OpenAi;
use crate::openai_compatible::OpenAiCompatible;
use crate::together_ai::TogetherAi;
use crate::vertex_ai::VertexAi;
use crate::xai::Xai;
use crate::{anthropic, aws_bedrock, azure_openai, openai, openrouter, vertex_ai};

/// The provider with this slug. Any other slug is a workspace's own server or a node, which are
/// OpenAI-compatible.
pub fn provider(slug: &str) -> &'static dyn Provider {
    match slug {
        "anthropic" => &Anthropic,
        "aws_bedrock" => &AwsBedrock,
        "azure_foundry" => &AzureFoundry,
        "azure_openai" => &AzureOpenAi,
        "bedrock_mantle" => &BedrockMantle,
        "fal" => &Fal,
        "fireworks_ai" => &FireworksAi,
        "gemini" => &Gemini,
        "mistral" => &Mistral,
        "openai" => &OpenAi,
        "nebius" => &Nebius,
        "together_ai" => &TogetherAi,
        "vertex_ai" => &VertexAi,
        "xai" => &Xai,
        _ => &OpenAiCompatible,
    }
}

/// The formats of what the provider with this slug exports of usage and costs, beside Tidegate's own.
pub fn exports(slug: &str) -> &'static [&'static Export] {
    match slug {
        "anthropic" => &anthropic::exports::EXPORTS,
        "aws_bedrock" => &aws_bedrock::exports::EXPORTS,
        "azure_openai" => &azure_openai::exports::EXPORTS,
        "bedrock_mantle" => &aws_bedrock::exports::MANTLE_EXPORTS,
        "gemini" => &vertex_ai::exports::GEMINI_EXPORTS,
        "openai" => &openai::exports::EXPORTS,
        "openrouter" => &openrouter::exports::EXPORTS,
        "vertex_ai" => &vertex_ai::exports::EXPORTS,
        _ => &[],
    }
}
