//! Proofs in made-up repositories: what is wrong, what is old, and what `scripts/prove.sh` keeps.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use super::{check_as, commit, is_missed, says_missed};
use crate::tree::root;

/// A repository with what a proof needs, removed at the end.
struct Repository(PathBuf);

impl Drop for Repository {
    fn drop(&mut self) {
        // What stays behind is in the folder for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Repository {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("tidegate-{name}-{}", std::process::id()));
        let repository = Self(folder);
        for script in ["prove.sh", "proof-head.sh", "failures.sh", "in-memory.sh"] {
            let path = format!("scripts/{script}");
            repository.write(&path, "");
            fs::copy(root().join(&path), repository.0.join(&path)).unwrap();
        }
        repository.write(".gitignore", "bin\ntarget\n");
        repository.write("docs/benchmarks.md", "Figures.\n");
        repository.write("docs/proofs/a.svg", "");
        repository.write("crates/a.rs", "//! One.\n");
        repository.migrate(1);
        let row = |name: &str| {
            format!("[\"{name}\"]\nverb = \"make it\"\npromise = \"all pass\"\npaths = [\"crates\"]\n\n")
        };
        repository.write("xtask/proofs.toml", &(row("prove-flakes.txt") + &row("prove-runs.txt")));
        repository.git(&["init", "--quiet"]);
        repository.commit();
        repository
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn migrate(&self, number: usize) {
        for database in ["sqlite", "postgres"] {
            self.write(&format!("crates/store/migrations/{database}/{number:04}_x.sql"), "");
        }
    }

    fn git(&self, arguments: &[&str]) -> String {
        let own = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"];
        let output = Command::new("git").args(own).args(arguments).current_dir(&self.0).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn commit(&self) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", "A change"]);
        self.git(&["rev-parse", "--short", "HEAD"])
    }

    /// What is wrong, and the summary.
    fn checked(&self, must_be_current: bool) -> (Vec<String>, String) {
        let (findings, summary) = check_as(&self.0, must_be_current).unwrap();
        (findings.into_iter().map(|finding| finding.what).collect(), summary)
    }

    /// Runs a verb with a runner that prints this, and ends as if nothing had failed, as nextest does after a failed iteration.
    fn prove(&self, verb: &str, prints: &str, settings: &[(&str, &str)]) -> Output {
        self.write("bin/prints", prints);
        let stub = "#!/bin/sh\necho \"$*\" >>\"$0.asked\"\ncase \"$*\" in *--no-run*|build*) ;; xtask*) echo \"selection='--workspace --features journeys/console'\" ;; *) cat \"${0%/*}/prints\" ;; esac\n";
        self.write("bin/cargo", stub);
        // By a shell, since a file that was just written can be busy.
        let start = "chmod +x bin/cargo scripts/*.sh && PATH=\"$PWD/bin:$PATH\" exec scripts/prove.sh \"$1\"";
        let mut command = Command::new("sh");
        command.args(["-c", start, "sh", verb]).current_dir(&self.0);
        for name in ["TIDEGATE_FLAKE_RUNS", "TIDEGATE_FLAKES", "TIDEGATE_QUEUED"] {
            command.env_remove(name);
        }
        command.env("TIDEGATE_BIN", "bin/cargo").envs(settings.iter().copied()).output().unwrap()
    }

    fn kept(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.0.join("docs/proofs").join(name)).ok()
    }
}

fn proof(commit: &str, output: &str) -> String {
    format!("bound:    met: all pass\ncommit:   {commit}\nschema:   0001\n\n{output}\n\npassed after 9 s\n")
}

const PASSED: &str =
    "     Summary [ 9.0s] 2 tests run: 2 passed, 3 skipped\ntest result: ok. 1 passed; 0 failed; 0 ignored";

