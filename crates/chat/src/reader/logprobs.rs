//! Log probabilities, converted to OpenAI's shape from whatever shape a server sends.

use domain::prompt::Json;
use json::{Cursor, JsonError, Kind, Span, Value};
use serde::Serialize;

use super::delta::{ChunkChoice, Delta};

/// A token from a server that sends tokens and logprobs in separate arrays.
#[derive(Serialize)]
struct Token<'a> {
    token: &'a str,
    logprob: f64,
    bytes: &'a [u8],
    top_logprobs: [(); 0],
}

/// The logprobs of one choice in a chunk: one array for its text, and one for its refusal.
pub(super) fn read(choice: &ChunkChoice<'_>, delta: &Delta<'_>, json: &[u8]) -> Result<Vec<Json>, JsonError> {
    match &choice.logprobs {
        Some(Value::Object(span)) => read_object(span.of(json)),
        // A single number belongs to the chunk's only token.
        Some(Value::Number(number)) => {
            let text = delta.text().map(|text| text.decode());
            let pair = text.as_deref().zip(number.parse().ok());
            Ok(pair.and_then(|pair| tokens([pair])).into_iter().collect())
        }
        _ => Ok(Vec::new()),
    }
}

fn read_object(object: &[u8]) -> Result<Vec<Json>, JsonError> {
    let (mut names, mut numbers, mut content, mut refusal) = (None, None, None, None);
    Cursor::new(object)?.object(|cursor, member| {
        if cursor.kind()? != Kind::Array {
            return cursor.ignore();
        }
        let slot = match &*member.key.decode() {
            "content" => &mut content,
            "refusal" => &mut refusal,
            "tokens" => &mut names,
            "token_logprobs" => &mut numbers,
            _ => return cursor.ignore(),
        };
        *slot = Some(cursor.skip()?).filter(|span| span.of(object).trim_ascii() != b"[]");
        Ok::<(), JsonError>(())
    })?;
    let text = |span: Span| Json(String::from_utf8_lossy(span.of(object)).into_owned());
    let mut arrays: Vec<Json> = [content, refusal].into_iter().flatten().map(text).collect();
    if let (Some(names), Some(numbers)) = (names, numbers) {
        arrays.extend(join(object, names, numbers)?);
    }
    Ok(arrays)
}

fn join(object: &[u8], names: Span, numbers: Span) -> Result<Option<Json>, JsonError> {
    let mut logprobs = Vec::new();
    Cursor::new(numbers.of(object))?.array(|cursor, _| {
        logprobs.push(match cursor.value()? {
            Value::Number(number) => number.parse::<f64>().ok(),
            _ => None,
        });
        Ok::<(), JsonError>(())
    })?;
    let mut texts = Vec::new();
    Cursor::new(names.of(object))?.array(|cursor, _| {
        texts.push(match cursor.value()? {
            Value::String(text) => Some(text.decode()),
            _ => None,
        });
        Ok::<(), JsonError>(())
    })?;
    let pairs = texts.iter().zip(logprobs);
    Ok(tokens(pairs.filter_map(|(text, logprob)| Some((text.as_deref()?, logprob?)))))
}

fn tokens<'a>(pairs: impl IntoIterator<Item = (&'a str, f64)>) -> Option<Json> {
    let list: Vec<Token<'_>> = pairs
        .into_iter()
        .map(|(token, logprob)| Token { token, logprob, bytes: token.as_bytes(), top_logprobs: [] })
        .collect();
    let json = serde_json::to_string(&list).ok()?;
    (!list.is_empty()).then_some(Json(json))
}
