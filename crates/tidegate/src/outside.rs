//! How what must outlive this installation leaves it: lines added to files, and requests to an address.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use bytes::Bytes;
use reconcilers::Outbound;
use reconcilers::webhooks::Posting;
use serde::Serialize;
use time::{Date, OffsetDateTime};

/// # Errors
/// The time is too far off for a calendar.
pub fn day(unix_ms: u64) -> anyhow::Result<Date> {
    Ok(OffsetDateTime::from_unix_timestamp(i64::try_from(unix_ms / 1_000)?)?.date())
}

/// Adds JSON lines to a file, and returns once they are on disk.
pub fn append<T: Serialize>(directory: &Path, name: &str, lines: &[T]) -> anyhow::Result<()> {
    let path = directory.join(name);
    fs::create_dir_all(directory).with_context(|| format!("can't make {}", directory.display()))?;
    let opened = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path);
    let mut file = opened.with_context(|| format!("can't open {}", path.display()))?;
    let mut text = Vec::new();
    // Ends a line that a process left half-written when it died, so that the next one is readable.
    if ends_in_a_line(&mut file)? {
        text.push(b'\n');
    }
    for line in lines {
        serde_json::to_writer(&mut text, line)?;
        text.push(b'\n');
    }
    file.write_all(&text)?;
    file.sync_all()?;
    // The file itself may be new.
    Ok(File::open(directory)?.sync_all()?)
}

fn ends_in_a_line(file: &mut File) -> anyhow::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

/// Runs work that blocks, and words its error for the log.
pub async fn blocking(work: impl FnOnce() -> anyhow::Result<()> + Send + 'static) -> Result<(), String> {
    match tasks::blocking(work).await {
        Ok(done) => done.map_err(|error| format!("{error:#}")),
        Err(error) => Err(error.to_string()),
    }
}

/// Posts a document to an address of the operator's.
pub async fn post(outbound: &dyn Outbound, url: &str, document: &impl Serialize) -> Result<(), String> {
    let body = serde_json::to_vec(document).map_err(|error| error.to_string())?;
    let posting = Posting::json(None, url.to_owned(), Vec::new(), Bytes::from(body));
    send(outbound, posting.map_err(|error| format!("{url}: {error:?}"))?).await
}

/// Sends a request to an address of the operator's, which takes it with a status from 200 to 299.
pub async fn send(outbound: &dyn Outbound, posting: Posting) -> Result<(), String> {
    let url = posting.url.clone();
    match outbound.post(posting).await {
        Ok(posted) if (200..300).contains(&posted.status) => Ok(()),
        Ok(posted) => Err(format!("{url} answered {}", posted.status)),
        Err(error) => Err(format!("{url} did not answer: {error:?}")),
    }
}
