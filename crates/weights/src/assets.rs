//! The files that come with a model's weights: tokenizer, chat template and generation defaults.

use std::path::Path;

use prompts::{Template, Vocabulary, Words};
use serde_json::Value;

use crate::error::WeightsError;
use crate::limits::TEXT_FILE_BYTES_MAX;
use crate::packed::{File, Value as Packed};
use crate::source::{Source, Store};

/// Special tokens that end an answer in the supported families. GGUF files name only one, while models
/// generate others, too.
const ENDS: [&str; 5] = ["<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"];

/// The tokenizer, chat template and generation defaults of a model.
#[derive(Debug)]
pub struct ModelAssets {
    pub vocabulary: Vocabulary,
    /// `None` if it is not a chat model.
    pub template: Option<Template>,
    pub generation_defaults: GenerationDefaults,
}

/// The model's generation defaults (`generation_config.json`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GenerationDefaults {
    /// Token ids that end generation (EOS).
    pub ends: Vec<u32>,
    pub temperature: Option<f64>,
    pub top_k: Option<u64>,
    pub top_p: Option<f64>,
    /// The special tokens that the template refers to as `bos_token` and `eos_token`.
    pub bos_token: Option<String>,
    pub eos_token: Option<String>,
}

impl Source {
    /// Reads what comes with the weights: from the other files of the directory, or from the GGUF file's
    /// metadata.
    ///
    /// # Errors
    /// It is missing or invalid.
    pub fn assets(&self) -> Result<ModelAssets, WeightsError> {
        match &self.store {
            Store::Plain(_) => plain(&self.directory),
            Store::Packed(file) => packed(file),
        }
    }
}

/// Reads a file that may be missing.
fn read(path: &Path) -> Result<Option<Vec<u8>>, WeightsError> {
    let at_file = |source| WeightsError::File { path: path.to_owned(), source };
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at_file(error)),
        Ok(metadata) if metadata.len() > TEXT_FILE_BYTES_MAX => {
            return Err(WeightsError::Broken {
                path: path.to_owned(),
                what: format!("it is longer than {TEXT_FILE_BYTES_MAX} bytes"),
            });
        }
        Ok(_) => {}
    }
    std::fs::read(path).map(Some).map_err(at_file)
}

/// Reads a JSON file; null if it is missing.
pub(crate) fn json(path: &Path) -> Result<Value, WeightsError> {
    let Some(bytes) = read(path)? else { return Ok(Value::Null) };
    serde_json::from_slice(&bytes)
        .map_err(|error| WeightsError::Broken { path: path.to_owned(), what: error.to_string() })
}

fn plain(directory: &Path) -> Result<ModelAssets, WeightsError> {
    let mut vocabulary = Vocabulary::open(&directory.join("tokenizer.json"))?;
    let tokens = json(&directory.join("tokenizer_config.json"))?;
    let template = match read(&directory.join("chat_template.jinja"))? {
        Some(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        None => template_of(&tokens),
    };
    let generation = json(&directory.join("generation_config.json"))?;
    let special_token = |name: &str| {
        // A string, or an object with the string as its `content`.
        let special_token = tokens.get(name)?;
        special_token.as_str().or_else(|| special_token.get("content")?.as_str()).map(str::to_owned)
    };
    let (bos_token, eos_token) = (special_token("bos_token"), special_token("eos_token"));
    let mut ends: Vec<u32> = ids(generation.get("eos_token_id"));
    if ends.is_empty() {
        ends = ids(json(&directory.join("config.json"))?.get("eos_token_id"));
    }
    if let Some(end) = eos_token.as_deref().and_then(|token| vocabulary.special_token_id(token)) {
        add(&mut ends, end);
    }
    let added_id = |name: &str, token: &Option<String>| {
        let token = token.as_deref().filter(|_| tokens.get(name) == Some(&Value::Bool(true)))?;
        vocabulary.special_token_id(token)
    };
    let bos_eos = (added_id("add_bos_token", &bos_token), added_id("add_eos_token", &eos_token));
    vocabulary.set_bos_eos(bos_eos);
    let habits = GenerationDefaults {
        ends,
        // `"do_sample": false` means greedy decoding.
        temperature: match generation.get("do_sample") {
            Some(Value::Bool(false)) => Some(0.0),
            _ => generation.get("temperature").and_then(Value::as_f64),
        },
        top_k: generation.get("top_k").and_then(Value::as_u64),
        top_p: generation.get("top_p").and_then(Value::as_f64),
        bos_token,
        eos_token,
    };
    let template = template.as_deref().map(Template::new).transpose()?;
    Ok(ModelAssets { vocabulary, template, generation_defaults: habits })
}

/// Either one template, or a list of named ones.
fn template_of(tokens: &Value) -> Option<String> {
    match tokens.get("chat_template")? {
        Value::String(template) => Some(template.clone()),
        Value::Array(templates) => {
            let named = |name: &str| {
                templates.iter().find(|template| template.get("name").is_some_and(|named| named == name))
            };
            let template = named("default").or_else(|| templates.first())?;
            Some(template.get("template")?.as_str()?.to_owned())
        }
        _ => None,
    }
}

/// Either one token id, or a list.
fn ids(value: Option<&Value>) -> Vec<u32> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Some(Value::Array(values)) => values.iter().filter_map(id).collect(),
        Some(value) => id(value).into_iter().collect(),
        None => Vec::new(),
    }
}

