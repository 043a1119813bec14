//! SQL for what the operator states of providers, and for the revisions of the capability manifest.

use database::act::{Act, Written};
use database::connection::Connection;
use database::error::StoreError;
use database::feed::Part;
use database::fields::{Fields, signed};
use database::statement::{Row, sql};
use database::writing::{Writing, expect_version};

use crate::capabilities::{
    Capabilities, CapabilityRevision, CapabilityStatement, RevisionsOf, StatementChange,
};

const STATEMENTS: &str = "capability_statements";
const REVISIONS: &str = "capability_revisions";
const WHAT: &str = "statement of capabilities";

fn read(row: &Row) -> Result<CapabilityStatement, StoreError> {
    let fields = Fields::new(STATEMENTS, row);
    Ok(CapabilityStatement {
        provider: fields.text("provider")?,
        facts: fields.text("facts")?,
        day: fields.text("day")?,
        stated_unix_ms: fields.number("stated_unix_ms")?,
        stated_by: fields.text("stated_by")?,
        version: fields.number("version")?,
    })
}

fn read_revision(row: &Row) -> Result<CapabilityRevision, StoreError> {
    let fields = Fields::new(REVISIONS, row);
    Ok(CapabilityRevision {
        provider: fields.text("provider")?,
        revision: fields.text("revision")?,
        content: fields.text("content")?,
        facts: fields.maybe_text("facts")?,
        day: fields.text("day")?,
        served_unix_ms: fields.number("served_unix_ms")?,
        served_by: fields.text("served_by")?,
    })
}

/// Everything that is stated, in the order of the providers' names.
pub(super) async fn all(connection: &mut Connection) -> Result<Vec<CapabilityStatement>, StoreError> {
    let rows = sql("SELECT * FROM capability_statements ORDER BY provider").rows(connection).await?;
    rows.iter().map(read).collect()
}

async fn find(
    connection: &mut Connection,
    provider: &str,
) -> Result<Option<CapabilityStatement>, StoreError> {
    let query = sql("SELECT * FROM capability_statements WHERE provider = $1").bind(provider);
    query.row(connection).await?.as_ref().map(read).transpose()
}

async fn change(
    writing: &mut Writing,
    change: StatementChange,
    revisions: RevisionsOf,
    expected: Option<u64>,
    act: Act,
) -> Result<Option<CapabilityStatement>, StoreError> {
    let old = find(writing.connection(), &change.provider).await?;
    expect_version(WHAT, expected, old.as_ref().map_or(0, |old| old.version))?;
    let row = change.facts.map(|facts| CapabilityStatement {
        provider: change.provider.clone(),
        facts,
        day: change.day,
        stated_unix_ms: act.unix_ms,
        stated_by: act.actor.clone(),
        version: writing.version(),
    });
    if row.is_none() && old.is_none() {
        return Ok(None);
    }
    let query = sql("DELETE FROM capability_statements WHERE provider = $1").bind(&change.provider);
    query.run(writing.connection()).await?;
    if let Some(row) = &row {
        insert(writing.connection(), row).await?;
    }
    let stated = all(writing.connection()).await?;
    for revision in revisions(&stated) {
        keep_one(writing.connection(), &revision).await?;
    }
    writing.announce(Part::Accounts, None, &change.provider);
    let action = format!("capabilities.{}", change.verb);
    writing.audit(&act, None, action, &change.provider, change.detail).await?;
    Ok(row)
}

async fn insert(connection: &mut Connection, row: &CapabilityStatement) -> Result<(), StoreError> {
    let query =
        sql("INSERT INTO capability_statements (provider, facts, day, stated_unix_ms, stated_by, version)
         VALUES ($1, $2, $3, $4, $5, $6)");
    query
        .bind(&row.provider)
        .bind(&row.facts)
        .bind(&row.day)
        .bind(signed(row.stated_unix_ms))
        .bind(&row.stated_by)
        .bind(signed(row.version))
        .run(connection)
        .await
        .map(drop)
}

async fn keep_one(connection: &mut Connection, revision: &CapabilityRevision) -> Result<(), StoreError> {
    let query = sql("INSERT INTO capability_revisions
         (provider, revision, content, facts, day, served_unix_ms, served_by) VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (provider, revision) DO NOTHING");
    query
        .bind(&revision.provider)
        .bind(&revision.revision)
        .bind(&revision.content)
        .bind(&revision.facts)
        .bind(&revision.day)
        .bind(signed(revision.served_unix_ms))
        .bind(&revision.served_by)
        .run(connection)
        .await
        .map(drop)
}

async fn keep(writing: &mut Writing, revisions: Vec<CapabilityRevision>) -> Result<(), StoreError> {
    for revision in &revisions {
        keep_one(writing.connection(), revision).await?;
    }
    Ok(())
}

impl<'a> Capabilities<'a> {
    /// `None` if nothing is stated of the provider.
    pub async fn statement(self, provider: &'a str) -> Result<Option<CapabilityStatement>, StoreError> {
        find(&mut self.0.read().await?, provider).await
    }

    /// Changes what is stated of a provider, and keeps the revisions that it makes. Refused unless the statement is at the
    /// expected version, which is 0 where nothing is stated.
    pub async fn change(
        self,
        wanted: StatementChange,
        revisions: RevisionsOf,
        expected: Option<u64>,
        act: Act,
    ) -> Result<Written<Option<CapabilityStatement>>, StoreError> {
        self.0.write(move |writing| Box::pin(change(writing, wanted, revisions, expected, act))).await
    }

    /// Keeps the revisions that are served; those that are known stay as they were first kept.
    pub async fn keep(self, revisions: Vec<CapabilityRevision>) -> Result<(), StoreError> {
        self.0.note(move |writing| Box::pin(keep(writing, revisions))).await
    }

    /// A revision by its id.
    pub async fn revision(
        self,
        provider: &'a str,
        revision: &'a str,
    ) -> Result<CapabilityRevision, StoreError> {
        let query = sql("SELECT * FROM capability_revisions WHERE provider = $1 AND revision = $2");
        let row = query.bind(provider).bind(revision).row(&mut self.0.read().await?).await?;
        row.as_ref().map_or(Err(StoreError::NotFound { what: "revision" }), read_revision)
    }

    /// The latest revisions of a provider, newest first.
    pub async fn revisions(
        self,
        provider: &'a str,
        most: u32,
    ) -> Result<Vec<CapabilityRevision>, StoreError> {
        let query = sql("SELECT * FROM capability_revisions WHERE provider = $1
                 ORDER BY served_unix_ms DESC, revision LIMIT $2");
        let rows = query.bind(provider).bind(i64::from(most)).rows(&mut self.0.read().await?).await?;
        rows.iter().map(read_revision).collect()
    }
}
