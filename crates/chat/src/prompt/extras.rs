//! The fields of a request that no reader took.

use conversation::losses::is_mark;
use domain::prompt::{Aliases, Extra};
use json::{Cursor, Value};

use super::value::Read;

/// Fields that the intermediate form can't hold, and which of several names the client used for those it can.
#[derive(Debug, Default)]
pub(super) struct Extras {
    pub(super) list: Vec<Extra>,
    pub(super) aliases: Aliases,
}

impl Extras {
    /// Skips a value and records its name, unless the value is null or empty.
    pub(super) fn take(
        &mut self,
        cursor: &mut Cursor<'_>,
        name: impl FnOnce() -> String,
        is_meaning: bool,
    ) -> Read<()> {
        if cursor.value()?.is_something(cursor.bytes()) {
            self.push(name(), is_meaning);
        }
        Ok(())
    }

    pub(super) fn push(&mut self, name: String, is_meaning: bool) {
        let is_meaning = is_meaning && !is_mark(&name);
        self.list.push(Extra { name, affects_answer: is_meaning });
    }
}

/// Whether a value is the string `word`.
pub(super) fn is_word(value: &Value<'_>, word: &str) -> bool {
    matches!(value, Value::String(text) if text.is(word))
}
