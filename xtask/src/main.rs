//! The repository's own checks: `cargo xtask check`, `tidy`, `licences`, `duplicates`, `features`,
//! `proofs`, `site` and `times`.

mod change;
mod duplicates;
mod features;
mod finding;
mod graph;
mod licences;
mod proofs;
mod site;
mod source;
mod spdx;
mod tidy;
mod times;
mod tree;

use std::process::ExitCode;

use finding::Finding;

const USAGE: &str = "usage: cargo xtask <check>

  check       format, tidy, clippy and tests of the crates that were changed since a commit (HEAD); minutes less than all
  tidy        import table, names, file heads, sizes, test habits, migrations
  licences    licence of every package against the allow-list, and banned packages
  duplicates  packages that the binary holds in more than one version
  features    packages that are compiled in two ways, with the engine and without it
  proofs      kept proofs that are older than the newest migration, or of a run that failed
  site        the documentation as pages, into console/dist/docs
  times       what each test took in the last run of `make test`, the slowest first";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        ["check", since @ ..] if since.len() <= 1 => {
            return exit(change::check(&tree::root(), since.first().copied()).map(|()| true));
        }
        ["tidy"] => tidy::check(&tree::root()),
        ["licences"] => licences::check(&tree::root()),
        ["duplicates"] => duplicates::check(&tree::root()),
        ["features"] => features::check(&tree::root()),
        ["proofs"] => proofs::check(&tree::root()),
        ["site"] => return exit(site::build(&tree::root()).map(|()| true)),
        ["times"] => return exit(times::show(&tree::root()).map(|()| true)),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    report(outcome)
}

fn report(outcome: anyhow::Result<(Vec<Finding>, String)>) -> ExitCode {
    exit(outcome.map(|(findings, summary)| finding::print(&findings, &summary)))
}

fn exit(outcome: anyhow::Result<bool>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
