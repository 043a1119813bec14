//! Which code stands behind a provider's slug: one line each.

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

/// The provider of a slug. A slug that is not listed is a server of a workspace or a node, which speak the
/// common grammar.
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
