//! Workers that are processes of this machine, each in a process group, so that it is ended with all that it started. They
//! outlive this node.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::Secret;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::process::Child;
use tokio::time::{Instant, sleep};

use crate::config::{CommandConfig, ExecConfig};
use crate::life::Life;
use crate::limits::{GRACE_TIME_MAX, LOG_BYTES_MAX, LOG_READ_BYTES_MAX};
use crate::process;
use crate::provider::after_cut;
use crate::record::{Folder, Handle};

const POLL_EVERY: Duration = Duration::from_millis(50);

/// The processes that this one started, which must be waited for.
#[derive(Debug, Default)]
pub(crate) struct Children(Mutex<HashMap<i32, Child>>);

impl Children {
    fn all(&self) -> MutexGuard<'_, HashMap<i32, Child>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How a child ended; `None` if it runs, or is none of ours.
    fn ended(&self, pid: i32) -> Option<String> {
        let mut all = self.all();
        let status = all.get_mut(&pid)?.try_wait().ok()??;
        all.remove(&pid);
        Some(format!("Its process ended with {status}."))
    }
}

/// # Errors
/// The command is no longer configured, or can't be started.
pub(crate) fn start(
    exec: &ExecConfig,
    (command, arguments): (&str, &[String]),
    variables: &BTreeMap<String, Secret>,
    folder: &Folder,
    children: &Children,
) -> Result<Handle, String> {
    let CommandConfig { program, arguments: first, .. } = exec
        .commands
        .get(command)
        .ok_or_else(|| format!("The configuration no longer allows \"{command}\"."))?;
    let log = log(folder).map_err(|error| format!("The log can't be written: {error}."))?;
    let errors = log.try_clone().map_err(|error| format!("The log can't be written: {error}."))?;
    let mut command = process::command(program);
    command.args(first).args(arguments).current_dir(folder.path()).process_group(0);
    command.stdin(Stdio::null()).stdout(log).stderr(errors);
    for (name, value) in variables {
        command.env(name, value.expose_text().unwrap_or_default());
    }
    let child =
        command.spawn().map_err(|error| format!("{} can't be started: {error}.", program.display()))?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).ok_or("The process has no id.")?;
    let started_ticks = ticks(pid).unwrap_or_default();
    children.all().insert(pid, child);
    Ok(Handle::Process { pid, started_ticks, boot: boot() })
}

fn log(folder: &Folder) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(folder.log())
}

