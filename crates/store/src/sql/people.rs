//! SQL for people and their memberships.

use database::act::{Act, Written};
use database::connection::Connection;
use database::error::{StoreError, StoreFuture};
use database::feed::Part;
use database::fields::{ColumnId, Fields, signed};
use database::handle::Database;
use database::statement::{Row, sql};
use database::writing::{Writing, expect_version};
use domain::{MemberId, Role, WorkspaceId};

use crate::limits::PEOPLE_OF_ADDRESS_MAX;
use crate::people::{Invitation, KeysOnLeave, MemberRow, Membership, People, PersonRow};
use crate::sign_ins::{LinkRow, SignInRow};
use crate::sql::resource::{self, ColumnValues, Table};
use crate::sql::{api_keys, devices, sign_ins};

const WHAT: &str = "member";

pub(super) fn read(row: &Row) -> Result<PersonRow, StoreError> {
    let fields = Fields::new("people", row);
    Ok(PersonRow {
        id: fields.id("id")?,
        email: match fields.maybe_text("address")? {
            Some(address) => address,
            None => fields.text("email")?,
        },
        name: fields.text("name")?,
        password_hash: fields.maybe_text("password_hash")?,
        created_unix_ms: fields.number("created_unix_ms")?,
        version: fields.number("version")?,
    })
}

fn role(fields: &Fields<'_>) -> Result<Role, StoreError> {
    let text: &str = fields.get("role")?;
    text.parse().map_err(|()| StoreError::corrupt("memberships", format!("{text} isn't a role")))
}

pub(super) async fn person(
    connection: &mut Connection,
    id: MemberId,
) -> Result<Option<PersonRow>, StoreError> {
    let query = sql("SELECT * FROM people WHERE id = $1").bind(id.bytes());
    query.row(connection).await?.as_ref().map(read).transpose()
}

async fn by_email(connection: &mut Connection, email: &str) -> Result<Vec<PersonRow>, StoreError> {
    let query =
        sql("SELECT * FROM people WHERE email = $1 OR address = $1 ORDER BY created_unix_ms, id LIMIT $2");
    let query = query.bind(email.to_owned()).bind(PEOPLE_OF_ADDRESS_MAX);
    query.rows(connection).await?.iter().map(read).collect()
}

/// The stored form of an email: a unique login name and, if another person has that address already, the
/// address separately.
async fn kept_email(
    writing: &mut Writing,
    email: &str,
    person: MemberId,
) -> Result<(String, Option<String>), StoreError> {
    let query = sql("SELECT 1 AS held FROM people WHERE email = $1 AND id <> $2");
    let query = query.bind(email.to_owned()).bind(person.bytes());
    let is_taken = query.row(writing.connection()).await?.is_some();
    // An address contains no space, so this can't collide.
    Ok(if is_taken {
        (format!("{email} {person}"), Some(email.to_owned()))
    } else {
        (email.to_owned(), None)
    })
}

