//! `tidegate secret`: secrets by name, which the apps of a project are sent.

use serde_json::Value;

use crate::api::ask_secret;
use crate::body::Body;
use crate::collection::Collection;
use crate::output::{self, Failure};
use crate::shared::Shared;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Stores a secret under a name, or replaces its value. Prompts for the value, or reads it from standard input.
    Set {
        /// The secret's name.
        name: String,
        /// A host that it may be sent to, such as api.example.com; by default its hosts don't change.
        #[arg(long = "host", value_delimiter = ',')]
        hosts: Vec<String>,
        /// What it is for.
        #[arg(long)]
        description: Option<String>,
        /// The project; by default the project of your key.
        #[arg(long)]
        project: Option<String>,
    },
    /// Lists the names of secrets; values are never shown.
    List,
    /// Shows a secret, by its name or id, without its value.
    Show { secret: String },
    /// Deletes a secret, by its name or id.
    Remove { secret: String },
}

const PATH: &str = "/v2/secrets";
/// The id of a name; `None` where there is none.
fn id_of(secrets: &Collection<'_>, (name, project): (&str, Option<&str>)) -> Result<Option<String>, Failure> {
    let path = project.map_or_else(|| PATH.to_owned(), |project| format!("{PATH}?project_id={project}"));
    let rows = secrets.api.get_all(&path)?;
    let text = |row: &Value, field: &str| row.get(field).and_then(Value::as_str).map(str::to_owned);
    let found: Vec<_> = rows.iter().filter(|row| text(row, "name").as_deref() == Some(name)).collect();
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(text(one, "id")),
        _ => {
            let message = format!("Several projects have a secret {name}: name one by its id.");
            Err(Failure::new(output::USAGE, message))
        }
    }
}

/// A name that is none is taken as an id.
fn named(secrets: &Collection<'_>, secret: String) -> Result<String, Failure> {
    Ok(id_of(secrets, (&secret, None))?.unwrap_or(secret))
}

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let secrets = Collection::connect(shared, PATH)?;
    match command {
        Command::Set { name, hosts, description, project } => {
            let present = id_of(&secrets, (&name, project.as_deref()))?;
            let body = Body::new()
                .with("value", ask_secret(shared, &name)?)
                .with_list("hosts", &hosts)
                .with_some("description", description);
            match present {
                Some(id) => secrets.change(&id, &body.build()),
                None => secrets.create(&body.with("name", name).with_some("project_id", project).build()),
            }
        }
        Command::List => secrets.list(
            &["id", "name", "hosts", "created_at"],
            "No secrets. `tidegate secret set NAME --host HOST` keeps one.",
        ),
        Command::Show { secret } => secrets.show(&named(&secrets, secret)?),
        Command::Remove { secret } => secrets.remove(&named(&secrets, secret)?),
    }
}
