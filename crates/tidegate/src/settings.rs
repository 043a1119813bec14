//! Settings: one definition for each, read from defaults, a file, the environment and flags, in rising order.

mod blocks;
mod flows;
mod mail;
mod money;
mod nodes;
mod storage;
pub mod variables;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ::mail::MailSettings;
use api::pounds::PoundRate;
use domain::limits::ANSWER_BYTES_MAX;
use domain::{Secret, WorkspaceId};
use files::FileSettings;

use crate::audit_sink::SinkSetting;
use crate::audit_storage::StorageSettings;
use crate::heads::HeadDestination;

use blocks::{parse_blocks, parse_networks};

pub use flows::FlowEngineSettings;

/// One setting. The table below is the only list: flags, environment variables, help and `config explain`
/// follow it.
#[derive(Debug)]
pub struct Definition {
    /// The name in the settings file; a dot separates the section.
    pub key: &'static str,
    /// The environment variable.
    pub env: &'static str,
    pub default: &'static str,
    pub help: &'static str,
    /// The value is never printed.
    pub secret: bool,
}

const fn plain(
    key: &'static str,
    env: &'static str,
    default: &'static str,
    help: &'static str,
) -> Definition {
    Definition { key, env, default, help, secret: false }
}

const fn secret(key: &'static str, env: &'static str, help: &'static str) -> Definition {
    Definition { key, env, default: "", help, secret: true }
}

/// Where a first start without settings creates its installation.
pub const USUAL_DATA_DIR: &str = "./data";

