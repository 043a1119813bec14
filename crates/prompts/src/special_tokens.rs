//! Special tokens, and user text that only looks like them. A template writes special tokens (`<|im_start|>`)
//! between messages, and a message may contain the same letters: there they are plain text, because a user
//! must not be able to end a message in the eyes of the model.
//!
//! Before rendering, each occurrence of a special token in the template's input gets an unguessable mark
//! inside it. An occurrence in the rendered prompt without a mark is the template's own. Input without such
//! text is not marked.

use std::cell::OnceCell;
use std::collections::{BTreeSet, HashSet};
use std::ops::Range;

use fancy_regex::Regex;
use serde_json::{Map, Value};

use crate::output_parser::is_tag;

/// A model's special tokens, by their text.
#[derive(Debug, Default)]
pub struct SpecialTokens {
    /// The longest first.
    all: Vec<SpecialToken>,
    any: Option<Regex>,
    /// Proper prefixes of special tokens: a template could complete one at the end of a text.
    prefixes: HashSet<String>,
    /// Proper suffixes, which a template could complete at the beginning of a text.
    suffixes: HashSet<String>,
    /// Inner parts that could be a whole text: a token without some of its frame of other characters, for
    /// example without `<|` and `|>`.
    middles: HashSet<String>,
    /// The length of the longest special token, in characters.
    longest: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SpecialToken {
    pub spelling: String,
    /// Whether it absorbs the white space before it and after it (`lstrip`, `rstrip`).
    pub takes: (bool, bool),
}

/// Marks special-token text in one template input.
pub(crate) struct Guard<'a> {
    special_tokens: &'a SpecialTokens,
    chance: &'a dyn Fn() -> u64,
    /// Made when the first mark is needed.
    mark: OnceCell<String>,
}

/// Who wrote a text. Templates search assistant messages for the model's own tags, so those are not marked
/// there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Assistants,
    Anybodys,
}

impl SpecialTokens {
    pub(crate) fn new(mut all: Vec<SpecialToken>) -> Self {
        // A single character has no inside to be marked.
        all.retain(|token| token.spelling.chars().nth(1).is_some());
        all.sort_by(|one, other| {
            other.spelling.len().cmp(&one.spelling.len()).then_with(|| one.spelling.cmp(&other.spelling))
        });
        let spellings: Vec<_> = all.iter().map(|token| fancy_regex::escape(&token.spelling)).collect();
        let any = (!all.is_empty()).then(|| Regex::new(&spellings.join("|")).ok()).flatten();
        let mut special_tokens = Self { any, ..Self::default() };
        for SpecialToken { spelling, .. } in &all {
            let cuts = spelling.char_indices().map(|(at, _)| at).filter(|at| *at > 0);
            let halves = cuts.filter_map(|at| spelling.split_at_checked(at));
            for (prefix, suffix) in halves {
                special_tokens.prefixes.insert(prefix.to_owned());
                special_tokens.suffixes.insert(suffix.to_owned());
            }
            special_tokens.middles.extend(middles(spelling));
            special_tokens.longest = special_tokens.longest.max(spelling.chars().count());
        }
        Self { all, ..special_tokens }
    }

    /// Special tokens with these texts.
    pub fn spelt<'s>(spellings: impl IntoIterator<Item = &'s str>) -> Self {
        let token = |spelling: &str| SpecialToken { spelling: spelling.to_owned(), takes: (false, false) };
        Self::new(spellings.into_iter().map(token).collect())
    }

    /// The first special token at or after a position; the longest one if several start there.
    pub(crate) fn find(&self, text: &str, from: usize) -> Option<(Range<usize>, &SpecialToken)> {
        let found = match &self.any {
            Some(any) => any.find_from_pos(text, from).ok()?.map(|found| found.start())?,
            // If they are too many for one regular expression, each position is tried.
            None => {
                from + text
                    .get(from..)?
                    .char_indices()
                    .map(|(at, _)| at)
                    .find(|at| self.at(text, from + at).is_some())?
            }
        };
        let token = self.at(text, found)?;
        Some((found..found + token.spelling.len(), token))
    }

    /// The longest special token at a position.
    fn at(&self, text: &str, position: usize) -> Option<&SpecialToken> {
        let rest = text.get(position..)?;
        self.all.iter().find(|token| rest.starts_with(&token.spelling))
    }
}

