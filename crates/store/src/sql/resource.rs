//! SQL for resources: the statements that list, read, write and delete them, with the version check, the feed
//! and the audit, written once over what each table has.

use std::future::{Future, ready};

use database::act::{Act, Written};
use database::connection::Connection;
use database::error::{StoreError, StoreFuture};
use database::feed::Part;
use database::fields::{ColumnId, Fields, after, signed};
use database::handle::Database;
use database::page::{Listed, Page};
use database::statement::{Row, Statement, Value, compose};
use database::writing::{Writing, expect_version};
use domain::WorkspaceId;

use crate::credentials::SealedSecret;
use crate::resource::{Carries, Owner, Resource, ResourceRow};

/// The table of a resource, and what is particular about it.
pub(super) trait Table: ResourceRow<Id: ColumnId> {
    const NAME: &'static str;
    /// What people call one row.
    const WHAT: &'static str;
    /// The column of the row's id.
    const ID: &'static str = "id";
    /// What the audit calls one row.
    const NOUN: &'static str = Self::WHAT;
    /// What the audit calls the creation of one.
    const CREATION: &'static str = "create";
    /// The part of a snapshot that a new row touches.
    const PART: Part = Part::Workspace;
    /// The part that a changed or deleted row touches.
    const PART_OF_CHANGES: Part = Self::PART;
    /// A condition that leaves out rows which are none of the resource.
    const EXCEPT: &'static str = "";

    /// Selects rows with what `read` needs, before any condition.
    fn select() -> String {
        format!("SELECT * FROM {}", Self::NAME)
    }

    fn read(row: &Row) -> Result<Self, StoreError>;

    /// The columns of the row, in the order of its statements.
    fn columns(&self, columns: ColumnValues) -> Result<ColumnValues, StoreError>;

    /// The workspace that the feed and the audit name.
    fn scope(&self) -> Option<WorkspaceId> {
        self.owner().workspace()
    }

    /// Adds what other tables hold of the rows.
    fn load(_: &mut Connection, _: &mut [Self]) -> impl Future<Output = Result<(), StoreError>> + Send {
        ready(Ok(()))
    }

    /// Completes a new row, or refuses it.
    fn prepare(
        _: &mut Writing,
        _: &mut Self::New,
        _: &Act,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        ready(Ok(()))
    }

    /// Writes what belongs to a new row.
    fn follow_creation(
        _: &mut Writing,
        _: &Self::New,
        _: &Act,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        ready(Ok(()))
    }

    /// The row that a change makes of the present one, or the refusal.
    fn merge(
        writing: &mut Writing,
        old: &Self,
        change: Self::Change,
    ) -> impl Future<Output = Result<Self, StoreError>> + Send;

    /// Whether a change leaves the row as it was, so that nothing is written.
    fn is_same(&self, _: &Self) -> bool {
        false
    }

    /// Writes a changed row.
    fn overwrite(writing: &mut Writing, row: &Self) -> impl Future<Output = Result<(), StoreError>> + Send {
        update(writing, row)
    }

    /// Writes what belongs to a changed row, beside the old one; returns what the audit says of the change.
    fn follow_change(
        _: &mut Writing,
        _: &Self,
        row: &Self,
        _: &Act,
    ) -> impl Future<Output = Result<String, StoreError>> + Send {
        ready(Ok(row.audit_detail()))
    }

    /// Deletes what belongs to a row, or refuses.
    fn precede_deletion(_: &mut Writing, _: &Self) -> impl Future<Output = Result<(), StoreError>> + Send {
        ready(Ok(()))
    }

    /// Ends a row; returns it as it was or, where it stays, as it is.
    fn end(
        writing: &mut Writing,
        old: Self,
        act: &Act,
    ) -> impl Future<Output = Result<Self, StoreError>> + Send {
        delete_row(writing, old, act)
    }

    /// What the audit says of a change; `update` where it is an ordinary one.
    fn audit_verb(_: &Self::Change) -> &'static str {
        "update"
    }

    /// What the audit says of a row.
    fn audit_detail(&self) -> String;

    /// What the audit says of a creation.
    fn audit_creation(new: &Self::New) -> String {
        new.row().audit_detail()
    }
}