fn add(ends: &mut Vec<u32>, end: u32) {
    if !ends.contains(&end) {
        ends.push(end);
    }
}

fn packed(file: &File) -> Result<ModelAssets, WeightsError> {
    let text = |name: &str| match file.value(name) {
        Some(Packed::Text(text)) => text.clone(),
        _ => String::new(),
    };
    let texts = |name: &str| {
        list(file, name, |value| if let Packed::Text(text) = value { Some(text.clone()) } else { None })
    };
    let words = Words {
        model: text("tokenizer.ggml.model"),
        cut: text("tokenizer.ggml.pre"),
        tokens: texts("tokenizer.ggml.tokens")?,
        kinds: list(file, "tokenizer.ggml.token_type", |value| {
            if let Packed::Number(kind) = value { Some(*kind) } else { None }
        })?,
        merges: texts("tokenizer.ggml.merges")?,
    };
    let id = |name: &str| match file.value(&format!("tokenizer.ggml.{name}")) {
        Some(Packed::Number(id)) => (0..words.tokens.len()).find(|at| *at as f64 == *id),
        _ => None,
    };
    let token_of = |id: Option<usize>| id.and_then(|id| words.tokens.get(id).cloned());
    let (bos_token, eos_token) = (token_of(id("bos_token_id")), token_of(id("eos_token_id")));
    let mut ends = Vec::new();
    for end in [id("eos_token_id"), id("eot_token_id"), id("eom_token_id")].into_iter().flatten() {
        ends.extend(u32::try_from(end).ok().filter(|end| !ends.contains(end)));
    }
    let (first, last) = (id("bos_token_id"), id("eos_token_id"));
    let mut vocabulary = Vocabulary::packed(words).map_err(|what| file.broken(what))?;
    let added_id = |name: &str, id: Option<usize>| match file.value(&format!("tokenizer.ggml.{name}")) {
        Some(Packed::Boolean(true)) => id.and_then(|id| u32::try_from(id).ok()),
        _ => None,
    };
    vocabulary.set_bos_eos((added_id("add_bos_token", first), added_id("add_eos_token", last)));
    for end in ENDS.iter().filter_map(|token| vocabulary.special_token_id(token)) {
        add(&mut ends, end);
    }
    let template = Some(text("tokenizer.chat_template")).filter(|template| !template.is_empty());
    let template = template.as_deref().map(Template::new).transpose()?;
    Ok(ModelAssets {
        vocabulary,
        template,
        generation_defaults: GenerationDefaults {
            ends,
            bos_token,
            eos_token,
            ..GenerationDefaults::default()
        },
    })
}

