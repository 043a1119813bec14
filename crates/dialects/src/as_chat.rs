//! A request and its answer in the chat format, whatever dialect they are in: for people who read them, and for data sets.

use bytes::Bytes;
use conversation::request::Addressed;
use conversation::target::TargetModel;
use domain::{Abilities, Grammar, Operation};

use crate::answer_path::AnswerPath;
use crate::registry::face;
use crate::translate::{decode_request, read_prompt, translate_request};
use crate::whole::read_events;

/// A conversation's request in the chat format, for the model that it names, or that its address named. What that format has no
/// place for is left out. `None` for what can't be read.
pub fn request_as_chat(grammar: Grammar, body: &Bytes, model: &str) -> Option<Bytes> {
    if grammar == Grammar::Chat {
        return Some(body.clone());
    }
    let addressed = Addressed { model: model.to_owned(), ..Addressed::default() };
    let request = decode_request(grammar, Operation::Chat, body, Some(&addressed)).ok()?;
    let prompt = read_prompt(grammar, body, &request).ok()?;
    let target = TargetModel { model, abilities: Abilities::default() };
    Some(translate_request(grammar, &prompt, Grammar::Chat, &target, true).ok()?.body)
}

/// A conversation's answer, a stream or not, as a chat completion. `None` for what is no answer, or not all of one.
pub fn answer_as_chat(grammar: Grammar, body: &[u8]) -> Option<Bytes> {
    let (events, _) = read_events(grammar, body).ok()?;
    let options = AnswerPath::chat(Grammar::Chat, grammar).options();
    Some(Bytes::from(face(Grammar::Chat).writer(options).write_buffered(events)))
}
