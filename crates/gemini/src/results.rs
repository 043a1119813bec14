//! Splits the results of a Gemini batch out of the one large object that holds them, while it is being
//! received.

use bytes::Bytes;
use conversation::batch::{SplitResults, TooLong};
use domain::limits::JSON_DEPTH_MAX;

use crate::limits::{RESULT_BYTES_MAX, RESULT_NAME_BYTES_MAX};

/// An incremental splitter: it yields the results one by one and collects the rest of the object. It does not
/// validate the JSON; whoever parses the pieces does.
#[derive(Debug, Default)]
pub struct GeminiBatchResults {
    open: Vec<Open>,
    text: Text,
    /// The name, as written, of the member whose value comes next.
    name: Vec<u8>,
    item: Vec<u8>,
    rest: Vec<u8>,
    found: Vec<Bytes>,
}

/// An open bracket, and what it contains.
#[derive(Debug, Clone, Copy)]
struct Open {
    at: Position,
    is_object: bool,
    /// The next string is a member's name.
    awaits_name: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    Root,
    Response,
    /// The object that holds the list.
    Inlined,
    List,
    /// Inside a result.
    Item,
    /// The metadata repeat the results; this copy is skipped.
    Metadata,
    Output,
    OutputInlined,
    OutputList,
    OutputItem,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Text {
    #[default]
    Outside,
    Inside {
        is_name: bool,
        is_escaped: bool,
    },
}

impl Position {
    /// The position inside a bracket that opens here, after the name of a member if there is one.
    fn inside(self, name: &[u8], is_object: bool) -> Self {
        match (self, name, is_object) {
            (Self::Root, b"response", true) => Self::Response,
            (Self::Response, b"inlinedResponses", true) => Self::Inlined,
            (Self::Inlined, b"inlinedResponses", false) => Self::List,
            (Self::List | Self::Item, ..) => Self::Item,
            (Self::Root, b"metadata", true) => Self::Metadata,
            (Self::Metadata, b"output", true) => Self::Output,
            (Self::Output, b"inlinedResponses", true) => Self::OutputInlined,
            (Self::OutputInlined, b"inlinedResponses", false) => Self::OutputList,
            (Self::OutputList | Self::OutputItem, ..) => Self::OutputItem,
            _ => Self::Other,
        }
    }
}

impl SplitResults for GeminiBatchResults {
    fn push(&mut self, piece: &[u8]) -> Result<Vec<Bytes>, TooLong> {
        self.push(piece)
    }

    fn rest(self: Box<Self>) -> Vec<u8> {
        (*self).rest()
    }
}

impl GeminiBatchResults {
    /// Takes the next bytes, and returns the results that they complete.
    ///
    /// # Errors
    /// A result or the rest is too long, or the brackets are nested too deeply.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Bytes>, TooLong> {
        for byte in bytes {
            self.step(*byte);
            if self.open.len() > JSON_DEPTH_MAX || self.item.len().max(self.rest.len()) > RESULT_BYTES_MAX {
                return Err(TooLong);
            }
        }
        Ok(std::mem::take(&mut self.found))
    }

    /// Everything but the results, once the object is complete. If it was truncated, this is not valid JSON.
    pub fn rest(self) -> Vec<u8> {
        self.rest
    }

    fn position(&self) -> Option<Position> {
        self.open.last().map(|open| open.at)
    }

    fn step(&mut self, byte: u8) {
        let before = self.position();
        match self.text {
            Text::Inside { is_name, is_escaped } => self.inside_text(byte, is_name, is_escaped),
            Text::Outside => self.outside_text(byte),
        }
        // A bracket belongs to the value that it opens or closes.
        let after = self.position();
        match (before, after) {
            (Some(Position::Item), _) | (_, Some(Position::Item)) => self.item.push(byte),
            (Some(Position::OutputItem), _) | (_, Some(Position::OutputItem)) => {}
            // Commas and whitespace between results.
            (Some(Position::List), Some(Position::List)) => {}
            (Some(Position::OutputList), Some(Position::OutputList)) => {}
            _ => self.rest.push(byte),
        }
        if before == Some(Position::Item) && after == Some(Position::List) {
            self.found.push(std::mem::take(&mut self.item).into());
        }
    }

