//! Reads what the pipeline needs of a Gemini request, in one pass.

use bytes::Bytes;
use conversation::fields::{checked_model, optional_tier};
use conversation::request::{Addressed, NamedFile, Request};
use domain::limits::CHOICES_MAX;
use domain::{Fault, HostedTool, Operation};
use json::fields::{SeenFields, not_empty, open_object};
use json::refusal::{duplicate, missing, wrong_type, wrong_value};
use json::{Cursor, JsonError, Kind, Span, Value};

use super::cache;
use super::embed::{self, check_model};
use super::names::{camel, count, each};

/// The fields that the pipeline reads. A duplicate of one is an error, since parsers differ in which of two
/// wins.
#[derive(Debug, Clone, Copy)]
enum Field {
    Contents,
    SystemInstruction,
    GenerationConfig,
    Tools,
    ServiceTier,
    Model,
    CachedContent,
    /// A whole nested request (`generateContentRequest`), for counting tokens.
    Generate,
}

#[derive(Debug, Default)]
struct Draft {
    seen: SeenFields,
    request: Request,
    /// The operation is to count tokens, where the request may be nested.
    counts: bool,
    /// The model named in the body.
    named: Option<String>,
}

/// Decodes and validates a request. The whole body is checked as JSON and UTF-8. The fields that we read are
/// checked for their type and for duplicates in either spelling; all others pass unchecked.
pub fn decode_request(
    operation: Operation,
    body: &Bytes,
    addressed: Option<&Addressed>,
) -> Result<Request, Box<Fault>> {
    if operation == Operation::Embed {
        return embed::decode(body, addressed);
    }
    if operation == Operation::CachedContent {
        return cache::decode(body, addressed);
    }
    not_empty(body)?;
    let mut cursor = open_object(body)?;
    let mut draft = Draft { counts: operation == Operation::Count, ..Draft::default() };
    cursor.object(|cursor, member| draft.read(cursor, &member.key.decode()))?;
    cursor.end()?;
    let Some(addressed) = addressed else {
        return Err(missing("model".to_owned(), "Send the model's id in the address, after models/."));
    };
    draft.check()?;
    if let Some(named) = &draft.named {
        check_model(named, &addressed.model, || "model".to_owned())?;
    }
    let mut request = draft.request;
    request.model = checked_model(&addressed.model)?;
    request.stream = addressed.stream;
    request.as_array = addressed.as_array;
    request.choices = request.choices.max(1);
    // Every Gemini response reports its usage.
    request.include_usage = true;
    Ok(request)
}

/// Returns the size of the tools in bytes, and notes the hosted ones, each of which has its own member. Code
/// execution and URL context cost nothing beyond their tokens.
fn read_tools(cursor: &mut Cursor<'_>, request: &mut Request) -> Result<u64, JsonError> {
    let span = each_span(cursor, |cursor| {
        request.has_tools = true;
        let hosted = &mut request.terms.hosted;
        if cursor.kind()? != Kind::Object {
            return cursor.ignore();
        }
        cursor.object(|cursor, member| {
            match &*camel(&member.key.decode()) {
                "functionDeclarations" | "codeExecution" | "urlContext" | "computerUse" | "mcpServers" => {}
                "googleSearch" | "googleSearchRetrieval" | "enterpriseWebSearch" => {
                    hosted.add(HostedTool::WebSearch);
                }
                "fileSearch" => hosted.add(HostedTool::FileSearch),
                _ => hosted.add(HostedTool::Other),
            }
            cursor.ignore()
        })?;
        Ok(())
    })?;
    Ok(span.len() as u64)
}

