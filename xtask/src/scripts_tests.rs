//! The scripts behind `make test` on machines that lack something, with programs that only say so.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::tree::root;

/// Programs that the scripts may take from this machine.
const TAKEN: &str = "sh bash dirname date mkdir rm du awk env uname ls touch";
/// Prints as much free disk as `FREE_KIB` says.
const DF: &str = "printf 'Filesystem 1024-blocks Used Available\\nd 1 1 %s\\n' \"${FREE_KIB:-1}\"";

/// A folder with some of the scripts, and a `bin` with nothing but these programs.
struct Machine(PathBuf);

impl Drop for Machine {
    fn drop(&mut self) {
        // What stays behind is in the folder for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Machine {
    /// `scripts` are as they are here, `stubs` are shell commands.
    fn new(name: &str, scripts: &[&str], stubs: &[(&str, &str)]) -> Self {
        let machine = Self(std::env::temp_dir().join(format!("tidegate-{name}-{}", std::process::id())));
        for folder in ["scripts", "bin"] {
            fs::create_dir_all(machine.0.join(folder)).unwrap();
        }
        for script in scripts {
            let path = format!("scripts/{script}");
            fs::copy(root().join(&path), machine.0.join(&path)).unwrap();
        }
        for (path, text) in stubs {
            fs::write(machine.0.join(path), format!("#!/bin/sh\n{text}\n")).unwrap();
        }
        machine
    }

    /// Whether the script passed, and all that it said.
    fn run(&self, script: &str, settings: &[(&str, &str)]) -> (bool, String) {
        // By a shell, since a file that was just written can be busy.
        let start = "for program in $1; do [ -e bin/$program ] || ln -s \"$(command -v $program)\" bin/; done; \
                     find bin scripts -type f -exec chmod +x {} +; exec 2>&1; PATH=$PWD/bin exec bash scripts/$2";
        let mut command = Command::new("sh");
        command.args(["-c", start, "sh", TAKEN, script]).current_dir(&self.0);
        let output = command.env_remove("TIDEGATE_DISK_GIB").envs(settings.iter().copied()).output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    }
}

fn says(text: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(text.contains(wanted), "{wanted:?} is missing in: {text}");
    }
}

#[test]
fn a_small_disk_ends_a_test_run_before_anything_is_built() {
    let stubs = [
        ("bin/df", DF),
        ("bin/cargo", "echo cargo was asked; exit 1"),
        ("scripts/test-env.sh", "exit 1"),
        ("scripts/node.sh", "return 1"),
    ];
    let machine = Machine::new("disk", &["test.sh"], &stubs);
    let (passed, text) = machine.run("test.sh", &[("FREE_KIB", "2097152")]);
    says(&text, &["has 2048 MiB free", "needs 8 GiB", "cargo clean", "ARGS=core", "TIDEGATE_DISK_GIB"]);
    assert!(!passed && !text.contains("cargo was asked"), "{text}");

    // The disk suffices; an environment without everything doesn't end the run, and a build that fails on a full disk says so.
    let enough = [("FREE_KIB", "2097152"), ("TIDEGATE_DISK_GIB", "2")];
    let (passed, text) = machine.run("test.sh", &enough);
    assert!(!passed && text.contains("cargo was asked") && !text.contains("is full"), "{text}");
    let (_, text) = machine.run("test.sh", &[("FREE_KIB", "1024"), ("TIDEGATE_DISK_GIB", "0")]);
    says(&text, &["cargo was asked", "The disk of target is full", "TMPDIR"]);
}

#[test]
fn what_cannot_be_installed_is_named_and_the_rest_is_still_tried() {
    let fails = "echo \"$0 could not fetch its-package\"; exit 1";
    let stubs = [
        ("bin/df", DF),
        ("bin/cargo", "echo cargo-nextest 1"),
        ("bin/npm", fails),
        ("bin/python3", "exit 1"),
        ("bin/apt-get", "exit 1"),
        ("bin/id", "echo \"$USER_ID\""),
        ("scripts/python-env.sh", fails),
        ("scripts/node-env.sh", fails),
        ("scripts/console.sh", fails),
    ];
    let machine = Machine::new("environment", &["test-env.sh", "node.sh"], &stubs);
    let rest = [
        "MISSING: curl",
        "MISSING: Node.js",
        "MISSING: the Python packages",
        "scripts/node-env.sh could not fetch its-package",
        "MISSING: the console's packages",
        "MISSING: typos",
    ];
    let (passed, text) = machine.run("test-env.sh", &[("USER_ID", "1000")]);
    says(&text, &["this needs root, and there is no sudo; as root: apt-get install curl"]);
    says(&text, &rest);
    assert!(!passed, "{text}");

    let (passed, text) = machine.run("test-env.sh", &[("USER_ID", "0")]);
    says(&text, &["apt-get could not install curl"]);
    says(&text, &rest);
    assert!(!passed, "{text}");

    fs::remove_file(machine.0.join("bin/apt-get")).unwrap();
    says(
        &machine.run("test-env.sh", &[]).1,
        &["there is no apt-get here: install by hand what Debian calls curl"],
    );
}
