//! `POST /v1/embeddings`: checks the input and returns vectors that depend only on the input.

use std::hash::{DefaultHasher, Hash, Hasher};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::checks;
use super::error::ApiError;
use super::flavour::{Flavour, Served};
use super::request::{named_model, script, text};
use super::tokens;
use crate::emulator::Kind;
use crate::mistral;

const DIMENSIONS: usize = 1536;
const INPUTS_MAX: usize = 2048;

/// An embeddings request that passed every check.
#[derive(Debug, Clone)]
pub(crate) struct EmbeddingsRequest {
    pub(crate) model: String,
    pub(crate) script: Option<String>,
    pub(crate) prompt_tokens: u64,
    /// The input of each vector: the text, or the token ids as text.
    inputs: Vec<String>,
    dimensions: usize,
    base64: bool,
}

pub(crate) fn read(fields: &Map<String, Value>, served: Served<'_>) -> Result<EmbeddingsRequest, ApiError> {
    let model = named_model(fields, served)?;
    if model.kind != Kind::Embedding {
        return Err(ApiError::new(
            403,
            "invalid_request_error",
            "You are not allowed to generate embeddings from this model",
        ));
    }
    let input = fields.get("input").ok_or_else(|| ApiError::missing("input"))?;
    let table = if served.flavour == Flavour::Mistral { mistral::EMBEDDINGS } else { checks::EMBEDDINGS };
    checks::fields(fields, &[table], served.also, |name| served.flavour.unknown_field(name))?;
    let (inputs, prompt_tokens) = inputs(input)?;
    let dimensions = fields.get("dimensions").or_else(|| fields.get("output_dimension"));
    let dimensions = dimensions.and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
    Ok(EmbeddingsRequest {
        model: model.id.clone(),
        script: script(fields),
        prompt_tokens,
        inputs,
        dimensions: dimensions.unwrap_or(DIMENSIONS),
        base64: text(fields, "encoding_format").as_deref() == Some("base64"),
    })
}

pub(crate) fn answer(request: &EmbeddingsRequest) -> Value {
    let rows: Vec<Value> = request
        .inputs
        .iter()
        .enumerate()
        .map(|(index, input)| {
            let vector = vector(input, request.dimensions);
            let embedding = if request.base64 {
                let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
                Value::from(STANDARD.encode(bytes))
            } else {
                Value::from(vector)
            };
            json!({"object": "embedding", "index": index, "embedding": embedding})
        })
        .collect();
    json!({
        "object": "list", "data": rows, "model": request.model,
        "usage": {"prompt_tokens": request.prompt_tokens, "total_tokens": request.prompt_tokens},
    })
}

fn inputs(input: &Value) -> Result<(Vec<String>, u64), ApiError> {
    let invalid = || ApiError::bad("'$.input' is invalid. Please check the API reference.").param("input");
    let many = match input {
        Value::Array(list) if list.iter().all(Value::is_u64) => vec![input],
        Value::Array(list) => list.iter().collect(),
        other => vec![other],
    };
    if many.is_empty() || many.len() > INPUTS_MAX {
        return Err(invalid());
    }
    let mut total = 0;
    let mut texts = Vec::with_capacity(many.len());
    for one in many {
        let (text, tokens) = match one {
            Value::String(text) if !text.is_empty() => (text.clone(), tokens::count(text)),
            Value::Array(ids) if !ids.is_empty() && ids.iter().all(Value::is_u64) => {
                (one.to_string(), ids.len() as u64)
            }
            _ => return Err(invalid()),
        };
        total += tokens;
        texts.push(text);
    }
    Ok((texts, total))
}

/// A unit vector of the text's words, whatever their order, case and punctuation: texts are the more alike the more words
/// they have in common, as those of a real model, and nothing else makes them alike.
pub(crate) fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    let mut numbers = vec![0.0; dimensions];
    let words = text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
    let words: Vec<String> = words.map(str::to_lowercase).collect();
    let texts = if words.is_empty() { vec![text.to_owned()] } else { words };
    for word in &texts {
        for (number, of_word) in numbers.iter_mut().zip(noise(word)) {
            *number += of_word;
        }
    }
    let length = numbers.iter().map(|number| number * number).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    numbers.iter_mut().for_each(|number| *number /= length);
    numbers
}

/// Numbers without end that depend on a word's hash alone.
fn noise(word: &str) -> impl Iterator<Item = f32> {
    let mut hasher = DefaultHasher::new();
    word.hash(&mut hasher);
    let mut state = hasher.finish() | 1;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        f32::from(u16::try_from(state >> 48).unwrap_or_default()) / 32_768.0 - 1.0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_the_same_words_have_one_vector_and_others_are_less_alike() {
        let [one, same, near, far] = [
            "Tell me the capital of France, please!",
            "please tell me THE capital of france",
            "please tell me the capital of Spain",
            "how do whales sleep",
        ]
        .map(|text| vector(text, DIMENSIONS));
        let cosine = |other: &[f32]| one.iter().zip(other).map(|(left, right)| left * right).sum::<f32>();
        assert!(cosine(&same) > 0.999 && (0.8..0.9).contains(&cosine(&near)) && cosine(&far) < 0.2);
    }
}
