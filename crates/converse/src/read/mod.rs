//! Reads a whole Converse request into the canonical prompt.

mod blocks;
mod media;
mod settings;
mod union;

use conversation::object::Field;
use conversation::request::Request;
use domain::Fault;
use domain::prompt::{Content, Instruction, Part, Prompt, Role};

use self::blocks::{BlockContext, Piece, read_piece};

/// Fields that can be dropped without a worse response.
const HINTS: &[&str] = &["performanceConfig"];

/// # Errors
/// A field has the wrong form.
pub fn read_prompt(body: &[u8], request: &Request) -> Result<Prompt, Box<Fault>> {
    // A request to count tokens nests the prompt in `input.converse`.
    let mut whole = Field::document(request.spans.prompt.map_or(body, |span| span.of(body)))?;
    let mut prompt = Prompt { stream: request.stream, ..Prompt::default() };
    // Some clients repeat the model in the body; the path decides.
    whole.take("modelId")?;
    for block in whole.items("system")? {
        read_instruction(block, &mut prompt)?;
    }
    for message in whole.need("messages", "Send an array of messages, each with a role.")?.items()? {
        read_message(message, &mut prompt)?;
    }
    settings::read_inference(&mut whole, &mut prompt)?;
    settings::read_tools(&mut whole, &mut prompt)?;
    settings::read_additional(&mut whole, &mut prompt)?;
    settings::read_output(&mut whole, &mut prompt)?;
    settings::read_tier(&mut whole, &mut prompt)?;
    settings::read_metadata(&mut whole, &mut prompt)?;
    whole.leave(HINTS, &mut prompt.extras);
    Ok(prompt)
}

/// Only text can be an instruction.
fn read_instruction(block: Field<'_>, prompt: &mut Prompt) -> Result<(), Box<Fault>> {
    let path = block.path.clone();
    let mark = match read_piece(block, BlockContext::System, &mut prompt.extras)? {
        Piece::Mark(mark) => mark,
        Piece::Part(Part { content: Content::Text { text, .. }, .. }) => {
            prompt.instructions.push(Instruction { is_developer: false, text, cache: None });
            return Ok(());
        }
        Piece::Part(_) | Piece::Nothing => return Ok(()),
    };
    match prompt.instructions.last_mut() {
        Some(last) => last.cache = Some(mark),
        None => blocks::leave_mark(&path, &mut prompt.extras),
    }
    Ok(())
}

fn read_message(message: Field<'_>, prompt: &mut Prompt) -> Result<(), Box<Fault>> {
    let mut message = message.object()?;
    let role = message.need("role", "Give each message a role: user, assistant or system.")?;
    let content = message.need("content", "Give each message its content, an array of blocks.")?;
    match &*role.text()? {
        "user" => {
            let parts = read_parts(&content, BlockContext::User, prompt)?;
            prompt.push_user(parts);
        }
        "assistant" => {
            let parts = read_parts(&content, BlockContext::Assistant, prompt)?;
            prompt.push_turn(Role::Assistant, parts);
        }
        // A system message before the first turn joins the top-level system prompt.
        "system" if prompt.turns.is_empty() => {
            for block in content.items()? {
                read_instruction(block, prompt)?;
            }
        }
        "system" => {
            let parts = read_parts(&content, BlockContext::System, prompt)?;
            prompt.push_turn(Role::System, parts);
        }
        _ => return Err(role.unknown("user, assistant and system")),
    }
    message.leave(&[], &mut prompt.extras);
    Ok(())
}

fn read_parts(
    content: &Field<'_>,
    context: BlockContext,
    prompt: &mut Prompt,
) -> Result<Vec<Part>, Box<Fault>> {
    let mut parts = Vec::new();
    for block in content.items()? {
        let path = block.path.clone();
        match read_piece(block, context, &mut prompt.extras)? {
            Piece::Part(part) => parts.push(part),
            Piece::Mark(mark) if !blocks::mark_last(&mut parts, mark, &path) => {
                blocks::leave_mark(&path, &mut prompt.extras);
            }
            Piece::Mark(_) | Piece::Nothing => {}
        }
    }
    Ok(parts)
}
