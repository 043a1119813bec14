//! A job's events as a server-sent event stream, up to the job's end.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::job::{Event, JobChange};
use super::jobs::{EventPoll, JobStore};

pub(crate) struct Following {
    book: Arc<JobStore>,
    id: String,
    after: u64,
    ready: VecDeque<Event>,
}

impl Following {
    pub(super) fn new(book: Arc<JobStore>, id: String, after: u64) -> Self {
        Self { book, id, after, ready: VecDeque::new() }
    }

    /// The next event; `None` when the job has ended or the node shuts down.
    pub(crate) fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.ready.is_empty() {
            match self.book.news(&self.id, self.after, cx.waker()) {
                Ok(EventPoll::Events(events)) => self.ready = events.into(),
                Ok(EventPoll::Later) => return Poll::Pending,
                // The job was deleted.
                Ok(EventPoll::Over) | Err(_) => return Poll::Ready(None),
            }
        }
        Poll::Ready(self.ready.pop_front().map(|event| {
            self.after = event.sequence;
            frame(&event)
        }))
    }
}

fn frame(event: &Event) -> Bytes {
    let name = match event.what {
        JobChange::Queued => "queued",
        JobChange::Started { .. } => "started",
        JobChange::Resumed { .. } => "resumed",
        JobChange::Progress(_) => "progress",
        JobChange::Paused => "paused",
        JobChange::Completed { .. } => "completed",
        JobChange::Failed(_) => "failed",
        JobChange::Cancelled => "cancelled",
    };
    let data = serde_json::to_string(event).unwrap_or_default();
    Bytes::from(format!("event: {name}\nid: {}\ndata: {data}\n\n", event.sequence))
}
