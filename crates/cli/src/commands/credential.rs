//! `tidegate credential`: the workspace's own provider credentials (BYOK), encrypted on arrival.

use serde_json::{Value, json};

use super::agreement::Agreement;
use super::hosting::Hosting;
use super::servers;
use crate::api::{self, Api, at};
use crate::body::Body;
use crate::made;
use crate::output::{self, Failure};
use crate::shared::Shared;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Adds a credential. Prompts for its secret, or reads it from standard input; never takes it from the command line.
    Add(Adding),
    /// Lists credentials; secrets are never shown.
    List,
    /// Shows one credential.
    Show { id: String },
    /// Changes a credential; omitted fields don't change.
    Set {
        id: String,
        /// A new name.
        #[arg(long)]
        name: Option<String>,
        #[arg(long)]
        region: Option<String>,
        /// Serves only this project.
        #[arg(long)]
        project: Option<String>,
        /// Serves only this environment.
        #[arg(long)]
        environment: Option<String>,
        #[command(flatten)]
        hosting: Hosting,
        #[command(flatten)]
        agreement: Box<Agreement>,
        #[command(flatten)]
        stating: servers::FactOptions,
    },
    /// Verifies a credential with the provider's cheapest call, and stores the result.
    Verify { id: String },
    /// Probes what the compatible server behind a credential supports, with a few small calls, and stores the result.
    Probe {
        id: String,
        /// The model to probe; by default the first that it lists.
        #[arg(long)]
        model: Option<String>,
    },
    /// Replaces a credential's secret once its provider has accepted the new one; running requests finish with the old one.
    Rotate {
        id: String,
        #[command(flatten)]
        verifying: servers::Verifying,
    },
    /// Disables a credential.
    Disable { id: String },
    /// Enables a credential.
    Enable { id: String },
    /// Deletes a credential and its secret.
    Remove { id: String },
    /// Lists the kinds of credentials and what each needs.
    Kinds,
}

/// What `credential add` takes.
#[derive(Debug, clap::Args)]
pub struct Adding {
    /// A provider such as openai, or any name that you choose together with --base-url.
    provider: String,
    #[arg(long)]
    name: Option<String>,
    /// The provider's address, if it isn't the usual one.
    #[arg(long)]
    base_url: Option<String>,
    #[arg(long)]
    region: Option<String>,
    #[command(flatten)]
    hosting: Hosting,
    #[command(flatten)]
    agreement: Agreement,
    /// Serves only this project.
    #[arg(long)]
    project: Option<String>,
    /// Serves only this environment.
    #[arg(long)]
    environment: Option<String>,
    /// Reads the secret from the provider's usual environment variable, such as `OPENAI_API_KEY`.
    #[arg(long)]
    from_env: bool,
    #[command(flatten)]
    verifying: servers::Verifying,
}

const PATH: &str = "/v2/provider-credentials";

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let api = Api::connect(shared)?;
    match command {
        Command::Add(adding) => made::print(shared, &add(shared, &api, adding)?),
        Command::List => output::list(
            shared,
            &api.get(PATH)?,
            &[
                "id",
                "provider",
                "display_name",
                "status",
                "secret_fingerprint",
                "last_verified_at",
                "last_error",
            ],
            "No credentials. `tidegate credential add openai` seals one.",
        ),
        Command::Show { id } => servers::show(shared, &api.get(&at(PATH, &id))?),
        Command::Set { id, name, region, project, environment, hosting, agreement, stating } => {
            let body = Body::new()
                .with_some("display_name", name)
                .with_some("region", region)
                .with_some("auth", hosting.auth.clone())
                .with_some("config", hosting.config()?)
                .with_some("scope", scope_of(project, environment))
                .with_some("stated_facts", stating.patch()?);
            let body = agreement.write(body)?.build();
            servers::brief(shared, &api.patch(&at(PATH, &id), &body)?);
        }
        Command::Verify { id } => {
            servers::brief(shared, &servers::verify(&api, &at(PATH, &id))?);
        }
        Command::Probe { id, model } => servers::probe(shared, &api, &at(PATH, &id), model)?,
        Command::Rotate { id, verifying } => {
            let secret = api::ask_secret(shared, &format!("the credential {id}"))?;
            let body = json!({"secret": secret, "verify": !verifying.no_verify});
            servers::brief(shared, &api.post(&format!("{}/rotate", at(PATH, &id)), &body)?);
        }
        Command::Disable { id } => set_status(shared, &api, &id, "disabled")?,
        Command::Enable { id } => set_status(shared, &api, &id, "active")?,
        Command::Remove { id } => {
            api.delete(&at(PATH, &id))?;
            shared.report(&format!("{id} is deleted, and its secret with it."));
        }
        Command::Kinds => output::list(
            shared,
            &api.get("/v2/provider-credentials/kinds")?,
            &["provider", "display_name", "auth", "title", "environment_variable", "available"],
            "No kinds.",
        ),
    }
    Ok(())
}

