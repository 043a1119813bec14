//! `tidegate member`: the people of a workspace and their roles.

use serde_json::json;

use crate::api::{Api, field};
use crate::body::Body;
use crate::output::{self, Failure};
use crate::shared::Shared;

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
        role: String,
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
            &json!({"data": api.get_all("/v2/members")?}),
            &["id", "email", "name", "role", "status", "joined_at"],
            "No members. `tidegate member invite EMAIL` asks somebody in.",
        ),
        Command::Invite { email, role, name } => {
            let body = Body::new().with("email", email).with("role", role).with_some("name", name).build();
            output::object(shared, &api.post("/v2/members", &body)?);
        }
        Command::Show { member } => {
            output::object(shared, &api.get(&format!("/v2/members/{}", find(&api, &member)?))?);
        }
        Command::Link { member } => {
            let path = format!("/v2/members/{}/link", find(&api, &member)?);
            output::object(shared, &api.post(&path, &json!({}))?);
        }
        Command::SetRole { member, role } => {
            let path = format!("/v2/members/{}", find(&api, &member)?);
            output::object(shared, &api.patch(&path, &json!({"role": role}))?);
        }
        Command::Remove { member, keys } => {
            let query = match keys {
                None => "",
                Some(Keys::Keep) => "?keys=keep",
                Some(Keys::Revoke) => "?keys=revoke",
            };
            api.delete(&format!("/v2/members/{}{query}", find(&api, &member)?))?;
            shared.report(&format!("{member} is removed."));
        }
    }
    Ok(())
}

/// The id of a member who is named by id or email.
///
/// # Errors
/// No member has this email.
pub fn find(api: &Api, named: &str) -> Result<String, Failure> {
    if !named.contains('@') {
        return Ok(named.to_owned());
    }
    let wanted = named.trim().to_lowercase();
    let members = api.get_all("/v2/members")?;
    let found = members.iter().find(|row| field(row, "email") == wanted);
    found.map(|row| field(row, "id")).ok_or_else(|| {
        Failure::new(output::NOT_FOUND, format!("There is no member {named} in this workspace."))
            .fix("`tidegate member list` lists them.")
    })
}
