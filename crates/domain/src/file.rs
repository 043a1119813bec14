//! Files that the gateway keeps for a project: what is known of one, and the store that keeps them.

use bytes::Bytes;

use crate::fault::{Fault, FaultClass};
use crate::ids::{FileId, ProjectId, TraceId, WorkspaceId};
use crate::ports::PortFuture;
use crate::stored_object::{ObjectOwner, StoredObjectId, StoredObjectKind};

/// What the files of clients that state no purpose are for.
pub const USER_FILE: &str = "user_data";

/// What the files are for that tasks make.
pub const TASK_FILE: &str = "task_output";

/// A file, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptFile {
    pub id: FileId,
    pub owner: ObjectOwner,
    /// The request that made it.
    pub request: TraceId,
    pub name: String,
    pub content_type: String,
    /// Where its client says that it came from.
    pub path: Option<String>,
    pub purpose: String,
    /// Its size, as its client declared it.
    pub declared: Option<u64>,
    /// How many bytes have arrived.
    pub received: u64,
    /// In how many pieces they are.
    pub pieces: u64,
    /// The name of the last of them, of a file that takes content.
    pub last_piece: Option<String>,
    pub is_complete: bool,
    pub created_unix_ms: u64,
    /// The text under which its links are signed. It changes once another key of its workspace seals the file.
    pub link_key: String,
    /// When it is deleted.
    pub until_unix_ms: u64,
}

impl KeptFile {
    /// Its id in OpenAI's API, which has a form of its own.
    pub const fn object_id(&self) -> StoredObjectId {
        StoredObjectId { kind: StoredObjectKind::FILE, digest: *self.id.as_bytes() }
    }

    /// The declared size, or where there is none, what has arrived.
    pub fn size(&self) -> u64 {
        if self.is_complete { self.received } else { self.declared.unwrap_or(self.received) }
    }
}

/// The file that a name of OpenAI's API may be the name of.
pub fn file_of_object(id: StoredObjectId) -> Option<FileId> {
    (id.kind == StoredObjectKind::FILE).then(|| FileId::from_uuid(uuid::Uuid::from_bytes(id.digest)))
}

/// A file whose content is to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFile {
    pub owner: ObjectOwner,
    pub request: TraceId,
    pub name: String,
    pub content_type: String,
    pub path: Option<String>,
    pub purpose: String,
    /// Its size, where its client declares one.
    pub declared: Option<u64>,
}

/// A file that waits for its content, and the token with which that may be sent.
pub struct OpenFile {
    pub file: KeptFile,
    pub token: String,
}

/// Which files of a project are listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileQuery {
    pub owner: ObjectOwner,
    pub purpose: Option<String>,
    /// The last of the previous page.
    pub after: Option<FileId>,
    pub oldest_first: bool,
    pub limit: u32,
}

/// The next part of a file's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePiece {
    /// Where in the file it begins.
    pub offset: u64,
    /// The piece that it follows, by `last_piece` of the file as its sender knows it: a piece of another upload is not followed.
    pub after: Option<String>,
    pub bytes: Bytes,
    /// The file ends with it.
    pub end: Option<FileEnd>,
}

/// What is said of a file at its end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileEnd {
    /// What it is for, where that is told so late.
    pub purpose: Option<String>,
    /// When it is deleted, where that is sooner than others are.
    pub expires_after_s: Option<u64>,
}

