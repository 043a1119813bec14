//! The streaming output parser: splits a model's text into reasoning, answer text and tool calls. The result
//! is the same however the text is cut into pieces, and nothing is emitted that later text could turn into
//! something else.

mod mend;
mod named;
mod offered;
mod parts;
mod tagged;
mod tags;

use std::sync::Arc;

use domain::{Event, Finish, Reason};

use self::named::NamedCall;
pub use self::offered::Offered;
pub(crate) use self::offered::is_offered;
use self::parts::{Parts, Prose};
use self::tagged::{Head, TaggedCall, head};
pub(crate) use self::tags::is_tag;
use self::tags::{CALL, CALL_END, FUNCTION, Found, THINK, THINK_END, begins_any, first};
use crate::stops::Stops;

/// The format in which a model writes tool calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `<tool_call>{"name": …, "arguments": …}</tool_call>`
    Json,
    /// `<tool_call><function=…><parameter=…>…</parameter></function></tool_call>`
    Tagged,
}

/// What a model's chat template reveals of its output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ModelFormat {
    /// `None` if the model has no tool calls, or an unknown format.
    pub form: Option<Form>,
    /// It writes reasoning, in `<think>`.
    pub thinks: bool,
    /// The template has a switch for reasoning (`enable_thinking`).
    pub has_thinking_switch: bool,
}

/// Why the generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The model ended it.
    Own,
    Length,
}

/// Generates ids for calls; each must be new.
pub type NewId = Box<dyn FnMut() -> String + Send>;

/// The parameters of a `OutputParser`.
pub struct Begin {
    pub choice: u32,
    pub manner: ModelFormat,
    pub offered: Arc<Offered>,
    /// The prompt ends inside the reasoning.
    pub is_in_thought: bool,
    /// Stop sequences, which apply to answer text only.
    pub stops: Vec<String>,
    pub new_id: NewId,
}

/// An answer that arrives as text, piece by piece.
pub struct OutputParser {
    new_id: NewId,
    offered: Arc<Offered>,
    /// The tags searched for in answer text, and in reasoning.
    tags: (Vec<&'static str>, Vec<&'static str>),
    stops: Stops,
    parts: Parts,
    mode: Mode,
    /// Received text that can't be classified yet.
    held: String,
    /// Trailing white space, which is dropped if a call or the end of the reasoning follows.
    space: String,
    trims: Trims,
    calls: u32,
    is_broken: bool,
    is_over: bool,
    met: Option<String>,
}

#[derive(Debug)]
enum Mode {
    Text,
    Thought,
    /// After `<tool_call>`.
    Opened {
        in_thought: bool,
    },
    Call(Box<Open>),
    /// After a call; its `<tool_call>` may still be open.
    After {
        is_wrapped: bool,
    },
}

#[derive(Debug)]
struct Open {
    call: Call,
    in_thought: bool,
    is_wrapped: bool,
    /// The text before it, which is emitted as text if this is not a call.
    lead: String,
    has_started: bool,
}

#[derive(Debug)]
enum Call {
    Named(NamedCall),
    Tagged(TaggedCall),
}

/// White space to drop at the beginning of the next text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trims {
    Nothing,
    Breaks,
    Space,
}

/// The result of reading more of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    More,
    /// Its name is now known.
    Named,
    Over,
    Broken,
}

impl ModelFormat {
    /// Reads the source of a template, which renders past calls in the format that its model uses.
    pub fn of(template: &str) -> Self {
        let form = match (template.contains(FUNCTION), template.contains(CALL)) {
            (true, _) => Some(Form::Tagged),
            (false, true) => Some(Form::Json),
            (false, false) => None,
        };
        let thinks = template.contains(THINK) || template.contains(THINK_END);
        Self { form, thinks, has_thinking_switch: template.contains("enable_thinking") }
    }

    /// Whether a prompt ends inside the reasoning.
    pub fn is_in_thought(self, prompt: &str) -> bool {
        self.thinks && prompt.trim_end().ends_with(THINK)
    }
}

domain::brief_debug!(OutputParser, mode, held);

