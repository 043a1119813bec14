//! Turns a decoded prompt into the input of a chat template: messages, tools and settings, in the shape that
//! template authors know from Hugging Face `transformers`. The models here take text only, so other content
//! is refused.

use std::ops::Range;

use domain::prompt::{Content, Effort, Part, Role, Source, ToolCall, ToolKind, ToolResult, Turn};
use domain::{Fault, FaultClass, Prompt};
use serde_json::{Map, Value, json};

use crate::output_parser::{Form, is_offered};
use crate::special_tokens::{Guard, SpecialTokens};
use crate::{ModelFormat, PromptError, Template};

/// Appended to a final message that is to be continued, so that its end is found again in the rendered
/// prompt.
const MARK: &str = "CONTINUE_FINAL_MESSAGE_TAG ";

/// The input of a chat template.
#[derive(Debug, Clone, PartialEq)]
pub struct Conversation {
    messages: Vec<Value>,
    tools: Option<Vec<Value>>,
    settings: Map<String, Value>,
    /// Values from the model's own files, for example `bos_token`.
    own: Map<String, Value>,
    last: Last,
}

/// What the template appends after the last message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    /// The header of an assistant turn (`add_generation_prompt`).
    Answer,
    /// Nothing, and the last message stays open: the model continues it (assistant prefill).
    More,
    /// Nothing.
    Nothing,
}

/// The rendered prompt from which the model generates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedPrompt {
    pub text: String,
    /// The prompt ends inside an open `<think>` block.
    pub is_in_thought: bool,
    /// Byte positions inside text that looks like a special token but comes from user input.
    pub written: Vec<usize>,
}

impl RenderedPrompt {
    /// Whether the special-token text at this range comes from user input rather than from the template.
    pub fn is_written(&self, range: &Range<usize>) -> bool {
        let next = self.written.partition_point(|position| *position <= range.start);
        self.written.get(next).is_some_and(|position| *position < range.end)
    }
}

impl Conversation {
    /// # Errors
    /// The prompt has content that a text model can't take; the fault says what and where.
    pub fn of(prompt: &Prompt, manner: ModelFormat) -> Result<Self, Box<Fault>> {
        let mut writing = Writing { manner, messages: Vec::new(), names: Vec::new() };
        let instructions: Vec<&str> =
            prompt.instructions.iter().map(|instruction| instruction.text.as_str()).collect();
        if !instructions.is_empty() {
            // All instructions go into one message: most templates support a single system message, in first
            // place.
            writing.messages.push(json!({"role": "system", "content": instructions.join("\n\n")}));
        }
        for turn in &prompt.turns {
            writing.write(turn)?;
        }
        let mut settings = Map::new();
        if let Some(thinks) = thinks(prompt).filter(|_| manner.has_thinking_switch) {
            settings.insert("enable_thinking".to_owned(), thinks.into());
        }
        let messages = writing.messages;
        let goes_on = messages.last().is_some_and(|last| {
            last.get("role").is_some_and(|role| role == "assistant") && last.get("tool_calls").is_none()
        });
        let last = if goes_on { Last::More } else { Last::Answer };
        let tools = Some(tools(prompt)?).filter(|tools| !tools.is_empty());
        Ok(Self { messages, tools, settings, own: Map::new(), last })
    }

    /// Takes messages and tools in the form of `transformers`' `apply_chat_template`.
    pub fn new(messages: Vec<Value>, tools: Option<Vec<Value>>, last: Last) -> Self {
        Self { messages, tools, settings: Map::new(), own: Map::new(), last }
    }

