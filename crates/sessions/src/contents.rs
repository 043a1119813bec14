//! What requests said and were answered: sealed, and written to the store in batches after the answer; deleted when their
//! project's retention is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use domain::limits::{CONTENT_WAITING_BYTES_MAX, CONTENTS_WAITING_MAX, STORE_CLOSING_TIME_MAX};
use domain::ports::{
    ContentStore, KeptBody, Place, PortFuture, PurgeError, PurgeScope, Purgeable, RequestContent,
};
use domain::{ContentKind, ObjectOwner, TraceId, TraceMode, WorkspaceId};
use proof::Digest;
use serde::{Deserialize, Serialize};
use store::Store;
use tasks::Task;
use tokio::sync::mpsc;
use tokio::time::timeout;
use transcripts::{RequestContentRow, RequestContents, SealedContent};
use vault::{ContentRef, OpenError, Vault};
use world::World;

use crate::expiry::expire_all;
use crate::packing::encode;
use crate::retrying::retrying;
use crate::shape::shape;

/// Contents per transaction.
const BATCH_ROWS: usize = 64;
/// How often a batch is written again while the store is away; the pause doubles each time.
const RETRIES: (u32, Duration) = (8, Duration::from_millis(200));
const DAY_MS: u64 = 86_400_000;

/// Keeps the content of requests.
pub struct Contents {
    inner: Arc<Inner>,
    messages: mpsc::Sender<Message>,
    writer: Task,
    expiring: Task,
}

struct Inner {
    contents: RequestContents,
    vault: Vault,
    world: World,
    /// The bytes of contents that wait for the writer.
    waiting_bytes: AtomicUsize,
    /// Contents that there was no room for, since it was last reported.
    lost: AtomicU64,
}

enum Message {
    Keep(Box<RequestContent>),
    Stop,
}

/// What is sealed beside the two bodies, which follow it.
#[derive(Serialize, Deserialize)]
struct Head {
    dialect: String,
    operation: String,
    status: u16,
    is_whole: bool,
    sent: BodyHead,
    answer: BodyHead,
}

#[derive(Serialize, Deserialize)]
struct BodyHead {
    media_type: String,
    /// Of all of it.
    length: u64,
    /// Of what is kept.
    bytes: u64,
}

/// A content as it was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptContent {
    pub request: TraceId,
    pub mode: TraceMode,
    pub kept_unix_ms: u64,
    pub until_unix_ms: u64,
    pub dialect: String,
    pub operation: String,
    pub status: u16,
    /// The answer came to its end.
    pub is_whole: bool,
    pub sent: KeptBody,
    /// Nothing where only the shape of the request is kept.
    pub answer: KeptBody,
}

impl Contents {
    /// Starts the writer, and the deletion of what is over. Must be called on the runtime that is to use the store.
    pub fn start(store: &Store, vault: Vault, world: World) -> Arc<Self> {
        let (messages, receiver) = mpsc::channel(CONTENTS_WAITING_MAX);
        let inner = Arc::new(Inner {
            contents: RequestContents::of(store.database()),
            vault,
            world,
            waiting_bytes: AtomicUsize::default(),
            lost: AtomicU64::default(),
        });
        let writer = Task::spawn_reader("contents", Arc::clone(&inner).write_all(receiver));
        let expired = Arc::clone(&inner);
        let expiring = Task::spawn("ends of contents", async move {
            expire_all(|rows_max| expired.contents.expire(expired.world.clock.unix_ms(), rows_max)).await;
        });
        Arc::new(Self { inner, messages, writer, expiring })
    }

    /// Returns when what waits is written, or after `STORE_CLOSING_TIME_MAX`.
    pub async fn stop(&self) {
        self.expiring.stop();
        let stopping = async {
            let _ = self.messages.send(Message::Stop).await;
            let _ = self.writer.ended().await;
        };
        if timeout(STORE_CLOSING_TIME_MAX, stopping).await.is_err() {
            self.writer.abort();
            tracing::warn!("the contents of some requests were not written before the stop");
        }
    }
}

