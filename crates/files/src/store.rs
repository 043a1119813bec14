//! Keeps files: their rows in the database, their pieces sealed in the bucket. A piece is stored before the row names it, and
//! the key goes before the pieces do, so that a process that ends in between leaves only what a sweep finds.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use domain::limits::{FIRST_PART_BYTES_MIN, STORE_CLOSING_TIME_MAX, STORED_PIECE_BYTES};
use domain::ports::PortFuture;
use domain::purge::{Claim, Guarantee, Place, PurgeError, PurgeScope, Purgeable};
use domain::{
    Fault, FileId, FilePiece, FileQuery, FileStore, KeptFile, NewFile, ObjectOwner, OpenFile, ProjectId,
    StoredBytes, WorkspaceId,
};
use egress::EgressSettings;
use store::{Store, StoreError};
use tasks::{RuntimeTasks, Task};
use tokio::time::timeout;
use vault::{FileKey, PieceRef, Vault};
use world::World;

use crate::bucket::{Bucket, BucketError, BucketSettings};
use crate::kept::{Facts, OpenedFile};
use crate::limits::{PIECE_TIME_MAX, SHORT_PIECES_MAX, UPLOAD_TIME};
use crate::sql::{Added, FileRow, NewRow, PieceRow, Progress, StoredFiles, stored};
use crate::{content_type, faults, kept, sweep};

/// How much may be kept, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileLimits {
    /// Of one file.
    pub bytes_max: u64,
    /// Of all files of a project.
    pub project_bytes_max: u64,
    pub keep_days: u64,
}

/// How files are kept.
#[derive(Debug, Clone)]
pub struct FileSettings {
    pub bucket: BucketSettings,
    pub limits: FileLimits,
    /// The address that clients reach this gateway at.
    pub public_url: Option<String>,
}

/// Keeps the files of an installation.
pub struct Files {
    inner: Arc<Inner>,
    public_url: Option<String>,
    sweeping: Task,
}

pub(crate) struct Inner {
    pub files: StoredFiles,
    pub bucket: Bucket,
    vault: Vault,
    pub world: World,
    limits: FileLimits,
    /// The runtime that uses the database and the bucket: serving cores wait for its result and never do its work.
    tasks: RuntimeTasks,
}

/// What keeps a request from being done: a fault for its client, or a store that fails.
pub(crate) enum Stopped {
    Fault(Box<Fault>),
    Database(StoreError),
    Bucket(object_store::Error),
}

type Worked<T> = Result<T, Stopped>;

impl Files {
    /// Starts sweeping what is over. Must be called on the runtime that is to use the stores.
    ///
    /// # Errors
    /// The bucket can't be used as it is set.
    pub fn start(
        store: &Store,
        vault: Vault,
        world: World,
        egress: &Arc<EgressSettings>,
        settings: FileSettings,
    ) -> Result<Arc<Self>, BucketError> {
        let FileSettings { bucket, limits, public_url } = settings;
        let bucket = Bucket::open(&bucket, egress)?;
        let tasks = RuntimeTasks::on_this_runtime("files");
        let inner = Arc::new(Inner { files: stored(store), bucket, vault, world, limits, tasks });
        let swept = Arc::clone(&inner);
        let sweeping = Task::spawn("ends of files", async move { sweep::sweep_all(&swept).await });
        let public_url = public_url.map(|url| url.trim_end_matches('/').to_owned());
        Ok(Arc::new(Self { inner, public_url, sweeping }))
    }

    /// Returns when the reads and writes in flight are done, or after `STORE_CLOSING_TIME_MAX`.
    pub async fn stop(&self) {
        self.sweeping.stop();
        self.inner.tasks.finish(STORE_CLOSING_TIME_MAX).await;
    }

