//! Child processes that hold a model and execute commands from standard input. The engine and llama.cpp use
//! the same protocol, so that they are measured alike.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child as Process, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};

pub struct Child {
    process: Process,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    /// Time from process start to the first token.
    pub load_seconds: f64,
}

impl Child {
    /// The engine, in a process of its own.
    pub fn ours(model: &Path, threads: usize) -> Result<Self> {
        Self::start(our_command(model, threads)?)
    }

    /// The same with an 8-bit KV cache.
    pub fn ours_in_eight(model: &Path, threads: usize) -> Result<Self> {
        let mut command = our_command(model, threads)?;
        command.arg("q8");
        Self::start(command)
    }

    pub fn llama(program: &Path, model: &Path, threads: usize) -> Result<Self> {
        let mut command = Command::new(program);
        command.arg(model).arg(threads.to_string());
        Self::start(command)
    }

    /// The engine's trainer, given the sequence length and the LoRA rank.
    pub fn trains(model: &Path, threads: usize, sizes: &[String]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("train").arg(model).args(sizes).env("RAYON_NUM_THREADS", threads.to_string());
        Self::start(command)
    }

    /// PEFT as the trainer, given the same.
    pub fn peft(python: &Path, model: &Path, threads: usize, sizes: &[String]) -> Result<Self> {
        let mut command = Command::new(python);
        command.arg("bench/engine/train_by_peft.py").arg(model).arg(threads.to_string()).args(sizes);
        command.env("TRANSFORMERS_VERBOSITY", "error").env("HF_HUB_OFFLINE", "1");
        Self::start(command)
    }

    fn start(mut command: Command) -> Result<Self> {
        let name = command.get_program().display().to_string();
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context(name)?;
        let stdin = process.stdin.take();
        let stdout = process.stdout.take().context("a child without an output")?;
        let mut child = Self { process, stdin, stdout: BufReader::new(stdout), load_seconds: 0.0 };
        child.load_seconds = child.figure()?;
        Ok(child)
    }

    fn figures(&mut self) -> Result<Vec<f64>> {
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            bail!("a child ended before it answered");
        }
        line.split_whitespace().map(|word| word.parse().with_context(|| line.clone())).collect()
    }

    fn figure(&mut self) -> Result<f64> {
        self.figures()?.first().copied().context("a child told no figure")
    }

    pub fn ask(&mut self, line: &str) -> Result<f64> {
        self.ask_all(line)?.first().copied().context("a child told no figure")
    }

    pub fn ask_all(&mut self, line: &str) -> Result<Vec<f64>> {
        let stdin = self.stdin.as_mut().context("a child that is gone")?;
        writeln!(stdin, "{line}")?;
        stdin.flush()?;
        self.figures()
    }
}

fn our_command(model: &Path, threads: usize) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("child").arg(model).env("RAYON_NUM_THREADS", threads.to_string());
    Ok(command)
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both exit at the end of their input.
        self.stdin = None;
        let _ = self.process.wait();
    }
}
