//! A synthetic tokenizer as the metadata of a GGUF file.

use candle_core::quantized::gguf_file::Value;
use prompts::synthetic_tokens::Tokens;

pub(super) fn metadata(made: &Tokens) -> Vec<(String, Value)> {
    let text = |text: &str| Value::String(text.to_owned());
    let id = |token: &str| Value::U32(u32::try_from(made.id(token)).unwrap_or(u32::MAX));
    let tokens = made.tokens.iter().map(|(token, _)| text(token)).collect();
    let kinds = made.tokens.iter().map(|(_, kind)| Value::I32(*kind)).collect();
    let merges = made.merges.iter().map(|(left, right)| text(&format!("{left} {right}"))).collect();
    let last = if made.closes { "<|endoftext|>" } else { "<|im_end|>" };
    [
        ("model", text("gpt2")),
        ("pre", text(made.cut)),
        ("tokens", Value::Array(tokens)),
        ("token_type", Value::Array(kinds)),
        ("merges", Value::Array(merges)),
        ("bos_token_id", id("<|endoftext|>")),
        ("eos_token_id", id(last)),
        ("add_eos_token", Value::Bool(made.closes)),
    ]
    .into_iter()
    .map(|(name, value)| (format!("tokenizer.ggml.{name}"), value))
    .chain([("tokenizer.chat_template".to_owned(), text(&made.template))])
    .collect()
}
