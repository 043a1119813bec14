//! Workers: machines and processes on which nodes are started by steps, and destroyed again: by a command on this machine, over
//! SSH, in a Kubernetes cluster, or by somebody else's service. Only what the node's owner configured can be started.

mod callback;
mod command;
mod config;
mod exec;
#[cfg(feature = "fixtures")]
pub mod fixtures;
mod fleet;
mod kubernetes;
mod life;
pub mod limits;
mod manifests;
mod process;
mod provider;
mod record;
mod spec;
mod ssh;
mod view;
mod watch;
mod webhook;

pub use callback::CallbackTaken;
pub use config::WorkersConfig;
pub use fleet::Fleet;
pub use view::{WorkerList, WorkerLogs, WorkerMade, WorkerView};
