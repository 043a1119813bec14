//! The `tidegate` binary: the command line, and the only place that composes concrete implementations.

#[macro_use(print, println, eprintln)]
extern crate cli;

mod archive;
mod audit_sink;
mod audit_storage;
mod commands;
mod data_dir;
mod data_plane;
mod founding;
mod hardening;
mod heads;
mod limits;
mod local_models;
mod logging;
#[cfg(feature = "engine")]
mod memory;
mod node_keys;
#[cfg(feature = "peers")]
mod node_mesh;
mod outside;
mod postgres;
mod repurge;
mod server_state;
mod settings;
mod shelf;
mod signals;
mod system_core;
mod upkeep;

use std::process::ExitCode;

use zeroizing_alloc::ZeroAlloc;

/// Freed memory is zeroed: the HTTP library's buffers hold keys for a moment, and nothing else would clear
/// them.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<std::alloc::System> = ZeroAlloc(std::alloc::System);

fn main() -> ExitCode {
    if let Some(code) = sandbox::entered().or_else(pdf::entered) {
        return code;
    }
    let arguments = commands::Arguments::of_process();
    match commands::run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
