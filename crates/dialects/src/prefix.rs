//! Prompt prefixes and cache breakpoints: fingerprints of a request up to each point where a provider's
//! prompt cache can end, and the edits that make the provider cache there.

use crate::registry::face;
use bytes::Bytes;
use conversation::face::PrefixMembers;
use conversation::request::Insert;
use domain::Grammar;
use domain::limits::PREFIX_ENDS_MAX;
use json::splice::splice;
use json::{Cursor, JsonError, Kind, Span, Value};

const MARK: &str = r#","cache_control":{"type":"ephemeral"}"#;
/// The client's own key for requests that share a cached prefix.
pub(crate) const CACHE_KEY: &str = "prompt_cache_key";
const MARK_NAME: &str = r#""cache_control""#;
/// Marking a string turns it into a text block: formats define the two as equivalent.
const BLOCK_OPEN: &str = r#"[{"type":"text","text":"#;
const BLOCK_CLOSE: &str = r#","cache_control":{"type":"ephemeral"}}]"#;

/// The prefixes of one request, in the order in which a provider reads it: tools, instructions, turns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefixes {
    ends: Vec<PrefixEnd>,
    head: u64,
    conversation: u64,
    has_client_caching: bool,
    /// The position after the brace that opens the request.
    open: usize,
}

/// The end of a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefixEnd {
    /// Hash of all bytes up to here.
    pub fingerprint: u64,
    /// The prefix's length in bytes of the request.
    pub bytes: u64,
    /// It ends before the first turn.
    pub is_head: bool,
    /// The turns that belong to it.
    pub turns: usize,
    mark: Option<MarkPosition>,
}

/// Where a cache breakpoint is inserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MarkPosition {
    /// Before this closing brace.
    Object(usize),
    /// Around this string.
    Text(Span),
}

/// A part of a prefix as it is in the request.
#[derive(Debug, Clone, Copy, Default)]
struct Piece {
    span: Span,
    is_instruction: bool,
    mark: Option<MarkPosition>,
}

#[derive(Default)]
struct Draft {
    tools: Option<Piece>,
    instructions: Option<Piece>,
    turns: Vec<Piece>,
    is_helped: bool,
}

/// Reads the prefixes of a request that was decoded before. `None` where the format has no prompt caching of
/// this kind, or there are no turns.
pub fn read_prefixes(grammar: Grammar, body: &[u8]) -> Option<Prefixes> {
    let facts = face(grammar).facts();
    let names = facts.prefix?;
    let mut cursor = Cursor::new(body).ok()?;
    let mut draft = Draft { is_helped: names.takes_marks && has_mark(body), ..Draft::default() };
    if cursor.kind().ok()? != Kind::Object {
        return None;
    }
    let open = cursor.position() + 1;
    cursor
        .object(|cursor, member| {
            let written = member.key.decode();
            match facts.field_name {
                Some(field_name) => draft.read(cursor, &names, &field_name(&written)),
                None => draft.read(cursor, &names, &written),
            }
        })
        .ok()?;
    (!draft.turns.is_empty()).then(|| draft.finish(body, open))
}

/// The body with these inserts.
pub fn insert(body: &Bytes, inserts: &[Insert]) -> Vec<Bytes> {
    let mut out = Vec::with_capacity(1);
    splice(body, &mut inserts.iter().map(Insert::edit).collect::<Vec<_>>(), &mut out);
    out
}

/// Searches the whole body, since breakpoints may be nested in tool results. Text that contains the name has
/// its quotation marks escaped, or is taken for a breakpoint.
fn has_mark(body: &[u8]) -> bool {
    std::str::from_utf8(body).is_ok_and(|text| text.contains(MARK_NAME))
}

impl Draft {
    fn read(&mut self, cursor: &mut Cursor<'_>, names: &PrefixMembers, name: &str) -> Result<(), JsonError> {
        if name == "tools" {
            self.tools = Some(list(cursor, names.takes_marks)?);
        } else if name == names.turns {
            self.read_turns(cursor, names)?;
        } else if name == names.instructions {
            let piece = content(cursor, names.takes_marks)?;
            self.instructions = Some(piece).filter(|piece| !piece.span.is_empty());
        } else if name == names.key {
            self.is_helped |= cursor.value()?.is_something(cursor.bytes());
        } else {
            cursor.skip()?;
        }
        Ok(())
    }

