//! `--jq`: each JSON value that a command prints goes through a filter of jq's language.

use std::cell::OnceCell;
use std::fmt;
use std::sync::OnceLock;

use jaq_core::data::JustLut;
use jaq_core::load::{Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Vars, unwrap_valr};
use jaq_json::{Val, read};

use crate::output::{self, Failure};

type Filter = jaq_core::compile::Filter<jaq_core::Native<JustLut<Val>>>;

/// The filter of this process, as it was written.
static PROGRAM: OnceLock<String> = OnceLock::new();

thread_local! {
    /// Compiled where it is used: its values are not shared between threads.
    static COMPILED: OnceCell<Option<Filter>> = const { OnceCell::new() };
}

/// Filters all JSON that is printed from here on.
///
/// # Errors
/// The filter isn't one of jq's language.
pub fn set(program: &str) -> Result<(), Failure> {
    let Some(filter) = compile(program) else {
        let message = format!("--jq: \"{}\" is not a jq filter.", output::printable(program));
        return Err(Failure::new(output::USAGE, message).fix(
            "Write a filter such as '.name' or 'select(.status == \"ready\") | .id', in single quotes.",
        ));
    };
    // Arguments are read once, by the thread that prints nearly everything.
    COMPILED.with(|compiled| drop(compiled.set(Some(filter))));
    let _ = PROGRAM.set(program.to_owned());
    Ok(())
}

/// What a printed line becomes: one line for each value of the filter. `None` without a filter, or where it isn't JSON.
///
/// # Errors
/// The filter can't be applied to the value.
pub fn filtered(line: fmt::Arguments<'_>) -> Option<Result<String, String>> {
    let program = PROGRAM.get()?;
    let value = read::parse_single(line.to_string().as_bytes()).ok()?;
    COMPILED.with(|compiled| {
        let filter = compiled.get_or_init(|| compile(program)).as_ref()?;
        Some(apply(filter, value))
    })
}

fn compile(program: &str) -> Option<Filter> {
    let defs = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
    let funs = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
    let arena = Arena::default();
    let modules = Loader::new(defs).load(&arena, File { code: program, path: () }).ok()?;
    Compiler::default().with_funs(funs).compile(modules).ok()
}

fn apply(filter: &Filter, value: Val) -> Result<String, String> {
    let context = Ctx::<JustLut<Val>>::new(&filter.lut, Vars::new([]));
    let mut lines = String::new();
    for value in filter.id.run((context, value)).map(unwrap_valr) {
        // A text is printed without quotes, as scripts want it.
        match value.map_err(|error| error.to_string())? {
            Val::TStr(text) => lines.push_str(&output::printable(&String::from_utf8_lossy(&text))),
            value => lines.push_str(&value.to_string()),
        }
        lines.push('\n');
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(program: &str, line: &str) -> Result<String, String> {
        apply(&compile(program).unwrap(), read::parse_single(line.as_bytes()).unwrap())
    }

    #[test]
    fn values_become_lines_and_texts_lose_their_quotes() {
        let row = r#"{"id": "key_1", "name": "ci", "scopes": ["read", "admin"], "limit": 12.5}"#;
        assert_eq!(run(".id", row).unwrap(), "key_1\n");
        assert_eq!(run(".scopes[]", row).unwrap(), "read\nadmin\n");
        assert_eq!(run("[.name, .limit]", row).unwrap(), "[\"ci\",12.5]\n");
        assert_eq!(run("select(.name == \"other\")", row).unwrap(), "");
        assert_eq!(run(".name | ascii_upcase | test(\"^C\")", row).unwrap(), "true\n");
        assert!(run(".id.x", row).unwrap_err().contains("key_1"));
    }

    #[test]
    fn what_is_no_filter_is_refused_before_anything_is_called() {
        let failure = set(".name |").unwrap_err();
        assert_eq!(failure.code, output::USAGE);
        assert!(failure.message.contains(".name |"), "{failure}");
        assert!(compile("no_such_function").is_none());
    }
}
