//! Writes a request for an upstream of this grammar. What it has no words for is told to the losses.

mod marks;
mod media;
mod parts;
mod settings;
mod tools;
mod turns;
mod wire;

use domain::Fault;
use domain::prompt::Prompt;

use self::settings::Thought;
use self::turns::Conversation;
use self::wire::{Body, OutputConfig};
use crate::losses::{Feature, Losses};
use crate::speak::Listener;

/// The model and whether the answer is streamed are said in the address.
///
/// # Errors
/// A call's arguments are no JSON object, its tool has a name that can't be said, or calls and results don't pair.
pub(crate) fn write_prompt(
    prompt: &Prompt,
    listener: &Listener<'_>,
    losses: &mut Losses,
) -> Result<Vec<u8>, Box<Fault>> {
    let abilities = listener.abilities;
    let Conversation { system, messages } = turns::write(prompt, abilities, losses)?;
    let thought = Thought::of(prompt, listener, losses);
    let mut body = Body {
        messages,
        system,
        inference_config: settings::inference(prompt, abilities, &thought, losses)?,
        tool_config: tools::write(prompt, abilities, losses)?,
        additional_model_request_fields: thought.additional,
        service_tier: settings::tier(prompt),
        output_config: OutputConfig { text_format: settings::format(prompt, losses), effort: thought.effort },
        request_metadata: settings::metadata(prompt, losses),
    };
    marks::keep_rules(&mut body, losses);
    lose_the_rest(prompt, losses);
    serde_json::to_vec(&body).map_err(|_| Box::new(Fault::internal()))
}

/// What has no words here at all.
fn lose_the_rest(prompt: &Prompt, losses: &mut Losses) {
    let Prompt { sampling, output, caching, .. } = prompt;
    let lost = [
        (sampling.choices.is_some_and(|choices| choices > 1), Feature::Choices),
        (sampling.logprobs || sampling.top_logprobs.is_some(), Feature::Logprobs),
        (sampling.seed.is_some(), Feature::Seed),
        (sampling.presence_penalty.is_some(), Feature::PresencePenalty),
        (sampling.frequency_penalty.is_some(), Feature::FrequencyPenalty),
        (sampling.logit_bias.is_some(), Feature::LogitBias),
        (prompt.parallel_tools == Some(false), Feature::SingleToolCalls),
        (output.modalities.iter().any(|modality| modality != "text"), Feature::Modalities),
        (output.audio.is_some(), Feature::SpokenAudio),
        (output.verbosity.is_some(), Feature::Verbosity),
        (output.prediction.is_some(), Feature::Prediction),
        (prompt.reasoning.wants_encrypted, Feature::EncryptedReasoning),
        (caching.key.is_some(), Feature::CacheKey),
        (caching.retention.is_some(), Feature::CacheRetention),
        (caching.content.is_some(), Feature::CachedContent),
        (prompt.end_user.is_some(), Feature::EndUser),
        // That nothing is kept is so anyway.
        (prompt.store == Some(true), Feature::Store),
        (prompt.turns.iter().any(|turn| turn.name.is_some()), Feature::ParticipantName),
    ];
    lost.into_iter().filter(|(is_said, _)| *is_said).for_each(|(_, feature)| losses.lose(feature));
}
