//! The hours of nodes and what they served in each, for reports on what own hardware costs.

use std::collections::BTreeMap;

use database::error::StoreError;
use database::fields::{ColumnId, Fields, signed, to_text};
use database::handle::Database;
use database::statement::{Row, compose, sql};
use database::writing::Writing;
use domain::{NodeId, WorkspaceId};
use hardware::{Counters, Counts, Gained, HOUR_MS, Seen, Work};

use crate::limits::NODE_POLL_GAP_MAX_MS;
use crate::usage::Window;

const CREDENTIALS: &str = "node_credentials";
const HOURS: &str = "node_hours";
const WORK: &str = "node_work";
const RECORDS: &str = "node_records";
/// Records with longer prompts have an index.
const INDEXED_PROMPT_TOKENS: u64 = 100_000;

/// What a node served of one model, with one adapter or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeWork {
    pub node: NodeId,
    pub model: String,
    pub adapter: Option<String>,
    pub work: Work,
}

/// A window covers every hour that it touches.
#[derive(Clone, Copy)]
pub struct NodeHours<'a>(pub &'a Database);

/// Work by hour, model and adapter, as it is added to.
#[derive(Debug, Default)]
pub struct WorkByHour(BTreeMap<(u64, String, String), Work>);

impl WorkByHour {
    pub fn add(&mut self, started_unix_ms: u64, model: &str, adapter: Option<&str>, work: &Work) {
        let key = (started_unix_ms / HOUR_MS, model.to_owned(), adapter.unwrap_or_default().to_owned());
        self.0.entry(key).or_default().plus(work);
    }
}

/// Adds what a node counted since its last heartbeat, and keeps its counters. A node that counts nothing was up since its last
/// heartbeat, if there was one in time.
pub async fn add_beat(
    writing: &mut Writing,
    (workspace, node): (WorkspaceId, NodeId),
    counters: Option<&Counters>,
    (last_unix_ms, now_unix_ms): (Option<u64>, u64),
) -> Result<(), StoreError> {
    let Some(counters) = counters else {
        let Some(since_unix_ms) = last_unix_ms else { return Ok(()) };
        return add_up(writing, (workspace, node), (since_unix_ms, now_unix_ms)).await;
    };
    let query = sql("SELECT counters FROM node_credentials WHERE node = $1").bind(node.bytes());
    let row = query.one(writing.connection()).await?;
    let before: Option<Seen> = Fields::new(CREDENTIALS, &row).maybe_json("counters")?;
    let gained = hardware::gained(before.as_ref(), counters, now_unix_ms);
    let seen = Seen { unix_ms: now_unix_ms, counters: *counters };
    let query = sql("UPDATE node_credentials SET counters = $2 WHERE node = $1").bind(node.bytes());
    query.bind(to_text(CREDENTIALS, &seen)?).run(writing.connection()).await?;
    add_counts(writing, (workspace, node), &hardware::spread(&gained, now_unix_ms)).await
}

/// Adds the time between two polls that found a node, if they are not so far apart that it may have been away.
pub async fn add_poll(
    writing: &mut Writing,
    node: (WorkspaceId, NodeId),
    (since_unix_ms, now_unix_ms): (u64, u64),
) -> Result<(), StoreError> {
    if now_unix_ms.saturating_sub(since_unix_ms) > NODE_POLL_GAP_MAX_MS {
        return Ok(());
    }
    add_up(writing, node, (since_unix_ms, now_unix_ms)).await
}

async fn add_up(
    writing: &mut Writing,
    node: (WorkspaceId, NodeId),
    (since_unix_ms, now_unix_ms): (u64, u64),
) -> Result<(), StoreError> {
    let counts = Counts::up(now_unix_ms.saturating_sub(since_unix_ms));
    let gained = Gained { from_unix_ms: since_unix_ms.min(now_unix_ms), counts };
    add_counts(writing, node, &hardware::spread(&gained, now_unix_ms)).await
}

