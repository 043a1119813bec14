//! Reads what the pipeline needs of an Anthropic Messages request, in one pass.

use bytes::Bytes;
use conversation::fields::{optional_tier, read_model, read_tools};
use conversation::request::{NamedFile, Request, Stored, StoredAct};
use domain::{Fault, HostedTool, Operation, Tier};
use json::cuts::Cuts;
use json::fields::{SeenFields, not_empty, open_object, optional_boolean, optional_count, optional_text};
use json::refusal::{duplicate, missing, wrong_type, wrong_value};
use json::{Cursor, JsonError, Kind, Member, Span, Value};

/// The fields that the pipeline reads. A duplicate of one of them is an error.
#[derive(Debug, Clone, Copy)]
enum Field {
    Model,
    MaxTokens,
    Messages,
    System,
    Tools,
    Stream,
    Metadata,
    ServiceTier,
    Speed,
    Thread,
}

#[derive(Debug, Default)]
struct Draft {
    seen: SeenFields,
    request: Request,
}

/// Decodes and validates a request. The whole body is checked as JSON and UTF-8. The fields that we read are
/// checked for their type and for duplicates; all others pass unchecked.
pub fn decode_request(operation: Operation, body: &Bytes) -> Result<Request, Box<Fault>> {
    not_empty(body)?;
    let mut cursor = open_object(body)?;
    let mut draft = Draft::default();
    cursor.object(|cursor, member| draft.read(cursor, &member))?;
    cursor.end()?;
    draft.finish(operation)
}

impl Draft {
    fn read(&mut self, cursor: &mut Cursor<'_>, member: &Member<'_>) -> Result<(), Box<Fault>> {
        let name = member.key.decode();
        let field = match &*name {
            "model" => Field::Model,
            "max_tokens" => Field::MaxTokens,
            "messages" => Field::Messages,
            "system" => Field::System,
            "tools" => Field::Tools,
            "stream" => Field::Stream,
            "metadata" => Field::Metadata,
            "service_tier" => Field::ServiceTier,
            "speed" => Field::Speed,
            "thread" => Field::Thread,
            _ => {
                cursor.skip()?;
                return Ok(());
            }
        };
        self.seen.add(field as u16, || name.to_string())?;
        match field {
            Field::Model => read_model(cursor, &mut self.request)?,
            Field::MaxTokens => self.request.max_output_tokens = optional_count(cursor, &name)?,
            Field::Messages => self.read_messages(cursor)?,
            Field::System => {
                self.request.prompt_bytes += read_content(cursor, "system", &mut self.request.files)?
            }
            // Tool definitions are part of the prompt that the model reads.
            Field::Tools => read_tools(cursor, &mut self.request, hosted_tool)?,
            Field::Stream => self.request.stream = optional_boolean(cursor, &name)?.unwrap_or(false),
            Field::Metadata => self.read_metadata(cursor)?,
            Field::ServiceTier => self.read_tier(cursor)?,
            // `speed` is a second tier field: a value above standard (`fast`) outranks a standard tier.
            Field::Speed => self.read_tier(cursor)?,
            Field::Thread => self.read_thread(cursor)?,
        }
        Ok(())
    }