fn add(shared: &Shared, api: &Api, adding: Adding) -> Result<Value, Failure> {
    let Adding { provider, name, base_url, region, hosting, agreement, .. } = adding;
    let Adding { project, environment, from_env, verifying, .. } = adding;
    if base_url.is_none() {
        check_provider(api, &provider)?;
    }
    let auth = hosting.auth.clone();
    let stated = agreement.write(Body::new().with_some("config", hosting.config()?))?;
    let secret = if from_env {
        Some(from_environment(api, &provider, auth.as_deref())?)
    } else {
        secret_for(shared, api, &provider, auth.as_deref())?
    };
    let body = stated
        .with_some("display_name", name)
        .with("provider", provider)
        .with_some("auth", auth)
        .with_some("secret", secret)
        .with_some("base_url", base_url)
        .with_some("region", region)
        .with_some("scope", scope_of(project, environment))
        .with("verify", !verifying.no_verify)
        .build();
    servers::accepted(api.post(PATH, &body)?)
}

fn scope_of(project: Option<String>, environment: Option<String>) -> Option<Value> {
    let any = project.is_some() || environment.is_some();
    any.then(|| Body::new().with_some("project_id", project).with_some("environment", environment).build())
}

fn set_status(shared: &Shared, api: &Api, id: &str, status: &str) -> Result<(), Failure> {
    servers::brief(shared, &api.patch(&at(PATH, id), &json!({"status": status}))?);
    Ok(())
}

/// Refuses a provider that the gateway does not know, before anybody is asked for a secret.
///
/// # Errors
/// It is unknown.
pub fn check_provider(api: &Api, provider: &str) -> Result<(), Failure> {
    let kinds = api.get("/v2/provider-credentials/kinds")?;
    let kinds = kinds.get("data").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let names = |kind: &Value| -> Vec<String> {
        let synonyms = kind.get("synonyms").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let all = kind.get("provider").into_iter().chain(synonyms);
        all.filter_map(|name| name.as_str().map(str::to_owned)).collect()
    };
    let known: Vec<String> = kinds.iter().flat_map(names).collect();
    if known.is_empty() || known.iter().any(|name| name == provider) {
        return Ok(());
    }
    let advice = output::did_you_mean(provider, known.iter().map(String::as_str)).unwrap_or_else(|| {
        "`tidegate credential kinds` lists them; a server of your own needs --base-url.".to_owned()
    });
    Err(Failure::new(output::NOT_FOUND, format!("There is no provider {provider}.")).fix(advice))
}

/// Asks for the secret of a kind of credential; a managed identity has none. An unknown kind is left to the
/// server to refuse.
pub fn secret_for(
    shared: &Shared,
    api: &Api,
    provider: &str,
    auth: Option<&str>,
) -> Result<Option<String>, Failure> {
    let kind = if auth.is_some() { kind_of(api, provider, auth)? } else { None };
    if kind.is_none_or(|kind| kind.pointer("/schema/properties/secret").is_some()) {
        api::ask_secret(shared, provider).map(Some)
    } else {
        Ok(None)
    }
}

/// The kind of credential that a provider takes, as the server's catalogue has it: this one, or the default.
fn kind_of(api: &Api, provider: &str, auth: Option<&str>) -> Result<Option<Value>, Failure> {
    let mut kinds = api.get("/v2/provider-credentials/kinds")?;
    let text = |kind: &Value, name: &str| kind.get(name).and_then(Value::as_str).map(str::to_owned);
    let is_named = |kind: &Value| {
        let synonyms = kind.get("synonyms").and_then(Value::as_array);
        text(kind, "provider").as_deref() == Some(provider)
            || synonyms.is_some_and(|names| names.iter().any(|name| name.as_str() == Some(provider)))
    };
    let is_it = |kind: &Value| is_named(kind) && (auth.is_none() || text(kind, "auth").as_deref() == auth);
    let data = kinds.get_mut("data").and_then(Value::as_array_mut);
    Ok(data.and_then(|kinds| kinds.iter().position(is_it).map(|at| kinds.swap_remove(at))))
}

/// Reads the secret from the provider's usual environment variable, which the catalogue names.
fn from_environment(api: &Api, provider: &str, auth: Option<&str>) -> Result<String, Failure> {
    let kind = kind_of(api, provider, auth)?;
    let variable = kind.as_ref().and_then(|kind| kind.get("environment_variable")).and_then(Value::as_str);
    let Some(variable) = variable else {
        return Err(Failure::new(output::USAGE, format!("No environment variable is known for {provider}.")));
    };
    std::env::var(variable)
        .ok()
        .filter(|secret| !secret.is_empty())
        .ok_or_else(|| Failure::new(output::USAGE, format!("{variable} is not set in this shell.")))
}
