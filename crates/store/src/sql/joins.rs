//! SQL for nodes that joined by themselves: join tokens, credentials, heartbeats, and reported usage records.

use std::convert::Infallible;

use database::act::{Act, Written};
use database::connection::Connection;
use database::error::StoreError;
use database::fields::{ColumnId, Fields, signed, to_text};
use database::page::{Listed, Page};
use database::statement::{Row, sql};
use database::writing::{Writing, expect_version};
use domain::{NodeId, WorkspaceId};
use hardware::Work;
use records::node_hours::{self, WorkByHour};

use crate::joins::{Heartbeat, JoinToken, Joining, Joins, KnownNode, NodeRecord, NodeRecordRow};
use crate::nodes::{NodeObservation, NodeRow};
use crate::sign_ins::TokenDigest;
use crate::sql::nodes::{self, WHAT};
use crate::sql::resource::{self, ColumnValues, Table};
use crate::sql::seals;

const CREDENTIALS: &str = "node_credentials";
const TOKEN: &str = "join token";
const RECORDS: &str = "node_records";
/// How many nodes are marked as unreachable at once; the rest follow at the next poll.
const MISSED_AT_ONCE: u64 = 1_000;

async fn token(connection: &mut Connection, digest: TokenDigest) -> Result<Option<JoinToken>, StoreError> {
    let query = sql("SELECT * FROM node_join_tokens WHERE digest = $1").bind(digest.to_vec());
    query.row(connection).await?.as_ref().map(JoinToken::read).transpose()
}

impl Table for JoinToken {
    const NAME: &'static str = "node_join_tokens";
    const WHAT: &'static str = TOKEN;

    fn read(row: &Row) -> Result<Self, StoreError> {
        let fields = Fields::new(Self::NAME, row);
        Ok(Self {
            id: fields.id("id")?,
            digest: fields.digest("digest")?,
            workspace: fields.id("workspace")?,
            name: fields.text("name")?,
            used_unix_ms: fields.maybe_number("used_unix_ms")?,
            created_unix_ms: fields.number("created_unix_ms")?,
            expires_unix_ms: fields.number("expires_unix_ms")?,
        })
    }

    fn columns(&self, columns: ColumnValues) -> Result<ColumnValues, StoreError> {
        Ok(columns
            .fix("id", self.id.bytes())
            .fix("digest", self.digest.to_vec())
            .fix("workspace", self.workspace.bytes())
            .fix("name", &self.name)
            .set("used_unix_ms", self.used_unix_ms.map(signed))
            .fix("created_unix_ms", signed(self.created_unix_ms))
            .fix("expires_unix_ms", signed(self.expires_unix_ms)))
    }

    async fn merge(_: &mut Writing, _: &Self, change: Infallible) -> Result<Self, StoreError> {
        match change {}
    }

    /// The audit names the node that the token was for; the snapshot knows of no tokens.
    async fn end(writing: &mut Writing, old: Self, act: &Act) -> Result<Self, StoreError> {
        if old.used_unix_ms.is_some() {
            return Err(StoreError::conflict(
                "join_token_used",
                "a node has already joined with this token",
                None,
            ));
        }
        resource::remove::<Self>(writing, old.workspace, old.id).await?;
        writing.audit(act, Some(old.workspace), "node.uninvite", &old.name, String::new()).await?;
        Ok(old)
    }

    fn audit_detail(&self) -> String {
        format!("until {} ms", self.expires_unix_ms)
    }
}

/// A name is available if no node has it, or if that node's credential was revoked: the new node then takes
/// it over.
async fn free_or_revoked(
    writing: &mut Writing,
    workspace: WorkspaceId,
    name: &str,
) -> Result<Option<NodeRow>, StoreError> {
    let found = nodes::find_by_name(writing.connection(), workspace, name).await?;
    let is_revoked =
        |row: &NodeRow| row.joined.as_ref().is_some_and(|joined| joined.revoked_unix_ms.is_some());
    match found {
        Some(row) if !is_revoked(&row) => {
            let detail =
                format!("the node {} has the name \"{name}\", and its credential is not revoked", row.id);
            Err(StoreError::conflict("name_taken", detail, Some(row.id.to_string())))
        }
        found => Ok(found),
    }
}

