//! `tidegate nodes`: the runtimes on the customer's own hardware.

use std::time::Duration;

use serde_json::{Value, json};

use super::{node_costs, node_tunnels, servers};
use crate::api::{self, Api, at};
use crate::body::Body;
use crate::made;
use crate::output::{self, Failure, Form};
use crate::shared::Shared;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Registers a node: `tidegate node`, or any server that speaks the OpenAI API.
    Add {
        /// The node's name.
        name: String,
        /// Its address, ending in /v1.
        #[arg(long)]
        base_url: String,
        /// A model that it serves; by default the node reports its models.
        #[arg(long = "model", value_delimiter = ',')]
        models: Vec<String>,
        /// Labels that routes can match.
        #[arg(long = "label", value_delimiter = ',')]
        labels: Vec<String>,
        /// Prompts for the node's key, or reads it from standard input.
        #[arg(long)]
        with_key: bool,
        #[command(flatten)]
        verifying: servers::Verifying,
    },
    /// Creates a join token for a new node, or for one whose credential was revoked, and shows it once.
    Invite {
        /// The node's name.
        name: String,
        /// Minutes until the token expires: an hour by default, a week at most.
        #[arg(long)]
        expires_in_minutes: Option<u64>,
    },
    /// Lists join tokens and whether they were used; the tokens themselves are never shown.
    Invites,
    /// Revokes an unused join token.
    Uninvite {
        /// The name of the invited node, or the token's id.
        name: String,
    },
    /// Lists nodes.
    List,
    /// Shows one node.
    Show { id: String },
    /// Changes a node; omitted fields don't change.
    Set {
        id: String,
        /// A new name.
        #[arg(long)]
        name: Option<String>,
        /// A model that it serves.
        #[arg(long = "model", value_delimiter = ',')]
        models: Vec<String>,
        /// Labels that routes can match.
        #[arg(long = "label", value_delimiter = ',')]
        labels: Vec<String>,
        #[command(flatten)]
        stating: servers::FactOptions,
        #[command(flatten)]
        cost: node_costs::CostOptions,
    },
    /// Shows what a million tokens cost on your own hardware, by node, model and adapter, next to providers' prices.
    Costs(node_costs::ReportOptions),
    /// Probes which parts of the OpenAI API a node supports, with a few small calls, and stores the result.
    Probe {
        id: String,
        /// The model to probe; by default the node's first.
        #[arg(long)]
        model: Option<String>,
    },
    /// Shows the state and the models of a node that runs `tidegate node`.
    Runtime {
        /// Name or id.
        node: String,
    },
    /// Sets the key that a node requires; prompts for it, or reads it from standard input.
    Rotate { id: String },
    /// Stops sending new requests to a node; running requests finish.
    Cordon {
        /// Name or id.
        node: String,
    },
    /// Resumes sending requests to a cordoned or drained node.
    #[command(alias = "resume")]
    Uncordon {
        /// Name or id.
        node: String,
    },
    /// Cordons a node so that it empties, and shows how many requests are still running there.
    Drain {
        /// Name or id.
        node: String,
        /// Waits until no requests are left.
        #[arg(long)]
        wait: bool,
    },
    /// Revokes a joined node's credential: it can't report any more and gets no new requests; running requests finish.
    Revoke { id: String },
    /// Lists the requests that a joined node has reported serving.
    Usage { id: String },
    /// Removes a node and its reports.
    Remove { id: String },
}

const POLL_EVERY: Duration = Duration::from_secs(1);
const PATH: &str = "/v2/byoc/nodes";
const TOKENS: &str = "/v2/byoc/nodes/join-tokens";

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let api = Api::connect(shared)?;
    match command {
        Command::Add { name, base_url, models, labels, with_key, verifying } => {
            let secret = if with_key { Some(api::ask_secret(shared, &name)?) } else { None };
            warn_of_same(&api.get_all(PATH)?, &base_url);
            let body = Body::new()
                .with("name", name)
                .with("base_url", base_url)
                .with_some("secret", secret)
                .with_list("models", &models)
                .with_list("labels", &labels)
                .build();
            made::print(shared, &verifying.check_reached(api.post(PATH, &body)?)?);
        }
        Command::Invite { name, expires_in_minutes } => {
            let body = Body::new().with("name", name).with_some("expires_in_minutes", expires_in_minutes);
            invited(shared, &api, &api.post(TOKENS, &body.build())?);
        }
        Command::Invites => output::rows(
            shared,
            &api.get_all(TOKENS)?,
            &["id", "name", "status", "created_at", "expires_at", "used_at"],
            "No tokens wait for a node. `tidegate nodes invite NAME` makes one.",
        ),
        Command::Uninvite { name } => uninvite(shared, &api, &name)?,
        Command::List => output::list(
            shared,
            &node_tunnels::in_words(shared, api.get(PATH)?),
            &["id", "name", "base_url", "status", "models", "labels", "last_seen_at", "tunnel", "last_error"],
            "No nodes. `tidegate node --model echo` starts one, `tidegate nodes add` registers it.",
        ),
        Command::Show { id } => {
            servers::show(shared, &node_tunnels::in_words(shared, api.get(&at(PATH, &id))?));
        }
        Command::Set { id, name, models, labels, stating, cost } => {
            let body = Body::new()
                .with_some("name", name)
                .with_list("models", &models)
                .with_list("labels", &labels)
                .with_some("stated_facts", stating.patch()?)
                .with_some("cost", cost.patch()?)
                .build();
            servers::brief(shared, &api.patch(&at(PATH, &id), &body)?);
        }
        Command::Costs(options) => costs(shared, &api, &options)?,
        Command::Probe { id, model } => servers::probe(shared, &api, &at(PATH, &id), model)?,
        Command::Runtime { node } => {
            runtime(shared, &api.get(&format!("{}/runtime", at(PATH, &node)))?);
        }
        Command::Rotate { id } => {
            let secret = api::ask_secret(shared, &id)?;
            servers::brief(shared, &api.patch(&at(PATH, &id), &json!({"secret": secret}))?);
        }
        Command::Cordon { node } => servers::brief(shared, &turn(&api, &node, "cordon")?),
        Command::Uncordon { node } => servers::brief(shared, &turn(&api, &node, "uncordon")?),
        Command::Drain { node, wait } => servers::brief(shared, &drain(&api, &node, wait)?),
        Command::Revoke { id } => {
            servers::brief(shared, &api.post(&format!("{}/revoke", at(PATH, &id)), &json!({}))?);
        }
        Command::Usage { id } => usage(shared, &api, &id)?,
        Command::Remove { id } => {
            api.delete(&at(PATH, &id))?;
            shared.report(&format!("{id} is removed."));
        }
    }
    Ok(())
}

