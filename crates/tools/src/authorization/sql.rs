//! SQL for grants of MCP servers, and for the sign-ins that lead to them.

use database::act::Act;
use database::connection::Connection;
use database::error::{StoreError, StoreFuture};
use database::fields::{ColumnId, Fields, signed};
use database::handle::Database;
use database::statement::{Row, compose, sql};
use database::writing::Writing;
use domain::{McpServerId, ObjectOwner, WorkspaceId};
use store::Store;

use super::grants::{GrantRow, SignInRow};
use crate::sealed::SealedHeaders;
use crate::sealed_sql::{insert_secret, remove_digest};

const GRANTS: &str = "mcp_grants";
const SIGN_INS: &str = "mcp_sign_ins";

/// The grants of an installation's MCP servers.
#[derive(Clone)]
pub struct Grants(Database);

fn sealed(fields: &Fields<'_>) -> Result<SealedHeaders, StoreError> {
    Ok(SealedHeaders {
        digest: fields.digest("secret")?,
        request: fields.id("request")?,
        sealed: fields.sealed()?,
    })
}

fn owner(fields: &Fields<'_>) -> Result<ObjectOwner, StoreError> {
    Ok(ObjectOwner { workspace: fields.id("workspace")?, project: fields.id("project")? })
}

fn read(row: &Row) -> Result<GrantRow, StoreError> {
    let fields = Fields::new(GRANTS, row);
    let digest: Option<&[u8]> = fields.get("sealed")?;
    Ok(GrantRow {
        server: fields.id("server")?,
        owner: owner(&fields)?,
        secret: digest.map(|_| sealed(&fields)).transpose()?,
        scopes: fields.text("scopes")?.split_ascii_whitespace().map(str::to_owned).collect(),
        is_renewable: fields.flag("is_renewable")?,
        expires_unix_ms: fields.maybe_number("expires_unix_ms")?,
        claimed_until_unix_ms: fields.maybe_number("claimed_until_unix_ms")?,
        version: fields.number("version")?,
    })
}

fn read_sign_in(row: &Row) -> Result<SignInRow, StoreError> {
    let fields = Fields::new(SIGN_INS, row);
    let session: Option<&[u8]> = fields.get("session")?;
    Ok(SignInRow {
        state: fields.digest("state")?,
        server: fields.id("server")?,
        owner: owner(&fields)?,
        actor: fields.text("actor")?,
        session: session.map(|_| fields.digest("session")).transpose()?,
        secret: sealed(&fields)?,
        expires_unix_ms: fields.number("expires_unix_ms")?,
    })
}

