//! SQL for what a warm session is beyond a session.

use database::error::StoreError;
use database::fields::{ColumnId, Fields, signed};
use database::statement::{Statement, compose};
use database::writing::Writing;
use domain::ports::{WarmEvent, WarmSession};
use domain::{ObjectOwner, SessionId};

use crate::limits::WARM_KEPT_MS;

/// The sessions that an event changes: its first parameters are the session, its owner and the time.
const ACTIVE: &str = " WHERE id = $1 AND workspace = $2 AND project = $3 AND warm_app IS NOT NULL
     AND warm_ended_unix_ms IS NULL AND warm_until_unix_ms > $4";

pub(super) fn read(fields: &Fields<'_>) -> Result<Option<WarmSession>, StoreError> {
    let Some(app) = fields.maybe_text("warm_app")? else { return Ok(None) };
    let seat = fields.maybe_text("warm_seat")?.map(|seat| seat.parse());
    Ok(Some(WarmSession {
        id: fields.id("id")?,
        app,
        idle_ms: fields.number("warm_idle_ms")?,
        created_unix_ms: fields.number("created_unix_ms")?,
        expires_unix_ms: fields.number("warm_until_unix_ms")?,
        ended_unix_ms: fields.maybe_number("warm_ended_unix_ms")?,
        calls: fields.number("warm_calls")?,
        called_unix_ms: fields.number("used_unix_ms")?,
        seat: seat.transpose().map_err(|_| StoreError::corrupt("sessions", "warm_seat isn't a seat"))?,
    }))
}

/// Notes an event; whether it changes the session.
pub(super) async fn note(
    writing: &mut Writing,
    of: (ObjectOwner, SessionId),
    event: WarmEvent,
    now_unix_ms: u64,
) -> Result<bool, StoreError> {
    Ok(statement(of, event, now_unix_ms).run(writing.connection()).await? > 0)
}

fn statement((owner, id): (ObjectOwner, SessionId), event: WarmEvent, now_unix_ms: u64) -> Statement {
    let kept = "warm_until_unix_ms = $4 + warm_idle_ms, until_unix_ms = $4 + warm_idle_ms + $5";
    let query = match event {
        WarmEvent::Call => compose(format!(
            "UPDATE sessions SET {kept}, used_unix_ms = $4, warm_calls = warm_calls + 1{ACTIVE}"
        )),
        WarmEvent::KeepAlive => compose(format!("UPDATE sessions SET {kept}{ACTIVE}")),
        WarmEvent::Seat(_) => {
            compose(format!("UPDATE sessions SET warm_seat = $5{ACTIVE} AND warm_seat IS NULL"))
        }
        WarmEvent::End => {
            compose(format!("UPDATE sessions SET warm_ended_unix_ms = $4, until_unix_ms = $4 + $5{ACTIVE}"))
        }
    };
    let query = query.bind(id.bytes()).bind(owner.workspace.bytes()).bind(owner.project.bytes());
    let query = query.bind(signed(now_unix_ms));
    match event {
        WarmEvent::Seat(seat) => query.bind(seat.to_string()),
        WarmEvent::Call | WarmEvent::KeepAlive | WarmEvent::End => query.bind(signed(WARM_KEPT_MS)),
    }
}
