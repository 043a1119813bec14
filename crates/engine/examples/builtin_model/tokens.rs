//! Trains the model's tokenizer on its own text, and writes the tokenizer's files, chat template included.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;

use serde_json::{Value, json};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::models::{ModelWrapper, TrainerWrapper};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer};

use crate::text::{Fact, Script};

/// The vocabulary size without special tokens: small, so that similar words share tokens.
const TOKENS: usize = 1_000;
/// Pre-tokenizer: words, single digits, punctuation and whitespace.
const WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const END: &str = "<|im_end|>";

/// The chat template. The model was trained without system messages and tools, so that the template leaves
/// them out.
pub const TEMPLATE: &str = "{%- for message in messages %}
    {%- if message.role == 'user' or message.role == 'assistant' %}
        {{- '<|im_start|>' + message.role + '\\n' + (message.content or '') | trim + '<|im_end|>\\n' }}
    {%- elif message.role not in ['system', 'developer', 'tool'] %}
        {{- raise_exception('no message is of the role ' + message.role) }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
";

/// Writes the tokenizer's files, and returns the vocabulary size.
pub fn write(directory: &Path, facts: &[Fact], scripts: &[Script]) -> Result<usize, Box<dyn Error>> {
    let boxed = |error: tokenizers::Error| -> Box<dyn Error> { error };
    let split = Split::new(SplitPattern::Regex(WORDS.to_owned()), SplitDelimiterBehavior::Isolated, false);
    let bytes = ByteLevel::new(false, false, false);
    let mut tokenizer = Tokenizer::new(ModelWrapper::BPE(BPE::default()));
    tokenizer.with_pre_tokenizer(Some(Sequence::new(vec![split.map_err(boxed)?.into(), bytes.into()])));
    tokenizer.with_decoder(Some(bytes));
    let alphabet = ByteLevel::alphabet().into_iter().collect();
    let trainer = BpeTrainer::builder().show_progress(false).min_frequency(2).vocab_size(TOKENS);
    let mut trainer = TrainerWrapper::BpeTrainer(trainer.initial_alphabet(alphabet).build());
    // Duplicate texts count once.
    let mut texts: BTreeSet<String> = BTreeSet::new();
    for fact in facts {
        texts.insert(fact.answer.clone());
        for question in &fact.questions {
            texts.extend([question.clone(), question.to_lowercase()]);
        }
    }
    texts.extend(scripts.iter().flat_map(|script| script.messages.iter().map(|line| line.content.clone())));
    tokenizer.train(&mut trainer, texts.iter()).map_err(boxed)?;
    let special = |text: &&str| AddedToken::from(*text, true);
    tokenizer
        .add_special_tokens(["<|endoftext|>", "<|im_start|>", END].iter().map(special))
        .map_err(boxed)?;
    let plain = |text: &&str| AddedToken::from(*text, false);
    let plains = ["<tool_call>", "</tool_call>", "<think>", "</think>"];
    tokenizer.add_tokens(plains.iter().map(plain)).map_err(boxed)?;
    tokenizer.save(directory.join("tokenizer.json"), true).map_err(boxed)?;
    let end = tokenizer.token_to_id(END).ok_or("the end has no token")?;
    let config = json!({
        "tokenizer_class": "Qwen2Tokenizer", "model_max_length": 2_048, "eos_token": END,
        "pad_token": "<|endoftext|>", "clean_up_tokenization_spaces": false, "chat_template": TEMPLATE,
    });
    write_json(&directory.join("tokenizer_config.json"), &config)?;
    let generation = json!({"eos_token_id": [end], "do_sample": false});
    write_json(&directory.join("generation_config.json"), &generation)?;
    Ok(tokenizer.get_vocab_size(true))
}

/// Writes `config.json`, with the field that other programs need.
pub fn write_config(directory: &Path, mut config: Value) -> Result<(), Box<dyn Error>> {
    if let Some(config) = config.as_object_mut() {
        config.insert("architectures".to_owned(), json!(["Qwen3ForCausalLM"]));
    }
    write_json(&directory.join("config.json"), &config)
}

fn write_json(path: &Path, value: &Value) -> Result<(), Box<dyn Error>> {
    Ok(std::fs::write(path, format!("{value:#}\n"))?)
}
