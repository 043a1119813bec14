//! Downloads one file: resumes a partial download, and verifies the whole.

use std::fs::{File, OpenOptions};
use std::future::{Future, poll_fn};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use egress::{Answer, InBody};
use http::StatusCode;
use http_body::Body;
use world::Random;

use crate::api::{Hub, within};
use crate::choice::Listed;
use crate::digest::{Checksum, ChecksumHasher};
use crate::error::{HubError, HubErrorKind, Retry};
use crate::limits::{FIRST_WAIT, TRIES_MAX, WAIT_MAX};
use crate::meter::{Event, Meter};
use crate::shelf::StoredFile;

/// A file with its expected size and checksum.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    pub file: Listed,
    pub size: u64,
    pub checksum: Checksum,
}

/// What a download needs besides the file.
pub(crate) struct DownloadPlan<'a> {
    pub hub: &'a Hub<'a>,
    pub revision: &'a str,
    pub directory: &'a Path,
    pub meter: &'a Meter<'a>,
    pub random: &'a dyn Random,
}

/// A partial download and its running checksum.
struct Part {
    path: PathBuf,
    file: File,
    bytes_written: u64,
    running: ChecksumHasher,
}

const BLOCK_BYTES: usize = 1024 * 1024;

impl Expected {
    /// The path of the partial download. It is renamed only when the whole model is complete, because the
    /// next pull hashes a partial file again but would have to trust a finished name. It contains the
    /// checksum, so that it is never taken for a part of another version.
    pub(crate) fn part(&self, directory: &Path) -> PathBuf {
        let start: String = self.checksum.digits().chars().take(16).collect();
        directory.join(format!("{}.{start}.part", self.file.name()))
    }
}

/// # Errors
/// The hub refuses, breaks off too often, or sends content with the wrong checksum; the disk fails.
pub(crate) async fn fetch(plan: &DownloadPlan<'_>, expected: &Expected) -> Result<StoredFile, HubError> {
    let mut part = Part::open(expected.part(plan.directory), expected).await?;
    let mut tries = 0;
    while part.bytes_written < expected.size {
        let before = part.bytes_written;
        let Err(error) = pour(plan, expected, &mut part).await else { continue };
        let Some(retry) = error.retry else { return Err(error) };
        tries = if part.bytes_written > before { 1 } else { tries + 1 };
        if tries >= TRIES_MAX {
            return Err(error);
        }
        pause(plan.meter, plan.random, tries, retry, &error).await;
    }
    settle(plan, expected, part)
}

/// Retries while that may help.
///
/// # Errors
/// The error of the last try.
pub(crate) async fn with_retries<T, F: Future<Output = Result<T, HubError>>>(
    meter: &Meter<'_>,
    random: &dyn Random,
    mut work: impl FnMut() -> F,
) -> Result<T, HubError> {
    let mut tries = 0;
    loop {
        let error = match work().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        tries += 1;
        let Some(retry) = error.retry.filter(|_| tries < TRIES_MAX) else { return Err(error) };
        pause(meter, random, tries, retry, &error).await;
    }
}

async fn pause(meter: &Meter<'_>, random: &dyn Random, tries: u32, retry: Retry, error: &HubError) {
    let wait = match retry {
        Retry::After(wait) => wait,
        Retry::Later => {
            let longest = FIRST_WAIT.saturating_mul(1 << tries.saturating_sub(1).min(16)).min(WAIT_MAX);
            let longest_ms = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
            // Jitter, so that clients that were cut off together do not come back together.
            Duration::from_millis(longest_ms / 2 + random.below(longest_ms / 2 + 1))
        }
    };
    meter.notify(&Event::Waiting { why: error.message.clone(), wait });
    tokio::time::sleep(wait).await;
}

async fn pour(plan: &DownloadPlan<'_>, expected: &Expected, part: &mut Part) -> Result<(), HubError> {
    let answer = plan.hub.open(plan.revision, &expected.file.path, part.bytes_written).await?;
    let from = starts_at(plan.hub, &answer, expected)?;
    if from == 0 && part.bytes_written > 0 {
        plan.meter.remove_bytes(part.bytes_written);
        part.restart(expected)?;
    }
    if from != part.bytes_written {
        return Err(plan
            .hub
            .wrong(&format!("it was asked for {} from byte {} on", expected.file.path, part.bytes_written)));
    }
    let mut body = answer.body;
    while let Some(piece) = next(&mut body).await? {
        let length = piece.len() as u64;
        if part.bytes_written + length > expected.size {
            part.remove();
            return Err(plan.hub.wrong(&format!("{} is longer than the hub said", expected.file.path)));
        }
        part.add(&piece)?;
        plan.meter.add_bytes(length);
    }
    if part.bytes_written < expected.size {
        let text = format!("The hub stopped in the middle of {}.", expected.file.path);
        return Err(HubError::new(HubErrorKind::Unavailable, text).again(Retry::Later));
    }
    Ok(())
}