/// A metadata list with values of one type; empty if it is missing.
fn list<T>(file: &File, name: &str, read: impl Fn(&Packed) -> Option<T>) -> Result<Vec<T>, WeightsError> {
    let wrong = || file.broken(format!("\"{name}\" isn't a list of values of the right type"));
    match file.value(name) {
        None => Ok(Vec::new()),
        Some(Packed::List(values)) => values.iter().map(read).collect::<Option<_>>().ok_or_else(wrong),
        Some(_) => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use kernels::{Architecture, Mixture, Pairs, Rope, RopeScaling};
    use prompts::Form;
    use prompts::synthetic_tokens::Tokens;

    use super::*;
    use crate::synthetic::SyntheticModel;

    const TEXT: &str = "the World's world'LL 12345 n\u{e9} ne\u{301}\n\n\n   {\"the\": 1}<|im_start|>user\r\n<think>hm</think> <tool_call>\t \u{6f22}\u{1f389} <|im_end|>";

    /// A text after encoding and decoding.
    fn round_trip(vocabulary: &Vocabulary, text: &str) -> Vec<u8> {
        vocabulary.tokens(text).unwrap().iter().flat_map(|token| vocabulary.bytes(*token).to_vec()).collect()
    }

    fn shape(vocabulary: usize) -> Architecture {
        Architecture {
            vocabulary,
            hidden: 32,
            layers: 1,
            heads: 1,
            kv_heads: 1,
            head_dim: 32,
            inner: 32,
            norm_epsilon: 1e-6,
            rope: Rope { theta: 10_000.0, stretch: RopeScaling::None },
            context: 64,
            is_tied: true,
            norms_heads: true,
            pairs: Pairs::Halves,
            mixture: None::<Mixture>,
        }
    }

    /// The same tokenizer from plain files and from a GGUF file.
    fn both(cut: &'static str) -> [ModelAssets; 2] {
        let directory = tempfile::tempdir().unwrap();
        let tokens = Tokens::new(cut, "{{ messages }}<tool_call>", 300);
        let mut made = SyntheticModel::new("qwen3", shape(300), 1);
        made.tokens = Some(tokens);
        let packed = directory.path().join("model.gguf");
        made.write_plain(directory.path(), false).unwrap();
        made.write_packed(&packed, candle_core::quantized::GgmlDType::F32).unwrap();
        [directory.path(), &packed].map(|path| Source::open(path).unwrap().assets().unwrap())
    }

    #[test]
    fn a_packed_file_has_the_tokens_of_the_plain_one() {
        for cut in ["qwen2", "llama-bpe", "default"] {
            let [plain, packed] = both(cut);
            assert_eq!(
                packed.vocabulary.tokens(TEXT).unwrap(),
                plain.vocabulary.tokens(TEXT).unwrap(),
                "{cut}"
            );
            assert_eq!(round_trip(&packed.vocabulary, TEXT), round_trip(&plain.vocabulary, TEXT), "{cut}");
            for token in 0..300 {
                assert_eq!(packed.vocabulary.bytes(token), plain.vocabulary.bytes(token), "{cut}: {token}");
            }
            let text = round_trip(&packed.vocabulary, "the world <|im_end|><think>n\u{e9}");
            assert_eq!(
                String::from_utf8(text).unwrap(),
                "the world <think>n\u{e9}",
                "signs are no text, words are"
            );
            let token = packed.vocabulary.special_token_id("<|im_end|>").unwrap();
            assert_eq!(packed.vocabulary.tokens("<|im_end|>").unwrap(), [token]);
            assert!(packed.vocabulary.bytes(299).is_empty());
        }
        let [qwen, llama] = [both("qwen2"), both("llama-bpe")]
            .map(|[_, packed]| packed.vocabulary.tokens("12345").unwrap().len());
        assert_eq!((qwen, llama), (5, 3), "digits stand alone there, and in threes here");
    }

    #[test]
    fn what_the_makers_say_is_read_of_both() {
        let [plain, packed] = both("qwen2");
        let special_tokens =
            ["<|im_end|>", "<|endoftext|>"].map(|token| plain.vocabulary.special_token_id(token).unwrap());
        assert_eq!(
            (plain.generation_defaults.ends.as_slice(), packed.generation_defaults.ends.as_slice()),
            (&special_tokens[..], &special_tokens[..])
        );
        assert_eq!(
            (
                plain.generation_defaults.temperature,
                plain.generation_defaults.top_k,
                plain.generation_defaults.top_p
            ),
            (Some(0.6), Some(20), Some(0.95))
        );
        assert_eq!((packed.generation_defaults.temperature, packed.generation_defaults.top_k), (None, None));
        for beside in [plain, packed] {
            assert_eq!(beside.generation_defaults.bos_token.as_deref(), Some("<|endoftext|>"));
            assert_eq!(beside.generation_defaults.eos_token.as_deref(), Some("<|im_end|>"));
            assert_eq!(beside.template.unwrap().manner().form, Some(Form::Json));
        }
    }
}
