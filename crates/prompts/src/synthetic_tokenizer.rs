//! A synthetic tokenizer for tests: every byte, some pieces of words and of JSON, and the usual special
//! tokens. With it a model with random weights writes valid text.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value as Json, json};

use crate::vocabulary::byte_of_character;

/// Tokens that are merged from bytes, left to right.
const PIECES: [&str; 40] = [
    "{\"",
    "\":",
    "\",",
    "\"}",
    "},",
    "[{",
    "}]",
    "[\"",
    "\"]",
    "true",
    "false",
    "null",
    "name",
    "argu",
    "ments",
    "type",
    "value",
    "item",
    "function",
    "parameter",
    "think",
    "the",
    "and",
    "ing",
    "er",
    "on",
    " the",
    " and",
    " a",
    " \"",
    "  ",
    "\n\n",
    "10",
    "20",
    "00",
    "12",
    "://",
    ".com",
    "é",
    "漢",
];
/// Tags that are tokens but not special, so they appear in the output.
const TAGS: [&str; 4] = ["<tool_call>", "</tool_call>", "<think>", "</think>"];
pub const SPECIAL_TOKENS: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

/// A `tokenizer.json`.
pub fn tokenizer() -> Json {
    tokenizer_with(0)
}

/// A `tokenizer.json` with this many more words of two, three and four letters, for vocabularies as large as
/// those of large models.
pub fn tokenizer_with(words: usize) -> Json {
    let characters: BTreeMap<u8, char> =
        byte_of_character().into_iter().map(|(character, byte)| (byte, character)).collect();
    let spelt = |byte: u8| characters.get(&byte).map(char::to_string).unwrap_or_default();
    let mut tokens: Vec<String> = (0..=255).map(spelt).collect();
    let mut known: HashSet<String> = tokens.iter().cloned().collect();
    let mut merges = Vec::new();
    let pieces = PIECES.iter().map(|piece| (*piece).to_owned());
    for piece in pieces.chain(made_words().take(words)) {
        let mut whole = String::new();
        for part in piece.bytes().map(spelt) {
            let longer = format!("{whole}{part}");
            if !whole.is_empty() && known.insert(longer.clone()) {
                merges.push(json!([whole, part]));
                tokens.push(longer.clone());
            }
            whole = longer;
        }
    }
    let first_added = tokens.len();
    let added = SPECIAL_TOKENS.iter().map(|token| (token, true)).chain(TAGS.iter().map(|tag| (tag, false)));
    let added = added.enumerate().map(|(index, (content, special))| {
        json!({
            "id": first_added + index, "content": content, "special": special, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false,
        })
    });
    let added: Vec<Json> = added.collect();
    let vocabulary: serde_json::Map<String, Json> =
        tokens.into_iter().enumerate().map(|(index, token)| (token, json!(index))).collect();
    let bytes =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": bytes, "post_processor": null, "decoder": bytes,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulary, "merges": merges,
        },
    })
}

/// Shorter words first, so that each is a merge of a known word and a letter.
fn made_words() -> impl Iterator<Item = String> {
    let with_letter = |word: &String| ('a'..='z').map(|letter| format!("{word}{letter}")).collect::<Vec<_>>();
    let one: Vec<String> = ('a'..='z').map(String::from).collect();
    let two: Vec<String> = one.iter().flat_map(with_letter).collect();
    let three: Vec<String> = two.iter().flat_map(with_letter).collect();
    let four = three.clone().into_iter().flat_map(move |word| with_letter(&word));
    two.into_iter().chain(three).chain(four)
}
