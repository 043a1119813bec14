//! What every provider of workers can do: start, look, tell its log, destroy.

use std::path::PathBuf;

use domain::Secret;
use egress::Client;

use crate::config::WorkersConfig;
use crate::exec::{self, Children};
use crate::life::{Life, Started};
use crate::limits::LOG_READ_BYTES_MAX;
use crate::record::{Folder, Handle, Worker};
use crate::spec::Plan;
use crate::{kubernetes, ssh, webhook};

/// Why a worker failed whose start nobody heard the end of.
const STOPPED: &str = "The node stopped while it was starting the worker.";

#[derive(Debug)]
pub(crate) struct Providers {
    pub config: WorkersConfig,
    pub root: PathBuf,
    children: Children,
}

fn off() -> String {
    "The configuration no longer has this provider.".to_owned()
}

impl Providers {
    pub(crate) fn new(config: WorkersConfig, root: PathBuf) -> Self {
        Self { config, root, children: Children::default() }
    }

    pub(crate) fn folder(&self, id: &str) -> Folder {
        Folder::of(&self.root, id)
    }

    /// # Errors
    /// It was not started: why.
    pub(crate) async fn start(
        &self,
        client: &Client,
        worker: &Worker,
        now_unix_s: u64,
    ) -> Result<Started, String> {
        let folder = self.folder(&worker.id);
        let variables = folder.secrets();
        let plain = |handle| Started { handle, address: worker.address.clone(), rate: None };
        match &worker.plan {
            Plan::Exec { command, arguments } => {
                let exec = self.config.exec.as_ref().ok_or_else(off)?;
                exec::start(exec, (command, arguments), &variables, &folder, &self.children).map(plain)
            }
            Plan::Ssh { host, command, arguments } => {
                let ssh = self.config.ssh.as_ref().ok_or_else(off)?;
                ssh::start(ssh, (host, command, arguments), &variables, &worker.id).await.map(plain)
            }
            Plan::Kubernetes(pods) => {
                let kubernetes = self.config.kubernetes.as_ref().ok_or_else(off)?;
                kubernetes::start(kubernetes, pods, &variables, &worker.id).await.map(plain)
            }
            Plan::Webhook { spec } => {
                let webhook = self.config.webhook.as_ref().ok_or_else(off)?;
                webhook::start(webhook, client, (&worker.id, spec), &folder, now_unix_s).await
            }
        }
    }

    pub(crate) async fn look(&self, client: &Client, worker: &Worker, now_unix_s: u64) -> Life {
        let config = &self.config;
        match &worker.handle {
            Some(Handle::Process { pid, started_ticks, boot }) => {
                exec::trim_log(&self.folder(&worker.id));
                exec::look(&self.children, (*pid, *started_ticks, boot))
            }
            Some(Handle::Remote { host, pid, started_ticks }) => match &config.ssh {
                Some(ssh) => ssh::look(ssh, host, (*pid, *started_ticks)).await,
                None => Life::Unknown(off()),
            },
            Some(Handle::Cluster) => match &config.kubernetes {
                Some(kubernetes) => kubernetes::look(kubernetes, &worker.id).await,
                None => Life::Unknown(off()),
            },
            Some(Handle::Hired { instance }) => match &config.webhook {
                Some(webhook) => webhook::look(webhook, client, (&worker.id, instance), now_unix_s).await,
                None => Life::Unknown(off()),
            },
            None => Life::Ended(STOPPED.to_owned()),
        }
    }

    /// # Errors
    /// The provider can't tell.
    pub(crate) async fn log(&self, worker: &Worker) -> Result<String, String> {
        let log = match (&worker.handle, &self.config) {
            // Of a hired one, what its service sends.
            (Some(Handle::Process { .. } | Handle::Hired { .. }), _) => {
                exec::read_log(&self.folder(&worker.id))
            }
            (Some(Handle::Remote { host, .. }), WorkersConfig { ssh: Some(ssh), .. }) => {
                ssh::log(ssh, host, &worker.id).await?
            }
            (Some(Handle::Cluster), WorkersConfig { kubernetes: Some(kubernetes), .. }) => {
                kubernetes::log(kubernetes, &worker.id).await?
            }
            _ => String::new(),
        };
        Ok(end_of(&hide(log, &self.folder(&worker.id).hidden())).to_owned())
    }

