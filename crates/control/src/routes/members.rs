//! `/v2/members`: the people of a workspace and their roles.

use std::sync::Arc;

use api::access::{Access, insufficient_role};
use api::failure::{invalid, missing};
use api::limits::{EMAIL_BYTES_MAX, NAME_CHARS_MAX};
use api::moment::Moment;
use api::names::checked_name;
use api::openapi::bounds::{EMAIL, NAME};
use api::openapi::description::Nothing;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::limits::{INVITATION_TIME_MAX, LINK_TIME_MAX};
use domain::{Fault, MemberId, Role};
use http::Method;
use people::{checked_email, mint_link};
use reconcilers::{milliseconds, of_store};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{Act, Invitation, KeysOnLeave, LinkRow, MemberRow, Page as StorePage, PersonRow};

use crate::resource::{Resource, WritableResource, delete, get, list, load, patch, post, reply};

/// The query parameter that decides about the API keys a removed member created.
const KEYS: &str = "keys";

pub fn routes() -> Vec<Route> {
    vec![
        post::<MemberRow>("Invites a person. The link is only in this response. A person who uses the email in another workspace is not revealed until they join.")
            .makes::<Invited>()
            .refuses(409, "already_member"),
        list::<MemberRow>("Lists the workspace's people."),
        get::<MemberRow>("Shows a member."),
        patch::<MemberRow>("Changes a member's role.").refuses(409, "last_owner"),
        delete::<MemberRow>("Removes a member. Their sessions and device keys end immediately. The API keys that they created are kept or revoked.")
            .query(KEYS, "What happens to the API keys that they created, directly or with a key of theirs. Without it, the response is 409 if any of them is active.")
            .one_of(KEYS, &["keep", "revoke"])
            .refuses(409, "last_owner")
            .refuses(409, "member_has_keys"),
        Route::new(Method::POST, "/v2/members/{id}/link", Access::MANAGE, link)
            .says("Creates a link that signs a member in.")
            .takes_nothing()
            .makes::<SignInLink>(),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Member")]
pub struct Input {
    #[schemars(required)]
    #[schemars(length(max = EMAIL_BYTES_MAX), regex(pattern = EMAIL))]
    email: Option<String>,
    #[schemars(length(min = 1, max = NAME_CHARS_MAX), regex(pattern = NAME))]
    name: Option<String>,
    #[schemars(required, extend("enum" = ["owner", "admin", "developer", "billing", "viewer"]))]
    role: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Member")]
pub struct MemberView {
    id: String,
    object: &'static str,
    workspace_id: String,
    email: String,
    name: String,
    role: &'static str,
    #[schemars(extend("enum" = ["active", "invited"]))]
    status: &'static str,
    joined_at: Option<Moment>,
    created_at: Moment,
}

/// An invited member, with the invitation link.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "InvitedMember")]
struct Invited {
    #[serde(flatten)]
    member: MemberView,
    invite_link: String,
    invite_expires_at: Moment,
}

#[derive(Serialize, JsonSchema)]
struct SignInLink {
    object: &'static str,
    member_id: String,
    sign_in_link: String,
    expires_at: Moment,
}

fn show(row: &MemberRow) -> MemberView {
    MemberView {
        id: row.person.id.to_string(),
        object: "member",
        workspace_id: row.workspace.to_string(),
        email: row.person.email.clone(),
        name: row.person.name.clone(),
        role: row.role.as_str(),
        status: if row.accepted_unix_ms.is_some() { "active" } else { "invited" },
        joined_at: row.accepted_unix_ms.map(Moment),
        created_at: Moment(row.created_unix_ms),
    }
}

fn checked_role(role: Option<&str>) -> Result<Role, Box<Fault>> {
    let name = role.ok_or_else(|| missing("role", "Give owner, admin, developer, billing or viewer."))?;
    name.parse().map_err(|()| {
        invalid(
            "role",
            format!("\"{name}\" isn't a role."),
            "Use owner, admin, developer, billing or viewer.",
        )
    })
}

/// Nobody can add, change or sign in a member with more rights than their own.
fn within_rank(request: &ApiRequest, role: Role) -> Result<(), Box<Fault>> {
    let rank = request.caller.rank();
    if rank.covers(role) { Ok(()) } else { Err(insufficient_role(role.as_str(), rank)) }
}

async fn has_owner(control: &Control, request: &ApiRequest) -> Result<bool, Box<Fault>> {
    let mut page = StorePage::default();
    loop {
        let listed = control.deps.store.people().list(request.workspace(), page).await.map_err(of_store)?;
        if listed.rows.iter().any(|row| row.role == Role::Owner) {
            return Ok(true);
        }
        let Some(after) = listed.next else { return Ok(false) };
        page = StorePage { after: Some(after), ..StorePage::default() };
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Role")]
pub struct Change {
    #[schemars(extend("enum" = ["owner", "admin", "developer", "billing", "viewer"]))]
    role: Option<String>,
}

/// The path of an invitation's link, and when it expires.
pub struct InvitationLink {
    path: String,
    expires_unix_ms: u64,
}

impl Resource for MemberRow {
    const PATH: &'static str = "/v2/members";
    const ONE: &'static str = "/v2/members/{id}";
    const WHAT: &'static str = "member";
    type View = MemberView;

    fn table(control: &Control) -> &dyn store::Resource<Self> {
        control.deps.store.people()
    }

    async fn view(&self, _: &Control) -> Result<MemberView, Box<Fault>> {
        Ok(show(self))
    }

    async fn delete(control: &Control, request: &ApiRequest) -> Result<u64, Box<Fault>> {
        let row: Self = load(control, request).await?;
        within_rank(request, row.role)?;
        let keys = made_keys(request)?;
        let act = request.act(&control.deps.world);
        let (people, expected) = (control.deps.store.people(), request.if_match()?);
        let removed = people.remove(row.workspace, row.person.id, keys, expected, act).await;
        removed.map(|written| written.version).map_err(|error| with_keys_param(of_store(error)))
    }
}

impl WritableResource for MemberRow {
    type Input = Input;
    type Update = Change;
    /// The link of an invitation.
    type Rest = Option<InvitationLink>;

    fn writable(&self, _: &Control) -> Result<Value, Box<Fault>> {
        Ok(json!({"role": self.role.as_str()}))
    }

    async fn new(
        control: &Control,
        request: &ApiRequest,
        input: Input,
    ) -> Result<(Invitation, Self::Rest), Box<Fault>> {
        let email = input.email.ok_or_else(|| missing("email", "Give the email that they sign in with."))?;
        let email = checked_email(&email)?;
        let role = checked_role(input.role.as_deref())?;
        let first =
            role == Role::Owner && request.caller.key().is_some() && !has_owner(control, request).await?;
        // In a workspace without an owner, an admin key may appoint the first.
        if !first {
            within_rank(request, role)?;
        }
        let name = match input.name {
            Some(name) => checked_name(Some(name), "name")?,
            None => email.split('@').next().unwrap_or_default().to_owned(),
        };
        let now = control.deps.world.clock.unix_ms();
        let id = MemberId::new(now, control.deps.world.id_bytes());
        let person = PersonRow { id, email, name, password_hash: None, created_unix_ms: now, version: 0 };
        let (path, digest) = mint_link(&control.deps.vault, &control.deps.world);
        let expires_unix_ms = now.saturating_add(milliseconds(INVITATION_TIME_MAX));
        let member = Self {
            person,
            workspace: request.workspace(),
            role,
            accepted_unix_ms: None,
            created_unix_ms: now,
            version: 0,
        };
        let invitation = Invitation { member, link: Some((digest, expires_unix_ms)) };
        Ok((invitation, Some(InvitationLink { path, expires_unix_ms })))
    }

    async fn change(
        self,
        _: &Control,
        request: &ApiRequest,
        change: Change,
    ) -> Result<(Self, Self::Rest), Box<Fault>> {
        let role = checked_role(change.role.as_deref())?;
        within_rank(request, self.role)?;
        within_rank(request, role)?;
        Ok((Self { role, ..self }, None))
    }

    async fn finish(
        self,
        control: &Arc<Control>,
        request: &ApiRequest,
        link: Self::Rest,
    ) -> Result<Reply, Box<Fault>> {
        let Some(InvitationLink { path, expires_unix_ms }) = link else { return reply(control, self).await };
        let view = Invited {
            member: show(&self),
            invite_link: format!("{}{path}", control.web.site.base_url(&request.headers)),
            invite_expires_at: Moment(expires_unix_ms),
        };
        Ok(Reply::json(&view)?.version(self.version))
    }
}

fn made_keys(request: &ApiRequest) -> Result<KeysOnLeave, Box<Fault>> {
    match request.query.get(KEYS).map(String::as_str) {
        None => Ok(KeysOnLeave::Ask),
        Some("keep") => Ok(KeysOnLeave::Keep),
        Some("revoke") => Ok(KeysOnLeave::Revoke),
        Some(other) => Err(invalid(KEYS, format!("\"{other}\" isn't an action on keys."), KEYS_FIX)),
    }
}

const KEYS_FIX: &str = "Say `?keys=revoke` to end them, or `?keys=keep` where programs still need them.";

/// Adds to the refusal which parameter the client must send.
fn with_keys_param(fault: Box<Fault>) -> Box<Fault> {
    if fault.code == "member_has_keys" { Box::new(fault.param(KEYS).fix(KEYS_FIX)) } else { fault }
}

/// A sign-in link for a person who has no password, or lost it or the invitation.
async fn link(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let Nothing {} = request.json()?;
    let row: MemberRow = load(control, &request).await?;
    within_rank(&request, row.role)?;
    let (path, digest) = mint_link(&control.deps.vault, &control.deps.world);
    let act: Act = request.act(&control.deps.world);
    let time_max = if row.accepted_unix_ms.is_some() { LINK_TIME_MAX } else { INVITATION_TIME_MAX };
    let expires_unix_ms = act.unix_ms.saturating_add(milliseconds(time_max));
    // The operator may create links that sign in anybody of their workspace; others only people whom no
    // other workspace knows.
    let of_installation = request.is_operator() && row.accepted_unix_ms.is_some();
    let workspace = (!of_installation).then(|| request.workspace());
    let link = LinkRow { digest, person: row.person.id, workspace, expires_unix_ms };
    control.deps.store.people().add_link(link, request.workspace(), act).await.map_err(of_store)?;
    let view = SignInLink {
        object: "sign_in_link",
        member_id: row.person.id.to_string(),
        sign_in_link: format!("{}{path}", control.web.site.base_url(&request.headers)),
        expires_at: Moment(expires_unix_ms),
    };
    Ok(Reply::json(&view)?.as_created(format!("{}/{}", MemberRow::PATH, row.person.id)))
}