async fn invite(
    writing: &mut Writing,
    token: JoinToken,
    forgotten_before_unix_ms: u64,
    act: Act,
) -> Result<(), StoreError> {
    free_or_revoked(writing, token.workspace, &token.name).await?;
    let query = sql("DELETE FROM node_join_tokens WHERE expires_unix_ms < $1");
    query.bind(signed(forgotten_before_unix_ms)).run(writing.connection()).await?;
    resource::insert(writing, &token).await?;
    writing.audit(&act, Some(token.workspace), "node.invite", &token.name, token.audit_detail()).await
}

async fn join(writing: &mut Writing, joining: Joining, act: Act) -> Result<NodeRow, StoreError> {
    let Joining { token: digest, credential, row } = joining;
    let gone = || StoreError::NotFound { what: TOKEN };
    let held = token(writing.connection(), digest).await?.ok_or_else(gone)?;
    if held.used_unix_ms.is_some() {
        return Err(StoreError::conflict("join_token_used", "the token was used before", None));
    }
    if held.expires_unix_ms <= act.unix_ms {
        return Err(StoreError::conflict("join_token_expired", "the token is too old", None));
    }
    let query = sql("UPDATE node_join_tokens SET used_unix_ms = $2 WHERE digest = $1");
    let query = query.bind(digest.to_vec()).bind(signed(act.unix_ms));
    // The token was withdrawn since it was read.
    if query.run(writing.connection()).await? == 0 {
        return Err(gone());
    }
    let old = free_or_revoked(writing, held.workspace, &held.name).await?;
    let is_same = old.as_ref().is_none_or(|old| old.id == row.id);
    if !is_same || row.workspace != held.workspace || row.name != held.name {
        return Err(StoreError::conflict("name_taken", "another node has taken this name meanwhile", None));
    }
    let row = put(writing, row, old.is_some()).await?;
    let query = sql("DELETE FROM node_credentials WHERE node = $1").bind(row.id.bytes());
    query.run(writing.connection()).await?;
    sql("INSERT INTO node_credentials (node, workspace, digest, joined_unix_ms) VALUES ($1, $2, $3, $4)")
        .bind(row.id.bytes())
        .bind(row.workspace.bytes())
        .bind(credential.to_vec())
        .bind(signed(act.unix_ms))
        .run(writing.connection())
        .await?;
    let detail = format!("name {}, at {}", row.name, row.base_url);
    writing.audit(&act, Some(row.workspace), "node.join", row.id, detail).await?;
    resource::find::<NodeRow>(writing.connection(), row.workspace, row.id).await
}

/// Inserts the node, or replaces its old row.
async fn put(writing: &mut Writing, mut row: NodeRow, is_old: bool) -> Result<NodeRow, StoreError> {
    row.version = writing.version();
    if let Some(secret) = &row.secret {
        seals::require_next(WHAT, row.secret_version_last, &secret.sealed)?;
        seals::put(writing, row.workspace, row.id, &secret.floor).await?;
        row.secret_version_last = secret.sealed.version;
    }
    if is_old {
        resource::put(writing, &row).await?;
    } else {
        resource::add(writing, &row).await?;
    }
    Ok(row)
}