    fn read_metadata(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Box<Fault>> {
        match cursor.kind()? {
            Kind::Object => {}
            Kind::Null => return skip(cursor),
            kind => return Err(wrong_type("metadata".to_owned(), "an object", kind)),
        }
        let mut seen = false;
        cursor.object(|cursor, member| {
            if !member.key.is("user_id") {
                return skip(cursor);
            }
            if std::mem::replace(&mut seen, true) {
                return Err(duplicate("metadata.user_id".to_owned()));
            }
            self.request.spans.end_user = optional_text(cursor, "metadata.user_id")?;
            Ok::<(), Box<Fault>>(())
        })?;
        Ok(())
    }

    /// A thread: its provider keeps the turns under the id of the answer, and continues them there alone.
    fn read_thread(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Box<Fault>> {
        if cursor.kind()? != Kind::Object {
            return skip(cursor);
        }
        let mut seen = false;
        let request = &mut self.request;
        request.stores_answer = true;
        cursor.object(|cursor, member| {
            if !member.key.is("previous_message_id") {
                return skip(cursor);
            }
            // Readers differ in which one counts, and only one is looked up.
            if std::mem::replace(&mut seen, true) {
                return Err(duplicate("thread.previous_message_id".to_owned()));
            }
            if let Value::String(text) = cursor.value()? {
                let id = text.decode().into_owned();
                request.stored = Some(Box::new(Stored::new(id, StoredAct::Continue, String::new())));
            }
            Ok::<(), Box<Fault>>(())
        })?;
        Ok(())
    }

    fn read_tier(&mut self, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        let requested = optional_tier(cursor)?;
        let tier = &mut self.request.terms.tier;
        *tier = match (*tier, requested) {
            (None | Some(Tier::Standard), requested) => requested.or(*tier),
            (current, _) => current,
        };
        Ok(())
    }

    fn read_messages(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Box<Fault>> {
        let kind = cursor.kind()?;
        if kind != Kind::Array {
            return Err(wrong_type("messages".to_owned(), "an array", kind));
        }
        let mut messages = Cuts::default();
        let request = &mut self.request;
        let mut count = 0;
        cursor.array(|cursor, index| {
            count += 1;
            cursor.kind()?;
            let start = cursor.position();
            let blocks = read_message(cursor, index, request)?;
            let whole = Span::new(start, cursor.position());
            if blocks.is_all() {
                messages.cut(whole);
            } else {
                messages.keep(whole);
                request.spans.removed.extend(blocks.end());
            }
            Ok::<(), Box<Fault>>(())
        })?;
        if count == 0 {
            let fix = "Send at least one message, such as {\"role\": \"user\", \"content\": \"Hello\"}.";
            return Err(wrong_value("messages".to_owned(), "is empty", fix.to_owned()));
        }
        if !messages.is_all() {
            request.spans.removed.extend(messages.end());
        }
        Ok(())
    }

    fn finish(self, operation: Operation) -> Result<Request, Box<Fault>> {
        let has = |field: Field| self.seen.has(field as u16);
        if !has(Field::Model) {
            return Err(missing("model".to_owned(), "Send the id of a model as GET /v1/models lists it."));
        }
        if !has(Field::Messages) {
            return Err(missing("messages".to_owned(), "Send an array of messages, each with a role."));
        }
        let mut request = self.request;
        // A token-counting request has no output, so it needs no limit.
        if request.max_output_tokens.is_none() && operation != Operation::Count {
            let fix = "Send the maximum number of tokens in the answer, such as 4096.";
            return Err(missing("max_tokens".to_owned(), fix));
        }
        request.choices = 1;
        request.include_usage = true;
        Ok(request)
    }
}

/// The server tool that a versioned type such as `web_search_20250305` names. Returns `None` for tools that
/// the client runs, and for server tools that cost nothing beyond their tokens.
fn hosted_tool(word: &str) -> Option<HostedTool> {
    if word.starts_with("web_search") {
        Some(HostedTool::WebSearch)
    } else if word.starts_with("code_execution") {
        Some(HostedTool::CodeExecution)
    } else {
        None
    }
}

/// Adds the text of a message to the prompt's size. Returns the blocks to cut from its content before it goes
/// upstream.
fn read_message(cursor: &mut Cursor<'_>, index: usize, request: &mut Request) -> Result<Cuts, Box<Fault>> {
    let path = format!("messages[{index}]");
    let kind = cursor.kind()?;
    if kind != Kind::Object {
        return Err(wrong_type(path, "an object", kind));
    }
    let mut seen = [false; 2];
    let mut cuts = Cuts::default();
    cursor.object(|cursor, member| {
        let is_role = member.key.is("role");
        if !is_role && !member.key.is("content") {
            return skip(cursor);
        }
        let [role, content] = &mut seen;
        let name = if is_role { "role" } else { "content" };
        if std::mem::replace(if is_role { role } else { content }, true) {
            return Err(duplicate(format!("{path}.{name}")));
        }
        let kind = cursor.kind()?;
        if is_role {
            return match cursor.value()? {
                Value::String(_) => Ok(()),
                _ => Err(wrong_type(format!("{path}.role"), "a string", kind)),
            };
        }
        if kind != Kind::Array {
            let content_path = format!("{path}.content");
            request.prompt_bytes += read_content(cursor, &content_path, &mut request.files)?;
            return Ok(());
        }
        cursor.array(|cursor, part| {
            cursor.kind()?;
            let start = cursor.position();
            let block_path = || format!("{path}.content[{part}]");
            let block = read_block(cursor, block_path, &mut request.files)?;
            request.prompt_bytes += block.text_bytes;
            let whole = Span::new(start, cursor.position());
            if block.is_unsigned_thought {
                cuts.cut(whole)
            } else {
                cuts.keep(whole)
            }
            Ok::<(), Box<Fault>>(())
        })?;
        Ok::<(), Box<Fault>>(())
    })?;
    let [role, _] = seen;
    if !role {
        return Err(missing(format!("{path}.role"), "Give each message a role: user, assistant or system."));
    }
    Ok(cuts)
}

/// Returns the text bytes of a string or of an array of blocks.
fn read_content(cursor: &mut Cursor<'_>, path: &str, files: &mut Vec<NamedFile>) -> Result<u64, Box<Fault>> {
    let kind = cursor.kind()?;
    if kind == Kind::Array {
        let mut bytes = 0;
        cursor.array(|cursor, part| {
            bytes += read_block(cursor, || format!("{path}[{part}]"), files)?.text_bytes;
            Ok::<(), Box<Fault>>(())
        })?;
        return Ok(bytes);
    }
    match cursor.value()? {
        Value::Null => Ok(0),
        Value::String(text) => Ok(text.decoded_len() as u64),
        _ => Err(wrong_type(path.to_owned(), "a string or an array of blocks", kind)),
    }
}

#[derive(Debug, Default)]
struct Block {
    text_bytes: u64,
    /// A thinking block that we wrote from another provider's reasoning, without a signature: Anthropic
    /// rejects it.
    is_unsigned_thought: bool,
}

/// A block may have any `type`: the upstream judges those that we don't know.
fn read_block(
    cursor: &mut Cursor<'_>,
    path: impl Fn() -> String,
    files: &mut Vec<NamedFile>,
) -> Result<Block, Box<Fault>> {
    let kind = cursor.kind()?;
    if kind != Kind::Object {
        return Err(wrong_type(path(), "an object", kind));
    }
    let mut block = Block::default();
    let mut kind = None;
    let mut is_signed = false;
    cursor.object(|cursor, member| {
        match &*member.key.decode() {
            "type" => {
                let found = cursor.kind()?;
                let Value::String(text) = cursor.value()? else {
                    return Err(wrong_type(format!("{}.type", path()), "a string", found));
                };
                if kind.replace(text.decode()).is_some() {
                    return Err(duplicate(format!("{}.type", path())));
                }
            }
            "text" => {
                if let Value::String(text) = cursor.value()? {
                    block.text_bytes += text.decoded_len() as u64;
                }
            }
            "signature" => is_signed |= cursor.value()?.is_something(cursor.bytes()),
            "input" => block.text_bytes += cursor.skip()?.len() as u64,
            // Of a tool result. Blocks nested deeper hold no text that counts.
            "content" => block.text_bytes += inner_text(cursor, &path, files)?,
            "source" => {
                conversation::files::read_object(cursor, files, &|| format!("{}.source.file_id", path()))?
            }
            "file_id" => conversation::files::read_id(cursor, files, || format!("{}.file_id", path()))?,
            _ => skip(cursor)?,
        }
        Ok::<(), Box<Fault>>(())
    })?;
    let Some(kind) = kind else {
        return Err(missing(format!("{}.type", path()), "Give each block a type, such as text or image."));
    };
    block.is_unsigned_thought = kind == "thinking" && !is_signed;
    Ok(block)
}

fn inner_text(
    cursor: &mut Cursor<'_>,
    path: &dyn Fn() -> String,
    files: &mut Vec<NamedFile>,
) -> Result<u64, Box<Fault>> {
    let mut bytes = 0;
    if cursor.kind()? != Kind::Array {
        if let Value::String(text) = cursor.value()? {
            bytes = text.decoded_len() as u64;
        }
        return Ok(bytes);
    }
    cursor.array(|cursor, part| {
        if cursor.kind()? != Kind::Object {
            return skip(cursor);
        }
        cursor.object(|cursor, member| {
            if member.key.is("source") {
                let source_path = || format!("{}.content[{part}].source.file_id", path());
                return Ok(conversation::files::read_object(cursor, files, &source_path)?);
            }
            match cursor.value()? {
                Value::String(text) if member.key.is("text") => bytes += text.decoded_len() as u64,
                _ => {}
            }
            Ok::<(), Box<Fault>>(())
        })?;
        Ok::<(), Box<Fault>>(())
    })?;
    Ok(bytes)
}

fn skip(cursor: &mut Cursor<'_>) -> Result<(), Box<Fault>> {
    Ok(cursor.ignore()?)
}
