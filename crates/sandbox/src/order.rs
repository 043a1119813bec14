//! What the processes of a sandbox hand on.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::program::Program;

/// The first argument of the process that makes the namespaces.
pub(crate) const ENTER: &str = "sandbox-enter";
/// The first argument of the first process in them.
#[cfg(target_os = "linux")]
pub(crate) const INIT: &str = "sandbox-init";
/// Where the socket of the gateway's proxy is inside.
#[cfg(target_os = "linux")]
pub(crate) const PROXY: &str = "/run/proxy.sock";
/// The environment variable by which the processes of a sandbox hand on what it is to be. Arguments could be read by every user.
pub(crate) const ORDER: &str = "TIDEGATE_SANDBOX";

/// What is started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Start {
    pub program: Arc<Program>,
    /// Environment variables beside the program's own.
    pub secrets: Vec<(String, String)>,
    /// The socket of the gateway's proxy, where the program may connect to hosts.
    pub proxy: Option<PathBuf>,
}