async fn add_counts(
    writing: &mut Writing,
    (workspace, node): (WorkspaceId, NodeId),
    hours: &[(u64, Counts)],
) -> Result<(), StoreError> {
    for (hour, counts) in hours {
        sql("INSERT INTO node_hours (node, hour, workspace, up_ms, counted_ms, busy_ms, measured_ms, measured_mj)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (node, hour) DO UPDATE SET up_ms = node_hours.up_ms + excluded.up_ms,
                 counted_ms = node_hours.counted_ms + excluded.counted_ms, busy_ms = node_hours.busy_ms + excluded.busy_ms,
                 measured_ms = node_hours.measured_ms + excluded.measured_ms,
                 measured_mj = node_hours.measured_mj + excluded.measured_mj")
            .bind(node.bytes())
            .bind(signed(*hour))
            .bind(workspace.bytes())
            .bind(signed(counts.up_ms))
            .bind(signed(counts.counted_ms))
            .bind(signed(counts.busy_ms))
            .bind(signed(counts.measured_ms))
            .bind(signed(counts.measured_mj))
            .run(writing.connection())
            .await?;
    }
    Ok(())
}

/// Adds what a node reported, in the transaction that stores its records, so that each is in it once.
pub async fn add_work(
    writing: &mut Writing,
    (workspace, node): (WorkspaceId, NodeId),
    by_hour: &WorkByHour,
) -> Result<(), StoreError> {
    for ((hour, model, adapter), work) in &by_hour.0 {
        sql("INSERT INTO node_work (workspace, hour, node, model, adapter, requests, input_tokens, cached_tokens, output_tokens, took_ms)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
             ON CONFLICT (workspace, hour, node, model, adapter) DO UPDATE SET requests = node_work.requests + excluded.requests,
                 input_tokens = node_work.input_tokens + excluded.input_tokens,
                 cached_tokens = node_work.cached_tokens + excluded.cached_tokens,
                 output_tokens = node_work.output_tokens + excluded.output_tokens, took_ms = node_work.took_ms + excluded.took_ms")
            .bind(workspace.bytes())
            .bind(signed(*hour))
            .bind(node.bytes())
            .bind(model)
            .bind(adapter)
            .bind(signed(work.requests))
            .bind(signed(work.input_tokens))
            .bind(signed(work.cached_tokens))
            .bind(signed(work.output_tokens))
            .bind(signed(work.took_ms))
            .run(writing.connection())
            .await?;
    }
    Ok(())
}

/// The first hour of a window, and the first after it.
fn hours_of(window: Window) -> (i64, i64) {
    (signed(window.start_unix_ms / HOUR_MS), signed(window.end_unix_ms.div_ceil(HOUR_MS)))
}

async fn counts(
    database: &Database,
    workspace: WorkspaceId,
    window: Window,
) -> Result<Vec<(NodeId, Counts)>, StoreError> {
    let (from, until) = hours_of(window);
    let query = sql(
        "SELECT node, CAST(SUM(up_ms) AS BIGINT) AS up_ms, CAST(SUM(counted_ms) AS BIGINT) AS counted_ms,
             CAST(SUM(busy_ms) AS BIGINT) AS busy_ms, CAST(SUM(measured_ms) AS BIGINT) AS measured_ms,
             CAST(SUM(measured_mj) AS BIGINT) AS measured_mj
         FROM node_hours WHERE workspace = $1 AND hour >= $2 AND hour < $3 GROUP BY node",
    );
    let query = query.bind(workspace.bytes()).bind(from).bind(until);
    let rows = query.rows(&mut database.read().await?).await?;
    let sums = rows.iter().map(|row| {
        let fields = Fields::new(HOURS, row);
        let counts = Counts {
            up_ms: fields.number("up_ms")?,
            counted_ms: fields.number("counted_ms")?,
            busy_ms: fields.number("busy_ms")?,
            measured_ms: fields.number("measured_ms")?,
            measured_mj: fields.number("measured_mj")?,
        };
        Ok((fields.id("node")?, counts))
    });
    sums.collect()
}

async fn work(
    database: &Database,
    workspace: WorkspaceId,
    window: Window,
) -> Result<Vec<NodeWork>, StoreError> {
    let (from, until) = hours_of(window);
    let query = sql("SELECT node, model, adapter, CAST(SUM(requests) AS BIGINT) AS requests,
             CAST(SUM(input_tokens) AS BIGINT) AS input_tokens, CAST(SUM(cached_tokens) AS BIGINT) AS cached_tokens,
             CAST(SUM(output_tokens) AS BIGINT) AS output_tokens, CAST(SUM(took_ms) AS BIGINT) AS took_ms
         FROM node_work WHERE workspace = $1 AND hour >= $2 AND hour < $3
         GROUP BY node, model, adapter ORDER BY node, model, adapter");
    let query = query.bind(workspace.bytes()).bind(from).bind(until);
    let rows = query.rows(&mut database.read().await?).await?;
    sums_of(WORK, &rows)
}

async fn long_work(
    database: &Database,
    workspace: WorkspaceId,
    window: Window,
    above_tokens: u64,
) -> Result<Vec<NodeWork>, StoreError> {
    let (from, until) = hours_of(window);
    let hour_ms = signed(HOUR_MS);
    // The condition of an index of long prompts is stated, so that it is used.
    let indexed = if above_tokens >= INDEXED_PROMPT_TOKENS {
        format!("AND input_tokens > {INDEXED_PROMPT_TOKENS}")
    } else {
        String::new()
    };
    let query = compose(format!(
        "SELECT node, model, COALESCE(adapter, '') AS adapter, CAST(COUNT(*) AS BIGINT) AS requests,
             CAST(SUM(input_tokens) AS BIGINT) AS input_tokens, CAST(SUM(cached_tokens) AS BIGINT) AS cached_tokens,
             CAST(SUM(output_tokens) AS BIGINT) AS output_tokens, CAST(SUM(took_ms) AS BIGINT) AS took_ms
         FROM node_records WHERE workspace = $1 AND begun_unix_ms >= $2 AND begun_unix_ms < $3 {indexed}
             AND input_tokens > $4 AND left_to IS NULL
         GROUP BY node, model, COALESCE(adapter, '')"
    ));
    let query = query.bind(workspace.bytes()).bind(from.saturating_mul(hour_ms));
    let query = query.bind(until.saturating_mul(hour_ms)).bind(signed(above_tokens));
    let rows = query.rows(&mut database.read().await?).await?;
    sums_of(RECORDS, &rows)
}

fn sums_of(table: &'static str, rows: &[Row]) -> Result<Vec<NodeWork>, StoreError> {
    let sums = rows.iter().map(|row| {
        let fields = Fields::new(table, row);
        Ok(NodeWork {
            node: fields.id("node")?,
            model: fields.text("model")?,
            adapter: Some(fields.text("adapter")?).filter(|adapter| !adapter.is_empty()),
            work: Work {
                requests: fields.number("requests")?,
                input_tokens: fields.number("input_tokens")?,
                cached_tokens: fields.number("cached_tokens")?,
                output_tokens: fields.number("output_tokens")?,
                took_ms: fields.number("took_ms")?,
            },
        })
    });
    sums.collect()
}

impl NodeHours<'_> {
    /// Sums by node.
    pub async fn counts(
        self,
        workspace: WorkspaceId,
        window: Window,
    ) -> Result<Vec<(NodeId, Counts)>, StoreError> {
        counts(self.0, workspace, window).await
    }

    /// What the nodes themselves reported, by node, model and adapter.
    pub async fn work(self, workspace: WorkspaceId, window: Window) -> Result<Vec<NodeWork>, StoreError> {
        work(self.0, workspace, window).await
    }

    /// The part of it whose prompts had more tokens than this.
    pub async fn long_work(
        self,
        workspace: WorkspaceId,
        window: Window,
        above_tokens: u64,
    ) -> Result<Vec<NodeWork>, StoreError> {
        long_work(self.0, workspace, window, above_tokens).await
    }
}
