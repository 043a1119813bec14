//! Reads the JSON of one completion or one stream chunk: what accounting needs, and the edits that SDKs need.

use std::borrow::Cow;

use conversation::answer::StreamFault;
use conversation::prompt_text::CountedText;
use domain::Usage;
use json::splice::Edit;
use json::{Cursor, JsonError, Kind, Span, Text, Value};

use super::listed::Listed;
use super::template::{Alike, ChunkTemplate, Seen};
use super::usage::UsageCounters;
use conversation::upstream_error::{class_of, read_error};

/// Padding of random length, against traffic analysis by packet size.
const FILLING: &str = "obfuscation";

/// What was read of an answer so far, over all its chunks.
#[derive(Debug, Default)]
pub(super) struct Reading {
    registers: UsageCounters,
    /// Decoded text and tool bytes.
    pub content_bytes: u64,
    /// One bit per choice: those that started, and those that have their finish reason.
    began: u128,
    ended: u128,
    /// State for servers that omit the index of a tool call.
    tool_calls: u64,
    tool_id: Option<String>,
    likeness: Option<ChunkTemplate>,
    /// The choices are skipped.
    counts_alone: bool,
    /// A complete `message` in a stream chunk is renamed to `delta`, the only name that SDKs look for there.
    pub renames_messages: bool,
    /// A buffered response, whose tool calls have no index.
    is_whole: bool,
    /// The content strings in the current chunk: their number, and the last one.
    texts: u32,
    text: Option<Span>,
    /// The text that `content_bytes` counts, kept for a tokenizer to count.
    kept: CountedText,
}

/// What one chunk contains.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// It carries content of the answer, more than a role.
    pub content: bool,
    /// It carries usage only.
    pub usage_only: bool,
    /// It has a list of choices, empty or not.
    pub has_choices: bool,
    /// The member `usage` with the comma that belongs to it.
    pub usage_member: Option<Span>,
}

/// The position of `usage` among the members, so that it can be cut with its comma.
#[derive(Debug, Default)]
struct UsagePosition {
    found: Option<Span>,
    /// It is the first member, so the comma to cut is the one after it.
    leads: bool,
    previous_end: usize,
}

impl Reading {
    /// For a stream, whose chunks resemble each other.
    pub(super) fn of_stream() -> Self {
        Self { likeness: Some(ChunkTemplate::default()), renames_messages: true, ..Self::default() }
    }

    /// For a buffered response that is repaired.
    pub(super) fn of_whole() -> Self {
        Self { is_whole: true, ..Self::default() }
    }

    /// For a buffered response whose reported usage may suffice.
    pub(super) fn of_counts() -> Self {
        Self { counts_alone: true, ..Self::default() }
    }

    /// Keeps the text of what is read from here on, up to a bound.
    pub(super) fn keep_text(&mut self) {
        self.kept = CountedText::new(true);
    }

    pub(super) fn kept_text(&self) -> &str {
        self.kept.as_str()
    }

    pub(super) fn usage(&self) -> Option<Usage> {
        self.registers.usage(self.content_bytes)
    }

    /// Every choice that started has ended.
    pub(super) fn finished(&self) -> bool {
        self.began != 0 && self.began == self.ended
    }

    /// The choices that started and have not ended.
    pub(super) fn open_choices(&self) -> impl Iterator<Item = u32> {
        let open = self.began & !self.ended;
        (0..u128::BITS).filter(move |index| open >> index & 1 == 1)
    }

