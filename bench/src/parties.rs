//! The measured parties: how each is set up in its own directory, started, and recognised as ready.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::load::ClientGrammar;
use crate::processes::{Channels, LOAD_CORE, PROXY_CORE, Running, accepts, ask, free_address};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Party {
    #[serde(rename = "us")]
    Us,
    #[serde(rename = "nginx")]
    Nginx,
    #[serde(rename = "thin-hyper")]
    ThinHyper,
    /// The same sources, built without profile-guided optimisation.
    #[serde(rename = "us-plain")]
    UsPlain,
    /// Variants of `Us`, each with one addition.
    #[serde(rename = "us-100k-keys")]
    UsManyKeys,
    #[serde(rename = "us-2-workers")]
    UsTwoWorkers,
    #[serde(rename = "us-postgres")]
    UsPostgres,
    /// With longer prompts; each paired with one whose client uses another API than the emulator.
    #[serde(rename = "us-4k")]
    Us4k,
    #[serde(rename = "us-4k-translated")]
    Us4kTranslated,
    #[serde(rename = "us-100k")]
    Us100k,
    #[serde(rename = "us-100k-translated")]
    Us100kTranslated,
    /// With an alias, a route, a policy with checks of content, and a commitment, all in use.
    #[serde(rename = "us-everything")]
    UsEverything,
    /// Answers from the response cache.
    #[serde(rename = "us-cached")]
    UsCached,
    /// Each request names a session.
    #[serde(rename = "us-session")]
    UsSession,
    /// Each request and its answer are kept.
    #[serde(rename = "us-content")]
    UsContent,
}

const ALIAS: &str = "bench.best";

/// A party with its directory, set up once; it may be started several times.
pub struct Ready {
    pub party: Party,
    folder: PathBuf,
    binary: PathBuf,
    emulator: String,
    token: String,
    /// What every request says besides, as lines of its head.
    headers: String,
    database: Option<Database>,
}

/// A PostgreSQL server for one party, on the core of the emulator and the client.
struct Database {
    _process: Running,
    url: String,
}

/// A running party.
pub struct Serving {
    pub process: Running,
    pub address: String,
    pub ready_after: Duration,
}

#[derive(Deserialize)]
struct Keys {
    workspace_id: String,
    project_id: String,
    admin_key: String,
    api_key: String,
}

impl Party {
    pub const ALL: [Self; 15] = [
        Self::Us,
        Self::UsPlain,
        Self::Nginx,
        Self::ThinHyper,
        Self::UsManyKeys,
        Self::UsTwoWorkers,
        Self::UsPostgres,
        Self::Us4k,
        Self::Us4kTranslated,
        Self::Us100k,
        Self::Us100kTranslated,
        Self::UsEverything,
        Self::UsCached,
        Self::UsSession,
        Self::UsContent,
    ];

