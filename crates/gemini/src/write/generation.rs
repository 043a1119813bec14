//! Writes `generationConfig`.

use conversation::features::Feature;
use conversation::losses::DroppedFields;
use conversation::target::TargetModel;
use domain::prompt::{Effort, OutputFormat, Reasoning, ThinkingVisibility};
use domain::{Abilities, Fault, FaultClass, Json, Prompt, Thinking};
use json::written::checked;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::limits::STOP_SEQUENCES_MAX;
use crate::wire::is_false;

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct GenerationConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    candidate_count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop_sequences: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "is_false")]
    response_logprobs: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_mime_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_json_schema: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    response_modalities: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    speech_config: Option<SpeechConfig>,
    #[serde(skip_serializing_if = "ThinkingConfig::is_empty")]
    thinking_config: ThinkingConfig,
}

#[derive(Serialize, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
struct ThinkingConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    include_thoughts: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_budget: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_level: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SpeechConfig {
    voice_config: VoiceConfig,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct VoiceConfig {
    prebuilt_voice_config: PrebuiltVoice,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PrebuiltVoice {
    voice_name: String,
}

/// The voice settings of Chat Completions.
#[derive(Deserialize)]
struct AudioParams {
    voice: Option<String>,
    format: Option<String>,
}

impl GenerationConfig<'_> {
    pub(super) fn is_empty(&self) -> bool {
        let form = self.response_mime_type.is_none() && self.response_json_schema.is_none();
        let sampling = [&self.temperature, &self.top_p, &self.presence_penalty, &self.frequency_penalty];
        let no_speech = self.response_modalities.is_empty() && self.speech_config.is_none();
        let counts = [self.top_k, self.max_output_tokens, self.logprobs].iter().all(Option::is_none);
        form && no_speech
            && counts
            && sampling.iter().all(|number| number.is_none())
            && self.candidate_count.is_none()
            && self.stop_sequences.is_empty()
            && self.seed.is_none()
            && !self.response_logprobs
            && self.thinking_config.is_empty()
    }
}

impl ThinkingConfig {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

pub(super) fn write<'a>(
    prompt: &'a Prompt,
    target: &TargetModel<'_>,
    losses: &mut DroppedFields,
) -> Result<GenerationConfig<'a>, Box<Fault>> {
    let abilities = target.abilities;
    let mut config = GenerationConfig {
        candidate_count: prompt.sampling.choices,
        max_output_tokens: target.tokens_max(prompt),
        stop_sequences: stops(prompt)?,
        seed: prompt.sampling.seed,
        presence_penalty: number(prompt.sampling.presence_penalty.as_ref())?,
        frequency_penalty: number(prompt.sampling.frequency_penalty.as_ref())?,
        response_logprobs: prompt.sampling.logprobs,
        logprobs: prompt.sampling.top_logprobs,
        thinking_config: thinking(&prompt.reasoning, target, losses),
        ..GenerationConfig::default()
    };
    set_sampling(prompt, abilities, losses, &mut config)?;
    form(prompt, &mut config)?;
    set_speech(prompt, losses, &mut config)?;
    Ok(config)
}

fn number(json: Option<&Json>) -> Result<Option<&RawValue>, Box<Fault>> {
    json.map(|json| checked(json.as_str())).transpose()
}

fn stops(prompt: &Prompt) -> Result<&[String], Box<Fault>> {
    let stops = prompt.sampling.stop.as_slice();
    if stops.len() <= STOP_SEQUENCES_MAX {
        return Ok(stops);
    }
    let message = format!(
        "The model chosen for this request takes at most {STOP_SEQUENCES_MAX} stop sequences, not {}.",
        stops.len()
    );
    let fix = format!("Send at most {STOP_SEQUENCES_MAX} stop sequences.");
    Err(Box::new(
        Fault::new(FaultClass::BadRequest, "too_many_stop_sequences", message).fix(fix).param("stop"),
    ))
}

fn set_sampling<'a>(
    prompt: &'a Prompt,
    abilities: Abilities,
    losses: &mut DroppedFields,
    config: &mut GenerationConfig<'a>,
) -> Result<(), Box<Fault>> {
    let sampling = &prompt.sampling;
    if !abilities.refuses_sampling {
        config.temperature = number(sampling.temperature.as_ref())?;
        config.top_p = number(sampling.top_p.as_ref())?;
        config.top_k = sampling.top_k;
        return Ok(());
    }
    losses.drop_used([
        (sampling.temperature.is_some(), Feature::Temperature),
        (sampling.top_p.is_some(), Feature::TopP),
        (sampling.top_k.is_some(), Feature::TopK),
    ]);
    Ok(())
}

