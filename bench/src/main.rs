//! `make bench`: Tidegate, nginx and a minimal pass-through proxy, measured side by side in one run.

mod behaviour;
mod client;
mod clock;
mod count;
mod emulator;
mod facts;
mod http1;
mod load;
mod metrics;
mod options;
mod parties;
mod plot;
mod processes;
mod procfs;
mod publish;
mod report;
mod rounds;
mod serve;
mod thin;

use std::process::ExitCode;

use anyhow::{Context, Result};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match dispatch(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The four subcommands that the benchmark runs itself with, in child processes, and those for people.
fn dispatch(arguments: &[&str]) -> Result<ExitCode> {
    match arguments {
        ["emulate", listen] => emulator::run(listen).map(|()| ExitCode::SUCCESS),
        ["thin", listen, upstream] => thin::run(listen, upstream).map(|()| ExitCode::SUCCESS),
        ["postgres", folder] => parties::keep_database(folder).map(|()| ExitCode::SUCCESS),
        ["load", what] => {
            let load = serde_json::from_str(what).context("understanding the load")?;
            load::run(&load).map(|()| ExitCode::SUCCESS)
        }
        ["count", flags @ ..] => count::run(flags).map(exit),
        ["help" | "--help" | "-h"] => {
            println!("{}", options::USAGE);
            Ok(ExitCode::SUCCESS)
        }
        flags => match options::Options::parse(flags) {
            Ok(options) => measure(&options).map(exit),
            Err(error) => {
                eprintln!("bench: {error:#}\n\n{}", options::USAGE);
                Ok(ExitCode::from(2))
            }
        },
    }
}

fn exit(is_met: bool) -> ExitCode {
    if is_met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether every limit that was asked for is met, if this run can tell.
fn measure(options: &options::Options) -> Result<bool> {
    let facts = facts::Facts::gather(&options.binary);
    println!("{facts}");
    let samples = rounds::run(options)?;
    let report = report::Report::new(facts, options, samples);
    println!("\n{report}");
    if let Some(folder) = &options.save {
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let data = serde_json::to_string_pretty(&report).context("writing the report")? + "\n";
        for (name, text) in [("bench.json", data), ("bench.svg", plot::draw(&report))] {
            let path = folder.join(name);
            std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
            println!("saved {}", path.display());
        }
        let page = folder.join("../benchmarks.md");
        let text = std::fs::read_to_string(&page).with_context(|| format!("reading {}", page.display()))?;
        let text = publish::with_section(&text, &report.processor(), &report.published())
            .with_context(|| format!("{} has no marks for the figures", page.display()))?;
        std::fs::write(&page, text).with_context(|| format!("writing {}", page.display()))?;
        println!("written into {}", page.display());
    }
    Ok(report.missed() == 0 || !options.is_judged)
}