    fn work<T, F>(
        &self,
        time_max: Duration,
        work: impl FnOnce(Arc<Inner>) -> F,
    ) -> PortFuture<'static, Result<T, Box<Fault>>>
    where
        T: Send + 'static,
        F: Future<Output = Worked<T>> + Send + 'static,
    {
        let task = self.inner.tasks.run(work(Arc::clone(&self.inner)));
        Box::pin(async move {
            match timeout(time_max, task).await {
                Ok(Ok(Ok(value))) => Ok(value),
                Ok(Ok(Err(Stopped::Fault(fault)))) => Err(fault),
                Ok(Ok(Err(Stopped::Database(error)))) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "a file could not be kept, read or changed in the database");
                    Err(faults::away())
                }
                Ok(Ok(Err(Stopped::Bucket(error)))) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "a file could not be kept or read in the bucket");
                    Err(faults::away())
                }
                _ => Err(faults::away()),
            }
        })
    }
}

impl Inner {
    pub(crate) fn now_unix_ms(&self) -> u64 {
        self.world.clock.unix_ms()
    }

    fn open_row(&self, row: FileRow) -> Worked<OpenedFile> {
        let id = row.id;
        kept::open(&self.vault, row).map_err(|_| Stopped::Fault(faults::damaged(id)))
    }

    /// Those that open.
    fn opened(&self, rows: Vec<FileRow>) -> Vec<KeptFile> {
        rows.into_iter().filter_map(|row| self.open_row(row).ok()).map(|file| file.kept).collect()
    }

    async fn row(&self, owner: ObjectOwner, id: FileId) -> Worked<FileRow> {
        let row = self.files.find(owner, id, self.now_unix_ms()).await?;
        row.ok_or_else(|| Stopped::Fault(faults::unknown(id)))
    }

    async fn make(&self, new: NewFile) -> Worked<OpenFile> {
        let NewFile { owner, request, name, content_type, path, purpose, declared } = new;
        if declared.is_some_and(|declared| declared > self.limits.bytes_max) {
            return Err(Stopped::Fault(faults::too_large(&self.limits, declared)));
        }
        let now = self.now_unix_ms();
        let id = FileId::new(now, self.world.id_bytes());
        let internal = |_| Stopped::Fault(Box::new(Fault::internal()));
        let key = FileKey::generate(&*self.world.random).map_err(internal)?;
        let facts = Facts { name, content_type, path };
        let sealed = kept::seal(&self.vault, (owner, id, request), &key, &facts).map_err(internal)?;
        let mut token = [0; 32];
        self.world.random.fill(&mut token);
        let token = URL_SAFE_NO_PAD.encode(token);
        let kept_ms = self.limits.keep_days.saturating_mul(24 * 3_600_000);
        let row = FileRow {
            id,
            owner,
            request,
            purpose,
            declared,
            received: 0,
            pieces: 0,
            last_piece: None,
            is_complete: false,
            created_unix_ms: now,
            until_unix_ms: now.saturating_add(kept_ms),
            sealed,
        };
        let upload_ms = u64::try_from(UPLOAD_TIME.as_millis()).unwrap_or(u64::MAX);
        let upload = (self.vault.requests.of_upload(id, &token), now.saturating_add(upload_ms));
        let digest = self.vault.requests.of_file(id);
        let new = NewRow { row: row.clone(), digest, upload };
        if !self.files.insert(new, self.limits.project_bytes_max).await? {
            return Err(Stopped::Fault(faults::too_much(&self.limits)));
        }
        Ok(OpenFile { file: self.open_row(row)?.kept, token })
    }

