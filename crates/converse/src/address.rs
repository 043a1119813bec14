//! Bedrock request paths: Converse names the model and the operation there.

use conversation::address::unescape;
use conversation::fields::checked_model;
use conversation::request::Addressed;
use domain::{Fault, FaultClass, Operation};
use json::refusal::wrong_value;

/// The operations, by the last path segment; the boolean says whether the response is streamed.
const VERBS: [(&str, Operation, bool); 5] = [
    ("converse", Operation::Chat, false),
    ("converse-stream", Operation::Chat, true),
    ("count-tokens", Operation::Count, false),
    ("invoke", Operation::Chat, false),
    ("invoke-with-response-stream", Operation::Chat, true),
];

/// Reads what follows `/model/`, as it was sent: `NAME/VERB`. Slashes and colons in the name may be raw or
/// escaped; the last raw slash separates the verb.
///
/// # Errors
/// The path has no model or no known verb, or the name escapes its folder.
pub fn read_model_path(rest: &str) -> Result<(Addressed, Operation), Box<Fault>> {
    let (name, verb) = rest.rsplit_once('/').ok_or_else(|| unknown(rest))?;
    let known = VERBS.into_iter().find(|(known, _, _)| *known == verb);
    let (_, operation, stream) = known.ok_or_else(|| unknown(rest))?;
    let name = unescape(name).ok_or_else(|| bad_path("is not UTF-8 when its escapes are resolved"))?;
    if name.split(['/', '\\']).any(|segment| matches!(segment, ".." | ".")) {
        return Err(bad_path("has a path segment of dots alone"));
    }
    let model = checked_model(&name)?;
    let is_invoked = verb.starts_with("invoke");
    Ok((Addressed { model, stream, is_invoked, ..Addressed::default() }, operation))
}

fn bad_path(what: &str) -> Box<Fault> {
    let fix = "Send the id of a model as GET /v1/models lists it, after /model/.".to_owned();
    wrong_value("modelId".to_owned(), what, fix)
}

fn unknown(path: &str) -> Box<Fault> {
    let printable: String = path.chars().filter(|character| !character.is_control()).take(128).collect();
    let message = format!("There is no \"{printable}\" here.");
    let verbs: Vec<&str> = VERBS.into_iter().map(|(verb, _, _)| verb).collect();
    let fix = format!("Send /model/NAME/VERB, where VERB is one of {}.", verbs.join(", "));
    Box::new(Fault::new(FaultClass::NotFound, "unknown_path", message).fix(fix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_a_model_and_what_is_asked_of_it() {
        for (rest, model, operation, stream) in [
            ("openai%2Fgpt-5/converse", "openai/gpt-5", Operation::Chat, false),
            ("openai/gpt-5/converse-stream", "openai/gpt-5", Operation::Chat, true),
            (
                "bedrock%3Aus.anthropic.x-v1%3A0/converse",
                "bedrock:us.anthropic.x-v1:0",
                Operation::Chat,
                false,
            ),
            ("us.anthropic.x-v1:0/count-tokens", "us.anthropic.x-v1:0", Operation::Count, false),
            ("arn%3Aaws%3Abedrock%3Ax%2Fab/converse", "arn:aws:bedrock:x/ab", Operation::Chat, false),
            ("us.anthropic.x-v1:0/invoke", "us.anthropic.x-v1:0", Operation::Chat, false),
            ("openai%2Fgpt-5/invoke-with-response-stream", "openai/gpt-5", Operation::Chat, true),
        ] {
            let read = read_model_path(rest).expect(rest);
            let is_invoked = rest.contains("/invoke");
            let expected = Addressed { model: model.to_owned(), stream, is_invoked, ..Addressed::default() };
            assert_eq!(read, (expected, operation), "{rest}");
        }
    }

    #[test]
    fn no_other_path_is_reached() {
        for (rest, code) in [
            ("m", "unknown_path"),
            ("m/invoke-with-bidirectional-stream", "unknown_path"),
            ("m%2Fconverse", "unknown_path"),
            ("/converse", "invalid_value"),
            ("../converse", "invalid_value"),
            ("%2E%2E%2Fx/converse", "invalid_value"),
            ("a%2F..%2Fb/converse", "invalid_value"),
            ("%FF/converse", "invalid_value"),
            ("a%00b/converse", "invalid_value"),
        ] {
            assert_eq!(read_model_path(rest).expect_err(rest).code, code, "{rest}");
        }
    }
}
