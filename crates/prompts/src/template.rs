//! Chat templates: renders a conversation to a prompt with the model's own Jinja template, which is written
//! for Python.

mod bounds;
mod python;

use std::panic::AssertUnwindSafe;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output, State, context};
use serde::Serialize;

use self::bounds::Program;
use crate::limits::{TEMPLATE_BYTES_MAX, WRITTEN_BYTES_MAX};
use crate::{ModelFormat, PromptError};

const NAME: &str = "chat";
/// Instruction limit, so that every rendering ends.
const FUEL: u64 = 4_000_000;
/// The variable that counts it during a rendering.
const WRITTEN: &str = "written";

/// A model's chat template.
#[derive(Debug)]
pub struct Template {
    environment: Environment<'static>,
    source: String,
    syntax: SyntaxConfig,
    manner: ModelFormat,
}

fn too_much() -> String {
    format!("it writes more than {WRITTEN_BYTES_MAX} bytes")
}

/// `tojson` as chat templates expect it: in Python's formatting, without HTML escapes.
#[expect(clippy::needless_pass_by_value, reason = "filters are given them so")]
fn to_json(value: &Value, arguments: Kwargs) -> Result<String, Error> {
    let separators = match arguments.get::<Option<Vec<String>>>("separators")?.as_deref() {
        None => None,
        Some([item, colon]) => Some((item.clone(), colon.clone())),
        Some(_) => return raise("\"separators\" are two").map(|_| String::new()),
    };
    let mut style = python::Style {
        indent: arguments.get("indent")?,
        separators,
        is_ascii: arguments.get::<Option<bool>>("ensure_ascii")?.unwrap_or_default(),
        sorts: arguments.get::<Option<bool>>("sort_keys")?.unwrap_or_default(),
    };
    arguments.assert_all_used()?;
    bounds::weigh(value)?;
    // A wider indentation helps no reader.
    style.indent = style.indent.map(|indent| indent.min(8));
    let value = serde_json::to_value(value);
    let value = value.map_err(|error| Error::new(ErrorKind::InvalidOperation, error.to_string()))?;
    Ok(python::json(&value, &style))
}

/// The formatter of `{{ }}`.
fn write(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    let bytes = match value.as_str() {
        Some(text) => text.len(),
        None => bounds::weigh(value)?,
    };
    let before = state.get_temp(WRITTEN).and_then(|count| usize::try_from(count).ok()).unwrap_or_default();
    if before + bytes > WRITTEN_BYTES_MAX {
        return Err(Error::new(ErrorKind::InvalidOperation, too_much()));
    }
    state.set_temp(WRITTEN, Value::from(before + bytes));
    match as_float(value) {
        Some(number) => Ok(out.write_str(&python::float(number))?),
        None => minijinja::escape_formatter(out, state, value),
    }
}

/// The `string` filter, with numbers as Python writes them.
fn to_text(value: &Value) -> Result<String, Error> {
    bounds::weigh(value)?;
    Ok(as_float(value).map_or_else(|| value.to_string(), python::float))
}

fn as_float(value: &Value) -> Option<f64> {
    let is_float = value.is_number() && !value.is_integer();
    is_float.then(|| f64::try_from(value.clone()).ok()).flatten()
}

fn is_list(value: &Value) -> bool {
    use ValueKind::{Iterable, Map, Seq, String, Undefined};
    matches!(value.kind(), Iterable | Map | Seq | String | Undefined)
}

fn raise(message: &str) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message.to_owned()))
}

fn template_error(error: &Error) -> PromptError {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    let message = cause.or_else(|| error.detail().map(str::to_owned));
    PromptError::Template(message.unwrap_or_else(|| error.to_string()))
}

/// Removes `{% generation %}` tags, which mark assistant output for training; their content is rendered like
/// the rest.
fn without_marks(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, behind)) = rest.split_once("{%") {
        out.push_str(before);
        out.push_str("{%");
        let Some((tag, after)) = behind.split_once("%}") else {
            rest = behind;
            break;
        };
        match tag.trim_matches(['-', '+']).trim() {
            word @ ("generation" | "endgeneration") => {
                let meant = if word == "generation" { "if true" } else { "endif" };
                out.push_str(&tag.replacen(word, meant, 1));
            }
            _ => out.push_str(tag),
        }
        out.push_str("%}");
        rest = after;
    }
    out.push_str(rest);
    out
}

impl Template {
    /// # Errors
    /// The source is not a valid template.
    pub fn new(source: &str) -> Result<Self, PromptError> {
        if source.len() > TEMPLATE_BYTES_MAX {
            return Err(PromptError::Template(format!("it is longer than {TEMPLATE_BYTES_MAX} bytes")));
        }
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        let syntax = syntax.map_err(|error| template_error(&error))?;
        let mut environment = Environment::new();
        bounds::hold(&mut environment);
        environment.set_fuel(Some(FUEL));
        environment.set_formatter(write);
        environment.add_filter("tojson", to_json);
        environment.add_filter("string", to_text);
        // As in Python, `none` is not iterable, and strings and mappings are.
        environment.add_test("iterable", is_list);
        environment.add_test("sequence", is_list);
        environment.add_function("raise_exception", |message: String| raise(&message));
        let manner = ModelFormat::of(source);
        let source = without_marks(source);
        Program::read(NAME, &source, syntax.clone()).map_err(|error| template_error(&error))?;
        Ok(Self { environment, source, syntax, manner })
    }

    /// The output format of the template's model.
    pub const fn manner(&self) -> ModelFormat {
        self.manner
    }