async fn find_by_credential(
    connection: &mut Connection,
    credential: TokenDigest,
) -> Result<Option<KnownNode>, StoreError> {
    let query =
        sql("SELECT node, workspace, revoked_unix_ms, public_key FROM node_credentials WHERE digest = $1");
    let Some(row) = query.bind(credential.to_vec()).row(connection).await? else { return Ok(None) };
    let fields = Fields::new(CREDENTIALS, &row);
    Ok(Some(KnownNode {
        workspace: fields.id("workspace")?,
        node: fields.id("node")?,
        is_revoked: fields.maybe_number("revoked_unix_ms")?.is_some(),
        public_key: fields.maybe_hash("public_key")?.map(|key| key.0),
    }))
}

async fn live(connection: &mut Connection, credential: TokenDigest) -> Result<KnownNode, StoreError> {
    let known = find_by_credential(connection, credential).await?;
    known.filter(|known| !known.is_revoked).ok_or(StoreError::NotFound { what: WHAT })
}

async fn move_to(
    writing: &mut Writing,
    credential: TokenDigest,
    base_url: String,
    act: Act,
) -> Result<NodeRow, StoreError> {
    let KnownNode { workspace, node, .. } = live(writing.connection(), credential).await?;
    let mut row = resource::find::<NodeRow>(writing.connection(), workspace, node).await?;
    let detail = format!("from {} to {base_url}", row.base_url);
    row.base_url = base_url;
    row.version = writing.version();
    resource::put(writing, &row).await?;
    writing.audit(&act, Some(workspace), "node.move", node, detail).await?;
    Ok(row)
}

async fn beat(
    writing: &mut Writing,
    credential: TokenDigest,
    beat: Heartbeat,
) -> Result<NodeRow, StoreError> {
    let KnownNode { workspace, node, .. } = live(writing.connection(), credential).await?;
    let mut row = resource::find::<NodeRow>(writing.connection(), workspace, node).await?;
    let heard = row.joined.as_ref().filter(|joined| joined.is_alive(beat.unix_ms));
    let (was_heard, last_unix_ms) = (heard.is_some(), heard.and_then(|joined| joined.beat_unix_ms));
    let between = (last_unix_ms, beat.unix_ms);
    node_hours::add_beat(writing, (workspace, node), beat.counters.as_ref(), between).await?;
    sql("UPDATE node_credentials SET beat_unix_ms = $2, due_unix_ms = $3, said = $4 WHERE node = $1")
        .bind(node.bytes())
        .bind(signed(beat.unix_ms))
        .bind(signed(beat.due_unix_ms))
        .bind(to_text(CREDENTIALS, &beat.report)?)
        .run(writing.connection())
        .await?;
    if let Some(joined) = &mut row.joined {
        joined.beat_unix_ms = Some(beat.unix_ms);
        joined.due_unix_ms = Some(beat.due_unix_ms);
        joined.report = Some(beat.report);
    }
    row.last_seen_unix_ms = Some(beat.unix_ms);
    let error = match (row.reachable, was_heard) {
        (true, _) => None,
        (false, true) => row.last_error.clone(),
        (false, false) => Some(beat.not_polled),
    };
    let (unix_ms, reachable) = (beat.unix_ms, row.reachable);
    nodes::see(writing, row, NodeObservation { unix_ms, reachable, models: Some(beat.models), error }).await
}

