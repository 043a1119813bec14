//! A tool call written as JSON: `{"name": …, "arguments": {…}}`.

use super::mend::{JsonRepair, Taken};
use super::{Step, mend};

/// Most models write the first key for the arguments; some write the second.
const ARGUMENTS: [&str; 2] = ["arguments", "parameters"];

#[derive(Debug, PartialEq, Eq)]
enum Section {
    /// Between the values of interest.
    Between,
    Name,
    Arguments,
}

#[derive(Debug)]
pub(super) struct NamedCall {
    mender: JsonRepair,
    section: Section,
    /// The original text, until the name is known.
    raw: String,
    value: String,
    name: Option<String>,
    arguments: Option<String>,
    /// The arguments are an object, which can be emitted as it arrives.
    is_streaming: bool,
    emitted: usize,
}

impl NamedCall {
    pub(super) const fn new() -> Self {
        Self {
            mender: JsonRepair::new(),
            section: Section::Between,
            raw: String::new(),
            value: String::new(),
            name: None,
            arguments: None,
            is_streaming: false,
            emitted: 0,
        }
    }

    pub(super) fn raw(&self) -> &str {
        &self.raw
    }

    /// The tool's name, once it is known.
    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Consumes the text of the call, and pauses once its name is known.
    pub(super) fn take(&mut self, held: &mut String, is_all: bool, out: &mut String) -> Step {
        let was_named = self.name.is_some();
        let mut taken = 0;
        let mut step = Step::More;
        for character in held.chars() {
            // Outside a string, a tag ends the call; missing brackets are added.
            if character == '<' && !self.mender.is_in_text() {
                step = self.settle();
                break;
            }
            if self.character(character).is_err() {
                step = Step::Broken;
                break;
            }
            taken += character.len_utf8();
            if self.mender.is_done() {
                step = self.final_step();
                break;
            }
            if !was_named && self.name.is_some() {
                step = Step::Named;
                break;
            }
        }
        if is_all && step == Step::More {
            step = self.settle();
        }
        let rest = held.split_off(taken);
        let taken = std::mem::replace(held, rest);
        if was_named {
            self.emit(out, step == Step::Over);
        } else {
            self.raw.push_str(&taken);
        }
        step
    }

    fn character(&mut self, character: char) -> Result<(), mend::Unreadable> {
        if self.section == Section::Between && self.mender.depth() == 1 && !character.is_whitespace() {
            self.section = match self.mender.key_before_value() {
                Some("name") if self.name.is_none() => Section::Name,
                Some(key) if ARGUMENTS.contains(&key) && self.arguments.is_none() => Section::Arguments,
                _ => Section::Between,
            };
            self.value.clear();
            self.is_streaming |= self.section == Section::Arguments && character == '{';
        }
        loop {
            if self.section == Section::Between {
                self.value.clear();
            }
            let taken = self.mender.take(character, &mut self.value)?;
            if self.section != Section::Between && self.mender.depth() == 1 && self.mender.is_after_value() {
                self.end_value()?;
            }
            if taken == Taken::Yes {
                return Ok(());
            }
        }
    }

    fn end_value(&mut self) -> Result<(), mend::Unreadable> {
        let value = std::mem::take(&mut self.value);
        match std::mem::replace(&mut self.section, Section::Between) {
            Section::Name => {
                let name = serde_json::from_str::<String>(&value).map_err(|_| mend::Unreadable)?;
                self.name = Some(name).filter(|name| !name.trim().is_empty());
                self.name.is_some().then_some(()).ok_or(mend::Unreadable)
            }
            Section::Arguments => {
                self.arguments = Some(if self.is_streaming { value } else { whole(&value) });
                Ok(())
            }
            Section::Between => Ok(()),
        }
    }

    /// Ends the call before its closing bracket.
    fn settle(&mut self) -> Step {
        let mut rest = String::new();
        if self.section == Section::Between {
            return match self.mender.settle(&mut rest) {
                Ok(()) => self.final_step(),
                Err(mend::Unreadable) => Step::Broken,
            };
        }
        if self.mender.settle(&mut rest).is_err() {
            return Step::Broken;
        }
        // The last bracket closes the call itself.
        rest.pop();
        self.value.push_str(&rest);
        if self.end_value().is_err() { Step::Broken } else { self.final_step() }
    }

    fn final_step(&self) -> Step {
        if self.name.is_some() { Step::Over } else { Step::Broken }
    }

    fn emit(&mut self, out: &mut String, is_over: bool) {
        let arguments = match &self.arguments {
            Some(arguments) => arguments,
            None if self.is_streaming && self.section == Section::Arguments => &self.value,
            None if is_over => "{}",
            None => return,
        };
        out.push_str(arguments.get(self.emitted..).unwrap_or_default());
        self.emitted = arguments.len();
    }
}

/// Arguments that are not an object: null, or JSON inside a string.
fn whole(value: &str) -> String {
    if value == "null" {
        return "{}".to_owned();
    }
    let text = serde_json::from_str::<String>(value).ok();
    let object = text.and_then(|text| mend::repair(&text)).filter(|object| object.starts_with('{'));
    object.unwrap_or_else(|| value.to_owned())
}
