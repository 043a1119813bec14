//! Items of an input that are named by their id alone: those that the gateway keeps for the caller's project are put in
//! their place. The id of another is its provider's to know.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use admit::Caller;
use bytes::Bytes;
use domain::ports::SessionFailure;
use domain::{Fault, FaultClass, TraceId};
use json::members::Members;
use line::Core;

use super::conversations::events_by_id;
use super::ids::{ItemPlace, id_of, place_of};
use super::kept::{self, Content};
use crate::items;
use crate::limits::ITEM_REFERENCES_MAX;
use crate::session_turn::{Named, fault_of, item_of};
use runbody::{refusal, sanitize};

const PARAM: &str = "input";

/// What was read of answers, so that each is read once however many of its items are named.
type Answers = HashMap<TraceId, Option<Bytes>>;

/// The items of an input with those that it names; `None` where it names none that is kept here.
///
/// # Errors
/// One of them is not there, or it names too many.
pub(super) async fn resolved(
    core: &Core,
    caller: &Caller,
    conversation: Option<Named>,
    input: &[String],
) -> Result<Option<Vec<String>>, Box<Fault>> {
    let named: Vec<Option<(String, ItemPlace)>> = input.iter().map(|item| named_by(item)).collect();
    match named.iter().flatten().count() {
        0 => return Ok(None),
        1..=ITEM_REFERENCES_MAX => {}
        count => return Err(too_many(count)),
    }
    // What is in a conversation may be kept nowhere else.
    let events = match conversation {
        Some(named) => events_by_id(core, caller, named).await?,
        None => HashMap::new(),
    };
    let (mut resolved, mut answers) = (Vec::with_capacity(input.len()), Answers::new());
    for (item, named) in input.iter().zip(named) {
        let Some((id, place)) = named else {
            resolved.push(item.clone());
            continue;
        };
        let found = match events.get(&id) {
            Some(event) => item_of(event),
            None => find(core, caller, (&id, place), &mut answers).await?,
        };
        resolved.push(found.ok_or_else(|| not_found(&id))?);
    }
    Ok(Some(resolved))
}

/// The id that an item names, and where the gateway keeps what it means.
fn named_by(item: &str) -> Option<(String, ItemPlace)> {
    let members = Members::of_answer(item.as_bytes())?;
    let kind = members.find_text("type");
    let is_reference = match kind.as_deref() {
        Some(kind) => kind == "item_reference",
        None => members.find_text("role").is_none(),
    };
    let id = members.find_text("id").filter(|_| is_reference)?.into_owned();
    let place = place_of(&id)?;
    Some((id, place))
}

async fn find(
    core: &Core,
    caller: &Caller,
    (id, place): (&str, ItemPlace),
    answers: &mut Answers,
) -> Result<Option<String>, Box<Fault>> {
    let request = match place {
        ItemPlace::Event(event) => {
            return match core.sessions.event(caller.owner(), event).await {
                Ok(event) => Ok(item_of(&event)),
                Err(SessionFailure::StoreUnavailable) => {
                    Err(fault_of(SessionFailure::StoreUnavailable, PARAM))
                }
                Err(_) => Ok(None),
            };
        }
        ItemPlace::Output(request) | ItemPlace::Input(request) => request,
    };
    let content = match answers.entry(request) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(place) => {
            let content = match kept::find(core, caller, &id_of(request)).await {
                Some(kept) => kept::content(core, caller, &kept).await,
                None => None,
            };
            place.insert(content)
        }
    };
    Ok(content.as_ref().and_then(|content| item_in(content, id, place)))
}

/// The item of this id in what is kept of an answer, as a later request repeats it.
fn item_in(content: &[u8], id: &str, place: ItemPlace) -> Option<String> {
    let content: Content<'_> = serde_json::from_slice(content).ok()?;
    if let ItemPlace::Input(request) = place {
        let input: Vec<String> = content.input.iter().map(|item| item.get().to_owned()).collect();
        let stem = id_of(request);
        let listed = items::listed(&input, stem.rsplit('_').next().unwrap_or_default());
        let at = listed.iter().position(|listed| listed["id"] == *id)?;
        return items::repeated(input.get(at)?.as_bytes());
    }
    let output = Members::of_answer(content.response.get().as_bytes())?.find_elements("output");
    let is_it = |item: &&&[u8]| {
        Members::of_answer(item).and_then(|item| item.find_text("id")).is_some_and(|known| known == id)
    };
    items::repeated(output.iter().find(is_it)?)
}

fn not_found(id: &str) -> Box<Fault> {
    let message = format!("This project has no stored item with the id \"{}\".", sanitize(id));
    let fault = Fault::new(FaultClass::NotFound, "item_not_found", message).param(PARAM);
    Box::new(fault.fix(
        "Send the item itself: items are stored for a month with their answer, unless \"store\" was false.",
    ))
}

fn too_many(count: usize) -> Box<Fault> {
    let message =
        format!("\"input\" names {count} items by id, and at most {ITEM_REFERENCES_MAX} are allowed.");
    refusal(
        "invalid_value",
        message,
        "Continue with \"previous_response_id\", or send the items themselves.",
        PARAM,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_found_by_the_id_that_it_was_listed_with() {
        let request = TraceId::new(1_700_000_000_000, [7; 10]);
        let stem = id_of(request).replace("resp_", "");
        let content = format!(
            r#"{{"input":[{{"role":"user","content":"hi"}},{{"type":"function_call_output","call_id":"c","output":"1"}}],
            "response":{{"output":[{{"id":"msg_{stem}00","type":"message","role":"assistant","status":"completed","content":[]}}]}}}}"#
        );
        for (id, expected) in [
            (format!("msg_{stem}00"), Some(r#"{"type":"message","role":"assistant","content":[]}"#)),
            (format!("msg_{stem}01"), None),
            (format!("msg_{stem}0000"), Some(r#"{"role":"user","content":"hi"}"#)),
            (format!("fc_{stem}0001"), Some(r#"{"type":"function_call_output","call_id":"c","output":"1"}"#)),
            (format!("msg_{stem}0001"), None),
        ] {
            let (named, place) = named_by(&format!(r#"{{"type":"item_reference","id":"{id}"}}"#)).unwrap();
            assert_eq!(item_in(content.as_bytes(), &named, place).as_deref(), expected, "{id}");
        }
        let id = format!("msg_{stem}00");
        assert!(named_by(&format!(r#"{{"id":"{id}"}}"#)).is_some(), "the type may be left out");
        for other in [
            format!(r#"{{"id":"{id}","role":"assistant","content":"x"}}"#),
            format!(r#"{{"id":"{id}","type":"message"}}"#),
            r#"{"type":"item_reference","id":"rs_1"}"#.to_owned(),
            "7".to_owned(),
        ] {
            assert!(named_by(&other).is_none(), "{other}");
        }
    }

    #[test]
    fn what_is_not_there_has_its_code_and_param() {
        let fault = not_found("msg_1");
        assert_eq!(
            (fault.code, fault.class, fault.param.as_deref()),
            ("item_not_found", FaultClass::NotFound, Some("input"))
        );
        assert_eq!(too_many(ITEM_REFERENCES_MAX + 1).code, "invalid_value");
    }
}
