//! Shell scripts for other machines, in which every word of ours is quoted.

use std::fmt::Write as _;

/// A word in single quotes, as every POSIX shell reads it.
pub(crate) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Starts a program in a session, and prints its number and its line of `/proc`, which are noted in its directory, too: whoever
/// ordered it may not hear the answer. Variables are read from standard input, one in a line, so that no list of processes shows
/// them.
pub(crate) fn start(directory: &str, program: &str, arguments: &[String]) -> String {
    let mut words = quoted(program);
    for argument in arguments {
        let _ = write!(words, " {}", quoted(argument));
    }
    let directory = quoted(directory);
    // `setsid` becomes the program itself, since a shell without job control puts it into no group that it leads.
    format!(
        "umask 077 && mkdir -p {directory} && cd {directory} || exit 1; \
         while IFS= read -r line; do export \"$line\"; done; \
         setsid {words} </dev/null >log 2>&1 & pid=$!; {{ echo \"$pid\"; cat \"/proc/$pid/stat\"; }} >started; cat started"
    )
}

/// Prints the line of a process in `/proc`, if it is there.
pub(crate) fn look(pid: i32) -> String {
    format!("cat /proc/{pid}/stat 2>/dev/null || true")
}

/// Prints what was noted when a program was started in this directory.
pub(crate) fn noted(directory: &str) -> String {
    format!("cat {}/started 2>/dev/null || true", quoted(directory))
}

pub(crate) fn log(directory: &str, bytes_max: usize) -> String {
    format!("tail -c {bytes_max} {}/log 2>/dev/null || true", quoted(directory))
}

/// Ends a session by its leader's number: with a request to, then by force after so many tenths of a second; and removes its
/// directory.
pub(crate) fn destroy(pid: i32, directory: &str, tenths: u64) -> String {
    format!(
        "kill -TERM -{pid} 2>/dev/null; n=0; \
         while kill -0 -{pid} 2>/dev/null && [ $n -lt {tenths} ]; do sleep 0.1; n=$((n+1)); done; \
         kill -KILL -{pid} 2>/dev/null; n=0; \
         while kill -0 -{pid} 2>/dev/null && [ $n -lt {tenths} ]; do sleep 0.1; n=$((n+1)); done; \
         ! kill -0 -{pid} 2>/dev/null || exit 1; rm -rf {}",
        quoted(directory)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn shell(script: &str, stdin: &str) -> String {
        use std::io::Write;
        let mut shell = Command::new("/bin/sh");
        let mut child =
            shell.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{script}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn words_reach_a_program_unchanged() {
        for word in
            ["", "tide", "a b", "it's", "$(touch x)", "`id`", "a\nb", "\"; rm -rf /; \"", "\\", "-e", "*"]
        {
            assert_eq!(shell(&format!("printf %s {}", quoted(word)), ""), word);
        }
    }

    #[test]
    fn a_session_starts_with_its_variables_and_is_ended_whole() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("it's").display().to_string();
        let script = "echo \"$TIDE and $1\"; sleep 600 & sleep 600".to_owned();
        let arguments = ["-c".to_owned(), script, "sh".to_owned(), "$HOME 'x'".to_owned()];
        let started = shell(&start(&directory, "/bin/sh", &arguments), "TIDE=high $(water)\n");
        let (pid, stat) = started.split_once('\n').unwrap();
        let pid: i32 = pid.parse().unwrap();
        let ticks = crate::process::started_ticks(stat);
        assert!(ticks.is_some_and(|ticks| ticks > 0), "{started}");
        assert_eq!(crate::process::started_ticks(&shell(&look(pid), "")), ticks);
        assert_eq!(shell(&noted(&directory), ""), started, "also for whoever did not hear the answer");
        assert_eq!(shell(&noted("/no/such"), ""), "");
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while shell(&log(&directory, 100), "") != "high $(water) and $HOME 'x'\n" {
            assert!(std::time::Instant::now() < deadline, "{}", shell(&log(&directory, 100), ""));
        }
        shell(&destroy(pid, &directory, 100), "");
        let group = rustix::process::Pid::from_raw(pid).unwrap();
        assert!(rustix::process::test_kill_process_group(group).is_err());
        assert!(!root.path().join("it's").exists());
    }
}
