//! Reads a whole Gemini request into the canonical prompt.

mod calls;
mod contents;
mod generation;
mod part;
mod tools;

use conversation::request::Request;
use domain::prompt::{Extra, Instruction, ServiceTier};
use domain::{Fault, Prompt};
use json::fields::{open_object, optional_boolean};
use json::{Cursor, JsonError, Kind};

use self::calls::Calls;
use super::names::{members, text, word};

/// The state of the reading.
#[derive(Debug, Default)]
struct Reading {
    prompt: Prompt,
    calls: Calls,
}

pub fn read_prompt(body: &[u8], request: &Request) -> Result<Prompt, Box<Fault>> {
    // A request to count tokens may nest the prompt in `generateContentRequest`.
    let body = request.spans.prompt.map_or(body, |span| span.of(body));
    let mut cursor = open_object(body)?;
    let mut reading = Reading::default();
    reading.prompt.stream = request.stream;
    members(&mut cursor, "body", |cursor, name, written| reading.member(cursor, name, written))?;
    cursor.end()?;
    Ok(reading.prompt)
}

impl Reading {
    fn member(&mut self, cursor: &mut Cursor<'_>, name: &str, written: &str) -> Result<(), Box<Fault>> {
        match name {
            "contents" => self.contents(cursor, written)?,
            "systemInstruction" => self.instruction(cursor, written)?,
            "tools" => self.tools(cursor, written)?,
            "toolConfig" => self.tool_config(cursor, written)?,
            "generationConfig" => self.generation(cursor, written)?,
            "cachedContent" => self.prompt.caching.content = text(cursor, written)?,
            "serviceTier" => self.service_tier(cursor, written)?,
            "store" => self.prompt.store = optional_boolean(cursor, written)?,
            "labels" => self.labels(cursor, written)?,
            // The path decides which model serves the request.
            "model" => drop(cursor.skip()?),
            "safetySettings" | "modelArmorConfig" => self.extra(cursor, written.to_owned(), false)?,
            _ => self.extra(cursor, written.to_owned(), true)?,
        }
        Ok(())
    }

    fn instruction(&mut self, cursor: &mut Cursor<'_>, path: &str) -> Result<(), Box<Fault>> {
        if cursor.kind()? == Kind::String {
            let instruction = text(cursor, path)?.unwrap_or_default();
            self.instruct(instruction);
            return Ok(());
        }
        members(cursor, path, |cursor, name, written| match name {
            "parts" => super::names::each(cursor, |cursor, index| {
                let path = format!("{path}.{written}[{index}]");
                members(cursor, &path, |cursor, name, written| {
                    let path = format!("{path}.{written}");
                    if name != "text" {
                        return Ok(self.extra(cursor, path, true)?);
                    }
                    let instruction = text(cursor, &path)?.unwrap_or_default();
                    self.instruct(instruction);
                    Ok::<(), Box<Fault>>(())
                })
            }),
            // Some clients set the role to `user` here; it has no effect.
            "role" => Ok(cursor.ignore()?),
            _ => Ok(self.extra(cursor, format!("{path}.{written}"), true)?),
        })
    }

    fn instruct(&mut self, text: String) {
        if !text.is_empty() {
            self.prompt.instructions.push(Instruction { is_developer: false, text, cache: None });
        }
    }

    fn service_tier(&mut self, cursor: &mut Cursor<'_>, path: &str) -> Result<(), Box<Fault>> {
        self.prompt.service_tier = match word(cursor, path)?.as_deref() {
            None | Some("UNSPECIFIED" | "SERVICE_TIER_UNSPECIFIED") => None,
            Some("STANDARD" | "DEFAULT") => Some(ServiceTier::Default),
            Some("FLEX") => Some(ServiceTier::Flex),
            Some("PRIORITY") => Some(ServiceTier::Priority),
            Some(_) => {
                self.note(path.to_owned(), false);
                None
            }
        };
        Ok(())
    }

    fn labels(&mut self, cursor: &mut Cursor<'_>, path: &str) -> Result<(), Box<Fault>> {
        members(cursor, path, |cursor, _, written| {
            if let Some(value) = text(cursor, &format!("{path}.{written}"))? {
                self.prompt.metadata.push((written.to_owned(), value));
            }
            Ok(())
        })
    }

    /// Skips a value that the canonical form cannot represent, and records it unless it is empty.
    fn extra(&mut self, cursor: &mut Cursor<'_>, name: String, is_meaning: bool) -> Result<(), JsonError> {
        if cursor.value()?.is_something(cursor.bytes()) {
            self.note(name, is_meaning);
        }
        Ok(())
    }

    fn note(&mut self, name: String, is_meaning: bool) {
        self.prompt.extras.push(Extra { name, affects_answer: is_meaning });
    }
}
