//! `/v2/data-path`: who saw metadata or content of requests, where, under whose key, and how long it is retained there.

mod facts;
mod party;
mod sums;
#[cfg(test)]
mod tests;
mod trail;
mod view;

use std::collections::HashMap;
use std::sync::Arc;

use api::access::Access;
use api::failure::invalid;
use api::reply::{Page, Reply};
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::limits::PAGE_ROWS_MAX;
use domain::purge::{Place, first_request_at};
use domain::{Fault, MeterRecord, TraceId, WorkspaceId};
use evidence::{Held, HeldOf};
use http::Method;
use reconcilers::of_store;
use store::{Page as Rows, RequestFilter};

use self::facts::Configured;
use self::party::DAY_MS;
use self::sums::Sums;
use self::trail::{IN_MEMORY, RequestFacts};
use self::view::{DataPathView, Read};
use crate::limits::{DATA_PATH_HELD_MAX, DATA_PATH_PAGES_MAX, DATA_PATH_RECORDS_MAX};
use crate::requests::{filter, with_filters};
use crate::usage::FORMAT;

pub use view::PartyView;

/// Unless `since` says more or less.
const WINDOW_MS: u64 = 30 * DAY_MS;

pub fn routes() -> Vec<Route> {
    vec![
        with_filters(Route::new(Method::GET, "/v2/data-path", Access::LOOK, list))
            .says("Lists who saw metadata or content of requests, one row per party: over the last 30 days unless `since` is given.")
            .query(FORMAT.0, FORMAT.1)
            .returns_value::<DataPathView>(),
    ]
}

/// The data path of one request.
///
/// # Errors
/// The database does not answer.
pub async fn of_request(
    control: &Control,
    record: &MeterRecord,
    is_operator: bool,
) -> Result<Vec<PartyView>, Box<Fault>> {
    let configured = configured(control, record.workspace, is_operator);
    let held = held(control, record.workspace, (record.trace, record.trace)).await?;
    let embedding = match record.extras.semantic {
        None => None,
        // It may be older than the oldest record that is kept.
        Some(search) => control.deps.store.records().request(record.workspace, search.embedding).await.ok(),
    };
    let facts = RequestFacts {
        record,
        held: held.of.get(&record.trace).map_or(&[][..], Vec::as_slice),
        embedding: embedding.as_ref(),
        is_operator,
    };
    Ok(trail::data_path(&facts, &configured).into_iter().map(view::party).collect())
}

fn configured(control: &Control, workspace: WorkspaceId, is_operator: bool) -> Configured {
    let snapshot = control.deps.keeper.current();
    Configured::new(snapshot, (workspace, is_operator), control.web.records_days)
}

async fn list(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let now = control.deps.world.clock.unix_ms();
    let mut filter = filter(control, &request).await?;
    let start = filter.since_unix_ms.unwrap_or_else(|| now.saturating_sub(WINDOW_MS));
    let end = filter.until_unix_ms.unwrap_or(now);
    if end < start {
        return Err(invalid("since", "The window ends before it starts.", "Give a since before until."));
    }
    filter.since_unix_ms = Some(start);
    let read = read(control, &request, filter, (start, end)).await?;
    match request.query.get("format").map(String::as_str) {
        None | Some("json") => Reply::json(&view::whole(read)),
        format => {
            refuse_part(&read)?;
            let lines = read.sums.lines.into_iter();
            if format == Some("csv") {
                return Reply::list(format, &Page::whole(lines.map(view::cells).collect()));
            }
            Reply::list(format, &Page::whole(lines.map(view::line).collect()))
        }
    }
}

/// A file has no place to say that it is not all.
fn refuse_part(read: &Read) -> Result<(), Box<Fault>> {
    if !read.is_truncated {
        return Ok(());
    }
    let message = format!("There are more than {DATA_PATH_RECORDS_MAX} requests in this time.");
    Err(invalid(
        "since",
        message,
        "Ask for a shorter period, or filter by project: a file can't state that it is incomplete.",
    ))
}

