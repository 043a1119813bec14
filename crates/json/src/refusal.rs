//! The faults of invalid requests, each with the field and a fix.

use domain::limits::{JSON_DEPTH_MAX, JSON_KEYS_MAX};
use domain::{Fault, FaultClass};

use crate::{JsonError, JsonFault, Kind};

impl From<JsonError> for Box<Fault> {
    fn from(error: JsonError) -> Self {
        let (code, fix) = match error.fault {
            JsonFault::Utf8 => ("invalid_utf8", "Encode the body as UTF-8.".to_owned()),
            JsonFault::Depth => ("json_too_deep", format!("Nest at most {JSON_DEPTH_MAX} levels.")),
            JsonFault::Keys => ("json_too_many_keys", format!("Send at most {JSON_KEYS_MAX} members.")),
            JsonFault::Surrogate => (
                "invalid_json",
                "Escape characters beyond U+FFFF as a whole surrogate pair, or send them as UTF-8."
                    .to_owned(),
            ),
            JsonFault::Truncated | JsonFault::Syntax(_) | JsonFault::Control => {
                ("invalid_json", "Send one JSON object, as a JSON encoder writes it.".to_owned())
            }
        };
        refusal(code, format!("The body is not valid JSON: {error}."), fix)
    }
}

pub fn empty() -> Box<Fault> {
    refusal(
        "empty_body",
        "The request has no body.".to_owned(),
        "Send the request as one JSON object.".to_owned(),
    )
}

pub fn no_object(kind: Kind) -> Box<Fault> {
    refusal(
        "invalid_type",
        format!("The body must be a JSON object, not {}.", kind.as_str()),
        "Send the request as one JSON object.".to_owned(),
    )
}

pub fn missing(param: String, fix: &'static str) -> Box<Fault> {
    let message = format!("\"{param}\" is missing.");
    Box::new(Fault::new(FaultClass::BadRequest, "missing_required_parameter", message).fix(fix).param(param))
}

pub fn wrong_type(param: String, expected: &str, kind: Kind) -> Box<Fault> {
    let message = format!("\"{param}\" must be {expected}, not {}.", kind.as_str());
    let fix = format!("Send {expected} in \"{param}\".");
    Box::new(Fault::new(FaultClass::BadRequest, "invalid_type", message).fix(fix).param(param))
}

pub fn wrong_value(param: String, what: &str, fix: String) -> Box<Fault> {
    let message = format!("\"{param}\" {what}.");
    Box::new(Fault::new(FaultClass::BadRequest, "invalid_value", message).fix(fix).param(param))
}

/// An empty list, with OpenAI's error code for it.
pub fn empty_array(param: String, fix: &str) -> Box<Fault> {
    let message = format!("\"{param}\" is empty.");
    Box::new(Fault::new(FaultClass::BadRequest, "empty_array", message).fix(fix.to_owned()).param(param))
}

/// A number that is too small, with OpenAI's error code for it.
pub fn too_small(param: String, least: u64) -> Box<Fault> {
    let message = format!("\"{param}\" is less than {least}.");
    let fix = format!("Send a whole number, {least} or more, in \"{param}\", or leave it out.");
    Box::new(Fault::new(FaultClass::BadRequest, "integer_below_min_value", message).fix(fix).param(param))
}

pub fn duplicate(param: String) -> Box<Fault> {
    let message = format!("\"{param}\" appears twice, and parsers differ in which one counts.");
    let fix = format!("Send \"{param}\" once.");
    Box::new(Fault::new(FaultClass::BadRequest, "duplicate_field", message).fix(fix).param(param))
}

fn refusal(code: &'static str, message: String, fix: String) -> Box<Fault> {
    Box::new(Fault::new(FaultClass::BadRequest, code, message).fix(fix))
}