    async fn append(&self, owner: ObjectOwner, id: FileId, piece: FilePiece) -> Worked<KeptFile> {
        let row = self.row(owner, id).await?;
        let request = row.request;
        let OpenedFile { mut kept, key } = self.open_row(row)?;
        let FilePiece { offset, after, bytes, end } = piece;
        if !kept.is_complete && after != kept.last_piece {
            return Err(Stopped::Fault(faults::superseded(id)));
        }
        let is_last = end.is_some();
        self.check_piece(&kept, offset, bytes.len() as u64, is_last)?;
        let sealed = if kept.received == 0 { self.settle_type(&mut kept, &key, &bytes).await? } else { None };
        let mut random = [0; 12];
        self.world.random.fill(&mut random);
        let name = format!("{:06}-{}", kept.pieces, URL_SAFE_NO_PAD.encode(random));
        let place = PieceRef { file: id, position: kept.pieces, name: &name };
        let content = key.seal(place, &bytes, &*self.world.random);
        let content = content.map_err(|_| Stopped::Fault(Box::new(Fault::internal())))?;
        self.bucket.put(id, &name, Bytes::from(content)).await?;
        let piece = PieceRow { position: kept.pieces, name: name.clone(), bytes: bytes.len() as u64 };
        if let Some(end) = &end {
            kept.purpose = end.purpose.clone().unwrap_or(kept.purpose);
            let sooner = end
                .expires_after_s
                .map(|seconds| kept.created_unix_ms.saturating_add(seconds.saturating_mul(1_000)));
            kept.until_unix_ms = sooner.map_or(kept.until_unix_ms, |sooner| sooner.min(kept.until_unix_ms));
        }
        let end = end.map(|_| (kept.purpose.clone(), kept.until_unix_ms));
        let progress = Progress { id, received: kept.received, after, piece, end, sealed };
        let added = self.files.add(owner, progress, self.limits.project_bytes_max).await;
        if !matches!(added, Ok(Added::Next)) && !matches!(added, Err(StoreError::Uncertain)) {
            // Nothing names it. If this fails too, a sweep finds it.
            let _ = self.bucket.delete(id, vec![name.clone()]).await;
        }
        match added? {
            Added::Next => {}
            Added::NotNext => return Err(Stopped::Fault(faults::superseded(id))),
            Added::TooMuch => return Err(Stopped::Fault(faults::too_much(&self.limits))),
        }
        kept.request = request;
        kept.received += bytes.len() as u64;
        kept.pieces += 1;
        kept.last_piece = Some(name);
        kept.is_complete = is_last;
        Ok(kept)
    }

    fn check_piece(&self, kept: &KeptFile, offset: u64, bytes: u64, is_last: bool) -> Worked<()> {
        let fault = if kept.is_complete {
            faults::no_upload()
        } else if offset != kept.received {
            faults::not_next(kept, offset)
        } else {
            let end = kept.received.saturating_add(bytes);
            let pieces_max = self.limits.bytes_max / STORED_PIECE_BYTES as u64 + SHORT_PIECES_MAX;
            let is_first = kept.received == 0 && !is_last;
            match kept.declared {
                _ if is_first && bytes < FIRST_PART_BYTES_MIN as u64 => faults::short_part(),
                _ if end > self.limits.bytes_max => faults::too_large(&self.limits, kept.declared),
                Some(declared) if end > declared => faults::too_large(&self.limits, kept.declared),
                Some(declared) if is_last && end < declared => faults::too_short(kept, declared),
                _ if kept.pieces >= pieces_max => faults::too_large(&self.limits, kept.declared),
                _ => return Ok(()),
            }
        };
        Err(Stopped::Fault(fault))
    }

    /// Compares the declared type with how the file begins. One that is something else is not kept.
    async fn settle_type(
        &self,
        kept: &mut KeptFile,
        key: &FileKey,
        head: &[u8],
    ) -> Worked<Option<domain::Sealed>> {
        let settled = match content_type::settle(&kept.content_type, head) {
            Ok(settled) => settled,
            Err(wrong) => {
                let fault = faults::mislabelled(&kept.content_type, &wrong);
                self.files.shred(kept.owner, kept.id).await?;
                return Err(Stopped::Fault(fault));
            }
        };
        if settled == kept.content_type {
            return Ok(None);
        }
        kept.content_type = settled;
        let facts = Facts {
            name: kept.name.clone(),
            content_type: kept.content_type.clone(),
            path: kept.path.clone(),
        };
        let sealed = kept::seal(&self.vault, (kept.owner, kept.id, kept.request), key, &facts);
        sealed.map(Some).map_err(|_| Stopped::Fault(Box::new(Fault::internal())))
    }

