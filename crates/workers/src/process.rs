//! Runs helper programs and reads their output, and knows processes of this machine by more than their number.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::timeout;

use crate::limits::{COMMAND_OUTPUT_BYTES_MAX, COMMAND_TIME_MAX};

/// What a program wrote, if it ended well.
pub(crate) struct Output {
    pub stdout: String,
}

/// A program with the variables that every program needs, and no others of this process.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    for name in ["PATH", "HOME", "LANG", "TZ"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// Runs a program to its end.
///
/// # Errors
/// It can't be started, ends with another status than zero, or takes too long: a sentence with what it wrote.
pub(crate) async fn run(program: &Path, arguments: &[String], stdin: &[u8]) -> Result<Output, String> {
    let mut command = command(program);
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let name = program.display();
    let mut child = command.spawn().map_err(|error| format!("{name} can't be started: {error}."))?;
    let (mut input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let Some(input) = &mut input {
            // A program that does not read its input says so by its status.
            let _ = input.write_all(stdin).await;
        }
        drop(input.take());
    };
    let whole = async {
        let ((), stdout, stderr) = tokio::join!(write, read(output), read(errors));
        (child.wait().await, stdout, stderr)
    };
    let (status, stdout, stderr) =
        timeout(COMMAND_TIME_MAX, whole).await.map_err(|_| format!("{name} did not end within a minute."))?;
    let status = status.map_err(|error| format!("{name} can't be waited for: {error}."))?;
    if status.success() {
        return Ok(Output { stdout });
    }
    let stderr = stderr.trim();
    Err(format!("{name} ended with {status}: {stderr}"))
}

/// The beginning of what is written; the rest is read and dropped, so that the writer does not wait.
async fn read(from: Option<impl AsyncReadExt + Unpin>) -> String {
    let Some(mut from) = from else { return String::new() };
    let mut bytes = Vec::new();
    let _ = (&mut from).take(COMMAND_OUTPUT_BYTES_MAX as u64).read_to_end(&mut bytes).await;
    let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The start of a process in ticks since the machine's, from `/proc/PID/stat`; `None` if it has ended and nobody has waited for it.
pub(crate) fn started_ticks(stat: &str) -> Option<u64> {
    // The name of the program, in parentheses, may have any characters.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// The process group, from `/proc/PID/stat`.
pub(crate) fn group(stat: &str) -> Option<i32> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start() {
        let stat = |state: &str| {
            format!("7 (a) b) {state} 1 7 7 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 1 0 98765 1000 200 184")
        };
        assert_eq!(started_ticks(&stat("S")), Some(98_765));
        assert_eq!(started_ticks(&stat("Z")), None);
        assert_eq!(started_ticks("7 (a"), None);
        assert_eq!((group(&stat("S")), group("7 (a")), (Some(7), None));
        let own = std::fs::read_to_string("/proc/self/stat").unwrap();
        assert!(started_ticks(&own).is_some_and(|ticks| ticks > 0));
    }

    #[tokio::test]
    async fn a_program_says_why_it_failed() {
        let shell = |script: &str| [String::from("-c"), script.to_owned()];
        let run = async |script: &str, stdin: &[u8]| run(Path::new("/bin/sh"), &shell(script), stdin).await;
        assert_eq!(run("cat", b"tide").await.unwrap().stdout, "tide");
        let failed = run("echo broken >&2; exit 3", b"").await.err().unwrap();
        assert!(failed.contains("broken") && failed.contains('3'), "{failed}");
        let missing = super::run(Path::new("/no/such"), &[], b"").await.err().unwrap();
        assert!(missing.contains("can't be started"), "{missing}");
    }
}
