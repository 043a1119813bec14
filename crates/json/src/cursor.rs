//! A position in a document, and the steps from value to value.

use domain::limits::{JSON_DEPTH_MAX, JSON_KEYS_MAX};

use super::{Expected, JsonError, JsonFault, Span, Text};

/// `skip` stores its open brackets as the bits of one word, so the depth limit can't exceed the word's width.
const _: () = assert!(JSON_DEPTH_MAX <= 128);

/// This many digits always fit into a `u64`.
const SAFE_DIGITS: usize = 19;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Reads a document front to back, once; clone it to look ahead.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    depth: usize,
    keys: usize,
    /// The string that was read last has escapes.
    escaped: bool,
}

domain::words! {
    /// The type of a value, known from its first byte. Its word has its article, for messages.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Kind {
        Null = "null",
        Boolean = "a boolean",
        Number = "a number",
        String = "a string",
        Array = "an array",
        Object = "an object",
    }
}

/// The name of the next value.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    pub key: Text<'a>,
    pub first: bool,
}

/// A value: scalars are read, arrays and objects are skipped.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    Null,
    Boolean(bool),
    /// As written.
    Number(&'a str),
    String(Text<'a>),
    Array(Span),
    Object(Span),
}

impl Value<'_> {
    /// Whether it carries anything: not `null`, `false`, an empty string, `[]` or `{}`.
    pub fn is_something(&self, bytes: &[u8]) -> bool {
        match self {
            Self::Null | Self::Boolean(false) => false,
            Self::Boolean(true) | Self::Number(_) => true,
            Self::String(text) => !text.is_empty(),
            Self::Array(span) | Self::Object(span) => {
                let inside = span.of(bytes);
                inside.len() > 2
                    && inside
                        .iter()
                        .any(|byte| !matches!(byte, b'[' | b']' | b'{' | b'}') && !is_space(*byte))
            }
        }
    }

    /// The value as a count, where it is a whole number from 0.
    #[inline]
    pub fn as_count(&self) -> Option<u64> {
        match self {
            Self::Number(text) => whole_number(text.as_bytes()),
            _ => None,
        }
    }
}

impl<'a> Cursor<'a> {
    /// # Errors
    /// The bytes are not UTF-8.
    pub fn new(bytes: &'a [u8]) -> Result<Self, JsonError> {
        let text = std::str::from_utf8(bytes)
            .map_err(|error| JsonError { fault: JsonFault::Utf8, at: error.valid_up_to() })?;
        Ok(Self { text, bytes, at: 0, depth: 0, keys: 0, escaped: false })
    }

    /// The index of the next byte to read.
    #[inline]
    pub const fn position(&self) -> usize {
        self.at
    }

    #[inline]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The next value is a document of its own in a list of them: its members are counted from zero.
    #[inline]
    pub const fn begin_document(&mut self) {
        self.keys = 0;
    }

