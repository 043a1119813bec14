//! Converts log probabilities to the form of Chat Completions.

use conversation::answer::StreamFault;
use domain::Json;
use json::{Cursor, JsonError, Kind};
use serde::Serialize;
use serde_json::value::RawValue;

use super::part::optional_text;
use crate::names::{camel, each, raw};

#[derive(Serialize)]
struct Token {
    #[serde(flatten)]
    chosen: Likely,
    top_logprobs: Vec<Likely>,
}

#[derive(Serialize)]
struct Likely {
    token: String,
    logprob: Box<RawValue>,
    bytes: Vec<u8>,
}

/// Returns `None` if no token has any.
pub(super) fn read(json: &[u8]) -> Result<Option<Json>, StreamFault> {
    let mut chosen = Vec::new();
    let mut tops: Vec<Vec<Likely>> = Vec::new();
    Cursor::new(json)?.object(|cursor, member| {
        match &*camel(&member.key.decode()) {
            "chosenCandidates" => each(cursor, |cursor, _| {
                chosen.push(read_likely(cursor)?);
                Ok::<(), JsonError>(())
            })?,
            "topCandidates" => each(cursor, |cursor, _| {
                tops.push(read_tops(cursor)?);
                Ok::<(), JsonError>(())
            })?,
            _ => drop(cursor.skip()?),
        }
        Ok::<(), StreamFault>(())
    })?;
    let mut tops = tops.into_iter();
    let tokens: Vec<Token> = chosen
        .into_iter()
        .filter_map(|chosen| {
            let top_logprobs = tops.next().unwrap_or_default();
            Some(Token { chosen: chosen?, top_logprobs })
        })
        .collect();
    Ok(serde_json::to_string(&tokens).ok().filter(|_| !tokens.is_empty()).map(Json))
}

fn read_tops(cursor: &mut Cursor<'_>) -> Result<Vec<Likely>, JsonError> {
    let mut tops = Vec::new();
    if cursor.kind()? != Kind::Object {
        cursor.skip()?;
        return Ok(tops);
    }
    cursor.object(|cursor, member| {
        if !member.key.is("candidates") {
            return cursor.ignore();
        }
        each(cursor, |cursor, _| {
            tops.extend(read_likely(cursor)?);
            Ok(())
        })
    })?;
    Ok(tops)
}

fn read_likely(cursor: &mut Cursor<'_>) -> Result<Option<Likely>, JsonError> {
    let (mut token, mut logprob) = (None, None);
    if cursor.kind()? != Kind::Object {
        cursor.skip()?;
        return Ok(None);
    }
    cursor.object(|cursor, member| {
        match (&*camel(&member.key.decode()), cursor.kind()?) {
            ("token", _) => token = optional_text(cursor)?,
            ("logProbability", Kind::Number) => {
                logprob = raw(cursor)?.and_then(|json| RawValue::from_string(json.0).ok());
            }
            _ => drop(cursor.skip()?),
        }
        Ok::<(), JsonError>(())
    })?;
    let Some(token) = token else { return Ok(None) };
    // A default of zero may be omitted, and means certainty.
    let logprob = logprob.or_else(|| RawValue::from_string("0".to_owned()).ok());
    Ok(logprob.map(|logprob| Likely { bytes: token.clone().into_bytes(), token, logprob }))
}
