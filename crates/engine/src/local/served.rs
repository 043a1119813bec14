//! The model that requests are prepared for: prompts, adapters by name, constraints and sequences.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use domain::runtime::{GenerateRequest, RawPrompt};
use domain::{Fault, FaultClass};
use prompts::{PromptError, Vocabulary};
use weights::AvailableMemory;

use super::answer::{Answer, Making, ParseOptions};
use super::chat::ChatConfig;
use super::drawing::Drawing;
use super::preparing::Preparing;
use super::ruling;
use super::settings::{Chance, Now};
use super::uses::Uses;
use crate::Host;
use crate::adapters::AdapterId;
use crate::blocks::CacheScope;
use crate::constraints::ConstraintCompiler;
use crate::fair_queue::Group;
use crate::request::{AdapterSwitch, Request};

/// One model, which serves many requests at once by continuous batching.
pub struct Local {
    pub(super) served: Arc<Served>,
    pub(super) preparing: Preparing,
}

/// What the preparation of requests needs of the model, shared with the preparer threads.
pub struct Served {
    pub(super) id: String,
    pub(super) created_unix_s: u64,
    pub(super) host: Host,
    /// What its weights take, on the device and in host memory.
    pub(super) weights_bytes: u64,
    /// The path of its files, which training reads again.
    pub(super) path: PathBuf,
    /// Its MLPs are mixtures of experts, so that only attention can be a LoRA target.
    pub(super) has_experts: bool,
    /// The number of tokens in its vocabulary.
    pub(super) known: usize,
    /// The width of its hidden states.
    pub(super) width: usize,
    /// Identifies the model; part of the keys of its prefix cache.
    pub(super) digest: u128,
    pub(super) uses: Uses,
    pub(super) vocabulary: Arc<Vocabulary>,
    pub(super) chat_config: ChatConfig,
    pub(super) chance: Chance,
    pub(super) now_unix_s: Now,
    pub(super) available_memory: AvailableMemory,
    pub(super) rules: OnceLock<Option<ConstraintCompiler>>,
    /// Random keys that hash a request's cache scope to a 128-bit `CacheScope`, so that no two scopes can be made
    /// to collide.
    pub(super) keys: [RandomState; 2],
}

impl Deref for Local {
    type Target = Served;

    fn deref(&self) -> &Served {
        &self.served
    }
}

impl Served {
    /// The longest sequence, prompt and output together.
    pub const fn longest(&self) -> usize {
        self.host.longest()
    }

    /// The adapter that a request names, in its own field or as a suffix of the model name. The name is
    /// resolved when the request is scheduled.
    pub(super) fn adapter(&self, request: &GenerateRequest) -> Result<Option<AdapterId>, Fault> {
        self.named(&request.model, request.parameters.adapter.as_deref())
    }

    pub(super) fn named(&self, model: &str, adapter: Option<&str>) -> Result<Option<AdapterId>, Fault> {
        let behind = match model.strip_prefix(self.id.as_str()) {
            Some("") => None,
            Some(rest) if rest.starts_with(':') => rest.get(1..),
            _ => return Err(self.unknown(model)),
        };
        Ok(adapter.or(behind).map(AdapterId::from))
    }

    fn unknown(&self, model: &str) -> Fault {
        let displayed: String = model.chars().take(128).collect();
        let message = format!("This node has no model \"{displayed}\"; it runs \"{}\".", self.id);
        let fault = Fault::new(FaultClass::NotFound, "model_not_found", message);
        fault.param("model").fix(format!("Use \"{}\", or list the models at /v1/models.", self.id))
    }

