//! Reads a whole Anthropic request into the canonical prompt.

use conversation::object::{Field, Object};
use domain::Fault;
use domain::prompt::{Content, Extra, Instruction, Part, Prompt, Role, ServiceTier};
use json::Kind;

use super::blocks::{BlockContext, read_blocks};
use super::settings;

/// Fields that can be dropped without a worse response and that have no equivalent in another dialect.
const HINTS: &[&str] = &[
    "anthropic_beta",
    "anthropic_version",
    "betas",
    "billing_policy",
    "compaction",
    "context_management",
    "diagnostics",
    "fallback_credit_token",
    "fallbacks",
    // Restricts where the model may run, as far as the vendor offers a choice.
    "inference_geo",
    "speed",
    // The messages have everything before them by then, and the gateway keeps the answer.
    "thread",
    "user_profile_id",
    "workspace_id",
];

/// # Errors
/// A field has the wrong form.
pub fn read_prompt(body: &[u8]) -> Result<Prompt, Box<Fault>> {
    let mut whole = Field::document(body)?;
    let mut prompt = Prompt::default();
    // Already read when the request was decoded.
    whole.take("model")?;
    prompt.stream = whole.boolean("stream")?.unwrap_or(false);
    prompt.output.tokens_max = whole.count("max_tokens")?;
    if let Some(system) = whole.take("system")? {
        read_instructions(&system, &mut prompt)?;
    }
    for message in whole.need("messages", "Send an array of messages, each with a role.")?.items()? {
        read_message(message, &mut prompt)?;
    }
    settings::read_tools(&mut whole, &mut prompt)?;
    settings::read_sampling(&mut whole, &mut prompt)?;
    conversation::thinking::read_thinking(&mut whole, &mut prompt)?;
    conversation::thinking::read_output_config(&mut whole, &mut prompt)?;
    prompt.caching.automatic = settings::read_mark(&mut whole, &mut prompt.extras)?;
    read_tier(&mut whole, &mut prompt)?;
    read_metadata(&mut whole, &mut prompt)?;
    whole.leave(HINTS, &mut prompt.extras);
    Ok(prompt)
}

fn read_instructions(system: &Field<'_>, prompt: &mut Prompt) -> Result<(), Box<Fault>> {
    let parts = read_content(system, BlockContext::System, &mut prompt.extras)?;
    prompt.instructions.extend(parts.into_iter().filter_map(instruction));
    Ok(())
}

/// Only text can be an instruction.
fn instruction(part: Part) -> Option<Instruction> {
    match part.content {
        Content::Text { text, .. } => Some(Instruction { is_developer: false, text, cache: part.cache }),
        _ => None,
    }
}

fn read_content(
    content: &Field<'_>,
    context: BlockContext,
    extras: &mut Vec<Extra>,
) -> Result<Vec<Part>, Box<Fault>> {
    match content.kind {
        Kind::String => Ok(vec![Part::text(content.text()?)]),
        _ => read_blocks(content, context, extras),
    }
}

fn read_message(message: Field<'_>, prompt: &mut Prompt) -> Result<(), Box<Fault>> {
    let mut message = message.object()?;
    let role = message.need("role", "Give each message a role: user, assistant or system.")?;
    let content = message.need("content", "Give each message a content: a string, or an array of blocks.")?;
    match &*role.text()? {
        "user" => {
            let parts = read_content(&content, BlockContext::User, &mut prompt.extras)?;
            prompt.push_user(parts);
        }
        "assistant" => {
            let parts = read_content(&content, BlockContext::Assistant, &mut prompt.extras)?;
            prompt.push_turn(Role::Assistant, parts);
        }
        // A system message before the first turn joins the top-level system prompt.
        "system" if prompt.turns.is_empty() => read_instructions(&content, prompt)?,
        "system" => {
            let parts = read_content(&content, BlockContext::System, &mut prompt.extras)?;
            prompt.push_turn(Role::System, parts);
        }
        _ => return Err(role.unknown("user, assistant and system")),
    }
    message.leave(&["clear_at", "output_config"], &mut prompt.extras);
    Ok(())
}

fn read_tier(whole: &mut Object<'_>, prompt: &mut Prompt) -> Result<(), Box<Fault>> {
    let Some(tier) = whole.take("service_tier")? else { return Ok(()) };
    prompt.service_tier = match &*tier.text()? {
        "auto" => Some(ServiceTier::Auto),
        "standard_only" => Some(ServiceTier::Default),
        _ => {
            prompt.extras.push(Extra { name: tier.path, affects_answer: false });
            None
        }
    };
    Ok(())
}

fn read_metadata(whole: &mut Object<'_>, prompt: &mut Prompt) -> Result<(), Box<Fault>> {
    let Some(mut metadata) = whole.object("metadata")? else { return Ok(()) };
    prompt.end_user = metadata.text("user_id")?;
    let first = prompt.extras.len();
    metadata.leave(&[], &mut prompt.extras);
    // Unknown metadata never changes the response, whatever its name.
    prompt.extras.iter_mut().skip(first).for_each(|extra| extra.affects_answer = false);
    Ok(())
}