/// Each element of an array, or a single value in its place. Returns the span of the whole.
fn each_span(
    cursor: &mut Cursor<'_>,
    mut element: impl FnMut(&mut Cursor<'_>) -> Result<(), JsonError>,
) -> Result<Span, JsonError> {
    if cursor.kind()? == Kind::Array {
        return cursor.array(|cursor, _| element(cursor));
    }
    let start = cursor.position();
    element(cursor)?;
    Ok(Span::new(start, cursor.position()))
}

impl Draft {
    fn read(&mut self, cursor: &mut Cursor<'_>, written: &str) -> Result<(), Box<Fault>> {
        let field = match &*camel(written) {
            "contents" => Field::Contents,
            "systemInstruction" => Field::SystemInstruction,
            "generationConfig" => Field::GenerationConfig,
            "tools" => Field::Tools,
            "serviceTier" => Field::ServiceTier,
            "model" => Field::Model,
            "cachedContent" => Field::CachedContent,
            "generateContentRequest" if self.counts => Field::Generate,
            _ => {
                cursor.skip()?;
                return Ok(());
            }
        };
        self.seen.add(field as u16, || written.to_owned())?;
        match field {
            Field::Contents => self.read_contents(cursor, written),
            Field::SystemInstruction => self.read_instruction(cursor, written),
            Field::GenerationConfig => self.read_generation(cursor, written),
            // Tool definitions are part of the prompt that the model reads.
            Field::Tools => {
                self.request.prompt_bytes += read_tools(cursor, &mut self.request)?;
                Ok(())
            }
            Field::ServiceTier => {
                self.request.terms.tier = optional_tier(cursor)?;
                Ok(())
            }
            Field::Model => self.read_model(cursor, written),
            Field::CachedContent => self.read_cached_content(cursor, written),
            Field::Generate => self.read_generate(cursor, written),
        }
    }

    fn has(&self, field: Field) -> bool {
        self.seen.has(field as u16)
    }

    /// Requires exactly one conversation.
    fn check(&self) -> Result<(), Box<Fault>> {
        match (self.has(Field::Contents), self.has(Field::Generate)) {
            (false, false) => {
                let fix = "Send an array of contents, such as [{\"parts\": [{\"text\": \"Hello\"}]}].";
                Err(missing("contents".to_owned(), fix))
            }
            (true, true) => {
                let fix = "Send either contents or generateContentRequest.".to_owned();
                Err(wrong_value("contents".to_owned(), "is set along with generateContentRequest", fix))
            }
            _ => Ok(()),
        }
    }

    fn read_model(&mut self, cursor: &mut Cursor<'_>, path: &str) -> Result<(), Box<Fault>> {
        let kind = cursor.kind()?;
        match cursor.value()? {
            Value::Null => Ok(()),
            Value::String(text) => {
                self.request.spans.resources.push(text.span);
                self.named = Some(text.decode().into_owned());
                Ok(())
            }
            _ => Err(wrong_type(path.to_owned(), "a string", kind)),
        }
    }

    /// A name in another form is forwarded as it is.
    fn read_cached_content(&mut self, cursor: &mut Cursor<'_>, path: &str) -> Result<(), Box<Fault>> {
        let Value::String(text) = cursor.value()? else { return Ok(()) };
        let (span, id) = (text.span, text.decode().into_owned());
        let Some(own) = id.strip_prefix(cache::RESOURCE) else { return Ok(()) };
        // A slash may be escaped, so the id's place is measured from the end.
        let start = span.end.saturating_sub(own.len() + 2);
        let tail = Span::new(start, span.end);
        if tail.of(cursor.bytes()).get(1..=own.len()) == Some(own.as_bytes()) {
            self.request.files.push(NamedFile { id, path: path.to_owned(), is_exchanged: false, span: tail });
        }
        Ok(())
    }

    fn read_generate(&mut self, cursor: &mut Cursor<'_>, path: &str) -> Result<(), Box<Fault>> {
        let kind = cursor.kind()?;
        if kind != Kind::Object {
            return Err(wrong_type(path.to_owned(), "an object", kind));
        }
        let mut inner = Self::default();
        let span = cursor.object(|cursor, member| inner.read(cursor, &member.key.decode()))?;
        inner.check()?;
        let request = inner.request;
        self.request.spans.prompt = Some(span);
        self.request.prompt_bytes += request.prompt_bytes;
        self.request.terms = request.terms;
        self.request.has_tools = request.has_tools;
        self.request.spans.resources.extend(request.spans.resources);
        self.request.files.extend(request.files.into_iter().map(|file| {
            let path = format!("{path}.{}", file.path);
            NamedFile { path, ..file }
        }));
        self.named = inner.named.or(self.named.take());
        Ok(())
    }

    fn read_contents(&mut self, cursor: &mut Cursor<'_>, path: &str) -> Result<(), Box<Fault>> {
        let kind = cursor.kind()?;
        if !matches!(kind, Kind::Array | Kind::Object) {
            return Err(wrong_type(path.to_owned(), "an array", kind));
        }
        let mut contents = 0;
        each(cursor, |cursor, index| {
            contents += 1;
            self.read_content(cursor, &format!("{path}[{index}]"))
        })?;
        if contents == 0 {
            let fix = "Send at least one content, such as {\"parts\": [{\"text\": \"Hello\"}]}.";
            return Err(wrong_value(path.to_owned(), "is empty", fix.to_owned()));
        }
        Ok(())
    }

    fn read_instruction(&mut self, cursor: &mut Cursor<'_>, path: &str) -> Result<(), Box<Fault>> {
        match cursor.kind()? {
            Kind::Null => {
                cursor.skip()?;
                Ok(())
            }
            Kind::String => {
                if let Value::String(text) = cursor.value()? {
                    self.request.prompt_bytes += text.decoded_len() as u64;
                }
                Ok(())
            }
            _ => self.read_content(cursor, path),
        }
    }

    fn read_content(&mut self, cursor: &mut Cursor<'_>, path: &str) -> Result<(), Box<Fault>> {
        let kind = cursor.kind()?;
        if kind != Kind::Object {
            return Err(wrong_type(path.to_owned(), "an object", kind));
        }
        let (mut has_role, mut has_parts) = (false, false);
        cursor.object(|cursor, member| {
            let written = member.key.decode();
            match &*written {
                "role" => {
                    once(&mut has_role, path, &written)?;
                    let kind = cursor.kind()?;
                    if !matches!(cursor.value()?, Value::String(_) | Value::Null) {
                        return Err(wrong_type(format!("{path}.role"), "a string", kind));
                    }
                }
                "parts" => {
                    once(&mut has_parts, path, &written)?;
                    each(cursor, |cursor, index| self.read_part(cursor, path, index))?;
                }
                _ => {
                    cursor.skip()?;
                }
            }
            Ok::<(), Box<Fault>>(())
        })?;
        Ok(())
    }

    fn read_part(&mut self, cursor: &mut Cursor<'_>, path: &str, index: usize) -> Result<(), Box<Fault>> {
        let kind = cursor.kind()?;
        if kind != Kind::Object {
            return Err(wrong_type(format!("{path}.parts[{index}]"), "an object", kind));
        }
        let (mut has_text, mut has_call, mut has_result) = (false, false, false);
        cursor.object(|cursor, member| {
            let written = member.key.decode();
            let part = || format!("{path}.parts[{index}]");
            match &*camel(&written) {
                "text" => {
                    once(&mut has_text, &part(), &written)?;
                    let kind = cursor.kind()?;
                    match cursor.value()? {
                        Value::String(text) => self.request.prompt_bytes += text.decoded_len() as u64,
                        Value::Null => {}
                        _ => return Err(wrong_type(format!("{}.text", part()), "a string", kind)),
                    }
                }
                "functionCall" => {
                    once(&mut has_call, &part(), &written)?;
                    self.request.prompt_bytes += cursor.skip()?.len() as u64;
                }
                "functionResponse" => {
                    once(&mut has_result, &part(), &written)?;
                    self.request.prompt_bytes += cursor.skip()?.len() as u64;
                }
                _ => {
                    cursor.skip()?;
                }
            }
            Ok::<(), Box<Fault>>(())
        })?;
        Ok(())
    }

    fn read_generation(&mut self, cursor: &mut Cursor<'_>, path: &str) -> Result<(), Box<Fault>> {
        let kind = cursor.kind()?;
        match kind {
            Kind::Object => {}
            Kind::Null => {
                cursor.skip()?;
                return Ok(());
            }
            _ => return Err(wrong_type(path.to_owned(), "an object", kind)),
        }
        let (mut has_tokens, mut has_choices) = (false, false);
        cursor.object(|cursor, member| {
            let written = member.key.decode();
            let name = format!("{path}.{written}");
            match &*camel(&written) {
                "maxOutputTokens" => {
                    once(&mut has_tokens, path, &written)?;
                    self.request.max_output_tokens = count(cursor, &name)?;
                }
                "candidateCount" => {
                    once(&mut has_choices, path, &written)?;
                    self.request.choices = read_choices(cursor, &name)?;
                }
                "responseModalities" => {
                    each_span(cursor, |cursor| {
                        if let Value::String(modality) = cursor.value()? {
                            self.request.speaks |= modality.decode().eq_ignore_ascii_case("audio");
                        }
                        Ok(())
                    })?;
                }
                _ => {
                    cursor.skip()?;
                }
            }
            Ok::<(), Box<Fault>>(())
        })?;
        Ok(())
    }
}

fn read_choices(cursor: &mut Cursor<'_>, path: &str) -> Result<u32, Box<Fault>> {
    let Some(count) = count(cursor, path)? else { return Ok(1) };
    match u32::try_from(count) {
        Ok(choices) if (1..=CHOICES_MAX).contains(&choices) => Ok(choices),
        _ => {
            let fix = format!("Send a whole number from 1 to {CHOICES_MAX}, or leave it out.");
            Err(wrong_value(path.to_owned(), "is out of range", fix))
        }
    }
}

fn once(seen: &mut bool, path: &str, written: &str) -> Result<(), Box<Fault>> {
    if *seen {
        return Err(duplicate(format!("{path}.{written}")));
    }
    *seen = true;
    Ok(())
}
