//! Tool calls as a grammar constraint: which tools, with which arguments, in the format that the model writes
//! them in.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use domain::prompt::ToolChoice;
use prompts::Form;
use serde_json::Value as Json;

use super::error::ConstraintError;
use super::schema;
use super::spelling::with_spelling;

/// The most tools of a request.
const TOOLS: usize = 128;
/// The most parameters of a tool in the tagged form, where each has a grammar rule of its own.
const PARAMETERS: usize = 256;

/// A tool that may be called.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    pub name: String,
    /// The JSON Schema of its arguments; without one it takes none.
    pub schema: Option<Json>,
}

/// The tool calls that an answer must have.
#[derive(Debug, Clone, PartialEq)]
pub struct Calls {
    pub form: Form,
    pub tools: Vec<Tool>,
    /// Several calls may follow each other.
    pub several: bool,
    /// Plain text is allowed instead of calls, or before them.
    pub or_text: bool,
}

impl Calls {
    /// The calls that a `tool_choice` requires; `None` if the model is free to call any tool, or none.
    ///
    /// # Errors
    /// The choice names a tool that does not exist.
    pub fn chosen(
        choice: &ToolChoice,
        tools: &[Tool],
        form: Form,
        several: bool,
    ) -> Result<Option<Self>, ConstraintError> {
        let named = |name: &String| {
            let found = tools.iter().find(|tool| tool.name == *name).cloned();
            found.ok_or_else(|| {
                ConstraintError::new(
                    "/tool_choice",
                    format!("names \"{name}\", which isn't one of the tools"),
                )
            })
        };
        let calls = |tools, several, or_text| Some(Self { form, tools, several, or_text });
        Ok(match choice {
            ToolChoice::Auto | ToolChoice::None => None,
            ToolChoice::Required => calls(tools.to_vec(), several, false),
            ToolChoice::Named { name, .. } => calls(vec![named(name)?], false, false),
            ToolChoice::Allowed { names, is_required } => {
                calls(names.iter().map(named).collect::<Result<_, _>>()?, several, !is_required)
            }
        })
    }

    /// The Lark grammar of these calls; `tag` writes a tag.
    pub(super) fn grammar(&self, tag: &dyn Fn(&str) -> String) -> Result<String, ConstraintError> {
        if self.tools.is_empty() || self.tools.len() > TOOLS {
            return Err(ConstraintError::new("/tools", format!("must contain from 1 to {TOOLS} tools")));
        }
        let open = tag("<tool_call>");
        let mut rules = String::new();
        let rest = if self.several { " (\"\\n\" call)*" } else { "" };
        match (self.or_text, open.starts_with('"')) {
            (false, _) => writeln!(rules, "start: call{rest}"),
            (true, false) => writeln!(rules, "start: /(?s:.*)/ (call{rest})?"),
            // The tag is plain text here, so the text before it ends at its first occurrence.
            (true, true) => writeln!(
                rules,
                "start: TEXT | before call_rest{rest}\nTEXT: /(?s:.*)/ & ~/(?s:.*)<tool_call>(?s:.*)/\n\
                 before[suffix={open}]: /(?s:.*)/\ncall_rest: \"\\n\" one \"\\n</tool_call>\""
            ),
        }
        .map_err(write_error)?;
        let names: Vec<String> = (0..self.tools.len()).map(|index| format!("tool_{index}")).collect();
        let close = tag("</tool_call>");
        writeln!(rules, "call: {open} \"\\n\" one \"\\n\" {close}\none: {}", names.join(" | "))
            .map_err(write_error)?;
        for (index, tool) in self.tools.iter().enumerate() {
            let of_tool = |error: ConstraintError| error.within(&format!("/tools/{index}/parameters"));
            match self.form {
                Form::Json => tool.as_json(index, &mut rules).map_err(of_tool)?,
                Form::Tagged => tool.as_tags(index, &mut rules).map_err(of_tool)?,
            }
        }
        Ok(rules)
    }
}

impl Tool {
    fn as_json(&self, index: usize, rules: &mut String) -> Result<(), ConstraintError> {
        let arguments = match &self.schema {
            Some(schema) => nest(schema::Checked::of(schema)?.whole()),
            None => quote("{}"),
        };
        let name = serde_json::to_string(&self.name).unwrap_or_default();
        let before = quote(&format!("{{\"name\": {name}, \"arguments\": "));
        writeln!(rules, "tool_{index}: {before} {arguments} \"}}\"").map_err(write_error)
    }

    fn as_tags(&self, index: usize, rules: &mut String) -> Result<(), ConstraintError> {
        if self.name.is_empty() || self.name.contains(['<', '>', '\n']) {
            return Err(ConstraintError::new("", "belongs to a tool whose name can't be used in a tag"));
        }
        let parameters = match &self.schema {
            Some(schema) => schema::Checked::of(schema)?.parameters(PARAMETERS)?,
            None => Vec::new(),
        };
        let mut all = String::new();
        let mut values = BTreeMap::new();
        for (at, parameter) in parameters.iter().enumerate() {
            let before = quote(&format!("<parameter={}>\n", parameter.name));
            let one = format!("{before} value_{index}_{at}");
            let _ = if parameter.is_required { write!(all, " {one}") } else { write!(all, " ({one})?") };
            values.insert(at, &parameter.value);
        }
        let (before, after) = (quote(&format!("<function={}>\n", self.name)), quote("</function>"));
        writeln!(rules, "tool_{index}: {before}{all} {after}").map_err(write_error)?;
        for (at, value) in values {
            let end = quote("\n</parameter>\n");
            let rule = match value {
                schema::Value::Json(schema) => {
                    format!("value_{index}_{at}: {} {end}", nest(schema.clone()))
                }
                schema::Value::Text(body) => {
                    format!(
                        "value_{index}_{at}[suffix={end}]: {body} & ~/(?s:.*)\\n<\\/parameter>\\n(?s:.*)/"
                    )
                }
                schema::Value::OneOf(texts) => {
                    let texts: Vec<String> = texts.iter().map(|text| quote(text)).collect();
                    format!("value_{index}_{at}: ({}) {end}", texts.join(" | "))
                }
            };
            writeln!(rules, "{rule}").map_err(write_error)?;
        }
        Ok(())
    }
}

/// A string literal of the grammar.
pub(super) fn quote(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

/// A JSON Schema embedded in the grammar.
fn nest(schema: Json) -> String {
    format!("%json {}", with_spelling(schema))
}

fn write_error(_: std::fmt::Error) -> ConstraintError {
    ConstraintError::new("", "can't be converted to a grammar")
}