    pub fn parse(word: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|party| party.name() == word);
        found.with_context(|| format!("no party is called {word}"))
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Us => "us",
            Self::UsPlain => "us-plain",
            Self::Nginx => "nginx",
            Self::ThinHyper => "thin-hyper",
            Self::UsManyKeys => "us-100k-keys",
            Self::UsTwoWorkers => "us-2-workers",
            Self::UsPostgres => "us-postgres",
            Self::Us4k => "us-4k",
            Self::Us4kTranslated => "us-4k-translated",
            Self::Us100k => "us-100k",
            Self::Us100kTranslated => "us-100k-translated",
            Self::UsEverything => "us-everything",
            Self::UsCached => "us-cached",
            Self::UsSession => "us-session",
            Self::UsContent => "us-content",
        }
    }

    pub fn is_us(self) -> bool {
        !matches!(self, Self::Nginx | Self::ThinHyper)
    }

    /// Variants are only compared with `Us`, and only under saturation.
    pub fn is_variant(self) -> bool {
        self.is_us() && !matches!(self, Self::Us | Self::UsPlain)
    }

    /// The minimum size of a request's conversation; 0 is one short question.
    pub fn prompt_bytes(self) -> usize {
        match self {
            Self::Us4k | Self::Us4kTranslated => 4 << 10,
            Self::Us100k | Self::Us100kTranslated => 100 << 10,
            _ => 0,
        }
    }

    pub fn grammar(self) -> ClientGrammar {
        match self {
            Self::Us4kTranslated | Self::Us100kTranslated => ClientGrammar::Messages,
            _ => ClientGrammar::Chat,
        }
    }

    fn key_count(self) -> u64 {
        if self == Self::UsManyKeys { 100_000 } else { 1_000 }
    }

    /// The gateway expects the provider's name; the others pass the model on unchanged.
    pub fn model(self) -> &'static str {
        match self {
            Self::UsEverything => ALIAS,
            _ if self.is_us() => "openai/gpt-4o-mini",
            _ => "gpt-4o-mini",
        }
    }

    /// What is sent once, with its method and path: the credential that points at the emulator, and what only some parties have.
    fn settings(self, keys: &Keys, emulator: &str) -> Vec<(&'static str, String, Value)> {
        let commitment = (self == Self::UsEverything)
            .then(|| json!({"amount_micros": 1_000_000_000_000_u64, "period": "month"}));
        let credential = json!({
            "provider": "openai", "display_name": "bench", "secret": "sk-bench", "base_url": format!("http://{emulator}/v1"),
            "commitment": commitment,
        });
        let project = &keys.project_id;
        let post = |path: &str, body: Value| ("POST", path.to_owned(), body);
        let mut settings = vec![post("/v2/provider-credentials", credential)];
        match self {
            Self::UsEverything => {
                let check = |detect: &str, direction: &str| json!({"detect": detect, "action": "flag", "direction": direction});
                let both = |detect: &str| [check(detect, "input"), check(detect, "output")];
                let checks = ["secrets", "email", "iban", "card"].map(both).concat();
                let target = |weight: u32| json!({"model": "openai/gpt-4o-mini", "weight": weight});
                settings.extend([
                    post(
                        "/v2/routes",
                        json!({
                            "scope": {}, "strategy": "committed_first", "hedge_after_ms": 20_000, "when": {"prompt_tokens_max": 1_000_000},
                            "model_fallbacks": [{"on": ["outage"], "model": "openai/gpt-4o"}],
                        }),
                    ),
                    post(
                        "/v2/policies",
                        json!({"project_id": project, "allowed_providers": ["openai"], "checks": checks}),
                    ),
                    post("/v2/model-aliases", json!({"name": ALIAS, "targets": [target(3), target(1)]})),
                ]);
            }
            Self::UsCached => {
                let body = json!({"caching": {"responses": {"mode": "exact"}}});
                settings.push(("PATCH", format!("/v2/projects/{project}"), body));
            }
            Self::UsContent => {
                let profile = json!({"project_id": project, "trace_mode": "encrypted_full_fidelity"});
                settings.push(post("/v2/retention-profile", profile));
            }
            _ => {}
        }
        settings
    }

    /// Why this party can't run on this machine.
    pub fn missing(self, binary: &Path) -> Option<String> {
        match self {
            _ if self.is_us() && !binary.exists() => {
                let verb =
                    if self == Self::UsPlain { "cargo build --release -p tidegate" } else { "make release" };
                Some(format!("{} is not built: `{verb}`", binary.display()))
            }
            Self::Nginx if Command::new("nginx").arg("-v").stderr(Stdio::null()).status().is_err() => Some(
                "nginx is not installed: `apt-get install --no-install-recommends nginx-light`".to_owned(),
            ),
            Self::UsPostgres if !has_postgres() => {
                Some("PostgreSQL is not installed: `make setup` installs it".to_owned())
            }
            _ => None,
        }
    }
}

impl Ready {
    /// Creates the party's directory, and for the gateway its keys and the credential that points at the
    /// emulator.
    pub fn set_up(party: Party, folder: PathBuf, binary: &Path, emulator: &str) -> Result<Self> {
        std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let binary = binary.to_path_buf();
        let (emulator_address, token) = (emulator.to_owned(), "sk-bench".to_owned());
        let headers = String::new();
        let mut ready =
            Self { party, folder, binary, emulator: emulator_address, token, headers, database: None };
        if party == Party::UsPostgres {
            ready.database = Some(start_database(&ready.folder).context("starting PostgreSQL")?);
        }
        if party.is_us() {
            let keys = ready.initialise()?;
            ready.add_keys(&keys).context("adding keys")?;
            ready.token.clone_from(&keys.api_key);
            let serving = ready.start().context("starting it to store its credential")?;
            for (method, path, body) in party.settings(&keys, emulator) {
                let (status, answer) =
                    ask(&serving.address, method, &path, &keys.admin_key, &body.to_string())?;
                if !(200..300).contains(&status) {
                    bail!("{path} was answered {status}: {answer}");
                }
            }
            if party == Party::UsSession {
                ready.headers = session(&serving.address, &keys.api_key).context("opening a session")?;
            }
        }
        Ok(ready)
    }