    fn read_turns(&mut self, cursor: &mut Cursor<'_>, names: &PrefixMembers) -> Result<(), JsonError> {
        if cursor.kind()? != Kind::Array {
            let span = cursor.skip()?;
            self.turns.push(Piece { span, ..Piece::default() });
            return Ok(());
        }
        cursor.array(|cursor, _| {
            let turn = turn(cursor, names.takes_marks)?;
            self.turns.push(turn);
            Ok(())
        })?;
        Ok(())
    }

    fn finish(self, body: &[u8], open: usize) -> Prefixes {
        let leading = self.turns.iter().take_while(|turn| turn.is_instruction).count();
        let before_turns = usize::from(self.tools.is_some()) + usize::from(self.instructions.is_some());
        let head_pieces = before_turns + leading;
        let mut rolling = Rolling::default();
        let mut ends = Vec::new();
        let (mut head, mut conversation) = (None, None);
        let pieces = self.tools.into_iter().chain(self.instructions).chain(self.turns);
        for (number, piece) in pieces.enumerate() {
            rolling.add(piece.span.of(body));
            let is_head = number < head_pieces;
            if is_head {
                head = Some(rolling.state);
            } else {
                conversation.get_or_insert(rolling.state);
            }
            ends.push(PrefixEnd {
                fingerprint: rolling.state,
                bytes: rolling.bytes,
                is_head,
                turns: (number + 1).saturating_sub(before_turns),
                mark: piece.mark,
            });
        }
        // Conversations grow at their end, so prefixes that end in the middle of a long one are dropped.
        let surplus = ends.len().saturating_sub(PREFIX_ENDS_MAX);
        let heads = head_pieces.min(PREFIX_ENDS_MAX / 2);
        ends.drain(heads..heads + surplus);
        let conversation = conversation.unwrap_or(rolling.state);
        Prefixes {
            ends,
            head: head.unwrap_or(conversation),
            conversation,
            has_client_caching: self.is_helped,
            open,
        }
    }
}

/// A list of objects, as one piece.
fn list(cursor: &mut Cursor<'_>, takes_marks: bool) -> Result<Piece, JsonError> {
    if !takes_marks || cursor.kind()? != Kind::Array {
        return Ok(Piece { span: cursor.skip()?, ..Piece::default() });
    }
    let mut mark = None;
    let span = cursor.array(|cursor, _| {
        let is_object = cursor.kind()? == Kind::Object;
        let tool = cursor.skip()?;
        mark = (is_object && tool.len() > 2).then(|| MarkPosition::Object(tool.end.saturating_sub(1)));
        Ok::<(), JsonError>(())
    })?;
    Ok(Piece { span, mark, ..Piece::default() })
}

/// Whether a message is an instruction, by the value of its `role`, which is read here.
pub(crate) fn is_instruction(cursor: &mut Cursor<'_>) -> Result<bool, JsonError> {
    Ok(matches!(cursor.value()?, Value::String(role) if role.is("system") || role.is("developer")))
}

fn turn(cursor: &mut Cursor<'_>, takes_marks: bool) -> Result<Piece, JsonError> {
    if cursor.kind()? != Kind::Object {
        return Ok(Piece { span: cursor.skip()?, ..Piece::default() });
    }
    let mut piece = Piece::default();
    piece.span = cursor.object(|cursor, member| {
        if takes_marks && member.key.is("content") {
            piece.mark = content(cursor, true)?.mark;
        } else if !takes_marks && member.key.is("role") {
            piece.is_instruction = is_instruction(cursor)?;
        } else {
            cursor.skip()?;
        }
        Ok::<(), JsonError>(())
    })?;
    Ok(piece)
}

