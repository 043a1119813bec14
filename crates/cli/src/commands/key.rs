//! `tidegate key`: API keys, which are shown once, and whose revocation takes effect at once.

use serde_json::{Value, json};

use crate::api::{Api, at, field};
use crate::body::Body;
use crate::collection::Collection;
use crate::output::{self, Failure};
use crate::shared::Shared;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Creates a key and prints it; it isn't shown again.
    Create {
        /// The key's name.
        name: String,
        /// The project that it belongs to; by default the project of your own key.
        #[arg(long)]
        project: Option<String>,
        /// The environment whose routes it uses; by default the project's.
        #[arg(long)]
        environment: Option<String>,
        /// What it may do: inference (default), read, admin.
        #[arg(long = "scope", value_delimiter = ',')]
        scopes: Vec<String>,
        #[arg(long, allow_negative_numbers = true)]
        expires_in_days: Option<u32>,
        #[command(flatten)]
        allowed: Allowed,
        /// The priority of its requests under overload, from 0 (refused first) to 255, and the highest that hints can ask for.
        #[arg(long)]
        priority: Option<u8>,
        /// Also creates an access key pair for AWS SDKs.
        #[arg(long)]
        aws: bool,
    },
    /// Lists keys.
    List,
    /// Shows one key; the secret part isn't stored.
    Show { id: String },
    /// Changes a key; omitted fields don't change.
    Set {
        id: String,
        /// A new name.
        #[arg(long)]
        name: Option<String>,
        /// What it may do: inference, read, admin.
        #[arg(long = "scope", value_delimiter = ',')]
        scopes: Vec<String>,
        #[arg(long, allow_negative_numbers = true)]
        expires_in_days: Option<u32>,
        #[command(flatten)]
        allowed: Allowed,
        /// Removes all addresses and blocks: any address may use it.
        #[arg(long, conflicts_with = "ip_allowlist")]
        no_ips: bool,
        /// Removes all origins: those of its project count.
        #[arg(long, conflicts_with = "origins")]
        no_origins: bool,
        /// The priority of its requests under overload, from 0 (refused first) to 255, and the highest that hints can ask for.
        #[arg(long)]
        priority: Option<u8>,
    },
    /// Sets limits on a key, or shows them if none is given.
    Limits {
        id: String,
        #[command(flatten)]
        rates: Rates,
    },
    /// Revokes a key; it is refused within a second.
    Revoke { id: String },
}

const PATH: &str = "/v2/api-keys";

/// From where a key may be used.
#[derive(Debug, clap::Args)]
pub struct Allowed {
    /// IP addresses or CIDR blocks that may use it.
    #[arg(long = "ip", value_delimiter = ',')]
    ip_allowlist: Vec<String>,
    /// Origins of pages that may read its answers in a browser, such as https://app.example.
    #[arg(long = "origin", value_delimiter = ',')]
    origins: Vec<String>,
}

impl Allowed {
    fn write(&self, body: Body) -> Body {
        body.with_list("ip_allowlist", &self.ip_allowlist).with_list("origins", &self.origins)
    }
}

#[derive(Debug, clap::Args)]
pub struct Rates {
    #[arg(long, alias = "rpm")]
    requests_per_minute: Option<u64>,
    #[arg(long, alias = "tpm")]
    tokens_per_minute: Option<u64>,
    #[arg(long)]
    concurrent_streams: Option<u64>,
    /// Removes all limits first.
    #[arg(long)]
    clear: bool,
}

impl Rates {
    /// A merge patch of the key's limits; `None` if no option was given.
    fn patch(&self) -> Option<Value> {
        let set = Body::new()
            .with_some("requests_per_minute", self.requests_per_minute)
            .with_some("tokens_per_minute", self.tokens_per_minute)
            .with_some("concurrent_streams", self.concurrent_streams)
            .build();
        let is_empty = set.as_object().is_none_or(serde_json::Map::is_empty);
        match (is_empty, self.clear) {
            (true, false) => None,
            (true, true) => Some(json!({"limits": null})),
            (false, false) => Some(json!({"limits": set})),
            (false, true) => {
                let mut all = json!({
                    "requests_per_minute": null, "tokens_per_minute": null, "concurrent_streams": null,
                });
                if let (Some(all), Some(set)) = (all.as_object_mut(), set.as_object()) {
                    all.extend(set.clone());
                }
                Some(json!({"limits": all}))
            }
        }
    }
}

const OWN_WOULD_GO: &str = "This is the key that you use: make or sign in with another one first.";
const OWN_IS_GONE: &str = "This was the key that you used. Sign in again with `tidegate login`, or on the gateway's machine with \
                           `tidegate login --link --data-dir DIR`.";

/// Whether this is the key in use, by its id or name.
fn is_own(api: &Api, id: &str) -> bool {
    let me = api.get("/v2/me").unwrap_or_default();
    let key = me.get("key").unwrap_or(&Value::Null);
    ["id", "name"].iter().any(|name| field(key, name) == id)
}

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let keys = Collection::connect(shared, PATH)?;
    let api = &keys.api;
    match command {
        Command::Create { name, project, environment, scopes, expires_in_days, allowed, priority, aws } => {
            let body = Body::new()
                .with("name", name)
                .with_some("project_id", project)
                .with_some("environment", environment)
                .with_some("aws", aws.then_some(true))
                .with_some("expires_in_days", expires_in_days)
                .with_some("priority", priority)
                .with_list("scopes", &scopes);
            keys.create(&allowed.write(body).build())?;
        }
        Command::List => keys.list(
            &["id", "name", "last4", "environment", "scopes", "status", "expires_at"],
            "No keys. `tidegate key create NAME` makes one.",
        )?,
        Command::Show { id } => keys.show(&id)?,
        Command::Set { id, name, scopes, expires_in_days, allowed, no_ips, no_origins, priority } => {
            // Two expiries would contradict each other: the new one replaces the old one.
            let no_moment = expires_in_days.map(|_| serde_json::Value::Null);
            let body = Body::new()
                .with_some("name", name)
                .with_some("expires_at", no_moment)
                .with_some("expires_in_days", expires_in_days)
                .with_some("priority", priority)
                .with_list("scopes", &scopes)
                .with_some("ip_allowlist", no_ips.then(|| json!([])))
                .with_some("origins", no_origins.then(|| json!([])));
            keys.change(&id, &allowed.write(body).build())?;
        }
        Command::Limits { id, rates } => {
            let path = at(PATH, &id);
            let key = match rates.patch() {
                Some(patch) => api.patch(&path, &patch)?,
                None => api.get(&path)?,
            };
            output::object(shared, &key);
        }
        Command::Revoke { id } => {
            // Asked before: a revoked key can't ask any more.
            let is_own = is_own(api, &id);
            api.delete(&at(PATH, &id))?;
            shared.report(&format!("{id} is revoked."));
            if is_own && !shared.json {
                eprintln!("{}", if shared.dry_run { OWN_WOULD_GO } else { OWN_IS_GONE });
            }
        }
    }
    Ok(())
}