#[test]
fn nothing_is_kept_of_a_run_with_a_failure() {
    let repository = Repository::new("prove");
    for prints in [
        "     Summary [ 9.0s] 4/4 stress run iterations: 3 passed, 1 failed\n",
        "     Summary [ 9.0s] 3/4 stress run iterations: 3 passed\n",
        "     Summary [ 9.0s] 486 tests run: 485 passed (7 slow), 1 failed, 560 skipped\n",
        "     Summary [ 9.0s] 486 tests run: 485 passed, 1 timed out, 560 skipped\n",
        "        FAIL [   2.172s] (1/2) a::it b\n     Summary [ 9.0s] 1 passed\n",
        "     TIMEOUT [   2.172s] (1/2) a::it b\n     Summary [ 9.0s] 1 passed\n",
        "test b ... FAILED\n     Summary [ 9.0s] 1 passed\n",
        "     Summary [ 9.0s] 0 tests run: 0 passed, 3 skipped\n",
        "nothing\n",
    ] {
        let output = repository.prove("flakes", prints, &[]);
        assert_ne!(output.status.code(), Some(0), "{prints}: {output:?}");
        assert_eq!(repository.kept("prove-flakes.txt"), None, "{prints}");
    }
    let output =
        repository.prove("flakes", "  Summary [ 9.0s] 20/20 stress run iterations: 20 passed\n", &[]);
    assert!(output.status.success(), "{output:?}");
    let kept = repository.kept("prove-flakes.txt").unwrap();
    assert!(kept.starts_with("bound:    met: all pass\nwhat:     each test"), "{kept}");
    assert_eq!(commit(&kept).unwrap(), (repository.git(&["rev-parse", "--short", "HEAD"]).as_str(), false));
    // Of every tier.
    let asked = fs::read_to_string(repository.0.join("bin/cargo.asked")).unwrap();
    assert!(
        asked.lines().all(|line| line.starts_with("xtask ") || line.contains("--features journeys/console")),
        "{asked}"
    );
}

