//! Gemini's conversation checks: roles, empty parts, and function results that match no calls.

use super::content::{Content, FunctionCall, FunctionResponse};
use super::error::ApiError;

/// Refuses a conversation that the real provider refuses.
pub(crate) fn check(contents: &[Content]) -> Result<(), ApiError> {
    if contents.is_empty() {
        return Err(ApiError::at("contents", "contents is not specified"));
    }
    for (at, content) in contents.iter().enumerate() {
        one(&format!("contents[{at}]"), content)?;
    }
    results(contents)
}

/// A system instruction needs parts; its role is ignored.
pub(crate) fn check_instruction(instruction: Option<&Content>) -> Result<(), ApiError> {
    let Some(instruction) = instruction else { return Ok(()) };
    let textual = instruction.parts.iter().all(|part| part.text.is_some());
    if instruction.parts.is_empty() || !textual {
        return Err(ApiError::at("system_instruction.parts", "parts must be text and must not be empty."));
    }
    Ok(())
}

fn one(path: &str, content: &Content) -> Result<(), ApiError> {
    if !matches!(content.role.as_deref(), None | Some("user" | "model")) {
        return Err(ApiError::invalid("Please use a valid role: user, model."));
    }
    if content.parts.is_empty() {
        return Err(ApiError::at(&format!("{path}.parts"), "contents.parts must not be empty."));
    }
    for (at, part) in content.parts.iter().enumerate() {
        let path = format!("{path}.parts[{at}]");
        if !part.has_data() {
            return Err(ApiError::at(
                &format!("{path}.data"),
                "required oneof field 'data' must have one initialized field",
            ));
        }
        let named = [
            ("function_call", part.function_call.as_ref().map(|call| &call.name)),
            ("function_response", part.function_response.as_ref().map(|response| &response.name)),
        ];
        for (field, name) in named {
            if name.is_some_and(String::is_empty) {
                return Err(ApiError::at(&format!("{path}.{field}.name"), "Name cannot be empty."));
            }
        }
        if part.function_call.is_some() && !content.is_model() {
            return Err(ApiError::at(
                &path,
                "Please ensure that function calls are in a turn of role model.",
            ));
        }
        if part.function_response.as_ref().is_some_and(|response| response.response.is_none()) {
            return Err(ApiError::at(
                &format!("{path}.function_response.response"),
                "response is not specified",
            ));
        }
        if part.media().is_some_and(|media| media.mime_type.is_empty() && media.file_uri.is_none()) {
            return Err(ApiError::at(&format!("{path}.inline_data.mime_type"), "mime_type is not specified"));
        }
    }
    Ok(())
}

/// The results of a turn's calls must all be in the next turn, and nowhere else.
fn results(contents: &[Content]) -> Result<(), ApiError> {
    let mut open: Vec<&FunctionCall> = Vec::new();
    for content in contents {
        let results: Vec<&FunctionResponse> = content.responses().collect();
        if results.is_empty() && !open.is_empty() || results.len() != open.len() && !open.is_empty() {
            return Err(ApiError::invalid(
                "Please ensure that the number of function response parts is equal to the number of function call \
                 parts of the function call turn.",
            ));
        }
        if !results.is_empty() && (open.is_empty() || content.is_model()) {
            return Err(ApiError::invalid(
                "Please ensure that function response turn comes immediately after a function call turn.",
            ));
        }
        for result in results {
            close_call(&mut open, result)?;
        }
        open = content.calls().collect();
    }
    if open.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid(
        "Please ensure that multiturn requests end with a user turn or a function response turn.",
    ))
}

/// Removes the call that a result belongs to: matched by id if it has one, else by name.
fn close_call(open: &mut Vec<&FunctionCall>, result: &FunctionResponse) -> Result<(), ApiError> {
    let fits = |call: &&FunctionCall| match (&result.id, &call.id) {
        (Some(result), Some(call)) => result == call,
        _ => true,
    };
    let found = open.iter().position(|call| call.name == result.name && fits(call));
    let Some(found) = found else {
        return Err(ApiError::invalid(format!(
            "Please ensure that function response `{}` answers a call of the function call turn.",
            result.name
        )));
    };
    open.remove(found);
    Ok(())
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "JSON reads best by value")]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(contents: Value, refused: Option<&str>) {
        let text = contents.to_string();
        let contents: Vec<Content> = serde_json::from_value(contents).unwrap();
        match (super::check(&contents), refused) {
            (Ok(()), None) => {}
            (Err(error), Some(why)) => assert!(error.message.contains(why), "{text}: {}", error.message),
            (result, _) => panic!("{text}: {result:?}"),
        }
    }

    fn user(parts: Value) -> Value {
        json!({"role": "user", "parts": parts})
    }

    fn model(parts: Value) -> Value {
        json!({"role": "model", "parts": parts})
    }

    fn call(name: &str) -> Value {
        json!({"functionCall": {"name": name}})
    }

    fn result(name: &str) -> Value {
        json!({"functionResponse": {"name": name, "response": {}}})
    }

    #[test]
    fn turns_and_parts() {
        let text = || json!([{"text": "x"}]);
        check(json!([]), Some("contents is not specified"));
        check(json!([{"parts": [{"text": "x"}]}]), None);
        check(json!([{"role": "assistant", "parts": text()}]), Some("valid role: user, model"));
        check(json!([user(json!([]))]), Some("contents[0].parts: contents.parts must not be empty"));
        check(json!([user(json!([{"thought": true}]))]), Some("contents[0].parts[0].data: required oneof"));
        check(json!([user(text()), model(text())]), None);
        check(json!([user(json!([call("f")]))]), Some("role model"));
        check(json!([user(json!([call("")]))]), Some("function_call.name: Name cannot be empty"));
        check(json!([user(json!([{"inlineData": {"data": "AA=="}}]))]), Some("mime_type is not specified"));
    }

    #[test]
    fn results_answer_calls() {
        let ask = || user(json!([{"text": "x"}]));
        let with_id = |key: &str, id: &str| json!({key: {"name": "f", "id": id, "response": {}}});
        check(
            json!([ask(), model(json!([call("f"), call("g")])), user(json!([result("g"), result("f")]))]),
            None,
        );
        let unequal = Some("number of function response parts");
        check(json!([ask(), model(json!([call("f"), call("g")])), user(json!([result("f")]))]), unequal);
        check(
            json!([
                ask(),
                model(json!([call("f"), call("g")])),
                user(json!([result("f")])),
                user(json!([result("g")])),
            ]),
            unequal,
        );
        check(json!([ask(), model(json!([call("f")])), ask()]), unequal);
        check(json!([ask(), user(json!([result("f")]))]), Some("immediately after a function call turn"));
        check(json!([ask(), model(json!([call("f")]))]), Some("end with a user turn"));
        check(
            json!([ask(), model(json!([call("f")])), user(json!([result("h")]))]),
            Some("`h` answers a call"),
        );
        check(
            json!([
                ask(),
                model(json!([with_id("functionCall", "1")])),
                user(json!([with_id("functionResponse", "2")])),
            ]),
            Some("`f` answers a call"),
        );
        check(
            json!([ask(), model(json!([call("f")])), user(json!([{"functionResponse": {"name": "f"}}]))]),
            Some("function_response.response: response is not specified"),
        );
    }
}
