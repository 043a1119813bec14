//! Synthetic tokenizers for test models: a token for every byte, some merges, and the special tokens of chat
//! templates.

use serde_json::{Map, Value as Json, json};

#[cfg(test)]
use crate::vocabulary::Words;
use crate::vocabulary::byte_of_character;

const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const DEFINED: i32 = 4;
const UNUSED: i32 = 5;

/// BPE merges; space and line break are written in byte-level notation.
const MERGES: [(&str, &str); 24] = [
    ("h", "e"),
    ("t", "he"),
    ("Ġ", "the"),
    ("i", "n"),
    ("e", "r"),
    ("Ġ", "t"),
    ("Ġ", "a"),
    ("l", "l"),
    ("'", "ll"),
    ("'", "s"),
    ("1", "2"),
    ("12", "3"),
    ("Ċ", "Ċ"),
    ("Ġ", "Ġ"),
    ("ĠĠ", "ĠĠ"),
    ("{", "\""),
    ("\"", ":"),
    ("Ã", "©"),
    ("n", "Ã©"),
    ("o", "r"),
    ("w", "or"),
    ("Ġ", "wor"),
    ("l", "d"),
    ("Ġwor", "ld"),
];
const SPECIAL_TOKENS: [(&str, bool); 7] = [
    ("<|endoftext|>", true),
    ("<|im_start|>", true),
    ("<|im_end|>", true),
    ("<tool_call>", false),
    ("</tool_call>", false),
    ("<think>", false),
    ("</think>", false),
];

/// A tokenizer and a chat template.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// The pre-tokenizer, by its name in GGUF files.
    pub cut: &'static str,
    pub template: String,
    /// Each with its token type, as GGUF files number them.
    pub tokens: Vec<(String, i32)>,
    pub merges: Vec<(&'static str, &'static str)>,
    /// Appends an end token to each text.
    pub closes: bool,
}

impl Tokens {
    /// A tokenizer of at least `size` tokens; the ones beyond the real tokens are unused. `cut` is `qwen2`,
    /// or another pre-tokenizer of GGUF files.
    pub fn new(cut: &'static str, template: &str, size: usize) -> Self {
        Self::with_merges(cut, template, size, &[])
    }

    /// Like `new`, with additional merges after the usual ones.
    pub fn with_merges(
        cut: &'static str,
        template: &str,
        size: usize,
        more: &[(&'static str, &'static str)],
    ) -> Self {
        let merges: Vec<_> = MERGES.iter().chain(more).copied().collect();
        let mut bytes: Vec<(u8, char)> =
            byte_of_character().into_iter().map(|(character, byte)| (byte, character)).collect();
        bytes.sort_unstable();
        let mut tokens: Vec<(String, i32)> =
            bytes.into_iter().map(|(_, character)| (character.to_string(), NORMAL)).collect();
        tokens.extend(merges.iter().map(|(left, right)| (format!("{left}{right}"), NORMAL)));
        tokens.extend(
            SPECIAL_TOKENS
                .map(|(token, is_special)| (token.to_owned(), if is_special { CONTROL } else { DEFINED })),
        );
        while tokens.len() < size {
            tokens.push((format!("[PAD{}]", tokens.len()), UNUSED));
        }
        Self { cut, template: template.to_owned(), tokens, merges, closes: false }
    }

    /// Makes it append `<|endoftext|>` to each text.
    pub fn closing(self) -> Self {
        Self { closes: true, ..self }
    }

    /// The post-processor that adds the end token.
    fn post_processor(&self) -> Json {
        if !self.closes {
            return Json::Null;
        }
        let (end_token, text) = ("<|endoftext|>", json!({"Sequence": {"id": "A", "type_id": 0}}));
        let single = json!([text, {"SpecialToken": {"id": end_token, "type_id": 0}}]);
        let special_tokens =
            json!({end_token: {"id": end_token, "ids": [self.id(end_token)], "tokens": [end_token]}});
        json!({"type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": special_tokens})
    }

    pub const fn size(&self) -> usize {
        self.tokens.len()
    }

    pub fn id(&self, text: &str) -> usize {
        self.tokens.iter().position(|(token, _)| token == text).unwrap_or_default()
    }

    pub(crate) fn tokenizer_json(&self) -> Json {
        let is_kind = |kinds: &'static [i32]| {
            self.tokens.iter().enumerate().filter(move |(_, (_, kind))| kinds.contains(kind))
        };
        let vocabulary: Map<String, Json> =
            is_kind(&[NORMAL]).map(|(id, (token, _))| (token.clone(), id.into())).collect();
        let added: Vec<Json> = is_kind(&[CONTROL, DEFINED])
            .map(|(id, (token, kind))| {
                json!({
                    "id": id, "content": token, "special": *kind == CONTROL, "normalized": false, "single_word": false,
                    "lstrip": false, "rstrip": false,
                })
            })
            .collect();
        let words = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+";
        let rest = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
        let digits = if self.cut == "qwen2" { r"|\p{N}" } else { r"|\p{N}{1,3}" };
        let bytes = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
        let pattern = json!({"Regex": format!("{words}{digits}{rest}")});
        let split = json!({"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": false});
        let pieces = match self.cut {
            "default" => bytes(true),
            _ => json!({"type": "Sequence", "pretokenizers": [split, bytes(false)]}),
        };
        json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
            "normalizer": if self.cut == "qwen2" { json!({"type": "NFC"}) } else { Json::Null },
            "pre_tokenizer": pieces, "post_processor": self.post_processor(), "decoder": bytes(true),
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
                "ignore_merges": self.cut == "llama-bpe", "vocab": vocabulary, "merges": self.merges,
            },
        })
    }

    /// `tokenizer.json`, `tokenizer_config.json` and `generation_config.json`.
    pub fn files(&self) -> [(&'static str, Json); 3] {
        let (end, pad) = (self.id("<|im_end|>"), self.id("<|endoftext|>"));
        [
            ("tokenizer.json", self.tokenizer_json()),
            (
                "tokenizer_config.json",
                json!({"eos_token": {"__type": "AddedToken", "content": "<|im_end|>"}, "bos_token": "<|endoftext|>", "chat_template": self.template}),
            ),
            (
                "generation_config.json",
                json!({"eos_token_id": [end, pad], "temperature": 0.6, "top_k": 20, "top_p": 0.95, "do_sample": true}),
            ),
        ]
    }

    #[cfg(test)]
    pub(crate) fn words(&self) -> Words {
        Words {
            model: "gpt2".to_owned(),
            cut: self.cut.to_owned(),
            tokens: self.tokens.iter().map(|(token, _)| token.clone()).collect(),
            kinds: self.tokens.iter().map(|(_, kind)| f64::from(*kind)).collect(),
            merges: self.merges.iter().map(|(left, right)| format!("{left} {right}")).collect(),
        }
    }
}
