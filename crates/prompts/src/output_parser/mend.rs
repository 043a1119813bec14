//! Repairs JSON as models write it, character by character: slips that leave no doubt about the meaning are
//! corrected.

use crate::limits::{ARGUMENT_WORD_BYTES_MAX, ARGUMENTS_DEPTH_MAX};

/// The text can't be repaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreadable;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Value,
    /// The first element of an array, if it has any.
    FirstValue,
    Key,
    FirstKey,
    Colon,
    After,
    Text,
    Escape,
    Code,
    Word,
    Done,
}

/// The effect of a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    Yes,
    /// It ended a number, a literal or an escape; feed it again.
    Again,
}

/// Parses one value and writes the JSON that was meant. Drops trailing commas, escapes control characters in
/// strings, and replaces single quotes, Python's literals and unpaired surrogates.
#[derive(Debug)]
pub(super) struct JsonRepair {
    state: State,
    /// The closing brackets that are still to come.
    open: Vec<char>,
    /// A comma that is held back until an element follows, and the white space after it.
    comma: Option<String>,
    word: String,
    quote: char,
    is_key: bool,
    key: String,
    /// The code of a high surrogate whose low surrogate is still to come.
    half: Option<String>,
}

impl JsonRepair {
    pub(super) const fn new() -> Self {
        Self {
            state: State::Value,
            open: Vec::new(),
            comma: None,
            word: String::new(),
            quote: '"',
            is_key: false,
            key: String::new(),
            half: None,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    pub(super) const fn depth(&self) -> usize {
        self.open.len()
    }

    /// Whether a string is open, which only its quote can end.
    pub(super) const fn is_in_text(&self) -> bool {
        matches!(self.state, State::Text | State::Escape | State::Code)
    }

    /// The key of the value that comes next, from the colon to the start of the value.
    pub(super) fn key_before_value(&self) -> Option<&str> {
        (self.state == State::Value && self.comma.is_none() && !self.open.is_empty()).then_some(&self.key)
    }

    pub(super) fn is_after_value(&self) -> bool {
        self.state == State::After
    }

    pub(super) fn take(&mut self, character: char, out: &mut String) -> Result<Taken, Unreadable> {
        match self.state {
            State::Text => return self.text(character, out),
            State::Escape => return self.escape(character, out),
            State::Code => return self.code(character, out),
            State::Word if is_of_word(character) => {
                self.word.push(character);
                return if self.word.len() > ARGUMENT_WORD_BYTES_MAX {
                    Err(Unreadable)
                } else {
                    Ok(Taken::Yes)
                };
            }
            State::Word => {
                self.end_word(out)?;
                return Ok(Taken::Again);
            }
            _ if character.is_whitespace() => {
                self.comma.as_mut().unwrap_or(out).push(character);
                return Ok(Taken::Yes);
            }
            _ => {}
        }
        match (self.state, character) {
            (State::Value | State::FirstValue, '"' | '\'') => self.open_text(character, false, out),
            (State::Key | State::FirstKey, '"' | '\'') => self.open_text(character, true, out),
            (State::Value | State::FirstValue, '{') => self.open('{', '}', State::FirstKey, out)?,
            (State::Value | State::FirstValue, '[') => self.open('[', ']', State::FirstValue, out)?,
            (State::Value | State::FirstValue, _) if is_of_word(character) => {
                self.put_comma(out);
                self.word.push(character);
                self.state = State::Word;
            }
            (State::Colon, ':') => {
                out.push(':');
                self.state = State::Value;
            }
            (State::After, ',') => {
                self.comma = Some(String::new());
                self.state = if self.open.last() == Some(&'}') { State::Key } else { State::Value };
            }
            (_, '}' | ']') if self.may_close() && self.open.last() == Some(&character) => self.close(out),
            _ => return Err(Unreadable),
        }
        Ok(Taken::Yes)
    }

    /// Closes what is still open at the end of the input.
    pub(super) fn settle(&mut self, out: &mut String) -> Result<(), Unreadable> {
        if self.state == State::Word {
            self.end_word(out)?;
        }
        while self.state != State::Done {
            if !self.may_close() {
                return Err(Unreadable);
            }
            self.close(out);
        }
        Ok(())
    }

    /// Whether a closing bracket is valid here, possibly after a trailing comma.
    fn may_close(&self) -> bool {
        match self.state {
            State::After | State::FirstKey | State::FirstValue => !self.open.is_empty(),
            State::Key | State::Value => self.comma.is_some(),
            _ => false,
        }
    }

    fn close(&mut self, out: &mut String) {
        if let Some(space) = self.comma.take() {
            out.push_str(&space);
        }
        out.extend(self.open.pop());
        self.end_value();
    }

    fn end_value(&mut self) {
        self.state = if self.open.is_empty() { State::Done } else { State::After };
    }

    fn put_comma(&mut self, out: &mut String) {
        if let Some(space) = self.comma.take() {
            out.push(',');
            out.push_str(&space);
        }
    }

    fn open(&mut self, begin: char, end: char, state: State, out: &mut String) -> Result<(), Unreadable> {
        if self.open.len() >= ARGUMENTS_DEPTH_MAX {
            return Err(Unreadable);
        }
        self.put_comma(out);
        out.push(begin);
        self.open.push(end);
        self.state = state;
        Ok(())
    }

    fn open_text(&mut self, quote: char, is_key: bool, out: &mut String) {
        self.put_comma(out);
        out.push('"');
        (self.quote, self.is_key, self.state) = (quote, is_key, State::Text);
        self.key.clear();
    }

    fn text(&mut self, character: char, out: &mut String) -> Result<Taken, Unreadable> {
        if character == '\\' {
            self.state = State::Escape;
            return Ok(Taken::Yes);
        }
        self.put_half(out);
        if character == self.quote {
            out.push('"');
            if self.is_key {
                self.key = serde_json::from_str(&format!("\"{}\"", self.key)).map_err(|_| Unreadable)?;
                self.state = State::Colon;
            } else {
                self.end_value();
            }
            return Ok(Taken::Yes);
        }
        match character {
            '"' => self.put("\\\"", out),
            '\n' => self.put("\\n", out),
            '\r' => self.put("\\r", out),
            '\t' => self.put("\\t", out),
            '\0'..='\x1F' => self.put(&format!("\\u{:04x}", u32::from(character)), out),
            _ => self.put(character.encode_utf8(&mut [0; 4]), out),
        }
        Ok(Taken::Yes)
    }

    fn escape(&mut self, character: char, out: &mut String) -> Result<Taken, Unreadable> {
        if character == 'u' {
            self.word.clear();
            self.state = State::Code;
            return Ok(Taken::Yes);
        }
        self.put_half(out);
        self.state = State::Text;
        match character {
            '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't' => {
                self.put("\\", out);
                self.put(character.encode_utf8(&mut [0; 4]), out);
            }
            '\'' => self.put("'", out),
            // A backslash that escapes nothing was meant literally.
            _ => {
                self.put("\\\\", out);
                return Ok(Taken::Again);
            }
        }
        Ok(Taken::Yes)
    }

    fn code(&mut self, character: char, out: &mut String) -> Result<Taken, Unreadable> {
        if !character.is_ascii_hexdigit() {
            self.put_half(out);
            let meant = format!("\\\\u{}", std::mem::take(&mut self.word));
            self.put(&meant, out);
            self.state = State::Text;
            return Ok(Taken::Again);
        }
        self.word.push(character);
        if self.word.len() < 4 {
            return Ok(Taken::Yes);
        }
        let code = std::mem::take(&mut self.word);
        self.state = State::Text;
        match (u32::from_str_radix(&code, 16).map_err(|_| Unreadable)?, self.half.take()) {
            (0xDC00..=0xDFFF, Some(half)) => self.put(&format!("\\u{half}\\u{code}"), out),
            (0xDC00..=0xDFFF, None) => self.put("\\ufffd", out),
            (number, half) => {
                self.half = half;
                self.put_half(out);
                if matches!(number, 0xD800..=0xDBFF) {
                    self.half = Some(code);
                } else {
                    self.put(&format!("\\u{code}"), out);
                }
            }
        }
        Ok(Taken::Yes)
    }

    /// An unpaired surrogate becomes U+FFFD.
    fn put_half(&mut self, out: &mut String) {
        if self.half.take().is_some() {
            self.put("\\ufffd", out);
        }
    }

    fn put(&mut self, text: &str, out: &mut String) {
        out.push_str(text);
        if self.is_key {
            self.key.push_str(text);
        }
    }

    fn end_word(&mut self, out: &mut String) -> Result<(), Unreadable> {
        let word = std::mem::take(&mut self.word);
        out.push_str(match word.as_str() {
            "true" | "True" => "true",
            "false" | "False" => "false",
            "null" | "None" => "null",
            word if is_number(word) => word,
            _ => return Err(Unreadable),
        });
        self.end_value();
        Ok(())
    }
}

const fn is_of_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '-' | '+' | '.' | '_')
}