    fn inside_text(&mut self, byte: u8, is_name: bool, is_escaped: bool) {
        match (byte, is_escaped) {
            (b'"', false) => self.text = Text::Outside,
            _ => {
                self.text = Text::Inside { is_name, is_escaped: byte == b'\\' && !is_escaped };
                if is_name && self.name.len() <= RESULT_NAME_BYTES_MAX {
                    self.name.push(byte);
                }
            }
        }
    }

    fn outside_text(&mut self, byte: u8) {
        match byte {
            b'"' => {
                let is_name = self.open.last_mut().is_some_and(|open| std::mem::take(&mut open.awaits_name));
                if is_name {
                    self.name.clear();
                }
                self.text = Text::Inside { is_name, is_escaped: false };
            }
            b'{' | b'[' => {
                let is_object = byte == b'{';
                let at = match self.open.last() {
                    None => Position::Root,
                    // Elements of a list have no name.
                    Some(open) if !open.is_object => open.at.inside(&[], is_object),
                    Some(open) => open.at.inside(&self.name, is_object),
                };
                self.open.push(Open { at, is_object, awaits_name: is_object });
            }
            b'}' | b']' => drop(self.open.pop()),
            b',' => {
                if let Some(open) = self.open.last_mut() {
                    open.awaits_name = open.is_object;
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{"name":"batches/a","metadata":{"output":{"inlinedResponses":{"inlinedResponses":[{"response":{"x":1}},{"error":{}}]}},"state":"S","list":[{"inlinedResponses":[{}]}]},
        "done":true,"response":{"@type":"t","inlinedResponses":{"inlinedResponses":[ {"response":{"text":"a \"]}\\","list":[[1],{}]},"metadata":{"response":"["}} ,
        {"error":{"code":3}}],"more":[{}]},"tail":{"inlinedResponses":[{}]}}}"#;
    const REST: &str = r#"{"name":"batches/a","metadata":{"output":{"inlinedResponses":{"inlinedResponses":[]}},"state":"S","list":[{"inlinedResponses":[{}]}]},
        "done":true,"response":{"@type":"t","inlinedResponses":{"inlinedResponses":[],"more":[{}]},"tail":{"inlinedResponses":[{}]}}}"#;
    const ITEMS: [&str; 2] = [
        r#"{"response":{"text":"a \"]}\\","list":[[1],{}]},"metadata":{"response":"["}}"#,
        r#"{"error":{"code":3}}"#,
    ];

    fn split(body: &[u8], piece: usize) -> (Vec<Bytes>, Vec<u8>) {
        let mut results = GeminiBatchResults::default();
        let found = body.chunks(piece).flat_map(|bytes| results.push(bytes).unwrap()).collect();
        (found, results.rest())
    }

    #[test]
    fn each_result_is_found_wherever_its_bytes_are_cut() {
        for piece in 1..=BODY.len() {
            let (found, rest) = split(BODY.as_bytes(), piece);
            assert_eq!(found, ITEMS, "{piece}");
            assert_eq!(String::from_utf8(rest).unwrap(), REST, "{piece}");
        }
    }

    #[test]
    fn what_has_no_results_is_all_rest() {
        for body in ["", "{}", "[]", "{\"metadata\":{\"state\":\"x\"},\"response\":[{}]}", "]}{", "\"a"] {
            assert_eq!(split(body.as_bytes(), 1), (Vec::new(), body.as_bytes().to_vec()), "{body}");
        }
        assert_eq!(
            GeminiBatchResults::default().push("[".repeat(JSON_DEPTH_MAX + 1).as_bytes()),
            Err(TooLong)
        );
        let cut = &BODY.as_bytes()[..BODY.len() - 1];
        let (found, rest) = split(cut, 7);
        assert_eq!(found, ITEMS);
        assert!(serde_json::from_slice::<serde_json::Value>(&rest).is_err());
    }
}
