//! Training data: conversations as JSON Lines, rendered by the model's chat template. Only the assistant's
//! messages are trained on; the rest is context. All unusable lines are reported before training starts.

use std::fmt;

use prompts::{PromptError, Template, Vocabulary};
use serde_json::{Map, Value, json};

use crate::limits::BAD_LINES_MAX;

/// A tokenized example, and which of its tokens are targets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Example {
    pub tokens: Vec<u32>,
    /// True for the tokens that the model is trained to predict.
    pub is_learned: Vec<bool>,
}

/// An unusable line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// Counts from 1.
    pub line: usize,
    /// The field that is wrong; empty where the line itself is.
    pub field: String,
    pub why: String,
}

/// The unusable lines, up to a bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLines {
    pub lines: Vec<BadLine>,
    /// How many more there are.
    pub more: usize,
}

/// How conversations become token sequences.
#[derive(Debug, Clone, Copy)]
pub struct DatasetReader<'a> {
    pub template: &'a Template,
    pub vocabulary: &'a Vocabulary,
    /// Maximum length of a text in tokens.
    pub longest: usize,
}

const ROLES: [&str; 4] = ["system", "user", "assistant", "tool"];
/// The fields that a line may have; `parallel_tool_calls` is ignored.
const FIELDS: [&str; 3] = ["messages", "tools", "parallel_tool_calls"];

/// A field, and what is wrong with it.
type Wrong = (String, String);

struct Conversation {
    messages: Vec<Value>,
    tools: Option<Value>,
    /// Indices of the messages that are trained on.
    answers: Vec<usize>,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => write!(f, "line {}: {}", self.line, self.why),
            field => write!(f, "line {}: {field} {}", self.line, self.why),
        }
    }
}

impl fmt::Display for BadLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, line) in self.lines.iter().enumerate() {
            write!(f, "{}{line}", if index > 0 { "; " } else { "" })?;
        }
        if self.more > 0 {
            write!(f, "; and {} more", self.more)?;
        }
        Ok(())
    }
}

impl std::error::Error for BadLines {}

fn wrong<T>(field: impl Into<String>, why: impl Into<String>) -> Result<T, Wrong> {
    Err((field.into(), why.into()))
}

impl Conversation {
    fn read(line: &[u8]) -> Result<Self, Wrong> {
        let value: Value = match serde_json::from_slice(line) {
            Ok(value) => value,
            Err(error) => return wrong("", format!("isn't JSON: {error}")),
        };
        let Value::Object(mut fields) = value else { return wrong("", "isn't a JSON object") };
        if let Some(field) = fields.keys().find(|field| !FIELDS.contains(&field.as_str())) {
            return wrong(field, "isn't a known field");
        }
        let tools = fields.remove("tools").filter(|tools| !tools.is_null());
        if tools.as_ref().is_some_and(|tools| !tools.is_array()) {
            return wrong("tools", "isn't a list");
        }
        let Some(Value::Array(mut messages)) = fields.remove("messages") else {
            return wrong("messages", "is missing or isn't a list");
        };
        let mut answers = Vec::new();
        for (index, message) in messages.iter_mut().enumerate() {
            let at = |field: &str| format!("messages[{index}]{field}");
            let Value::Object(message) = message else { return wrong(at(""), "isn't a JSON object") };
            let weight = message.remove("weight").filter(|weight| !weight.is_null());
            let is_learned = match weight.as_ref().map(Value::as_f64) {
                None => true,
                Some(Some(weight)) if weight == 0.0 || weight == 1.0 => weight == 1.0,
                Some(_) => return wrong(at(".weight"), "is neither 0 nor 1"),
            };
            if check_message(message, at)? && is_learned {
                answers.push(index);
            }
        }
        match answers.last() {
            Some(last) => messages.truncate(last + 1),
            None => return wrong("messages", "have no assistant message to learn from"),
        }
        Ok(Self { messages, tools, answers })
    }

    /// Renders the first `messages` messages.
    fn render(&self, template: &Template, messages: usize, adds_prompt: bool) -> Result<String, Wrong> {
        let mut context = json!({
            "messages": self.messages.iter().take(messages).collect::<Vec<_>>(), "add_generation_prompt": adds_prompt,
        });
        if let (Some(context), Some(tools)) = (context.as_object_mut(), &self.tools) {
            context.insert("tools".to_owned(), tools.clone());
        }
        // Rendered with a fixed date instead of today's: a run that resumes must get the same texts.
        template.render(&context, 0).map_err(|error| match error {
            PromptError::Template(why) => ("messages".into(), format!("are refused by the template: {why}")),
            other => ("messages".into(), other.to_string()),
        })
    }
}