pub const DEFINITIONS: &[Definition] = &[
    plain(
        "data_dir",
        "TIDEGATE_DATA_DIR",
        USUAL_DATA_DIR,
        "Directory of the database, the journal and the master key file.",
    ),
    secret(
        "database",
        "TIDEGATE_DATABASE_URL",
        "A PostgreSQL database that several gateways share, postgres://user:password@host/name; SQLite in the data \
         directory where empty.",
    ),
    plain("listen", "TIDEGATE_LISTEN", "127.0.0.1:8787", "Address and port that the gateway listens on."),
    plain(
        "public_url",
        "TIDEGATE_PUBLIC_URL",
        "",
        "The address that people use, such as https://gateway.example; sessions are taken under it, and links begin with it.",
    ),
    plain("workers", "TIDEGATE_WORKERS", "0", "Serving threads, one core each; 0 takes one for every core."),
    plain(
        "log",
        "TIDEGATE_LOG",
        "info",
        "What is logged: error, warn, info, debug, trace, or a filter such as info,execute=debug.",
    ),
    plain("log_format", "TIDEGATE_LOG_FORMAT", "text", "text for people, json for machines."),
    plain(
        "journal.durability",
        "TIDEGATE_JOURNAL_DURABILITY",
        "written",
        "written: an intent survives kill -9 before its call leaves; synced: it survives a power loss too.",
    ),
    plain(
        "idempotency.answer_bytes_max",
        "TIDEGATE_IDEMPOTENCY_ANSWER_BYTES_MAX",
        "4194304",
        "An answer under an idempotency key whose body is longer is not kept: its key is free again.",
    ),
    plain(
        "records.keep_days",
        "TIDEGATE_RECORDS_KEEP_DAYS",
        "90",
        "Days that a request's record is kept; 0 keeps it for ever. Sums, and with them usage and billing, stay. On PostgreSQL \
         records go by whole weeks (docs/sizing.md).",
    ),
    plain(
        "usage.minutes_keep_days",
        "TIDEGATE_USAGE_MINUTES_KEEP_DAYS",
        "8",
        "Days that sums by the minute are kept; 0 keeps them for ever. What is older is told by the hour, and windows that begin \
         or end there are widened to whole hours; sums of hours and days, and with them billing, stay. Of gateways that share a \
         database the shortest counts.",
    ),
    plain(
        "allow_private_upstreams",
        "TIDEGATE_ALLOW_PRIVATE_UPSTREAMS",
        "0",
        "1 lets every base_url reach loopback and private addresses.",
    ),
    plain(
        "node_networks",
        "TIDEGATE_NODE_NETWORKS",
        "",
        "Address blocks in which nodes may live, such as 10.0.0.0/8,192.168.0.0/16.",
    ),
    plain(
        "trusted_proxies",
        "TIDEGATE_TRUSTED_PROXIES",
        "",
        "Address blocks of the proxies in front, such as 10.0.0.0/8,127.0.0.1: who asks is then the last address of their \
         X-Forwarded-For that is in none of these. Without it the header is not read.",
    ),
    plain(
        "cors_origins",
        "TIDEGATE_CORS_ORIGINS",
        "",
        "Origins whose pages may call models from a browser, with a key, such as https://app.example,http://localhost:3000; * for \
         all. Empty: none. What manages the gateway stays closed to them.",
    ),
    plain(
        "queue_delay_max_ms",
        "TIDEGATE_QUEUE_DELAY_MAX_MS",
        "250",
        "Milliseconds that requests may wait for their turn on a serving thread: where they have waited longer for a whole \
         second, new ones are refused (503 gateway_overloaded) until it has caught up. 0 refuses none.",
    ),
    plain(
        "in_flight_max",
        "TIDEGATE_IN_FLIGHT_MAX",
        "4096",
        "Requests in flight on a serving thread from which on a workspace that has its even share of them is refused more (429 \
         rate_limit_exceeded), so that others are served. One that is alone may have any number. 0: only while requests wait \
         too long for their turn.",
    ),
    plain(
        "body_mib_max",
        "TIDEGATE_BODY_MIB_MAX",
        "1024",
        "MiB of request bodies of more than 512 KiB that the gateway holds at once: where they are held, more are refused (503 \
         gateway_overloaded). A workspace may have half of them (429 rate_limit_exceeded).",
    ),
    plain(
        "tasks_at_once_of_workspace",
        "TIDEGATE_TASKS_AT_ONCE_OF_WORKSPACE",
        "64",
        "Tasks of one workspace that run at once, over all gateways of a database; others wait in its queue.",
    ),
    plain(
        "flows.engine",
        "TIDEGATE_FLOWS_ENGINE",
        "queue",
        "What drives new runs of flows: queue, on the database that there is, or restate. A run keeps the engine that it started with.",
    ),
    plain(
        "flows.restate.ingress_url",
        "TIDEGATE_FLOWS_RESTATE_INGRESS_URL",
        "",
        "Where the Restate server takes invocations, such as http://restate:8080. While it is set, runs of this engine go on.",
    ),
    plain(
        "flows.restate.admin_url",
        "TIDEGATE_FLOWS_RESTATE_ADMIN_URL",
        "",
        "The Restate server's admin API, such as http://restate:9070, where the gateway registers itself.",
    ),
    plain(
        "flows.restate.listen",
        "TIDEGATE_FLOWS_RESTATE_LISTEN",
        "127.0.0.1:9080",
        "Address and port that the Restate server's calls are taken at. Beyond this machine flows.restate.identity_key is required.",
    ),
    plain(
        "flows.restate.advertise_url",
        "TIDEGATE_FLOWS_RESTATE_ADVERTISE_URL",
        "",
        "How the Restate server reaches flows.restate.listen: of several gateways, the balancer before them. http:// and the \
         address that is listened on where empty.",
    ),
    plain(
        "flows.restate.identity_key",
        "TIDEGATE_FLOWS_RESTATE_IDENTITY_KEY",
        "",
        "The public key, publickeyv1_…, of the key that the Restate server signs its calls with; others are refused then.",
    ),
    plain(
        "tools.stdio",
        "TIDEGATE_TOOLS_STDIO",
        "",
        "The file that declares the programs which projects may use as MCP servers on standard input and output, each in a \
         sandbox (TOML, docs/tools.md); none where empty. It is read at start.",
    ),
    plain(
        "node_heartbeat_ms",
        "TIDEGATE_NODE_HEARTBEAT_MS",
        "30000",
        "How often a node that joined is to say that it is there, in milliseconds; one that has left out three is sent nothing \
         until it does.",
    ),
    plain(
        nodes::CERTIFICATE,
        "TIDEGATE_NODE_CERTIFICATE_MS",
        "86400000",
        "How long the certificate of a node that joined is valid, in milliseconds; the node renews it at half of that.",
    ),
    plain(
        nodes::ALONE,
        "TIDEGATE_NODE_ALONE_MS",
        "604800000",
        "How long a node that joined may serve without hearing from its gateway, in milliseconds.",
    ),
    plain(
        nodes::TUNNEL_URLS,
        "TIDEGATE_TUNNEL_URLS",
        "",
        "The addresses of all gateways of this database, with commas between them: a node opens tunnels to each (docs/node.md).",
    ),
    plain(
        nodes::DATA_PLANE_LIFE,
        "TIDEGATE_DATA_PLANE_LIFE_S",
        "86400",
        "How long a data plane serves without hearing from its control plane, in seconds; what its budgets allow it, docs/data-plane.md says.",
    ),
    plain(
        "emergency",
        "TIDEGATE_EMERGENCY",
        "0",
        "1 lets accounts of a provider that is kept for emergencies serve, where the call's route allows it and all others of \
         the pool have failed.",
    ),
    plain(
        "subscriptions.enabled",
        "TIDEGATE_SUBSCRIPTIONS",
        "0",
        "1 lets workspaces use tokens of vendors' subscriptions in place of API keys. Several vendors' terms forbid that: read \
         docs/subscriptions.md before.",
    ),
    plain(
        "host_identity",
        "TIDEGATE_HOST_IDENTITY",
        "",
        "Ids of workspaces whose credentials may be this machine's own identity at its cloud, with commas between them; the \
         operator's accounts always may.",
    ),
    plain(
        "token_files",
        "TIDEGATE_TOKEN_FILES",
        "",
        "Files of this machine with a token of its own, such as those of a Kubernetes service account, with commas between \
         them; credentials that may be the machine's identity may name them.",
    ),
    plain(
        "metadata_url",
        "TIDEGATE_METADATA_URL",
        "",
        "Where this machine's cloud answers for its identity, in the place of the clouds' own addresses.",
    ),
    plain(
        "ca_file",
        "TIDEGATE_CA_FILE",
        "",
        "PEM file with further roots for every outbound TLS connection.",
    ),
    plain(
        "invoice_grace_hours",
        "TIDEGATE_INVOICE_GRACE_HOURS",
        "24",
        "How long after its month an invoice waits for records on their way before it is finalised.",
    ),
    plain(
        "stimulir.pounds_per_dollar",
        "TIDEGATE_STIMULIR_POUNDS_PER_DOLLAR",
        "",
        "What a US dollar is worth in pounds, such as 0.7431, for Stimulir's client, which shows pounds. Without it that client is sent dollars alone.",
    ),
    plain(
        "stimulir.pounds_day",
        "TIDEGATE_STIMULIR_POUNDS_DAY",
        "",
        "The day that stimulir.pounds_per_dollar is of, such as 2026-11-26; answers name it beside the rate.",
    ),
    plain(
        "audit.heads",
        "TIDEGATE_AUDIT_HEADS",
        "",
        "Where signed heads of the audit are kept by themselves, within ten seconds of a change: a directory that this \
         machine's owner can only add to, or an https address. The same on every gateway. `tidegate audit verify --heads` finds \
         what was rewritten before one.",
    ),
    plain(
        "audit.heads_minutes",
        "TIDEGATE_AUDIT_HEADS_MINUTES",
        "60",
        "A head that stays the same is kept again after so many minutes.",
    ),
    plain(
        "audit.sink",
        "TIDEGATE_AUDIT_SINK",
        "",
        "Where every entry of the audit is sent, within seconds and in order: a directory, a bucket as s3://BUCKET/FOLDER, an \
         https address, or syslog://HOST:PORT. The same on every gateway.",
    ),
    plain("audit.sink_region", "TIDEGATE_AUDIT_SINK_REGION", "us-east-1", "The region of a sink's bucket."),
    plain(
        "audit.sink_endpoint",
        "TIDEGATE_AUDIT_SINK_ENDPOINT",
        "",
        "The server of a sink's bucket, such as https://minio.example; S3 where empty.",
    ),
    plain(
        "audit.sink_keys_file",
        "TIDEGATE_AUDIT_SINK_KEYS_FILE",
        "",
        "A file with the access keys of a sink's bucket, as JSON: access_key_id, secret_access_key, and session_token where \
         they are for a while. It is read each time.",
    ),
    secret(
        "audit.sink_keys",
        "TIDEGATE_AUDIT_SINK_KEYS",
        "The access keys themselves, as the file has them; used instead of it.",
    ),
    plain(
        "mail.server",
        "TIDEGATE_MAIL_SERVER",
        "",
        "The server that sends mail: smtps://HOST (port 465) or smtp://HOST (port 587, with STARTTLS unless it is an address of \
         this machine). Mail goes to members of workspaces alone, who are sent alerts.",
    ),
    plain(
        "mail.from",
        "TIDEGATE_MAIL_FROM",
        "",
        "Who mail is from, such as Tidegate <alerts@acme.example>; needed with a server.",
    ),
    plain(
        "mail.username",
        "TIDEGATE_MAIL_USERNAME",
        "",
        "Signs in at the mail server; nobody does where empty.",
    ),
    plain(
        "mail.password_file",
        "TIDEGATE_MAIL_PASSWORD_FILE",
        "",
        "A file with the password for the mail server. It is read each time.",
    ),
    secret("mail.password", "TIDEGATE_MAIL_PASSWORD", "The password itself; used instead of the file."),
    plain(
        "files.store",
        "TIDEGATE_FILES_STORE",
        "",
        "Where files of projects are kept: a directory, s3://BUCKET/FOLDER, az://CONTAINER/FOLDER or gs://BUCKET/FOLDER; files in \
         the data directory where empty. Gateways that share a database share one. Files are sealed before they get there.",
    ),
    plain("files.region", "TIDEGATE_FILES_REGION", "us-east-1", "The region of an s3:// bucket of files."),
    plain(
        "files.endpoint",
        "TIDEGATE_FILES_ENDPOINT",
        "",
        "The server of a bucket of files, such as https://minio.example; the cloud's own where empty.",
    ),
    plain(
        "files.keys_file",
        "TIDEGATE_FILES_KEYS_FILE",
        "",
        "A file with the keys of a bucket of files, as JSON: access_key_id and secret_access_key (S3), account and access_key \
         (Azure), or a service account (Google). Without keys the identity of this machine is used. It is read at start.",
    ),
    secret(
        "files.keys",
        "TIDEGATE_FILES_KEYS",
        "The keys themselves, as the file has them; used instead of it.",
    ),
    plain("files.bytes_max", "TIDEGATE_FILES_BYTES_MAX", "536870912", "Bytes that one file may have."),
    plain(
        "files.project_bytes_max",
        "TIDEGATE_FILES_PROJECT_BYTES_MAX",
        "10737418240",
        "Bytes that all files of a project may have together.",
    ),
    plain("files.keep_days", "TIDEGATE_FILES_KEEP_DAYS", "30", "Days after which a file is deleted."),
    plain("price_file", "TIDEGATE_PRICE_FILE", "", "The operator's overlay of models and prices (TOML)."),
    plain(
        "master_key_file",
        "TIDEGATE_MASTER_KEY_FILE",
        "",
        "The master key's file, one key a line; master.key in the data directory where empty.",
    ),
    secret(
        "master_key",
        "TIDEGATE_MASTER_KEY",
        "The master key itself, base64 of 32 bytes; used instead of a file. While it is replaced: both, with a space between.",
    ),
    plain(
        "master_key_command",
        "TIDEGATE_MASTER_KEY_COMMAND",
        "",
        "A command that prints the master key, or both while it is replaced; used instead of a file.",
    ),
];

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Default,
    File(PathBuf),
    Environment(&'static str),
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag => f.write_str("flag"),
        }
    }
}

