//! `make bench-engine`: the engine against llama.cpp on the same files with the same threads, measured
//! alternately.

mod children;
mod device;
mod disk;
mod layers;
mod models;
mod ours;
mod own;
mod report;
mod rows;
mod train;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use kernels::KvDtype;

const USAGE: &str = "bench-engine --llama CHILD [--llama-built HOW] [--rounds 5] [--threads 2] [--only G1,G2] [--peft PYTHON] [--no-save]";
/// The directory of the generated models, and the file of the results.
const MODELS: &str = "target/bench-engine/models";
const PROOF: &str = "docs/proofs/engine-bench.md";

/// The command line.
pub struct Options {
    llama: PathBuf,
    /// How llama.cpp was built, for the table.
    llama_built: String,
    rounds: usize,
    threads: usize,
    only: Option<Vec<String>>,
    /// A Python interpreter with torch, transformers and peft.
    peft: Option<PathBuf>,
    saves: bool,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-engine: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Subcommands that the benchmark runs itself with, in child processes.
fn dispatch(arguments: &[&str]) -> Result<()> {
    match arguments {
        ["child", path] => ours::run(Path::new(path), KvDtype::F16),
        ["child", path, "q8"] => ours::run(Path::new(path), KvDtype::Q8),
        ["train", path, sizes @ ..] => train::run(Path::new(path), sizes),
        ["device", flags @ ..] => device::run(flags),
        ["layers", flags @ ..] => layers::run(flags),
        flags => measure(&options(flags)?),
    }
}

fn options(flags: &[&str]) -> Result<Options> {
    let mut options = Options {
        llama: PathBuf::new(),
        llama_built: "for the machine itself".to_owned(),
        rounds: 5,
        threads: 2,
        only: None,
        peft: None,
        saves: true,
    };
    let mut flags = flags.iter();
    while let Some(flag) = flags.next() {
        let mut value = || flags.next().with_context(|| format!("{flag} wants a value\n{USAGE}"));
        match *flag {
            "--llama" => options.llama = PathBuf::from(value()?),
            "--llama-built" => options.llama_built = (*value()?).to_owned(),
            "--rounds" => options.rounds = value()?.parse().context("--rounds")?,
            "--threads" => options.threads = value()?.parse().context("--threads")?,
            "--peft" => options.peft = Some(PathBuf::from(value()?)),
            "--only" => options.only = Some(value()?.split(',').map(str::to_owned).collect()),
            "--no-save" => options.saves = false,
            other => bail!("{other} is not known\n{USAGE}"),
        }
    }
    if options.rounds == 0 || options.threads == 0 || !options.llama.is_file() {
        bail!("{USAGE}");
    }
    Ok(options)
}

fn measure(options: &Options) -> Result<()> {
    let models = models::made(Path::new(MODELS))?;
    let rows = rows::all(options, &models)?;
    let table = report::table(options, &rows);
    print!("{table}");
    if options.saves && options.only.is_none() {
        std::fs::write(PROOF, table).with_context(|| PROOF.to_owned())?;
    }
    if !report::holds(&rows) {
        bail!("a gate is missed");
    }
    Ok(())
}
