//! Follows a chat: its messages and itself, the words of the answer while they come, and each again when it changes. Who comes late
//! gets all that is there.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use agents::{Chat, ChatView, Part};
use bytes::Bytes;
use domain::{ObjectOwner, RunTask, SessionId, TaskContents, TaskId};
use futures_util::stream::{self, Stream};
use line::{Core, TaskProgress};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::chat_of;
use crate::tasks::Format;

const HEARTBEAT_EVERY: Duration = Duration::from_secs(10);
/// How often the chat is read while somebody follows it.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// What is known of a chat now.
pub(super) struct Read {
    pub chat: Chat,
    pub tasks: Vec<(RunTask, TaskContents)>,
    pub created_unix_ms: u64,
}

impl Read {
    pub(super) fn view(&self, id: SessionId) -> ChatView<'_> {
        ChatView { id, created_unix_ms: self.created_unix_ms, chat: &self.chat, tasks: &self.tasks }
    }
}

/// Reads a chat; `None` where it is not there, or can't be read now.
pub(super) async fn read(core: &Core, owner: ObjectOwner, id: SessionId) -> Option<Read> {
    // The tasks first: of a turn that ends in between, the session then has the end.
    let tasks = core.tasks.of_chat(owner, id).await?;
    let (head, events) = core.sessions.history(owner, id, None).await.ok()?;
    Some(Read { chat: chat_of(&events), tasks, created_unix_ms: head.created_unix_ms })
}

struct Follower {
    core: Rc<Core>,
    owner: ObjectOwner,
    id: SessionId,
    format: Format,
    waiting: VecDeque<Bytes>,
    /// What its client knows, by the ids of messages; that of the chat is its own.
    known: HashMap<String, Value>,
    live: Option<(TaskId, watch::Receiver<TaskProgress>)>,
    text_bytes: usize,
    sequence: u64,
    /// The message whose answer its client waits for; `None` for one that follows on.
    until: Option<TaskId>,
    is_gone: bool,
    look_at: Instant,
    heartbeat_at: Instant,
}

/// The stream of a chat that exists.
pub(super) fn follow(
    core: Rc<Core>,
    owner: ObjectOwner,
    (id, until): (SessionId, Option<TaskId>),
    format: Format,
) -> impl Stream<Item = Option<Bytes>> + 'static {
    let now = Instant::now();
    let follower = Follower {
        core,
        owner,
        id,
        format,
        waiting: VecDeque::new(),
        known: HashMap::new(),
        live: None,
        text_bytes: 0,
        sequence: 0,
        until,
        is_gone: false,
        look_at: now,
        heartbeat_at: now + HEARTBEAT_EVERY,
    };
    stream::unfold(follower, |mut follower| async move {
        let piece = follower.next().await?;
        Some((Some(piece), follower))
    })
}

impl Follower {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(piece) = self.waiting.pop_front() {
                self.heartbeat_at = Instant::now() + HEARTBEAT_EVERY;
                return Some(piece);
            }
            if self.is_gone {
                return None;
            }
            if Instant::now() >= self.look_at {
                self.look().await;
                self.look_at = Instant::now() + LOOK_EVERY;
                continue;
            }
            if Instant::now() >= self.heartbeat_at {
                self.heartbeat_at = Instant::now() + HEARTBEAT_EVERY;
                return Some(Bytes::from_static(self.format.heartbeat()));
            }
            self.wait().await;
        }
    }

    /// Waits for words, or until it is time to look again.
    async fn wait(&mut self) {
        let until = self.look_at.min(self.heartbeat_at);
        let Some((_, live)) = &mut self.live else { return sleep_until(until).await };
        tokio::select! {
            changed = live.changed() => {
                if changed.is_err() {
                    self.live = None;
                    self.look_at = Instant::now();
                    return;
                }
            }
            () = sleep_until(until) => return,
        }
        self.tell_words();
    }

    async fn look(&mut self) {
        let Some(read) = read(&self.core, self.owner, self.id).await else {
            // It was deleted or purged, or the store is away for a moment.
            let head = self.core.sessions.head(self.owner, self.id).await;
            self.is_gone = head == Err(domain::ports::SessionFailure::Unknown);
            if !self.is_gone {
                sleep(LOOK_EVERY).await;
            }
            return;
        };
        self.tell_words();
        let view = read.view(self.id);
        for message in view.messages() {
            self.tell("chat_messages", message);
        }
        self.tell("chats", view.document());
        if self.until.is_some_and(|task| !view.is_busy_with(task)) {
            self.is_gone = true;
            return;
        }
        if self.live.is_none() {
            let running = read
                .tasks
                .iter()
                .find_map(|(task, _)| Some((task.id, self.core.live_tasks.follow(task.id)?)));
            if running.is_some() {
                self.live = running;
                self.text_bytes = 0;
                self.tell_words();
            }
        }
    }

    /// Tells something that its client does not know so.
    fn tell(&mut self, kind: &str, document: Value) {
        let id = document.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
        if self.known.get(&id) != Some(&document) {
            self.say(&json!({"event": kind, "data": document}));
            self.known.insert(id, document);
        }
    }

    fn tell_words(&mut self) {
        let Some((task, live)) = &mut self.live else { return };
        let task = *task;
        let progress = live.borrow_and_update().clone();
        if progress.has_ended {
            self.live = None;
            self.look_at = Instant::now();
        }
        let Some(new) = progress.text.get(self.text_bytes..).filter(|new| !new.is_empty()) else { return };
        self.text_bytes = progress.text.len();
        self.sequence += 1;
        let id = Part::Assistant.id(task);
        let data = json!({"resource_id": id, "seq": self.sequence, "delta": {"response": new}});
        self.say(&json!({"event": "delta", "data": data}));
    }

    fn say(&mut self, message: &Value) {
        self.waiting.push_back(self.format.write(message));
    }
}