/// A setting that can't be used, with its origin and the fix.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(pub String);

/// The text and origin of every setting, unchecked.
#[derive(Debug, Clone)]
pub struct Layers {
    values: BTreeMap<&'static str, (String, Origin)>,
}

impl Layers {
    /// Resolves the layers in rising order. `flags` are those given on the command line; `environment` looks
    /// up a variable.
    ///
    /// # Errors
    /// The file can't be read, isn't TOML, or names a setting that doesn't exist.
    pub fn resolve(
        file: Option<&Path>,
        environment: &dyn Fn(&str) -> Option<String>,
        flags: &[(&'static str, String)],
    ) -> Result<Self, SettingsError> {
        let mut values: BTreeMap<_, _> =
            DEFINITIONS.iter().map(|d| (d.key, (d.default.to_owned(), Origin::Default))).collect();
        if let Some(path) = file {
            for (key, value) in read_file(path)? {
                values.insert(key, (value, Origin::File(path.to_owned())));
            }
        }
        for definition in DEFINITIONS {
            if let Some(value) = environment(definition.env) {
                values.insert(definition.key, (value, Origin::Environment(definition.env)));
            }
        }
        for (key, value) in flags {
            values.insert(key, (value.clone(), Origin::Flag));
        }
        Ok(Self { values })
    }

    pub fn text(&self, key: &str) -> &str {
        self.values.get(key).map_or("", |(value, _)| value.as_str())
    }

    pub fn origin(&self, key: &str) -> Origin {
        self.values.get(key).map_or(Origin::Default, |(_, origin)| origin.clone())
    }

    fn parsed<T>(
        &self,
        key: &'static str,
        want: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, SettingsError> {
        let text = self.text(key);
        parse(text).ok_or_else(|| {
            SettingsError(format!("{key} is \"{text}\" (from {}). Set it to {want}.", self.origin(key)))
        })
    }

    /// The error does not repeat the text, which may contain a password.
    fn database(&self) -> Result<Option<store::Address>, SettingsError> {
        self.given("database").map(str::parse).transpose().map_err(|error: store::StoreError| {
            SettingsError(format!("database (from {}) can't be used: {error}.", self.origin("database")))
        })
    }

    fn queue_delay_max(&self) -> Result<Duration, SettingsError> {
        self.parsed("queue_delay_max_ms", "a number of milliseconds from 0 to 60000", |text| {
            text.parse().ok().filter(|count| (0..=60_000).contains(count)).map(Duration::from_millis)
        })
    }

    fn in_flight_max(&self) -> Result<u32, SettingsError> {
        self.parsed("in_flight_max", "a number from 0 to 1000000", |text| {
            text.parse().ok().filter(|count| (0..=1_000_000).contains(count))
        })
    }

    fn body_mib_max(&self) -> Result<usize, SettingsError> {
        self.parsed("body_mib_max", "a number from 1 to 1000000", |text| {
            text.parse().ok().filter(|count| (1..=1_000_000).contains(count))
        })
    }

    fn tasks_at_once_of_workspace(&self) -> Result<u64, SettingsError> {
        self.parsed("tasks_at_once_of_workspace", "a number from 1 to 10000", |text| {
            text.parse().ok().filter(|count| (1..=10_000).contains(count))
        })
    }

    fn metadata_url(&self) -> Result<Option<String>, SettingsError> {
        self.parsed("metadata_url", "an address such as http://127.0.0.1:8089", address)
    }

    fn path(&self, key: &str) -> Option<PathBuf> {
        self.given(key).map(PathBuf::from)
    }

    /// `None` for what is empty.
    fn given(&self, key: &str) -> Option<&str> {
        Some(self.text(key)).filter(|text| !text.is_empty())
    }

    fn given_secret(&self, key: &str) -> Option<Arc<Secret>> {
        self.given(key).map(|text| Arc::new(Secret::from_text(text.to_owned())))
    }
}

fn read_file(path: &Path) -> Result<Vec<(&'static str, String)>, SettingsError> {
    let display = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| SettingsError(format!("The settings file {display} can't be read: {error}.")))?;
    let table: toml::Table = text
        .parse()
        .map_err(|error| SettingsError(format!("The settings file {display} is not valid TOML: {error}")))?;
    let mut found = Vec::new();
    flatten("", &table, &mut found);
    found
        .into_iter()
        .map(|(key, value)| match DEFINITIONS.iter().find(|d| d.key == key) {
            Some(definition) if definition.secret => Err(SettingsError(format!(
                "{display} holds {key}. A secret does not belong in a settings file: set {} or use a file of its own.",
                definition.env
            ))),
            Some(definition) => Ok((definition.key, value)),
            None => Err(SettingsError(format!(
                "{display} sets {key}, which isn't a setting. `tidegate config explain` lists them all."
            ))),
        })
        .collect()
}

fn flatten(prefix: &str, table: &toml::Table, found: &mut Vec<(String, String)>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            toml::Value::Table(inner) => flatten(&key, inner, found),
            toml::Value::String(text) => found.push((key, text.clone())),
            toml::Value::Boolean(on) => found.push((key, u8::from(*on).to_string())),
            toml::Value::Array(items) => {
                let texts: Vec<_> =
                    items.iter().map(|i| i.as_str().map_or(i.to_string(), str::to_owned)).collect();
                found.push((key, texts.join(",")));
            }
            other => found.push((key, other.to_string())),
        }
    }
}