    /// # Errors
    /// Something of it is left.
    pub(crate) async fn destroy(
        &self,
        client: &Client,
        worker: &Worker,
        now_unix_s: u64,
    ) -> Result<(), String> {
        let config = &self.config;
        match &worker.handle {
            Some(Handle::Process { .. }) => self.end_rest(worker).await,
            Some(Handle::Remote { host, pid, started_ticks }) => {
                let ssh = config.ssh.as_ref().ok_or_else(off)?;
                ssh::destroy(ssh, host, (*pid, *started_ticks), &worker.id).await
            }
            Some(Handle::Cluster) => {
                kubernetes::destroy(config.kubernetes.as_ref().ok_or_else(off)?, &worker.id).await
            }
            Some(Handle::Hired { instance }) => {
                let webhook = config.webhook.as_ref().ok_or_else(off)?;
                webhook::destroy(webhook, client, (&worker.id, instance), now_unix_s).await
            }
            // It may have been started where nobody heard the answer.
            None if worker.started_unix_ms.is_some() => {
                self.destroy_unheard(client, worker, now_unix_s).await
            }
            None => Ok(()),
        }
    }

    /// Ends what is left of a process of this machine, which may have ended by itself and have started others: all of its group,
    /// and what left the group and still writes to the log.
    ///
    /// # Errors
    /// Something of it still runs.
    pub(crate) async fn end_rest(&self, worker: &Worker) -> Result<(), String> {
        let Some(Handle::Process { pid, started_ticks, boot }) = &worker.handle else { return Ok(()) };
        exec::destroy(&self.children, (*pid, *started_ticks, boot)).await?;
        exec::destroy_unheard(&self.folder(&worker.id)).await
    }

    /// Destroys what a start may have left that failed, or that this node did not survive. Where the start said why it failed and
    /// nobody can be reached now either, nothing is.
    async fn destroy_unheard(&self, client: &Client, worker: &Worker, now_unix_s: u64) -> Result<(), String> {
        let (config, id) = (&self.config, worker.id.as_str());
        let is_heard = worker.fault.as_deref().is_some_and(|why| why != STOPPED);
        let done = match (&worker.plan, &config.ssh, &config.kubernetes, &config.webhook) {
            (Plan::Exec { .. }, ..) => exec::destroy_unheard(&self.folder(id)).await,
            (Plan::Ssh { host, .. }, Some(ssh), ..) => match ssh::started(ssh, host, id).await {
                Ok(Some(process)) => return ssh::destroy(ssh, host, process, id).await,
                found => found.map(drop),
            },
            // Without kubectl nothing was applied.
            (Plan::Kubernetes(_), _, Some(kubernetes), _) if kubernetes.kubectl.is_some() => {
                kubernetes::destroy(kubernetes, id).await
            }
            // Its service may have hired something, whatever it answered.
            (Plan::Webhook { .. }, _, _, Some(webhook)) => {
                return webhook::destroy_unheard(webhook, client, id, now_unix_s).await;
            }
            _ => Ok(()),
        };
        if is_heard { Ok(()) } else { done }
    }

    /// Forgets the secrets of a worker that is destroyed. Its log is kept without them.
    pub(crate) fn forget_secrets(&self, worker: &Worker) {
        let folder = self.folder(&worker.id);
        let secrets = folder.hidden();
        let has_log = matches!(worker.handle, Some(Handle::Process { .. } | Handle::Hired { .. }));
        if has_log && !secrets.is_empty() {
            exec::replace_log(&folder, &hide(exec::read_log(&folder), &secrets));
        }
        folder.forget_secrets();
    }
}

/// What may be shown of a text whose beginning was cut off: from its first whole line on, since a piece of a secret is none that
/// is known.
pub(crate) fn after_cut(text: &str, is_cut: bool) -> &str {
    if is_cut { text.split_once(['\n', '\r']).map_or("", |(_, rest)| rest) } else { text }
}

/// A text without the secrets of the worker (`Folder::hidden`).
pub(crate) fn hide(mut text: String, secrets: &[(String, Secret)]) -> String {
    for (name, value) in secrets {
        if let Some(value) = value.expose_text().filter(|value| !value.is_empty()) {
            text = text.replace(value, &format!("[{name}]"));
        }
    }
    text
}

/// The last bytes that may be shown, from the beginning of a character.
fn end_of(text: &str) -> &str {
    let from = text.len().saturating_sub(LOG_READ_BYTES_MAX);
    (from..=text.len()).find_map(|from| text.get(from..)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_secret_that_is_a_part_of_another_leaves_nothing_of_it() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::of(root.path(), "worker-1");
        folder.make().unwrap();
        let secret = |text: &str| Secret::from_text(text.to_owned());
        let variables =
            BTreeMap::from([("A".to_owned(), secret("tide")), ("B".to_owned(), secret("tide-and-ebb"))]);
        folder.write_secrets(&variables).unwrap();
        folder.write_callback_secret(&secret("moon")).unwrap();
        let text = hide("tide-and-ebb, tide, moon".to_owned(), &folder.hidden());
        assert_eq!(text, "[B], [A], [callback.secret]");
        folder.forget_secrets();
        assert!(folder.hidden().is_empty());
    }
}