    /// Reads one chunk or a buffered response, which has `message` instead of `delta`. Appends to `edits`
    /// what SDKs need and the server left out.
    pub(super) fn read(&mut self, json: &[u8], edits: &mut Vec<Edit<'static>>) -> Result<Chunk, StreamFault> {
        if let Some(chunk) = self.read_alike(json) {
            return Ok(chunk);
        }
        let bytes_before = self.content_bytes;
        (self.texts, self.text) = (0, None);
        let mut filling = None;
        let mut cursor = Cursor::new(json)?;
        if cursor.kind()? != Kind::Object {
            cursor.skip()?;
            cursor.end()?;
            return Err(StreamFault::Broken("not_an_object"));
        }
        let mut chunk = Chunk::default();
        let mut choices = 0;
        let mut failed = false;
        let mut usage = false;
        let mut usage_position = UsagePosition::default();
        cursor.object(|cursor, member| {
            let key = member.key.span;
            usage_position.pass(key.start);
            match &*member.key.decode() {
                "choices" if cursor.kind()? == Kind::Array => {
                    chunk.has_choices = true;
                    choices = self.read_choices(cursor, &mut chunk, edits)?;
                }
                "usage" => {
                    usage |= cursor.kind()? == Kind::Object;
                    self.registers.read(cursor)?;
                    usage_position.mark(key, member.first, cursor.position());
                }
                "service_tier" => self.registers.read_tier(cursor)?,
                "error" => failed |= cursor.value()?.is_something(json),
                "object" => failed |= matches!(cursor.value()?, Value::String(text) if text.is("error")),
                FILLING => {
                    if let Value::String(text) = cursor.value()? {
                        filling = Some(text.span);
                    }
                }
                _ => {
                    cursor.skip()?;
                }
            }
            usage_position.previous_end = cursor.position();
            Ok::<(), JsonError>(())
        })?;
        cursor.end()?;
        if failed {
            return Err(upstream_error(json));
        }
        chunk.usage_only = usage && choices == 0;
        chunk.usage_member = usage_position.found;
        if let Some(likeness) = &mut self.likeness {
            // Where the count differs from the length of the text, something else in the chunk counted too,
            // or the text has escapes.
            let own = |text: &Span| self.content_bytes - bytes_before == text.len().saturating_sub(2) as u64;
            let is_text_only = self.texts == 1 && !usage && chunk.has_choices && edits.is_empty();
            match self.text.filter(own) {
                Some(text) if is_text_only => {
                    likeness.keep(json, &Seen { text, filling, usage_member: usage_position.found });
                }
                _ => likeness.forget(),
            }
        }
        Ok(chunk)
    }

    /// Reads a chunk that differs from the previous one only in its text.
    fn read_alike(&mut self, json: &[u8]) -> Option<Chunk> {
        let likeness = self.likeness.as_ref()?;
        let Alike { text_bytes, usage_member } = likeness.read(json)?;
        self.content_bytes += text_bytes;
        if self.kept.is_wanted() {
            likeness.text(json, text_bytes).into_iter().for_each(|text| self.kept.push(text));
        }
        Some(Chunk { content: true, usage_only: false, has_choices: true, usage_member })
    }

    /// The number of choices; zero where they are skipped.
    fn read_choices(
        &mut self,
        cursor: &mut Cursor<'_>,
        chunk: &mut Chunk,
        edits: &mut Vec<Edit<'static>>,
    ) -> Result<usize, JsonError> {
        let mut choices = 0;
        if self.counts_alone {
            cursor.skip()?;
            return Ok(choices);
        }
        cursor.array(|cursor, index| {
            choices += 1;
            self.read_choice(cursor, index, chunk, edits)
        })?;
        Ok(choices)
    }

    fn read_choice(
        &mut self,
        cursor: &mut Cursor<'_>,
        position: usize,
        chunk: &mut Chunk,
        edits: &mut Vec<Edit<'static>>,
    ) -> Result<(), JsonError> {
        if cursor.kind()? != Kind::Object {
            return cursor.ignore();
        }
        let mut index = position as u64;
        let mut ended = false;
        let (mut has_delta, mut message) = (false, None);
        cursor.object(|cursor, member| {
            match &*member.key.decode() {
                "index" => index = cursor.count()?.unwrap_or(index),
                name @ ("delta" | "message") if cursor.kind()? == Kind::Object => {
                    if name == "delta" {
                        has_delta = true
                    } else {
                        message = Some(member.key.span)
                    }
                    chunk.content |= self.read_delta(cursor, edits)?;
                }
                "delta" if cursor.kind()? == Kind::Null => {
                    has_delta = true;
                    edits.push(Edit { span: cursor.skip()?, text: Cow::Borrowed("{}") });
                }
                "text" => chunk.content |= self.read_text(cursor)?,
                "finish_reason" => {
                    if let Value::String(reason) = cursor.value()? {
                        ended = !reason.is_empty();
                        edits.extend(own_word(&reason));
                    }
                }
                _ => {
                    cursor.skip()?;
                }
            }
            Ok::<(), JsonError>(())
        })?;
        if let Some(span) = message.filter(|_| self.renames_messages && !has_delta) {
            edits.push(Edit { span, text: Cow::Borrowed("\"delta\"") });
        }
        // Choices beyond the bit width share the last bit; a request can't ask for that many.
        let bit = 1_u128 << index.min(127);
        self.began |= bit;
        if ended {
            self.ended |= bit;
        }
        Ok(())
    }

