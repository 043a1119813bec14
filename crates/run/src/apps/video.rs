//! Videos, which their providers make after the request for one is answered: a run waits a while until one is made.

use std::rc::Rc;
use std::time::Duration;

use admit::Caller;
use bytes::Bytes;
use conversation::request::{Addressed, Stored, StoredAct};
use conversation::video::{VideoState, read_video};
use decode::Inbound;
use domain::{Dialect, Fault, FaultClass, Operation, TraceId, Units, Usage};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt;
use line::Core;
use serde_json::{Value, json};
use settle::ReplyBody;
use tokio::time::{Instant, sleep};

use super::Kind;
use super::output::{Output, UsageKind};
use crate::limits::{VIDEO_LOOK_EVERY_MAX, VIDEO_LOOK_FIRST};

/// Where videos are read.
const VIDEOS: &str = "/v1/videos";

/// Why there is no video.
pub(crate) enum NoVideo {
    /// It is not made yet, or can't be.
    Fault(Box<Fault>),
    /// What the pipeline answered instead.
    Answer(Box<Response<ReplyBody>>),
}

/// Waits until the video of this answer is made, or until `wait_max` is over. Each look is a request of its own; the video is
/// booked once whoever looks.
///
/// # Errors
/// It is not made in that time, or could not be.
pub(crate) async fn finish(
    core: &Rc<Core>,
    caller: &Caller,
    created: &Bytes,
    wait_max: Duration,
) -> Result<Output, NoVideo> {
    let until = Instant::now() + wait_max;
    let (mut latest, mut pause) = (created.clone(), VIDEO_LOOK_FIRST);
    let unreadable = || NoVideo::Fault(Box::new(Fault::internal()));
    loop {
        let video: Value = serde_json::from_slice(&latest).map_err(|_| unreadable())?;
        let id = video.get("id").and_then(Value::as_str).ok_or_else(unreadable)?;
        match read_video(&latest).map(|read| (read.state, read.video_ms)) {
            Some((VideoState::Completed, video_ms)) => return Ok(output(id, &video, video_ms)),
            Some((VideoState::Failed, _)) => return Err(NoVideo::Fault(failed(id, &video))),
            _ => {}
        }
        if Instant::now() + pause > until {
            return Err(NoVideo::Fault(not_made(id)));
        }
        sleep(pause).await;
        pause = (pause * 2).min(VIDEO_LOOK_EVERY_MAX);
        latest = look(core, caller, id).await?;
    }
}

async fn look(core: &Rc<Core>, caller: &Caller, id: &str) -> Result<Bytes, NoVideo> {
    let world = &core.deps.world;
    let unix_ms = world.clock.unix_ms();
    let trace = TraceId::new(unix_ms, world.id_bytes());
    let stored = Stored::new(id.to_owned(), StoredAct::Read, String::new());
    let inbound = Inbound {
        trace,
        dialect: Dialect::Run,
        operation: Operation::Video,
        headers: HeaderMap::new(),
        addressed: Some(Box::new(Addressed { stored: Some(stored), ..Addressed::default() })),
        body: Bytes::new(),
        form: None,
        received_us: world.clock.monotonic_us(),
        received_unix_ms: unix_ms,
    };
    let response = line::serve(core, inbound, caller.clone()).await;
    if response.status() != StatusCode::OK {
        return Err(NoVideo::Answer(Box::new(response)));
    }
    let body = response.into_body().collect().await;
    body.map(http_body_util::Collected::to_bytes).map_err(|_| NoVideo::Fault(Box::new(Fault::internal())))
}

fn output(id: &str, video: &Value, video_ms: Option<u64>) -> Output {
    let units = Units { video_ms: video_ms.unwrap_or(0), ..Units::default() };
    let usage_kind = UsageKind::of(Kind::Video, &Usage { units, ..Usage::default() });
    let mut made = json!({
        "id": id, "uri": format!("{VIDEOS}/{id}/content"), "content_type": "video/mp4",
    });
    if let Some(fields) = made.as_object_mut() {
        if video_ms.is_some() {
            fields.insert("seconds".to_owned(), usage_kind.quantity.clone());
        }
        if let Some(size) = video.get("size").filter(|size| size.is_string()) {
            fields.insert("size".to_owned(), size.clone());
        }
    }
    Output { value: json!({"video": made}), usage_kind, messages: Vec::new() }
}

fn failed(id: &str, video: &Value) -> Box<Fault> {
    let why =
        video.pointer("/error/message").and_then(Value::as_str).unwrap_or("its provider gave no reason");
    let why: String = why.chars().filter(|letter| !letter.is_control()).take(300).collect();
    let message = format!("The video {id} could not be made: {}.", why.trim_end_matches('.'));
    let fault = Fault::new(FaultClass::Upstream, "video_failed", message);
    Box::new(fault.fix("Change the prompt, or run the app again.").should_retry(false))
}

/// It goes on being made, and is billed once it is: nothing that was paid for is lost.
fn not_made(id: &str) -> Box<Fault> {
    let message = format!("The video {id} is still being made.");
    let fault = Fault::new(FaultClass::Timeout, "video_not_made", message).should_retry(false);
    let fix = format!(
        "Read it at {VIDEOS}/{id} until it is completed, or run the app as a task with \"wait\": false."
    );
    Box::new(fault.fix(fix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_is_told_and_what_was_not_is_explained() {
        let made = output("video_tg_1", &json!({"size": "1280x720"}), Some(8_000));
        assert_eq!(made.value["video"]["uri"], "/v1/videos/video_tg_1/content");
        assert_eq!((&made.value["video"]["seconds"], made.usage_kind.unit), (&json!(8), "seconds"));
        let fault = failed("v", &json!({"error": {"message": "Too wet.\n"}}));
        assert_eq!(
            (fault.code, &*fault.message),
            ("video_failed", "The video v could not be made: Too wet.")
        );
        let fault = not_made("v");
        assert_eq!((fault.code, fault.class), ("video_not_made", FaultClass::Timeout));
        assert!(fault.fix.is_some_and(|fix| fix.contains("/v1/videos/v")));
    }
}
