//! What the routes of flows and of their runs share: documents as they are sent, and what is wrong with them.

use api::failure::{invalid, missing};
use domain::{Fault, FaultClass};
use flows::{Flow, FlowError};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// What is wrong at one place of a document.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FlowError")]
pub(crate) struct ErrorView {
    /// A JSON pointer.
    pub pointer: String,
    pub message: String,
}

/// A step as it is drawn.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FlowNode")]
pub(crate) struct NodeView {
    pub id: String,
    pub kind: String,
    pub needs: Vec<String>,
    /// The layer that it is drawn in.
    pub depth: u32,
}

pub(crate) fn errors_of(errors: &[FlowError]) -> Vec<ErrorView> {
    let view =
        |error: &FlowError| ErrorView { pointer: error.pointer.clone(), message: error.message.clone() };
    errors.iter().map(view).collect()
}

/// The document of a body: an object, or a text in JSON or YAML.
pub(crate) fn document_of(sent: Option<Value>) -> Result<Value, Box<Fault>> {
    match sent
        .ok_or_else(|| missing("document", "Send the flow as an object, or as a text in JSON or YAML."))?
    {
        Value::String(text) => flows::read(&text).map_err(|unreadable| {
            invalid("document", unreadable.0, "Send the flow as an object, or as a text in JSON or YAML.")
        }),
        other => Ok(other),
    }
}

/// Checks a document.
pub(crate) fn compiled(document: &Value) -> Result<Flow, Box<Fault>> {
    flows::compile(document).map_err(|errors| {
        let listed: Vec<_> =
            errors.iter().take(5).map(|error| format!("{}: {}", error.pointer, error.message)).collect();
        let more = errors.len().saturating_sub(listed.len());
        let more = if more > 0 { format!(" And {more} more.") } else { String::new() };
        let message = format!("The flow is invalid. {}{more}", listed.join(" "));
        let first = errors.first().map(|error| error.pointer.replace('/', ".")).unwrap_or_default();
        let fault = Fault::new(FaultClass::BadRequest, "flow_invalid", message);
        let fix = "POST /v2/flows/validate lists all errors, and GET /v2/flows/schema has the schema.";
        Box::new(fault.param(format!("document{first}")).fix(fix))
    })
}

/// Checks what is stored as it comes: what is nested deeper could not be read again.
pub(crate) fn check_depth(field: &'static str, value: &Value) -> Result<(), Box<Fault>> {
    if !flows::is_too_deep(value) {
        return Ok(());
    }
    let message = format!("The {field} is nested more than {} levels deep.", flows::STORED_DEPTH_MAX);
    let fault = Fault::new(FaultClass::BadRequest, "validation_error", message).param(field);
    Err(Box::new(fault.fix("Nest it less deeply, or send the deep part as a string.")))
}

/// Checks what a run is given.
pub(crate) fn check_input(flow: &Flow, input: &Value) -> Result<(), Box<Fault>> {
    check_depth("input", input)?;
    flow.check_input(input).map_err(|errors| {
        let first = errors.first();
        let pointer = first.map(|error| error.pointer.replace('/', ".")).unwrap_or_default();
        let message = first.map(|error| error.message.clone()).unwrap_or_default();
        let message = format!("The input does not fit the flow's schema: {message}");
        let fault = Fault::new(FaultClass::BadRequest, "validation_error", message);
        Box::new(
            fault.param(format!("input{pointer}")).fix("Correct the input; the flow's `input` describes it."),
        )
    })
}

pub(crate) fn nodes_of(flow: &Flow) -> Vec<NodeView> {
    let name = |place: &usize| flow.steps.get(*place).map(|step| step.name.clone());
    let node = |step: &flows::Step| NodeView {
        id: step.name.clone(),
        kind: step.kind.clone(),
        needs: step.needs.iter().filter_map(name).collect(),
        depth: step.depth,
    };
    flow.steps.iter().map(node).collect()
}