fn middles(spelling: &str) -> Vec<String> {
    let is_frame = |character: char| !character.is_alphanumeric();
    let word = spelling.trim_matches(is_frame);
    let (Some(first), false) = (spelling.find(word), word.is_empty()) else { return Vec::new() };
    let behind = first + word.len();
    let starts = (1..=first).filter(|at| spelling.is_char_boundary(*at));
    let end = |at: &usize| spelling.is_char_boundary(*at);
    let middles = starts.flat_map(|from| (behind..spelling.len()).filter(end).map(move |to| from..to));
    middles.filter_map(|middle| spelling.get(middle).map(str::to_owned)).collect()
}

/// The position after the character at a position.
pub(crate) fn behind(text: &str, at: usize) -> usize {
    text.get(at..)
        .and_then(|rest| rest.chars().next())
        .map_or(text.len(), |character| at + character.len_utf8())
}

impl<'a> Guard<'a> {
    pub(crate) const fn new(special_tokens: &'a SpecialTokens, chance: &'a dyn Fn() -> u64) -> Self {
        Self { special_tokens, chance, mark: OnceCell::new() }
    }

    /// Its digits survive JSON encoding, capitalisation and whatever else templates do to a text.
    fn mark(&self) -> &str {
        self.mark.get_or_init(|| format!("~{:020}{:020}~", (self.chance)(), (self.chance)()))
    }

    /// Marks a message: its content, its other fields, and the keys of nested objects.
    pub(crate) fn message(&self, message: &mut Value) {
        let is_assistants = message.get("role").is_some_and(|role| role == "assistant");
        let whose = if is_assistants { Whose::Assistants } else { Whose::Anybodys };
        let Value::Object(fields) = message else { return };
        for (name, value) in fields.iter_mut() {
            match (name.as_str(), value) {
                // The role is not free text, and templates may build a special token from it.
                ("role", _) => {}
                ("tool_calls", Value::Array(calls)) => calls.iter_mut().for_each(|call| self.function(call)),
                (_, value) => self.value(value, whose),
            }
        }
    }

    /// Marks a tool definition or a tool call, except for its fixed structure.
    pub(crate) fn function(&self, tool: &mut Value) {
        let Value::Object(fields) = tool else { return };
        for (name, value) in fields.iter_mut() {
            match (name.as_str(), value) {
                ("type", _) => {}
                ("function", Value::Object(function)) => {
                    function.values_mut().for_each(|value| self.value(value, Whose::Anybodys));
                }
                (_, value) => self.value(value, Whose::Anybodys),
            }
        }
    }

    pub(crate) fn setting(&self, value: &mut Value) {
        self.value(value, Whose::Anybodys);
    }

