//! The fields of a Converse request, according to AWS's API model (botocore's `service-2.json`).

use serde_json::{Map, Value};

use super::error::Refusal;

#[derive(Clone, Copy)]
enum Shape {
    Text,
    /// A string of at least one character.
    Filled,
    Name,
    Id,
    Blob,
    /// An integer with this minimum.
    Count(i64),
    /// A number from 0 to 1.
    Share,
    Flag,
    Document,
    OneOf(&'static [&'static str]),
    Object(&'static [Field]),
    /// A union: exactly one of its fields is set.
    Union(&'static [Field]),
    List(&'static Shape),
    /// A non-empty list.
    Some(&'static Shape),
    /// A map from names to short strings, with at most this many entries.
    Pairs(usize),
}

type Field = (&'static str, Shape, Need);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Must,
    May,
}

use Need::{May, Must};
use Shape::{Blob, Count, Document, Filled, Flag, Id, List, Name, Object, OneOf, Pairs, Share, Text, Union};

#[rustfmt::skip]
const REQUEST: &[Field] = &[
    ("messages", List(&Object(MESSAGE)), Must), ("system", List(&Union(SYSTEM)), May),
    ("inferenceConfig", Object(INFERENCE), May), ("toolConfig", Object(TOOLS), May),
    ("guardrailConfig", Object(GUARDRAIL), May), ("additionalModelRequestFields", Document, May),
    ("additionalModelResponseFieldPaths", List(&Filled), May), ("promptVariables", Document, May),
    ("requestMetadata", Pairs(16), May),
    ("performanceConfig", Object(&[("latency", OneOf(&["standard", "optimized"]), May)]), May),
    ("serviceTier", Object(&[("type", OneOf(&["priority", "default", "flex", "reserved"]), Must)]), May),
    ("outputConfig", Object(OUTPUT), May),
];
const MESSAGE: &[Field] =
    &[("role", OneOf(&["user", "assistant"]), Must), ("content", List(&Union(CONTENT)), Must)];
#[rustfmt::skip]
const CONTENT: &[Field] = &[
    ("text", Text, May), ("image", Object(IMAGE), May), ("document", Object(DOCUMENT), May),
    ("video", Object(MEDIA), May), ("audio", Object(MEDIA), May), ("toolUse", Object(TOOL_USE), May),
    ("toolResult", Object(TOOL_RESULT), May), ("guardContent", Document, May),
    ("cachePoint", Object(CACHE_POINT), May), ("reasoningContent", Union(REASONING), May),
    ("citationsContent", Document, May), ("searchResult", Document, May),
];
const SYSTEM: &[Field] =
    &[("text", Filled, May), ("guardContent", Document, May), ("cachePoint", Object(CACHE_POINT), May)];
const CACHE_POINT: &[Field] = &[("type", OneOf(&["default"]), Must), ("ttl", OneOf(&["5m", "1h"]), May)];
const SOURCE: &[Field] = &[("bytes", Blob, May), ("s3Location", Document, May)];
const IMAGE: &[Field] =
    &[("format", OneOf(&["png", "jpeg", "gif", "webp"]), Must), ("source", Union(SOURCE), Must)];
const MEDIA: &[Field] = &[("format", Filled, Must), ("source", Union(SOURCE), Must)];
const DOCUMENT: &[Field] = &[
    ("format", OneOf(&["pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"]), May),
    ("name", Filled, Must),
    (
        "source",
        Union(&[
            ("bytes", Blob, May),
            ("text", Text, May),
            ("content", Document, May),
            ("s3Location", Document, May),
        ]),
        Must,
    ),
    ("context", Text, May),
    ("citations", Object(&[("enabled", Flag, Must)]), May),
];
const TOOL_USE: &[Field] = &[("toolUseId", Id, Must), ("name", Name, Must), ("input", Document, Must)];
const TOOL_RESULT: &[Field] = &[
    ("toolUseId", Id, Must),
    ("content", List(&Union(RESULT)), Must),
    ("status", OneOf(&["success", "error"]), May),
];
#[rustfmt::skip]
const RESULT: &[Field] = &[
    ("json", Document, May), ("text", Text, May), ("image", Object(IMAGE), May),
    ("document", Object(DOCUMENT), May), ("video", Object(MEDIA), May), ("searchResult", Document, May),
];
const REASONING: &[Field] = &[
    ("reasoningText", Object(&[("text", Text, Must), ("signature", Text, May)]), May),
    ("redactedContent", Blob, May),
];
const INFERENCE: &[Field] = &[
    ("maxTokens", Count(1), May),
    ("temperature", Share, May),
    ("topP", Share, May),
    ("stopSequences", List(&Filled), May),
];
const TOOLS: &[Field] = &[("tools", Shape::Some(&Union(TOOL)), Must), ("toolChoice", Union(CHOICE), May)];
const TOOL: &[Field] = &[
    ("toolSpec", Object(TOOL_SPEC), May),
    ("systemTool", Object(&[("name", Name, Must)]), May),
    ("cachePoint", Object(CACHE_POINT), May),
];
const TOOL_SPEC: &[Field] = &[
    ("name", Name, Must),
    ("description", Filled, May),
    ("inputSchema", Union(&[("json", Document, May)]), Must),
    ("strict", Flag, May),
];
const CHOICE: &[Field] =
    &[("auto", Object(&[]), May), ("any", Object(&[]), May), ("tool", Object(&[("name", Name, Must)]), May)];
const GUARDRAIL: &[Field] = &[
    ("guardrailIdentifier", Filled, May),
    ("guardrailVersion", Filled, May),
    ("trace", OneOf(&["enabled", "disabled", "enabled_full"]), May),
    ("streamProcessingMode", OneOf(&["sync", "async"]), May),
];
const OUTPUT: &[Field] = &[("textFormat", Object(FORMAT), May), ("effort", Filled, May)];
const FORMAT: &[Field] = &[
    ("type", OneOf(&["json_schema"]), Must),
    ("structure", Union(&[("jsonSchema", Object(SCHEMA), May)]), Must),
];
const SCHEMA: &[Field] = &[("schema", Filled, Must), ("name", Text, May), ("description", Text, May)];

const ID_BYTES_MAX: usize = 64;
const PAIR_BYTES_MAX: usize = 256;

/// Every field, by its path of names.
pub(crate) fn request_fields() -> Vec<Vec<&'static str>> {
    let mut paths = Vec::new();
    below(&Object(REQUEST), &mut Vec::new(), &mut paths);
    paths
}

fn below(shape: &Shape, path: &mut Vec<&'static str>, paths: &mut Vec<Vec<&'static str>>) {
    match shape {
        Object(fields) | Union(fields) => {
            for (name, inner, _) in *fields {
                path.push(*name);
                paths.push(path.clone());
                below(inner, path, paths);
                path.pop();
            }
        }
        List(shape) => below(shape, path, paths),
        _ => {}
    }
}

/// Checks a request: only these fields, each with a valid value.
pub(super) fn check(fields: &Map<String, Value>) -> Result<(), Refusal> {
    object("", fields, REQUEST)
}

fn object(path: &str, fields: &Map<String, Value>, known: &[Field]) -> Result<(), Refusal> {
    for (name, value) in fields {
        let Some((_, shape, _)) = known.iter().find(|(own, _, _)| own == name) else {
            let message = format!(
                "Malformed input request: #{path}: extraneous key [{name}] is not permitted, please reformat your input \
                 and try again."
            );
            return Err(Refusal::invalid(message));
        };
        one(&format!("{path}/{name}"), value, *shape)?;
    }
    match known.iter().find(|(name, _, need)| *need == Must && !fields.contains_key(*name)) {
        Some((name, _, _)) => Err(malformed(path, &format!("required key [{name}] not found"))),
        None => Ok(()),
    }
}

fn is_pair((name, value): (&String, &Value)) -> bool {
    let may_stand = |text: &str| {
        text.len() <= PAIR_BYTES_MAX
            && text.bytes().all(|byte| {
                byte.is_ascii_alphanumeric() || byte.is_ascii_whitespace() || b":_@$#=/+,-.".contains(&byte)
            })
    };
    !name.is_empty() && may_stand(name) && value.as_str().is_some_and(may_stand)
}

fn malformed(path: &str, what: &str) -> Refusal {
    Refusal::invalid(format!(
        "Malformed input request: #{path}: {what}, please reformat your input and try again."
    ))
}

fn one(path: &str, value: &Value, shape: Shape) -> Result<(), Refusal> {
    let is_base64 = |text: &str| {
        let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
        !text.is_empty() && text.len().is_multiple_of(4) && text.bytes().all(is_digit)
    };
    let is_word = |text: &str, more: &[u8]| {
        (1..=ID_BYTES_MAX).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte) || more.contains(&byte))
    };
    let (is_fine, expected) = match (shape, value) {
        (Object(known), Value::Object(fields)) => return object(path, fields, known),
        (Union(known), Value::Object(fields)) => {
            if fields.len() != 1 {
                return Err(malformed(
                    path,
                    &format!("exactly one key is expected, found: {}", fields.len()),
                ));
            }
            return object(path, fields, known);
        }
        (Shape::Some(_), Value::Array(items)) if items.is_empty() => {
            return Err(malformed(path, "expected minimum item count: 1, found: 0"));
        }
        (List(shape) | Shape::Some(shape), Value::Array(items)) => {
            let mut indexed = items.iter().enumerate();
            return indexed.try_for_each(|(at, item)| one(&format!("{path}/{at}"), item, *shape));
        }
        (Document, _) => (!value.is_null(), "document"),
        (Text, _) => (value.is_string(), "String"),
        (Filled, _) => {
            (value.as_str().is_some_and(|text| !text.is_empty()), "String of at least one character")
        }
        (Name, _) => (value.as_str().is_some_and(|text| is_word(text, b"")), "String of [a-zA-Z0-9_-]+"),
        (Id, _) => (value.as_str().is_some_and(|text| is_word(text, b".:")), "String of [a-zA-Z0-9_.:-]+"),
        (Blob, _) => (value.as_str().is_some_and(is_base64), "Blob"),
        (Count(least), Value::Number(_)) => (value.as_i64().is_some_and(|count| count >= least), "Integer"),
        (Share, Value::Number(_)) => {
            (value.as_f64().is_some_and(|share| (0.0..=1.0).contains(&share)), "Number from 0 to 1")
        }
        (Count(_) | Share, _) => (false, "Number"),
        (Pairs(most), Value::Object(pairs)) => {
            ((1..=most).contains(&pairs.len()) && pairs.iter().all(is_pair), "Map")
        }
        (Pairs(_), _) => (false, "Map"),
        (Flag, _) => (value.is_boolean(), "Boolean"),
        (OneOf(words), _) => (value.as_str().is_some_and(|text| words.contains(&text)), "one of its values"),
        (Object(_) | Union(_), _) => (false, "JSONObject"),
        (List(_) | Shape::Some(_), _) => (false, "JSONArray"),
    };
    if is_fine { Ok(()) } else { Err(malformed(path, &format!("expected type: {expected}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn message_of(body: &Value) -> Option<String> {
        check(body.as_object().unwrap()).err().map(|refusal| refusal.message)
    }

    #[test]
    fn only_what_the_service_knows_is_taken() {
        let user = json!({"role": "user", "content": [{"text": "x"}]});
        assert_eq!(message_of(&json!({"messages": [user], "inferenceConfig": {"maxTokens": 5}})), None);
        for (wrong, words) in [
            (json!({}), "required key [messages]"),
            (json!({"messages": [], "model": "m"}), "extraneous key [model]"),
            (json!({"messages": [{"role": "tool", "content": []}]}), "#/messages/0/role"),
            (
                json!({"messages": [{"role": "user", "content": [{"text": "x", "type": "text"}]}]}),
                "exactly one key",
            ),
            (
                json!({"messages": [{"role": "user", "content": [{"image": {"format": "png", "source": {"bytes": "?"}}}]}]}),
                "Blob",
            ),
            (
                json!({"messages": [], "toolConfig": {"tools": [{"systemTool": {"name": "x"}}], "toolChoice": {"none": {}}}}),
                "extraneous key [none]",
            ),
            (json!({"messages": [], "toolConfig": {"tools": []}}), "minimum item count: 1"),
            (
                json!({"messages": [], "inferenceConfig": {"maxTokens": 0}}),
                "/maxTokens: expected type: Integer",
            ),
            (json!({"messages": [], "inferenceConfig": {"temperature": 1.5}}), "from 0 to 1"),
            (json!({"messages": [], "inferenceConfig": {"topP": -0.1}}), "from 0 to 1"),
            (json!({"messages": [], "requestMetadata": {}}), "Map"),
            (json!({"messages": [], "requestMetadata": {"a": "b!"}}), "Map"),
            (json!({"messages": [], "inferenceConfig": {"topK": 4}}), "extraneous key [topK]"),
            (json!({"messages": [], "system": "be brief"}), "JSONArray"),
        ] {
            assert!(message_of(&wrong).is_some_and(|message| message.contains(words)), "{wrong}");
        }
    }
}
