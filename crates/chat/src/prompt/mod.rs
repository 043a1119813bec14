//! Reads a Chat Completions request into `Prompt`, the intermediate form that every dialect can be written
//! from.

mod continued;
mod conversation;
mod extras;
mod message;
mod part;
mod setting;
#[cfg(test)]
mod tests;
mod tool;
mod value;
mod words;

use ::conversation::losses::is_meaning;
use domain::prompt::{Aliased, Effort, ThinkingVisibility};
use domain::{Fault, Prompt};
use json::fields::{not_empty, open_object, optional_boolean, optional_count};
use json::refusal::{missing, wrong_value};
use json::{Cursor, Kind};

use self::conversation::Conversation;
use self::extras::Extras;
use self::value::{Read, integer, number, object, skip, text, texts};

pub use self::continued::read_continued;
pub use self::words::read_words;

/// What was read so far, with the fields that `settle` resolves.
#[derive(Debug, Default)]
struct Draft {
    prompt: Prompt,
    extras: Extras,
    has_messages: bool,
    tokens_max_old: Option<u64>,
    user: Option<String>,
}

pub fn read_prompt(body: &[u8]) -> Result<Prompt, Box<Fault>> {
    not_empty(body)?;
    let mut cursor = open_object(body)?;
    let mut draft = Draft::default();
    cursor.object(|cursor, member| draft.read(cursor, &member.key.decode()))?;
    cursor.end()?;
    draft.finish()
}

impl Draft {
    fn read(&mut self, cursor: &mut Cursor<'_>, name: &str) -> Read<()> {
        match name {
            // The model is set again for the upstream that the request is sent to.
            "model" => skip(cursor),
            "messages" => {
                let (instructions, turns) = Conversation::read(cursor, &mut self.extras)?;
                (self.prompt.instructions, self.prompt.turns) = (instructions, turns);
                self.has_messages = true;
                Ok(())
            }
            "tools" | "functions" => tool::read_tools(cursor, name, &mut self.prompt.tools, &mut self.extras),
            "tool_choice" | "function_call" => {
                if let Some(choice) = tool::read_choice(cursor, name, &mut self.extras)? {
                    self.prompt.tool_choice = Some(choice);
                }
                Ok(())
            }
            "web_search_options" => {
                let tool = object(cursor, name)?.map(tool::web_search);
                self.prompt.tools.extend(tool);
                Ok(())
            }
            _ => self.read_setting(cursor, name),
        }
    }

    fn read_setting(&mut self, cursor: &mut Cursor<'_>, name: &str) -> Read<()> {
        let (sampling, output) = (&mut self.prompt.sampling, &mut self.prompt.output);
        match name {
            "temperature" => sampling.temperature = number(cursor, name)?,
            "top_p" => sampling.top_p = number(cursor, name)?,
            "top_k" => sampling.top_k = optional_top_k(cursor)?,
            "seed" => sampling.seed = integer(cursor, name)?,
            "presence_penalty" => sampling.presence_penalty = number(cursor, name)?,
            "frequency_penalty" => sampling.frequency_penalty = number(cursor, name)?,
            "logit_bias" => {
                sampling.logit_bias = object(cursor, name)?.filter(|json| !is_empty(json.as_str()))
            }
            "stop" => sampling.stop = setting::read_stop(cursor)?,
            "logprobs" => sampling.logprobs = optional_boolean(cursor, name)?.unwrap_or(false),
            "top_logprobs" => sampling.top_logprobs = optional_count(cursor, name)?,
            "n" => sampling.choices = setting::read_choices(cursor)?,
            "max_completion_tokens" => output.tokens_max = optional_count(cursor, name)?,
            "max_tokens" => self.tokens_max_old = optional_count(cursor, name)?,
            "response_format" => output.format = setting::read_format(cursor, &mut self.extras)?,
            // vLLM's name for the schema alone.
            "guided_json" if output.format.is_none() && cursor.kind()? == Kind::Object => {
                output.format = object(cursor, name)?.map(setting::schema_alone);
            }
            "modalities" => {
                output.modalities = texts(cursor, name)?;
                output.modalities.retain(|modality| modality != "text");
            }
            "audio" => output.audio = object(cursor, name)?,
            "prediction" => output.prediction = object(cursor, name)?,
            "verbosity" => output.verbosity = text(cursor, name)?,
            "parallel_tool_calls" => self.prompt.parallel_tools = optional_boolean(cursor, name)?,
            "store" => self.prompt.store = optional_boolean(cursor, name)?,
            "stream" => self.prompt.stream = optional_boolean(cursor, name)?.unwrap_or(false),
            "user" => self.user = text(cursor, name)?,
            "safety_identifier" => {
                self.prompt.end_user = text(cursor, name)?;
                if self.prompt.end_user.is_some() {
                    self.extras.aliases.add(Aliased::EndUser, "safety_identifier");
                }
            }
            "metadata" => self.prompt.metadata = setting::read_metadata(cursor, &mut self.extras)?,
            "prompt_cache_key" => self.prompt.caching.key = text(cursor, name)?,
            "prompt_cache_retention" => self.prompt.caching.retention = text(cursor, name)?,
            _ => return self.read_word(cursor, name),
        }
        Ok(())
    }

