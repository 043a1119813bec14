//! The request fields that the emulators know, for tests of the gateway's field tables.

use crate::anthropic::request as messages;
use crate::gemini::schema::{self, Message};
use crate::openai::checks;
use crate::openai::responses::fields as responses;
use crate::{bedrock, mistral, together};

/// A field by its path of names, in a wire format and an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownField {
    pub grammar: &'static str,
    pub operation: &'static str,
    pub path: Vec<&'static str>,
}

/// Every field in every table of every emulator.
#[must_use]
pub fn known_fields() -> Vec<KnownField> {
    let mut known = Vec::new();
    let mut add = |grammar, operation, paths: Vec<Vec<&'static str>>| {
        known.extend(paths.into_iter().map(|path| KnownField { grammar, operation, path }));
    };
    let flat = |names: &mut dyn Iterator<Item = &'static str>| names.map(|name| vec![name]).collect();
    let chat = [checks::CHAT, checks::CHAT_XAI, checks::CHAT_FIREWORKS, mistral::CHAT, together::CHAT];
    for table in chat {
        add("chat", "chat", flat(&mut table.iter().map(|(name, _)| *name)));
    }
    for table in [checks::EMBEDDINGS, mistral::EMBEDDINGS] {
        add("chat", "embed", flat(&mut table.iter().map(|(name, _)| *name)));
    }
    add("responses", "chat", flat(&mut responses::FIELDS.iter().map(|(name, _)| *name)));
    add("anthropic", "chat", flat(&mut messages::field_names()));
    for (operation, message) in [
        ("chat", &schema::GENERATE),
        ("count", &schema::COUNT),
        ("embed", &schema::EMBED),
        ("embed", &schema::BATCH_EMBED),
    ] {
        let mut paths = Vec::new();
        of_message(message, &mut Vec::new(), &mut Vec::new(), &mut paths);
        add("gemini", operation, paths);
    }
    add("converse", "chat", bedrock::request_fields());
    known
}

/// Collects the fields of a message; recursive messages are visited once.
fn of_message(
    message: &'static Message,
    within: &mut Vec<&'static str>,
    path: &mut Vec<&'static str>,
    paths: &mut Vec<Vec<&'static str>>,
) {
    if within.contains(&message.name) {
        return;
    }
    within.push(message.name);
    for field in message.fields {
        path.push(field.name);
        paths.push(path.clone());
        if let schema::Kind::Message(inner) = field.kind {
            of_message(inner, within, path, paths);
        }
        path.pop();
    }
    within.pop();
}