/// Checks a message. Returns whether it is the assistant's.
fn check_message(message: &Map<String, Value>, at: impl Fn(&str) -> String) -> Result<bool, Wrong> {
    let role = message.get("role").and_then(Value::as_str);
    let Some(role) = role.filter(|role| ROLES.contains(role)) else {
        return wrong(at(".role"), format!("isn't one of {}", ROLES.join(", ")));
    };
    let calls = match message.get("tool_calls") {
        None | Some(Value::Null) => false,
        Some(Value::Array(calls)) if !calls.is_empty() && role == "assistant" => true,
        Some(_) => return wrong(at(".tool_calls"), "isn't a list of an assistant's calls"),
    };
    match message.get("content") {
        Some(Value::String(_)) => {}
        None | Some(Value::Null) if calls => {}
        _ => return wrong(at(".content"), "isn't text"),
    }
    Ok(role == "assistant")
}

impl DatasetReader<'_> {
    /// Reads all lines. A conversation makes one text, or one for each trained answer where the template
    /// renders earlier answers differently once later ones follow.
    ///
    /// # Errors
    /// The unusable lines, up to a bound.
    pub fn read(&self, lines: &[u8]) -> Result<Vec<Example>, BadLines> {
        self.read_while(lines, &|| true).map(Option::unwrap_or_default)
    }

    /// Like `read`; `None` where `may_go_on`, which is called before each text, returned false.
    ///
    /// # Errors
    /// The unusable lines, up to a bound.
    pub fn read_while(
        &self,
        lines: &[u8],
        may_go_on: &dyn Fn() -> bool,
    ) -> Result<Option<Vec<Example>>, BadLines> {
        let mut texts = Vec::new();
        let mut bad = BadLines { lines: Vec::new(), more: 0 };
        for (index, line) in lines.split(|byte| *byte == b'\n').enumerate() {
            if line.trim_ascii().is_empty() {
                continue;
            }
            let made = Conversation::read(line).and_then(|conversation| self.texts(&conversation, may_go_on));
            if !may_go_on() {
                return Ok(None);
            }
            match made {
                Ok(more) => texts.extend(more),
                Err(_) if bad.lines.len() >= BAD_LINES_MAX => bad.more += 1,
                Err((field, why)) => bad.lines.push(BadLine { line: index + 1, field, why }),
            }
        }
        if bad.lines.is_empty() { Ok(Some(texts)) } else { Err(bad) }
    }

    /// Where `may_go_on` returns false, the result is incomplete and must be discarded.
    fn texts(
        &self,
        conversation: &Conversation,
        may_go_on: &dyn Fn() -> bool,
    ) -> Result<Vec<Example>, Wrong> {
        let mut answers = Vec::new();
        for index in &conversation.answers {
            if !may_go_on() {
                return Ok(vec![]);
            }
            let before = conversation.render(self.template, *index, true)?;
            let through = conversation.render(self.template, index + 1, false)?;
            if through.len() <= before.len() || !through.starts_with(&before) {
                let why = "isn't placed after its prompt by the template";
                return wrong(format!("messages[{index}]"), why);
            }
            answers.push((before.len(), through));
        }
        let Some((_, whole)) = answers.last() else { return Ok(vec![]) };
        let mut end = 0;
        let is_one = answers.iter().all(|(before, through)| {
            let follows = *before >= end && whole.starts_with(through.as_str());
            end = through.len();
            follows
        });
        let texts = if is_one {
            let spans: Vec<_> = answers.iter().map(|(before, through)| (*before, through.len())).collect();
            vec![self.text(whole, &spans)?]
        } else {
            let each = answers.iter().take_while(|_| may_go_on());
            let each = each.map(|(before, through)| self.text(through, &[(*before, through.len())]));
            each.collect::<Result<_, _>>()?
        };
        match texts.iter().map(|text| text.tokens.len()).find(|length| *length > self.longest) {
            Some(length) => {
                wrong("messages", format!("make {length} tokens, and at most {} are allowed", self.longest))
            }
            None => Ok(texts),
        }
    }

    /// Answers are tokenized apart from what precedes them, as they are when the model generates them.
    fn text(&self, whole: &str, spans: &[(usize, usize)]) -> Result<Example, Wrong> {
        let (mut text, mut at) = (Example::default(), 0);
        let mut add = |piece: &str, is_learned: bool| match self.vocabulary.tokens(piece) {
            Ok(tokens) => {
                text.is_learned.extend(tokens.iter().map(|_| is_learned));
                text.tokens.extend(tokens);
                Ok(())
            }
            Err(error) => wrong("messages", error.to_string()),
        };
        for (start, end) in spans {
            add(whole.get(at..*start).unwrap_or_default(), false)?;
            add(whole.get(*start..*end).unwrap_or_default(), true)?;
            at = *end;
        }
        Ok(text)
    }
}
