//! `tidegate project`: parts of a workspace, each with an environment and keys of its own.

use serde_json::json;

use super::workspace::Caching;
use crate::api::{Api, at};
use crate::body::Body;
use crate::made;
use crate::output::{self, Failure};
use crate::shared::Shared;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Creates a project.
    Create {
        /// The project's name.
        name: String,
        /// production (default), staging, development, or a name of your own.
        #[arg(long)]
        environment: Option<String>,
    },
    /// Lists projects.
    List,
    /// Shows one project.
    Show {
        /// Name or id.
        project: String,
    },
    /// Changes a project's name, its caching, or the environment of its new keys.
    Set {
        /// Name or id.
        project: String,
        /// A new name.
        #[arg(long)]
        name: Option<String>,
        #[arg(long)]
        environment: Option<String>,
        /// Origins of pages that may read the answers to its keys in a browser, such as https://app.example.
        #[arg(long = "origin", value_delimiter = ',')]
        origins: Vec<String>,
        /// Removes all origins: those of the gateway's setting count.
        #[arg(long, conflicts_with = "origins")]
        no_origins: bool,
        #[command(flatten)]
        caching: Caching,
    },
    /// Deletes a project's answers from the response cache.
    PurgeCache {
        /// Name or id.
        project: String,
    },
    /// Removes a project. Remove its keys, credentials and routes first.
    Remove {
        /// Name or id.
        project: String,
    },
}

const PATH: &str = "/v2/projects";

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let api = Api::connect(shared)?;
    match command {
        Command::Create { name, environment } => {
            let body = Body::new().with("name", name).with_some("environment", environment).build();
            made::print(shared, &api.post(PATH, &body)?);
        }
        Command::List => {
            let columns = ["id", "name", "environment", "created_at"];
            output::rows(
                shared,
                &api.get_all(PATH)?,
                &columns,
                "No projects. `tidegate project create NAME` makes one.",
            );
        }
        Command::Show { project } => output::object(shared, &api.get(&at(PATH, &project))?),
        Command::Set { project, name, environment, origins, no_origins, caching } => {
            let body = Body::new()
                .with_some("name", name)
                .with_some("environment", environment)
                .with_some("caching", caching.patch())
                .with_some("origins", no_origins.then(|| json!([])))
                .with_list("origins", &origins)
                .build();
            output::object(shared, &api.patch(&at(PATH, &project), &body)?);
        }
        Command::PurgeCache { project } => {
            let path = format!("{}/purge-cache", at(PATH, &project));
            output::object(shared, &api.post(&path, &json!({}))?);
        }
        Command::Remove { project } => {
            api.delete(&at(PATH, &project))?;
            shared.report(&format!("{project} is removed."));
        }
    }
    Ok(())
}