/// Another member, or invitee, of one of these workspaces who has this email.
async fn fellow(
    writing: &mut Writing,
    email: &str,
    person: MemberId,
    workspaces: &[WorkspaceId],
) -> Result<Option<MemberId>, StoreError> {
    for workspace in workspaces {
        let query = sql("SELECT people.id FROM memberships JOIN people ON people.id = memberships.person
             WHERE workspace = $1 AND (email = $2 OR address = $2) AND people.id <> $3");
        let query = query.bind(workspace.bytes()).bind(email.to_owned()).bind(person.bytes());
        if let Some(row) = query.row(writing.connection()).await? {
            return Fields::new("people", &row).id("id").map(Some);
        }
    }
    Ok(None)
}

pub(super) async fn memberships(
    connection: &mut Connection,
    person: MemberId,
) -> Result<Vec<Membership>, StoreError> {
    let query = sql(
        "SELECT memberships.workspace, workspaces.name, memberships.role FROM memberships
         JOIN workspaces ON workspaces.id = memberships.workspace
         WHERE person = $1 AND accepted_unix_ms IS NOT NULL ORDER BY accepted_unix_ms, memberships.workspace",
    );
    let rows = query.bind(person.bytes()).rows(connection).await?;
    let read = |row| {
        let fields = Fields::new("memberships", row);
        Ok(Membership {
            workspace: fields.id("workspace")?,
            name: fields.text("name")?,
            role: role(&fields)?,
        })
    };
    rows.iter().map(read).collect()
}

async fn insert_person(writing: &mut Writing, row: &mut PersonRow) -> Result<(), StoreError> {
    row.version = writing.version();
    let (email, address) = kept_email(writing, &row.email, row.id).await?;
    let query = sql("INSERT INTO people (id, email, address, name, password_hash, created_unix_ms, version)
         VALUES ($1, $2, $3, $4, $5, $6, $7)");
    query
        .bind(row.id.bytes())
        .bind(email)
        .bind(address)
        .bind(&row.name)
        .bind(&row.password_hash)
        .bind(signed(row.created_unix_ms))
        .bind(signed(row.version))
        .run(writing.connection())
        .await?;
    Ok(())
}

impl Table for MemberRow {
    const NAME: &'static str = "memberships";
    const WHAT: &'static str = WHAT;
    const ID: &'static str = "person";
    const CREATION: &'static str = "invite";
    const PART: Part = Part::Other;

    fn select() -> String {
        "SELECT people.*, workspace, role, accepted_unix_ms, memberships.created_unix_ms AS member_unix_ms,
         memberships.version AS member_version FROM memberships JOIN people ON people.id = memberships.person"
            .to_owned()
    }

    fn read(row: &Row) -> Result<Self, StoreError> {
        let fields = Fields::new(Self::NAME, row);
        let person = read(row)?;
        Ok(Self {
            workspace: fields.id("workspace")?,
            role: role(&fields)?,
            accepted_unix_ms: fields.maybe_number("accepted_unix_ms")?,
            created_unix_ms: fields.number("member_unix_ms")?,
            version: fields.number("member_version")?.max(person.version),
            person,
        })
    }

    fn columns(&self, columns: ColumnValues) -> Result<ColumnValues, StoreError> {
        Ok(columns
            .fix("workspace", self.workspace.bytes())
            .fix("person", self.person.id.bytes())
            .set("role", self.role.as_str())
            .fix("accepted_unix_ms", self.accepted_unix_ms.map(signed))
            .fix("created_unix_ms", signed(self.created_unix_ms))
            .set("version", signed(self.version)))
    }

    async fn prepare(writing: &mut Writing, new: &mut Invitation, act: &Act) -> Result<(), StoreError> {
        let MemberRow { workspace, person, created_unix_ms, .. } = &mut new.member;
        let member = match resource::require::<Self>(writing.connection(), *workspace, person.id).await {
            Ok(()) => Some(person.id),
            Err(StoreError::NotFound { .. }) => {
                fellow(writing, &person.email, person.id, &[*workspace]).await?
            }
            Err(error) => return Err(error),
        };
        if let Some(fellow) = member {
            let detail = "a member of this workspace, or one who is invited, has this email already";
            return Err(StoreError::conflict("already_member", detail, Some(fellow.to_string())));
        }
        match self::person(writing.connection(), person.id).await? {
            Some(known) => *person = known,
            None => insert_person(writing, person).await?,
        }
        *created_unix_ms = act.unix_ms;
        Ok(())
    }

    async fn follow_creation(
        writing: &mut Writing,
        Invitation { member, link }: &Invitation,
        act: &Act,
    ) -> Result<(), StoreError> {
        let Some((digest, expires_unix_ms)) = *link else { return Ok(()) };
        let (person, workspace) = (member.person.id, Some(member.workspace));
        let link = LinkRow { digest, person, workspace, expires_unix_ms };
        sign_ins::insert_link(writing, &link, act.unix_ms).await
    }

    async fn merge(writing: &mut Writing, old: &Self, row: Self) -> Result<Self, StoreError> {
        if row.role != old.role {
            refuse_last_owner(writing, old).await?;
        }
        Ok(Self { role: row.role, ..old.clone() })
    }

    fn is_same(&self, old: &Self) -> bool {
        self.role == old.role
    }

    async fn follow_change(
        writing: &mut Writing,
        old: &Self,
        row: &Self,
        act: &Act,
    ) -> Result<String, StoreError> {
        let keys = devices::end_keys(writing, row.workspace, row.person.id, act).await?;
        Ok(format!("from {} to {}, {keys} keys of devices revoked", old.role, row.role))
    }

    async fn end(writing: &mut Writing, old: Self, act: &Act) -> Result<Self, StoreError> {
        remove(writing, &old, KeysOnLeave::Ask, act).await?;
        Ok(old)
    }

    fn audit_detail(&self) -> String {
        format!("as {}", self.role)
    }
}

/// A workspace without an owner could not be managed.
async fn refuse_last_owner(writing: &mut Writing, member: &MemberRow) -> Result<(), StoreError> {
    if member.role != Role::Owner || member.accepted_unix_ms.is_none() {
        return Ok(());
    }
    let query = sql(
        "SELECT COUNT(*) AS held FROM memberships WHERE workspace = $1 AND role = 'owner' AND accepted_unix_ms IS NOT NULL",
    );
    let query = query.bind(member.workspace.bytes());
    let row = query.one(writing.connection()).await?;
    let owners = Fields::new("memberships", &row).number("held")?;
    if owners > 1 {
        return Ok(());
    }
    let detail = "this is the workspace's last owner; make another member an owner first";
    Err(StoreError::conflict("last_owner", detail, None))
}

async fn remove(
    writing: &mut Writing,
    old: &MemberRow,
    made: KeysOnLeave,
    act: &Act,
) -> Result<(), StoreError> {
    refuse_last_owner(writing, old).await?;
    let (workspace, id) = (old.workspace, old.person.id);
    let keys = devices::end_keys(writing, workspace, id, act).await?;
    let became = api_keys::after_leaving(writing, workspace, id, made, act).await?;
    for statement in [
        "DELETE FROM memberships WHERE workspace = $1 AND person = $2",
        "DELETE FROM sign_in_links WHERE workspace = $1 AND person = $2",
        "DELETE FROM devices WHERE workspace = $1 AND person = $2",
    ] {
        let query = sql(statement).bind(workspace.bytes()).bind(id.bytes());
        query.run(writing.connection()).await?;
    }
    // Their sessions and links are deleted too. A person left with invitations only has no reason to be
    // signed in.
    for statement in [
        "DELETE FROM people WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM memberships WHERE person = $1)",
        "DELETE FROM sign_ins WHERE person = $1
             AND NOT EXISTS (SELECT 1 FROM memberships WHERE person = $1 AND accepted_unix_ms IS NOT NULL)",
    ] {
        let query = sql(statement).bind(id.bytes());
        query.run(writing.connection()).await?;
    }
    writing.announce(Part::Other, Some(workspace), id);
    let detail = format!("was {}, {keys} keys of devices revoked{became}", old.role);
    writing.audit(act, Some(workspace), "member.remove", id, detail).await
}

async fn set_email(writing: &mut Writing, person: MemberId, wanted: &str) -> Result<(), StoreError> {
    let query = sql("SELECT workspace FROM memberships WHERE person = $1").bind(person.bytes());
    let rows = query.rows(writing.connection()).await?;
    let workspaces = rows.iter().map(|row| Fields::new("memberships", row).id("workspace"));
    let workspaces: Vec<_> = workspaces.collect::<Result<_, _>>()?;
    if fellow(writing, wanted, person, &workspaces).await?.is_some() {
        let detail = "another member of one of your workspaces has this email";
        return Err(StoreError::conflict("email_taken", detail, None));
    }
    let (email, address) = kept_email(writing, wanted, person).await?;
    let query = sql("UPDATE people SET email = $2, address = $3 WHERE id = $1").bind(person.bytes());
    query.bind(email).bind(address).run(writing.connection()).await.map(|_| ())
}

async fn rename(
    writing: &mut Writing,
    wanted: PersonRow,
    workspace: WorkspaceId,
    act: Act,
) -> Result<PersonRow, StoreError> {
    let Some(old) = person(writing.connection(), wanted.id).await? else {
        return Err(StoreError::NotFound { what: WHAT });
    };
    if wanted.email != old.email {
        set_email(writing, old.id, &wanted.email).await?;
    }
    let version = writing.version();
    sql("UPDATE people SET name = $2, version = $3 WHERE id = $1")
        .bind(old.id.bytes())
        .bind(&wanted.name)
        .bind(signed(version))
        .run(writing.connection())
        .await?;
    writing.announce(Part::Other, None, old.id);
    writing.audit(&act, Some(workspace), "member.rename", old.id, String::new()).await?;
    Ok(PersonRow { email: wanted.email, name: wanted.name, version, ..old })
}

async fn set_password(
    writing: &mut Writing,
    hash: String,
    fresh: SignInRow,
    workspace: WorkspaceId,
    act: Act,
) -> Result<(), StoreError> {
    let version = writing.version();
    let updated = sql("UPDATE people SET password_hash = $2, version = $3 WHERE id = $1")
        .bind(fresh.person.bytes())
        .bind(hash)
        .bind(signed(version))
        .run(writing.connection())
        .await?;
    if updated == 0 {
        return Err(StoreError::NotFound { what: WHAT });
    }
    for statement in ["DELETE FROM sign_ins WHERE person = $1", "DELETE FROM sign_in_links WHERE person = $1"]
    {
        let query = sql(statement).bind(fresh.person.bytes());
        query.run(writing.connection()).await?;
    }
    sign_ins::insert(writing, &fresh).await?;
    writing.announce(Part::Other, None, fresh.person);
    let detail = "every other session has ended".to_owned();
    writing.audit(&act, Some(workspace), "member.set_password", fresh.person, detail).await
}

/// Whether another workspace knows this person: a link of `workspace` can't sign in another workspace's
/// member.
pub(super) async fn is_known_elsewhere(
    writing: &mut Writing,
    person: MemberId,
    workspace: WorkspaceId,
) -> Result<bool, StoreError> {
    let query = sql("SELECT COUNT(*) AS held FROM memberships
         WHERE person = $1 AND workspace <> $2 AND accepted_unix_ms IS NOT NULL");
    let query = query.bind(person.bytes()).bind(workspace.bytes());
    let row = query.one(writing.connection()).await?;
    Ok(Fields::new("memberships", &row).number("held")? > 0)
}

/// Other people who sign in with this person's address.
pub(super) async fn namesakes(writing: &mut Writing, person: MemberId) -> Result<Vec<MemberId>, StoreError> {
    let Some(own) = self::person(writing.connection(), person).await? else { return Ok(Vec::new()) };
    let query = sql("SELECT id FROM people WHERE (email = $1 OR address = $1) AND id <> $2 AND EXISTS
             (SELECT 1 FROM memberships WHERE person = people.id AND accepted_unix_ms IS NOT NULL)");
    let rows = query.bind(own.email).bind(person.bytes()).rows(writing.connection()).await?;
    rows.iter().map(|row| Fields::new("people", row).id("id")).collect()
}

/// Moves an invitation to a person already known under its address; the person created for it is deleted.
pub(super) async fn take_over(
    writing: &mut Writing,
    workspace: WorkspaceId,
    from: MemberId,
    to: MemberId,
) -> Result<(), StoreError> {
    let version = signed(writing.version());
    sql("UPDATE memberships SET person = $3, version = $4 WHERE workspace = $1 AND person = $2")
        .bind(workspace.bytes())
        .bind(from.bytes())
        .bind(to.bytes())
        .bind(version)
        .run(writing.connection())
        .await?;
    let query =
        sql("DELETE FROM people WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM memberships WHERE person = $1)");
    query.bind(from.bytes()).run(writing.connection()).await?;
    writing.announce(Part::Other, Some(workspace), to);
    Ok(())
}

/// Returns whether there was an invitation to accept.
pub(super) async fn accept(
    writing: &mut Writing,
    person: MemberId,
    workspace: WorkspaceId,
    unix_ms: u64,
) -> Result<bool, StoreError> {
    let query = sql("UPDATE memberships SET accepted_unix_ms = $3
         WHERE person = $1 AND workspace = $2 AND accepted_unix_ms IS NULL");
    let query = query.bind(person.bytes()).bind(workspace.bytes()).bind(signed(unix_ms));
    let updated = query.run(writing.connection()).await?;
    Ok(updated > 0)
}

impl People for Database {
    fn by_email(&self, email: String) -> StoreFuture<'_, Vec<PersonRow>> {
        Box::pin(async move { by_email(&mut self.read().await?, &email).await })
    }

    fn memberships(&self, person: MemberId) -> StoreFuture<'_, Vec<Membership>> {
        Box::pin(async move { memberships(&mut self.read().await?, person).await })
    }

    fn remove(
        &self,
        workspace: WorkspaceId,
        id: MemberId,
        keys: KeysOnLeave,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, Written<()>> {
        Box::pin(self.write(move |writing| {
            Box::pin(async move {
                let old = resource::find::<MemberRow>(writing.connection(), workspace, id).await?;
                expect_version(WHAT, expected, old.version)?;
                remove(writing, &old, keys, &act).await
            })
        }))
    }

    fn rename(
        &self,
        person: PersonRow,
        workspace: WorkspaceId,
        act: Act,
    ) -> StoreFuture<'_, Written<PersonRow>> {
        Box::pin(self.write(move |writing| Box::pin(rename(writing, person, workspace, act))))
    }

    fn set_password(
        &self,
        hash: String,
        fresh: SignInRow,
        workspace: WorkspaceId,
        act: Act,
    ) -> StoreFuture<'_, Written<()>> {
        Box::pin(self.write(move |writing| Box::pin(set_password(writing, hash, fresh, workspace, act))))
    }

    fn add_link(&self, link: LinkRow, workspace: WorkspaceId, act: Act) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let work = self.write(move |writing| {
                Box::pin(async move {
                    sign_ins::insert_link(writing, &link, act.unix_ms).await?;
                    writing.audit(&act, Some(workspace), "sign_in.link", link.person, String::new()).await
                })
            });
            work.await.map(|written| written.row)
        })
    }
}
