//! Workers on other machines, by the SSH client of this one. Only configured hosts, whose keys are known, with a configured key.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use domain::Secret;

use crate::command;
use crate::config::{CommandConfig, HostConfig, SshConfig};
use crate::life::Life;
use crate::limits::{GRACE_TIME_MAX, LOG_READ_BYTES_MAX};
use crate::process;
use crate::provider::after_cut;
use crate::record::Handle;

/// Below the home directory of the user there.
fn directory(id: &str) -> String {
    format!(".tidegate-workers/{id}")
}

fn host<'c>(ssh: &'c SshConfig, name: &str) -> Result<&'c HostConfig, String> {
    ssh.hosts.get(name).ok_or_else(|| format!("The configuration no longer has the host \"{name}\"."))
}

/// Runs a script on a host.
async fn run(ssh: &SshConfig, host: &HostConfig, script: &str, stdin: &[u8]) -> Result<String, String> {
    let output = process::run(&ssh.client, &arguments(host, script), stdin).await?;
    Ok(output.stdout)
}

/// No configuration of this machine's user counts, nobody is asked anything, and nothing is forwarded.
fn arguments(host: &HostConfig, script: &str) -> Vec<String> {
    let known_hosts = format!("UserKnownHostsFile={}", host.known_hosts.display());
    let options = [
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        "GlobalKnownHostsFile=/dev/null",
        "IdentitiesOnly=yes",
        "IdentityAgent=none",
        "PreferredAuthentications=publickey",
        "ForwardAgent=no",
        "ClearAllForwardings=yes",
        "PermitLocalCommand=no",
        "ConnectTimeout=15",
        "ServerAliveInterval=10",
        &known_hosts,
    ];
    let mut words: Vec<String> = ["-F", "/dev/null", "-T", "-p"].map(str::to_owned).to_vec();
    words.push(host.port.to_string());
    words.extend(["-i".to_owned(), host.key_file.display().to_string()]);
    for option in options {
        words.extend(["-o".to_owned(), option.to_owned()]);
    }
    // The other side passes the whole to the user's shell, whichever it is: there it is one word for `sh`.
    let script = format!("exec sh -c {}", command::quoted(script));
    words.extend(["-l".to_owned(), host.user.clone(), "--".to_owned(), host.host.clone(), script]);
    words
}

/// # Errors
/// The host can't be reached, or refuses; what its client says.
pub(crate) async fn start(
    ssh: &SshConfig,
    (name, command, arguments): (&str, &str, &[String]),
    variables: &BTreeMap<String, Secret>,
    id: &str,
) -> Result<Handle, String> {
    let host = host(ssh, name)?;
    let CommandConfig { program, arguments: first, .. } = host
        .commands
        .get(command)
        .ok_or_else(|| format!("The configuration no longer allows \"{command}\"."))?;
    let words: Vec<String> = first.iter().chain(arguments).cloned().collect();
    let script = command::start(&directory(id), &program.display().to_string(), &words);
    let mut lines = String::new();
    for (name, value) in variables {
        let _ = writeln!(lines, "{name}={}", value.expose_text().unwrap_or_default());
    }
    let started = run(ssh, host, &script, lines.as_bytes()).await?;
    let (pid, started_ticks) = process_of(&started).ok_or_else(|| {
        let what = program.display();
        format!("{what} did not start on {name}: its log there is in {}.", directory(id))
    })?;
    Ok(Handle::Remote { host: name.to_owned(), pid, started_ticks })
}

/// The number of a process and its start, as the script prints them that starts it.
fn process_of(text: &str) -> Option<(i32, u64)> {
    let (pid, stat) = text.split_once('\n')?;
    let pid = pid.trim().parse::<i32>().ok().filter(|pid| *pid > 1)?;
    Some((pid, process::started_ticks(stat)?))
}

/// Whether the process there is the one that was started.
async fn is_same(
    ssh: &SshConfig,
    host: &HostConfig,
    (pid, started_ticks): (i32, u64),
) -> Result<bool, String> {
    let stat = run(ssh, host, &command::look(pid), b"").await?;
    Ok(process::started_ticks(&stat) == Some(started_ticks))
}

pub(crate) async fn look(ssh: &SshConfig, name: &str, process: (i32, u64)) -> Life {
    let known = match host(ssh, name) {
        Ok(host) => is_same(ssh, host, process).await,
        Err(why) => Err(why),
    };
    match known {
        Ok(true) => Life::Running,
        Ok(false) => Life::Ended("Its process is gone.".to_owned()),
        Err(why) => Life::Unknown(why),
    }
}

pub(crate) async fn log(ssh: &SshConfig, name: &str, id: &str) -> Result<String, String> {
    let log = run(ssh, host(ssh, name)?, &command::log(&directory(id), LOG_READ_BYTES_MAX), b"").await?;
    Ok(after_cut(&log, log.len() >= LOG_READ_BYTES_MAX).to_owned())
}

/// What was started in the directory of a worker, where nobody heard the answer; `None` if nothing was.
///
/// # Errors
/// The host can't be reached.
pub(crate) async fn started(ssh: &SshConfig, name: &str, id: &str) -> Result<Option<(i32, u64)>, String> {
    let noted = run(ssh, host(ssh, name)?, &command::noted(&directory(id)), b"").await?;
    Ok(process_of(&noted))
}

/// # Errors
/// The host can't be reached, or something of it still runs.
pub(crate) async fn destroy(
    ssh: &SshConfig,
    name: &str,
    process: (i32, u64),
    id: &str,
) -> Result<(), String> {
    let host = host(ssh, name)?;
    let stat = run(ssh, host, &command::look(process.0), b"").await?;
    let is_stranger = process::started_ticks(&stat).is_some_and(|ticks| ticks != process.1);
    if is_stranger {
        return Ok(());
    }
    let tenths = GRACE_TIME_MAX.as_secs() * 10;
    run(ssh, host, &command::destroy(process.0, &directory(id), tenths), b"").await.map(drop)
}
