//! The checks of `tidegate doctor` on sandboxes, where the operator declares programs that run in them.

use std::io;
use std::path::Path;
use std::sync::Arc;

use sandbox::{Program, Programs, Start};
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use super::Check;
use crate::limits::{SANDBOX_TRY_TIME_MAX, SANDBOX_WORDS_MAX};

const NAME: &str = "sandbox";
const PROGRAM: &str = "program";
/// What looks, within a sandbox, for the executable of a program.
const TEST: &str = "/usr/bin/test";

/// Starts a sandbox, and looks in one of each declared program for its executable. The programs themselves are not started.
pub fn check_sandboxes(file: &Path, checks: &mut Vec<Check>) {
    let declared = std::fs::read_to_string(file).map_err(|error| error.to_string());
    let programs = match declared.and_then(|text| Programs::read(&text)) {
        Ok(programs) => programs,
        Err(error) => {
            let found = format!("{} can't be used: {error}", file.display());
            return checks.push(Check::error(
                NAME,
                found,
                "Correct the file that tools.stdio names; docs/tools.md has an example.",
            ));
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return checks.push(Check::error(NAME, error.to_string(), "Run doctor again.")),
    };
    if let Err(why) = runtime.block_on(trial(plain())) {
        return checks.push(Check::error(NAME, why.clone(), fix_of(&why)));
    }
    checks.push(Check::fine(NAME, "programs can be started in it"));
    for (name, program) in programs.all() {
        checks.push(program_check(name, program, file, runtime.block_on(trial(looking_for(program)))));
    }
}

fn program_check(name: &str, program: &Program, file: &Path, tried: Result<(), String>) -> Check {
    let executable = program.command.first().map(String::as_str).unwrap_or_default();
    match tried {
        Ok(()) => Check::fine(PROGRAM, format!("stdio:{name} is there: {executable}")),
        Err(why) if why.is_empty() => Check::error(
            PROGRAM,
            format!("stdio:{name} can't be started: no executable {executable} is in its sandbox"),
            format!(
                "Install it, or list it in \"read\" of [{name}] in {}; it must be readable for the gateway's user, and for nobody \
                 where that is root.",
                file.display()
            ),
        ),
        Err(why) => Check::error(PROGRAM, format!("stdio:{name} can't be started: {why}"), fix_of(&why)),
    }
}

/// What a sandbox that holds nothing but the system starts: something that every system has, or else this executable.
fn plain() -> Program {
    let small = ["/bin/true", "/usr/bin/true"].into_iter().find(|path| Path::new(path).exists());
    let own = || std::env::current_exe().map(|path| path.display().to_string()).unwrap_or_default();
    match small {
        Some(path) => of_command(vec![path.to_owned()], Vec::new()),
        None => of_command(vec![own(), "--version".to_owned()], vec![own()]),
    }
}

/// What succeeds where the sandbox of a program has its executable.
fn looking_for(program: &Program) -> Program {
    let executable = program.command.first().cloned().unwrap_or_default();
    if !Path::new(TEST).exists() {
        return Program { read: program.read.clone(), ..plain() };
    }
    of_command(vec![TEST.to_owned(), "-x".to_owned(), executable], program.read.clone())
}

fn of_command(command: Vec<String>, read: Vec<String>) -> Program {
    Program {
        command,
        read,
        hosts: Vec::new(),
        env: std::collections::BTreeMap::new(),
        secrets: Vec::new(),
        workspaces: Vec::new(),
        memory_mib: 256,
        processes: 16,
        cpu_seconds: 5,
    }
}

/// Starts a program in a sandbox and waits for it.
///
/// # Errors
/// What the sandbox said where it did not succeed; nothing where the program said nothing.
async fn trial(program: Program) -> Result<(), String> {
    let start = Start { program: Arc::new(program), secrets: Vec::new(), proxy: None };
    let (mut started, pipes) = sandbox::start(&start, 1).map_err(|error| error.to_string())?;
    drop(pipes.stdin);
    let mut errors = pipes.stderr.take(SANDBOX_WORDS_MAX);
    let ended = timeout(SANDBOX_TRY_TIME_MAX, async {
        let mut words = String::new();
        errors.read_to_string(&mut words).await?;
        Ok::<_, io::Error>((started.wait().await?, words))
    });
    match ended.await {
        Ok(Ok((status, _))) if status.success() => Ok(()),
        Ok(Ok((_, words))) => Err(words.trim().trim_start_matches("sandbox: ").to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("it did not end within {} seconds", SANDBOX_TRY_TIME_MAX.as_secs())),
    }
}

fn fix_of(why: &str) -> &'static str {
    if why.contains("\"read\"") {
        return "Correct \"read\" in the file that tools.stdio names: each path must be there, and readable for the gateway's user, \
                or for nobody where that is root.";
    }
    if why.contains("did not end") {
        return "Run doctor again when the machine is less busy.";
    }
    "Allow user namespaces for the gateway's user: sysctl user.max_user_namespaces above 0, kernel.unprivileged_userns_clone=1 and \
     kernel.apparmor_restrict_unprivileged_userns=0, where the system has them. In a container, its runtime must allow \
     namespaces and mounts, and leave /proc uncovered."
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn each_trouble_has_its_fix() {
        for (why, fix) in [
            (
                "this system doesn't let the gateway create a user namespace: EPERM",
                "user.max_user_namespaces",
            ),
            ("its file system can't be built: EACCES", "apparmor"),
            ("a path of \"read\" can't be passed on: ENOENT", "each path must be there"),
            ("it did not end within 10 seconds", "again"),
        ] {
            assert!(fix_of(why).contains(fix), "{why}");
        }
    }

    #[test]
    fn a_program_that_its_sandbox_does_not_have_is_named() {
        let program = of_command(vec!["/opt/x".to_owned()], Vec::new());
        let check = |tried: Result<(), &str>| {
            program_check("x", &program, Path::new("/etc/p.toml"), tried.map_err(str::to_owned))
        };
        assert_eq!(check(Ok(())).level, Level::Fine);
        let missing = check(Err(""));
        assert!(missing.found.contains("no executable /opt/x"), "{}", missing.found);
        assert!(
            missing.level == Level::Error && missing.fix.contains("[x] in /etc/p.toml"),
            "{}",
            missing.fix
        );
        assert!(check(Err("the program can't be started: ENOENT")).found.contains("ENOENT"));
    }
}