    pub(crate) async fn piece(&self, row: FileRow, position: u64) -> Worked<Option<Bytes>> {
        if position >= row.pieces {
            return Ok(None);
        }
        let OpenedFile { kept, key } = self.open_row(row)?;
        let missing = || Stopped::Fault(faults::damaged(kept.id));
        let piece = self.files.piece(kept.id, position).await?.ok_or_else(missing)?;
        let sealed = self.bucket.get(kept.id, &piece.name).await?.ok_or_else(missing)?;
        let place = PieceRef { file: kept.id, position, name: &piece.name };
        let content = key.open(place, &sealed).map_err(|_| missing())?;
        Ok(Some(Bytes::copy_from_slice(content.expose())))
    }

    async fn forget(&self, owner: ObjectOwner, id: FileId) -> Worked<bool> {
        if !self.files.shred(owner, id).await? {
            let is_there = self.files.find(owner, id, self.now_unix_ms()).await?.is_some();
            return if is_there { Err(Stopped::Fault(faults::held(id))) } else { Ok(false) };
        }
        // Its key is gone, and with it the content. What the bucket does not delete now, the sweep deletes.
        if self.bucket.delete_all(id).await.is_ok() {
            self.files.remove(vec![id]).await?;
        }
        Ok(true)
    }

    async fn purge(&self, scope: PurgeScope) -> Worked<u64> {
        let gone = self.files.shred_scope(scope).await?;
        sweep::remove_gone(self).await?;
        Ok(gone)
    }
}

impl FileStore for Files {
    fn public_url(&self) -> Option<&str> {
        self.public_url.as_deref()
    }