    /// Settings with several aspects, and those that the intermediate form can't hold.
    fn read_word(&mut self, cursor: &mut Cursor<'_>, name: &str) -> Read<()> {
        let extras = &mut self.extras;
        match name {
            "reasoning_effort" => {
                extras.aliases.add(Aliased::Reasoning, "reasoning_effort");
                setting::read_effort(cursor, name, &mut self.prompt.reasoning, extras)
            }
            "reasoning" => setting::read_reasoning(cursor, &mut self.prompt.reasoning, extras),
            "thinking" => setting::read_thinking(cursor, &mut self.prompt.reasoning, extras),
            "service_tier" => setting::read_tier(cursor, &mut self.prompt.service_tier, extras),
            "prompt_cache_options" => setting::read_caching(cursor, &mut self.prompt.caching, extras),
            "stream_options" => setting::read_stream_options(cursor, extras),
            _ => extras.take(cursor, || name.to_owned(), is_meaning(name)),
        }
    }

    fn finish(self) -> Result<Prompt, Box<Fault>> {
        if !self.has_messages {
            return Err(missing("messages".to_owned(), "Send an array of messages, each with a role."));
        }
        Ok(self.settle())
    }

    fn settle(mut self) -> Prompt {
        let prompt = &mut self.prompt;
        prompt.output.tokens_max = prompt.output.tokens_max.or(self.tokens_max_old);
        match (&prompt.end_user, self.user) {
            (None, user) => prompt.end_user = user,
            (Some(known), Some(user)) if *known != user => self.extras.push("user".to_owned(), false),
            _ => {}
        }
        let reasoning = &mut prompt.reasoning;
        let thinks = reasoning.effort.map_or(reasoning.is_adaptive, |effort| effort != Effort::None);
        // Answers show reasoning (`reasoning_content`) wherever it is to be had.
        if thinks || reasoning.budget_tokens.is_some_and(|tokens| tokens > 0) {
            reasoning.visibility = Some(ThinkingVisibility::Unasked);
        }
        prompt.extras = self.extras.list;
        prompt.aliases = self.extras.aliases;
        self.prompt
    }
}

/// Servers that take -1 for "all tokens" are sent no `top_k` instead.
fn optional_top_k(cursor: &mut Cursor<'_>) -> Read<Option<u64>> {
    let top_k = integer(cursor, "top_k")?;
    match top_k.map(u64::try_from) {
        None => Ok(None),
        Some(Ok(top_k)) => Ok(Some(top_k)),
        Some(Err(_)) if top_k == Some(-1) => Ok(None),
        Some(Err(_)) => {
            let fix = "Send a whole number, 0 or more, or leave it out.".to_owned();
            Err(wrong_value("top_k".to_owned(), "is negative", fix))
        }
    }
}

fn is_empty(object: &str) -> bool {
    !object.bytes().any(|byte| byte == b'"')
}