    /// The type of the next value.
    ///
    /// # Errors
    /// The next byte starts no value.
    #[inline]
    pub fn kind(&mut self) -> Result<Kind, JsonError> {
        self.space();
        match self.peek() {
            Some(b'"') => Ok(Kind::String),
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b't' | b'f') => Ok(Kind::Boolean),
            Some(b'n') => Ok(Kind::Null),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            _ => Err(self.expected(Expected::Value)),
        }
    }

    /// Reads the next value; arrays and objects are validated and skipped.
    pub fn value(&mut self) -> Result<Value<'a>, JsonError> {
        self.space();
        let start = self.at;
        Ok(match self.peek() {
            Some(b'"') => Value::String(self.string()?),
            Some(b'{') => Value::Object(self.skip()?),
            Some(b'[') => Value::Array(self.skip()?),
            first => {
                self.scalar()?;
                match first {
                    Some(b'n') => Value::Null,
                    Some(b't') => Value::Boolean(true),
                    Some(b'f') => Value::Boolean(false),
                    _ => Value::Number(self.text.get(start..self.at).unwrap_or_default()),
                }
            }
        })
    }

    /// Reads the next value where it is a whole number from 0, and skips any other.
    pub fn count(&mut self) -> Result<Option<u64>, JsonError> {
        self.space();
        let start = self.at;
        let mut number = 0_u64;
        while let Some(digit @ b'0'..=b'9') = self.peek()
            && self.at - start < SAFE_DIGITS
        {
            number = number * 10 + u64::from(digit - b'0');
            self.at += 1;
        }
        let length = self.at - start;
        let is_whole = length == 1 || (length > 1 && self.bytes.get(start) != Some(&b'0'));
        if is_whole && !matches!(self.peek(), Some(b'0'..=b'9' | b'.' | b'e' | b'E')) {
            return Ok(Some(number));
        }
        self.at = start;
        let span = self.skip()?;
        Ok(whole_number(span.of(self.bytes)))
    }

    /// Validates and skips the next value.
    #[inline]
    pub fn skip(&mut self) -> Result<Span, JsonError> {
        self.space();
        let start = self.at;
        self.pass()?;
        Ok(Span::new(start, self.at))
    }

    /// Like `skip`, where nobody asks what the value was.
    #[inline]
    pub fn ignore(&mut self) -> Result<(), JsonError> {
        self.space();
        self.pass()
    }

    fn pass(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            Some(b'"') => self.skip_string(),
            Some(b'{' | b'[') => self.pass_nested(),
            _ => self.scalar(),
        }
    }

    fn pass_nested(&mut self) -> Result<(), JsonError> {
        let outside = self.depth;
        // One bit for each bracket opened here: 1 is an object.
        let mut open: u128 = 0;
        loop {
            self.space();
            match self.peek() {
                Some(b'{') => {
                    self.enter()?;
                    if !self.take(b'}') {
                        open = open << 1 | 1;
                        self.name()?;
                        continue;
                    }
                    self.depth -= 1;
                }
                Some(b'[') => {
                    self.enter()?;
                    if !self.take(b']') {
                        open <<= 1;
                        continue;
                    }
                    self.depth -= 1;
                }
                Some(b'"') => self.skip_string()?,
                _ => self.scalar()?,
            }
            if self.close(outside, &mut open)? {
                return Ok(());
            }
        }
    }

    /// After a value: closes the brackets that end here and steps to the next value; `true` when none is
    /// open.
    fn close(&mut self, outside: usize, open: &mut u128) -> Result<bool, JsonError> {
        while self.depth > outside {
            self.space();
            let object = *open & 1 == 1;
            match (self.peek(), object) {
                (Some(b','), _) => {
                    self.at += 1;
                    if object {
                        self.name()?;
                    }
                    return Ok(false);
                }
                (Some(b'}'), true) | (Some(b']'), false) => {
                    self.at += 1;
                    self.depth -= 1;
                    *open >>= 1;
                }
                (_, true) => return Err(self.expected(Expected::CommaOrBrace)),
                (_, false) => return Err(self.expected(Expected::CommaOrBracket)),
            }
        }
        Ok(true)
    }

    /// Reads an object: `member` is called before each value, and must read or skip exactly that value.
    ///
    /// # Errors
    /// The object is not valid, or `member` returned an error.
    pub fn object<E: From<JsonError>>(
        &mut self,
        mut member: impl FnMut(&mut Self, Member<'a>) -> Result<(), E>,
    ) -> Result<Span, E> {
        self.space();
        let start = self.at;
        if self.peek() != Some(b'{') {
            return Err(self.expected(Expected::Object).into());
        }
        self.enter()?;
        let mut first = true;
        if !self.take(b'}') {
            loop {
                let key = self.name()?;
                member(self, Member { key, first })?;
                first = false;
                if !self.takes(b',') {
                    break;
                }
            }
            if !self.take(b'}') {
                return Err(self.expected(Expected::CommaOrBrace).into());
            }
        }
        self.depth -= 1;
        Ok(Span::new(start, self.at))
    }

    /// Reads an array: `element` is called before each value, and must read or skip exactly that value.
    ///
    /// # Errors
    /// The array is not valid, or `element` returned an error.
    pub fn array<E: From<JsonError>>(
        &mut self,
        mut element: impl FnMut(&mut Self, usize) -> Result<(), E>,
    ) -> Result<Span, E> {
        self.space();
        let start = self.at;
        if self.peek() != Some(b'[') {
            return Err(self.expected(Expected::Array).into());
        }
        self.enter()?;
        let mut index = 0;
        if !self.take(b']') {
            loop {
                element(self, index)?;
                index += 1;
                if !self.takes(b',') {
                    break;
                }
            }
            if !self.take(b']') {
                return Err(self.expected(Expected::CommaOrBracket).into());
            }
        }
        self.depth -= 1;
        Ok(Span::new(start, self.at))
    }

    /// Checks that only whitespace follows.
    ///
    /// # Errors
    /// Something else does.
    #[inline]
    pub fn end(&mut self) -> Result<(), JsonError> {
        self.space();
        if self.at < self.bytes.len() {
            return Err(self.expected(Expected::End));
        }
        Ok(())
    }

    /// Opens a bracket and skips the whitespace after it.
    #[inline]
    fn enter(&mut self) -> Result<(), JsonError> {
        if self.depth >= JSON_DEPTH_MAX {
            return Err(JsonError { fault: JsonFault::Depth, at: self.at });
        }
        self.depth += 1;
        self.at += 1;
        self.space();
        Ok(())
    }

    /// Reads a member's name and the colon after it. Always inlined: returning the text costs as much as
    /// reading it.
    #[inline(always)]
    fn name(&mut self) -> Result<Text<'a>, JsonError> {
        if !self.finds(b'"') {
            return Err(self.expected(Expected::Name));
        }
        self.keys += 1;
        if self.keys > JSON_KEYS_MAX {
            return Err(JsonError { fault: JsonFault::Keys, at: self.at });
        }
        let name = self.string()?;
        if !self.takes(b':') {
            return Err(self.expected(Expected::Colon));
        }
        Ok(name)
    }

    /// A value without quotation marks or brackets.
    fn scalar(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            Some(b't') => self.literal(Expected::True),
            Some(b'f') => self.literal(Expected::False),
            Some(b'n') => self.literal(Expected::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.expected(Expected::Value)),
        }
    }

    fn literal(&mut self, word: Expected) -> Result<(), JsonError> {
        let text = word.as_str();
        let end = self.at + text.len();
        if self.bytes.get(self.at..end) == Some(text.as_bytes()) {
            self.at = end;
            return Ok(());
        }
        Err(self.expected(word))
    }

    fn number(&mut self) -> Result<(), JsonError> {
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'.' | b'e' | b'E')) {
            self.fraction()?;
        }
        Ok(())
    }

    /// The part of a number after its integer part.
    fn fraction(&mut self) -> Result<(), JsonError> {
        if self.take(b'.') {
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(self.expected(Expected::Digit));
        }
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        Ok(())
    }

    #[inline]
    fn string(&mut self) -> Result<Text<'a>, JsonError> {
        let start = self.at;
        self.escaped = false;
        self.skip_string()?;
        Ok(Text::new(self.text, Span::new(start, self.at), self.escaped))
    }

    /// Moves past a string. Most keys and short strings have no special byte and end within the first words.
    fn skip_string(&mut self) -> Result<(), JsonError> {
        self.at += 1;
        for _ in 0..3 {
            let Some(word) = word_at(self.bytes, self.at) else { break };
            let plain = plain_bits(word);
            if plain < u64::BITS {
                self.at += (plain / 8) as usize;
                if self.take(b'"') {
                    return Ok(());
                }
                break;
            }
            self.at += 8;
        }
        self.end_of_string()
    }

    /// Moves past the rest of a string.
    #[inline(never)]
    fn end_of_string(&mut self) -> Result<(), JsonError> {
        loop {
            self.at = plain_end(self.bytes, self.at);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                Some(_) => return Err(JsonError { fault: JsonFault::Control, at: self.at }),
                None => return Err(self.expected(Expected::QuotationMark)),
            }
        }
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        self.escaped = true;
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 1;
                Ok(())
            }
            Some(b'u') => {
                let lone = JsonError { fault: JsonFault::Surrogate, at: start };
                match self.unit()? {
                    0xD800..=0xDBFF => {
                        if !self.take(b'\\') || self.peek() != Some(b'u') {
                            return Err(lone);
                        }
                        if (0xDC00..=0xDFFF).contains(&self.unit()?) { Ok(()) } else { Err(lone) }
                    }
                    0xDC00..=0xDFFF => Err(lone),
                    _ => Ok(()),
                }
            }
            _ => Err(self.expected(Expected::Escape)),
        }
    }

    /// The four digits after a `u`.
    fn unit(&mut self) -> Result<u32, JsonError> {
        self.at += 1;
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            unit = unit << 4 | digit.ok_or_else(|| self.expected(Expected::HexadecimalDigit))?;
            self.at += 1;
        }
        Ok(unit)
    }

    #[inline]
    fn space(&mut self) {
        while self.peek().is_some_and(is_space) {
            self.at += 1;
        }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    fn take(&mut self, byte: u8) -> bool {
        let here = self.peek() == Some(byte);
        if here {
            self.at += 1;
        }
        here
    }

    /// Whether `byte` comes next, possibly after whitespace, which most documents do not have.
    #[inline]
    fn finds(&mut self, byte: u8) -> bool {
        if self.peek() == Some(byte) {
            return true;
        }
        self.space();
        self.peek() == Some(byte)
    }

    /// As `finds`, and moves past the byte.
    #[inline]
    fn takes(&mut self, byte: u8) -> bool {
        let found = self.finds(byte);
        self.at += usize::from(found);
        found
    }

    #[cold]
    #[inline(never)]
    fn expected(&self, what: Expected) -> JsonError {
        let fault = if self.at < self.bytes.len() { JsonFault::Syntax(what) } else { JsonFault::Truncated };
        JsonError { fault, at: self.at }
    }
}

