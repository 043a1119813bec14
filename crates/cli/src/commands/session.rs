//! `tidegate session`: sessions of agents, with their branches, events and snapshots.

use std::io::Read as _;

use serde_json::{Value, json};

use crate::api::at;
use crate::body::Body;
use crate::collection::Collection;
use crate::output::{self, Failure};
use crate::shared::Shared;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Opens a session, with one branch.
    Open {
        /// Its name, the same as --name.
        #[arg(value_name = "NAME", conflicts_with = "name")]
        named: Option<String>,
        #[command(flatten)]
        fields: Fields,
        /// A bundle whose artifacts come before the events; may be repeated.
        #[arg(long = "bundle")]
        bundles: Vec<String>,
        /// The project; by default the project of your key.
        #[arg(long)]
        project: Option<String>,
    },
    /// Lists sessions.
    List,
    /// Shows a session.
    Show { id: String },
    /// Changes a session; omitted fields don't change.
    Set {
        id: String,
        #[command(flatten)]
        fields: Fields,
        /// The status: active, or archived, which accepts no more events.
        #[arg(long)]
        status: Option<String>,
        /// The branch that requests use unless they name another.
        #[arg(long)]
        default_branch: Option<String>,
    },
    /// Deletes a session with everything in it except artifacts.
    Remove { id: String },
    /// Restarts a warm session's idle time, as a run in it does.
    KeepAlive { id: String },
    /// Ends a warm session; it accepts no more runs.
    End { id: String },
    /// Shows the total usage and cost of a session's requests.
    Usage { id: String },
    /// Sends a session's newest 20 stored requests again, to another model, and compares the answers.
    Replay {
        id: String,
        #[arg(long)]
        model: String,
    },
    /// Lists the branches of a session.
    Branches { id: String },
    /// Forks a branch: the new one shares its events up to a version.
    Fork {
        id: String,
        /// The branch; by default the session's default branch.
        #[arg(long)]
        from: Option<String>,
        /// The number of events that both share; by default all.
        #[arg(long)]
        at: Option<u64>,
        /// The name of the new branch.
        #[arg(long)]
        name: Option<String>,
    },
    /// Appends an event to a branch, unless another writer was first.
    Append {
        id: String,
        /// Its content; `-` reads it from standard input.
        content: String,
        /// `user_message`, `assistant_message`, `tool_result`, `retrieval_result`, checkpoint or note.
        #[arg(long = "type", default_value = "user_message")]
        kind: String,
        /// The content is the id of an artifact.
        #[arg(long)]
        artifact: bool,
        /// The version that the branch must be at.
        #[arg(long)]
        expect: Option<u64>,
        /// The branch; by default the session's default branch.
        #[arg(long)]
        branch: Option<String>,
    },
    /// Lists the events of a branch with its history.
    Events {
        id: String,
        /// The branch; by default the session's default branch.
        #[arg(long)]
        branch: Option<String>,
        /// Includes the content of the events.
        #[arg(long)]
        content: bool,
    },
    /// Takes a snapshot of a branch at a version.
    Snapshot {
        id: String,
        /// The branch; by default the session's default branch.
        #[arg(long)]
        branch: Option<String>,
        /// The version; by default the last one.
        #[arg(long)]
        at: Option<u64>,
    },
    /// Lists the snapshots of a session, or shows one.
    Snapshots { id: String, snapshot: Option<String> },
}

#[derive(Debug, clap::Args)]
pub struct Fields {
    /// A name for people to recognise it by.
    #[arg(long)]
    name: Option<String>,
    /// The end user that the session serves; a purge can select by it.
    #[arg(long)]
    end_user: Option<String>,
    /// Seconds to keep it after its last event.
    #[arg(long)]
    ttl: Option<u64>,
}

impl Fields {
    fn body(self) -> Body {
        Body::new()
            .with_some("name", self.name)
            .with_some("end_user", self.end_user)
            .with_some("ttl_seconds", self.ttl)
    }
}

/// The branch that is named, or the session's default branch.
fn branch_of(sessions: &Collection<'_>, id: &str, named: Option<String>) -> Result<String, Failure> {
    match named {
        Some(named) => Ok(named),
        None => Ok(output::cell(&sessions.api.get(&sessions.at(id))?, "default_branch_id")),
    }
}

