//! SQL for the audit: entries, each linked into its workspace's hash chain, and the counts of credential
//! openings.

use std::collections::BTreeMap;

use domain::{AuditId, CredentialId, Principal, SecretOwner, WorkspaceId};
use proof::Digest;

use crate::audit::{AuditFilter, AuditRow, ChainBehind, Link, chain_name};
use crate::connection::Connection;
use crate::error::StoreError;
use crate::fields::{ColumnId, Fields, signed};
use crate::handle::Database;
use crate::limits::{ACTS_AT_ONCE_MAX, LINKED_AT_ONCE_MAX, SEARCHED_AT_ONCE, SEARCHED_MAX};
use crate::objects;
use crate::page::{Listed, Page};
use crate::statement::{Row, sql};
use crate::writing::Writing;

fn read(row: &Row) -> Result<AuditRow, StoreError> {
    let fields = Fields::new("audit", row);
    let (sequence, hash) = (fields.maybe_number("sequence")?, fields.maybe_hash("hash")?);
    Ok(AuditRow {
        id: fields.id("id")?,
        unix_ms: fields.number("unix_ms")?,
        workspace: fields.maybe_id("workspace")?,
        actor: fields.text("actor")?,
        action: fields.text("action")?,
        object: fields.text("object")?,
        detail: fields.text("detail")?,
        trace: fields.maybe_id("trace")?,
        before: fields.maybe_hash("before_digest")?,
        after: fields.maybe_hash("after_digest")?,
        link: sequence.zip(hash).map(|(sequence, hash)| Link { sequence, hash }),
    })
}

/// Writes an entry at the end of its chain.
pub async fn add(writing: &mut Writing, row: AuditRow) -> Result<(), StoreError> {
    let workspace = row.workspace;
    extend(writing, workspace, vec![row]).await
}

/// Writes an entry behind the end of its chain, and returns the new end. The only place that writes to the audit: an existing
/// entry stays as it is.
async fn insert(
    writing: &mut Writing,
    mut row: AuditRow,
    (chain, name): (&[u8], &str),
    end: Link,
) -> Result<Link, StoreError> {
    row.after = objects::digest(writing.connection(), row.workspace, &row.object).await?;
    row.before = last_left(writing, &row).await?;
    let entry = row.entry(end.sequence + 1);
    let link = Link { sequence: entry.sequence, hash: entry.link(name, end.hash) };
    let query = sql("INSERT INTO audit (id, unix_ms, workspace, actor, action, object, detail, trace, before_digest, after_digest,
             chain, sequence, hash)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT (id) DO NOTHING");
    let written = query
        .bind(row.id.bytes())
        .bind(signed(row.unix_ms))
        .bind(row.workspace.map(|id| id.bytes()))
        .bind(row.actor)
        .bind(row.action)
        .bind(row.object)
        .bind(row.detail)
        .bind(row.trace.map(|id| id.bytes()))
        .bind(row.before.map(|digest| digest.0.to_vec()))
        .bind(row.after.map(|digest| digest.0.to_vec()))
        .bind(chain)
        .bind(signed(link.sequence))
        .bind(link.hash.0.as_slice())
        .run(writing.connection())
        .await?;
    Ok(if written == 0 { end } else { link })
}

/// The object's hash after the last act on it. The ids of acts of one moment are in no order: the last of those is the one
/// furthest in its chain.
async fn last_left(writing: &mut Writing, row: &AuditRow) -> Result<Option<Digest>, StoreError> {
    let query = sql("SELECT after_digest FROM (
             SELECT after_digest, unix_ms, sequence FROM audit WHERE object = $1 AND COALESCE(workspace, $2) = $2
             ORDER BY id DESC LIMIT $3) AS lately
         ORDER BY unix_ms DESC, sequence DESC LIMIT 1");
    let query = query.bind(&row.object).bind(chain_bytes(row.workspace)).bind(i64::from(ACTS_AT_ONCE_MAX));
    let row = query.row(writing.connection()).await?;
    row.map_or(Ok(None), |row| Fields::new("audit", &row).maybe_hash("after_digest"))
}