/// Nodes whose heartbeat is overdue and that count as reachable, or as unreachable for another reason.
async fn overdue(
    connection: &mut Connection,
    unix_ms: u64,
    why: &str,
) -> Result<Vec<(WorkspaceId, NodeId)>, StoreError> {
    let query = sql("SELECT c.workspace, c.node FROM node_credentials c JOIN nodes n ON n.id = c.node
         WHERE c.due_unix_ms <= $1 AND c.revoked_unix_ms IS NULL AND (n.reachable = 1 OR COALESCE(n.last_error, '') <> $3)
         ORDER BY c.due_unix_ms LIMIT $2");
    let rows = query.bind(signed(unix_ms)).bind(signed(MISSED_AT_ONCE)).bind(why).rows(connection).await?;
    let ids = rows.iter().map(|row| {
        let fields = Fields::new(CREDENTIALS, row);
        Ok((fields.id("workspace")?, fields.id("node")?))
    });
    ids.collect()
}

async fn mark_unreachable(writing: &mut Writing, unix_ms: u64, why: &str) -> Result<u64, StoreError> {
    // Queried again inside the transaction: a heartbeat may have arrived meanwhile.
    let overdue = overdue(writing.connection(), unix_ms, why).await?;
    for (workspace, node) in &overdue {
        let row = resource::find::<NodeRow>(writing.connection(), *workspace, *node).await?;
        nodes::see(writing, row, away(unix_ms, why)).await?;
    }
    Ok(overdue.len() as u64)
}

fn away(unix_ms: u64, why: &str) -> NodeObservation {
    NodeObservation { unix_ms, reachable: false, models: None, error: Some(why.to_owned()) }
}

async fn revoke(
    writing: &mut Writing,
    workspace: WorkspaceId,
    node: NodeId,
    expected: Option<u64>,
    act: Act,
) -> Result<NodeRow, StoreError> {
    let row = resource::find::<NodeRow>(writing.connection(), workspace, node).await?;
    expect_version(WHAT, expected, row.version)?;
    let Some(joined) = &row.joined else {
        let detail = format!("the node {} did not join with a token: it has no credential", row.name);
        return Err(StoreError::conflict("not_joined", detail, None));
    };
    if joined.revoked_unix_ms.is_some() {
        return Ok(row);
    }
    sql("UPDATE node_credentials SET revoked_unix_ms = $2 WHERE node = $1")
        .bind(node.bytes())
        .bind(signed(act.unix_ms))
        .run(writing.connection())
        .await?;
    nodes::see(writing, row, away(act.unix_ms, "Its credential is revoked.")).await?;
    let row = resource::find::<NodeRow>(writing.connection(), workspace, node).await?;
    let detail = format!("name {}", row.name);
    writing.audit(&act, Some(workspace), "node.revoke", node, detail).await?;
    Ok(row)
}

async fn report(
    writing: &mut Writing,
    credential: TokenDigest,
    records: Vec<NodeRecord>,
    unix_ms: u64,
) -> Result<u64, StoreError> {
    // Locks the credential's row: concurrent reports of one node are serialised, so that sequence numbers are
    // unique.
    let turn = sql(
        "UPDATE node_credentials SET workspace = workspace WHERE digest = $1 AND revoked_unix_ms IS NULL",
    );
    if turn.bind(credential.to_vec()).run(writing.connection()).await? == 0 {
        return Err(StoreError::NotFound { what: WHAT });
    }
    let known = live(writing.connection(), credential).await?;
    let query = sql("SELECT COALESCE(MAX(place), 0) AS place FROM node_records WHERE node = $1");
    let row = query.bind(known.node.bytes()).one(writing.connection()).await?;
    let first = Fields::new(RECORDS, &row).number("place")?;
    let mut sequence = first;
    let mut by_hour = WorkByHour::default();
    for record in records {
        let row = NodeRecordRow { place: sequence + 1, kept_unix_ms: unix_ms, record };
        let is_new = insert_record(writing, known, &row).await? > 0;
        // What left for another place is not the node's work.
        if is_new && row.record.left_to.is_none() {
            let (model, adapter) = (&row.record.model, row.record.adapter.as_deref());
            by_hour.add(row.record.started_unix_ms.min(unix_ms), model, adapter, &work_of(&row.record));
        }
        sequence += u64::from(is_new);
    }
    node_hours::add_work(writing, (known.workspace, known.node), &by_hour).await?;
    Ok(sequence - first)
}

const fn work_of(record: &NodeRecord) -> Work {
    Work {
        requests: 1,
        input_tokens: record.input_tokens,
        cached_tokens: record.cached_tokens,
        output_tokens: record.output_tokens,
        took_ms: record.took_ms,
    }
}

/// The number of inserted rows: zero for a duplicate.
async fn insert_record(
    writing: &mut Writing,
    known: KnownNode,
    row: &NodeRecordRow,
) -> Result<u64, StoreError> {
    let record = &row.record;
    sql("INSERT INTO node_records (node, place, event, workspace, request, model, adapter, operation, ended,
             begun_unix_ms, took_ms, input_tokens, cached_tokens, output_tokens, reasoning_tokens, is_measured, kept_unix_ms,
             left_to, left_because)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
         ON CONFLICT (node, event) DO NOTHING")
        .bind(known.node.bytes())
        .bind(signed(row.place))
        .bind(record.event.bytes())
        .bind(known.workspace.bytes())
        .bind(record.request.map(|request| request.bytes()))
        .bind(&record.model)
        .bind(&record.adapter)
        .bind(&record.operation)
        .bind(&record.ended)
        .bind(signed(record.started_unix_ms))
        .bind(signed(record.took_ms))
        .bind(signed(record.input_tokens))
        .bind(signed(record.cached_tokens))
        .bind(signed(record.output_tokens))
        .bind(signed(record.reasoning_tokens))
        .bind(i64::from(record.is_measured))
        .bind(signed(row.kept_unix_ms))
        .bind(&record.left_to)
        .bind(&record.left_because)
        .run(writing.connection())
        .await
}

fn read_record(row: &Row) -> Result<NodeRecordRow, StoreError> {
    let fields = Fields::new(RECORDS, row);
    Ok(NodeRecordRow {
        place: fields.number("place")?,
        kept_unix_ms: fields.number("kept_unix_ms")?,
        record: NodeRecord {
            event: fields.id("event")?,
            request: fields.maybe_id("request")?,
            model: fields.text("model")?,
            adapter: fields.maybe_text("adapter")?,
            operation: fields.text("operation")?,
            ended: fields.text("ended")?,
            started_unix_ms: fields.number("begun_unix_ms")?,
            took_ms: fields.number("took_ms")?,
            input_tokens: fields.number("input_tokens")?,
            cached_tokens: fields.number("cached_tokens")?,
            output_tokens: fields.number("output_tokens")?,
            reasoning_tokens: fields.number("reasoning_tokens")?,
            is_measured: fields.flag("is_measured")?,
            left_to: fields.maybe_text("left_to")?,
            left_because: fields.maybe_text("left_because")?,
        },
    })
}

async fn records(
    connection: &mut Connection,
    workspace: WorkspaceId,
    node: NodeId,
    page: Page<u64>,
) -> Result<Listed<NodeRecordRow, u64>, StoreError> {
    let wanted = page.rows_wanted();
    let query = sql("SELECT * FROM node_records WHERE node = $1 AND place > $2 AND workspace = $4
                     ORDER BY place LIMIT $3")
    .bind(node.bytes())
    .bind(signed(page.after.unwrap_or(0)))
    .bind(signed(wanted as u64 + 1))
    .bind(workspace.bytes());
    let rows = query.rows(connection).await?;
    // A node's records outlive it.
    if rows.is_empty() {
        resource::find::<NodeRow>(connection, workspace, node).await?;
    }
    let rows = rows.iter().map(read_record).collect::<Result<_, _>>()?;
    Ok(Listed::cut(rows, wanted, |row: &NodeRecordRow| row.place))
}

impl Joins<'_> {
    /// Stores a token, and deletes those that expired before `forgotten_before_unix_ms`. Refused as
    /// `name_taken` if a node has the name and its credential is not revoked.
    pub async fn invite(
        self,
        token: JoinToken,
        forgotten_before_unix_ms: u64,
        act: Act,
    ) -> Result<(), StoreError> {
        self.0.note(move |writing| Box::pin(invite(writing, token, forgotten_before_unix_ms, act))).await
    }

    pub async fn token(self, digest: TokenDigest) -> Result<Option<JoinToken>, StoreError> {
        token(&mut self.0.read().await?, digest).await
    }

    /// The node with this name, if there is one.
    pub async fn node_by_name(
        self,
        workspace: WorkspaceId,
        name: String,
    ) -> Result<Option<NodeRow>, StoreError> {
        nodes::find_by_name(&mut self.0.read().await?, workspace, &name).await
    }

    /// Exchanges a token for a credential. Refused as `join_token_used` or `join_token_expired`, as
    /// `name_taken` like `invite`, and as not found if there is no such token.
    pub async fn join(self, joining: Joining, act: Act) -> Result<Written<NodeRow>, StoreError> {
        self.0.write(move |writing| Box::pin(join(writing, joining, act))).await
    }

    /// Keeps the public key of the node, unless it has sent one before.
    pub async fn keep_key(self, credential: TokenDigest, public_key: [u8; 32]) -> Result<(), StoreError> {
        self.0.note(move |writing| {
            Box::pin(async move {
                let query = sql(
                    "UPDATE node_credentials SET public_key = $2 WHERE digest = $1 AND public_key IS NULL",
                );
                query.bind(credential.to_vec()).bind(public_key.to_vec()).run(writing.connection()).await?;
                Ok(())
            })
        }).await
    }

    /// Has the node's requests go to this address from now on. Not found as for `record_heartbeat`.
    pub async fn move_to(
        self,
        credential: TokenDigest,
        base_url: String,
        act: Act,
    ) -> Result<Written<NodeRow>, StoreError> {
        self.0.write(move |writing| Box::pin(move_to(writing, credential, base_url, act))).await
    }

    pub async fn node_of_credential(self, credential: TokenDigest) -> Result<Option<KnownNode>, StoreError> {
        find_by_credential(&mut self.0.read().await?, credential).await
    }

    /// Records a heartbeat. A node that was unreachable stays so until a poll reaches it at its address. Not
    /// found if its credential is unknown or revoked.
    pub async fn record_heartbeat(
        self,
        credential: TokenDigest,
        heartbeat: Heartbeat,
    ) -> Result<Written<NodeRow>, StoreError> {
        self.0.write(move |writing| Box::pin(beat(writing, credential, heartbeat))).await
    }

    /// Marks every node whose heartbeat is overdue as unreachable, with this reason, and returns how many.
    pub async fn mark_overdue(self, unix_ms: u64, why: String) -> Result<Written<u64>, StoreError> {
        // A read comes first, so that configuration changes don't wait for a poll that finds nothing
        // overdue.
        if overdue(&mut self.0.read().await?, unix_ms, &why).await?.is_empty() {
            return Ok(Written { version: 0, row: 0 });
        }
        self.0
            .write(move |writing| Box::pin(async move { mark_unreachable(writing, unix_ms, &why).await }))
            .await
    }

    /// Revokes a node's credential. Refused as `not_joined` if it has none.
    pub async fn revoke(
        self,
        workspace: WorkspaceId,
        node: NodeId,
        expected: Option<u64>,
        act: Act,
    ) -> Result<Written<NodeRow>, StoreError> {
        self.0.write(move |writing| Box::pin(revoke(writing, workspace, node, expected, act))).await
    }

    /// Stores each record once, duplicates ignored, and returns how many were new. Not found as for `record_heartbeat`.
    pub async fn report(
        self,
        credential: TokenDigest,
        records: Vec<NodeRecord>,
        unix_ms: u64,
    ) -> Result<u64, StoreError> {
        self.0.note(move |writing| Box::pin(report(writing, credential, records, unix_ms))).await
    }

    pub async fn records(
        self,
        workspace: WorkspaceId,
        node: NodeId,
        page: Page<u64>,
    ) -> Result<Listed<NodeRecordRow, u64>, StoreError> {
        records(&mut self.0.read().await?, workspace, node, page).await
    }
}