/// The offset in the file at which an answer's body starts.
fn starts_at(hub: &Hub<'_>, answer: &Answer, expected: &Expected) -> Result<u64, HubError> {
    if answer.headers.text("content-encoding").is_some_and(|how| !how.eq_ignore_ascii_case("identity")) {
        return Err(hub.wrong("it is compressed, though asked not to be"));
    }
    if answer.status != StatusCode::PARTIAL_CONTENT {
        return Ok(0);
    }
    let range = answer.headers.text("content-range").and_then(|text| text.strip_prefix("bytes "));
    let read = range.and_then(|range| {
        let (span, all) = range.split_once('/')?;
        let (from, _) = span.split_once('-')?;
        Some((from.parse::<u64>().ok()?, all.parse::<u64>().ok()))
    });
    match read {
        Some((from, all)) if all.is_none_or(|all| all == expected.size) => Ok(from),
        _ => Err(hub.wrong(&format!("the part of {} belongs to another file", expected.file.path))),
    }
}

async fn next(body: &mut InBody) -> Result<Option<bytes::Bytes>, HubError> {
    loop {
        let frame =
            within(async { poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await.transpose() }).await?;
        match frame.map(http_body::Frame::into_data) {
            None => return Ok(None),
            Some(Ok(bytes)) => return Ok(Some(bytes)),
            // Trailers are ignored.
            Some(Err(_)) => {}
        }
    }
}

fn settle(plan: &DownloadPlan<'_>, expected: &Expected, part: Part) -> Result<StoredFile, HubError> {
    let Part { path, file, running, .. } = part;
    let (found, sha256) = running.finish();
    if found != expected.checksum {
        // A corrupt file can't be repaired: the next pull starts it again.
        let _ = std::fs::remove_file(&path);
        plan.meter.remove_bytes(expected.size);
        return Err(HubError::new(
            HubErrorKind::Refused,
            format!(
                "{} is not what {} says it is ({found} instead of {}). It was removed; pull again, and from another \
                 place if that does not help.",
                expected.file.path, plan.hub.endpoint, expected.checksum
            ),
        ));
    }
    let name = expected.file.name().to_owned();
    file.sync_all().map_err(|error| HubError::disk(&path, &error))?;
    plan.meter.notify(&Event::Checked { file: name.clone(), bytes: expected.size });
    Ok(StoredFile { name, bytes: expected.size, sha256, checksum: expected.checksum.clone() })
}

impl Part {
    /// Hashes what is on disk already. If that is longer than the file should be, starts again.
    async fn open(path: PathBuf, expected: &Expected) -> Result<Self, HubError> {
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = opened.map_err(|error| HubError::disk(&path, &error))?;
        let running = ChecksumHasher::new(&expected.checksum, expected.size);
        let mut part = Self { path, file, bytes_written: 0, running };
        let length = part.with_file(|file| file.metadata().map(|of| of.len()))?;
        if length > expected.size {
            part.restart(expected)?;
            return Ok(part);
        }
        let mut block = vec![0; BLOCK_BYTES];
        loop {
            let read = part.with_file(|file| file.read(&mut block))?;
            let Some(bytes) = block.get(..read).filter(|bytes| !bytes.is_empty()) else { return Ok(part) };
            part.running.update(bytes);
            part.bytes_written += read as u64;
            // Lets the other download and cancellation proceed.
            tokio::task::yield_now().await;
        }
    }

    fn restart(&mut self, expected: &Expected) -> Result<(), HubError> {
        self.with_file(|file| file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))))?;
        self.bytes_written = 0;
        self.running = ChecksumHasher::new(&expected.checksum, expected.size);
        Ok(())
    }

    fn add(&mut self, bytes: &[u8]) -> Result<(), HubError> {
        self.with_file(|file| file.write_all(bytes))?;
        self.running.update(bytes);
        self.bytes_written += bytes.len() as u64;
        Ok(())
    }

    fn remove(&self) {
        // If it can't be removed, its checksum will reject it.
        let _ = std::fs::remove_file(&self.path);
    }

    fn with_file<T>(&mut self, work: impl FnOnce(&mut File) -> std::io::Result<T>) -> Result<T, HubError> {
        work(&mut self.file).map_err(|error| HubError::disk(&self.path, &error))
    }
}