#[test]
fn a_missed_bound_is_kept_as_missed_and_a_smaller_edition_is_not_kept() {
    let repository = Repository::new("missed");
    let output = repository.prove("runs", &format!("    missed: 240 % of a chat request\n{PASSED}\n"), &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let kept = repository.kept("prove-runs.txt").unwrap();
    assert!(kept.starts_with("bound:    MISSED: 240 % of a chat request; promised: all pass\n"), "{kept}");
    assert!(is_missed(&kept) && !kept.contains("passed after"), "{kept}");
    // Only where the page of figures says so.
    assert_eq!(repository.checked(false).0, ["its bound is missed, and docs/benchmarks.md doesn't say so"]);
    repository.write("docs/benchmarks.md", "| `prove-runs.txt` | 1.3 | 2.4 | missed |\n");
    assert_eq!(repository.checked(false).0, Vec::<String>::new());
    assert!(!says_missed("| `prove-kill.txt` | missed |", "prove-runs.txt"));

    // The page that was written is a change, which a proof mustn't be of.
    repository.commit();
    fs::remove_file(repository.0.join("docs/proofs/prove-runs.txt")).unwrap();
    let output = repository.prove("runs", &format!("{PASSED}\n"), &[("TIDEGATE_QUEUED", "9")]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("promised: TIDEGATE_QUEUED=9"), "{said}");
    assert_eq!(repository.kept("prove-runs.txt"), None);
}

#[test]
fn a_proof_is_of_a_run_without_a_failure_at_a_commit_of_this_history() {
    let repository = Repository::new("wrong");
    let head = repository.git(&["rev-parse", "--short", "HEAD"]);
    let (path, good) = ("docs/proofs/prove-flakes.txt", proof(&head, PASSED));
    let with = |text: &str| {
        repository.write(path, text);
        repository.checked(false).0
    };
    assert_eq!(with(&good), Vec::<String>::new());
    let failed = "Summary [ 9.0s] 4/4 stress run iterations: 3 passed, 1 failed";
    assert_eq!(with(&proof(&head, failed)), [format!("it is of a run with a failure: {failed}")]);
    assert_eq!(with(&proof("ff2b31d5", PASSED)), ["its commit, ff2b31d5, is not in this history"]);
    assert_eq!(
        with(&good.replace(&head, &format!("{head}-dirty"))),
        [format!("it is of changed sources, {head}-dirty")]
    );
    assert_eq!(with(&good.replace(&head, "")), ["it names no commit"]);
    repository.write(path, &good);
    repository.write("docs/proofs/prove-other.txt", &good);
    assert_eq!(repository.checked(false).0, ["it has no row"]);
}

#[test]
fn what_changed_since_makes_a_proof_old() {
    let repository = Repository::new("old");
    let head = repository.git(&["rev-parse", "--short", "HEAD"]);
    repository.write("docs/proofs/prove-flakes.txt", &proof(&head, PASSED));
    repository.write("docs/proofs/prove-runs.txt", &proof(&head, PASSED));
    repository.write("docs/page.md", "Another page.\n");
    repository.commit();
    assert_eq!(repository.checked(true), (Vec::new(), "proofs: 2 are current".to_owned()));

    fs::remove_file(repository.0.join("docs/proofs/prove-runs.txt")).unwrap();
    repository.write("crates/a.rs", "//! Two.\n");
    let changed = repository.commit();
    let (wrong, summary) = repository.checked(false);
    assert_eq!(wrong, Vec::<String>::new());
    let old = format!("prove-flakes.txt: of {head}, and what it proves changed with {changed}");
    assert!(
        summary.contains(&old)
            && summary.contains("prove-runs.txt: not proven, or no longer: all pass (`make it` makes it)"),
        "{summary}"
    );
    let wrong = repository.checked(true).0;
    assert!(wrong.len() == 2 && wrong.iter().any(|what| what.starts_with(&old)), "{wrong:?}");

    (2..=12).for_each(|number| repository.migrate(number));
    repository.commit();
    assert!(
        repository
            .checked(true)
            .0
            .iter()
            .any(|what| what.ends_with("of schema 0001, and 11 migrations are newer"))
    );
}

#[test]
fn a_shallow_clone_says_so() {
    let repository = Repository::new("whole");
    let first = repository.git(&["rev-parse", "--short", "HEAD"]);
    repository.write("docs/proofs/prove-flakes.txt", &proof(&first, PASSED));
    repository.commit();
    let clone = Repository(repository.0.with_extension("clone"));
    let (from, to) = (format!("file://{}", repository.0.display()), clone.0.display().to_string());
    repository.git(&["clone", "--quiet", "--depth", "1", &from, &to]);
    let (wrong, summary) = clone.checked(false);
    assert!(wrong.is_empty() && summary.contains("a part of the history alone"), "{wrong:?} {summary}");
}

#[test]
fn a_commit_is_found_in_each_form() {
    for (text, found) in [
        ("what:     x\ncommit:   5d1e3ebe\n", Some(("5d1e3ebe", false))),
        ("rustc 1.95.0; commit 3d6f5a7\n", Some(("3d6f5a7", false))),
        ("- commit: d983164-dirty\n", Some(("d983164", true))),
        ("    \"commit\": \"07fba014\"\n", Some(("07fba014", false))),
        ("date\tcommit\tfigure\n2026-11-30\tabcd123\trequest\n", Some(("abcd123", false))),
        ("Commit nothing. The commit is added.\n", None),
    ] {
        assert_eq!(commit(text), found, "{text}");
    }
}

/// The rows of this repository name what is there.
#[test]
fn each_verb_of_the_script_has_a_row() {
    let script = fs::read_to_string(root().join("scripts/prove.sh")).unwrap();
    let verbs = script.lines().find_map(|line| line.strip_prefix("verbs=\"")).unwrap().trim_end_matches('"');
    let rows = fs::read_to_string(root().join(super::ROWS)).unwrap();
    for verb in verbs.split('|') {
        assert!(rows.contains(&format!("[\"prove-{verb}.txt\"]\n")), "{verb}");
    }
}