/// The chain of entries without a workspace.
const INSTALLATION_BYTES: [u8; 16] = [0; 16];

fn chain_bytes(workspace: Option<WorkspaceId>) -> Vec<u8> {
    workspace.map_or_else(|| INSTALLATION_BYTES.to_vec(), |id| id.bytes())
}

/// The end of a chain. A writer locks it until the end of its transaction: concurrent entries, on whatever
/// replica, are serialised.
async fn end_of(connection: &mut Connection, chain: &[u8], to_write: bool) -> Result<Link, StoreError> {
    let query = match (&*connection, to_write) {
        (Connection::Postgres(_), true) => {
            sql("SELECT length, hash FROM audit_chains WHERE chain = $1 FOR UPDATE")
        }
        _ => sql("SELECT length, hash FROM audit_chains WHERE chain = $1"),
    };
    let row = query.bind(chain).row(connection).await?;
    row.as_ref().map_or(Ok(Link { sequence: 0, hash: Digest::ZERO }), read_end)
}

fn read_end(row: &Row) -> Result<Link, StoreError> {
    let fields = Fields::new("audit_chains", row);
    let hash = fields.maybe_hash("hash")?.unwrap_or(Digest::ZERO);
    Ok(Link { sequence: fields.number("length")?, hash })
}

async fn ends(
    connection: &mut Connection,
    page: Page<WorkspaceId>,
) -> Result<Listed<(WorkspaceId, Link), WorkspaceId>, StoreError> {
    let wanted = page.rows_wanted();
    let query = sql("SELECT chain, length, hash FROM audit_chains WHERE chain > $1 ORDER BY chain LIMIT $2");
    // The installation's own chain sorts before every workspace's.
    let query = query.bind(chain_bytes(page.after)).bind(signed(wanted as u64 + 1));
    let rows = query.rows(connection).await?;
    let read = |row: &Row| Ok((Fields::new("audit_chains", row).id("chain")?, read_end(row)?));
    let rows = rows.iter().map(read).collect::<Result<Vec<_>, StoreError>>()?;
    Ok(Listed::cut(rows, wanted, |(workspace, _): &(WorkspaceId, Link)| *workspace))
}