/// The value of a digit-only number; any other notation is not a whole number from 0.
fn whole_number(written: &[u8]) -> Option<u64> {
    written.iter().try_fold(0_u64, |number, byte| match byte {
        b'0'..=b'9' => number.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

/// The first byte from `at` on that ends a plain run of string bytes: a quotation mark, a backslash or a
/// control character. Searches by blocks, which the compiler tests at once, then by words, then by bytes.
pub fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(words) = bytes.get(at..at + 32).map(|block| block.as_chunks().0)
        && words.iter().fold(0, |any, word| any | special_bytes(u64::from_le_bytes(*word))) == 0
    {
        at += 32;
    }
    while let Some(word) = word_at(bytes, at) {
        let plain = plain_bits(word);
        at += (plain / 8) as usize;
        if plain < u64::BITS {
            return at;
        }
    }
    while bytes.get(at).is_some_and(|byte| *byte >= 0x20 && *byte != b'"' && *byte != b'\\') {
        at += 1;
    }
    at
}

#[inline]
fn word_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|word| u64::from_le_bytes(*word))
}

/// How many bits of a word come before its first special byte.
#[inline]
const fn plain_bits(word: u64) -> u32 {
    special_bytes(word).trailing_zeros() & !7
}

/// The highest bit of each special byte, exact for the lowest one: subtracting borrows from the next higher
/// byte. With bit 2 flipped, the quotation mark is next to the control characters, so that one test finds
/// both.
#[inline]
const fn special_bytes(word: u64) -> u64 {
    let quote_or_control = (word ^ (ONES * 0x02)).wrapping_sub(ONES * 0x21);
    let backslash = (word ^ (ONES * 0x5C)).wrapping_sub(ONES);
    (quote_or_control | backslash) & !word & HIGHS
}
