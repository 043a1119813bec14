//! A JSON string in a document, not yet decoded.

use std::borrow::Cow;

use super::Span;

/// A validated JSON string.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a> {
    /// With its quotation marks.
    pub span: Span,
    document: &'a str,
    escaped: bool,
}

impl<'a> Text<'a> {
    #[inline]
    pub(super) const fn new(document: &'a str, span: Span, escaped: bool) -> Self {
        Self { span, document, escaped }
    }

    /// As written between its quotation marks.
    #[inline]
    pub fn written(&self) -> &'a str {
        self.document.get(self.span.start + 1..self.span.end - 1).unwrap_or_default()
    }

    /// The decoded text; borrowed where there are no escapes.
    #[inline]
    pub fn decode(&self) -> Cow<'a, str> {
        if self.escaped { Cow::Owned(self.decode_escapes()) } else { Cow::Borrowed(self.written()) }
    }

    /// Kept out of `decode`, which runs for every name and rarely needs this.
    #[cold]
    fn decode_escapes(&self) -> String {
        let mut rest = self.written();
        let mut text = String::with_capacity(rest.len());
        while let Some((plain, escape)) = rest.split_once('\\') {
            text.push_str(plain);
            let (character, length) = read_escape(escape);
            text.push(character);
            rest = escape.get(length..).unwrap_or_default();
        }
        text.push_str(rest);
        text
    }

    /// Whether it decodes to `other`.
    #[inline]
    pub fn is(&self, other: &str) -> bool {
        if self.escaped {
            return self.decode_escapes() == other;
        }
        self.document.as_bytes().get(self.span.start + 1..self.span.end - 1) == Some(other.as_bytes())
    }

    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.span.len() == 2
    }

    /// The length of the decoded text in bytes of UTF-8.
    pub fn decoded_len(&self) -> usize {
        let mut rest = self.written();
        if !self.escaped {
            return rest.len();
        }
        let mut length = 0;
        while let Some((plain, escape)) = rest.split_once('\\') {
            let (character, taken) = read_escape(escape);
            length += plain.len() + character.len_utf8();
            rest = escape.get(taken..).unwrap_or_default();
        }
        length + rest.len()
    }
}

/// The character of an escape, and the escape's length without its backslash. The scanner has validated it,
/// so an impossible one becomes a replacement character instead of an error.
fn read_escape(escape: &str) -> (char, usize) {
    let simple = match escape.as_bytes().first() {
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return read_unicode_escape(escape),
        Some(other) => char::from(*other),
        None => char::REPLACEMENT_CHARACTER,
    };
    (simple, 1)
}

fn read_unicode_escape(escape: &str) -> (char, usize) {
    let unit = |start: usize| {
        let digits = escape.get(start..start + 4)?;
        u16::from_str_radix(digits, 16).ok()
    };
    let first = unit(1).unwrap_or(0xFFFD);
    if !(0xD800..0xE000).contains(&first) {
        return (char::from_u32(u32::from(first)).unwrap_or(char::REPLACEMENT_CHARACTER), 5);
    }
    let pair = [first, unit(7).unwrap_or(0xFFFD)];
    let character = char::decode_utf16(pair).next().and_then(Result::ok);
    (character.unwrap_or(char::REPLACEMENT_CHARACTER), 11)
}

/// JSON with its `\u` escapes of non-ASCII characters decoded: embedded in a text, the model would read each
/// as six characters.
pub fn plain_json(json: &str) -> Cow<'_, str> {
    if !json.contains("\\u") {
        return Cow::Borrowed(json);
    }
    let mut plain = String::with_capacity(json.len());
    let mut rest = json;
    while let Some((before, escape)) = rest.split_once('\\') {
        plain.push_str(before);
        let (character, length) = read_escape(escape);
        let written = escape.get(..length).unwrap_or(escape);
        if escape.starts_with('u') && !character.is_ascii() && character != char::REPLACEMENT_CHARACTER {
            plain.push(character);
        } else {
            plain.push('\\');
            plain.push_str(written);
        }
        rest = escape.get(length..).unwrap_or_default();
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}
