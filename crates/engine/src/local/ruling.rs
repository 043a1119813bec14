//! Grammar constraints from a request: response formats, tool choice and guided decoding.

use domain::prompt::{OutputFormat, ToolChoice, ToolKind};
use domain::runtime::{GenerateRequest, OutputConstraint};
use domain::{Fault, FaultClass, Prompt};
use prompts::Form;
use serde_json::Value;

use super::answer::ParseOptions;
use crate::constraints::{
    Calls, Constraint, ConstraintCompiler, ConstraintError, ConstraintSpec, Thinking, Tool,
};

const SCHEMA: &str = "response_format.json_schema.schema";

/// The grammar constraint of a request; `None` where its output is free. `book` is called only if there is
/// one.
pub(super) fn read<'a>(
    request: &GenerateRequest,
    voice: &ParseOptions,
    book: impl Fn() -> Result<&'a ConstraintCompiler, Fault>,
) -> Result<Option<Constraint>, Fault> {
    let thinking = match (voice.is_in_thought, voice.manner.thinks && !voice.has_thought) {
        (true, _) => Thinking::Open,
        (false, true) => Thinking::May,
        (false, false) => Thinking::No,
    };
    let make = |spec: ConstraintSpec<'_>, param: &str| {
        book()?.compile(spec, thinking).map(Some).map_err(|error| wrong(&error, param))
    };
    if let Some(rule) = &request.parameters.constraint {
        return match rule {
            OutputConstraint::Regex(expression) => {
                make(ConstraintSpec::Expression(expression), "guided_regex")
            }
            OutputConstraint::Grammar(grammar) => make(ConstraintSpec::Grammar(grammar), "guided_grammar"),
            OutputConstraint::Choice(texts) => {
                make(ConstraintSpec::Expression(&one_of(texts)), "guided_choice")
            }
        };
    }
    if let Some(calls) = calls(&request.prompt, voice.manner.form)? {
        return make(ConstraintSpec::Calls(&calls), "tools");
    }
    match &request.prompt.output.format {
        None | Some(OutputFormat::Text) => Ok(None),
        Some(OutputFormat::JsonObject) => make(ConstraintSpec::Object, "response_format"),
        Some(OutputFormat::JsonSchema { schema, .. }) => {
            let schema: Value = serde_json::from_str(schema.as_str()).map_err(|error| {
                wrong(
                    &ConstraintError { at: String::new(), what: format!("isn't valid JSON: {error}") },
                    SCHEMA,
                )
            })?;
            make(ConstraintSpec::Schema(&schema), SCHEMA)
        }
    }
}

/// The tool calls that the request forces; `None` where the model is free to choose.
fn calls(prompt: &Prompt, form: Option<Form>) -> Result<Option<Calls>, Fault> {
    let Some(choice) = &prompt.tool_choice else { return Ok(None) };
    if matches!(choice, ToolChoice::Auto | ToolChoice::None) {
        return Ok(None);
    }
    let Some(form) = form else {
        let message = "This model's chat template defines no format for tool calls.";
        let fault = Fault::new(FaultClass::Unsupported, "unsupported_parameter", message);
        return Err(fault.param("tool_choice").fix("Leave \"tool_choice\" out."));
    };
    let tools: Vec<Tool> = prompt.tools.iter().filter_map(|tool| tool_of(&tool.kind)).collect();
    let several = prompt.parallel_tools != Some(false);
    Calls::chosen(choice, &tools, form, several).map_err(|error| wrong(&error, "tool_choice"))
}

fn tool_of(kind: &ToolKind) -> Option<Tool> {
    let ToolKind::Function { name, schema, .. } = kind else { return None };
    let schema = schema.as_ref().and_then(|schema| serde_json::from_str(schema.as_str()).ok());
    Some(Tool { name: name.clone(), schema })
}

/// A regular expression that matches exactly one of several strings.
fn one_of(texts: &[String]) -> String {
    let escaped = texts.iter().map(|text| {
        let is_plain =
            |character: char| character.is_alphanumeric() || character == ' ' || !character.is_ascii();
        let each = text.chars().map(|character| {
            if is_plain(character) {
                character.to_string()
            } else {
                format!("\\x{:02X}", u32::from(character))
            }
        });
        each.collect::<String>()
    });
    format!("(?:{})", escaped.collect::<Vec<_>>().join("|"))
}

fn wrong(error: &ConstraintError, param: &str) -> Fault {
    let path = format!("{param}{}", error.at);
    let message = format!("\"{path}\" {}.", error.what.trim_end_matches('.'));
    let fault = Fault::new(FaultClass::BadRequest, "unsupported_rule", message);
    fault
        .param(path)
        .fix("Send a constraint that this runtime can enforce; docs/node.md lists what it supports.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_meant_as_they_are() {
        let texts = ["a.b".to_owned(), "né (x)|".to_owned()];
        assert_eq!(one_of(&texts), "(?:a\\x2Eb|né \\x28x\\x29\\x7C)");
    }
}
