//! Reads what the pipeline needs of a Converse request, in one pass.

use bytes::Bytes;
use conversation::fields::{checked_model, optional_tier, read_own_tools};
use conversation::request::{Addressed, Request};
use domain::{Fault, Operation, Tier};
use json::cuts::Cuts;
use json::fields::{SeenFields, not_empty, open_object, optional_count};
use json::refusal::{duplicate, missing, wrong_type, wrong_value};
use json::{Cursor, JsonError, Kind, Span, Value};

/// The fields that the pipeline reads. A duplicate of one of them is an error.
#[derive(Debug, Clone, Copy)]
enum Field {
    Messages,
    System,
    InferenceConfig,
    ToolConfig,
    ServiceTier,
}

#[derive(Debug, Default)]
struct Draft {
    seen: SeenFields,
    request: Request,
}

/// Reads `serviceTier`, an object that holds the tier's name.
pub(super) fn read_tier(cursor: &mut Cursor<'_>) -> Result<Option<Tier>, JsonError> {
    if cursor.kind()? != Kind::Object {
        return cursor.skip().map(|_| None);
    }
    let mut tier = None;
    cursor.object(|cursor, member| {
        if member.key.is("type") {
            tier = optional_tier(cursor)?;
            return Ok(());
        }
        cursor.ignore()
    })?;
    Ok(tier)
}

/// Decodes and validates a request. The whole body is checked as JSON and UTF-8. The fields that we read are
/// checked for their type and for duplicates; all others pass unchecked.
pub fn decode_request(
    operation: Operation,
    body: &Bytes,
    addressed: Option<&Addressed>,
) -> Result<Request, Box<Fault>> {
    not_empty(body)?;
    let Some(addressed) = addressed else {
        return Err(missing("modelId".to_owned(), "Send the model's id in the address, after /model/."));
    };
    let mut cursor = open_object(body)?;
    let mut draft = Draft::default();
    let span = match operation {
        Operation::Count => draft.read_counted(&mut cursor)?,
        _ => Some(draft.read_body(&mut cursor, "")?),
    };
    cursor.end()?;
    draft.check(span.is_some())?;
    let mut request = draft.request;
    request.spans.prompt = span.filter(|_| operation == Operation::Count);
    request.model = checked_model(&addressed.model)?;
    request.stream = addressed.stream;
    request.choices = 1;
    // Every Converse response reports its usage.
    request.include_usage = true;
    Ok(request)
}

impl Draft {
    /// Reads the body of `CountTokens`, which nests the request in `input.converse`. The other form,
    /// `input.invokeModel`, holds a body in the model's own format, which cannot be read here.
    fn read_counted(&mut self, cursor: &mut Cursor<'_>) -> Result<Option<Span>, Box<Fault>> {
        let mut found = None;
        cursor.object(|cursor, member| {
            if !member.key.is("input") {
                return skip(cursor);
            }
            object(cursor, "input", |cursor, name| match name {
                "converse" if found.is_some() => Err(duplicate("input.converse".to_owned())),
                "converse" => {
                    found = Some(self.read_body(cursor, "input.converse")?);
                    Ok(())
                }
                _ => skip(cursor),
            })?;
            Ok::<(), Box<Fault>>(())
        })?;
        Ok(found)
    }

    fn read_body(&mut self, cursor: &mut Cursor<'_>, path: &str) -> Result<Span, Box<Fault>> {
        object(cursor, path, |cursor, name| {
            let field = match name {
                "messages" => Field::Messages,
                "system" => Field::System,
                "inferenceConfig" => Field::InferenceConfig,
                "toolConfig" => Field::ToolConfig,
                "serviceTier" => Field::ServiceTier,
                _ => return skip(cursor),
            };
            self.seen.add(field as u16, || join(path, name))?;
            match field {
                Field::Messages => self.read_messages(cursor, &join(path, name)),
                Field::System => self.read_system(cursor, &join(path, name)),
                Field::InferenceConfig => self.read_inference(cursor, &join(path, name)),
                Field::ServiceTier => {
                    self.request.terms.tier = read_tier(cursor)?;
                    Ok(())
                }
                // Tool definitions are part of the prompt that the model reads.
                Field::ToolConfig => Ok(read_own_tools(cursor, &mut self.request)?),
            }
        })
    }

