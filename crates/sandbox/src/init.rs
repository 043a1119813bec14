//! The first process of a sandbox: builds its file system, gives up what it may do, starts the program and waits for it.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitCode, ExitStatus};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, WaitOptions, setrlimit, wait};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::enter::{Failed, complain, die_with_parent, failed};
use crate::limits::{OPEN_FILES, SECONDS};
use crate::order::{ORDER, Start};
use crate::program::Program;
use crate::{forward, loopback, root};

/// The end of a sandbox whose time is up, as `timeout` has it.
const TIME_IS_UP: i32 = 124;

pub(crate) fn run() -> ExitCode {
    match init() {
        Ok(code) => code,
        Err((what, error)) => complain(what, &error),
    }
}

fn init() -> Result<ExitCode, Failed> {
    die_with_parent()?;
    let order = std::env::var(ORDER).map_err(|_| broken())?;
    let start: Start = serde_json::from_str(&order).map_err(|_| broken())?;
    root::build(&start)?;
    rustix::system::sethostname(b"sandbox").map_err(failed("its name can't be set"))?;
    if start.proxy.is_some() {
        loopback::up().map_err(failed("the loopback interface can't be brought up"))?;
    }
    // Where memory runs out, what is in here goes before anything else of the machine.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    // A sandbox in a sandbox would have capabilities again.
    let _ = fs::write("/proc/sys/user/max_user_namespaces", "0");
    limit(&start.program).map_err(failed("its limits can't be set"))?;
    drop_capabilities().map_err(failed("the capabilities can't be dropped"))?;
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    crate::calls::filter().map_err(failed("its system calls can't be filtered"))?;
    thread::spawn(|| {
        thread::sleep(Duration::from_secs(SECONDS));
        std::process::exit(TIME_IS_UP);
    });
    let proxy = start.proxy.is_some().then(forward::start).transpose();
    let proxy = proxy.map_err(failed("the connection to the proxy can't be opened"))?;
    let pid = start_program(&start, proxy)?;
    let status = reap(pid).map_err(failed("the program can't be waited for"))?;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    // Whatever else runs in here is killed with this process.
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}

fn broken() -> Failed {
    ("the order doesn't say what to start", std::io::ErrorKind::InvalidInput.into())
}

fn start_program(start: &Start, proxy: Option<String>) -> Result<Pid, Failed> {
    let Program { command, env, .. } = &*start.program;
    let (executable, arguments) = command.split_first().ok_or_else(broken)?;
    let mut program = Command::new(executable);
    program.args(arguments).env_clear().current_dir("/tmp");
    program.envs([("PATH", "/usr/local/bin:/usr/bin:/bin"), ("HOME", "/tmp"), ("LANG", "C.UTF-8")]);
    if let Some(proxy) = proxy {
        // Programs disagree about the case; Node reads it where the last one says so.
        program.env("HTTPS_PROXY", &proxy).env("https_proxy", proxy).env("NODE_USE_ENV_PROXY", "1");
    }
    program.envs(env).envs(start.secrets.iter().map(|(name, value)| (name, value)));
    let child = program.spawn().map_err(failed("the program can't be started"))?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.ok_or_else(broken)
}

/// Waits for the program, and meanwhile for those whose parents left them.
fn reap(program: Pid) -> rustix::io::Result<ExitStatus> {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == program => return Ok(ExitStatus::from_raw(status.as_raw())),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

fn limit(program: &Program) -> rustix::io::Result<()> {
    let bytes = program.memory_mib.saturating_mul(1_024 * 1_024);
    for (resource, most) in [
        // What is reserved and never used is not counted, as V8 and Go do by gigabytes.
        (Resource::Data, bytes),
        (Resource::Nproc, program.processes),
        (Resource::Cpu, program.cpu_seconds),
        (Resource::Nofile, OPEN_FILES),
        (Resource::Core, 0),
    ] {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    Ok(())
}

/// For this process and all that it starts, for ever.
fn drop_capabilities() -> rustix::io::Result<()> {
    rustix::thread::clear_ambient_capability_set()?;
    for capability in CapabilitySet::all().iter() {
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // A kernel that doesn't know it has nothing to drop.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(error),
        }
    }
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(
        None,
        CapabilitySets { effective: none, permitted: none, inheritable: none },
    )?;
    rustix::thread::set_no_new_privs(true)
}