    /// Whether the delta has content. An unknown member counts as content.
    fn read_delta(
        &mut self,
        cursor: &mut Cursor<'_>,
        edits: &mut Vec<Edit<'static>>,
    ) -> Result<bool, JsonError> {
        let bytes = cursor.bytes();
        let mut content = false;
        // Servers that send their reasoning under both names mean the same text.
        let mut reasoning = 0;
        let mut thought = None;
        cursor.object(|cursor, member| {
            match &*member.key.decode() {
                "role" => {
                    cursor.skip()?;
                }
                "content" if cursor.kind()? == Kind::Array => content |= self.read_list(cursor, edits)?,
                "content" | "refusal" => content |= self.read_text(cursor)?,
                "reasoning_content" | "reasoning" => {
                    let value = cursor.value()?;
                    content |= value.is_something(bytes);
                    if text_length(&value) > reasoning {
                        reasoning = text_length(&value);
                        thought = self.kept.is_wanted().then(|| text_of(&value, bytes).into_owned());
                    }
                }
                "tool_calls" if cursor.kind()? == Kind::Array => {
                    cursor.array(|cursor, position| {
                        content = true;
                        self.read_tool_call(cursor, position, edits)
                    })?;
                }
                _ => content |= cursor.value()?.is_something(bytes),
            }
            Ok::<(), JsonError>(())
        })?;
        self.content_bytes += reasoning;
        thought.iter().for_each(|text| self.kept.push(text));
        Ok(content)
    }

    /// Replaces a list of content parts with the two strings that clients expect.
    fn read_list(
        &mut self,
        cursor: &mut Cursor<'_>,
        edits: &mut Vec<Edit<'static>>,
    ) -> Result<bool, JsonError> {
        let start = cursor.position();
        let listed = Listed::read(cursor)?;
        for text in [&listed.thought, &listed.text] {
            self.content_bytes += text.len() as u64;
            self.kept.push(text);
        }
        edits.push(Edit { span: Span::new(start, cursor.position()), text: Cow::Owned(listed.to_json()) });
        Ok(!listed.is_empty())
    }

    fn read_text(&mut self, cursor: &mut Cursor<'_>) -> Result<bool, JsonError> {
        let value = cursor.value()?;
        self.content_bytes += text_length(&value);
        if self.kept.is_wanted() {
            self.kept.push(&text_of(&value, cursor.bytes()));
        }
        if let Value::String(text) = &value {
            self.texts += 1;
            self.text = Some(text.span);
        }
        Ok(value.is_something(cursor.bytes()))
    }

    fn read_tool_call(
        &mut self,
        cursor: &mut Cursor<'_>,
        position: usize,
        edits: &mut Vec<Edit<'static>>,
    ) -> Result<(), JsonError> {
        if cursor.kind()? != Kind::Object {
            return cursor.ignore();
        }
        let open = cursor.position();
        // An empty object is not a call that could be lost.
        let mut indexed = true;
        let mut id = None;
        let mut bytes = 0;
        cursor.object(|cursor, member| {
            if member.first {
                indexed = false;
            }
            match &*member.key.decode() {
                "index" => {
                    indexed = true;
                    cursor.skip()?;
                }
                "id" => {
                    if let Value::String(text) = cursor.value()? {
                        id = Some(text.decode().into_owned()).filter(|id| !id.is_empty());
                    }
                }
                "function" | "custom" if cursor.kind()? == Kind::Object => {
                    bytes += read_function(cursor, edits, &mut self.kept)?
                }
                _ => {
                    cursor.skip()?;
                }
            }
            Ok::<(), JsonError>(())
        })?;
        self.content_bytes += bytes;
        if !indexed && !self.is_whole {
            let index = self.tool_index(position, id);
            edits.push(Edit::insert(open + 1, format!("\"index\":{index},")));
        }
        Ok(())
    }

    /// The index that the server omitted, without which SDKs lose the call: a new id, or another place in the
    /// list, starts another call.
    fn tool_index(&mut self, position: usize, id: Option<String>) -> u64 {
        let another = match &id {
            Some(id) => self.tool_id.as_ref() != Some(id),
            None => self.tool_calls == 0 || position > 0,
        };
        if another {
            self.tool_calls += 1;
        }
        if id.is_some() {
            self.tool_id = id;
        }
        self.tool_calls.saturating_sub(1)
    }
}

impl UsagePosition {
    /// Called at each member's name: the comma after a leading `usage` ends here.
    fn pass(&mut self, key_start: usize) {
        if let Some(span) = self.found.as_mut().filter(|_| self.leads) {
            span.end = key_start;
            self.leads = false;
        }
    }

    fn mark(&mut self, key: Span, first: bool, end: usize) {
        let start = if first { key.start } else { self.previous_end };
        self.found = Some(Span::new(start, end));
        self.leads = first;
    }
}