/// The newest requests that match.
async fn read(
    control: &Control,
    request: &ApiRequest,
    filter: RequestFilter,
    (start_unix_ms, end_unix_ms): (u64, u64),
) -> Result<Read, Box<Fault>> {
    let workspace = request.workspace();
    let range = (first_request_at(start_unix_ms), first_request_at(end_unix_ms.saturating_add(1)));
    let held = held(control, workspace, range).await?;
    let mut read = Read {
        start_unix_ms,
        end_unix_ms,
        requests: 0,
        is_truncated: held.is_truncated,
        from_unix_ms: None,
        sums: Sums::default(),
    };
    let configured = configured(control, workspace, request.is_operator());
    let mut page = Rows::first(PAGE_ROWS_MAX);
    for _ in 0..DATA_PATH_PAGES_MAX {
        let listed = control.deps.store.records().matching(workspace, filter.clone(), page);
        let listed = listed.await.map_err(of_store)?;
        read.take(&configured, &held, &listed.rows, request.is_operator());
        let Some(next) = listed.next else { return Ok(read) };
        if read.requests >= DATA_PATH_RECORDS_MAX {
            break;
        }
        page = Rows { limit: PAGE_ROWS_MAX, after: Some(next) };
        // The runtime serves others, too.
        tokio::task::yield_now().await;
    }
    read.is_truncated = true;
    Ok(read)
}

impl Read {
    fn take(&mut self, configured: &Configured, held: &AllHeld, records: &[MeterRecord], is_operator: bool) {
        for record in records {
            let of = held.of.get(&record.trace).map_or(&[][..], Vec::as_slice);
            // The request that embedded its text is among them, too.
            let facts = RequestFacts { record, held: of, embedding: None, is_operator };
            self.sums.take(record, trail::data_path(&facts, configured));
            self.requests += 1;
            let oldest = self.from_unix_ms.unwrap_or(u64::MAX);
            self.from_unix_ms = Some(oldest.min(record.started_unix_ms));
        }
    }
}

/// What is held of requests, here and by the names of what providers hold.
struct AllHeld {
    of: HashMap<TraceId, Vec<Held>>,
    is_truncated: bool,
}

async fn held(
    control: &Control,
    workspace: WorkspaceId,
    (first, last): (TraceId, TraceId),
) -> Result<AllHeld, Box<Fault>> {
    let now_unix_ms = control.deps.world.clock.unix_ms();
    let rows_max = DATA_PATH_HELD_MAX;
    let scope = HeldOf { workspace, first, last, now_unix_ms, rows_max: rows_max + 1 };
    let mut rows = evidence::held(&control.deps.store, scope).await.map_err(of_store)?;
    let is_truncated = rows.len() > rows_max as usize;
    rows.extend(in_memory(control, workspace, (first, last), now_unix_ms));
    let mut of: HashMap<TraceId, Vec<Held>> = HashMap::new();
    for row in rows {
        of.entry(row.request).or_default().push(row);
    }
    Ok(AllHeld { of, is_truncated })
}

/// What this gateway holds in memory; what others hold is not known here.
fn in_memory(
    control: &Control,
    workspace: WorkspaceId,
    (first, last): (TraceId, TraceId),
    now_unix_ms: u64,
) -> Vec<Held> {
    let snapshot = control.deps.keeper.current();
    let Some(entry) = snapshot.workspace(workspace) else { return Vec::new() };
    let cached = control.web.cached.answers_of(workspace).into_iter().filter_map(|kept| {
        let project = entry.projects.iter().find(|project| project.id == kept.project)?;
        let lifetime = project.caching.responses_lifetime(&entry.caching);
        let until = lifetime.map(|time| kept.made_unix_ms.saturating_add(reconcilers::milliseconds(time)));
        Some((kept.request, Place::ResponseCache, until))
    });
    let prompts = control.deps.board.known_prefixes(workspace);
    let prompts = prompts.map(|table| table.keep_alive().parents()).unwrap_or_default();
    let prompts = prompts.into_iter().map(|request| (request, Place::HeldPrompts, None));
    let is_meant = |(request, _, until): &(TraceId, Place, Option<u64>)| {
        (first..=last).contains(request) && until.is_none_or(|until| until > now_unix_ms)
    };
    let held = |(request, place, until_unix_ms)| Held {
        request,
        place,
        kind: IN_MEMORY,
        maker: None,
        until_unix_ms,
    };
    cached.chain(prompts).filter(is_meant).map(held).collect()
}
