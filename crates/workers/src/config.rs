//! What the node's owner allows: the table `[workers]` of the node's configuration. Without it nothing can be started.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use crate::limits::{WORKERS_DEFAULT, WORKERS_MAX};

/// The providers of workers. Each is off unless it is stated.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkersConfig {
    /// Workers at the same time.
    #[serde(default)]
    max: Option<usize>,
    pub(crate) exec: Option<ExecConfig>,
    pub(crate) ssh: Option<SshConfig>,
    pub(crate) kubernetes: Option<KubernetesConfig>,
    pub(crate) webhook: Option<WebhookConfig>,
}

/// Commands that may be started on this machine, by name.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExecConfig {
    pub commands: BTreeMap<String, CommandConfig>,
}

/// A program with its arguments.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CommandConfig {
    /// An absolute path.
    pub program: PathBuf,
    #[serde(default)]
    pub arguments: Vec<String>,
    /// Whether callers may add arguments behind these.
    #[serde(default)]
    pub takes_arguments: bool,
    /// The variables that callers may set.
    #[serde(default)]
    pub environment: Vec<String>,
    /// Where the node that it starts listens, such as `http://127.0.0.1:8081`.
    pub address: Option<String>,
    /// What it costs.
    pub nano_usd_per_hour: Option<u64>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SshConfig {
    /// The SSH client.
    #[serde(default = "ssh_client")]
    pub client: PathBuf,
    pub hosts: BTreeMap<String, HostConfig>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HostConfig {
    pub host: String,
    #[serde(default = "ssh_port")]
    pub port: u16,
    pub user: String,
    /// A private key without a passphrase, readable by its owner alone.
    pub key_file: PathBuf,
    /// The keys of hosts; one that is not in it is refused.
    pub known_hosts: PathBuf,
    pub commands: BTreeMap<String, CommandConfig>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KubernetesConfig {
    /// `kubectl`. Without it, manifests are made and applied by somebody else.
    pub kubectl: Option<PathBuf>,
    pub kubeconfig: Option<PathBuf>,
    pub context: Option<String>,
    #[serde(default = "namespace")]
    pub namespace: String,
    /// The images that may be run; the first is the default.
    pub images: Vec<String>,
    /// The variables that callers may set.
    #[serde(default)]
    pub environment: Vec<String>,
    pub nano_usd_per_hour: Option<u64>,
}

/// A service that starts workers at its own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WebhookConfig {
    pub url: String,
    /// A file with the secret that requests to it are signed with.
    pub secret_file: PathBuf,
    /// Where the service reaches this node; without it, nothing is called back.
    pub callback_url: Option<String>,
    #[serde(default)]
    pub environment: Vec<String>,
}

fn ssh_client() -> PathBuf {
    PathBuf::from("ssh")
}

const fn ssh_port() -> u16 {
    22
}

fn namespace() -> String {
    "default".to_owned()
}

impl WorkersConfig {
    /// Without what leaves this machine.
    pub fn local(self) -> Self {
        Self { ssh: None, kubernetes: None, webhook: None, ..self }
    }

    pub(crate) fn max(&self) -> usize {
        self.max.unwrap_or(WORKERS_DEFAULT)
    }

    /// # Errors
    /// The field that can't be used, and why.
    pub fn checked(self) -> Result<Self, String> {
        if self.max() == 0 || self.max() > WORKERS_MAX {
            return Err(format!("workers.max must be 1 to {WORKERS_MAX}"));
        }
        for (name, command) in self.exec.iter().flat_map(|exec| &exec.commands) {
            command.check(&format!("workers.exec.commands.{name}"))?;
        }
        for (name, host) in self.ssh.iter().flat_map(|ssh| &ssh.hosts) {
            let at = format!("workers.ssh.hosts.{name}");
            let is_plain = |text: &str| {
                let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
                !text.is_empty() && !text.starts_with('-') && text.bytes().all(allowed)
            };
            if !is_plain(&host.host) || !is_plain(&host.user) {
                return Err(format!(
                    "{at}: host and user are names or addresses, which don't begin with a hyphen"
                ));
            }
            for (name, command) in &host.commands {
                command.check(&format!("{at}.commands.{name}"))?;
            }
        }
        if let Some(kubernetes) = &self.kubernetes {
            if kubernetes.images.is_empty() {
                return Err("workers.kubernetes.images names no image".to_owned());
            }
            check_names("workers.kubernetes", &kubernetes.environment)?;
        }
        if let Some(webhook) = &self.webhook {
            check_names("workers.webhook", &webhook.environment)?;
            let url = webhook.callback_url.as_deref().map(str::parse::<http::Uri>);
            if url.is_some_and(|url| !url.is_ok_and(|url| url.scheme().is_some() && url.query().is_none())) {
                return Err(
                    "workers.webhook.callback_url is not a URL such as https://node.example".to_owned()
                );
            }
        }
        Ok(self)
    }
}

impl CommandConfig {
    fn check(&self, at: &str) -> Result<(), String> {
        if !self.program.is_absolute() {
            return Err(format!("{at}.program isn't an absolute path"));
        }
        check_names(at, &self.environment)
    }
}

fn check_names(at: &str, names: &[String]) -> Result<(), String> {
    let is_name = |name: &&String| {
        let mut bytes = name.bytes();
        let is_letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
        bytes.next().is_some_and(is_letter) && bytes.all(|byte| is_letter(byte) || byte.is_ascii_digit())
    };
    match names.iter().find(|name| !is_name(name)) {
        Some(name) => Err(format!("{at}.environment: \"{name}\" isn't the name of a variable")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<WorkersConfig, String> {
        toml::from_str::<WorkersConfig>(text).map_err(|error| error.to_string())?.checked()
    }

    #[test]
    fn nothing_is_on_unless_it_is_stated() {
        let nothing = read("").unwrap();
        assert!(nothing.exec.is_none() && nothing.ssh.is_none() && nothing.webhook.is_none());
        assert!(nothing.kubernetes.is_none());
        assert_eq!(nothing.max(), WORKERS_DEFAULT);
    }

    #[test]
    fn what_can_not_be_used_is_named() {
        let refused = |text: &str| read(text).unwrap_err();
        assert!(refused("max = 0").contains("workers.max"));
        assert!(refused("most = 3").contains("most"));
        assert!(refused("[exec.commands.a]\nprogram = 'node'").contains("exec.commands.a.program"));
        assert!(refused("[exec.commands.a]\nprogram = '/n'\nenvironment = ['A=B']").contains("A=B"));
        let host = |host: &str| {
            format!(
                "[ssh.hosts.a]\nhost = '{host}'\nuser = 'u'\nkey_file = '/k'\nknown_hosts = '/h'\n[ssh.hosts.a.commands]"
            )
        };
        assert!(read(&host("10.0.0.7")).is_ok());
        assert!(refused(&host("-oProxyCommand=x")).contains("ssh.hosts.a"));
        assert!(refused(&host("a b")).contains("ssh.hosts.a"));
        assert!(refused("[kubernetes]\nimages = []").contains("images"));
        let hook = |url: &str| {
            format!("[webhook]\nurl = 'https://a.example'\nsecret_file = '/s'\ncallback_url = '{url}'")
        };
        assert!(read(&hook("https://node.example/t")).is_ok());
        assert!(refused(&hook("node")).contains("callback_url"));
    }
}