    /// Adds a template setting from elsewhere. Settings from the prompt take precedence.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.settings.entry(name).or_insert_with(|| value.into());
    }

    /// Adds a value from the model's own files, for example `bos_token`. Special tokens in it count as such.
    pub fn set_own(&mut self, name: &str, value: impl Into<Value>) {
        self.own.insert(name.to_owned(), value.into());
    }

    /// Renders the prompt. Special-token text in messages, tools and settings is told apart from the special
    /// tokens that the template itself writes; `chance` must return unpredictable numbers for that.
    ///
    /// # Errors
    /// The template rejects the conversation, or drops the message that is to be continued.
    pub fn open(
        &self,
        template: &Template,
        special_tokens: &SpecialTokens,
        chance: &dyn Fn() -> u64,
        now_unix_s: u64,
    ) -> Result<RenderedPrompt, PromptError> {
        let guard = Guard::new(special_tokens, chance);
        let (mut messages, mut tools, mut context) =
            (self.messages.clone(), self.tools.clone(), self.settings.clone());
        messages.iter_mut().for_each(|message| guard.message(message));
        tools.iter_mut().flatten().for_each(|tool| guard.function(tool));
        context.values_mut().for_each(|value| guard.setting(value));
        for (name, value) in &self.own {
            context.entry(name).or_insert_with(|| value.clone());
        }
        let goes_on = self.last == Last::More;
        let last = messages.last_mut().filter(|_| goes_on);
        if let Some(Value::String(content)) = last.and_then(|last| last.get_mut("content")) {
            content.push_str(MARK);
        }
        context.insert("messages".to_owned(), messages.into());
        context.insert("tools".to_owned(), tools.into());
        context.insert("documents".to_owned(), Value::Null);
        context.insert("add_generation_prompt".to_owned(), (self.last == Last::Answer).into());
        let mut text = template.render(&context, now_unix_s)?;
        if goes_on {
            cut(&mut text)?;
        }
        let (text, written) = guard.lift(text);
        let is_in_thought = template.manner().is_in_thought(&text);
        Ok(RenderedPrompt { text, is_in_thought, written })
    }
}

/// Cuts the rendered prompt off where the model is to continue.
fn cut(text: &mut String) -> Result<(), PromptError> {
    let lost = || PromptError::Template("it leaves out the answer that is to be continued".to_owned());
    let at = text.rfind(MARK.trim_end()).ok_or_else(lost)?;
    let is_trimmed = !text.get(at..).is_some_and(|rest| rest.starts_with(MARK));
    text.truncate(at);
    if is_trimmed {
        // The template trims trailing white space, so the white space before the mark goes, too.
        text.truncate(text.trim_end().len());
    }
    Ok(())
}

/// Whether the model should reason; `None` if the request does not say.
fn thinks(prompt: &Prompt) -> Option<bool> {
    let reasoning = &prompt.reasoning;
    match (reasoning.effort, reasoning.budget_tokens) {
        (Some(Effort::None), _) | (_, Some(0)) => Some(false),
        (None, None) => reasoning.is_adaptive.then_some(true),
        _ => Some(true),
    }
}

fn tools(prompt: &Prompt) -> Result<Vec<Value>, Box<Fault>> {
    let mut tools = Vec::new();
    for (index, tool) in prompt.tools.iter().enumerate() {
        let ToolKind::Function { name, description, schema, strict } = &tool.kind else {
            let what = match &tool.kind {
                ToolKind::Hosted { kind, .. } => {
                    format!("is a tool of the kind \"{kind}\", which isn't supported here")
                }
                _ => "is a tool that takes free text".to_owned(),
            };
            let fix = "Send tools of the kind \"function\" only.";
            return Err(refuse(Some(&format!("tools[{index}]")), "A tool", &what, fix));
        };
        if !is_offered(prompt, name) {
            continue;
        }
        let mut function = Map::new();
        function.insert("name".to_owned(), name.as_str().into());
        if let Some(description) = description {
            function.insert("description".to_owned(), description.as_str().into());
        }
        let schema = schema.as_ref().and_then(|schema| serde_json::from_str(schema.as_str()).ok());
        let nothing = || json!({"type": "object", "properties": {}});
        function.insert("parameters".to_owned(), schema.unwrap_or_else(nothing));
        if let Some(strict) = strict {
            function.insert("strict".to_owned(), (*strict).into());
        }
        tools.push(json!({"type": "function", "function": function}));
    }
    Ok(tools)
}

/// The fault for content that no chat template takes.
fn refuse(path: Option<&str>, thing: &str, what: &str, fix: &'static str) -> Box<Fault> {
    let subject = path.map_or_else(|| thing.to_owned(), |path| format!("\"{path}\""));
    let message = format!("{subject} {what}, and this model reads text alone.");
    let fault = Fault::new(FaultClass::Unsupported, "unsupported_content", message).fix(fix);
    Box::new(match path {
        Some(path) => fault.param(path.to_owned()),
        None => fault,
    })
}