/// Settings as the program uses them: checked, typed.
#[derive(Debug, Clone)]
pub struct Settings {
    pub data_dir: PathBuf,
    /// `None` for SQLite in the data directory.
    pub database: Option<store::Address>,
    pub listen: SocketAddr,
    pub public_url: Option<String>,
    pub workers: usize,
    pub log: String,
    pub log_json: bool,
    pub durability_synced: bool,
    pub answer_bytes_max: usize,
    /// `None` for ever.
    pub records_keep_days: Option<u64>,
    /// `None` for ever.
    pub minutes_keep_days: Option<u64>,
    pub allow_private_upstreams: bool,
    pub node_networks: Vec<egress::IpNet>,
    pub trusted_proxies: Vec<snapshot::IpNet>,
    pub cors_origins: gateway::Origins,
    /// Zero for no limit.
    pub queue_delay_max: Duration,
    /// Zero for no bound but that of the queue.
    pub in_flight_max: u32,
    pub body_mib_max: usize,
    pub tasks_at_once_of_workspace: u64,
    pub flows: FlowEngineSettings,
    pub beat_every: Duration,
    pub node_terms: reconcilers::NodeTerms,
    pub data_plane_life: Duration,
    pub emergency: bool,
    pub subscriptions: bool,
    pub host_identity: Vec<WorkspaceId>,
    pub token_files: Vec<String>,
    pub metadata_url: Option<String>,
    pub ca_file: Option<PathBuf>,
    pub invoice_grace: Duration,
    pub pounds: Option<PoundRate>,
    pub heads: Option<HeadDestination>,
    /// How often an unchanged audit head is written again.
    pub heads_again: Duration,
    pub audit_sink: SinkSetting,
    /// Where the sink is a bucket.
    pub audit_storage: StorageSettings,
    pub files: FileSettings,
    /// Without the operator's further root certificates, which are those of `ca_file`.
    pub mail: Option<MailSettings>,
    pub price_file: Option<PathBuf>,
    pub stdio_file: Option<PathBuf>,
    pub master_key_file: Option<PathBuf>,
    pub master_key_command: Option<String>,
}

