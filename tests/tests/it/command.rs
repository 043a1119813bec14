//! Runs one command of the program to its end, with a secret on standard input if the command expects one.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;

use serde_json::Value;

use crate::WITHIN;

/// The root of the repository, as the test runner reports it.
pub fn workspace() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    here.parent().unwrap().to_path_buf()
}

/// The result of a command.
#[derive(Debug)]
pub struct Done {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A command to run.
#[derive(Debug, Clone, Default)]
pub struct Cli {
    /// Replaces the built program.
    program: Option<PathBuf>,
    environment: Vec<(String, String)>,
}

impl Cli {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn of(program: PathBuf) -> Self {
        Self { program: Some(program), ..Self::default() }
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn run(&self, arguments: &[&str]) -> Done {
        self.run_with(arguments, "")
    }

    /// Its environment holds only a path, a home and the given variables, and no saved sign-in.
    fn command(&self, arguments: &[&str]) -> Command {
        let program = self.program.clone();
        let mut command = Command::new(program.unwrap_or_else(|| harness::process::tidegate().unwrap()));
        command.args(arguments).env_clear();
        for name in ["PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.env("XDG_CONFIG_HOME", "/nonexistent");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs it with its standard output closed by the reader.
    pub fn run_unread(&self, arguments: &[&str]) -> Done {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let child =
            self.command(arguments).stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped()).spawn();
        done(child.unwrap().wait_with_output().unwrap())
    }

    /// Starts a command once it can be interrupted, and returns what waits for its end, and its process.
    pub fn interruptible(&self, arguments: &[&str]) -> (impl FnOnce() -> Done + Send + 'static, u32) {
        let mut command = self.command(arguments);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let pid = child.id();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut first = String::new();
        // It says something once it listens for an interrupt.
        stderr.read_line(&mut first).unwrap();
        let end = move || {
            let mut rest = String::new();
            std::io::Read::read_to_string(&mut stderr, &mut rest).unwrap();
            let mut ended = done(child.wait_with_output().unwrap());
            ended.stderr = format!("{first}{rest}");
            ended
        };
        (end, pid)
    }

    /// Starts a command that runs until it is interrupted.
    pub fn follow(&self, arguments: &[&str]) -> Following {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let (lines, found) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).try_for_each(|line| lines.send(line))
        });
        Following { child, lines: found }
    }

    /// Runs it with this text on standard input.
    pub fn run_with(&self, arguments: &[&str], stdin: &str) -> Done {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A command that does not read its input may have closed the pipe already.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        done(child.wait_with_output().unwrap())
    }
}

fn done(output: Output) -> Done {
    Done {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A running command; it is killed on drop.
pub struct Following {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Following {
    /// The next JSON object that it prints.
    pub fn line(&self) -> Value {
        serde_json::from_str(&self.lines.recv_timeout(WITHIN).expect("it is silent")).unwrap()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Done {
    /// The standard output of a command that succeeded.
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self.stdout
    }

    /// The one JSON object that a command printed.
    pub fn json(self) -> Value {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("no JSON ({error}): {text}"))
    }

    /// The JSON objects that a command printed, one a line.
    pub fn lines(self) -> Vec<Value> {
        self.ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Checks the exit code of a failed command; returns its output.
    pub fn failed(self, code: i32) -> String {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        format!("{}{}", self.stdout, self.stderr)
    }
}
