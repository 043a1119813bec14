//! Finds tasks, threads and unbounded channels without an owner, against `xtask/spawns.toml`.

use serde::Deserialize;

use crate::finding::Finding;
use crate::source::{self, SourceFile};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    bare: Vec<String>,
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
}

const FIX: &str = "spawn it through `tasks`, so that it has a name, an owner and an end; a real need goes into xtask/spawns.toml with its reason";

pub fn check(source: &SourceFile, table: &Table) -> Vec<Finding> {
    if !source.path.starts_with("crates/") || table.allows(&source.path) {
        return Vec::new();
    }
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
    let mut findings: Vec<_> = by_path
        .chain(imported)
        .chain(called)
        .map(|(at, name)| (source::line_of(&source.code, at), name))
        .filter(|(line, _)| !source.is_test_line(*line))
        .map(|(line, name)| Finding::new(&source.path, line, format!("`{name}` has no owner"), FIX))
        .collect();
    findings.sort();
    findings.dedup();
    findings
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
    fn allows(&self, path: &str) -> bool {
        self.allowed.iter().any(|allowed| match allowed.path.strip_suffix('/') {
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
            "bare = ['tokio::spawn', 'task::spawn_local', 'thread::spawn', 'thread::Builder', 'unbounded_channel']\n\
             owners = ['tasks', 'set']\n\
             [[allowed]]\npath = 'crates/tasks/src/'\nreason = 'the helper'\n\
             [[allowed]]\npath = 'crates/a/src/pool.rs'\nreason = 'a crew'\n",
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
            ("let (a, b) = mpsc::unbounded_channel();", "`unbounded_channel` has no owner"),
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