    /// The same, started by another program.
    pub fn started_by(mut self, program: PathBuf) -> Self {
        self.binary = program;
        self
    }

    pub fn headers(&self) -> &str {
        &self.headers
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
            Party::Nginx | Party::ThinHyper => accepts(&address),
            _ => ask(&address, "GET", "/health/ready", "", "").is_ok_and(|(status, _)| status == 200),
        };
        let ready_after = process.wait_until(start, is_up).with_context(|| {
            let output = std::fs::read_to_string(&log).unwrap_or_default();
            format!("starting it; it said: {}", output.trim())
        })?;
        Ok(Serving { process, address, ready_after })
    }

    fn command(&self, address: &str) -> Result<Command> {
        let command = match self.party {
            _ if self.party.is_us() => {
                let mut command = self.gateway();
                command.args(["serve", "--listen", address, "--data-dir"]).arg(self.folder.join("data"));
                let workers = if self.party == Party::UsTwoWorkers { "2" } else { "1" };
                command.env("TIDEGATE_WORKERS", workers).env("TIDEGATE_ALLOW_PRIVATE_UPSTREAMS", "1");
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
            _ => {
                let mut command = Command::new(std::env::current_exe().context("finding this program")?);
                command.args(["thin", address, &self.emulator]);
                command
            }
        };
        Ok(command)
    }

    fn gateway(&self) -> Command {
        let mut command = Command::new(&self.binary);
        if let Some(database) = &self.database {
            command.env("TIDEGATE_DATABASE_URL", &database.url);
        }
        command
    }

    /// Adds keys that are not used; the gateway loads them at its start.
    fn add_keys(&self, keys: &Keys) -> Result<()> {
        let (workspace, project) = (keys.workspace_id.parse()?, keys.project_id.parse()?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let store = match &self.database {
                Some(database) => {
                    let replica = store::ReplicaId::from_bytes([1; 16]);
                    store::Store::connect(&database.url.parse()?, replica).await?
                }
                None => store::Store::open(&self.folder.join("data/tidegate.db")).await?,
            };
            store::fixtures::add_keys(&store, workspace, project, self.party.key_count()).await?;
            store.close().await;
            Ok(())
        })
    }

    fn initialise(&self) -> Result<Keys> {
        let mut command = self.gateway();
        command.args(["init", "--json", "--data-dir"]).arg(self.folder.join("data"));
        let output = command.output().context("starting `tidegate init`")?;
        if !output.status.success() {
            bail!("`tidegate init` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        serde_json::from_slice(&output.stdout).context("reading what `tidegate init --json` printed")
    }
}

/// The header that names a new session.
fn session(address: &str, key: &str) -> Result<String> {
    #[derive(Deserialize)]
    struct Session {
        id: String,
    }
    let (_, answer) = ask(address, "POST", "/v2/sessions", key, "{}")?;
    let session: Session =
        serde_json::from_str(&answer).with_context(|| format!("reading the answer: {answer}"))?;
    Ok(format!("agent-session-ref: {}\r\n", session.id))
}

fn has_postgres() -> bool {
    let lookup = "ls /usr/lib/postgresql/*/bin/initdb || command -v initdb";
    let found = Command::new("sh").args(["-c", lookup]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    found.is_ok_and(|status| status.success())
}

/// Starts a child process that creates a PostgreSQL server and runs it while it lives, so that both are
/// pinned together.
fn start_database(folder: &Path) -> Result<Database> {
    let mut command = Command::new(std::env::current_exe().context("finding this program")?);
    command.arg("postgres").arg(folder);
    let channels = Channels { stdin: Stdio::null(), stdout: Stdio::piped(), stderr: Stdio::inherit() };
    let mut process = Running::start(LOAD_CORE, &command, channels)?;
    let stdout = process.child().stdout.take().context("reading its address")?;
    let url = BufReader::new(stdout).lines().next().transpose()?.context("it did not say its address")?;
    Ok(Database { _process: process, url })
}

/// The child process: prints the address of an empty database and waits to be killed.
pub fn keep_database(folder: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let server = harness::postgres::Server::own(Path::new(folder)).await?;
        println!("{}", server.database("bench").await?);
        std::future::pending().await
    })
}

/// One worker, a keep-alive pool, and a buffered access log: what an operator would run. Response buffering
/// is off, as streams require; both kinds of answers use the same configuration.
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
