//! The chat template and the generation defaults of a model.
#![expect(
    clippy::cast_possible_truncation,
    reason = "settings are read in double precision and drawn by in single"
)]

use std::sync::Arc;

use domain::runtime::GenerateRequest;
use domain::{Fault, FaultClass};
use prompts::{Conversation, Offered, RenderedPrompt, SpecialTokens, Template};
use serde_json::{Map, Value};
use weights::GenerationDefaults;

use super::answer::ParseOptions;
use super::settings::Chance;

/// The end of a reasoning block.
const THOUGHT_END: &str = "</think>";

/// Sampling parameters for requests that leave them out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Defaults {
    pub temperature: f32,
    pub top_k: Option<usize>,
    pub top_p: f32,
}

/// The chat template and generation configuration of a model.
#[derive(Debug)]
pub(super) struct ChatConfig {
    pub template: Option<Template>,
    pub habits: GenerationDefaults,
}

impl ChatConfig {
    pub(super) const fn template(&self) -> Option<&Template> {
        self.template.as_ref()
    }

    pub(super) fn defaults(&self) -> Defaults {
        let GenerationDefaults { temperature, top_k, top_p, .. } = &self.habits;
        Defaults {
            temperature: temperature.map_or(1.0, |temperature| temperature as f32),
            top_k: top_k.and_then(|count| usize::try_from(count).ok()),
            top_p: top_p.map_or(1.0, |part| part as f32),
        }
    }

    pub(super) fn ends(&self) -> &[u32] {
        &self.habits.ends
    }

    /// Renders the conversation, and determines how the output is parsed.
    pub(super) fn say(
        &self,
        request: &GenerateRequest,
        (special_tokens, chance): (&SpecialTokens, &Chance),
        now_unix_s: u64,
    ) -> Result<(RenderedPrompt, ParseOptions), Fault> {
        let Some(template) = &self.template else {
            let message = "This model has no chat template.";
            let fault = Fault::new(FaultClass::Unsupported, "no_chat_template", message);
            return Err(fault.fix("Send a prompt to /v1/completions."));
        };
        let prompt = &request.prompt;
        let mut conversation = Conversation::of(prompt, template.manner()).map_err(|fault| *fault)?;
        for (name, value) in arguments(request)? {
            conversation.set(&name, value);
        }
        let own = [("bos_token", &self.habits.bos_token), ("eos_token", &self.habits.eos_token)];
        for (name, token) in own {
            conversation.set_own(name, token.clone().unwrap_or_default());
        }
        let opened = conversation.open(template, special_tokens, &**chance, now_unix_s).map_err(|error| {
            let fault = Fault::new(FaultClass::BadRequest, "template_refused", error.to_string());
            fault.param("messages").fix("Send a conversation that this model's chat template accepts.")
        })?;
        let voice = ParseOptions {
            manner: template.manner(),
            offered: Arc::new(Offered::of(prompt)),
            is_in_thought: opened.is_in_thought,
            has_thought: opened.text.trim_end().ends_with(THOUGHT_END),
            stops: prompt.sampling.stop.clone(),
        };
        Ok((opened, voice))
    }
}

/// `chat_template_kwargs`: additional variables for the template.
fn arguments(request: &GenerateRequest) -> Result<Map<String, Value>, Fault> {
    let Some(json) = &request.parameters.template else { return Ok(Map::new()) };
    serde_json::from_str(json.as_str()).map_err(|error| {
        let message = format!("\"chat_template_kwargs\" can't be read: {error}.");
        let fault = Fault::new(FaultClass::BadRequest, "invalid_value", message);
        fault.param("chat_template_kwargs").fix("Send an object.")
    })
}
