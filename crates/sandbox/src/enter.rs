//! The process that makes the namespaces. It has one thread, and waits for the first process in them.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitCode};

use rustix::process::{Signal, getegid, geteuid, getppid, set_parent_process_death_signal};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags};

use crate::order::INIT;

/// Who the program is in there.
const USER: u32 = 1_000;

/// What the first process needs: to mount, to drop what it has, to bring the loopback interface up, and to forbid further
/// namespaces.
const NEEDED: [CapabilitySet; 4] =
    [CapabilitySet::SYS_ADMIN, CapabilitySet::SETPCAP, CapabilitySet::NET_ADMIN, CapabilitySet::SYS_RESOURCE];

pub(crate) fn run() -> ExitCode {
    match enter() {
        Ok(code) => code,
        Err((what, error)) => complain(what, &error),
    }
}

/// Says on standard error why there is no sandbox. The gateway passes that on.
pub(crate) fn complain(what: &str, error: &io::Error) -> ExitCode {
    let _ = writeln!(io::stderr(), "sandbox: {what}: {error}");
    ExitCode::FAILURE
}

/// What failed, for [`complain`].
pub(crate) type Failed = (&'static str, io::Error);

pub(crate) fn failed<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> Failed {
    move |error| (what, error.into())
}

fn enter() -> Result<ExitCode, Failed> {
    die_with_parent()?;
    if getppid().is_none_or(|parent| parent.is_init()) {
        // The gateway ended before the line above: nobody would end this process.
        return Ok(ExitCode::FAILURE);
    }
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    let namespaces = UnshareFlags::NEWUSER
        | UnshareFlags::NEWNS
        | UnshareFlags::NEWPID
        | UnshareFlags::NEWNET
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWUTS
        | UnshareFlags::NEWCGROUP;
    #[expect(unsafe_code, reason = "the function is unsafe for file descriptor tables alone")]
    // SAFETY: the table of file descriptors stays shared.
    let unshared = unsafe { rustix::thread::unshare_unsafe(namespaces) };
    unshared.map_err(failed("this system doesn't let the gateway create a user namespace"))?;
    let mapping = "the user can't be mapped";
    fs::write("/proc/self/setgroups", "deny").map_err(failed(mapping))?;
    fs::write("/proc/self/uid_map", format!("{USER} {user} 1")).map_err(failed(mapping))?;
    fs::write("/proc/self/gid_map", format!("{USER} {group} 1")).map_err(failed(mapping))?;
    keep_capabilities().map_err(failed("the capabilities can't be kept"))?;
    let mut init = Command::new("/proc/self/exe");
    let started = init.arg(INIT).spawn().map_err(failed("the first process can't be started"));
    let status = started?.wait().map_err(failed("the first process can't be waited for"))?;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}

/// Ends this process when the one that started it ends.
pub(crate) fn die_with_parent() -> Result<(), Failed> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(failed("it can't be set to end with its parent"))
}

/// A user other than root loses its capabilities with `exec`, but for ambient ones.
fn keep_capabilities() -> rustix::io::Result<()> {
    let needed = NEEDED.into_iter().fold(CapabilitySet::empty(), |all, one| all | one);
    let sets = CapabilitySets { effective: needed, permitted: needed, inheritable: needed };
    rustix::thread::set_capabilities(None, sets)?;
    NEEDED.into_iter().try_for_each(|one| rustix::thread::configure_capability_in_ambient_set(one, true))
}