impl ContentStore for Contents {
    fn keep(&self, content: RequestContent) {
        let bytes = content.sent.bytes.len() + content.answer.bytes.len();
        let before = self.inner.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let has_room = before + bytes <= CONTENT_WAITING_BYTES_MAX;
        if !has_room || self.messages.try_send(Message::Keep(Box::new(content))).is_err() {
            self.inner.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.inner.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Inner {
    async fn write_all(self: Arc<Self>, mut receiver: mpsc::Receiver<Message>) {
        let mut messages = Vec::new();
        while receiver.recv_many(&mut messages, BATCH_ROWS).await > 0 {
            let (mut rows, mut is_over, mut bytes) = (Vec::new(), false, 0);
            for message in messages.drain(..) {
                match message {
                    Message::Keep(content) => {
                        bytes += content.sent.bytes.len() + content.answer.bytes.len();
                        rows.extend(self.seal(*content));
                    }
                    Message::Stop => is_over = true,
                }
            }
            self.keep(rows).await;
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            let lost = self.lost.swap(0, Ordering::Relaxed);
            if lost > 0 {
                tracing::warn!(
                    lost,
                    "the store is too slow for the contents of requests: some aren't stored"
                );
            }
            if is_over {
                return;
            }
        }
    }

    /// `None` where it can't be sealed, which is reported.
    fn seal(&self, content: RequestContent) -> Option<(RequestContentRow, u64)> {
        let RequestContent { owner, request, started_unix_ms, mode, days, .. } = content;
        let packed = self.pack(content)?;
        let content_ref = content_ref(owner, request);
        let sealed = match self.vault.sealer.seal_content(&content_ref, &packed) {
            Ok(sealed) => sealed,
            Err(error) => {
                tracing::warn!(%request, %error, "the content of a request could not be sealed");
                return None;
            }
        };
        let kept_unix_ms = self.world.clock.unix_ms();
        let row = RequestContentRow {
            workspace: owner.workspace,
            content: SealedContent { digest: content_ref.digest, project: owner.project, request, sealed },
            mode,
            kept_unix_ms,
            until_unix_ms: kept_unix_ms.saturating_add(u64::from(days) * DAY_MS),
        };
        Some((row, started_unix_ms))
    }

    fn pack(&self, content: RequestContent) -> Option<Vec<u8>> {
        let RequestContent {
            owner, mode, dialect, operation, mut sent, mut answer, status, is_whole, ..
        } = content;
        if mode == TraceMode::Tokenized {
            // What has no shape that is known here is not kept.
            let hash = |text: &[u8]| self.vault.requests.of_content(owner.project, text);
            sent.bytes = shape(&sent.bytes, &hash).unwrap_or_default().into();
            answer.bytes.clear();
        }
        let head_of = |body: &KeptBody| BodyHead {
            media_type: body.media_type.clone(),
            length: body.length,
            bytes: body.bytes.len() as u64,
        };
        let head = Head {
            dialect: dialect.as_str().to_owned(),
            operation: operation.as_str().to_owned(),
            status,
            is_whole,
            sent: head_of(&sent),
            answer: head_of(&answer),
        };
        encode(&head, &[&sent.bytes, &answer.bytes])
    }

    /// If one row makes a batch fail, the rows are written one by one: the key of one may have been replaced.
    async fn keep(&self, rows: Vec<(RequestContentRow, u64)>) {
        if rows.is_empty() {
            return;
        }
        if let Err(error) = retrying(RETRIES, || self.contents.keep(rows.clone())).await {
            if rows.len() > 1 && !error.is_transient() {
                for row in rows {
                    Box::pin(self.keep(vec![row])).await;
                }
                return;
            }
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, requests = rows.len(), "the content of requests could not be written");
        }
    }
}

fn content_ref(owner: ObjectOwner, request: TraceId) -> ContentRef {
    let ObjectOwner { workspace, project } = owner;
    let digest = Digest::of(&[request.as_bytes()]).0;
    ContentRef { kept: ContentKind::Request, workspace, project, digest, request }
}

/// Opens a content.
///
/// # Errors
/// It was changed, or its key is not here.
pub fn open_content(
    vault: &Vault,
    workspace: WorkspaceId,
    row: &RequestContentRow,
) -> Result<KeptContent, OpenError> {
    let SealedContent { project, request, ref sealed, .. } = row.content;
    let content_ref = content_ref(ObjectOwner { workspace, project }, request);
    let opened = vault.opener.open_content(&content_ref, sealed)?;
    unpack(row, opened.expose()).ok_or(OpenError::Refused)
}

fn unpack(row: &RequestContentRow, packed: &[u8]) -> Option<KeptContent> {
    let (head, bodies): (Head, &[u8]) = postcard::take_from_bytes(packed).ok()?;
    let (sent, answer) = bodies.split_at_checked(usize::try_from(head.sent.bytes).ok()?)?;
    let body = |head: BodyHead, bytes: &[u8]| KeptBody {
        media_type: head.media_type,
        bytes: bytes.to_vec().into(),
        length: head.length,
    };
    Some(KeptContent {
        request: row.content.request,
        mode: row.mode,
        kept_unix_ms: row.kept_unix_ms,
        until_unix_ms: row.until_unix_ms,
        dialect: head.dialect,
        operation: head.operation,
        status: head.status,
        is_whole: head.is_whole,
        sent: body(head.sent, sent),
        answer: body(head.answer, answer),
    })
}

impl Purgeable for Contents {
    fn place(&self) -> Place {
        Place::RequestContents
    }

    fn purge(&self, scope: PurgeScope) -> PortFuture<'_, Result<u64, PurgeError>> {
        Box::pin(async move { Ok(self.inner.contents.purge(scope).await?) })
    }

    fn remaining(&self, scope: PurgeScope) -> PortFuture<'_, Result<u64, PurgeError>> {
        Box::pin(async move { Ok(self.inner.contents.remaining(scope).await?) })
    }
}
