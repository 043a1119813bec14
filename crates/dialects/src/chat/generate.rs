//! Reads a request for a runtime of our own: the messages reduced to text.

use bytes::Bytes;
use domain::runtime::{GenerateRequest, RuntimeMessage};
use domain::{Fault, FaultClass};

use super::decode_request;
use crate::fields::optional_count;
use crate::json::{Cursor, Kind, Value};
use crate::refusal::wrong_type;

/// The model, the messages as text, and the few settings that a runtime obeys.
///
/// # Errors
/// As `decode_request`; besides, content that is not text, and more than one choice.
pub fn decode_messages(body: &Bytes) -> Result<GenerateRequest, Box<Fault>> {
    let request = decode_request(body)?;
    if request.choices > 1 {
        let message = "This runtime makes one choice a request.";
        let fault = Fault::new(FaultClass::Unsupported, "unsupported_parameter", message);
        return Err(Box::new(fault.fix("Leave \"n\" out, or send 1.").param("n")));
    }
    let mut generate = GenerateRequest {
        model: request.model,
        max_tokens: request.max_output_tokens,
        ..GenerateRequest::default()
    };
    Cursor::new(body)?.object(|cursor, member| match &*member.key.decode() {
        "messages" => read_messages(cursor, &mut generate.messages),
        "stop" => read_stop(cursor, &mut generate.stop),
        "seed" => {
            generate.seed = optional_count(cursor, "seed")?;
            Ok(())
        }
        _ => skip(cursor),
    })?;
    Ok(generate)
}

fn read_messages(cursor: &mut Cursor<'_>, messages: &mut Vec<RuntimeMessage>) -> Result<(), Box<Fault>> {
    cursor.array(|cursor, index| {
        let mut message = RuntimeMessage { role: String::new(), text: String::new() };
        cursor.object(|cursor, member| match &*member.key.decode() {
            "role" => {
                if let Value::String(role) = cursor.value()? {
                    message.role = role.decode().into_owned();
                }
                Ok(())
            }
            "content" => read_content(cursor, index, &mut message.text),
            _ => skip(cursor),
        })?;
        messages.push(message);
        Ok::<(), Box<Fault>>(())
    })?;
    Ok(())
}

fn read_content(cursor: &mut Cursor<'_>, index: usize, text: &mut String) -> Result<(), Box<Fault>> {
    if cursor.kind()? != Kind::Array {
        if let Value::String(content) = cursor.value()? {
            text.push_str(&content.decode());
        }
        return Ok(());
    }
    cursor.array(|cursor, part| {
        let mut said = None;
        cursor.object(|cursor, member| {
            let value = cursor.value()?;
            if let Value::String(content) = value
                && (member.key.is("text") || member.key.is("refusal"))
            {
                said = Some(content.decode().into_owned());
            }
            Ok::<(), Box<Fault>>(())
        })?;
        let Some(said) = said else {
            let param = format!("messages[{index}].content[{part}]");
            let message = format!("\"{param}\" is not text, and this runtime reads text alone.");
            let fault = Fault::new(FaultClass::Unsupported, "unsupported_content", message);
            return Err(Box::new(fault.fix("Send text parts only.").param(param)));
        };
        text.push_str(&said);
        Ok::<(), Box<Fault>>(())
    })?;
    Ok(())
}

fn read_stop(cursor: &mut Cursor<'_>, stop: &mut Vec<String>) -> Result<(), Box<Fault>> {
    let expected = "a string or an array of strings";
    let kind = cursor.kind()?;
    if kind == Kind::Array {
        cursor.array(|cursor, index| {
            let kind = cursor.kind()?;
            let Value::String(text) = cursor.value()? else {
                return Err(wrong_type(format!("stop[{index}]"), "a string", kind));
            };
            stop.push(text.decode().into_owned());
            Ok::<(), Box<Fault>>(())
        })?;
        return Ok(());
    }
    match cursor.value()? {
        Value::Null => Ok(()),
        Value::String(text) => {
            stop.push(text.decode().into_owned());
            Ok(())
        }
        _ => Err(wrong_type("stop".to_owned(), expected, kind)),
    }
}

fn skip(cursor: &mut Cursor<'_>) -> Result<(), Box<Fault>> {
    cursor.skip()?;
    Ok(())
}
