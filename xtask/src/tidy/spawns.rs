//! Finds tasks and threads without an owner, and channels without a bound, against `xtask/spawns.toml`.

use serde::Deserialize;

use crate::finding::Finding;
use crate::source::{self, SourceFile};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    bare: Vec<String>,
    /// Names of channels without a bound, and of their ends.
    unbounded: Vec<String>,
    /// Names of variables and fields whose `spawn` hands the task to an owner.
    owners: Vec<String>,
    allowed: Vec<Allowed>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Allowed {
    path: String,
    #[expect(dead_code, reason = "the reason is for the reader of the table")]
    reason: String,
    /// Whether a channel may have no bound there.
    #[serde(default)]
    unbounded: bool,
}

const FIX: &str = "spawn it through `tasks`, so that it has a name, an owner and an end; a real need goes into xtask/spawns.toml with its reason";

const BOUND: &str =
    "give it the number of messages that can be in flight, and decide what happens to the next one";

pub fn check(source: &SourceFile, table: &Table) -> Vec<Finding> {
    if !source.path.starts_with("crates/") {
        return Vec::new();
    }
    let allowed = table.allowed_at(&source.path);
    let mut found = if allowed.is_some() { Vec::new() } else { spawns(source, table) };
    if !allowed.is_some_and(|allowed| allowed.unbounded) {
        found.extend(channels(source, table));
    }
    found.retain(|(line, ..)| !source.is_test_line(*line));
    found.sort();
    found.dedup();
    let finding = |(line, what, fix)| Finding::new(&source.path, line, what, fix);
    found.into_iter().map(finding).collect()
}

/// The lines of channels without a bound.
fn channels(source: &SourceFile, table: &Table) -> Vec<(usize, String, &'static str)> {
    let named = table
        .unbounded
        .iter()
        .flat_map(|name| source::words(&source.code, name).map(move |at| (at, name.as_str())));
    let of_std = source::words(&source.code, "channel")
        .filter(|at| is_channel_of_std(&source.code, *at))
        .map(|at| (at, "channel"));
    let line = |at| source::line_of(&source.code, at);
    named.chain(of_std).map(|(at, name)| (line(at), format!("`{name}` has no bound"), BOUND)).collect()
}

/// Whether this calls a function `channel` without arguments: that of `std::sync::mpsc`, unless it is named
/// as that of another module, such as `oneshot`.
fn is_channel_of_std(code: &str, at: usize) -> bool {
    let (before, after) = (code.get(..at).unwrap_or_default(), code.get(at + "channel".len()..));
    let after = after.unwrap_or_default();
    let call = match after.strip_prefix("::<") {
        Some(types) => types.split_once('(').map_or("", |(_, rest)| rest),
        None => after.strip_prefix('(').unwrap_or_default(),
    };
    let is_free = !["::", ".", "fn "].iter().any(|other| before.ends_with(other));
    (is_free || before.ends_with("mpsc::")) && call.trim_start().starts_with(')')
}

fn spawns(source: &SourceFile, table: &Table) -> Vec<(usize, String, &'static str)> {
    let by_path = table.bare.iter().flat_map(|call| {
        source::words(&source.code, call).map(move |at| (at, call.rsplit("::").next().unwrap_or(call)))
    });
    let imported = ["spawn", "spawn_local", "spawn_blocking"].into_iter().flat_map(|name| {
        source::words(&source.code, name)
            .filter(|at| is_free(&source.code, *at, name))
            .map(move |at| (at, name))
    });
    let called = ["spawn", "spawn_local", "spawn_blocking"].into_iter().flat_map(|name| {
        source::words(&source.code, name)
            .filter(|at| is_method_of_no_owner(&source.code, *at, name, &table.owners))
            .map(move |at| (at, name))
    });
    let line = |at| source::line_of(&source.code, at);
    let all = by_path.chain(imported).chain(called);
    all.map(|(at, name)| (line(at), format!("`{name}` has no owner"), FIX)).collect()
}

/// Whether this calls a function that was imported by its bare name, rather than a method or a declaration.
fn is_free(code: &str, at: usize, name: &str) -> bool {
    let before = code.get(..at).unwrap_or_default();
    let is_called = code.get(at + name.len()..).is_some_and(|rest| rest.starts_with('('));
    is_called && !["::", ".", "fn "].iter().any(|other| before.ends_with(other))
}

/// Whether this calls a method with an argument, as of a runtime or its handle, on something that is not
/// known to own what it spawns. A process is spawned without an argument.
fn is_method_of_no_owner(code: &str, at: usize, name: &str, owners: &[String]) -> bool {
    let Some(receiver) = code.get(..at).and_then(|before| before.trim_end().strip_suffix('.')) else {
        return false;
    };
    let after = code.get(at + name.len()..).unwrap_or_default();
    let is_called = after.strip_prefix('(').is_some_and(|rest| !rest.trim_start().starts_with(')'));
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let receiver = receiver.trim_end();
    let start = receiver.rfind(|c| !is_name(c)).map_or(0, |at| at + 1);
    let last = receiver.get(start..).unwrap_or_default();
    is_called && !owners.iter().any(|owner| owner == last)
}