/// Reads the name and arguments of a call. Arguments that are an object are counted as written, and become a
/// string.
fn read_function(
    cursor: &mut Cursor<'_>,
    edits: &mut Vec<Edit<'static>>,
    kept: &mut CountedText,
) -> Result<u64, JsonError> {
    let json = cursor.bytes();
    let mut bytes = 0;
    cursor.object(|cursor, member| {
        match &*member.key.decode() {
            "name" | "arguments" | "input" => {
                let value = cursor.value()?;
                bytes += text_length(&value);
                if kept.is_wanted() {
                    kept.push(&text_of(&value, json));
                }
                if let Value::Object(span) = value {
                    let written = String::from_utf8_lossy(span.of(json));
                    let text = serde_json::to_string(&written).unwrap_or_default();
                    edits.push(Edit { span, text: Cow::Owned(text) });
                }
            }
            _ => {
                cursor.skip()?;
            }
        }
        Ok::<(), JsonError>(())
    })?;
    Ok(bytes)
}

fn text_length(value: &Value<'_>) -> u64 {
    match value {
        Value::String(text) => text.decoded_len() as u64,
        Value::Array(span) | Value::Object(span) => span.len() as u64,
        Value::Null | Value::Boolean(_) | Value::Number(_) => 0,
    }
}

/// The text that `text_length` measures.
fn text_of<'a>(value: &'a Value<'a>, json: &'a [u8]) -> Cow<'a, str> {
    match value {
        Value::String(text) => text.decode(),
        Value::Array(span) | Value::Object(span) => String::from_utf8_lossy(span.of(json)),
        Value::Null | Value::Boolean(_) | Value::Number(_) => Cow::Borrowed(""),
    }
}

/// The fault for a body or an event that contains an error.
pub fn upstream_error(json: &[u8]) -> StreamFault {
    let mut report = read_error(json);
    let class = class_of(None, &report);
    // The rejected key may be in the message, which the client must not see.
    if class == domain::FaultClass::UpstreamAuth {
        report.message = None;
    }
    StreamFault::Upstream(report, class)
}

/// Rewrites finish reasons that the format does not have into its own.
fn own_word(reason: &Text<'_>) -> Option<Edit<'static>> {
    let word = match &*reason.decode() {
        "eos" | "end_turn" | "stop_sequence" => "\"stop\"",
        "max_tokens" | "model_length" => "\"length\"",
        "tool_use" => "\"tool_calls\"",
        _ => return None,
    };
    Some(Edit { span: reason.span, text: Cow::Borrowed(word) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chunk() -> impl Strategy<Value = String> {
        let text = prop_oneof!["[a-c é]{0,6}", Just("x\\n".to_owned()), Just("\\u00e9".to_owned())];
        let usage = prop_oneof![
            Just(""),
            Just(",\"usage\":null"),
            Just(",\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":5}"),
        ];
        let filling =
            prop_oneof![Just(String::new()), "[a-b]{0,4}".prop_map(|x| format!(",\"obfuscation\":\"{x}\""))];
        let more = prop_oneof![
            8 => Just(""),
            1 => Just(",\"reasoning\":\"why\""),
            1 => Just(",\"tool_calls\":[{\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"\"}}]"),
            1 => Just(",\"content\":\"twice\""),
        ];
        let reason = prop_oneof![4 => Just("null"), 1 => Just("\"stop\"")];
        (text, usage, filling, more, reason, any::<bool>()).prop_map(
            |(text, usage, filling, more, reason, filling_first)| {
                let (a, b) = if filling_first { (&*filling, usage) } else { (usage, &*filling) };
                format!(
                    "{{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"{more}}},\"finish_reason\":{reason}}}]{a}{b}}}"
                )
            },
        )
    }

    proptest! {
        #[test]
        fn a_stream_is_read_as_its_chunks_are_one_by_one(chunks in prop::collection::vec(chunk(), 1..24)) {
            let (mut quick, mut plain) = (Reading::of_stream(), Reading::default());
            quick.keep_text();
            plain.keep_text();
            for json in chunks {
                let (mut quick_edits, mut plain_edits) = (Vec::new(), Vec::new());
                let found = quick.read(json.as_bytes(), &mut quick_edits).expect("it is valid");
                let expected = plain.read(json.as_bytes(), &mut plain_edits).expect("it is valid");
                prop_assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{}", json);
                prop_assert_eq!(quick_edits, plain_edits);
                prop_assert_eq!(quick.content_bytes, plain.content_bytes);
                prop_assert_eq!(quick.kept_text(), plain.kept_text());
                prop_assert_eq!(quick.kept_text().len() as u64, plain.content_bytes);
                prop_assert_eq!(quick.usage(), plain.usage());
                prop_assert_eq!(quick.finished(), plain.finished());
            }
        }
    }
}