fn refuse_part(part: &Part, what: &str) -> Box<Fault> {
    refuse(part.path.as_str(), "A part of a message", what, "Send text parts only.")
}

struct Writing {
    manner: ModelFormat,
    messages: Vec<Value>,
    /// Tool names by call id, in order, to name the tool of a result that gives only the id.
    names: Vec<(String, String)>,
}

impl Writing {
    fn write(&mut self, turn: &Turn) -> Result<(), Box<Fault>> {
        match turn.role {
            Role::Tool => turn.parts.iter().try_for_each(|part| self.result(part)),
            Role::Assistant => self.answer(turn),
            Role::System | Role::Developer => self.say("system", turn),
            Role::User => self.say("user", turn),
        }
    }

    fn say(&mut self, role: &str, turn: &Turn) -> Result<(), Box<Fault>> {
        self.push(role, turn, texts(&turn.parts)?, Map::new());
        Ok(())
    }

    fn push(&mut self, role: &str, turn: &Turn, content: String, more: Map<String, Value>) {
        let mut message = Map::new();
        message.insert("role".to_owned(), role.into());
        if let Some(name) = &turn.name {
            message.insert("name".to_owned(), name.as_str().into());
        }
        message.insert("content".to_owned(), content.into());
        message.extend(more);
        self.messages.push(message.into());
    }

    fn answer(&mut self, turn: &Turn) -> Result<(), Box<Fault>> {
        let (mut thoughts, mut calls, mut parts) = (Vec::new(), Vec::new(), Vec::new());
        for part in &turn.parts {
            match &part.content {
                // Encrypted reasoning that only its provider can read is dropped.
                Content::Thought(thought) => thoughts.push(thought.text.as_str()),
                Content::ToolCall(call) => calls.push(self.call(part, call)?),
                _ => parts.push(part),
            }
        }
        thoughts.retain(|thought| !thought.is_empty());
        let mut more = Map::new();
        if !thoughts.is_empty() {
            // Templates use either of these names.
            for name in ["reasoning_content", "thinking"] {
                more.insert(name.to_owned(), thoughts.join("\n").into());
            }
        }
        if !calls.is_empty() {
            more.insert("tool_calls".to_owned(), calls.into());
        }
        self.push("assistant", turn, texts(parts)?, more);
        Ok(())
    }

    fn call(&mut self, part: &Part, call: &ToolCall) -> Result<Value, Box<Fault>> {
        if call.is_custom {
            return Err(refuse_part(part, "is a call of a tool that takes free text"));
        }
        self.names.push((call.id.clone(), call.name.clone()));
        let arguments = match serde_json::from_str(&call.arguments) {
            Ok(Value::Object(arguments)) => Value::Object(arguments),
            Ok(Value::Null) => json!({}),
            _ if call.arguments.trim().is_empty() => json!({}),
            // Templates with tagged calls write each argument separately. Malformed arguments still reach the
            // model, as one.
            _ if self.manner.form == Some(Form::Tagged) => json!({"arguments": call.arguments}),
            _ => Value::from(call.arguments.as_str()),
        };
        let function = json!({"name": call.name, "arguments": arguments});
        Ok(json!({"type": "function", "id": call.id, "function": function}))
    }

    fn result(&mut self, part: &Part) -> Result<(), Box<Fault>> {
        let Content::ToolResult(ToolResult { id, name, parts, is_error, is_custom }) = &part.content else {
            // Other content between tool results becomes a user message.
            let content = texts([part])?;
            self.messages.push(json!({"role": "user", "content": content}));
            return Ok(());
        };
        if *is_custom {
            return Err(refuse_part(part, "is the result of a tool that takes free text"));
        }
        let mut content = texts(parts)?;
        if *is_error {
            content = if content.is_empty() {
                "Error: the call failed.".to_owned()
            } else {
                format!("Error: {content}")
            };
        }
        let called = || self.names.iter().rev().find(|(call, _)| call == id).map(|(_, name)| name.clone());
        let mut message = json!({"role": "tool", "tool_call_id": id, "content": content});
        if let (Some(name), Some(message)) = (name.clone().or_else(called), message.as_object_mut()) {
            message.insert("name".to_owned(), name.into());
        }
        self.messages.push(message);
        Ok(())
    }
}