/// Whether this is a valid JSON number.
pub(super) fn is_number(word: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (base, power) = match word.split_once(['e', 'E']) {
        Some((base, power)) => (base, Some(power)),
        None => (word, None),
    };
    let power = power.is_none_or(|power| digits(power.strip_prefix(['+', '-']).unwrap_or(power)));
    let base = base.strip_prefix('-').unwrap_or(base);
    let (whole, part) = base.split_once('.').map_or((base, None), |(whole, part)| (whole, Some(part)));
    let is_whole = digits(whole) && (whole == "0" || !whole.starts_with('0'));
    power && is_whole && part.is_none_or(digits)
}

/// Repairs a complete text.
pub(super) fn repair(text: &str) -> Option<String> {
    let (mut mender, mut out) = (JsonRepair::new(), String::new());
    for character in text.trim().chars() {
        if mender.is_done() {
            return None;
        }
        while mender.take(character, &mut out).ok()? == Taken::Again {}
    }
    mender.settle(&mut out).ok()?;
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn what_is_a_slip_is_mended() {
        for (written, meant) in [
            (r#"{"a": [1, -2.5e+3, true], "b": {}}"#, r#"{"a": [1, -2.5e+3, true], "b": {}}"#),
            (r#"{"a": [1, 2, ], }"#, r#"{"a": [1, 2 ] }"#),
            ("{\"a\": \"one\ntwo\t\u{1}\"}", r#"{"a": "one\ntwo\t\u0001"}"#),
            (r#"{'it\'s': 'a "b"'}"#, r#"{"it's": "a \"b\""}"#),
            (r#"[True, False, None]"#, "[true, false, null]"),
            (
                r#"["C:\dir", "\u12", "\ud83d\ude00", "\ud83d", "\ude00x"]"#,
                r#"["C:\\dir", "\\u12", "\ud83d\ude00", "\ufffd", "\ufffdx"]"#,
            ),
            (r#"{"a": {"b": [1"#, r#"{"a": {"b": [1]}}"#),
            (r#"{"a": 1,"#, r#"{"a": 1}"#),
            (r#""text""#, r#""text""#),
        ] {
            assert_eq!(repair(written).as_deref(), Some(meant), "{written}");
            serde_json::from_str::<Value>(meant).unwrap();
        }
        for written in [
            "",
            "{",
            "{\"a\"",
            "{\"a\":",
            "{\"a\": \"b",
            "{a: 1}",
            "[1 2]",
            "[01]",
            "[.5]",
            "{} {}",
            "{,}",
            "[1,,2]",
            "nul",
        ] {
            let repaired = repair(written);
            assert!(repaired.is_none() || written == "{", "{written}: {repaired:?}");
        }
    }

    proptest! {
        #[test]
        fn what_comes_out_is_json(text in r#"[{}\[\],:"'\\ua0-9deE.+ \n<]{0,40}"#) {
            if let Some(repaired) = repair(&text) {
                // A number may be out of the parser's range; nothing else may be wrong.
                let read = serde_json::from_str::<Value>(&repaired);
                prop_assert!(read.as_ref().map_or_else(|error| error.to_string().contains("out of range"), |_| true), "{} -> {}", text, repaired);
            }
        }

        #[test]
        fn what_is_json_stays(value in any_json(), ) {
            let text = value.to_string();
            prop_assert_eq!(repair(&text), Some(text));
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1e9f64..1e9).prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec((".{0,6}", inner), 0..4)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }
}
