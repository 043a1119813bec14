//! Bedrock's served models: some by model id, others only through inference profiles.

use serde_json::{Value, json};

use super::error::Refusal;
use super::sign::REGION;
use crate::anthropic::models::Thinks;

const ACCOUNT: &str = "123456789012";
/// The account's only application inference profile.
const APPLICATION: &str = "application-inference-profile/a1b2c3d4e5f6";

/// One served model.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Served {
    pub(crate) id: &'static str,
    maker: &'static str,
    /// Whether it is available on demand in the region, without an inference profile.
    on_demand: bool,
    pub(crate) context_tokens_max: u64,
    pub(super) output_tokens_max: u64,
    /// The thinking modes that it accepts, in its vendor's terms.
    pub(super) thinks: Thinks,
}

#[rustfmt::skip]
const MODELS: [Served; 6] = [
    Served {
        id: "anthropic.claude-3-haiku-20240307-v1:0", maker: "Anthropic", on_demand: true,
        context_tokens_max: 200_000, output_tokens_max: 4_096, thinks: Thinks::Never,
    },
    Served {
        id: "anthropic.claude-haiku-4-5-20251001-v1:0", maker: "Anthropic", on_demand: false,
        context_tokens_max: 200_000, output_tokens_max: 64_000, thinks: Thinks::Budget,
    },
    Served {
        id: "anthropic.claude-sonnet-4-5-20250929-v1:0", maker: "Anthropic", on_demand: false,
        context_tokens_max: 200_000, output_tokens_max: 64_000, thinks: Thinks::Budget,
    },
    Served {
        id: "amazon.nova-lite-v1:0", maker: "Amazon", on_demand: true, context_tokens_max: 300_000,
        output_tokens_max: 10_000, thinks: Thinks::Never,
    },
    Served {
        id: "amazon.nova-micro-v1:0", maker: "Amazon", on_demand: true, context_tokens_max: 128_000,
        output_tokens_max: 10_000, thinks: Thinks::Never,
    },
    Served {
        id: "meta.llama3-3-70b-instruct-v1:0", maker: "Meta", on_demand: false, context_tokens_max: 128_000,
        output_tokens_max: 8_192, thinks: Thinks::Never,
    },
];

/// The model that an id, an inference profile or an ARN refers to.
pub(super) fn find(named: &str) -> Result<&'static Served, Refusal> {
    let wrong = || Refusal::invalid("The provided model identifier is invalid.");
    let in_account = format!("arn:aws:bedrock:{REGION}:{ACCOUNT}:");
    let in_region = format!("arn:aws:bedrock:{REGION}::foundation-model/");
    if named.strip_prefix(&in_account) == Some(APPLICATION) {
        return by_id("anthropic.claude-haiku-4-5-20251001-v1:0").ok_or_else(wrong);
    }
    let profile = named.strip_prefix(&in_account).and_then(|rest| rest.strip_prefix("inference-profile/"));
    let named = profile.or_else(|| named.strip_prefix(&in_region)).unwrap_or(named);
    // Inference profiles can be called if they are for this region's geography, or global.
    if let Some(id) = ["us.", "global."].iter().find_map(|geography| named.strip_prefix(geography)) {
        return by_id(id).ok_or_else(wrong);
    }
    let served = by_id(named).ok_or_else(wrong)?;
    if !served.on_demand {
        return Err(Refusal::invalid(format!(
            "Invocation of model ID {named} with on-demand throughput isn\u{2019}t supported. Retry your request with the \
             ID or ARN of an inference profile that contains this model."
        )));
    }
    Ok(served)
}

/// The model of an id; inference profiles are not accepted.
pub(super) fn base(id: &str) -> Option<&'static Served> {
    by_id(id)
}

impl Served {
    pub(super) fn is_counted(&self) -> bool {
        self.is_claude()
    }

    pub(super) fn is_claude(&self) -> bool {
        self.maker == "Anthropic"
    }

    /// Models with budgeted thinking have no effort setting.
    pub(super) fn takes_effort(&self) -> bool {
        matches!(self.thinks, Thinks::Either | Thinks::Adaptive)
    }

    pub(super) fn is_nova(&self) -> bool {
        self.maker == "Amazon"
    }
}

fn by_id(id: &str) -> Option<&'static Served> {
    MODELS.iter().find(|served| served.id == id)
}

/// `GET /foundation-models`.
pub(super) fn list() -> Value {
    let row = |served: &Served| {
        let inference = if served.on_demand { "ON_DEMAND" } else { "INFERENCE_PROFILE" };
        json!({
            "modelArn": format!("arn:aws:bedrock:{REGION}::foundation-model/{}", served.id),
            "modelId": served.id, "modelName": served.id, "providerName": served.maker,
            "inputModalities": ["TEXT"], "outputModalities": ["TEXT"], "responseStreamingSupported": true,
            "customizationsSupported": [], "inferenceTypesSupported": [inference],
            "modelLifecycle": {"status": "ACTIVE"},
        })
    };
    json!({"modelSummaries": MODELS.iter().map(row).collect::<Vec<_>>()})
}