async fn find(connection: &mut Connection, server: McpServerId) -> Result<Option<GrantRow>, StoreError> {
    let query = sql("SELECT g.*, s.request, s.sealed_version, s.sealed_key_id, s.sealed FROM mcp_grants AS g
         LEFT JOIN tool_secrets AS s ON s.digest = g.secret WHERE g.server = $1");
    query.bind(server.bytes()).row(connection).await?.as_ref().map(read).transpose()
}

/// Removes what a server was granted, and the sign-ins at it that have begun.
pub(crate) async fn forget(writing: &mut Writing, server: McpServerId) -> Result<(), StoreError> {
    let query =
        sql("DELETE FROM tool_secrets WHERE digest IN (SELECT secret FROM mcp_grants WHERE server = $1
         UNION SELECT secret FROM mcp_sign_ins WHERE server = $1)");
    query.bind(server.bytes()).run(writing.connection()).await?;
    sql("DELETE FROM mcp_grants WHERE server = $1").bind(server.bytes()).run(writing.connection()).await?;
    let query = sql("DELETE FROM mcp_sign_ins WHERE server = $1").bind(server.bytes());
    query.run(writing.connection()).await.map(drop)
}

/// Keeps a grant in the place of the present one. `expected` is the version at which its renewal was claimed: `false` where
/// another grant was given meanwhile.
async fn keep(writing: &mut Writing, row: GrantRow, expected: Option<u64>) -> Result<bool, StoreError> {
    let query = match expected {
        Some(_) => sql("UPDATE mcp_grants SET secret = $4, scopes = $5, is_renewable = $6, expires_unix_ms = $7,
             claimed_until_unix_ms = NULL, version = version + 1
             WHERE server = $1 AND workspace = $2 AND project = $3 AND version = $8"),
        None => sql("INSERT INTO mcp_grants (server, workspace, project, secret, scopes, is_renewable, expires_unix_ms,
             claimed_until_unix_ms, version) VALUES ($1, $2, $3, $4, $5, $6, $7, NULL, $8)
             ON CONFLICT (server) DO UPDATE SET secret = excluded.secret, scopes = excluded.scopes,
             is_renewable = excluded.is_renewable, expires_unix_ms = excluded.expires_unix_ms,
             claimed_until_unix_ms = NULL, version = mcp_grants.version + 1"),
    };
    let query = query
        .bind(row.server.bytes())
        .bind(row.owner.workspace.bytes())
        .bind(row.owner.project.bytes())
        .bind(row.secret.as_ref().map(|secret| secret.digest.to_vec()))
        .bind(row.scopes.join(" "))
        .bind(i64::from(row.is_renewable))
        .bind(row.expires_unix_ms.map(signed))
        .bind(signed(expected.unwrap_or(1)));
    if query.run(writing.connection()).await? == 0 {
        return Ok(false);
    }
    if let Some(secret) = &row.secret {
        remove_digest(writing, &secret.digest).await?;
        insert_secret(writing, row.owner, secret).await?;
    }
    Ok(true)
}

async fn claim(
    writing: &mut Writing,
    server: McpServerId,
    version: u64,
    (now_unix_ms, until_unix_ms): (u64, u64),
) -> Result<bool, StoreError> {
    let query = sql("UPDATE mcp_grants SET version = version + 1, claimed_until_unix_ms = $4
         WHERE server = $1 AND version = $2 AND (claimed_until_unix_ms IS NULL OR claimed_until_unix_ms <= $3)");
    let query = query.bind(server.bytes()).bind(signed(version)).bind(signed(now_unix_ms));
    Ok(query.bind(signed(until_unix_ms)).run(writing.connection()).await? > 0)
}

/// Ends a claim; the grant stays as it is, or is no more where it was refused.
async fn release(
    writing: &mut Writing,
    server: McpServerId,
    version: u64,
    is_refused: bool,
) -> Result<(), StoreError> {
    let query = sql("UPDATE mcp_grants SET claimed_until_unix_ms = NULL, version = version + 1
         WHERE server = $1 AND version = $2");
    let is_its = query.bind(server.bytes()).bind(signed(version)).run(writing.connection()).await? > 0;
    if !is_its || !is_refused {
        return Ok(());
    }
    let query =
        sql("DELETE FROM tool_secrets WHERE digest IN (SELECT secret FROM mcp_grants WHERE server = $1)");
    query.bind(server.bytes()).run(writing.connection()).await?;
    let query = sql("UPDATE mcp_grants SET secret = NULL, is_renewable = 0 WHERE server = $1");
    query.bind(server.bytes()).run(writing.connection()).await.map(drop)
}

/// A sign-in takes the place of the earlier ones of who begins it.
async fn begin(writing: &mut Writing, row: SignInRow, now_unix_ms: u64) -> Result<(), StoreError> {
    let gone = "(server = $1 AND actor = $2) OR expires_unix_ms <= $3";
    for statement in [
        format!("DELETE FROM tool_secrets WHERE digest IN (SELECT secret FROM mcp_sign_ins WHERE {gone})"),
        format!("DELETE FROM mcp_sign_ins WHERE {gone}"),
    ] {
        let query = compose(statement).bind(row.server.bytes()).bind(&row.actor);
        query.bind(signed(now_unix_ms)).run(writing.connection()).await?;
    }
    insert_secret(writing, row.owner, &row.secret).await?;
    let query = sql("INSERT INTO mcp_sign_ins (state, server, workspace, project, actor, session, secret, expires_unix_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)");
    query
        .bind(row.state.to_vec())
        .bind(row.server.bytes())
        .bind(row.owner.workspace.bytes())
        .bind(row.owner.project.bytes())
        .bind(row.actor)
        .bind(row.session.map(|session| session.to_vec()))
        .bind(row.secret.digest.to_vec())
        .bind(signed(row.expires_unix_ms))
        .run(writing.connection())
        .await
        .map(drop)
}

async fn find_sign_in(connection: &mut Connection, state: [u8; 32]) -> Result<Option<SignInRow>, StoreError> {
    let query =
        sql("SELECT i.*, s.request, s.sealed_version, s.sealed_key_id, s.sealed FROM mcp_sign_ins AS i
         JOIN tool_secrets AS s ON s.digest = i.secret WHERE i.state = $1");
    query.bind(state.to_vec()).row(connection).await?.as_ref().map(read_sign_in).transpose()
}

/// Takes a sign-in out: whoever comes with its state again finds nothing.
async fn take(writing: &mut Writing, state: [u8; 32]) -> Result<Option<SignInRow>, StoreError> {
    let Some(row) = find_sign_in(writing.connection(), state).await? else { return Ok(None) };
    let query = sql("DELETE FROM mcp_sign_ins WHERE state = $1").bind(state.to_vec());
    if query.run(writing.connection()).await? == 0 {
        return Ok(None);
    }
    remove_digest(writing, &row.secret.digest).await?;
    Ok(Some(row))
}

impl Grants {
    pub fn of(store: &Store) -> Self {
        Self(store.database().clone())
    }

    pub fn find(&self, server: McpServerId) -> StoreFuture<'_, Option<GrantRow>> {
        Box::pin(async move { find(&mut self.0.read().await?, server).await })
    }

    /// Those of servers whose ids are in a range, as a page of servers has them.
    pub fn between(
        &self,
        workspace: WorkspaceId,
        (first, last): (McpServerId, McpServerId),
    ) -> StoreFuture<'_, Vec<GrantRow>> {
        Box::pin(async move {
            let query =
                sql("SELECT g.*, s.request, s.sealed_version, s.sealed_key_id, s.sealed FROM mcp_grants AS g
                 LEFT JOIN tool_secrets AS s ON s.digest = g.secret
                 WHERE g.workspace = $1 AND g.server >= $2 AND g.server <= $3");
            let query = query.bind(workspace.bytes()).bind(first.bytes()).bind(last.bytes());
            query.rows(&mut self.0.read().await?).await?.iter().map(read).collect()
        })
    }

    /// Keeps a grant that a person gave, and says so in the audit.
    pub fn give(&self, row: GrantRow, act: Act) -> StoreFuture<'_, ()> {
        Box::pin(self.0.note(move |writing| {
            Box::pin(async move {
                let (workspace, server) = (row.owner.workspace, row.server);
                let scopes = format!("scopes {}", row.scopes.join(" "));
                keep(writing, row, None).await?;
                writing.audit(&act, Some(workspace), "mcp_server.authorize".to_owned(), server, scopes).await
            })
        }))
    }

    /// Keeps a renewed grant; `false` where its renewal was not claimed at this version.
    pub fn renew(&self, row: GrantRow, version: u64) -> StoreFuture<'_, bool> {
        Box::pin(self.0.note(move |writing| Box::pin(keep(writing, row, Some(version)))))
    }

    /// Claims a renewal until then; `false` where another process has it, or had.
    pub fn claim(
        &self,
        server: McpServerId,
        version: u64,
        (now_unix_ms, until_unix_ms): (u64, u64),
    ) -> StoreFuture<'_, bool> {
        Box::pin(
            self.0
                .note(move |writing| Box::pin(claim(writing, server, version, (now_unix_ms, until_unix_ms)))),
        )
    }

    /// Ends a claim without a renewal.
    pub fn release(&self, server: McpServerId, version: u64, is_refused: bool) -> StoreFuture<'_, ()> {
        Box::pin(self.0.note(move |writing| Box::pin(release(writing, server, version, is_refused))))
    }

    pub fn begin(&self, row: SignInRow, now_unix_ms: u64) -> StoreFuture<'_, ()> {
        Box::pin(self.0.note(move |writing| Box::pin(begin(writing, row, now_unix_ms))))
    }

    /// A sign-in as it began.
    pub fn sign_in(&self, state: [u8; 32]) -> StoreFuture<'_, Option<SignInRow>> {
        Box::pin(async move { find_sign_in(&mut self.0.read().await?, state).await })
    }

    pub fn take(&self, state: [u8; 32]) -> StoreFuture<'_, Option<SignInRow>> {
        Box::pin(self.0.note(move |writing| Box::pin(take(writing, state))))
    }
}
