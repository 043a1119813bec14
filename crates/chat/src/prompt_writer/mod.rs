//! Writes a Chat Completions request from `Prompt`, the intermediate form.

mod body;
mod message;
mod part;
mod setting;
#[cfg(test)]
mod tests;
mod tool;

use conversation::losses::DroppedFields;
use conversation::target::TargetModel;
use domain::prompt::{ServiceTier, ToolChoice};
use domain::{Fault, Prompt};
use json::written::Pairs;

use self::body::{Body, StreamOptions};

pub fn write_prompt(
    prompt: &Prompt,
    target: &TargetModel<'_>,
    losses: &mut DroppedFields,
) -> Result<Vec<u8>, Box<Fault>> {
    let abilities = &target.abilities;
    let (max_completion_tokens, max_tokens) = setting::length(prompt, target, losses);
    let (temperature, top_p) = setting::drawing(prompt, abilities, losses);
    let tools = tool::tools(prompt, losses);
    let has_tools = !tools.is_empty();
    let body = Body {
        model: target.model,
        messages: message::messages(prompt, abilities, losses)?,
        tools,
        // Servers refuse `tool_choice` without tools; a choice that forces a call is left for them to refuse.
        tool_choice: prompt
            .tool_choice
            .as_ref()
            .filter(|choice| has_tools || !matches!(choice, ToolChoice::Auto | ToolChoice::None))
            .map(|choice| tool::choice(choice, &prompt.tools)),
        parallel_tool_calls: prompt.parallel_tools.filter(|_| has_tools),
        web_search_options: tool::web_search(prompt),
        max_completion_tokens,
        max_tokens,
        temperature,
        top_p,
        seed: prompt.sampling.seed,
        presence_penalty: prompt.sampling.presence_penalty.as_ref().map(body::Raw),
        frequency_penalty: prompt.sampling.frequency_penalty.as_ref().map(body::Raw),
        logit_bias: prompt.sampling.logit_bias.as_ref().map(body::Raw),
        stop: setting::stop(prompt, losses)?,
        logprobs: prompt.sampling.logprobs.then_some(true),
        top_logprobs: prompt.sampling.top_logprobs,
        n: prompt.sampling.choices.filter(|choices| *choices != 1),
        response_format: prompt.output.format.as_ref().map(body::format),
        modalities: setting::modalities(prompt),
        audio: setting::audio(prompt, losses),
        prediction: prompt.output.prediction.as_ref().map(body::Raw),
        verbosity: prompt.output.verbosity.as_deref(),
        reasoning_effort: setting::effort(prompt, abilities, losses),
        service_tier: prompt.service_tier.map(ServiceTier::as_str),
        store: prompt.store,
        metadata: Pairs(&prompt.metadata),
        user: prompt.end_user.as_deref(),
        prompt_cache_key: prompt.caching.key.as_deref(),
        prompt_cache_retention: prompt.caching.retention.as_deref(),
        prompt_cache_options: setting::caching(prompt, abilities, losses),
        stream: prompt.stream,
        stream_options: prompt.stream.then_some(StreamOptions { include_usage: true }),
    };
    // A reader checked this JSON, so a failure here is a bug of ours.
    serde_json::to_vec(&body).map_err(|_| Box::new(Fault::internal()))
}
