//! Writes a canonical prompt as a Converse request. What has no equivalent is recorded in `losses`.

mod marks;
mod media;
mod parts;
mod settings;
mod tools;
mod turns;
mod wire;

use conversation::features::Feature;
use conversation::losses::{DroppedFields, of_messages, of_sampling};
use conversation::target::TargetModel;
use domain::Fault;
use domain::prompt::Prompt;

use self::settings::Thought;
use self::turns::Conversation;
use self::wire::{Body, OutputConfig};

/// The body alone: the URL names the model and says whether the response is streamed.
///
/// # Errors
/// A call's arguments are not a JSON object, a tool has a name that Bedrock rejects, or calls and results
/// don't pair up.
pub fn write_prompt(
    prompt: &Prompt,
    target: &TargetModel<'_>,
    losses: &mut DroppedFields,
) -> Result<Vec<u8>, Box<Fault>> {
    let abilities = target.abilities;
    let Conversation { system, messages } = turns::write(prompt, abilities, losses)?;
    let mut thought = Thought::of(prompt, target, losses);
    let inference_config = settings::inference(prompt, target, &thought, losses)?;
    let tool_config = tools::write(prompt, target, losses)?;
    let mut additional = thought.additional.take();
    settings::call_one(prompt, target, tool_config.as_ref(), &mut additional, losses);
    let mut body = Body {
        messages,
        system,
        inference_config,
        tool_config,
        additional_model_request_fields: additional,
        service_tier: settings::tier(prompt),
        output_config: OutputConfig {
            text_format: settings::format(prompt, target, losses),
            effort: thought.effort,
        },
        request_metadata: settings::metadata(prompt, losses),
    };
    marks::keep_rules(&mut body, losses);
    lose_the_rest(prompt, losses);
    serde_json::to_vec(&body).map_err(|_| Box::new(Fault::internal()))
}

/// Records what has no equivalent in Converse at all.
fn lose_the_rest(prompt: &Prompt, losses: &mut DroppedFields) {
    losses.drop_used(of_sampling(prompt));
    losses.drop_used(of_messages(prompt));
    losses.drop_used([
        (prompt.end_user.is_some(), Feature::EndUser),
        // Only `store: true` is lost: Bedrock stores nothing anyway.
        (prompt.store == Some(true), Feature::Store),
        (prompt.turns.iter().any(|turn| turn.name.is_some()), Feature::ParticipantName),
    ]);
}
