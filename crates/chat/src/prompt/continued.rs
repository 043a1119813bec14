//! Reads requests of OpenAI's legacy Completions API, which continue a text without a conversation.

use domain::runtime::RawPrompt;
use domain::{Fault, FaultClass, Prompt};
use json::fields::{open_object, optional_boolean, optional_count};
use json::refusal::{missing, wrong_type, wrong_value};
use json::{Cursor, Kind, Value};

use super::Draft;
use super::value::{Read, is_array, skip};

/// The vendor's default where the client sends none.
const TOKENS_DEFAULT: u64 = 16;

/// The settings, as for chat, and the text or tokens to continue.
pub fn read_continued(body: &[u8]) -> Result<(Prompt, RawPrompt), Box<Fault>> {
    let mut cursor = open_object(body)?;
    let mut draft = Draft::default();
    let mut continues = None;
    cursor.object(|cursor, member| match &*member.key.decode() {
        "prompt" => {
            continues = Some(read_text(cursor)?);
            Ok(())
        }
        "logprobs" => {
            let others = optional_count(cursor, "logprobs")?;
            draft.prompt.sampling.logprobs = others.is_some();
            draft.prompt.sampling.top_logprobs = others;
            Ok(())
        }
        // The best of one is that one.
        "best_of" => match optional_count(cursor, "best_of")? {
            None | Some(1) => Ok(()),
            Some(_) => Err(unsupported("best_of")),
        },
        "echo" => match optional_boolean(cursor, "echo")? {
            Some(true) => Err(unsupported("echo")),
            _ => Ok(()),
        },
        "suffix" if cursor.kind()? != Kind::Null => Err(unsupported("suffix")),
        name => draft.read(cursor, name),
    })?;
    cursor.end()?;
    let mut prompt = draft.settle();
    prompt.output.tokens_max = prompt.output.tokens_max.or(Some(TOKENS_DEFAULT));
    let continues = continues.ok_or_else(|| missing("prompt".to_owned(), "Send a string."))?;
    Ok((prompt, continues))
}

fn unsupported(name: &'static str) -> Box<Fault> {
    let message = format!("\"{name}\" isn't supported by this runtime.");
    let fault = Fault::new(FaultClass::Unsupported, "unsupported_parameter", message);
    Box::new(fault.param(name).fix("Leave it out."))
}

fn read_text(cursor: &mut Cursor<'_>) -> Read<RawPrompt> {
    if cursor.kind()? == Kind::Array {
        return read_array(cursor);
    }
    let kind = cursor.kind()?;
    match cursor.value()? {
        Value::String(text) => Ok(RawPrompt::Text(text.decode().into_owned())),
        _ => Err(wrong_type("prompt".to_owned(), "a string or an array of tokens", kind)),
    }
}

/// An array with one text, or with token ids.
fn read_array(cursor: &mut Cursor<'_>) -> Read<RawPrompt> {
    let (mut tokens, mut text, mut count) = (Vec::new(), None, 0);
    is_array(cursor, "prompt")?;
    cursor.array(|cursor, index| {
        count += 1;
        let kind = cursor.kind()?;
        if kind == Kind::Array {
            return skip(cursor);
        }
        let value = cursor.value()?;
        match (&value, value.as_count().and_then(|count| u32::try_from(count).ok())) {
            (_, Some(token)) => tokens.push(token),
            (Value::String(string), _) => text = Some(string.decode().into_owned()),
            _ => return Err(wrong_type(format!("prompt[{index}]"), "a string or a token", kind)),
        }
        Read::Ok(())
    })?;
    match text {
        Some(text) if count == 1 => Ok(RawPrompt::Text(text)),
        None if count == tokens.len() && count > 0 => Ok(RawPrompt::Tokens(tokens)),
        _ => {
            let fix = "Send one string, or the tokens of one text, and any others in separate requests.";
            Err(wrong_value("prompt".to_owned(), "must hold exactly one text", fix.to_owned()))
        }
    }
}