/// Gemini has no name for a schema, and follows every schema as if it were strict.
fn form<'a>(prompt: &'a Prompt, config: &mut GenerationConfig<'a>) -> Result<(), Box<Fault>> {
    config.response_mime_type = match &prompt.output.format {
        None => None,
        Some(OutputFormat::Text) => Some("text/plain"),
        Some(OutputFormat::JsonObject) => Some("application/json"),
        Some(OutputFormat::JsonSchema { schema, .. }) => {
            config.response_json_schema = Some(checked(schema.as_str())?);
            Some("application/json")
        }
    };
    Ok(())
}

fn set_speech(
    prompt: &Prompt,
    losses: &mut DroppedFields,
    config: &mut GenerationConfig<'_>,
) -> Result<(), Box<Fault>> {
    let modalities = &prompt.output.modalities;
    if modalities.iter().any(|modality| modality == "image") {
        // Models that generate images require text output, too.
        config.response_modalities.push("TEXT".to_owned());
    }
    config.response_modalities.extend(modalities.iter().map(|modality| modality.to_ascii_uppercase()));
    let Some(audio) = &prompt.output.audio else { return Ok(()) };
    let speech: Option<AudioParams> = serde_json::from_str(audio.as_str()).ok();
    match speech {
        // Gemini returns speech as raw PCM only.
        Some(AudioParams { voice: Some(voice_name), format })
            if matches!(format.as_deref(), None | Some("pcm16")) =>
        {
            let prebuilt_voice_config = PrebuiltVoice { voice_name };
            config.speech_config = Some(SpeechConfig { voice_config: VoiceConfig { prebuilt_voice_config } });
        }
        _ => losses.drop_feature(Feature::SpokenAudio),
    }
    Ok(())
}

fn thinking(reasoning: &Reasoning, target: &TargetModel<'_>, losses: &mut DroppedFields) -> ThinkingConfig {
    let abilities = target.abilities;
    let mut config = ThinkingConfig::default();
    if reasoning.wants_encrypted {
        losses.drop_feature(Feature::EncryptedReasoning);
    }
    let effort = reasoning.effort.or_else(|| reasoning.budget_tokens.map(Effort::of_budget));
    match abilities.thinking {
        Thinking::Never => {
            let is_off = matches!(effort, None | Some(Effort::None)) && !reasoning.is_adaptive;
            if !is_off {
                losses.drop_feature(Feature::Reasoning);
            }
            return config;
        }
        Thinking::Budget => {
            config.thinking_budget =
                budget(reasoning).map(|tokens| clamp_budget(tokens, target.model, losses));
        }
        Thinking::Effort => {
            config.thinking_level = effort.map(level);
            if reasoning.effort.is_none() && reasoning.budget_tokens.is_some() {
                losses.drop_feature(Feature::ThinkingBudget);
            }
        }
        // Gemini rejects both at once, and the budget is the more exact of the two.
        Thinking::Unknown => match (reasoning.budget_tokens, reasoning.effort) {
            (None, Some(effort)) if effort != Effort::None => config.thinking_level = Some(level(effort)),
            _ => config.thinking_budget = budget(reasoning),
        },
    }
    config.include_thoughts =
        reasoning.visibility.map(|visibility| visibility != ThinkingVisibility::Nothing);
    config
}

fn budget(reasoning: &Reasoning) -> Option<i64> {
    let tokens = reasoning.budget_tokens.or_else(|| reasoning.effort.map(Effort::budget));
    match tokens {
        Some(tokens) => Some(i64::try_from(tokens).unwrap_or(i64::MAX)),
        None => reasoning.is_adaptive.then_some(-1),
    }
}

/// The nearest budget that the model accepts (firebase.google.com/docs/ai-logic/thinking, by model).
fn clamp_budget(tokens: i64, model: &str, losses: &mut DroppedFields) -> i64 {
    let (low, high, may_be_off) = if model.contains("-pro") {
        (128, 32_768, false)
    } else if model.contains("-flash-lite") {
        (512, 24_576, true)
    } else {
        (1, 24_576, true)
    };
    match tokens {
        -1 => -1,
        0 if may_be_off => 0,
        0 => {
            losses.drop_feature(Feature::Reasoning);
            low
        }
        tokens => tokens.clamp(low, high),
    }
}

/// Models with thinking levels cannot have thinking disabled.
const fn level(effort: Effort) -> &'static str {
    match effort {
        Effort::None | Effort::Minimal => "MINIMAL",
        Effort::Low => "LOW",
        Effort::Medium => "MEDIUM",
        Effort::High => "HIGH",
        Effort::XHigh | Effort::Max => "XHIGH",
    }
}