fn costs(shared: &Shared, api: &Api, options: &node_costs::ReportOptions) -> Result<(), Failure> {
    let path = match options.node() {
        None => "/v2/byoc/costs".to_owned(),
        Some(node) => format!("{}/costs", at(PATH, node)),
    };
    node_costs::show(shared, api, &path, options)
}

/// Cordons the node, and waits until nothing runs there any more.
fn drain(api: &Api, node: &str, wait: bool) -> Result<Value, Failure> {
    let mut row = turn(api, node, "drain")?;
    while wait && row.get("drained") != Some(&Value::Bool(true)) {
        api.pause(POLL_EVERY);
        row = api.get(&at(PATH, &api::field(&row, "id")))?;
    }
    Ok(row)
}

/// Says which nodes have this address already: their models would be offered twice.
fn warn_of_same(nodes: &[Value], base_url: &str) {
    let bare = |url: &str| url.trim_end_matches('/').trim_end_matches("/v1").to_owned();
    for node in nodes.iter().filter(|node| bare(&api::field(node, "base_url")) == bare(base_url)) {
        let name = output::printable(&api::field(node, "name"));
        eprintln!("warning: {base_url} is the node {name} already, which then serves under two names.");
    }
}

/// Shows the token, and how to use it on the other machine.
fn invited(shared: &Shared, api: &Api, invited: &Value) {
    output::object(shared, invited);
    if shared.form() == Form::Table && !shared.dry_run {
        let (control, token) = (api.address(), api::field(invited, "token"));
        eprintln!(
            "It is shown this once. On the node's machine, with the address that the gateway reaches it at:"
        );
        eprintln!("  tidegate node join --control {control} --token {token} --address http://127.0.0.1:8080");
    }
}

/// Revokes the token with this id, or every open one of this name: a name may have been invited more than
/// once.
fn uninvite(shared: &Shared, api: &Api, name: &str) -> Result<(), Failure> {
    let tokens = api.get_all(TOKENS)?;
    let is_meant = |token: &&Value| {
        let is_open = api::field(token, "status") == "open";
        api::field(token, "id") == name || (is_open && api::field(token, "name") == name)
    };
    let ids: Vec<String> = tokens.iter().filter(is_meant).map(|token| api::field(token, "id")).collect();
    if ids.is_empty() {
        let text = format!("No token waits for {name}; `tidegate nodes invites` shows those there are.");
        return Err(Failure::new(output::NOT_FOUND, text));
    }
    for id in ids {
        api.delete(&at(TOKENS, &id))?;
        shared.report(&format!("{id} is withdrawn."));
    }
    Ok(())
}

fn usage(shared: &Shared, api: &Api, id: &str) -> Result<(), Failure> {
    let rows = api.get_all(&format!("{}/usage", at(PATH, id)))?;
    let columns = [
        "started_at",
        "event_id",
        "request_id",
        "model",
        "operation",
        "end",
        "input_tokens",
        "cached_tokens",
        "output_tokens",
    ];
    output::rows(shared, &rows, &columns, "It has reported nothing.");
    Ok(())
}

/// Cordons, uncordons or drains a node.
fn turn(api: &Api, node: &str, action: &str) -> Result<Value, Failure> {
    api.post(&format!("{}/{action}", at(PATH, node)), &json!({}))
}

/// The node's state as lines, and its models as a table below.
fn runtime(shared: &Shared, state: &Value) {
    if shared.form() != Form::Table {
        return output::object(shared, state);
    }
    let adapters = state.get("adapters").filter(|adapters| adapters.is_object());
    let part = |name: &str| adapters.and_then(|fields| fields.get(name)).and_then(Value::as_u64).unwrap_or(0);
    let summary = adapters.map(|fields| {
        let loaded = output::cell(fields, "loaded_loras");
        let (known, known_max, most) = (part("registered"), part("max_registered"), part("max_active_loras"));
        let (bytes, bytes_max) =
            (output::bytes(part("loaded_bytes")), output::bytes(part("max_loaded_bytes")));
        format!("{known} of {known_max} known; in memory {loaded} ({most} at most, {bytes} of {bytes_max})")
    });
    let field = |name: &str| state.get(name).cloned().unwrap_or_default();
    output::object(
        shared,
        &json!({
            "node": field("node"),
            "status": field("status"),
            "runtime": format!("{} {}", output::cell(state, "runtime"), output::cell(state, "version")),
            "answers_on_their_way": field("requests_open"),
            "answers_at": output::cell(state, "execution_modes"),
            "adapters": summary.unwrap_or_else(|| "none are taken".to_owned()),
        }),
    );
    println!();
    let models = state.get("models").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    output::rows(shared, models, &["id", "context_tokens", "is_model"], "It runs no model.");
}
