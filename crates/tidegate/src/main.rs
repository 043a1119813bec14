//! The `tidegate` binary: the command line, and the one place that names concrete choices.

mod api;
mod body;
mod commands;
mod data_dir;
mod founding;
mod hardening;
mod house;
mod logging;
mod output;
mod settings;
mod signals;
mod trips;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let arguments = commands::Arguments::parse();
    match commands::run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
