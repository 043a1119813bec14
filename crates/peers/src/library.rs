//! What a node lets its peers fetch: manifests and chunks of the models and adapters on its disk.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use bytes::Bytes;
use iroh::endpoint::{RecvStream, SendStream};
use proof::Digest;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;

use crate::bandwidth::Bandwidth;
use crate::frames::{broken, invalid, read_head, write_head};
use crate::limits::{CHUNK_BYTES, CHUNKS_SERVED_MAX, REQUEST_TIMEOUT};
use crate::manifest::{ChunkManifest, ChunkPlace};
use crate::mesh::Traffic;

/// The bytes that are sent between two looks at the bandwidth.
const PIECE_BYTES: usize = 64 * 1024;

/// A folder that peers may fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedFolder {
    /// `model/NAME` or `adapter/NAME`.
    pub share: String,
    pub directory: PathBuf,
    /// Its files, without subdirectories.
    pub files: Vec<String>,
}

/// The shared folders, and the manifests that were made of them.
pub struct Library {
    folders: Box<dyn Fn() -> Vec<SharedFolder> + Send + Sync>,
    bandwidth: Bandwidth,
    manifests: Mutex<HashMap<String, Indexed>>,
    /// What may be in memory while peers take it, however slowly they do.
    served_left: Semaphore,
}

/// A manifest, and the lengths and times of the files that it was made of.
#[derive(Clone)]
struct Indexed {
    stamp: Vec<(u64, Option<SystemTime>)>,
    folder: SharedFolder,
    manifest: Arc<ChunkManifest>,
    root: Digest,
}

/// What a peer wants.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "want", rename_all = "lowercase")]
pub(crate) enum BlockRequest {
    Manifest { share: String },
    Chunk { share: String, root: Digest, place: ChunkPlace },
}

/// The head of an answer, before its bytes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BlockAnswer {
    pub error: Option<String>,
}

impl Library {
    pub fn new(
        folders: impl Fn() -> Vec<SharedFolder> + Send + Sync + 'static,
        bandwidth: Bandwidth,
    ) -> Arc<Self> {
        let served_left = Semaphore::new(CHUNKS_SERVED_MAX);
        Arc::new(Self { folders: Box::new(folders), bandwidth, manifests: Mutex::default(), served_left })
    }

    /// The names of what can be fetched.
    pub fn shares(&self) -> Vec<String> {
        (self.folders)().into_iter().map(|folder| folder.share).collect()
    }

    /// Answers one request of a peer.
    pub(crate) async fn serve(
        &self,
        mut send: SendStream,
        mut receive: RecvStream,
        traffic: &Traffic,
    ) -> io::Result<()> {
        let late = |_| broken("it sent and received nothing for too long");
        let wanted = timeout(REQUEST_TIMEOUT, read_head(&mut receive)).await.map_err(late)??;
        let _served = self.served_left.acquire().await.map_err(broken)?;
        let found = match wanted {
            BlockRequest::Manifest { share } => self.manifest(&share).await,
            BlockRequest::Chunk { share, root, place } => self.chunk(&share, root, place).await,
        };
        let bytes = match found {
            Ok(bytes) => bytes,
            Err(error) => {
                write_head(&mut send, &BlockAnswer { error: Some(error.to_string()) }).await?;
                return send.finish().map_err(broken);
            }
        };
        write_head(&mut send, &BlockAnswer { error: None }).await?;
        let mut rest = Bytes::from(bytes);
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(PIECE_BYTES));
            self.bandwidth.take(piece.len()).await;
            traffic.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
            // A peer that takes nothing holds up the others no longer than this.
            timeout(REQUEST_TIMEOUT, send.write_chunk(piece)).await.map_err(late)?.map_err(broken)?;
        }
        send.finish().map_err(broken)
    }

    async fn manifest(&self, share: &str) -> io::Result<Vec<u8>> {
        let indexed = self.index(share).await?;
        Ok(serde_json::to_vec(&*indexed.manifest)?)
    }

    async fn chunk(&self, share: &str, root: Digest, place: ChunkPlace) -> io::Result<Vec<u8>> {
        let Indexed { folder, manifest, root: here, .. } = self.index(share).await?;
        let file = manifest.file(place).filter(|file| here == root && place.chunk < file.chunks.len());
        let file = file.ok_or_else(|| invalid(format!("{share} no longer has such a chunk here")))?;
        let path = folder.directory.join(&file.name);
        let mut bytes = vec![0; file.length(place.chunk)];
        let offset = place.chunk as u64 * CHUNK_BYTES as u64;
        let read = move || File::open(path)?.read_exact_at(&mut bytes, offset).map(|()| bytes);
        tasks::blocking(read).await.map_err(broken)?
    }

    /// The manifest of a folder. It is made again when a file has another length or time.
    async fn index(&self, share: &str) -> io::Result<Indexed> {
        let folder = (self.folders)().into_iter().find(|folder| folder.share == share);
        let folder = folder.ok_or_else(|| invalid(format!("{share} is not here")))?;
        let stamp = stamp(&folder)?;
        // Held while files are hashed, so that they are hashed once for all peers.
        let mut manifests = self.manifests.lock().await;
        if let Some(known) =
            manifests.get(share).filter(|known| known.stamp == stamp && known.folder == folder)
        {
            return Ok(known.clone());
        }
        let hashed = folder.clone();
        let manifest =
            tasks::blocking(move || ChunkManifest::of(&hashed.share, &hashed.directory, &hashed.files));
        let manifest = Arc::new(manifest.await.map_err(broken)??);
        let indexed = Indexed { stamp, folder, root: manifest.root(), manifest };
        manifests.insert(share.to_owned(), indexed.clone());
        Ok(indexed)
    }
}

fn stamp(folder: &SharedFolder) -> io::Result<Vec<(u64, Option<SystemTime>)>> {
    let of = |name: &String| {
        let meta = std::fs::metadata(folder.directory.join(name))?;
        Ok((meta.len(), meta.modified().ok()))
    };
    folder.files.iter().map(of).collect()
}
