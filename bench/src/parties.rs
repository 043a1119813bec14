//! Who is measured: how each is set up in a folder of its own, started and known to be ready.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::processes::{Channels, PROXY_CORE, Running, accepts, ask, free_address};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Party {
    #[serde(rename = "us")]
    Us,
    #[serde(rename = "nginx")]
    Nginx,
    #[serde(rename = "thin-hyper")]
    ThinHyper,
}

/// A party with its folder, set up once; it may be started several times.
pub struct Ready {
    pub party: Party,
    folder: PathBuf,
    binary: PathBuf,
    emulator: String,
    token: String,
}

/// A started party.
pub struct Serving {
    pub process: Running,
    pub address: String,
    pub ready_after: Duration,
}

#[derive(Deserialize)]
struct Keys {
    admin_key: String,
    api_key: String,
}

impl Party {
    pub const ALL: [Self; 3] = [Self::Us, Self::Nginx, Self::ThinHyper];

    pub fn parse(word: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|party| party.name() == word);
        found.with_context(|| format!("no party is called {word}"))
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Us => "us",
            Self::Nginx => "nginx",
            Self::ThinHyper => "thin-hyper",
        }
    }

    /// The gateway names the seller; the others pass the name on to whoever is behind them.
    pub fn model(self) -> &'static str {
        match self {
            Self::Us => "openai/gpt-4o-mini",
            Self::Nginx | Self::ThinHyper => "gpt-4o-mini",
        }
    }

    /// Why this party can't take part on this machine.
    pub fn missing(self, binary: &Path) -> Option<String> {
        match self {
            Self::Us if !binary.exists() => {
                Some(format!("{} is not built: `make release`", binary.display()))
            }
            Self::Nginx if Command::new("nginx").arg("-v").stderr(Stdio::null()).status().is_err() => Some(
                "nginx is not installed: `apt-get install --no-install-recommends nginx-light`".to_owned(),
            ),
            _ => None,
        }
    }
}

impl Ready {
    /// Makes the party's folder, and for the gateway its keys and the credential that points at the emulator.
    pub fn set_up(party: Party, folder: PathBuf, binary: &Path, emulator: &str) -> Result<Self> {
        std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let binary = binary.to_path_buf();
        let mut ready =
            Self { party, folder, binary, emulator: emulator.to_owned(), token: "sk-bench".to_owned() };
        if party == Party::Us {
            let keys = ready.initialise()?;
            ready.token = keys.api_key;
            let serving = ready.start().context("starting it to store its credential")?;
            store_credential(&serving.address, &keys.admin_key, emulator)?;
        }
        Ok(ready)
    }

    pub fn token(&self) -> &str {
        &self.token
    }

    pub fn start(&self) -> Result<Serving> {
        let address = free_address()?;
        let command = self.command(&address)?;
        let log = self.folder.join("log");
        let out = std::fs::File::create(&log).context("making a log file")?;
        let err = out.try_clone().context("sharing the log file")?;
        let channels = Channels { stdin: Stdio::null(), stdout: out.into(), stderr: err.into() };
        let start = Instant::now();
        let mut process = Running::start(PROXY_CORE, &command, channels)?;
        let is_up = || match self.party {
            Party::Us => ask(&address, "GET", "/health/ready", "", "").is_ok_and(|(status, _)| status == 200),
            Party::Nginx | Party::ThinHyper => accepts(&address),
        };
        let ready_after = process.wait_until(start, is_up).with_context(|| {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            format!("starting it; it said: {}", said.trim())
        })?;
        Ok(Serving { process, address, ready_after })
    }

    fn command(&self, address: &str) -> Result<Command> {
        let command = match self.party {
            Party::Us => {
                let mut command = Command::new(&self.binary);
                command.args(["serve", "--listen", address, "--data-dir"]).arg(self.folder.join("data"));
                command.env("TIDEGATE_WORKERS", "1").env("TIDEGATE_ALLOW_PRIVATE_UPSTREAMS", "1");
                command
            }
            Party::Nginx => {
                let configuration = self.folder.join("nginx.conf");
                let text = nginx_configuration(&self.folder, address, &self.emulator);
                std::fs::write(&configuration, text).context("writing nginx.conf")?;
                let mut command = Command::new("nginx");
                command.arg("-p").arg(&self.folder).arg("-c").arg(&configuration);
                command.arg("-e").arg(self.folder.join("error.log"));
                command
            }
            Party::ThinHyper => {
                let mut command = Command::new(std::env::current_exe().context("finding this program")?);
                command.args(["thin", address, &self.emulator]);
                command
            }
        };
        Ok(command)
    }

    fn initialise(&self) -> Result<Keys> {
        let mut command = Command::new(&self.binary);
        command.args(["init", "--json", "--data-dir"]).arg(self.folder.join("data"));
        let output = command.output().context("starting `tidegate init`")?;
        if !output.status.success() {
            bail!("`tidegate init` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        serde_json::from_slice(&output.stdout).context("reading what `tidegate init --json` printed")
    }
}

fn store_credential(address: &str, admin_key: &str, emulator: &str) -> Result<()> {
    let body = format!(
        r#"{{"provider":"openai","display_name":"bench","secret":"sk-bench","base_url":"http://{emulator}/v1"}}"#
    );
    let (status, answer) = ask(address, "POST", "/v2/provider-credentials", admin_key, &body)?;
    if !(200..300).contains(&status) {
        bail!("storing the credential was answered {status}: {answer}");
    }
    Ok(())
}

/// One worker, a pool of kept connections, and a buffered access log: what an operator would run.
/// Buffering of answers is off, as streams need it; both kinds come by the same path.
fn nginx_configuration(folder: &Path, address: &str, emulator: &str) -> String {
    let folder = folder.display();
    format!(
        "worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
events {{ worker_connections 8192; }}
http {{
  access_log {folder}/access.log combined buffer=64k flush=5s;
  keepalive_requests 1000000000;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  upstream emulator {{ server {emulator}; keepalive 2048; keepalive_requests 1000000000; }}
  server {{
    listen {address} backlog=4096;
    tcp_nodelay on;
    location / {{
      proxy_pass http://emulator;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_set_header Authorization \"Bearer sk-upstream\";
      proxy_buffering off;
      proxy_read_timeout 600s;
    }}
  }}
}}
"
    )
}