impl Table {
    fn allowed_at(&self, path: &str) -> Option<&Allowed> {
        self.allowed.iter().find(|allowed| match allowed.path.strip_suffix('/') {
            Some(_) => path.starts_with(&allowed.path),
            None => path == allowed.path,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Table, check};
    use crate::source::SourceFile;

    fn findings_of(path: &str, raw: &str) -> Vec<String> {
        let table: Table = toml::from_str(
            "bare = ['tokio::spawn', 'task::spawn_local', 'thread::spawn', 'thread::Builder']\n\
             unbounded = ['unbounded_channel']\n\
             owners = ['tasks', 'set']\n\
             [[allowed]]\npath = 'crates/tasks/src/'\nreason = 'the helper'\n\
             [[allowed]]\npath = 'crates/a/src/pool.rs'\nreason = 'a crew'\n\
             [[allowed]]\npath = 'crates/h/'\nreason = 'emulators'\nunbounded = true\n",
        )
        .unwrap();
        check(&SourceFile::new(path, raw), &table).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn a_bare_spawn_fails_in_every_spelling() {
        let cases = [
            ("tokio::spawn(work());", "`spawn` has no owner"),
            ("drop(tokio::task::spawn_local(async {}))", "`spawn_local` has no owner"),
            ("use tokio::task::spawn_local;", "`spawn_local` has no owner"),
            ("use tokio::spawn;\nfn a() { x() }", "`spawn` has no owner"),
            ("fn a() { spawn(work()) }", "`spawn` has no owner"),
            ("std::thread::spawn(|| {})", "`spawn` has no owner"),
            ("let builder = std::thread::Builder::new();", "`Builder` has no owner"),
            ("builder.spawn(f)", "`spawn` has no owner"),
            ("self.inner.runtime.spawn(work())", "`spawn` has no owner"),
            ("Handle::current().spawn(work())", "`spawn` has no owner"),
            ("runtime\n    .handle()\n    .spawn(work())", "`spawn` has no owner"),
            ("local.spawn_local(work())", "`spawn_local` has no owner"),
            ("handle.spawn_blocking(work)", "`spawn_blocking` has no owner"),
        ];
        for (raw, expected) in cases {
            assert_eq!(findings_of("crates/a/src/b.rs", raw), [expected], "{raw}");
        }
    }

    #[test]
    fn a_channel_without_a_bound_fails_wherever_it_is() {
        for (raw, expected) in [
            ("let (a, b) = mpsc::unbounded_channel();", "`unbounded_channel` has no bound"),
            ("let (a, b) = std::sync::mpsc::channel();", "`channel` has no bound"),
            ("let (a, b) = channel::<Vec<u8>>();", "`channel` has no bound"),
            ("let (a, b) = channel();", "`channel` has no bound"),
        ] {
            for path in ["crates/a/src/b.rs", "crates/a/src/pool.rs"] {
                assert_eq!(findings_of(path, raw), [expected], "{raw}");
            }
            assert!(findings_of("crates/h/src/b.rs", raw).is_empty(), "{raw}");
        }
        for raw in [
            "let (a, b) = mpsc::channel(8);",
            "let (a, b) = channel::<u8>(MOST);",
            "let (a, b) = sync_channel(1);",
            "let (a, b) = oneshot::channel();",
            "notification.channel()",
            "fn channel() {}",
        ] {
            assert!(findings_of("crates/a/src/b.rs", raw).is_empty(), "{raw}");
        }
    }

    #[test]
    fn owned_tasks_listed_places_and_tests_pass() {
        for raw in [
            "Task::spawn(\"a\", work())",
            "self.tasks.spawn(work())",
            "set.spawn_local(work())",
            "command.spawn()",
            "fn spawn(work: F) {}",
            "// tokio::spawn",
        ] {
            assert!(findings_of("crates/a/src/b.rs", raw).is_empty(), "{raw}");
        }
        let bare = "tokio::spawn(work());";
        for path in
            ["crates/tasks/src/task.rs", "crates/a/src/pool.rs", "crates/a/tests/it/b.rs", "bench/src/a.rs"]
        {
            assert!(findings_of(path, bare).is_empty(), "{path}");
        }
        assert!(
            findings_of("crates/a/src/b.rs", "#[cfg(test)]\nmod tests { fn a() { tokio::spawn(b()) } }")
                .is_empty()
        );
        assert_eq!(findings_of("crates/a/src/pool.rs.rs", bare).len(), 1);
    }
}
