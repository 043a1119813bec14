//! The first owner of an installation, and the links that sign people in without a password.

use api::tokens::{self, Kind};
use domain::limits::LINK_TIME_MAX;
use domain::{MemberId, Role, WorkspaceId};
use reconcilers::milliseconds;
use store::{Act, Invitation, LinkRow, MemberRow, Page, PersonRow, Store, StoreError, TokenDigest};
use vault::Vault;
use world::World;

/// The installation owner's email until a real one is set.
pub const OWNER_EMAIL: &str = "owner@localhost";

/// The operator's workspace, which is the oldest one: it is created with the installation and never deleted.
pub async fn operators_workspace(store: &Store) -> Result<WorkspaceId, StoreError> {
    let first = store.workspaces().list((), Page::first(1)).await?;
    first.rows.first().map(|row| row.id).ok_or(StoreError::NotFound { what: "workspace" })
}

/// The first owner of the operator's workspace, created without a password if there is none.
pub async fn first_owner(store: &Store, world: &World, email: &str) -> Result<MemberId, StoreError> {
    let workspace = operators_workspace(store).await?;
    if let Some(owner) = oldest_owner(store, workspace).await? {
        return Ok(owner);
    }
    let now = world.clock.unix_ms();
    let person = PersonRow {
        id: MemberId::new(now, world.id_bytes()),
        email: email.to_owned(),
        name: "Owner".to_owned(),
        password_hash: None,
        created_unix_ms: now,
        version: 0,
    };
    let member = MemberRow {
        person,
        workspace,
        role: Role::Owner,
        accepted_unix_ms: Some(now),
        created_unix_ms: now,
        version: 0,
    };
    let invitation = Invitation { member, link: None };
    match store.people().create(invitation, Act::system(world)).await {
        Ok(made) => Ok(made.row.person.id),
        // Another gateway that starts on the same database may have created them meanwhile.
        Err(error) => oldest_owner(store, workspace).await?.ok_or(error),
    }
}

async fn oldest_owner(store: &Store, workspace: WorkspaceId) -> Result<Option<MemberId>, StoreError> {
    let mut page = Page::default();
    loop {
        let listed = store.people().list(workspace, page).await?;
        let owner = listed.rows.iter().find(|row| row.role == Role::Owner && row.accepted_unix_ms.is_some());
        match (owner, listed.next) {
            (Some(owner), _) => return Ok(Some(owner.person.id)),
            (None, Some(after)) => page = Page { after: Some(after), ..Page::default() },
            (None, None) => return Ok(None),
        }
    }
}

/// A single-use, short-lived link that signs in the first owner, as a path to append to the gateway's
/// address.
pub async fn owners_link(
    store: &Store,
    vault: &Vault,
    world: &World,
    email: &str,
) -> Result<String, StoreError> {
    let person = first_owner(store, world, email).await?;
    let workspace = operators_workspace(store).await?;
    let (path, digest) = mint_link(vault, world);
    let act = Act::system(world);
    let expires_unix_ms = act.unix_ms.saturating_add(milliseconds(LINK_TIME_MAX));
    let link = LinkRow { digest, person, workspace: None, expires_unix_ms };
    store.people().add_link(link, workspace, act).await.map(|()| path)
}

/// A new link: the path to append to the gateway's address, and the digest that is stored.
pub fn mint_link(vault: &Vault, world: &World) -> (String, TokenDigest) {
    let token = tokens::mint(&*world.random);
    let text = token.expose_text().unwrap_or_default();
    // The token is in the fragment, which browsers never send to a server, so it appears in no log.
    (format!("/sign-in#token={text}"), tokens::digest(&*vault.hasher, Kind::Link, text))
}