    fn check(&self, has_input: bool) -> Result<(), Box<Fault>> {
        if !has_input {
            return Err(missing("input.converse".to_owned(), "Send the request to count as input.converse."));
        }
        if !self.seen.has(Field::Messages as u16) {
            let fix = "Send an array of messages, such as [{\"role\": \"user\", \"content\": [{\"text\": \"Hello\"}]}].";
            return Err(missing("messages".to_owned(), fix));
        }
        Ok(())
    }

    fn read_inference(&mut self, cursor: &mut Cursor<'_>, path: &str) -> Result<(), Box<Fault>> {
        if cursor.kind()? == Kind::Null {
            return skip(cursor);
        }
        let mut has_max_tokens = false;
        object(cursor, path, |cursor, name| {
            if name != "maxTokens" {
                return skip(cursor);
            }
            let path = join(path, name);
            if std::mem::replace(&mut has_max_tokens, true) {
                return Err(duplicate(path));
            }
            self.request.max_output_tokens = optional_count(cursor, &path)?;
            Ok(())
        })?;
        Ok(())
    }

    fn read_system(&mut self, cursor: &mut Cursor<'_>, path: &str) -> Result<(), Box<Fault>> {
        if cursor.kind()? == Kind::Null {
            return skip(cursor);
        }
        array(cursor, path, |cursor, index| {
            let block = read_block(cursor, &format!("{path}[{index}]"))?;
            self.request.prompt_bytes += block.text_bytes;
            Ok(())
        })?;
        Ok(())
    }

    fn read_messages(&mut self, cursor: &mut Cursor<'_>, path: &str) -> Result<(), Box<Fault>> {
        let mut messages = Cuts::default();
        let count = array(cursor, path, |cursor, index| {
            cursor.kind()?;
            let start = cursor.position();
            let blocks = self.read_message(cursor, &format!("{path}[{index}]"))?;
            let whole = Span::new(start, cursor.position());
            if blocks.is_all() {
                messages.cut(whole);
            } else {
                messages.keep(whole);
                self.request.spans.removed.extend(blocks.end());
            }
            Ok(())
        })?;
        if count == 0 {
            let fix = "Send at least one message, such as {\"role\": \"user\", \"content\": [{\"text\": \"Hello\"}]}.";
            return Err(wrong_value(path.to_owned(), "is empty", fix.to_owned()));
        }
        if !messages.is_all() {
            self.request.spans.removed.extend(messages.end());
        }
        Ok(())
    }

    /// Adds the text of a message to the prompt's size. Returns the blocks to cut from its content before it
    /// goes upstream.
    fn read_message(&mut self, cursor: &mut Cursor<'_>, path: &str) -> Result<Cuts, Box<Fault>> {
        let (mut has_role, mut has_content) = (false, false);
        let mut cuts = Cuts::default();
        object(cursor, path, |cursor, name| {
            let seen = match name {
                "role" => &mut has_role,
                "content" => &mut has_content,
                _ => return skip(cursor),
            };
            let path = join(path, name);
            if std::mem::replace(seen, true) {
                return Err(duplicate(path));
            }
            if name == "role" {
                let kind = cursor.kind()?;
                return match cursor.value()? {
                    Value::String(_) => Ok(()),
                    _ => Err(wrong_type(path, "a string", kind)),
                };
            }
            array(cursor, &path, |cursor, index| {
                cursor.kind()?;
                let start = cursor.position();
                let block = read_block(cursor, &format!("{path}[{index}]"))?;
                self.request.prompt_bytes += block.text_bytes;
                let whole = Span::new(start, cursor.position());
                if block.is_unsigned_thought {
                    cuts.cut(whole)
                } else {
                    cuts.keep(whole)
                }
                Ok(())
            })?;
            Ok(())
        })?;
        if !has_role {
            return Err(missing(
                format!("{path}.role"),
                "Give each message a role: user, assistant or system.",
            ));
        }
        Ok(cuts)
    }
}

