//! How long a task was in each status, and its log.

use domain::{RunTask, TaskStatus};
use serde_json::{Value, json};

use crate::document::moment;

/// The log of a task, and its events.
pub fn logs(document: &Value) -> Value {
    let of = |name: &str| document.get(name).cloned().unwrap_or_default();
    json!({"task_id": of("id"), "status": of("status"), "events": of("events"), "logs": of("logs")})
}

/// How long a task was in each status.
pub fn timings(task: &RunTask, now_unix_ms: u64) -> Value {
    let end = task.ended_unix_ms.unwrap_or(now_unix_ms);
    let total = end.saturating_sub(task.created_unix_ms);
    let name = |code: u8| TaskStatus::by_code(code).map_or("unknown", TaskStatus::as_str);
    let nexts = task.events.iter().skip(1).map(Some).chain([None]);
    let events = task.events.iter().zip(nexts).map(|(event, next)| {
        let lasted = next.map(|next| next.unix_ms.saturating_sub(event.unix_ms));
        json!({
            "status": name(event.status), "timestamp": moment(event.unix_ms), "duration": lasted.map(seconds),
            "duration_ms": lasted, "next_status": next.map(|next| name(next.status)),
        })
    });
    let begin = task.events.iter().find(|event| event.status == TaskStatus::Running.code());
    let queue_end = begin.map_or(end, |event| event.unix_ms);
    let group = |label: &str, from: u64, to: Option<u64>| {
        let lasted = to.unwrap_or(now_unix_ms).saturating_sub(from);
        json!({
            "label": label, "start_at": moment(from), "end_at": to.map(moment), "duration": seconds(lasted),
            "duration_ms": lasted,
        })
    };
    let waited = group("queue", task.created_unix_ms, begin.map(|_| queue_end).or(task.ended_unix_ms));
    let ran = begin.map(|event| group("run", event.unix_ms, task.ended_unix_ms));
    let groups: Vec<_> = [waited].into_iter().chain(ran).collect();
    json!({
        "task_id": task.id.to_string(), "status": task.status.code(), "total_duration": seconds(total),
        "total_duration_ms": total, "groups": groups,
        "events": events.collect::<Vec<_>>(),
    })
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}s", ms / 1_000, ms % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_seconds() {
        assert_eq!(seconds(61_005), "61.005s");
    }
}