    /// Renders and tokenizes the prompt, to at most `most` tokens.
    pub(super) fn prompt(
        &self,
        request: &GenerateRequest,
        most: usize,
    ) -> Result<(Vec<u32>, ParseOptions), Fault> {
        match &request.raw_prompt {
            Some(RawPrompt::Tokens(tokens)) => {
                let known = self.known;
                if let Some(at) = tokens.iter().position(|token| *token as usize >= known) {
                    let message = format!("\"prompt[{at}]\" isn't a token of this model.");
                    let fault = Fault::new(FaultClass::BadRequest, "invalid_value", message);
                    let fix = format!("Send numbers below {known}, or the text itself.");
                    return Err(fault.param(format!("prompt[{at}]")).fix(fix));
                }
                Ok((tokens.clone(), ParseOptions::plain(request)))
            }
            Some(RawPrompt::Text(text)) => Ok((
                self.vocabulary.tokens_within(text, most).map_err(unreadable)?,
                ParseOptions::plain(request),
            )),
            None => {
                let marking = (self.vocabulary.special_tokens(), &self.chance);
                let (opened, voice) = self.chat_config.say(request, marking, (self.now_unix_s)())?;
                let tokens = if opened.written.is_empty() {
                    self.vocabulary.tokens_within(&opened.text, most)
                } else {
                    let is_written = |range| opened.is_written(&range);
                    self.vocabulary.tokens_with_text(&opened.text, most, is_written)
                };
                Ok((tokens.map_err(unreadable)?, voice))
            }
        }
    }

    /// Compiles grammar constraints for this model's tokenizer; created on first use.
    fn rules(&self) -> Result<&ConstraintCompiler, Fault> {
        let made = self.rules.get_or_init(|| ConstraintCompiler::new(Arc::clone(&self.vocabulary)).ok());
        made.as_ref().ok_or_else(|| {
            let message = "Constrained decoding doesn't support this model's vocabulary.";
            let fault = Fault::new(FaultClass::Unsupported, "unsupported_rule", message);
            fault.fix("Leave out \"response_format\", \"tool_choice\" and the guided_* parameters.")
        })
    }

    /// Prepares a request and submits its sequences.
    pub(super) fn answer(
        &self,
        request: &GenerateRequest,
        (adapter, later): (Option<&AdapterId>, &[AdapterSwitch]),
        drawing: &Drawing,
    ) -> Result<Answer, Fault> {
        // Leaves room for at least one output token.
        let (prompt, voice) = self.prompt(request, self.longest().saturating_sub(1))?;
        let rule = ruling::read(request, &voice, || self.rules())?;
        let whose = self.whose(request.parameters.cache_scope.as_deref());
        let max_tokens = request.prompt.output.tokens_max.and_then(|most| usize::try_from(most).ok());
        let ends = if request.parameters.ignore_eos { Vec::new() } else { self.chat_config.ends().to_vec() };
        let choices = drawing.choices().map(|sampling| {
            self.host.generate(Request {
                prompt: prompt.clone(),
                sampling,
                max_tokens: max_tokens.unwrap_or(usize::MAX),
                stop_tokens: ends.clone(),
                constraint: rule.clone(),
                cache_scope: CacheScope(whose),
                group: Group(whose),
                adapter: adapter.cloned(),
                adapter_switches: later.to_vec(),
            })
        });
        let making = Making {
            prompt_tokens: prompt.len(),
            vocabulary: Arc::clone(&self.vocabulary),
            voice,
            has_logprobs: request.prompt.sampling.logprobs,
            chance: Arc::clone(&self.chance),
        };
        Ok(Answer::new(choices.collect(), making))
    }

    /// The key under which a request finds cached prefixes, and within which it is scheduled fairly with
    /// others.
    pub(super) fn whose(&self, word: Option<&str>) -> u128 {
        // What is on disk is found again after a restart, so that the scope has to be the same.
        if let Some(disk) = self.host.disk() {
            return disk.scope(word);
        }
        let [one, other] = self.keys.each_ref().map(|key| key.hash_one((self.digest, word)));
        u128::from(one) << 64 | u128::from(other)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "errors are given so")]
fn unreadable(error: PromptError) -> Fault {
    if let PromptError::TooLong { most } = error {
        let message = format!(
            "The prompt has more than {most} tokens, which leaves no room for an answer in the context window."
        );
        let fault = Fault::new(FaultClass::ContextLength, "context_length_exceeded", message);
        return fault.param("messages").fix("Shorten the prompt.");
    }
    let fault = Fault::new(FaultClass::BadRequest, "unreadable_text", error.to_string());
    fault.fix("Send text in UTF-8.")
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Local").field(&self.served).finish()
    }
}

domain::brief_debug!(Served, id, host);
