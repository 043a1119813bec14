//! `tidegate account`: the operator's pooled provider accounts, which serve what no credential or node matches.

use serde_json::json;

use super::agreement::Agreement;
use super::credential::{check_provider, secret_for};
use super::hosting::Hosting;
use super::servers;
use crate::api::{self, at};
use crate::body::Body;
use crate::collection::Collection;
use crate::made;
use crate::output::{self, Failure};
use crate::shared::Shared;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Adds an account. Prompts for its secret, or reads it from standard input.
    Add {
        /// openai, nebius, `together_ai`, …
        provider: String,
        #[arg(long)]
        name: Option<String>,
        #[arg(long)]
        base_url: Option<String>,
        #[arg(long)]
        region: Option<String>,
        /// Serves only these models.
        #[arg(long = "model", value_delimiter = ',')]
        models: Vec<String>,
        /// Its share of the traffic among the accounts that offer the same model.
        #[arg(long)]
        weight: Option<u32>,
        /// The operator's markup on the price, in hundredths of a percent.
        #[arg(long)]
        markup_bps: Option<u32>,
        /// Also serves models without a known price; their use is counted as unpriced.
        #[arg(long)]
        allow_unpriced: bool,
        #[command(flatten)]
        hosting: Hosting,
        #[command(flatten)]
        agreement: Box<Agreement>,
        #[command(flatten)]
        verifying: servers::Verifying,
    },
    /// Lists accounts.
    List,
    /// Shows one account; secrets are never shown.
    Show { id: String },
    /// Changes an account; omitted fields don't change.
    Set {
        id: String,
        /// A new name.
        #[arg(long)]
        name: Option<String>,
        #[arg(long)]
        region: Option<String>,
        /// Serves only these models.
        #[arg(long = "model", value_delimiter = ',')]
        models: Vec<String>,
        #[arg(long)]
        weight: Option<u32>,
        #[arg(long)]
        markup_bps: Option<u32>,
        #[command(flatten)]
        hosting: Hosting,
        #[command(flatten)]
        agreement: Box<Agreement>,
    },
    /// Verifies an account with the provider's cheapest call.
    Verify { id: String },
    /// Replaces an account's secret once its provider has accepted the new one.
    Rotate {
        id: String,
        #[command(flatten)]
        verifying: servers::Verifying,
    },
    /// Disables an account.
    Disable { id: String },
    /// Enables an account.
    Enable { id: String },
    /// Deletes an account and its secret.
    Remove { id: String },
}

const PATH: &str = "/v2/accounts";

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let accounts = Collection::connect(shared, PATH)?;
    let api = &accounts.api;
    match command {
        Command::Add {
            provider,
            name,
            base_url,
            region,
            models,
            weight,
            markup_bps,
            allow_unpriced,
            hosting,
            agreement,
            verifying,
        } => {
            if base_url.is_none() {
                check_provider(api, &provider)?;
            }
            let auth = hosting.auth.clone();
            let secret = secret_for(shared, api, &provider, auth.as_deref())?;
            let body = Body::new()
                .with("display_name", name.unwrap_or_else(|| provider.clone()))
                .with("provider", provider)
                .with_some("auth", auth)
                .with_some("secret", secret)
                .with("allow_unpriced", allow_unpriced)
                .with_some("base_url", base_url)
                .with_some("config", hosting.config()?)
                .with_some("region", region)
                .with_some("weight", weight)
                .with_some("markup_bps", markup_bps)
                .with_list("models", &models);
            let made = api.post(PATH, &agreement.write(body)?.build())?;
            made::print(shared, &verifying.verify(api, PATH, made)?);
        }
        Command::List => accounts.list(
            &["id", "provider", "display_name", "status", "models", "weight", "markup_bps", "last_error"],
            "No accounts. `tidegate account add openai` seals one.",
        )?,
        Command::Show { id } => accounts.show(&id)?,
        Command::Set { id, name, region, models, weight, markup_bps, hosting, agreement } => {
            let body = Body::new()
                .with_some("display_name", name)
                .with_some("config", hosting.config()?)
                .with_some("region", region)
                .with_some("weight", weight)
                .with_some("markup_bps", markup_bps)
                .with_list("models", &models);
            let body = agreement.write(body)?.build();
            accounts.change(&id, &body)?;
        }
        Command::Verify { id } => {
            output::object(shared, &servers::verify(api, &at(PATH, &id))?);
        }
        Command::Rotate { id, verifying } => {
            let secret = api::ask_secret(shared, &format!("the account {id}"))?;
            let body = json!({"secret": secret, "verify": !verifying.no_verify});
            output::object(shared, &api.post(&format!("{}/rotate", at(PATH, &id)), &body)?);
        }
        Command::Disable { id } => accounts.change(&id, &json!({"status": "disabled"}))?,
        Command::Enable { id } => accounts.change(&id, &json!({"status": "active"}))?,
        Command::Remove { id } => {
            api.delete(&at(PATH, &id))?;
            shared.report(&format!("{id} is deleted, and its secret with it."));
        }
    }
    Ok(())
}
