//! `tidegate subscription`: sealed tokens of vendors' subscriptions. The operator switches them on first.

use serde_json::{Value, json};

use crate::api::{self, Api, at};
use crate::body::Body;
use crate::made;
use crate::output::{self, Failure};
use crate::shared::Shared;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Adds a subscription. Prompts for its token, or reads it from standard input: the token itself, or JSON with an access
    /// token and a refresh token.
    Add(Adding),
    /// Lists subscriptions; tokens are never shown.
    List,
    /// Shows one subscription, and how much of its windows is used.
    Show { id: String },
    /// Changes a subscription; omitted options don't change.
    Set {
        id: String,
        /// A new name.
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        stated: Stated,
        /// Removes all windows.
        #[arg(long, conflicts_with = "windows")]
        no_windows: bool,
    },
    /// Replaces a subscription's token; running requests finish with the old one.
    Rotate { id: String },
    /// Disables a subscription.
    Disable { id: String },
    /// Enables a subscription.
    Enable { id: String },
    /// Deletes a subscription and its token.
    Remove { id: String },
}

/// What `subscription add` takes.
#[derive(Debug, clap::Args)]
pub struct Adding {
    /// A vendor's product such as `claude_code` or `codex`, or its provider.
    provider: String,
    #[arg(long)]
    name: Option<String>,
    /// The project that it serves; by default the project of your key.
    #[arg(long)]
    project: Option<String>,
    /// The provider's address, if it isn't the usual one.
    #[arg(long)]
    base_url: Option<String>,
    #[command(flatten)]
    stated: Stated,
}

/// What its owner states of it.
#[derive(Debug, clap::Args)]
pub struct Stated {
    /// The vendor's plan.
    #[arg(long)]
    plan: Option<String>,
    /// The discount on the provider's list price, in percent.
    #[arg(long)]
    discount_pct: Option<u8>,
    /// Caps its use in each window of this many hours, such as `5h:requests=100` or `168h:tokens=2000000`; may be repeated.
    #[arg(long = "window", value_name = "HOURS:CAPS")]
    windows: Vec<String>,
}

impl Stated {
    fn write(self, body: Body) -> Result<Body, Failure> {
        let windows = self.windows.iter().map(|text| window(text)).collect::<Result<Vec<_>, _>>()?;
        Ok(body
            .with_some("plan", self.plan)
            .with_some("cached_price_discount_pct", self.discount_pct)
            .with_some("windows", (!windows.is_empty()).then_some(windows)))
    }
}

const PATH: &str = "/v2/subscription-credentials";

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let api = Api::connect(shared)?;
    match command {
        Command::Add(adding) => {
            let token = token(&api::ask_secret(shared, &adding.provider)?);
            let body = adding
                .stated
                .write(Body::new())?
                .with("provider", adding.provider)
                .with_some("display_name", adding.name)
                .with_some("project_id", adding.project)
                .with_some("base_url", adding.base_url)
                .with(token.0, token.1)
                .build();
            made::print(shared, &api.post(PATH, &body)?);
        }
        Command::List => output::list(
            shared,
            &api.get(PATH)?,
            &[
                "id",
                "product",
                "display_name",
                "plan",
                "status",
                "token_fingerprint",
                "expires_at",
                "last_error",
            ],
            "No subscriptions. `tidegate subscription add codex` seals one, if the operator allows it.",
        ),
        Command::Show { id } => output::object(shared, &api.get(&at(PATH, &id))?),
        Command::Set { id, name, stated, no_windows } => {
            let body = stated.write(Body::new().with_some("display_name", name))?;
            let body = body.with_some("windows", no_windows.then(|| json!([]))).build();
            output::object(shared, &api.patch(&at(PATH, &id), &body)?);
        }
        Command::Rotate { id } => {
            let (field, value) = token(&api::ask_secret(shared, &id)?);
            output::object(shared, &api.post(&format!("{}/rotate", at(PATH, &id)), &json!({field: value}))?);
        }
        Command::Disable { id } => set_status(shared, &api, &id, "disabled")?,
        Command::Enable { id } => set_status(shared, &api, &id, "active")?,
        Command::Remove { id } => {
            api.delete(&at(PATH, &id))?;
            shared.report(&format!("{id} is deleted, and its token with it."));
        }
    }
    Ok(())
}

fn set_status(shared: &Shared, api: &Api, id: &str, status: &str) -> Result<(), Failure> {
    output::object(shared, &api.patch(&at(PATH, id), &json!({"status": status}))?);
    Ok(())
}

/// The field that a secret is sent in: JSON is an access token with what renews it.
pub fn token(text: &str) -> (&'static str, Value) {
    match serde_json::from_str(text) {
        Ok(oauth @ Value::Object(_)) => ("oauth", oauth),
        _ => ("token", text.into()),
    }
}

/// `5h:requests=100,tokens=5000`.
fn window(text: &str) -> Result<Value, Failure> {
    let wrong = || {
        let message =
            format!("\"{text}\" isn't a window: write 5h:requests=100, 168h:tokens=2000000 or both caps.");
        Failure::new(output::USAGE, message)
    };
    let (hours, caps) = text.split_once("h:").ok_or_else(wrong)?;
    let mut window = json!({"hours": hours.parse::<u32>().map_err(|_| wrong())?});
    for cap in caps.split(',') {
        let (name, count) = cap.split_once('=').ok_or_else(wrong)?;
        let count: u64 = count.parse().map_err(|_| wrong())?;
        match (name, window.as_object_mut()) {
            ("requests" | "tokens", Some(fields)) => fields.insert(name.to_owned(), count.into()),
            _ => return Err(wrong()),
        };
    }
    Ok(window)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_its_hours_and_its_caps() {
        let both = window("5h:requests=100,tokens=5000").ok();
        assert_eq!(both, Some(json!({"hours": 5, "requests": 100, "tokens": 5000})));
        for wrong in ["5:requests=1", "5h", "5h:", "h:requests=1", "5h:cost=1", "5h:requests=many"] {
            assert!(window(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn json_is_an_access_token_with_what_renews_it() {
        assert_eq!(token("sk-1"), ("token", json!("sk-1")));
        assert_eq!(token(r#"{"access_token":"a"}"#), ("oauth", json!({"access_token": "a"})));
        assert_eq!(token("12"), ("token", json!("12")));
    }
}