#[derive(Debug, Default)]
struct Block {
    text_bytes: u64,
    /// A reasoning block that we wrote from another provider's thinking, without a signature: Bedrock rejects
    /// it.
    is_unsigned_thought: bool,
}

/// A block may be of any kind: the upstream judges those that we don't know.
fn read_block(cursor: &mut Cursor<'_>, path: &str) -> Result<Block, Box<Fault>> {
    let mut block = Block::default();
    object(cursor, path, |cursor, name| {
        match name {
            "text" => {
                if let Value::String(text) = cursor.value()? {
                    block.text_bytes += text.decoded_len() as u64;
                }
            }
            "toolUse" => block.text_bytes += cursor.skip()?.len() as u64,
            "toolResult" if cursor.kind()? == Kind::Object => block.text_bytes += result_text(cursor)?,
            "reasoningContent" if cursor.kind()? == Kind::Object => {
                block.is_unsigned_thought = is_unsigned(cursor)?;
            }
            _ => skip(cursor)?,
        }
        Ok(())
    })?;
    Ok(block)
}

/// Counts the text and JSON of a tool result; media count as zero.
fn result_text(cursor: &mut Cursor<'_>) -> Result<u64, Box<Fault>> {
    let mut bytes = 0;
    cursor.object(|cursor, member| {
        if !member.key.is("content") || cursor.kind()? != Kind::Array {
            return skip(cursor);
        }
        cursor.array(|cursor, _| {
            if cursor.kind()? != Kind::Object {
                return skip(cursor);
            }
            cursor.object(|cursor, member| {
                let is_text = member.key.is("text") || member.key.is("json");
                let value = cursor.skip()?;
                bytes += if is_text { value.len() as u64 } else { 0 };
                Ok::<(), Box<Fault>>(())
            })?;
            Ok(())
        })?;
        Ok(())
    })?;
    Ok(bytes)
}

fn is_unsigned(cursor: &mut Cursor<'_>) -> Result<bool, Box<Fault>> {
    let (mut has_text, mut is_signed) = (false, false);
    cursor.object(|cursor, member| {
        if !member.key.is("reasoningText") || cursor.kind()? != Kind::Object {
            return skip(cursor);
        }
        has_text = true;
        cursor.object(|cursor, member| {
            let is_set = cursor.value()?.is_something(cursor.bytes());
            is_signed |= is_set && member.key.is("signature");
            Ok::<(), Box<Fault>>(())
        })?;
        Ok(())
    })?;
    Ok(has_text && !is_signed)
}

fn object(
    cursor: &mut Cursor<'_>,
    path: &str,
    mut take: impl FnMut(&mut Cursor<'_>, &str) -> Result<(), Box<Fault>>,
) -> Result<Span, Box<Fault>> {
    let kind = cursor.kind()?;
    if kind != Kind::Object {
        return Err(wrong_type(path.to_owned(), "an object", kind));
    }
    cursor.object(|cursor, member| take(cursor, &member.key.decode()))
}

fn array(
    cursor: &mut Cursor<'_>,
    path: &str,
    mut take: impl FnMut(&mut Cursor<'_>, usize) -> Result<(), Box<Fault>>,
) -> Result<usize, Box<Fault>> {
    let kind = cursor.kind()?;
    if kind != Kind::Array {
        return Err(wrong_type(path.to_owned(), "an array", kind));
    }
    let mut count = 0;
    cursor.array(|cursor, index| {
        count += 1;
        take(cursor, index)
    })?;
    Ok(count)
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn skip(cursor: &mut Cursor<'_>) -> Result<(), Box<Fault>> {
    Ok(cursor.ignore()?)
}
