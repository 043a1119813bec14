//! A pull from start to end: list, select, reuse what is on disk, download, verify, publish.

use std::fs;
use std::path::Path;

use egress::Client;
use futures_util::{StreamExt, TryStreamExt, stream};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use world::World;

use crate::address::{Endpoint, Token};
use crate::api::Hub;
use crate::choice::choose;
use crate::error::{HubError, HubErrorKind};
use crate::fetch::{DownloadPlan, Expected, fetch, with_retries};
use crate::limits::{AT_A_TIME, DISK_RESERVE_BYTES, NAME_BYTES_MAX};
use crate::meter::{Event, Meter};
use crate::names::Reference;
use crate::shelf::{Entry, Manifest, ModelStore, StoredFile, make_directory};

/// What to pull, and from where.
pub struct Order<'a> {
    pub model: &'a Reference,
    /// A branch, a tag or a commit.
    pub revision: &'a str,
    pub endpoint: &'a Endpoint,
    pub token: Option<&'a Token>,
    pub store: &'a ModelStore,
    pub client: &'a Client,
    pub world: &'a World,
}

/// Downloads a model. If the future is dropped, partial downloads remain, and the next pull resumes them.
///
/// # Errors
/// What is missing, refused or wrong.
pub async fn pull(order: &Order<'_>, notify: &dyn Fn(&Event)) -> Result<Entry, HubError> {
    check_revision(order.revision)?;
    let hub = Hub { client: order.client, endpoint: order.endpoint, token: order.token, model: order.model };
    let random = &*order.world.random;
    let waiting = Meter::new(0, 0, notify);
    let listing = with_retries(&waiting, random, || hub.list(order.revision)).await?;
    let mut expected = Vec::new();
    for file in choose(order.model, listing.files)? {
        let whole = with_retries(&waiting, random, || hub.complete(&listing.revision, file.clone())).await?;
        let (file, size, checksum) = whole;
        expected.push(Expected { file, size, checksum });
    }
    let _lock = order.store.lock(order.model)?;
    if let Some(entry) = order.store.find(order.model).filter(|entry| is_that(entry, &expected)) {
        let bytes = entry.manifest.bytes;
        notify(&Event::Started {
            revision: listing.revision,
            files: expected.len(),
            bytes,
            bytes_here: bytes,
        });
        return Ok(entry);
    }
    let files = bring(order, &hub, &listing.revision, &expected, notify).await?;
    let source = order.endpoint.to_string();
    let repository = order.model.repository();
    let mut manifest =
        Manifest::of(&order.model.to_string(), repository, listing.revision, source, now(order.world));
    manifest.bytes = files.iter().map(|file| file.bytes).sum();
    manifest.files = files;
    order.store.publish(order.model, &manifest)
}

async fn bring(
    order: &Order<'_>,
    hub: &Hub<'_>,
    revision: &str,
    expected: &[Expected],
    notify: &dyn Fn(&Event),
) -> Result<Vec<StoredFile>, HubError> {
    let directory = order.store.staging_directory(order.model);
    make_directory(&directory)?;
    let before = order.store.find(order.model);
    let mut files: Vec<StoredFile> =
        expected.iter().filter_map(|file| have(before.as_ref(), &directory, file)).collect();
    let missing: Vec<&Expected> =
        expected.iter().filter(|file| !files.iter().any(|have| have.name == file.file.name())).collect();
    let bytes: u64 = expected.iter().map(|file| file.size).sum();
    let parts: u64 = missing.iter().map(|file| length(&file.part(&directory)).min(file.size)).sum();
    let bytes_here = parts + files.iter().map(|file| file.bytes).sum::<u64>();
    check_disk_space(&directory, bytes.saturating_sub(bytes_here))?;
    let started = Event::Started { revision: revision.to_owned(), files: expected.len(), bytes, bytes_here };
    notify(&started);
    let meter = Meter::new(bytes, bytes_here, notify);
    let plan =
        DownloadPlan { hub, revision, directory: &directory, meter: &meter, random: &*order.world.random };
    let fetched: Vec<StoredFile> = stream::iter(&missing)
        .map(|file| fetch(&plan, file))
        .buffer_unordered(AT_A_TIME)
        .try_collect()
        .await?;
    for file in missing {
        let to = directory.join(file.file.name());
        fs::rename(file.part(&directory), &to).map_err(|error| HubError::disk(&to, &error))?;
    }
    files.extend(fetched);
    files.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(files)
}

/// Reuses a file of the version on disk by hard link, if its checksum and length are unchanged.
fn have(before: Option<&Entry>, coming: &Path, expected: &Expected) -> Option<StoredFile> {
    let entry = before?;
    let name = expected.file.name();
    let stored = entry.manifest.files.iter().find(|file| file.name == name)?;
    let from = entry.directory.join(name);
    let is_same = stored.checksum == expected.checksum && length(&from) == expected.size;
    let to = coming.join(name);
    // A pull that was interrupted before it wrote the manifest may have left one.
    let _ = fs::remove_file(&to);
    (is_same && fs::hard_link(&from, &to).is_ok()).then(|| stored.clone())
}

/// Whether the model on disk has the files that the hub lists now. The commit may differ: a changed
/// description does not matter.
fn is_that(entry: &Entry, expected: &[Expected]) -> bool {
    let files = &entry.manifest.files;
    let is_here = |wanted: &Expected| {
        files.iter().any(|file| file.name == wanted.file.name() && file.checksum == wanted.checksum)
    };
    files.len() == expected.len() && expected.iter().all(is_here) && entry.is_whole()
}

fn check_revision(revision: &str) -> Result<(), HubError> {
    let is_plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    if revision.len() <= NAME_BYTES_MAX && revision.split('/').all(is_plain) {
        return Ok(());
    }
    let text = format!("{revision} isn't a revision. Name a branch, a tag or a commit.");
    Err(HubError::new(HubErrorKind::Usage, text))
}

fn check_disk_space(directory: &Path, bytes: u64) -> Result<(), HubError> {
    // If the system does not report free space, the write will fail when it is full.
    let Ok(disk) = rustix::fs::statvfs(directory) else { return Ok(()) };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free >= bytes.saturating_add(DISK_RESERVE_BYTES) {
        return Ok(());
    }
    let text = format!(
        "{bytes} bytes remain to be downloaded, and the disk of {} has room for {free}. Make room, or name another place with --models-dir.",
        directory.display()
    );
    Err(HubError::new(HubErrorKind::Disk, text))
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |of| of.len())
}

pub(crate) fn now(world: &World) -> String {
    let seconds = i64::try_from(world.clock.unix_ms() / 1_000).unwrap_or_default();
    let now = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    now.format(&Rfc3339).unwrap_or_default()
}