const MINUTES: &str = "a number of minutes from 1 to 10080";
const DAYS: &str = "a number of days, or 0";
const SINKS: &str = "a directory, s3://BUCKET/FOLDER, an https address or syslog://HOST:PORT";
const ORIGINS: &str = "a list of origins such as https://app.example";
const BLOCKS: &str = "a list of blocks such as 10.0.0.0/8";

/// A URL, or nothing.
fn address(text: &str) -> Option<Option<String>> {
    if text.is_empty() {
        return Some(None);
    }
    let url = text.parse::<http::Uri>().ok().filter(|url| url.host().is_some());
    url.map(|_| Some(text.to_owned()))
}

/// A number of units of this many seconds each, within bounds.
fn span(text: &str, bounds: std::ops::RangeInclusive<u64>, seconds: u64) -> Option<Duration> {
    let count = text.parse().ok().filter(|count| bounds.contains(count));
    count.map(|count: u64| Duration::from_secs(count * seconds))
}

/// Zero keeps for ever.
fn kept_days(text: &str) -> Option<Option<u64>> {
    text.parse().ok().map(|days| Some(days).filter(|days| *days > 0))
}

impl Settings {
    /// # Errors
    /// Names the first setting that can't be used, where it came from, and what it must be.
    pub fn check(layers: &Layers) -> Result<Self, SettingsError> {
        let switch = |text: &str| match text {
            "1" | "true" | "yes" | "on" => Some(true),
            "" | "0" | "false" | "no" | "off" => Some(false),
            _ => None,
        };
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self {
            data_dir: PathBuf::from(layers.text("data_dir")),
            database: layers.database()?,
            listen: layers
                .parsed("listen", "an address and port such as 127.0.0.1:8787", |t| t.parse().ok())?,
            public_url: layers.parsed("public_url", "an address such as https://gateway.example", |t| {
                let given = Some(t.to_owned()).filter(|url| !url.is_empty());
                let any = SocketAddr::from(([127, 0, 0, 1], 0));
                api::site::Site::new(any, given.as_deref()).ok().map(|_| given)
            })?,
            workers: layers.parsed("workers", "a number from 0 to 256", |t| {
                t.parse().ok().filter(|n| *n <= 256).map(|n: usize| if n == 0 { cores() } else { n })
            })?,
            log: layers.text("log").to_owned(),
            log_json: layers.parsed("log_format", "text or json", |t| match t {
                "text" => Some(false),
                "json" => Some(true),
                _ => None,
            })?,
            durability_synced: layers.parsed("journal.durability", "written or synced", |t| match t {
                "written" => Some(false),
                "synced" => Some(true),
                _ => None,
            })?,
            answer_bytes_max: layers.parsed(
                "idempotency.answer_bytes_max",
                "a number of bytes from 0 to 67108864",
                |t| t.parse().ok().filter(|bytes| *bytes <= ANSWER_BYTES_MAX),
            )?,
            records_keep_days: layers.parsed("records.keep_days", DAYS, kept_days)?,
            minutes_keep_days: layers.parsed("usage.minutes_keep_days", DAYS, kept_days)?,
            allow_private_upstreams: layers.parsed("allow_private_upstreams", "0 or 1", switch)?,
            node_networks: layers.parsed("node_networks", BLOCKS, parse_networks)?,
            trusted_proxies: layers.parsed("trusted_proxies", BLOCKS, parse_blocks)?,
            cors_origins: layers.parsed("cors_origins", ORIGINS, gateway::Origins::parse)?,
            queue_delay_max: layers.queue_delay_max()?,
            in_flight_max: layers.in_flight_max()?,
            body_mib_max: layers.body_mib_max()?,
            tasks_at_once_of_workspace: layers.tasks_at_once_of_workspace()?,
            flows: layers.flows()?,
            beat_every: layers.beat_every()?,
            node_terms: layers.node_terms()?,
            data_plane_life: layers.data_plane_life()?,
            emergency: layers.parsed("emergency", "0 or 1", switch)?,
            subscriptions: layers.parsed("subscriptions.enabled", "0 or 1", switch)?,
            host_identity: layers.parsed("host_identity", "a list of workspace ids", workspaces)?,
            token_files: layers.parsed("token_files", "absolute paths", absolute_paths)?,
            metadata_url: layers.metadata_url()?,
            ca_file: layers.path("ca_file"),
            invoice_grace: layers.invoice_grace()?,
            pounds: layers.pounds()?,
            heads: HeadDestination::of(layers.text("audit.heads")),
            heads_again: layers.parsed("audit.heads_minutes", MINUTES, |t| span(t, 1..=10_080, 60))?,
            audit_sink: layers.parsed("audit.sink", SINKS, SinkSetting::read)?,
            audit_storage: layers.audit_storage()?,
            files: layers.files()?,
            mail: layers.mail()?,
            price_file: layers.path("price_file"),
            stdio_file: layers.path("tools.stdio"),
            master_key_file: layers.path("master_key_file"),
            master_key_command: layers.given("master_key_command").map(str::to_owned),
        })
    }
}

