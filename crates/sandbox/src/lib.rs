//! Programs of this machine that the operator lets requests start, each in a sandbox: namespaces of its user, mounts, processes and
//! network, without capabilities, with a filter of system calls, and with limits. Linux only.
//!
//! The gateway has threads, and only a process without any can enter a user namespace. So it starts its own executable once more
//! with `sandbox-enter` (`enter`), which makes the namespaces and starts itself a second time as their first process
//! (`init`), which builds the file system, gives up its capabilities and starts the program.

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod calls;
#[cfg(target_os = "linux")]
mod enter;
#[cfg(target_os = "linux")]
mod forward;
#[cfg(target_os = "linux")]
mod init;
mod limits;
#[cfg(target_os = "linux")]
mod loopback;
mod order;
mod program;
#[cfg(target_os = "linux")]
mod root;
mod start;

use std::process::ExitCode;

pub use order::Start;
pub use program::{HostPort, Program, Programs};
pub use start::{Pipes, StartError, Started, give, start};

/// Becomes a sandbox where the first argument says so. To be called before anything else: only a process with one thread can.
pub fn entered() -> Option<ExitCode> {
    let argument = std::env::args().nth(1)?;
    #[cfg(target_os = "linux")]
    match argument.as_str() {
        order::ENTER => return Some(enter::run()),
        order::INIT => return Some(init::run()),
        _ => {}
    }
    #[cfg(not(target_os = "linux"))]
    let _ = argument;
    None
}
