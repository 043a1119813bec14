//! The file in which the operator declares programs.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::limits::{
    CPU_SECONDS, ITEM_BYTES_MAX, ITEMS_MAX, MEMORY_MIB, MEMORY_MIB_MAX, NAME_BYTES_MAX, PROCESSES,
    PROCESSES_MAX, PROGRAMS_MAX,
};

/// A program that requests may start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// What is started, with its arguments.
    pub command: Vec<String>,
    /// Files and directories that it may read beside those of the system.
    #[serde(default)]
    pub read: Vec<String>,
    /// Where it may connect to, through the gateway; nowhere by default.
    #[serde(default)]
    pub hosts: Vec<HostPort>,
    /// Environment variables.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Environment variables that a project sets by its sealed headers.
    #[serde(default)]
    pub secrets: Vec<String>,
    /// The ids of the workspaces that may use it; all by default.
    #[serde(default)]
    pub workspaces: Vec<String>,
    /// Memory of each of its processes.
    #[serde(default = "memory_mib")]
    pub memory_mib: u64,
    /// Processes and threads.
    #[serde(default = "processes")]
    pub processes: u64,
    /// Processor time of each of its processes.
    #[serde(default = "cpu_seconds")]
    pub cpu_seconds: u64,
}

const fn memory_mib() -> u64 {
    MEMORY_MIB
}

const fn processes() -> u64 {
    PROCESSES
}

const fn cpu_seconds() -> u64 {
    CPU_SECONDS
}

/// A host and a port, 443 where it states none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPort {
    /// In lower case.
    pub host: String,
    pub port: u16,
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, port) = text.rsplit_once(':').unwrap_or((text, "443"));
        let port = port.parse::<u16>().ok().filter(|port| *port > 0);
        let is_name = !host.is_empty()
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
        match port {
            Some(port) if is_name => Ok(Self { host: host.to_ascii_lowercase(), port }),
            _ => Err(format!("{text:?} is not HOST or HOST:PORT")),
        }
    }
}