/// Content as it is sent: JSON where it is JSON of an item, else text.
fn content_of(text: String) -> Result<Value, Failure> {
    let text = if text == "-" {
        let mut read = String::new();
        let done = std::io::stdin().read_to_string(&mut read);
        done.map_err(|error| Failure::new(1, format!("The standard input can't be read: {error}.")))?;
        read
    } else {
        text
    };
    let item = serde_json::from_str(&text).ok().filter(|value: &Value| value.is_object() || value.is_array());
    Ok(item.unwrap_or(Value::String(text)))
}

const COLUMNS: [&str; 6] = ["id", "name", "end_user", "status", "used_at", "expires_at"];
const EVENT_COLUMNS: [&str; 5] = ["version", "event_type", "content", "payload_ref", "created_at"];

/// The path of the events of a branch.
fn events_of(sessions: &Collection<'_>, id: &str, branch: &str) -> String {
    format!("{}/events", at(&format!("{}/branches", sessions.at(id)), branch))
}

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let sessions = Collection::connect(shared, "/v2/sessions")?;
    let show = |answer: Value| output::object(shared, &answer);
    match command {
        Command::Open { named, fields, bundles, project } => {
            let fields = Fields { name: fields.name.or(named), ..fields };
            let body = fields.body().with_list("base_bundle_ids", &bundles).with_some("project_id", project);
            return sessions.create(&body.build());
        }
        Command::List => return sessions.list(&COLUMNS, "No sessions. `tidegate session open` opens one."),
        Command::Show { id } => return sessions.show(&id),
        Command::Set { id, fields, status, default_branch } => {
            let body =
                fields.body().with_some("status", status).with_some("default_branch_id", default_branch);
            return sessions.change(&id, &body.build());
        }
        Command::Remove { id } => return sessions.remove(&id),
        Command::KeepAlive { id } => {
            show(sessions.api.post(&format!("{}/keep-alive", sessions.at(&id)), &json!({}))?);
        }
        Command::End { id } => show(sessions.api.post(&format!("{}/end", sessions.at(&id)), &json!({}))?),
        Command::Usage { id } => show(sessions.api.get(&format!("{}/usage", sessions.at(&id)))?),
        Command::Replay { id, model } => {
            super::content::replay_all(shared, &sessions.api, &sessions.at(&id), &model)?;
        }
        Command::Branches { id } => {
            let page = sessions.api.get(&format!("{}/branches", sessions.at(&id)))?;
            let columns = ["id", "name", "version", "forked_from_branch_id", "forked_at_version"];
            output::list(shared, &page, &columns, "No branches.");
        }
        Command::Fork { id, from, at, name } => {
            let body = Body::new()
                .with_some("from_branch_id", from)
                .with_some("at_version", at)
                .with_some("name", name);
            show(sessions.api.post(&format!("{}/branches", sessions.at(&id)), &body.build())?);
        }
        Command::Append { id, content, kind, artifact, expect, branch } => {
            let branch = branch_of(&sessions, &id, branch)?;
            let event = Body::new().with("event_type", kind);
            let event = if artifact {
                event.with("payload_ref", content)
            } else {
                event.with("content", content_of(content)?)
            };
            let body = Body::new().with("event", event.build()).with_some("expected_version", expect);
            show(sessions.api.post(&events_of(&sessions, &id, &branch), &body.build())?);
        }
        Command::Events { id, branch, content } => {
            let branch = branch_of(&sessions, &id, branch)?;
            let include = if content { "?include=content" } else { "" };
            let page = sessions.api.get(&format!("{}{include}", events_of(&sessions, &id, &branch)))?;
            output::list(shared, &page, &EVENT_COLUMNS, "No events yet. `tidegate session append` adds one.");
        }
        Command::Snapshot { id, branch, at } => {
            let body = Body::new().with_some("branch_id", branch).with_some("version", at).build();
            show(sessions.api.post(&format!("{}/snapshots", sessions.at(&id)), &body)?);
        }
        Command::Snapshots { id, snapshot: Some(snapshot) } => {
            show(sessions.api.get(&at(&format!("{}/snapshots", sessions.at(&id)), &snapshot))?);
        }
        Command::Snapshots { id, snapshot: None } => {
            let page = sessions.api.get(&format!("{}/snapshots", sessions.at(&id)))?;
            let columns = ["id", "branch_id", "branch_version", "digest", "created_at"];
            output::list(shared, &page, &columns, "No snapshots. `tidegate session snapshot` records one.");
        }
    }
    Ok(())
}
