//! Opens a model's files: weights, tokenizer, chat template and generation defaults.
#![expect(
    clippy::cast_possible_truncation,
    reason = "settings are read in double precision and drawn by in single"
)]

use std::sync::{Arc, OnceLock};

use domain::runtime::GenerateRequest;
use domain::{Fault, FaultClass};
use prompts::{Conversation, Offered, RenderedPrompt, SpecialTokens, Template, Vocabulary};
use serde_json::{Map, Value};

use super::answer::ParseOptions;
use super::preparing::Preparing;
use super::vectors::Uses;
use super::{Chance, Drafting, Local, LocalSettings, Served};
use crate::{
    Backend, DraftModel, EngineError, GenerationDefaults, Host, KvDtype, Model, Processor, Scheduler, Source,
};

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
    template: Option<Template>,
    habits: GenerationDefaults,
}

impl Local {
    /// Loads a model onto the CPU kernels; takes as long as reading its files.
    ///
    /// # Errors
    /// Its files are unusable, or there is not enough memory.
    pub fn open(source: &Source, settings: LocalSettings) -> Result<Self, EngineError> {
        Self::open_on(source, settings, Processor::Own)
    }

    /// Like `open`, on any processor.
    ///
    /// # Errors
    /// There is no such device here, the files are unusable, or there is not enough memory.
    pub fn open_on(
        source: &Source,
        settings: LocalSettings,
        processor: Processor,
    ) -> Result<Self, EngineError> {
        let LocalSettings {
            id,
            created_unix_s,
            scheduler_limits,
            limits,
            draft,
            spare: available_memory,
            chance,
            now_unix_s,
        } = settings;
        let beside = source.assets()?;
        let (purpose, digest) = (source.purpose(&id)?, source.digest()?);
        processor.check_keeps(scheduler_limits.kv_dtype)?;
        processor.check_room(source, scheduler_limits.bytes)?;
        let model = Backend::load(source, processor)?;
        let (known, width) = (model.shape().vocabulary, model.shape().hidden);
        let has_experts = model.shape().mixture.is_some();
        let uses = Uses::of(purpose, &beside.vocabulary, |token| model.head_row(source, token))?;
        let mut runner =
            Scheduler::new(model, scheduler_limits)?.with_limits(limits).within(available_memory.clone());
        if let Some(drafting) = draft {
            runner = runner.with_drafter(Box::new(open_draft(
                &drafting,
                scheduler_limits.kv_dtype,
                &beside.vocabulary,
            )?));
        }
        let host = Host::of(runner)?;
        let served = Served {
            id,
            created_unix_s,
            host,
            path: source.path().to_owned(),
            has_experts,
            known,
            width,
            digest,
            uses,
            vocabulary: Arc::new(beside.vocabulary),
            chat_config: ChatConfig { template: beside.template, habits: beside.generation_defaults },
            chance,
            now_unix_s,
            available_memory,
            rules: OnceLock::new(),
            keys: Default::default(),
        };
        Ok(Self { served: Arc::new(served), preparing: Preparing::start()? })
    }
}

/// Draft tokens are verified by their ids, so that both models must have the same tokenizer.
fn open_draft(
    drafting: &Drafting,
    keeps: KvDtype,
    vocabulary: &Vocabulary,
) -> Result<DraftModel, EngineError> {
    if !drafting.source.assets()?.vocabulary.is_same(vocabulary) {
        let what = "of the model that drafts is another than that of the model".to_owned();
        return Err(EngineError::Shape { field: "vocabulary", what });
    }
    DraftModel::new(Arc::new(Model::load(&drafting.source)?), keeps, drafting.bytes)
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
            let message = "This model comes without a template for conversations.";
            let fault = Fault::new(FaultClass::Unsupported, "no_chat_template", message);
            return Err(fault.fix("Send a text to /v1/completions."));
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
            fault.param("messages").fix("Send the conversation as this model's template takes it.")
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