/// The columns of a row with their values, and whether they stay as they were first written.
#[derive(Default)]
pub(super) struct ColumnValues(Vec<(&'static str, Value, bool)>);

impl ColumnValues {
    /// A column that is written with the new row only.
    pub(super) fn fix(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.0.push((name, value.into(), true));
        self
    }

    /// The columns of a secret, NULL where there is none; its anti-rollback record is in another table.
    pub(super) fn secret(self, secret: Option<&SealedSecret>) -> Self {
        let sealed = secret.map(|secret| &secret.sealed);
        self.set("secret_version", sealed.map(|sealed| i64::from(sealed.version)))
            .set("secret_key_id", sealed.map(|sealed| &sealed.key_id))
            .set("secret_sealed", sealed.map(|sealed| &sealed.bytes))
            .set("fingerprint", secret.map(|secret| &secret.fingerprint))
    }

    pub(super) fn set(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.0.push((name, value.into(), false));
        self
    }
}

/// Inserts a row and enters it into the feed.
pub(super) async fn add<R: Table>(writing: &mut Writing, row: &R) -> Result<(), StoreError> {
    insert(writing, row).await?;
    writing.announce(R::PART, row.scope(), row.id());
    Ok(())
}

/// Overwrites a row and enters it into the feed.
pub(super) async fn put<R: Table>(writing: &mut Writing, row: &R) -> Result<(), StoreError> {
    R::overwrite(writing, row).await?;
    writing.announce(R::PART_OF_CHANGES, row.scope(), row.id());
    Ok(())
}

pub(super) async fn insert<R: Table>(writing: &mut Writing, row: &R) -> Result<(), StoreError> {
    let ColumnValues(columns) = row.columns(ColumnValues::default())?;
    let names: Vec<_> = columns.iter().map(|(name, ..)| *name).collect();
    let places: Vec<_> = (1..=columns.len()).map(|at| format!("${at}")).collect();
    let text = format!("INSERT INTO {} ({}) VALUES ({})", R::NAME, names.join(", "), places.join(", "));
    let values = columns.into_iter().map(|(_, value, _)| value);
    values.fold(compose(text), Statement::bind).run(writing.connection()).await.map(|_| ())
}

async fn update<R: Table>(writing: &mut Writing, row: &R) -> Result<(), StoreError> {
    let mut columns = row.columns(ColumnValues::default())?.0;
    columns.retain(|(.., is_fixed)| !is_fixed);
    let first = if row.owner().workspace().is_some() { 3 } else { 2 };
    let places = columns.iter().zip(first..).map(|((name, ..), at)| format!("{name} = ${at}"));
    let text = format!("UPDATE {} SET {}", R::NAME, places.collect::<Vec<_>>().join(", "));
    let values = columns.into_iter().map(|(_, value, _)| value);
    let query = values.fold(of_one::<R>(&text, row.owner(), row.id()), Statement::bind);
    query.run(writing.connection()).await.map(|_| ())
}

/// Deletes the row and inserts it: every column is written.
pub(super) async fn reinsert<R: Table>(writing: &mut Writing, row: &R) -> Result<(), StoreError> {
    remove::<R>(writing, row.owner(), row.id()).await?;
    insert(writing, row).await
}

pub(super) async fn remove<R: Table>(
    writing: &mut Writing,
    owner: R::Owner,
    id: R::Id,
) -> Result<(), StoreError> {
    let query = of_one::<R>(&format!("DELETE FROM {}", R::NAME), owner, id);
    query.run(writing.connection()).await.map(|_| ())
}

/// The statement for one row.
fn of_one<R: Table>(text: &str, owner: R::Owner, id: R::Id) -> Statement {
    let (table, key, except) = (R::NAME, R::ID, R::EXCEPT);
    match owner.workspace() {
        Some(workspace) => {
            compose(format!("{text} WHERE {table}.workspace = $1 AND {table}.{key} = $2{except}"))
                .bind(workspace.bytes())
                .bind(id.bytes())
        }
        None => compose(format!("{text} WHERE {table}.{key} = $1{except}")).bind(id.bytes()),
    }
}

pub(super) async fn find<R: Table>(
    connection: &mut Connection,
    owner: R::Owner,
    id: R::Id,
) -> Result<R, StoreError> {
    let row = of_one::<R>(&R::select(), owner, id).row(connection).await?;
    let mut row = row.as_ref().map_or(Err(StoreError::NotFound { what: R::WHAT }), R::read)?;
    R::load(connection, std::slice::from_mut(&mut row)).await?;
    Ok(row)
}

/// Checks a reference: what it refers to must be of the same owner.
pub(super) async fn require<R: Table>(
    connection: &mut Connection,
    owner: R::Owner,
    id: R::Id,
) -> Result<(), StoreError> {
    let query = of_one::<R>(&format!("SELECT 1 AS one FROM {}", R::NAME), owner, id);
    query.row(connection).await?.map(drop).ok_or(StoreError::NotFound { what: R::WHAT })
}

/// Refuses a name that another row of the workspace has.
pub(super) async fn refuse_taken_name<R: Table>(
    writing: &mut Writing,
    workspace: WorkspaceId,
    id: R::Id,
    name: &str,
) -> Result<(), StoreError> {
    let query =
        compose(format!("SELECT id FROM {} WHERE workspace = $1 AND name = $2 AND id <> $3", R::NAME));
    refuse_found::<R>(writing, query.bind(workspace.bytes()).bind(name).bind(id.bytes()), name).await
}

/// Refuses a name if the query finds the id of a row that has it.
pub(super) async fn refuse_found<R: Table>(
    writing: &mut Writing,
    query: Statement,
    name: &str,
) -> Result<(), StoreError> {
    let Some(other) = query.row(writing.connection()).await? else { return Ok(()) };
    let other: R::Id = Fields::new(R::NAME, &other).id("id")?;
    let detail = format!("the {} {other} has the name \"{name}\" already", R::WHAT);
    Err(StoreError::conflict("name_taken", detail, Some(other.to_string())))
}

/// One page of what a statement finds; it asks for one row more than is wanted.
pub(super) async fn page<R: Table>(
    connection: &mut Connection,
    query: Statement,
    page: &Page<R::Id>,
) -> Result<Listed<R, R::Id>, StoreError> {
    let wanted = page.rows_wanted();
    let rows = query.bind(signed(wanted as u64 + 1)).rows(connection).await?;
    let mut rows: Vec<R> = rows.iter().map(R::read).collect::<Result<_, _>>()?;
    R::load(connection, &mut rows).await?;
    Ok(Listed::cut(rows, wanted, R::id))
}

/// The rows of one owner or, as `None`, of all.
pub(super) async fn list<R: Table>(
    connection: &mut Connection,
    workspace: Option<WorkspaceId>,
    wanted: Page<R::Id>,
) -> Result<Listed<R, R::Id>, StoreError> {
    let (select, table, key, except) = (R::select(), R::NAME, R::ID, R::EXCEPT);
    let query = match workspace {
        Some(workspace) => compose(format!(
            "{select} WHERE {table}.workspace = $1 AND {table}.{key} > $2{except} ORDER BY {table}.{key} LIMIT $3"
        ))
        .bind(workspace.bytes()),
        None => {
            compose(format!("{select} WHERE {table}.{key} > $1{except} ORDER BY {table}.{key} LIMIT $2"))
        }
    };
    page(connection, query.bind(after(wanted.after)), &wanted).await
}

pub(super) async fn create<R: Table>(
    writing: &mut Writing,
    mut new: R::New,
    act: Act,
) -> Result<R, StoreError> {
    R::prepare(writing, &mut new, &act).await?;
    new.row_mut().set_version(writing.version());
    add(writing, new.row()).await?;
    R::follow_creation(writing, &new, &act).await?;
    audit(writing, new.row(), R::CREATION, R::audit_creation(&new), &act).await?;
    Ok(new.into_row())
}

async fn replace<R: Table>(
    writing: &mut Writing,
    change: R::Change,
    expected: Option<u64>,
    act: Act,
) -> Result<R, StoreError> {
    let (owner, id) = (change.row().owner(), change.row().id());
    let old = find::<R>(writing.connection(), owner, id).await?;
    expect_version(R::WHAT, expected, old.version())?;
    let verb = R::audit_verb(&change);
    let mut row = R::merge(writing, &old, change).await?;
    if row.is_same(&old) {
        return Ok(old);
    }
    row.set_version(writing.version());
    put(writing, &row).await?;
    let detail = R::follow_change(writing, &old, &row, &act).await?;
    audit(writing, &row, verb, detail, &act).await?;
    Ok(row)
}

async fn delete<R: Table>(
    writing: &mut Writing,
    owner: R::Owner,
    id: R::Id,
    expected: Option<u64>,
    act: Act,
) -> Result<R, StoreError> {
    let old = find::<R>(writing.connection(), owner, id).await?;
    expect_version(R::WHAT, expected, old.version())?;
    R::end(writing, old, &act).await
}

async fn delete_row<R: Table>(writing: &mut Writing, old: R, act: &Act) -> Result<R, StoreError> {
    let (owner, id) = (old.owner(), old.id());
    R::precede_deletion(writing, &old).await?;
    remove::<R>(writing, owner, id).await?;
    writing.announce(R::PART_OF_CHANGES, old.scope(), id);
    audit(writing, &old, "delete", old.audit_detail(), act).await?;
    Ok(old)
}

async fn audit<R: Table>(
    writing: &mut Writing,
    row: &R,
    verb: &str,
    detail: String,
    act: &Act,
) -> Result<(), StoreError> {
    let action = format!("{}.{verb}", R::NOUN);
    writing.audit(act, row.scope(), action, row.id(), detail).await
}

impl<R: Table> Resource<R> for Database {
    fn create(&self, new: R::New, act: Act) -> StoreFuture<'_, Written<R>> {
        Box::pin(self.write(move |writing| Box::pin(create(writing, new, act))))
    }

    fn get(&self, owner: R::Owner, id: R::Id) -> StoreFuture<'_, R> {
        Box::pin(async move { find(&mut self.read().await?, owner, id).await })
    }

    fn list(&self, owner: R::Owner, page: Page<R::Id>) -> StoreFuture<'_, Listed<R, R::Id>> {
        Box::pin(async move { list(&mut self.read().await?, owner.workspace(), page).await })
    }

    fn replace(&self, change: R::Change, expected: Option<u64>, act: Act) -> StoreFuture<'_, Written<R>> {
        Box::pin(self.write(move |writing| Box::pin(replace(writing, change, expected, act))))
    }

    fn delete(
        &self,
        owner: R::Owner,
        id: R::Id,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, Written<R>> {
        Box::pin(self.write(move |writing| Box::pin(delete::<R>(writing, owner, id, expected, act))))
    }
}
