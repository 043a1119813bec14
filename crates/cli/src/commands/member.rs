//! `tidegate member`: the people of a workspace and their roles.

use serde_json::json;

use crate::api::{Api, at};
use crate::body::Body;
use crate::output::{self, Failure};
use crate::shared::Shared;

const PATH: &str = "/v2/members";

/// What becomes of the API keys that a removed member made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Keys {
    Keep,
    Revoke,
}

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Lists members and open invitations.
    List,
    /// Invites a person and prints the invitation link, which isn't shown again.
    Invite {
        email: String,
        /// owner, admin, developer, billing or viewer.
        #[arg(long, default_value = "developer")]
        role: String,
        /// The person's name.
        #[arg(long)]
        name: Option<String>,
    },
    /// Shows one member.
    Show {
        /// Email or id.
        member: String,
    },
    /// Creates a link that signs a member in; it works once, within ten minutes.
    Link {
        /// Email or id.
        member: String,
    },
    /// Changes a member's role and revokes their device keys.
    SetRole {
        /// Email or id.
        member: String,
        /// owner, admin, developer, billing or viewer.
        #[arg(required_unless_present = "new_role", conflicts_with = "new_role")]
        role: Option<String>,
        /// The same as the argument, as `invite` takes it.
        #[arg(long = "role", value_name = "ROLE")]
        new_role: Option<String>,
    },
    /// Removes a member; their sessions and device keys end immediately.
    Remove {
        /// Email or id.
        member: String,
        /// What happens to the API keys that they created: keep or revoke. Required if any is active.
        #[arg(long)]
        keys: Option<Keys>,
    },
}

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let api = Api::connect(shared)?;
    match command {
        Command::List => output::list(
            shared,
            &json!({"data": api.get_all(PATH)?}),
            &["id", "email", "name", "role", "status", "joined_at"],
            "No members. `tidegate member invite EMAIL` asks somebody in.",
        ),
        Command::Invite { email, role, name } => {
            let body = Body::new().with("email", email).with("role", role).with_some("name", name).build();
            output::object(shared, &api.post(PATH, &body)?);
        }
        Command::Show { member } => {
            output::object(shared, &api.get(&at(PATH, &member))?);
        }
        Command::Link { member } => {
            let path = format!("{}/link", at(PATH, &member));
            output::object(shared, &api.post(&path, &json!({}))?);
        }
        Command::SetRole { member, role, new_role } => {
            let path = at(PATH, &member);
            let role = role.or(new_role);
            output::object(shared, &api.patch(&path, &json!({"role": role}))?);
        }
        Command::Remove { member, keys } => {
            let query = match keys {
                None => "",
                Some(Keys::Keep) => "?keys=keep",
                Some(Keys::Revoke) => "?keys=revoke",
            };
            api.delete(&format!("{}{query}", at(PATH, &member)))?;
            shared.report(&format!("{member} is removed."));
        }
    }
    Ok(())
}
