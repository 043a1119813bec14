//! How a conversation becomes one text: by the template that comes with a model, which is written for Python's Jinja.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value};
use minijinja::{Environment, Error, ErrorKind};
use serde::Serialize;
use serde_json::ser::Formatter;

use crate::EngineError;

const NAME: &str = "chat";
/// What a template may do, so that none goes on for ever.
const FUEL: u64 = 10_000_000;

/// A model's template.
#[derive(Debug)]
pub struct Template {
    environment: Environment<'static>,
}

/// As Python writes it: a space behind commas and colons.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + std::io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W) -> std::io::Result<()> {
        out.write_all(b": ")
    }
}

/// `tojson` as such templates mean it: nothing is escaped for a page.
fn to_json(value: &Value, arguments: Kwargs) -> Result<String, Error> {
    let indent = arguments.get::<Option<usize>>("indent")?;
    // Characters are always written as they are, and keys stay in their order.
    let _ = (arguments.get::<Option<bool>>("ensure_ascii")?, arguments.get::<Option<bool>>("sort_keys")?);
    arguments.assert_all_used()?;
    let mut out = Vec::new();
    let written = match indent {
        Some(indent) => {
            let indent = " ".repeat(indent);
            let formatter = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, formatter))
        }
        None => value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, Spaced)),
    };
    written.map_err(|error| Error::new(ErrorKind::InvalidOperation, error.to_string()))?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn raise(message: &str) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message.to_owned()))
}

fn told(error: &Error) -> EngineError {
    EngineError::Template(error.detail().map_or_else(|| error.to_string(), str::to_owned))
}

impl Template {
    /// # Errors
    /// It is no template.
    pub fn new(source: &str) -> Result<Self, EngineError> {
        let mut environment = Environment::new();
        environment.set_syntax(
            SyntaxConfig::builder()
                .trim_blocks(true)
                .lstrip_blocks(true)
                .build()
                .map_err(|error| told(&error))?,
        );
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_fuel(Some(FUEL));
        environment.add_filter("tojson", to_json);
        environment.add_function("raise_exception", |message: String| raise(&message));
        environment.add_template_owned(NAME, source.to_owned()).map_err(|error| told(&error))?;
        Ok(Self { environment })
    }

    /// The text of a conversation. `context` has `messages`, and what else the template asks for: `tools`,
    /// `add_generation_prompt`, `enable_thinking`.
    ///
    /// # Errors
    /// The template refuses the conversation, in its own words.
    pub fn render(&self, context: &impl Serialize) -> Result<String, EngineError> {
        let template = self.environment.get_template(NAME).map_err(|error| told(&error))?;
        template.render(Value::from(Serde(context))).map_err(|error| told(&error))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The parts of Qwen's that are hard: Python's methods, slices, loops backwards, and values that are written as JSON.
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
        let plain = template.render(&json!({"messages": messages, "add_generation_prompt": true})).unwrap();
        let wanted = "<|im_start|>user\n<b>Hi</b> & \"bye\"<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n\
                      <|im_start|>user\nné<|im_end|>\n<|im_start|>assistant\n";
        assert_eq!(plain, wanted);
        let quiet = json!({"messages": messages, "add_generation_prompt": true, "enable_thinking": false});
        assert_eq!(template.render(&quiet).unwrap(), format!("{wanted}<think>\n\n</think>\n\n"));
        let tools = json!([{"type": "function", "function": {"name": "f<é>", "parameters": {"a": [1, 2.5, true, null]}}}]);
        let with = template.render(&json!({"messages": messages, "tools": tools})).unwrap();
        let written = r#"{"type": "function", "function": {"name": "f<é>", "parameters": {"a": [1, 2.5, true, null]}}}"#;
        assert!(with.starts_with(&format!("<|im_start|>system\n# Tools\n\n{written}<|im_end|>\n")), "{with}");
    }

    #[test]
    fn a_refusal_is_in_the_templates_words() {
        let template = Template::new(QWEN).unwrap();
        let error = template.render(&json!({"messages": [{"role": "judge", "content": ""}]})).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the model's template refuses the conversation: Unexpected role: judge"
        );
        assert!(Template::new("{% if %}").is_err());
        let endless =
            Template::new("{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}");
        let error = endless.unwrap().render(&json!({})).unwrap_err();
        assert!(error.to_string().contains("fuel"), "{error}");
    }
}