/// Keeps files.
pub trait FileStore: Send + Sync {
    /// The address that clients reach this gateway at, if the operator set one.
    fn public_url(&self) -> Option<&str>;
    /// Makes a file whose content is to come.
    fn open(&self, new: NewFile) -> PortFuture<'static, Result<OpenFile, Box<Fault>>>;
    /// The file that a token lets somebody send the content of.
    fn opened(&self, id: FileId, token: String) -> PortFuture<'static, Result<KeptFile, Box<Fault>>>;
    /// Adds a part to an open file, which closes with its last one.
    fn append(
        &self,
        owner: ObjectOwner,
        id: FileId,
        piece: FilePiece,
    ) -> PortFuture<'static, Result<KeptFile, Box<Fault>>>;
    /// Drops what has arrived of an open file.
    fn restart(&self, owner: ObjectOwner, id: FileId) -> PortFuture<'static, Result<KeptFile, Box<Fault>>>;
    fn find(
        &self,
        owner: ObjectOwner,
        id: FileId,
    ) -> PortFuture<'static, Result<Option<KeptFile>, Box<Fault>>>;
    /// Complete files of a project.
    fn list(&self, query: FileQuery) -> PortFuture<'static, Result<Vec<KeptFile>, Box<Fault>>>;
    /// The complete files of a workspace, or of one of its projects, newest first.
    fn list_workspace(
        &self,
        workspace: WorkspaceId,
        project: Option<ProjectId>,
        after: Option<FileId>,
        limit: u32,
    ) -> PortFuture<'static, Result<Vec<KeptFile>, Box<Fault>>>;
    /// A file of any project of a workspace.
    fn in_workspace(
        &self,
        workspace: WorkspaceId,
        id: FileId,
    ) -> PortFuture<'static, Result<Option<KeptFile>, Box<Fault>>>;
    /// What each project of a workspace keeps, or one of them.
    fn stored(
        &self,
        workspace: WorkspaceId,
        project: Option<ProjectId>,
    ) -> PortFuture<'static, Result<Vec<StoredBytes>, Box<Fault>>>;
    /// A piece of a file's content, counted from zero; `None` behind the last one.
    fn piece(
        &self,
        owner: ObjectOwner,
        id: FileId,
        position: u64,
    ) -> PortFuture<'static, Result<Option<Bytes>, Box<Fault>>>;
    /// Deletes a file with its content; `false` if there is none.
    fn forget(&self, owner: ObjectOwner, id: FileId) -> PortFuture<'static, Result<bool, Box<Fault>>>;
}

/// How much a project keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredBytes {
    pub project: ProjectId,
    pub files: u64,
    /// With what is on its way, and what was declared of it.
    pub bytes: u64,
    pub bytes_max: u64,
}

/// For processes that keep none.
#[derive(Debug, Default)]
pub struct NoFiles;

/// What a request for files meets in a process that keeps none.
fn none_kept<T>() -> PortFuture<'static, Result<T, Box<Fault>>>
where
    T: Send + 'static,
{
    Box::pin(async {
        let fault = Fault::new(FaultClass::Unavailable, "file_store_unavailable", "No files are kept here.");
        Err(Box::new(fault.fix("Ask the process that runs `tidegate serve`.")))
    })
}

impl FileStore for NoFiles {
    fn public_url(&self) -> Option<&str> {
        None
    }

    fn open(&self, _new: NewFile) -> PortFuture<'static, Result<OpenFile, Box<Fault>>> {
        none_kept()
    }

    fn opened(&self, _id: FileId, _token: String) -> PortFuture<'static, Result<KeptFile, Box<Fault>>> {
        none_kept()
    }

    fn append(
        &self,
        _owner: ObjectOwner,
        _id: FileId,
        _piece: FilePiece,
    ) -> PortFuture<'static, Result<KeptFile, Box<Fault>>> {
        none_kept()
    }

    fn restart(&self, _owner: ObjectOwner, _id: FileId) -> PortFuture<'static, Result<KeptFile, Box<Fault>>> {
        none_kept()
    }

    fn find(
        &self,
        _owner: ObjectOwner,
        _id: FileId,
    ) -> PortFuture<'static, Result<Option<KeptFile>, Box<Fault>>> {
        Box::pin(async { Ok(None) })
    }

    fn list(&self, _query: FileQuery) -> PortFuture<'static, Result<Vec<KeptFile>, Box<Fault>>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn list_workspace(
        &self,
        _workspace: WorkspaceId,
        _project: Option<ProjectId>,
        _after: Option<FileId>,
        _limit: u32,
    ) -> PortFuture<'static, Result<Vec<KeptFile>, Box<Fault>>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn in_workspace(
        &self,
        _workspace: WorkspaceId,
        _id: FileId,
    ) -> PortFuture<'static, Result<Option<KeptFile>, Box<Fault>>> {
        Box::pin(async { Ok(None) })
    }

    fn stored(
        &self,
        _workspace: WorkspaceId,
        _project: Option<ProjectId>,
    ) -> PortFuture<'static, Result<Vec<StoredBytes>, Box<Fault>>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn piece(
        &self,
        _owner: ObjectOwner,
        _id: FileId,
        _position: u64,
    ) -> PortFuture<'static, Result<Option<Bytes>, Box<Fault>>> {
        none_kept()
    }

    fn forget(&self, _owner: ObjectOwner, _id: FileId) -> PortFuture<'static, Result<bool, Box<Fault>>> {
        none_kept()
    }
}