impl OutputParser {
    pub fn new(begin: Begin) -> Self {
        let Begin { choice, manner, offered, is_in_thought, stops, new_id } = begin;
        let (mut in_text, mut in_thought) = (Vec::new(), vec![THINK, THINK_END]);
        if manner.thinks {
            in_text.extend([THINK, THINK_END]);
        }
        if let Some(form) = manner.form.filter(|_| !offered.is_empty()) {
            in_text.extend([CALL, CALL_END]);
            in_thought.push(CALL);
            in_text.extend((form == Form::Tagged).then_some(FUNCTION));
        }
        Self {
            new_id,
            offered,
            tags: (in_text, in_thought),
            stops: Stops::new(stops),
            parts: Parts::new(choice),
            mode: if is_in_thought { Mode::Thought } else { Mode::Text },
            held: String::new(),
            space: String::new(),
            trims: Trims::Nothing,
            calls: 0,
            is_broken: false,
            is_over: false,
            met: None,
        }
    }

    /// Takes more text. `true` when the answer is complete, whatever the model would add.
    pub fn push(&mut self, text: &str, out: &mut Vec<Event>) -> bool {
        if !self.is_over {
            self.held.push_str(text);
            self.advance(false, out);
        }
        self.is_over
    }

    /// Emits the rest, and the finish reason.
    pub fn end(mut self, ending: Ending, out: &mut Vec<Event>) {
        if ending == Ending::Own {
            self.advance(true, out);
        }
        self.let_go(out);
        self.parts.close(out);
        let reason = match ending {
            _ if self.met.is_some() && self.calls == 0 => Reason::StopSequence,
            Ending::Length if !self.is_over => Reason::Length,
            _ if self.is_broken => Reason::MalformedCall,
            _ if self.calls > 0 => Reason::Calls,
            _ => Reason::Stop,
        };
        let sequence = self.met.filter(|_| reason == Reason::StopSequence);
        out.push(Event::Finish {
            choice: self.parts.choice(),
            finish: Finish { sequence, ..Finish::of(reason) },
        });
    }

    fn advance(&mut self, is_all: bool, out: &mut Vec<Event>) {
        while !self.is_over {
            let goes_on = match std::mem::replace(&mut self.mode, Mode::Text) {
                Mode::Text => self.in_text(is_all, out),
                Mode::Thought => self.in_thought(is_all, out),
                Mode::Opened { in_thought } => self.in_opened(in_thought, is_all, out),
                Mode::Call(open) => self.in_call(open, is_all, out),
                Mode::After { is_wrapped } => self.after_call(is_wrapped, is_all, out),
            };
            if !goes_on {
                return;
            }
        }
    }

    /// Emits what is held at the end of the text.
    fn let_go(&mut self, out: &mut Vec<Event>) {
        let held = std::mem::take(&mut self.held);
        match std::mem::replace(&mut self.mode, Mode::Text) {
            _ if self.is_over => {}
            Mode::Text | Mode::Opened { in_thought: false } => self.say(&held, out),
            Mode::Thought => {
                self.mode = Mode::Thought;
                self.think(&held, out);
            }
            Mode::Opened { in_thought: true } => {
                self.mode = Mode::Thought;
                self.think(&format!("{CALL}{held}"), out);
            }
            // A call that was cut off stays incomplete; the finish reason says so.
            Mode::Call(open) if open.has_started => {}
            Mode::Call(open) => self.take_back(&open, out),
            Mode::After { .. } => {}
        }
        if matches!(self.mode, Mode::Text) && self.met.is_none() {
            let rest = self.stops.end();
            self.print(&rest, out);
            // White space alone after a call is not text.
            if self.calls == 0 || self.parts.has(Prose::Text) {
                self.parts.say(Prose::Text, std::mem::take(&mut self.space), out);
            }
        }
    }

    fn in_text(&mut self, is_all: bool, out: &mut Vec<Event>) -> bool {
        let found = first(&self.held, &self.tags.0, is_all);
        let (at, found, tag) = found.unwrap_or((self.held.len(), Found::No, ""));
        let rest = self.held.split_off(at);
        let text = std::mem::replace(&mut self.held, rest);
        self.say(&text, out);
        if found != Found::Yes || self.is_over {
            return false;
        }
        if tag == FUNCTION {
            return self.bare(is_all, out);
        }
        self.held.drain(..tag.len());
        match tag {
            THINK => {
                let rest = self.stops.end();
                self.print(&rest, out);
                self.space.clear();
                self.parts.close(out);
                self.mode = Mode::Thought;
            }
            THINK_END => self.trims = Trims::Breaks,
            CALL => self.mode = Mode::Opened { in_thought: false },
            _ => {}
        }
        true
    }