/// The text parts of a message, joined by line breaks.
fn texts<'a>(parts: impl IntoIterator<Item = &'a Part>) -> Result<String, Box<Fault>> {
    let mut texts = Vec::new();
    for part in parts {
        texts.push(match &part.content {
            Content::Text { text, .. } | Content::Refusal { text } => text.clone(),
            Content::Document { source: Source::Text(text), name, context, cite: false } => {
                let sections = [name.as_deref(), context.as_deref(), Some(text)];
                sections.into_iter().flatten().collect::<Vec<_>>().join("\n\n")
            }
            // Reasoning outside assistant turns is dropped.
            Content::Thought(_) => continue,
            Content::Image { .. } => return Err(refuse_part(part, "is an image")),
            Content::Audio { .. } => return Err(refuse_part(part, "is audio")),
            Content::Video { .. } => return Err(refuse_part(part, "is a video")),
            Content::Document { cite: true, .. } => {
                return Err(refuse_part(part, "is a document to be cited"));
            }
            Content::Document { .. } => {
                return Err(refuse_part(part, "is a document that is not plain text"));
            }
            Content::ToolCall(_) => {
                return Err(refuse_part(part, "is a call in a message that is not the assistant's"));
            }
            Content::ToolResult(_) => {
                return Err(refuse_part(part, "is a result in a message that is not a tool's"));
            }
            Content::Foreign { kind, .. } => {
                return Err(refuse_part(part, &format!("is of the kind \"{kind}\"")));
            }
        });
    }
    Ok(texts.join("\n"))
}

#[cfg(test)]
mod tests {
    use domain::prompt::{Instruction, Json, Reasoning, Thought, Tool, ToolChoice};

    use super::*;

    const SPEAKS: ModelFormat =
        ModelFormat { form: Some(Form::Json), thinks: true, has_thinking_switch: true };

    fn turn(role: Role, parts: Vec<Part>) -> Turn {
        Turn { role, name: None, parts }
    }

    fn function(name: &str, schema: Option<&str>) -> Tool {
        let schema = schema.map(|schema| Json(schema.to_owned()));
        Tool {
            kind: ToolKind::Function { name: name.to_owned(), description: None, schema, strict: None },
            cache: None,
        }
    }

    fn call(id: &str, name: &str, arguments: &str) -> Part {
        let (id, name, arguments) = (id.to_owned(), name.to_owned(), arguments.to_owned());
        Part::of(Content::ToolCall(ToolCall { id, name, arguments, is_custom: false, signature: None }))
    }

    fn result(id: &str, text: &str, is_error: bool) -> Part {
        let parts = vec![Part::text(text)];
        Part::of(Content::ToolResult(ToolResult {
            id: id.to_owned(),
            name: None,
            parts,
            is_error,
            is_custom: false,
        }))
    }

    fn prompt(turns: Vec<Turn>) -> Prompt {
        Prompt { turns, ..Prompt::default() }
    }

    fn messages(prompt: &Prompt, manner: ModelFormat) -> Value {
        Conversation::of(prompt, manner).unwrap().messages.into()
    }