    fn open(&self, new: NewFile) -> PortFuture<'static, Result<OpenFile, Box<Fault>>> {
        self.work(PIECE_TIME_MAX, |inner| async move { inner.make(new).await })
    }

    fn opened(&self, id: FileId, token: String) -> PortFuture<'static, Result<KeptFile, Box<Fault>>> {
        self.work(PIECE_TIME_MAX, move |inner| async move {
            let upload = inner.vault.requests.of_upload(id, &token);
            let row = inner.files.opened(id, upload, inner.now_unix_ms()).await?;
            Ok(inner.open_row(row.ok_or_else(faults::no_upload)?)?.kept)
        })
    }

    fn append(
        &self,
        owner: ObjectOwner,
        id: FileId,
        piece: FilePiece,
    ) -> PortFuture<'static, Result<KeptFile, Box<Fault>>> {
        self.work(PIECE_TIME_MAX, move |inner| async move { inner.append(owner, id, piece).await })
    }

    fn restart(&self, owner: ObjectOwner, id: FileId) -> PortFuture<'static, Result<KeptFile, Box<Fault>>> {
        self.work(PIECE_TIME_MAX, move |inner| async move {
            let row = inner.row(owner, id).await?;
            if row.is_complete {
                return Err(Stopped::Fault(faults::no_upload()));
            }
            let names = inner.files.restart(id).await?;
            // Nothing names them any more: what is not deleted here, a sweep finds.
            let _ = inner.bucket.delete(id, names).await;
            // It is not read again: what arrived since is of another upload, which this one does not go on with.
            let row = FileRow { received: 0, pieces: 0, last_piece: None, ..row };
            Ok(inner.open_row(row)?.kept)
        })
    }

    fn find(
        &self,
        owner: ObjectOwner,
        id: FileId,
    ) -> PortFuture<'static, Result<Option<KeptFile>, Box<Fault>>> {
        self.work(PIECE_TIME_MAX, move |inner| async move {
            let row = inner.files.find(owner, id, inner.now_unix_ms()).await?;
            row.map(|row| inner.open_row(row).map(|file| file.kept)).transpose()
        })
    }

    fn list(&self, query: FileQuery) -> PortFuture<'static, Result<Vec<KeptFile>, Box<Fault>>> {
        self.work(PIECE_TIME_MAX, move |inner| async move {
            let rows = inner.files.list(query, inner.now_unix_ms()).await?;
            Ok(inner.opened(rows))
        })
    }

    fn list_workspace(
        &self,
        workspace: WorkspaceId,
        project: Option<ProjectId>,
        after: Option<FileId>,
        limit: u32,
    ) -> PortFuture<'static, Result<Vec<KeptFile>, Box<Fault>>> {
        self.work(PIECE_TIME_MAX, move |inner| async move {
            let now = inner.now_unix_ms();
            let rows = inner.files.list_workspace(workspace, project, after, (limit, now)).await?;
            Ok(inner.opened(rows))
        })
    }

    fn stored(
        &self,
        workspace: WorkspaceId,
        project: Option<ProjectId>,
    ) -> PortFuture<'static, Result<Vec<StoredBytes>, Box<Fault>>> {
        self.work(PIECE_TIME_MAX, move |inner| async move {
            let bytes_max = inner.limits.project_bytes_max;
            let stored = inner.files.stored(workspace, project).await?;
            let of = |(project, files, bytes)| StoredBytes { project, files, bytes, bytes_max };
            Ok(stored.into_iter().map(of).collect())
        })
    }

    fn in_workspace(
        &self,
        workspace: WorkspaceId,
        id: FileId,
    ) -> PortFuture<'static, Result<Option<KeptFile>, Box<Fault>>> {
        self.work(PIECE_TIME_MAX, move |inner| async move {
            let row = inner.files.in_workspace(workspace, id, inner.now_unix_ms()).await?;
            row.map(|row| inner.open_row(row).map(|file| file.kept)).transpose()
        })
    }

    fn piece(
        &self,
        owner: ObjectOwner,
        id: FileId,
        position: u64,
    ) -> PortFuture<'static, Result<Option<Bytes>, Box<Fault>>> {
        self.work(PIECE_TIME_MAX, move |inner| async move {
            let row = inner.row(owner, id).await?;
            inner.piece(row, position).await
        })
    }

    fn forget(&self, owner: ObjectOwner, id: FileId) -> PortFuture<'static, Result<bool, Box<Fault>>> {
        self.work(PIECE_TIME_MAX, move |inner| async move { inner.forget(owner, id).await })
    }
}

impl Purgeable for Files {
    fn place(&self) -> Place {
        Place::Files
    }

    fn purge(&self, scope: PurgeScope) -> PortFuture<'_, Result<u64, PurgeError>> {
        Box::pin(async move { self.inner.purge(scope).await.map_err(PurgeError::from) })
    }

    /// Rows stay until their objects are deleted.
    fn remaining(&self, scope: PurgeScope) -> PortFuture<'_, Result<u64, PurgeError>> {
        Box::pin(async move { Ok(self.inner.files.remaining(scope).await?) })
    }

    fn claim(&self, _processor: &str, _kind: &str) -> Claim {
        let evidence = "Before them their objects were deleted: the store of files confirmed each. Versions that a bucket keeps of \
             deleted objects hold what no key opens.";
        Claim::verified(Guarantee::VerifiedPhysicalPurge, evidence)
    }
}

impl From<StoreError> for Stopped {
    fn from(error: StoreError) -> Self {
        Self::Database(error)
    }
}

impl From<object_store::Error> for Stopped {
    fn from(error: object_store::Error) -> Self {
        Self::Bucket(error)
    }
}

impl From<Box<Fault>> for Stopped {
    fn from(fault: Box<Fault>) -> Self {
        Self::Fault(fault)
    }
}

impl From<Stopped> for PurgeError {
    fn from(stopped: Stopped) -> Self {
        Self(match stopped {
            Stopped::Fault(fault) => fault.message.to_string(),
            Stopped::Database(error) => error.to_string(),
            Stopped::Bucket(error) => format!("The bucket of files refuses: {error}"),
        })
    }
}