    /// `<function=…>` without `<tool_call>` is a call only if it names an offered tool.
    fn bare(&mut self, is_all: bool, out: &mut Vec<Event>) -> bool {
        match head(&self.held, is_all) {
            Head::Perhaps => return false,
            Head::Yes { name, bytes } if self.offered.has(&name) => self.open_tagged(name, bytes, false, out),
            _ => {
                self.held.drain(..FUNCTION.len());
                self.say(FUNCTION, out);
            }
        }
        true
    }

    fn in_thought(&mut self, is_all: bool, out: &mut Vec<Event>) -> bool {
        self.mode = Mode::Thought;
        let found = first(&self.held, &self.tags.1, is_all);
        let (at, found, tag) = found.unwrap_or((self.held.len(), Found::No, ""));
        let rest = self.held.split_off(at);
        let text = std::mem::replace(&mut self.held, rest);
        self.think(&text, out);
        if found != Found::Yes {
            return false;
        }
        self.held.drain(..tag.len());
        match tag {
            THINK_END => {
                self.space.clear();
                self.parts.close(out);
                self.trims = Trims::Breaks;
                self.mode = Mode::Text;
            }
            CALL => self.mode = Mode::Opened { in_thought: true },
            _ => {}
        }
        true
    }

    fn in_opened(&mut self, in_thought: bool, is_all: bool, out: &mut Vec<Event>) -> bool {
        self.mode = Mode::Opened { in_thought };
        let rest = self.held.trim_start();
        if rest.is_empty() && !is_all {
            return false;
        }
        if rest.starts_with('{') {
            let lead = self.held.len() - rest.len();
            let lead = self.held.drain(..lead).collect();
            self.open_named(in_thought, lead);
            return true;
        }
        match (begins_any(rest, &[FUNCTION, CALL_END], is_all), head(rest, is_all)) {
            ((Found::Perhaps, _), _) | ((Found::Yes, FUNCTION), Head::Perhaps) => return false,
            ((Found::Yes, CALL_END), _) if !in_thought => {
                self.mode = Mode::Text;
                self.held.drain(..self.held.len() - rest.len() + CALL_END.len());
            }
            (_, Head::Yes { name, bytes }) if !in_thought || self.offered.has(&name) => {
                let bytes = self.held.len() - rest.len() + bytes;
                self.open_tagged(name, bytes, true, out);
            }
            _ if in_thought => {
                self.mode = Mode::Thought;
                self.think(CALL, out);
            }
            _ => self.mode = Mode::Text,
        }
        true
    }

    fn open_named(&mut self, in_thought: bool, lead: String) {
        let call = Call::Named(NamedCall::new());
        let open = Open { call, in_thought, is_wrapped: true, lead, has_started: false };
        self.mode = Mode::Call(Box::new(open));
    }

    fn open_tagged(&mut self, name: String, bytes: usize, is_wrapped: bool, out: &mut Vec<Event>) {
        self.held.drain(..bytes);
        self.begin(name.clone(), out);
        let call = Call::Tagged(TaggedCall::new(name));
        let lead = String::new();
        self.mode =
            Mode::Call(Box::new(Open { call, in_thought: false, is_wrapped, lead, has_started: true }));
    }

    fn begin(&mut self, name: String, out: &mut Vec<Event>) {
        let rest = self.stops.end();
        self.print(&rest, out);
        self.space.clear();
        let id = (self.new_id)();
        self.parts.call(id, name, out);
    }