    /// Renders a conversation. `context` has `messages`, and what else the template uses: `tools`,
    /// `add_generation_prompt`, `enable_thinking`. The time is for templates that tell the model the date, in
    /// UTC.
    ///
    /// # Errors
    /// The template rejects the conversation, in its own words; or it exceeds its limits.
    pub fn render(&self, context: &impl Serialize, now_unix_s: u64) -> Result<String, PromptError> {
        let program =
            Program::read(NAME, &self.source, self.syntax.clone()).map_err(|error| template_error(&error))?;
        let clock = Value::from_function(move |format: String| python::time(&format, now_unix_s));
        let context = context! { strftime_now => clock, ..Value::from(Serde(context)) };
        // minijinja panics when a template reverses an empty list, and any template may do so.
        let rendering = AssertUnwindSafe(|| program.run(&self.environment, context));
        match std::panic::catch_unwind(rendering) {
            Ok(rendered) => rendered.map_err(|error| template_error(&error)),
            Err(_) => Err(PromptError::Template("it does what can't be done".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The hard parts of Qwen's template: Python methods, slices, reverse loops, and values written as JSON.
    const QWEN: &str = r##"{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0].role == 'system' %}
        {{- messages[0].content + '\n\n' }}
    {%- endif %}
    {{- "# Tools\n" }}
    {%- for tool in tools %}
        {{- "\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "<|im_end|>\n" }}
{%- endif %}
{%- set ns = namespace(last=-1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.last < 0 and message.role == "user" and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == "assistant" %}
        {%- set content = message.content %}
        {%- if '</think>' in content %}
            {%- set content = content.split('</think>')[-1].lstrip('\n') %}
        {%- endif %}
        {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>\n' }}
    {%- elif message.role == "user" %}
        {{- '<|im_start|>user\n' + message.content.strip() + '<|im_end|>\n' }}
    {%- else %}
        {{- raise_exception('Unexpected role: ' + message.role) }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %}"##;

    #[test]
    fn a_conversation_is_written_as_python_would() {
        let template = Template::new(QWEN).unwrap();
        let messages = json!([
            {"role": "user", "content": " <b>Hi</b> & \"bye\" "},
            {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHello"},
            {"role": "user", "content": "né"},
        ]);
        let plain =
            template.render(&json!({"messages": messages, "add_generation_prompt": true}), 0).unwrap();
        let wanted = "<|im_start|>user\n<b>Hi</b> & \"bye\"<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n\
                      <|im_start|>user\nné<|im_end|>\n<|im_start|>assistant\n";
        assert_eq!(plain, wanted);
        let quiet = json!({"messages": messages, "add_generation_prompt": true, "enable_thinking": false});
        assert_eq!(template.render(&quiet, 0).unwrap(), format!("{wanted}<think>\n\n</think>\n\n"));
        let tools = json!([{"type": "function", "function": {"name": "f<é>", "parameters": {"a": [1, 2.5, true, null]}}}]);
        let with = template.render(&json!({"messages": messages, "tools": tools}), 0).unwrap();
        let written = r#"{"type": "function", "function": {"name": "f<é>", "parameters": {"a": [1, 2.5, true, null]}}}"#;
        assert!(with.starts_with(&format!("<|im_start|>system\n# Tools\n\n{written}<|im_end|>\n")), "{with}");
    }

    #[test]
    fn a_refusal_is_in_the_templates_words() {
        let template = Template::new(QWEN).unwrap();
        let error = template.render(&json!({"messages": [{"role": "judge", "content": ""}]}), 0).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the model's template refuses the conversation: Unexpected role: judge"
        );
        assert!(Template::new("{% if %}").is_err());
        let endless =
            Template::new("{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}");
        let error = endless.unwrap().render(&json!({}), 0).unwrap_err();
        assert!(error.to_string().contains("fuel"), "{error}");
    }
    #[test]
    fn a_template_that_does_too_much_ends_in_an_error() {
        for (source, why) in [
            ("{% for a in range(99999) %}{% for b in range(99999) %}{{ a }}{% endfor %}{% endfor %}", "fuel"),
            ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
            ("{{ 'x' * 99999999999 }}", "too large"),
            ("{% for a in [][::-1] %}{{ a }}{% endfor %}", "can't be done"),
            (
                "{% set x = 'x' * 1000000 %}{% for a in range(100) %}{{ x }}{% endfor %}",
                "more than 67108864 bytes",
            ),
            (
                "{% set x = 'x' * 1000000 %}{% set y %}{% for a in range(100) %}{{ x }}{% endfor %}{% endset %}",
                "more than",
            ),
            (
                "{% for a in range(999) %}aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa{% endfor %}{{ raise_exception('here') }}",
                "here",
            ),
        ] {
            let error = Template::new(source).unwrap().render(&json!({}), 0).unwrap_err().to_string();
            assert!(error.contains(why), "{source}: {error}");
        }
        let long = format!("{{% for a in range(9999) %}}{}{{% endfor %}}", "a".repeat(10_000));
        let error = Template::new(&long).unwrap().render(&json!({}), 0).unwrap_err().to_string();
        assert!(error.contains("more than"), "{error}");
        assert!(Template::new(&"a".repeat(TEMPLATE_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn a_template_is_told_the_time_and_its_marks_are_passed_over() {
        let source = "{%- generation -%} {{ strftime_now('%d %b %Y') }} {%- endgeneration %}!{% if strftime_now is defined %}?{% endif %}";
        let text = Template::new(source).unwrap().render(&json!({}), 1_753_000_000).unwrap();
        assert_eq!(text, "20 Jul 2025!?");
    }
}
