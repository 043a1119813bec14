//! Signed heads of the audit chains that are kept outside the database: written by a gateway, read for
//! verification.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use domain::ports::PortFuture;
use proof::audit::Head;
use reconcilers::{HeadStore, Outbound};
use serde::{Deserialize, Serialize};

use crate::outside;

/// Where a gateway sends them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeadDestination {
    Directory(PathBuf),
    Address(String),
}

impl HeadDestination {
    pub fn of(text: &str) -> Option<Self> {
        let is_address = text.starts_with("https://") || text.starts_with("http://");
        match text {
            "" => None,
            address if is_address => Some(Self::Address(address.to_owned())),
            directory => Some(Self::Directory(PathBuf::from(directory))),
        }
    }

    /// # Errors
    /// The address is not allowed.
    pub fn keeper(
        &self,
        egress: &egress::EgressSettings,
        trips: Arc<dyn Outbound>,
        gateway: &str,
    ) -> anyhow::Result<Arc<dyn HeadStore>> {
        Ok(match self {
            Self::Directory(directory) => {
                Arc::new(InDirectory { directory: directory.clone(), gateway: gateway.to_owned() })
            }
            Self::Address(url) => {
                egress::check_webhook_url(url, egress)
                    .map_err(|fault| anyhow::anyhow!("audit.heads: {}", fault.message))?;
                Arc::new(AtAddress { url: url.clone(), trips })
            }
        })
    }
}

/// Append-only files, one for each gateway and day.
struct InDirectory {
    directory: PathBuf,
    gateway: String,
}

impl HeadStore for InDirectory {
    fn store(&self, heads: Vec<Head>) -> PortFuture<'_, Result<(), String>> {
        let (directory, gateway) = (self.directory.clone(), self.gateway.clone());
        Box::pin(outside::blocking(move || add(&directory, &gateway, &heads)))
    }
}

fn add(directory: &Path, gateway: &str, heads: &[Head]) -> anyhow::Result<()> {
    let Some(first) = heads.first() else { return Ok(()) };
    outside::append(
        directory,
        &format!("heads-{}-{gateway}.jsonl", outside::day(first.signed_unix_ms)?),
        heads,
    )
}

/// The request body for an address; a receiver may store it as a line.
#[derive(Serialize, Deserialize)]
struct Sent {
    object: String,
    heads: Vec<Head>,
}

struct AtAddress {
    url: String,
    trips: Arc<dyn Outbound>,
}

impl HeadStore for AtAddress {
    fn store(&self, heads: Vec<Head>) -> PortFuture<'_, Result<(), String>> {
        Box::pin(async move {
            let sent = Sent { object: "audit_heads".to_owned(), heads };
            outside::post(&*self.trips, &self.url, &sent).await
        })
    }
}

/// The heads found in files.
#[derive(Debug, Default)]
pub struct Found {
    pub heads: Vec<Head>,
    /// Lines that are not heads, for example a half-written one.
    pub unreadable: usize,
}

/// Reads the heads of one chain, from a file or from every `.jsonl` file of a directory.
pub fn read(path: &Path, chain: &str) -> anyhow::Result<Found> {
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        let entries = fs::read_dir(path)?.collect::<Result<Vec<_>, _>>()?;
        let is_of_heads = |file: &PathBuf| file.extension().is_some_and(|end| end == "jsonl");
        files = entries.into_iter().map(|entry| entry.path()).filter(is_of_heads).collect();
        files.sort();
    }
    let mut found = Found::default();
    for file in files {
        let text = fs::read(&file).with_context(|| format!("{} can't be read", file.display()))?;
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            match heads_of(line) {
                Some(heads) => found.heads.extend(heads.into_iter().filter(|head| head.chain == chain)),
                None => found.unreadable += 1,
            }
        }
    }
    Ok(found)
}

fn heads_of(line: &[u8]) -> Option<Vec<Head>> {
    let one = serde_json::from_slice(line).map(|head: Head| vec![head]);
    one.or_else(|_| serde_json::from_slice(line).map(|sent: Sent| sent.heads)).ok()
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;

    use proof::{Digest, SigningKey};

    use super::*;

    fn head(chain: &str, length: u64) -> Head {
        let key = SigningKey::from_seed(&[7; 32]).unwrap();
        Head::sign(&key, chain, length, Digest::ZERO, 1_800_000_000_000 + length)
    }

    #[test]
    fn what_is_kept_is_read_again_past_a_torn_line() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("deep/heads");
        add(&directory, "one", &[head("ws_1", 1), head("ws_2", 9)]).unwrap();
        let file = directory.join("heads-2027-01-15-one.jsonl");
        OpenOptions::new().append(true).open(&file).unwrap().write_all(b"{\"chain\":\"ws_1\",\"len").unwrap();
        add(&directory, "one", &[head("ws_1", 2)]).unwrap();
        add(&directory, "two", &[head("ws_1", 3)]).unwrap();
        let sent = Sent { object: "audit_heads".into(), heads: vec![head("ws_1", 4)] };
        fs::write(directory.join("posted.jsonl"), serde_json::to_string(&sent).unwrap()).unwrap();
        let found = read(&directory, "ws_1").unwrap();
        let lengths: Vec<_> = found.heads.iter().map(|head| (head.length, head.is_signed())).collect();
        assert_eq!(lengths, [(1, true), (2, true), (3, true), (4, true)]);
        assert_eq!((found.unreadable, read(&file, "ws_2").unwrap().heads.len()), (1, 1));
    }
}
