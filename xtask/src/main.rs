//! The repository's own checks: `cargo xtask check`, `tidy`, `licences`, `duplicates`, `features`,
//! `proofs`, `affected`, `budget` and `site`.

mod budget;
mod change;
mod duplicates;
mod features;
mod finding;
mod graph;
mod licences;
mod proofs;
#[cfg(test)]
mod scripts_tests;
mod site;
mod source;
mod spdx;
mod tidy;
mod tiers;
mod tree;

use std::process::ExitCode;

use finding::Finding;

const USAGE: &str = "usage: cargo xtask <check>

  check       format, tidy, clippy and tests of the crates that were changed since a commit (HEAD); minutes less than all
  tidy        import table, names, file heads, sizes, test habits, migrations
  licences    licence of every package against the allow-list, and banned packages
  duplicates  packages that the binary holds in more than one version
  features    packages that are compiled in two ways, with the engine and without it
  proofs      kept proofs of a run that failed, or of a commit that is gone; `--current`: also those that are older than what they prove
  site        the documentation as pages, into console/dist/docs
  affected    the tiers of tests that a change names since the last run of everything ([whole | TIER...])
  budget      what tests may cost against their sources; `show`: what the last run cost; `write`: take that over";

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
        ["proofs", "--current"] => proofs::check_as(&tree::root(), true),
        ["site"] => return exit(site::build(&tree::root()).map(|()| true)),
        ["affected", names @ ..] => {
            let names = names.join(" ");
            let mode = match names.as_str() {
                "" => tiers::Mode::Changed,
                "whole" => tiers::Mode::Whole,
                names => tiers::Mode::Named(names),
            };
            return exit(tiers::affected(&tree::root(), &mode).map(|()| true));
        }
        ["budget"] => budget::check(&tree::root()),
        ["budget", "show"] => return exit(budget::show(&tree::root()).map(|()| true)),
        ["budget", "tiers"] => return exit(budget::by_tier(&tree::root()).map(|()| true)),
        ["budget", "write", measured] => return exit(budget::write(&tree::root(), measured).map(|()| true)),
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