/// A string, or blocks of which the last may be marked; an empty piece for `null`.
fn content(cursor: &mut Cursor<'_>, takes_marks: bool) -> Result<Piece, JsonError> {
    match cursor.kind()? {
        Kind::Null => {
            cursor.skip()?;
            Ok(Piece::default())
        }
        Kind::String => {
            let span = cursor.skip()?;
            let mark = (takes_marks && span.len() > 2).then_some(MarkPosition::Text(span));
            Ok(Piece { span, mark, ..Piece::default() })
        }
        Kind::Array if takes_marks => {
            let mut mark = None;
            let span = cursor.array(|cursor, _| {
                mark = block(cursor)?;
                Ok::<(), JsonError>(())
            })?;
            Ok(Piece { span, mark, ..Piece::default() })
        }
        _ => Ok(Piece { span: cursor.skip()?, ..Piece::default() }),
    }
}

/// Reasoning and empty text can't carry a breakpoint.
fn block(cursor: &mut Cursor<'_>) -> Result<Option<MarkPosition>, JsonError> {
    if cursor.kind()? != Kind::Object {
        cursor.skip()?;
        return Ok(None);
    }
    let (mut takes_mark, mut is_empty_text) = (false, false);
    let span = cursor.object(|cursor, member| {
        if member.key.is("type") {
            takes_mark =
                matches!(cursor.value()?, Value::String(kind) if MARKED.iter().any(|known| kind.is(known)));
        } else if member.key.is("text") {
            is_empty_text = matches!(cursor.value()?, Value::String(text) if text.is_empty());
        } else {
            cursor.skip()?;
        }
        Ok::<(), JsonError>(())
    })?;
    Ok((takes_mark && !is_empty_text).then(|| MarkPosition::Object(span.end.saturating_sub(1))))
}

const MARKED: [&str; 5] = ["text", "image", "document", "tool_use", "tool_result"];

impl Prefixes {
    /// The ends in tools and instructions, then the last ones in the turns.
    pub fn ends(&self) -> &[PrefixEnd] {
        &self.ends
    }

    /// Fingerprint of everything before the first turn; of the first turn, where nothing comes before it.
    pub const fn head(&self) -> u64 {
        self.head
    }

    /// Fingerprint of everything up to and including the first turn, which stays the same while the
    /// conversation goes on.
    pub const fn conversation(&self) -> u64 {
        self.conversation
    }

    /// The client manages caching itself, by breakpoints or by a cache key.
    pub const fn has_client_caching(&self) -> bool {
        self.has_client_caching
    }

    /// The inserts that put breakpoints at the ends with these indices. An end that can't carry one is
    /// skipped.
    pub fn marks(&self, chosen: &[usize]) -> Vec<Insert> {
        let positions = chosen.iter().filter_map(|number| self.ends.get(*number)?.mark);
        positions.flat_map(|position| position.inserts().into_iter().flatten()).collect()
    }

    /// Adds a member to the request, whose value needs no escapes.
    pub fn member(&self, name: &str, text: &str) -> Insert {
        Insert::at(self.open, format!("\"{name}\":\"{text}\","))
    }
}

impl PrefixEnd {
    pub const fn takes_mark(&self) -> bool {
        self.mark.is_some()
    }
}

impl MarkPosition {
    fn inserts(self) -> [Option<Insert>; 2] {
        let insert = |at, text: &'static str| Some(Insert::at(at, text));
        match self {
            Self::Object(brace) => [insert(brace, MARK), None],
            Self::Text(span) => [insert(span.start, BLOCK_OPEN), insert(span.end, BLOCK_CLOSE)],
        }
    }
}

/// A rolling fingerprint. It is not collision-resistant, but a client can only collide with its own requests.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rolling {
    pub(crate) state: u64,
    pub(crate) bytes: u64,
}

impl Rolling {
    pub(crate) fn add(&mut self, piece: &[u8]) {
        let (words, rest) = piece.as_chunks::<8>();
        words.iter().for_each(|word| self.mix(u64::from_le_bytes(*word)));
        self.mix(rest.iter().fold(0, |word, byte| (word << 8) | u64::from(*byte)));
        self.mix(piece.len() as u64);
        self.bytes += piece.len() as u64;
    }

    #[expect(clippy::cast_possible_truncation, reason = "both halves of the product are used")]
    fn mix(&mut self, word: u64) {
        const ODD: u128 = 0x9E37_79B9_7F4A_7C15;
        let product = u128::from(self.state.rotate_left(23) ^ word ^ 0xD6E8_FEB8_6659_FD93) * ODD;
        self.state = product as u64 ^ (product >> 64) as u64;
    }
}
