//! Protects a process that holds keys: no core dumps, and its memory not readable by other processes of its
//! user.

use rustix::process::{Resource, Rlimit};

/// Descriptors assumed open before it serves, where the system doesn't say.
const DESCRIPTORS_ESTIMATED: usize = 64;

/// Best effort: if the kernel refuses, the process is as safe as any other, so a refusal is only reported.
pub fn harden() -> Vec<String> {
    let mut refused = Vec::new();
    if let Err(error) =
        rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
    {
        refused.push(format!("core dumps stay on: {error}"));
    }
    let not_dumpable = rustix::process::DumpableBehavior::NotDumpable;
    if let Err(error) = rustix::process::set_dumpable_behavior(not_dumpable) {
        refused.push(format!("memory stays readable to processes of this user: {error}"));
    }
    refused
}

/// Raises the limit of file descriptors to the maximum: each stream needs two.
pub fn raise_descriptor_limit() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = rustix::process::setrlimit(Resource::Nofile, wanted) {
        tracing::warn!(%error, "the limit of open files stays where it is");
    }
}

/// Files that a core opens once it serves: its journal's segments and their mark.
const FILES_OF_CORE: usize = 4;

/// Files that the database's connections open once they are needed: of seven that read, each the database and its log.
const FILES_OF_DATABASE: usize = 14;

/// How many client connections may be open: half of the file descriptors not in use yet and not needed for the files of
/// so many cores and of the database, because each connection may need another one to an upstream.
pub fn connections_max(cores: usize) -> usize {
    let Some(limit) = rustix::process::getrlimit(Resource::Nofile).current else { return usize::MAX };
    let opened = std::fs::read_dir("/proc/self/fd").map_or(DESCRIPTORS_ESTIMATED, Iterator::count);
    usize::try_from(limit)
        .unwrap_or(usize::MAX)
        .saturating_sub(opened + FILES_OF_DATABASE + FILES_OF_CORE * cores)
        / 2
}