    fn in_call(&mut self, mut open: Box<Open>, is_all: bool, out: &mut Vec<Event>) -> bool {
        let mut arguments = String::new();
        let step = match &mut open.call {
            Call::Named(call) => call.take(&mut self.held, is_all, &mut arguments),
            Call::Tagged(call) => call.take(&mut self.held, is_all, &self.offered, &mut arguments),
        };
        self.parts.more(arguments, out);
        match step {
            Step::More => {
                self.mode = Mode::Call(open);
                return false;
            }
            Step::Named => self.name(open, out),
            Step::Over => {
                self.parts.close(out);
                self.calls += 1;
                self.is_over = self.offered.is_one;
                self.mode = Mode::After { is_wrapped: open.is_wrapped };
            }
            Step::Broken if open.has_started => {
                self.parts.close(out);
                self.is_broken = true;
            }
            Step::Broken => self.take_back(&open, out),
        }
        true
    }

    /// Inside reasoning, a call is one only if it names an offered tool.
    fn name(&mut self, mut open: Box<Open>, out: &mut Vec<Event>) {
        let Call::Named(call) = &open.call else { return };
        match call.name().map(str::to_owned) {
            Some(name) if !open.in_thought || self.offered.has(&name) => {
                self.begin(name, out);
                (open.has_started, open.in_thought) = (true, false);
                self.mode = Mode::Call(open);
            }
            _ => self.take_back(&open, out),
        }
    }

    /// Emits unchanged what turned out not to be a call.
    fn take_back(&mut self, open: &Open, out: &mut Vec<Event>) {
        let raw = match &open.call {
            Call::Named(call) => call.raw(),
            Call::Tagged(_) => "",
        };
        let text = format!("{}{raw}", open.lead);
        if open.in_thought {
            self.mode = Mode::Thought;
            self.think(&format!("{CALL}{text}"), out);
        } else {
            self.mode = Mode::Text;
            self.say(&text, out);
        }
    }

    fn after_call(&mut self, is_wrapped: bool, is_all: bool, out: &mut Vec<Event>) -> bool {
        self.mode = Mode::After { is_wrapped };
        let space = self.held.len() - self.held.trim_start().len();
        self.held.drain(..space);
        if self.held.is_empty() {
            return false;
        }
        if is_wrapped && self.held.starts_with('{') {
            self.open_named(false, String::new());
            return true;
        }
        match (begins_any(&self.held, &[CALL_END, FUNCTION], is_all), head(&self.held, is_all)) {
            ((Found::Perhaps, _), _) | ((Found::Yes, FUNCTION), Head::Perhaps) => return false,
            (_, Head::Yes { name, bytes }) if is_wrapped || self.offered.has(&name) => {
                self.open_tagged(name, bytes, is_wrapped, out);
            }
            (found, _) => {
                if found == (Found::Yes, CALL_END) {
                    self.held.drain(..CALL_END.len());
                }
                self.trims = Trims::Space;
                self.mode = Mode::Text;
            }
        }
        true
    }

    /// Emits more of the answer text.
    fn say(&mut self, text: &str, out: &mut Vec<Event>) {
        let text = match self.trims {
            Trims::Nothing => text,
            Trims::Breaks => text.trim_start_matches(['\n', '\r']),
            Trims::Space => text.trim_start(),
        };
        if text.is_empty() {
            return;
        }
        self.trims = Trims::Nothing;
        let (text, met) = self.stops.push(text);
        self.print(&text, out);
        if met.is_some() {
            // White space before a stop sequence is kept.
            self.parts.say(Prose::Text, std::mem::take(&mut self.space), out);
            (self.met, self.is_over) = (met, true);
        }
    }

    fn print(&mut self, text: &str, out: &mut Vec<Event>) {
        self.space.push_str(text);
        if self.tags.0.is_empty() {
            return self.parts.say(Prose::Text, std::mem::take(&mut self.space), out);
        }
        let rest = self.space.split_off(self.space.trim_end().len());
        let text = std::mem::replace(&mut self.space, rest);
        self.parts.say(Prose::Text, text, out);
    }

    /// Emits more of the reasoning, without line breaks around it.
    fn think(&mut self, text: &str, out: &mut Vec<Event>) {
        let is_new = !self.parts.has(Prose::Thought);
        self.space.push_str(if is_new { text.trim_start_matches('\n') } else { text });
        let rest = self.space.split_off(self.space.trim_end_matches('\n').len());
        let text = std::mem::replace(&mut self.space, rest);
        self.parts.say(Prose::Thought, text, out);
    }
}
