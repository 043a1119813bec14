//! `/v2/members`: the people of a workspace and their roles.

use std::sync::Arc;

use api::access::{Access, insufficient_role};
use api::failure::{invalid, missing};
use api::limits::{EMAIL_BYTES_MAX, NAME_CHARS_MAX};
use api::moment::Moment;
use api::openapi::bounds::{EMAIL, NAME};
use api::openapi::description::Nothing;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::limits::{INVITATION_TIME_MAX, LINK_TIME_MAX};
use domain::{Fault, MemberId, Role};
use http::Method;
use reconcilers::{milliseconds, of_store};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{Act, Invitation, KeysOnLeave, LinkRow, MemberRow, Page as StorePage, PersonRow};

use super::me::checked_email;
use super::workspaces::checked_name;
use crate::owner::mint_link;

const PATH: &str = "/v2/members";
const ONE: &str = "/v2/members/{id}";
/// The query parameter that decides about the API keys a removed member created.
const KEYS: &str = "keys";

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::POST, PATH, Access::MANAGE, invite)
            .says("Invites a person. The link is only in this response. A person who uses the email in another workspace is not revealed until they join.")
            .takes::<Input>()
            .makes::<Invited>()
            .refuses(409, "already_member"),
        Route::new(Method::GET, PATH, Access::LOOK, list)
            .says("Lists the workspace's people.")
            .lists::<MemberView>(),
        Route::new(Method::GET, ONE, Access::LOOK, get).says("Shows a member.").returns::<MemberView>(),
        Route::new(Method::PATCH, ONE, Access::MANAGE, change)
            .says("Changes a member's role.")
            .patches::<Change>()
            .returns::<MemberView>()
            .refuses(409, "last_owner"),
        Route::new(Method::DELETE, ONE, Access::MANAGE, remove)
            .says("Removes a member. Their sessions and device keys end at once. The API keys that they created are kept or revoked.")
            .query(KEYS, "What happens to the API keys that they created, directly or with a key of theirs. Without it, the response is 409 if any of them is active.")
            .one_of(KEYS, &["keep", "revoke"])
            .returns_no_content()
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
struct Input {
    #[schemars(required)]
    #[schemars(email, length(max = EMAIL_BYTES_MAX), regex(pattern = EMAIL))]
    email: Option<String>,
    #[schemars(length(min = 1, max = NAME_CHARS_MAX), regex(pattern = NAME))]
    name: Option<String>,
    #[schemars(required, extend("enum" = ["owner", "admin", "developer", "billing", "viewer"]))]
    role: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Member")]
struct MemberView {
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
        invalid("role", format!("\"{name}\" is no role."), "Use owner, admin, developer, billing or viewer.")
    })
}

/// Nobody can add, change or sign in a member with more rights than their own.
fn within_rank(request: &ApiRequest, role: Role) -> Result<(), Box<Fault>> {
    let rank = request.caller.rank();
    if rank.covers(role) { Ok(()) } else { Err(insufficient_role(role.as_str(), rank)) }
}

fn invite(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(async move {
        let input: Input = request.json()?;
        let email = input.email.ok_or_else(|| missing("email", "Give the email that they sign in with."))?;
        let email = checked_email(&email)?;
        let role = checked_role(input.role.as_deref())?;
        let first =
            role == Role::Owner && request.caller.key().is_some() && !has_owner(control, &request).await?;
        // In a workspace without an owner, an admin key may appoint the first.
        if !first {
            within_rank(&request, role)?;
        }
        let name = match input.name {
            Some(name) => checked_name(Some(name), "name")?,
            None => email.split('@').next().unwrap_or_default().to_owned(),
        };
        let act = request.act(&control.deps.world);
        let (path, digest) = mint_link(&control.deps.vault, &control.deps.world);
        let expires_unix_ms = act.unix_ms.saturating_add(milliseconds(INVITATION_TIME_MAX));
        let invitation = Invitation {
            workspace: request.workspace(),
            role,
            person: PersonRow {
                id: MemberId::new(act.unix_ms, control.deps.world.id_bytes()),
                email,
                name,
                password_hash: None,
                created_unix_ms: act.unix_ms,
                version: 0,
            },
            accepted_unix_ms: None,
            link: Some((digest, expires_unix_ms)),
        };
        let written = control.deps.store.people().invite(invitation, act).await.map_err(of_store)?;
        let view = Invited {
            member: show(&written.row),
            invite_link: format!("{}{path}", control.web.site.base_url(&request.headers)),
            invite_expires_at: Moment(expires_unix_ms),
        };
        let location = format!("{PATH}/{}", written.row.person.id);
        Ok(Reply::json(&view)?.version(written.row.version).created(location))
    })
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

fn list(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(async move {
        let listed =
            control.deps.store.people().list(request.workspace(), request.page()?).await.map_err(of_store)?;
        Reply::json(&request.paged(listed, show))
    })
}

async fn load(control: &Control, request: &ApiRequest) -> Result<MemberRow, Box<Fault>> {
    control.deps.store.people().get(request.workspace(), request.id("member")?).await.map_err(of_store)
}

fn get(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(async move {
        let row = load(control, &request).await?;
        Ok(Reply::json(&show(&row))?.version(row.version))
    })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Role")]
struct Change {
    #[schemars(extend("enum" = ["owner", "admin", "developer", "billing", "viewer"]))]
    role: Option<String>,
}

fn change(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(async move {
        let row = load(control, &request).await?;
        let changed: Change = request.patched(json!({"role": row.role.as_str()}))?;
        let role = checked_role(changed.role.as_deref())?;
        within_rank(&request, row.role)?;
        within_rank(&request, role)?;
        let act = request.act(&control.deps.world);
        let set = control.deps.store.people().set_role(
            request.workspace(),
            row.person.id,
            role,
            request.if_match()?,
            act,
        );
        let written = set.await.map_err(of_store)?;
        control.deps.await_published(written.version).await?;
        Ok(Reply::json(&show(&written.row))?.version(written.row.version))
    })
}

fn remove(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(async move {
        let row = load(control, &request).await?;
        within_rank(&request, row.role)?;
        let keys = made_keys(&request)?;
        let act = request.act(&control.deps.world);
        let removed = control.deps.store.people().remove(
            request.workspace(),
            row.person.id,
            keys,
            request.if_match()?,
            act,
        );
        let removed = removed.await.map_err(|error| with_keys_param(of_store(error)))?;
        control.deps.await_published(removed.version).await?;
        Ok(Reply::no_content())
    })
}

fn made_keys(request: &ApiRequest) -> Result<KeysOnLeave, Box<Fault>> {
    match request.query.get(KEYS).map(String::as_str) {
        None => Ok(KeysOnLeave::Ask),
        Some("keep") => Ok(KeysOnLeave::Keep),
        Some("revoke") => Ok(KeysOnLeave::Revoke),
        Some(other) => {
            Err(invalid(KEYS, format!("\"{other}\" is nothing that can be done with keys."), KEYS_FIX))
        }
    }
}

const KEYS_FIX: &str = "Say `?keys=revoke` to end them, or `?keys=keep` where programs still need them.";

/// Adds to the refusal which parameter the client must send.
fn with_keys_param(fault: Box<Fault>) -> Box<Fault> {
    if fault.code == "member_has_keys" { Box::new(fault.param(KEYS).fix(KEYS_FIX)) } else { fault }
}

/// A sign-in link for a person who has no password, or lost it or the invitation.
fn link(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(async move {
        let Nothing {} = request.json()?;
        let row = load(control, &request).await?;
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
        Ok(Reply::json(&view)?.created(format!("{PATH}/{}", row.person.id)))
    })
}