fn ticks(pid: i32) -> Option<u64> {
    process::started_ticks(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The running of this machine.
fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// Whether the process is the one that was started.
fn is_same(pid: i32, started_ticks: u64, started_boot: &str) -> bool {
    started_boot == boot() && ticks(pid) == Some(started_ticks)
}

pub(crate) fn look(children: &Children, (pid, started_ticks, started_boot): (i32, u64, &str)) -> Life {
    match children.ended(pid) {
        Some(how) => Life::Ended(how),
        None if is_same(pid, started_ticks, started_boot) => Life::Running,
        None => Life::Ended("Its process is gone.".to_owned()),
    }
}

/// Ends the process and all of its group: first with a request to, then by force.
///
/// # Errors
/// Something of it still runs.
pub(crate) async fn destroy(
    children: &Children,
    (pid, started_ticks, started_boot): (i32, u64, &str),
) -> Result<(), String> {
    let Some(group) = Pid::from_raw(pid) else { return Ok(()) };
    // While anything is left of the group, its number is given to no other process: only a living stranger says that it is gone.
    let is_stranger = ticks(pid).is_some() && !is_same(pid, started_ticks, started_boot);
    if is_stranger || started_boot != boot() {
        return Ok(());
    }
    end_group(group, || children.ended(pid)).await
}

/// Ends what writes to the log of a worker: of one that was started and never noted, and what left the group of another.
///
/// # Errors
/// Something of it still runs.
pub(crate) async fn destroy_unheard(folder: &Folder) -> Result<(), String> {
    let log = folder.log();
    let numbers = fs::read_dir("/proc").into_iter().flatten().flatten();
    let groups: BTreeSet<i32> = numbers
        .filter(|entry| fs::read_link(entry.path().join("fd/1")).is_ok_and(|stdout| stdout == log))
        .filter_map(|entry| process::group(&fs::read_to_string(entry.path().join("stat")).ok()?))
        .collect();
    for group in groups.into_iter().filter_map(Pid::from_raw) {
        end_group(group, || None).await?;
    }
    Ok(())
}

/// `reap` waits for the group's leader, if that is a child of this process.
async fn end_group(group: Pid, reap: impl Fn() -> Option<String>) -> Result<(), String> {
    for signal in [Signal::TERM, Signal::KILL] {
        let _ = kill_process_group(group, signal);
        let deadline = Instant::now() + GRACE_TIME_MAX;
        while Instant::now() < deadline {
            let _ = reap();
            if test_kill_process_group(group).is_err() {
                return Ok(());
            }
            sleep(POLL_EVERY).await;
        }
    }
    Err("Its processes did not end.".to_owned())
}

/// The end of the log. A long one is cut down to its end, and never read whole.
pub(crate) fn read_log(folder: &Folder) -> String {
    let mut bytes = Vec::new();
    let read = File::open(folder.log()).and_then(|mut file| {
        let from = file.metadata()?.len().saturating_sub(LOG_READ_BYTES_MAX as u64);
        file.seek(SeekFrom::Start(from))?;
        file.take(LOG_READ_BYTES_MAX as u64).read_to_end(&mut bytes)?;
        Ok(from > 0)
    });
    let is_cut = read.unwrap_or(false);
    after_cut(&String::from_utf8_lossy(&bytes), is_cut).to_owned()
}

/// Adds lines to the log of a worker that writes none itself.
pub(crate) fn append_log(folder: &Folder, lines: &str) -> io::Result<()> {
    let end = if lines.ends_with('\n') { "" } else { "\n" };
    io::Write::write_all(&mut log(folder)?, format!("{lines}{end}").as_bytes())?;
    trim_log(folder);
    Ok(())
}

/// Replaces the log of a worker that has ended. One that can't be replaced is removed.
pub(crate) fn replace_log(folder: &Folder, text: &str) {
    let path = folder.log();
    if let Err(error) = world::replace_private(&path, text.as_bytes()) {
        tracing::warn!(%error, log = %path.display(), "the log of a destroyed worker can't be saved");
        let _ = fs::remove_file(path);
    }
}

/// Empties a log that became too long, except for its end. The process goes on writing behind it; what it writes in between may
/// be lost.
pub(crate) fn trim_log(folder: &Folder) {
    let path = folder.log();
    if fs::metadata(&path).is_ok_and(|file| file.len() > LOG_BYTES_MAX) {
        let end = read_log(folder);
        let trimmed = File::options().write(true).open(&path).and_then(|file| file.set_len(0));
        let kept = trimmed.and_then(|()| io::Write::write_all(&mut log(folder)?, end.as_bytes()));
        if let Err(error) = kept {
            tracing::warn!(%error, log = %path.display(), "a worker's log can't be cut");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::LOG_READ_BYTES_MAX;

    fn folder(root: &tempfile::TempDir) -> Folder {
        let folder = Folder::of(&root.path().canonicalize().unwrap(), "worker-1");
        folder.make().unwrap();
        folder
    }

    #[test]
    fn a_long_log_is_read_from_a_whole_line_of_its_end_on() {
        let root = tempfile::tempdir().unwrap();
        let folder = folder(&root);
        let line = "tide and ebb\n";
        let long = format!(
            "{}a secret in one long line {}\n{line}",
            line.repeat(10),
            "x".repeat(LOG_READ_BYTES_MAX - 30)
        );
        fs::write(folder.log(), &long).unwrap();
        assert_eq!(read_log(&folder), line, "half a line may be half a secret");
        fs::write(folder.log(), line).unwrap();
        assert_eq!(read_log(&folder), line);
        // A worker can write without end: this file has no blocks, and would not fit into memory.
        File::options().write(true).open(folder.log()).unwrap().set_len(1 << 40).unwrap();
        assert_eq!(read_log(&folder), "");
    }

    #[tokio::test]
    async fn what_was_started_and_never_noted_is_found_by_its_log() {
        let root = tempfile::tempdir().unwrap();
        let folder = folder(&root);
        let command = CommandConfig {
            program: "/bin/sh".into(),
            arguments: ["-c", "echo up; sleep 600 & sleep 600"].map(str::to_owned).to_vec(),
            takes_arguments: false,
            environment: Vec::new(),
            address: None,
            nano_usd_per_hour: None,
        };
        let exec = ExecConfig { commands: BTreeMap::from([("tide".to_owned(), command)]) };
        let children = Children::default();
        let started = start(&exec, ("tide", &[]), &BTreeMap::new(), &folder, &children).unwrap();
        let Handle::Process { pid, .. } = started else { panic!("{started:?}") };
        // Whoever started it would reap it.
        let reaped = tokio::spawn(async move {
            let mut child = children.all().remove(&pid).unwrap();
            child.wait().await
        });
        destroy_unheard(&folder).await.unwrap();
        assert!(test_kill_process_group(Pid::from_raw(pid).unwrap()).is_err());
        assert!(!reaped.await.unwrap().unwrap().success());
        destroy_unheard(&folder).await.unwrap();
    }
}