async fn behind(
    connection: &mut Connection,
    sink: Digest,
    chains_max: u32,
) -> Result<Vec<ChainBehind>, StoreError> {
    let query =
        sql("SELECT audit_chains.chain, audit_chains.length, COALESCE(audit_sent.sequence, 0) AS sent
         FROM audit_chains
         LEFT JOIN audit_sent ON audit_sent.chain = audit_chains.chain AND audit_sent.sink = $1
         WHERE audit_chains.length > COALESCE(audit_sent.sequence, 0) ORDER BY audit_chains.chain LIMIT $2");
    let rows = query.bind(sink.0.to_vec()).bind(i64::from(chains_max)).rows(connection).await?;
    let read = |row: &Row| {
        let fields = Fields::new("audit_chains", row);
        let chain: WorkspaceId = fields.id("chain")?;
        Ok(ChainBehind {
            workspace: (chain.as_bytes() != &INSTALLATION_BYTES).then_some(chain),
            sent: fields.number("sent")?,
            length: fields.number("length")?,
        })
    };
    rows.iter().map(read).collect()
}

async fn record_sent(
    writing: &mut Writing,
    sink: Digest,
    workspace: Option<WorkspaceId>,
    sequence: u64,
) -> Result<(), StoreError> {
    let query = sql("INSERT INTO audit_sent (sink, chain, sequence) VALUES ($1, $2, $3)
         ON CONFLICT (sink, chain) DO UPDATE SET sequence = $3");
    let query = query.bind(sink.0.to_vec()).bind(chain_bytes(workspace)).bind(signed(sequence));
    query.run(writing.connection()).await?;
    Ok(())
}

/// The oldest entries that are in no chain.
async fn unlinked(
    connection: &mut Connection,
    workspace: Option<WorkspaceId>,
) -> Result<Vec<AuditRow>, StoreError> {
    let query = match workspace {
        Some(id) => sql("SELECT * FROM audit WHERE sequence IS NULL AND workspace = $2 ORDER BY id LIMIT $1")
            .bind(signed(LINKED_AT_ONCE_MAX as u64))
            .bind(id.bytes()),
        None => sql("SELECT * FROM audit WHERE sequence IS NULL AND workspace IS NULL ORDER BY id LIMIT $1")
            .bind(signed(LINKED_AT_ONCE_MAX as u64)),
    };
    query.rows(connection).await?.iter().map(read).collect()
}

/// Writes entries in this order at the end of a chain, behind those that were in none.
async fn extend(
    writing: &mut Writing,
    workspace: Option<WorkspaceId>,
    rows: Vec<AuditRow>,
) -> Result<(), StoreError> {
    let (chain, name) = (chain_bytes(workspace), chain_name(workspace));
    sql("INSERT INTO audit_chains (chain, length, hash) VALUES ($1, 0, $2) ON CONFLICT (chain) DO NOTHING")
        .bind(&chain)
        .bind(Digest::ZERO.0.as_slice())
        .run(writing.connection())
        .await?;
    let end = end_of(writing.connection(), &chain, true).await?;
    let mut end = link_up(writing, workspace, end).await?;
    for row in rows {
        end = insert(writing, row, (&chain, &name), end).await?;
    }
    sql("UPDATE audit_chains SET length = $2, hash = $3 WHERE chain = $1")
        .bind(&chain)
        .bind(signed(end.sequence))
        .bind(end.hash.0.as_slice())
        .run(writing.connection())
        .await?;
    Ok(())
}

/// Links unlinked entries behind the end of their workspace's chain, oldest first, and returns the new end.
async fn link_up(
    writing: &mut Writing,
    workspace: Option<WorkspaceId>,
    mut end: Link,
) -> Result<Link, StoreError> {
    let (chain, name) = (chain_bytes(workspace), chain_name(workspace));
    loop {
        let rows = unlinked(writing.connection(), workspace).await?;
        let is_last = rows.len() < LINKED_AT_ONCE_MAX;
        for row in rows {
            let entry = row.entry(end.sequence + 1);
            end = Link { sequence: entry.sequence, hash: entry.link(&name, end.hash) };
            sql("UPDATE audit SET chain = $1, sequence = $2, hash = $3 WHERE id = $4")
                .bind(&chain)
                .bind(signed(end.sequence))
                .bind(end.hash.0.as_slice())
                .bind(row.id.bytes())
                .run(writing.connection())
                .await?;
        }
        if is_last {
            return Ok(end);
        }
    }
}

/// One chain per transaction, so that the holder of one lock never waits for a second.
async fn link_all(database: &Database) -> Result<(), StoreError> {
    let rows = sql("SELECT DISTINCT workspace FROM audit WHERE sequence IS NULL")
        .rows(&mut database.read().await?)
        .await?;
    for row in rows {
        let workspace = Fields::new("audit", &row).maybe_id("workspace")?;
        database.note(move |writing| Box::pin(extend(writing, workspace, Vec::new()))).await?;
    }
    Ok(())
}

pub async fn append(database: &Database, rows: Vec<AuditRow>) -> Result<(), StoreError> {
    let mut chains: BTreeMap<Option<WorkspaceId>, Vec<AuditRow>> = BTreeMap::new();
    for row in rows {
        chains.entry(row.workspace).or_default().push(row);
    }
    for (workspace, rows) in chains {
        database.note(move |writing| Box::pin(extend(writing, workspace, rows))).await?;
    }
    Ok(())
}

/// The place of an entry in a chain; without one, what is behind every entry.
async fn place_of(
    connection: &mut Connection,
    chain: &[u8],
    entry: Option<AuditId>,
) -> Result<u64, StoreError> {
    let Some(id) = entry else { return Ok(i64::MAX.unsigned_abs()) };
    let query = sql("SELECT sequence FROM audit WHERE chain = $1 AND id = $2").bind(chain).bind(id.bytes());
    let row = query.row(connection).await?;
    row.map_or(Ok(0), |row| Fields::new("audit", &row).number("sequence"))
}

/// So many of the newest entries of a chain before one.
async fn newest(
    connection: &mut Connection,
    chain: &[u8],
    before: u64,
    rows_max: usize,
) -> Result<Vec<AuditRow>, StoreError> {
    sql("SELECT * FROM audit WHERE chain = $1 AND sequence < $2 ORDER BY sequence DESC LIMIT $3")
        .bind(chain)
        .bind(signed(before))
        .bind(signed(rows_max as u64))
        .rows(connection)
        .await?
        .iter()
        .map(read)
        .collect()
}

/// The newest entries that match, which are looked for among a bounded number. They stand by their places in the chain, since
/// the ids of one moment are in no order.
async fn search(
    database: &Database,
    workspace: Option<WorkspaceId>,
    filter: AuditFilter,
    page: Page<AuditId>,
) -> Result<Listed<AuditRow, AuditId>, StoreError> {
    let wanted = page.rows_wanted();
    let at_once = if filter.is_empty() { wanted + 1 } else { SEARCHED_AT_ONCE };
    let (chain, mut connection) = (chain_bytes(workspace), database.read().await?);
    let mut before = place_of(&mut connection, &chain, page.after).await?;
    let (mut found, mut scanned, mut end) = (Vec::new(), 0, page.after);
    loop {
        let rows = newest(&mut connection, &chain, before, at_once).await?;
        let is_last = rows.len() < at_once;
        scanned += rows.len();
        if let Some((row, link)) = rows.last().and_then(|row| row.link.map(|link| (row, link))) {
            (end, before) = (Some(row.id), link.sequence);
        }
        found.extend(rows.into_iter().filter(|row| filter.matches(row)));
        if is_last || found.len() > wanted {
            return Ok(Listed::cut(found, wanted, |row: &AuditRow| row.id));
        }
        if scanned >= SEARCHED_MAX {
            return Ok(Listed::cut(found, wanted, |row: &AuditRow| row.id).or_end_at(end));
        }
    }
}

/// Whatever has the secret, its id stands in the place of a credential's.
fn owner_bytes(of: SecretOwner) -> Vec<u8> {
    match of {
        SecretOwner::Principal(Principal::Credential(id)) => id.bytes(),
        SecretOwner::Principal(Principal::Account(id)) => id.bytes(),
        SecretOwner::Principal(Principal::Node(id)) => id.bytes(),
        SecretOwner::Principal(Principal::Subscription(id)) => id.bytes(),
        SecretOwner::Webhook(id) => id.bytes(),
        SecretOwner::Policy(id) => id.bytes(),
        SecretOwner::AccessKey(id) => id.bytes(),
    }
}

async fn count(writing: &mut Writing, openings: Vec<(SecretOwner, u64)>) -> Result<(), StoreError> {
    for (of, count) in openings {
        let query = sql("INSERT INTO credential_openings (credential, openings, kind) VALUES ($1, $2, $3)
             ON CONFLICT (credential) DO UPDATE SET openings = credential_openings.openings + $2");
        let query = query.bind(owner_bytes(of)).bind(signed(count)).bind(of.kind());
        query.run(writing.connection()).await?;
    }
    Ok(())
}

/// The audit of a database.
#[derive(Clone, Copy)]
pub struct Audit<'a>(pub &'a Database);

impl Audit<'_> {
    /// Idempotent by id.
    pub async fn append(self, rows: Vec<AuditRow>) -> Result<(), StoreError> {
        append(self.0, rows).await
    }

    /// Links every entry that is in no chain yet, which are those from before chains existed.
    pub async fn link_all(self) -> Result<(), StoreError> {
        link_all(self.0).await
    }

    /// Consecutive entries of a chain, starting at sequence `from`, at most `rows_max`.
    pub async fn stretch(
        self,
        workspace: Option<WorkspaceId>,
        from: u64,
        rows_max: u32,
    ) -> Result<Vec<AuditRow>, StoreError> {
        let query = sql("SELECT * FROM audit WHERE chain = $1 AND sequence >= $2 ORDER BY sequence LIMIT $3")
            .bind(chain_bytes(workspace))
            .bind(signed(from))
            .bind(i64::from(rows_max));
        query.rows(&mut self.0.read().await?).await?.iter().map(read).collect()
    }

    /// The `head` of every workspace's chain, deleted workspaces included.
    pub async fn ends(
        self,
        page: Page<WorkspaceId>,
    ) -> Result<Listed<(WorkspaceId, Link), WorkspaceId>, StoreError> {
        ends(&mut self.0.read().await?, page).await
    }

    /// Chains with entries that a sink was not sent yet, at most `chains_max`.
    pub async fn behind(self, sink: Digest, chains_max: u32) -> Result<Vec<ChainBehind>, StoreError> {
        behind(&mut self.0.read().await?, sink, chains_max).await
    }

    /// Up to which entry a sink was sent this chain; 0 for nothing.
    pub async fn sent(self, sink: Digest, workspace: Option<WorkspaceId>) -> Result<u64, StoreError> {
        let query = sql("SELECT sequence FROM audit_sent WHERE sink = $1 AND chain = $2");
        let query = query.bind(sink.0.to_vec()).bind(chain_bytes(workspace));
        let row = query.row(&mut self.0.read().await?).await?;
        row.map_or(Ok(0), |row| Fields::new("audit_sent", &row).number("sequence"))
    }

    /// A sink was sent this chain up to and including the entry at `sequence`.
    pub async fn record_sent(
        self,
        sink: Digest,
        workspace: Option<WorkspaceId>,
        sequence: u64,
    ) -> Result<(), StoreError> {
        self.0.note(move |writing| Box::pin(record_sent(writing, sink, workspace, sequence))).await
    }

    /// The length of a chain and its last hash.
    pub async fn head(self, workspace: Option<WorkspaceId>) -> Result<Link, StoreError> {
        end_of(&mut self.0.read().await?, &chain_bytes(workspace), false).await
    }

    /// Newest first, by their places in the chain. Without a workspace: the operator's own entries.
    pub async fn list(
        self,
        workspace: Option<WorkspaceId>,
        page: Page<AuditId>,
    ) -> Result<Listed<AuditRow, AuditId>, StoreError> {
        search(self.0, workspace, AuditFilter::default(), page).await
    }

    /// As `list`, of the entries that match. A page may have fewer, or none, though others follow.
    pub async fn search(
        self,
        workspace: Option<WorkspaceId>,
        filter: AuditFilter,
        page: Page<AuditId>,
    ) -> Result<Listed<AuditRow, AuditId>, StoreError> {
        search(self.0, workspace, filter, page).await
    }

    /// Adds to the counts of how often each secret was opened.
    pub async fn count_openings(self, openings: Vec<(SecretOwner, u64)>) -> Result<(), StoreError> {
        self.0.note(move |writing| Box::pin(count(writing, openings))).await
    }

    pub async fn openings(self, credential: CredentialId) -> Result<u64, StoreError> {
        let query = sql("SELECT openings FROM credential_openings WHERE credential = $1");
        let row = query.bind(credential.bytes()).row(&mut self.0.read().await?).await?;
        row.map_or(Ok(0), |row| Fields::new("credential_openings", &row).number("openings"))
    }
}