    fn value(&self, value: &mut Value, whose: Whose) {
        match value {
            Value::String(text) => self.text(text, whose),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item, whose)),
            Value::Object(fields) => {
                if fields.keys().any(|name| !self.mark_positions(name, whose).is_empty()) {
                    let named = std::mem::take(fields).into_iter().map(|(mut name, value)| {
                        self.text(&mut name, whose);
                        (name, value)
                    });
                    *fields = named.collect::<Map<_, _>>();
                }
                fields.values_mut().for_each(|value| self.value(value, whose));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn text(&self, text: &mut String, whose: Whose) {
        let positions = self.mark_positions(text, whose);
        if positions.is_empty() {
            return;
        }
        let (mut marked, mut from) =
            (String::with_capacity(text.len() + positions.len() * self.mark().len()), 0);
        for position in positions {
            marked.push_str(text.get(from..position).unwrap_or_default());
            marked.push_str(self.mark());
            from = position;
        }
        marked.push_str(text.get(from..).unwrap_or_default());
        *text = marked;
    }

    /// Where to mark a text: inside each special token, and at its ends if a template could complete one
    /// there.
    fn mark_positions(&self, text: &str, whose: Whose) -> BTreeSet<usize> {
        let (mut positions, mut from) = (BTreeSet::new(), 0);
        while let Some((found, token)) = self.special_tokens.find(text, from) {
            from = behind(text, found.start);
            if whose == Whose::Anybodys || !is_tag(&token.spelling) {
                positions.insert(from);
            }
        }
        // Templates trim white space.
        let core = text.trim();
        let start = text.len() - text.trim_start().len();
        let end = start + core.len();
        let cuts = || core.char_indices().map(|(at, _)| at).filter(|at| *at > 0);
        let of_end = cuts().rev().take(self.special_tokens.longest).filter_map(|at| core.get(at..));
        if of_end.chain([core]).any(|part| self.special_tokens.prefixes.contains(part)) {
            positions.insert(end);
        }
        let of_start = cuts().take(self.special_tokens.longest).filter_map(|at| core.get(..at));
        if of_start.chain([core]).any(|part| self.special_tokens.suffixes.contains(part)) {
            positions.insert(start);
        }
        if self.special_tokens.middles.contains(core) {
            positions.extend([start, end]);
        }
        positions
    }

    /// Removes the marks; returns the text and their positions in it.
    pub(crate) fn lift(&self, marked: String) -> (String, Vec<usize>) {
        let Some(mark) = self.mark.get() else { return (marked, Vec::new()) };
        let (mut text, mut positions) = (String::with_capacity(marked.len()), Vec::new());
        for (index, piece) in marked.split(mark).enumerate() {
            if index > 0 {
                positions.push(text.len());
            }
            text.push_str(piece);
        }
        (text, positions)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn special_tokens() -> SpecialTokens {
        SpecialTokens::spelt(["<|im_start|>", "<|im_end|>", "<think>", "</s>"])
    }

    /// The text with a bar at each mark.
    fn marked(text: &str, whose: Whose) -> String {
        let (special_tokens, mut text) = (special_tokens(), text.to_owned());
        let guard = Guard::new(&special_tokens, &|| 7);
        guard.text(&mut text, whose);
        text.replace(guard.mark(), "\u{b6}")
    }

    #[test]
    fn what_looks_like_a_sign_or_may_become_one_is_marked() {
        for (text, wanted) in [
            ("High tide at noon.", "High tide at noon."),
            ("a < b, c > d | e", "a < b, c > d | e"),
            ("a<|im_end|>b<|im_start|>", "a<\u{b6}|im_end|>b<\u{b6}|im_start|>"),
            ("<think>hm", "<\u{b6}think>hm"),
            // A template could write the rest.
            ("so <|im_ ", "so <|im_\u{b6} "),
            ("\n|> so", "\n\u{b6}|> so"),
            ("im_end", "\u{b6}im_end\u{b6}"),
            ("|im_end|", "\u{b6}|im_end|\u{b6}"),
            ("start", "start"),
            ("", ""),
            (" ", " "),
        ] {
            assert_eq!(marked(text, Whose::Anybodys), wanted, "{text}");
        }
        assert_eq!(marked("<think>hm<|im_end|>", Whose::Assistants), "<think>hm<\u{b6}|im_end|>");
    }

    #[test]
    fn the_longest_sign_is_found_with_an_expression_and_without() {
        let mut special_tokens = SpecialTokens::spelt(["<|a|>", "<|a|>b", "\u{e9}\u{e9}"]);
        let all = |special_tokens: &SpecialTokens, text: &str| {
            let (mut found, mut from) = (Vec::new(), 0);
            while let Some((range, token)) = special_tokens.find(text, from) {
                assert_eq!(&text[range.clone()], token.spelling);
                from = range.end;
                found.push(range);
            }
            found
        };
        let text = "\u{e9}<|a|><|a|>b \u{e9}\u{e9}\u{e9}";
        let wanted = all(&special_tokens, text);
        assert_eq!(wanted, [2..7, 7..13, 14..18]);
        special_tokens.any = None;
        assert_eq!(all(&special_tokens, text), wanted);
        assert!(all(&SpecialTokens::default(), text).is_empty());
    }

    #[test]
    fn marks_are_lifted_and_their_places_told() {
        let (special_tokens, mut text) = (special_tokens(), "~07~<|im_end|>\u{e9}".to_owned());
        let guard = Guard::new(&special_tokens, &|| 7);
        guard.text(&mut text, Whose::Anybodys);
        assert_eq!(guard.lift(text), ("~07~<|im_end|>\u{e9}".to_owned(), vec![5]));
        let nothing = Guard::new(&special_tokens, &|| 7);
        assert_eq!(nothing.lift("as it is".to_owned()), ("as it is".to_owned(), vec![]));
    }

    #[test]
    fn what_messages_and_tools_are_made_of_is_not_marked() {
        let special_tokens = SpecialTokens::spelt(["<|user|>", "<|function|>", "<|name|>", "<|x|>"]);
        let guard = Guard::new(&special_tokens, &|| 7);
        let mut message = json!({"role": "user", "name": "x", "content": "y", "tool_calls": [{"type": "function", "function": {"name": "y", "arguments": {"x": ["x"]}}}]});
        guard.message(&mut message);
        let mark = guard.mark();
        let x = format!("{mark}x{mark}");
        let wanted = json!({"role": "user", "name": x, "content": "y", "tool_calls": [{"type": "function", "function": {"name": "y", "arguments": {x.clone(): [x]}}}]});
        assert_eq!(message, wanted);
        let mut tool = json!({"type": "function", "function": {"name": "f", "parameters": {"x": "y"}}});
        guard.function(&mut tool);
        assert_eq!(tool["function"]["parameters"], json!({format!("{mark}x{mark}"): "y"}));
    }
}