impl Settings {
    /// The addresses at which people reach this gateway.
    ///
    /// # Errors
    /// The public URL is invalid; one that was checked never is.
    pub fn site(&self) -> anyhow::Result<api::site::Site> {
        api::site::Site::new(self.listen, self.public_url.as_deref()).map_err(anyhow::Error::msg)
    }
}

fn workspaces(text: &str) -> Option<Vec<WorkspaceId>> {
    words(text).map(|word| word.parse().ok()).collect()
}

fn absolute_paths(text: &str) -> Option<Vec<String>> {
    words(text).map(|path| path.starts_with('/').then(|| path.to_owned())).collect()
}

/// The items of a comma-separated list.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty())
}

/// The reference page of all settings, the content of `docs/settings.md`.
#[cfg(test)]
pub fn reference() -> String {
    let mut page = String::from(
        "# Settings\n\nEach comes from, in rising order: its default, the settings file (`tidegate.toml` in the data directory, or\n\
         `--config FILE`), the environment, a flag. `tidegate config explain` shows which is in force.\n\n\
         | file | environment | default | what |\n|---|---|---|---|\n",
    );
    for definition in DEFINITIONS {
        let key = if definition.secret { "(never)".into() } else { format!("`{}`", definition.key) };
        let default =
            if definition.default.is_empty() { String::new() } else { format!("`{}`", definition.default) };
        page.push_str(&format!("| {key} | `{}` | {default} | {} |\n", definition.env, definition.help));
    }
    page
}

#[cfg(test)]
mod tests;
