//! The implementation of each provider, by its slug: one line each.

use crate::Provider;
use crate::anthropic::Anthropic;
use crate::aws_bedrock::AwsBedrock;
use crate::azure_foundry::AzureFoundry;
use crate::azure_openai::AzureOpenAi;
use crate::bedrock_mantle::BedrockMantle;
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

/// The provider with this slug. Any other slug is a workspace's own server or a node, which are
/// OpenAI-compatible.
#[must_use]
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
