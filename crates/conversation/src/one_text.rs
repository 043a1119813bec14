//! Extracts the text of `{"input": "…"}` incrementally: the text is forwarded while its object is still
//! incomplete.

/// The bytes before the text, apart from whitespace.
const LEAD: &[u8] = b"{\"input\":\"";

/// The range of `LEAD` in which whitespace is not between two tokens.
const KEY: std::ops::Range<usize> = 2..8;

#[derive(Debug, Default)]
pub struct OneText {
    state: State,
    /// An incomplete escape.
    escape: String,
    /// The first half of a surrogate pair.
    high: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// How many bytes of the lead have arrived.
    Lead(usize),
    Text,
    End,
    /// Not such an object: it is forwarded as it is.
    Other,
}

impl Default for State {
    fn default() -> Self {
        Self::Lead(0)
    }
}

impl OneText {
    /// Takes more of the object, and returns the text that it adds.
    pub fn push(&mut self, piece: &str) -> String {
        let mut text = String::with_capacity(piece.len());
        for character in piece.chars() {
            self.take(character, &mut text);
        }
        text
    }

    fn take(&mut self, character: char, text: &mut String) {
        match self.state {
            State::Lead(at) => self.lead(at, character, text),
            State::Text if !self.escape.is_empty() => self.push_escaped(character, text),
            State::Text => match character {
                '"' => {
                    self.end_half(text);
                    self.state = State::End;
                }
                '\\' => self.escape.push(character),
                other => {
                    self.end_half(text);
                    text.push(other);
                }
            },
            State::End => {}
            State::Other => text.push(character),
        }
    }

    fn lead(&mut self, at: usize, character: char, text: &mut String) {
        let expected = LEAD.get(at).copied().map(char::from);
        if expected == Some(character) {
            self.state = if at + 1 == LEAD.len() { State::Text } else { State::Lead(at + 1) };
        } else if !character.is_ascii_whitespace() || KEY.contains(&at) {
            let passed = LEAD.get(..at).unwrap_or_default();
            text.extend(passed.iter().map(|byte| char::from(*byte)));
            text.push(character);
            self.state = State::Other;
        }
    }

    /// Takes another character of an escape.
    fn push_escaped(&mut self, character: char, text: &mut String) {
        self.escape.push(character);
        let is_unit = self.escape.starts_with("\\u");
        if is_unit && self.escape.len() < "\\u0000".len() {
            return;
        }
        let escape = std::mem::take(&mut self.escape);
        if is_unit {
            let unit = escape.get(2..).and_then(|digits| u16::from_str_radix(digits, 16).ok());
            return self.unit(unit.unwrap_or(0xFFFD), text);
        }
        self.end_half(text);
        text.push(match character {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            other => other,
        });
    }

    fn unit(&mut self, unit: u16, text: &mut String) {
        match self.high.take() {
            Some(high) => {
                text.extend(
                    char::decode_utf16([high, unit]).map(|read| read.unwrap_or(char::REPLACEMENT_CHARACTER)),
                );
            }
            None if (0xD800..0xDC00).contains(&unit) => self.high = Some(unit),
            None => text.push(char::from_u32(u32::from(unit)).unwrap_or(char::REPLACEMENT_CHARACTER)),
        }
    }

    /// Replaces a high surrogate that no low one follows.
    fn end_half(&mut self, text: &mut String) {
        if self.high.take().is_some() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
}
