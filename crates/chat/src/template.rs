//! A fast path for streams whose chunks differ only in their text: the previous chunk serves as a template
//! for the next.

use std::ops::Range;

use json::{Span, plain_end};

/// Longer chunks are not kept as a template; each is parsed.
const KEEP_UP_TO_BYTES: usize = 2 * 1024;

/// A parsed chunk, with the places where the next one may differ.
#[derive(Debug, Default)]
pub(super) struct ChunkTemplate {
    json: Vec<u8>,
    /// The content, inside its quotation marks.
    text: Range<usize>,
    /// The padding that hides the content's length, inside its quotation marks; it comes after the content.
    filling: Option<Range<usize>>,
    usage_member: Option<Span>,
}

/// What is known about a chunk that matched the template.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Alike {
    pub text_bytes: u64,
    pub usage_member: Option<Span>,
}

/// What `ChunkTemplate` may keep of a chunk: strings with their quotation marks.
pub(super) struct Seen {
    pub text: Span,
    pub filling: Option<Span>,
    pub usage_member: Option<Span>,
}

impl ChunkTemplate {
    /// Keeps a valid chunk that carries only text: with another text in its place it means the same.
    pub(super) fn keep(&mut self, json: &[u8], seen: &Seen) {
        self.forget();
        let text = inside(seen.text);
        let filling = seen.filling.map(inside);
        let in_order = filling.as_ref().is_none_or(|filling| filling.start > text.end);
        if json.len() <= KEEP_UP_TO_BYTES && in_order {
            self.json.extend_from_slice(json);
            (self.text, self.filling, self.usage_member) = (text, filling, seen.usage_member);
        }
    }

    /// Drops the template: the latest chunk does not serve as one.
    pub(super) fn forget(&mut self) {
        self.json.clear();
    }

    /// Reads `json` if it is the kept chunk with another text: all other bytes are identical, and thus valid,
    /// and the text contains no quotation mark, no escape and no character that JSON forbids.
    pub(super) fn read(&self, json: &[u8]) -> Option<Alike> {
        let mut rest = json.strip_prefix(self.json.get(..self.text.start)?)?;
        if self.json.is_empty() {
            return None;
        }
        let text_bytes = plain_text(rest)?;
        if text_bytes == 0 {
            return None;
        }
        rest = rest.get(text_bytes..)?;
        let mut shifts = (text_bytes, self.text.len());
        let mut after = self.text.end;
        if let Some(filling) = &self.filling {
            rest = rest.strip_prefix(self.json.get(self.text.end..filling.start)?)?;
            let filling_bytes = plain_text(rest)?;
            rest = rest.get(filling_bytes..)?;
            after = filling.end;
            shifts = (shifts.0 + filling_bytes, shifts.1 + filling.len());
        }
        if rest != self.json.get(after..)? {
            return None;
        }
        let moved = |at: usize| match &self.filling {
            Some(filling) if at >= filling.end => (at + shifts.0).checked_sub(shifts.1),
            _ if at >= self.text.end => (at + text_bytes).checked_sub(self.text.len()),
            _ => Some(at),
        };
        let usage_member = match self.usage_member {
            Some(span) => Some(Span::new(moved(span.start)?, moved(span.end)?)),
            None => None,
        };
        Some(Alike { text_bytes: text_bytes as u64, usage_member })
    }
}

impl ChunkTemplate {
    /// The text of a chunk that `read` matched.
    pub(super) fn text<'a>(&self, json: &'a [u8], text_bytes: u64) -> Option<&'a str> {
        let end = self.text.start.checked_add(usize::try_from(text_bytes).ok()?)?;
        std::str::from_utf8(json.get(self.text.start..end)?).ok()
    }
}

const fn inside(string: Span) -> Range<usize> {
    string.start + 1..string.end - 1
}

/// The length of the text up to its quotation mark; `None` where it has escapes or is not valid.
fn plain_text(bytes: &[u8]) -> Option<usize> {
    let end = plain_end(bytes, 0);
    let ends = bytes.get(end) == Some(&b'"');
    (ends && std::str::from_utf8(bytes.get(..end)?).is_ok()).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(json: &str, part: &str) -> Span {
        let start = json.find(part).expect("the part is there");
        Span::new(start, start + part.len())
    }

    fn template(json: &str, filling: Option<&str>, usage: Option<&str>) -> ChunkTemplate {
        let mut likeness = ChunkTemplate::default();
        let seen = Seen {
            text: span(json, "\"one\""),
            filling: filling.map(|part| span(json, part)),
            usage_member: usage.map(|part| span(json, part)),
        };
        likeness.keep(json.as_bytes(), &seen);
        likeness
    }

    #[test]
    fn only_the_text_may_differ() {
        let likeness = template("{\"a\":1,\"c\":\"one\",\"b\":2}", None, None);
        let read = |json: &str| likeness.read(json.as_bytes()).map(|alike| alike.text_bytes);
        assert_eq!(read("{\"a\":1,\"c\":\"another é\",\"b\":2}"), Some(10));
        for other in [
            "{\"a\":1,\"c\":\"\",\"b\":2}",
            "{\"a\":1,\"c\":\"a\\nb\",\"b\":2}",
            "{\"a\":1,\"c\":\"a\nb\",\"b\":2}",
            "{\"a\":1,\"c\":\"a\\\",\"b\":2}",
            "{\"a\":1,\"c\":\"one\",\"b\":3}",
            "{\"a\":2,\"c\":\"one\",\"b\":2}",
            "{\"a\":1,\"c\":\"one\",\"b\":2} ",
            "{\"a\":1,\"c\":\"one\",\"b\":2",
            "{\"a\":1,\"c\":\"one",
            "",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
        assert_eq!(likeness.read(b"{\"a\":1,\"c\":\"\xff\",\"b\":2}"), None);
        assert_eq!(ChunkTemplate::default().read(b"\"x\""), None);
    }

    #[test]
    fn the_usage_moves_with_what_is_before_it() {
        let json = "{\"c\":\"one\",\"usage\":null,\"f\":\"xx\"}";
        let likeness = template(json, Some("\"xx\""), Some(",\"usage\":null"));
        let next = "{\"c\":\"three\",\"usage\":null,\"f\":\"\"}";
        let usage_member = Some(span(next, ",\"usage\":null"));
        assert_eq!(likeness.read(next.as_bytes()), Some(Alike { text_bytes: 5, usage_member }));
        let json = "{\"c\":\"one\",\"f\":\"xx\",\"usage\":null}";
        let likeness = template(json, Some("\"xx\""), Some(",\"usage\":null"));
        let next = "{\"c\":\"o\",\"f\":\"xxxx\",\"usage\":null}";
        let usage_member = Some(span(next, ",\"usage\":null"));
        assert_eq!(likeness.read(next.as_bytes()), Some(Alike { text_bytes: 1, usage_member }));
    }
}