impl TryFrom<String> for HostPort {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<HostPort> for String {
    fn from(place: HostPort) -> Self {
        place.to_string()
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// The programs of an installation, by their names.
#[derive(Debug, Clone, Default)]
pub struct Programs(Arc<BTreeMap<String, Arc<Program>>>);

impl Programs {
    /// Reads the operator's file.
    ///
    /// # Errors
    /// It is no such file, or this system has no sandboxes.
    pub fn read(text: &str) -> Result<Self, String> {
        if !cfg!(target_os = "linux") {
            return Err("sandboxes need Linux namespaces, which this system doesn't have".to_owned());
        }
        let programs: BTreeMap<String, Program> = toml::from_str(text).map_err(|error| error.to_string())?;
        if programs.len() > PROGRAMS_MAX {
            return Err(format!("it declares more than {PROGRAMS_MAX} programs"));
        }
        for (name, program) in &programs {
            program.check(name).map_err(|wrong| format!("[{name}]: {wrong}"))?;
        }
        Ok(Self(Arc::new(programs.into_iter().map(|(name, program)| (name, Arc::new(program))).collect())))
    }

    /// A program that a workspace may use.
    pub fn find(&self, name: &str, workspace: &str) -> Option<&Arc<Program>> {
        self.0.get(name).filter(|program| program.serves(workspace))
    }

    /// The names of those that a workspace may use.
    pub fn names(&self, workspace: &str) -> Vec<&str> {
        self.0
            .iter()
            .filter(|(_, program)| program.serves(workspace))
            .map(|(name, _)| name.as_str())
            .collect()
    }

    /// All of them with their names, whoever may use them.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Arc<Program>)> {
        self.0.iter().map(|(name, program)| (name.as_str(), program))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn is_variable(name: &str) -> bool {
    !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

impl Program {
    fn serves(&self, workspace: &str) -> bool {
        self.workspaces.is_empty() || self.workspaces.iter().any(|id| id == workspace)
    }

    fn check(&self, name: &str) -> Result<(), String> {
        let is_named = !name.is_empty()
            && name.len() <= NAME_BYTES_MAX
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        if !is_named {
            return Err(format!("a name has 1 to {NAME_BYTES_MAX} letters, digits, \"_\" and \"-\""));
        }
        match self.command.first() {
            Some(executable) if Path::new(executable).is_absolute() => {}
            _ => return Err("command must begin with the absolute path of an executable".to_owned()),
        }
        let lists = [&self.command, &self.read, &self.secrets, &self.workspaces];
        let items = lists.into_iter().flatten().chain(self.env.iter().flat_map(|(key, value)| [key, value]));
        if items.clone().any(|item| item.len() > ITEM_BYTES_MAX || item.contains('\0')) {
            return Err(format!("a text has at most {ITEM_BYTES_MAX} bytes and no zero byte"));
        }
        if lists.iter().any(|list| list.len() > ITEMS_MAX) || self.hosts.len() > ITEMS_MAX {
            return Err(format!("a list has at most {ITEMS_MAX} items"));
        }
        if let Some(path) = self.read.iter().find(|path| !is_readable_path(Path::new(path))) {
            let places = "/, /proc, /sys, /dev, /run and /tmp can't be passed on";
            return Err(format!("read: {path:?} must be an absolute path without \"..\"; {places}"));
        }
        let mut variables = self.env.keys().chain(&self.secrets);
        if let Some(variable) = variables.find(|variable| !is_variable(variable)) {
            return Err(format!("{variable:?} is not the name of an environment variable"));
        }
        for (field, value, max) in [
            ("memory_mib", self.memory_mib, MEMORY_MIB_MAX),
            ("processes", self.processes, PROCESSES_MAX),
            ("cpu_seconds", self.cpu_seconds, u64::from(u32::MAX)),
        ] {
            if value == 0 || value > max {
                return Err(format!("{field} must be 1 to {max}"));
            }
        }
        Ok(())
    }
}

/// Whether a path may be passed on: those of the kernel, and those that the sandbox makes itself, may not.
fn is_readable_path(path: &Path) -> bool {
    const MADE: [&str; 5] = ["/proc", "/sys", "/dev", "/run", "/tmp"];
    let is_plain = path
        .components()
        .all(|part| matches!(part, std::path::Component::RootDir | std::path::Component::Normal(_)));
    path.is_absolute()
        && is_plain
        && path != Path::new("/")
        && !MADE.iter().any(|made| path == Path::new(made))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_with_what_is_usual() {
        let text = "[files]\ncommand = [\"/usr/bin/cat\"]\nhosts = [\"API.example.com\", \"b.example:8443\"]";
        let programs = Programs::read(text).unwrap();
        let program = programs.find("files", "ws_1").unwrap();
        let hosts: Vec<String> = program.hosts.iter().map(ToString::to_string).collect();
        assert_eq!(hosts, ["api.example.com:443", "b.example:8443"]);
        assert_eq!((program.memory_mib, program.processes), (MEMORY_MIB, PROCESSES));
        assert_eq!(programs.names("ws_1"), ["files"]);
        assert!(programs.find("other", "ws_1").is_none());
    }

    #[test]
    fn a_program_of_one_workspace_is_hidden_from_others() {
        let programs = Programs::read("[a]\ncommand = [\"/bin/a\"]\nworkspaces = [\"ws_1\"]").unwrap();
        assert!(programs.find("a", "ws_1").is_some() && programs.find("a", "ws_2").is_none());
        assert!(programs.names("ws_2").is_empty());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, wrong) in [
            ("[a]\ncommand = []", "executable"),
            ("[a]\ncommand = [\"node\"]", "executable"),
            ("[\"a b\"]\ncommand = [\"/bin/a\"]", "letters"),
            ("[a]\ncommand = [\"/bin/a\"]\nread = [\"/\"]", "read"),
            ("[a]\ncommand = [\"/bin/a\"]\nread = [\"/proc\"]", "read"),
            ("[a]\ncommand = [\"/bin/a\"]\nread = [\"/opt/../etc\"]", "read"),
            ("[a]\ncommand = [\"/bin/a\"]\nread = [\"opt\"]", "read"),
            ("[a]\ncommand = [\"/bin/a\"]\nhosts = [\"http://a\"]", "HOST"),
            ("[a]\ncommand = [\"/bin/a\"]\nhosts = [\"a:0\"]", "HOST"),
            ("[a]\ncommand = [\"/bin/a\"]\nsecrets = [\"1A\"]", "variable"),
            ("[a]\ncommand = [\"/bin/a\"]\nmemory_mib = 0", "memory_mib"),
            ("[a]\ncommand = [\"/bin/a\"]\nnetwork = true", "network"),
        ] {
            let message = Programs::read(text).unwrap_err();
            assert!(message.contains(wrong), "{text}: {message}");
        }
    }
}