    #[test]
    fn a_request_becomes_what_templates_are_given() {
        let thought = Thought { text: "Hm.".to_owned(), ..Thought::default() };
        let instruction = |text: &str| Instruction { is_developer: true, text: text.to_owned(), cache: None };
        let mut prompt = prompt(vec![
            Turn {
                name: Some("ann".to_owned()),
                ..turn(Role::User, vec![Part::text("one"), Part::text("two")])
            },
            turn(
                Role::Assistant,
                vec![
                    Part::of(Content::Thought(thought)),
                    Part::text("I look."),
                    call("a", "f", r#"{"b": {"c": null}, "a": 1}"#),
                    call("b", "g", " "),
                    call("c", "g", "{\"x\": t"),
                    call("d", "g", "null"),
                ],
            ),
            turn(Role::Tool, vec![result("b", "seen", false), result("a", "gone", true)]),
            turn(Role::System, vec![Part::text("Be quick.")]),
        ]);
        prompt.instructions = vec![instruction("Be brief."), instruction("Be kind.")];
        let of = |id: &str, name: &str, arguments: Value| json!({"type": "function", "id": id, "function": {"name": name, "arguments": arguments}});
        let wanted = |broken: Value| {
            json!([
                {"role": "system", "content": "Be brief.\n\nBe kind."},
                {"role": "user", "name": "ann", "content": "one\ntwo"},
                {
                    "role": "assistant", "content": "I look.", "reasoning_content": "Hm.", "thinking": "Hm.",
                    "tool_calls": [of("a", "f", json!({"b": {"c": null}, "a": 1})), of("b", "g", json!({})), of("c", "g", broken), of("d", "g", json!({}))],
                },
                {"role": "tool", "tool_call_id": "b", "content": "seen", "name": "g"},
                {"role": "tool", "tool_call_id": "a", "content": "Error: gone", "name": "f"},
                {"role": "system", "content": "Be quick."},
            ])
        };
        assert_eq!(messages(&prompt, SPEAKS), wanted(json!("{\"x\": t")));
        let tagged = ModelFormat { form: Some(Form::Tagged), ..SPEAKS };
        assert_eq!(messages(&prompt, tagged), wanted(json!({"arguments": "{\"x\": t"})));
    }

    #[test]
    fn the_tools_are_those_that_may_be_called() {
        let mut prompt = prompt(vec![turn(Role::User, vec![Part::text("Hi")])]);
        prompt.tools =
            vec![function("f", Some(r#"{"type": "object", "z": 1, "a": 2}"#)), function("g", None)];
        let tools_of = |prompt: &Prompt| Conversation::of(prompt, SPEAKS).unwrap().tools;
        let f = json!({"type": "function", "function": {"name": "f", "parameters": {"type": "object", "z": 1, "a": 2}}});
        let g = json!({"type": "function", "function": {"name": "g", "parameters": {"type": "object", "properties": {}}}});
        assert_eq!(tools_of(&prompt), Some(vec![f, g.clone()]));
        assert_eq!(
            tools_of(&prompt).unwrap()[0].to_string(),
            r#"{"type":"function","function":{"name":"f","parameters":{"type":"object","z":1,"a":2}}}"#
        );
        prompt.tool_choice = Some(ToolChoice::Allowed { names: vec!["g".to_owned()], is_required: false });
        assert_eq!(tools_of(&prompt), Some(vec![g]));
        prompt.tool_choice = Some(ToolChoice::None);
        assert_eq!(tools_of(&prompt), None);
    }

    #[test]
    fn thinking_is_as_asked_where_the_template_knows_it() {
        let switch = |reasoning: Reasoning, manner: ModelFormat| {
            let prompt = Prompt { reasoning, ..Prompt::default() };
            Conversation::of(&prompt, manner).unwrap().settings.get("enable_thinking").cloned()
        };
        let effort = |effort| Reasoning { effort: Some(effort), ..Reasoning::default() };
        let budget = |budget| Reasoning { budget_tokens: Some(budget), ..Reasoning::default() };
        assert_eq!(switch(Reasoning::default(), SPEAKS), None);
        for (reasoning, thinks) in [
            (effort(Effort::None), false),
            (budget(0), false),
            (effort(Effort::Low), true),
            (budget(9), true),
        ] {
            assert_eq!(switch(reasoning.clone(), SPEAKS), Some(thinks.into()), "{reasoning:?}");
            assert_eq!(switch(reasoning, ModelFormat::default()), None);
        }
    }

    #[test]
    fn what_is_no_text_is_refused_by_its_place() {
        let image = || Content::Image { source: Source::Text(String::new()), detail: None };
        let refused = |part: Part| {
            let prompt = prompt(vec![turn(Role::User, vec![Part::text("Hi"), part])]);
            Conversation::of(&prompt, SPEAKS).unwrap_err()
        };
        let fault = refused(Part::with_path(image(), None, "messages[2].content[1]"));
        assert_eq!((fault.class, fault.code), (FaultClass::Unsupported, "unsupported_content"));
        assert_eq!(fault.param.as_deref(), Some("messages[2].content[1]"));
        assert_eq!(fault.message, "\"messages[2].content[1]\" is an image, and this model reads text alone.");
        assert_eq!(
            refused(Part::of(image())).message,
            "A part of a message is an image, and this model reads text alone."
        );
        let source = || Source::File { id: "f".to_owned(), media_type: None };
        for content in [
            Content::Audio { source: source() },
            Content::Video { source: source() },
            Content::Document { source: source(), name: None, context: None, cite: false },
            Content::Document { source: Source::Text("x".to_owned()), name: None, context: None, cite: true },
            Content::Foreign { kind: "web_search_call".to_owned(), json: Json("{}".to_owned()) },
            call("a", "f", "{}").content,
        ] {
            assert_eq!(refused(Part::of(content)).code, "unsupported_content");
        }
        for kind in [
            ToolKind::Hosted { kind: "web_search".to_owned(), json: Json("{}".to_owned()) },
            ToolKind::Custom { name: "c".to_owned(), description: None, format: None },
        ] {
            let tools = vec![function("f", None), Tool { kind, cache: None }];
            let fault = Conversation::of(&Prompt { tools, ..Prompt::default() }, SPEAKS).unwrap_err();
            assert_eq!((fault.code, fault.param.as_deref()), ("unsupported_content", Some("tools[1]")));
        }
    }

    #[test]
    fn a_text_in_the_place_of_a_file_is_told() {
        let source = Source::Text("text".to_owned());
        let document =
            Content::Document { source, name: Some("a.txt".to_owned()), context: None, cite: false };
        let prompt = prompt(vec![turn(Role::User, vec![Part::of(document), Part::text("What is it?")])]);
        assert_eq!(
            messages(&prompt, SPEAKS),
            json!([{"role": "user", "content": "a.txt\n\ntext\nWhat is it?"}])
        );
    }

    #[test]
    fn an_answer_that_was_begun_goes_on() {
        let template = Template::new("{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}</>{% endfor %}{% if add_generation_prompt %}<assistant><think>{% endif %}").unwrap();
        let open = |turns: Vec<Turn>| {
            Conversation::of(&prompt(turns), template.manner()).unwrap().open(
                &template,
                &SpecialTokens::default(),
                &|| 0,
                0,
            )
        };
        let opening = |text: &str, is_in_thought| RenderedPrompt {
            text: text.to_owned(),
            is_in_thought,
            written: vec![],
        };
        let question = || turn(Role::User, vec![Part::text("Count.")]);
        let started = |text: &str| turn(Role::Assistant, vec![Part::text(text)]);
        assert_eq!(open(vec![question()]).unwrap(), opening("<user>Count.</><assistant><think>", true));
        assert_eq!(
            open(vec![question(), started("One,")]).unwrap(),
            opening("<user>Count.</><assistant>One,", false)
        );
        assert_eq!(
            open(vec![question(), started("One, ")]).unwrap(),
            opening("<user>Count.</><assistant>One,", false)
        );
        let called = turn(Role::Assistant, vec![call("a", "f", "{}")]);
        assert_eq!(
            open(vec![question(), called]).unwrap(),
            opening("<user>Count.</><assistant></><assistant><think>", true)
        );
        let silent = Template::new("{{ messages[0].content }}").unwrap();
        let conversation =
            Conversation::of(&prompt(vec![question(), started("One")]), silent.manner()).unwrap();
        assert!(
            conversation
                .open(&silent, &SpecialTokens::default(), &|| 0, 0)
                .unwrap_err()
                .to_string()
                .contains("leaves out")
        );
    }

    #[test]
    fn settings_are_added_and_never_in_the_place_of_what_is_there() {
        let template = Template::new("{{ bos_token }}{{ enable_thinking }}{{ messages | length }}").unwrap();
        let mut request = prompt(vec![turn(Role::User, vec![Part::text("Hi")])]);
        request.reasoning.effort = Some(Effort::None);
        let mut conversation = Conversation::of(&request, template.manner()).unwrap();
        for (name, value) in
            [("bos_token", json!("<s>")), ("enable_thinking", json!(true)), ("messages", json!([]))]
        {
            conversation.set(name, value);
        }
        assert_eq!(
            conversation.open(&template, &SpecialTokens::default(), &|| 0, 0).unwrap().text,
            "<s>False1"
        );
    }
}
