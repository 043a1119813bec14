//! Object storage that every entry of the audit is sent to: a bucket of S3, or of a server that is compatible with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use domain::hosting::StoragePlace;
use domain::ports::PortFuture;
use domain::{Fault, Secret};
use proof::Digest;
use providers::StorageServer;
use reconcilers::webhooks::Posting;
use reconcilers::{AuditDestination, Outbound, SentEntry};
use world::World;

use crate::outside;

const MEDIA_TYPE: &str = "application/x-ndjson";

/// How the bucket is reached, as it is set.
#[derive(Debug, Clone)]
pub struct StorageSettings {
    pub region: String,
    /// `None` for S3 itself.
    pub endpoint: Option<String>,
    pub keys: AccessKeys,
}

/// Where the pair of access keys is.
#[derive(Debug, Clone)]
pub enum AccessKeys {
    Missing,
    Given(Arc<Secret>),
    /// Read each time, so that keys for a while can be replaced there.
    File(PathBuf),
}

impl AccessKeys {
    async fn read(&self) -> anyhow::Result<Arc<Secret>> {
        match self {
            Self::Missing => anyhow::bail!("there are no access keys"),
            Self::Given(keys) => Ok(Arc::clone(keys)),
            Self::File(path) => {
                let path = path.clone();
                Ok(Arc::new(tasks::blocking(move || read(&path)).await??))
            }
        }
    }
}

fn read(path: &Path) -> anyhow::Result<Secret> {
    let bytes = std::fs::read(path).with_context(|| format!("can't read {}", path.display()))?;
    Ok(Secret::new(bytes))
}

/// A bucket, or a folder in it. Entries that were sent together are one object, which is never written with another
/// content.
pub struct IntoStorage {
    /// `s3://BUCKET/FOLDER`.
    pub uri: String,
    pub settings: StorageSettings,
    pub outbound: Arc<dyn Outbound>,
    pub world: World,
}

impl IntoStorage {
    /// # Errors
    /// The address is not allowed, or there are no keys.
    pub fn check(&self, egress: &egress::EgressSettings) -> anyhow::Result<()> {
        let refused = |fault: Box<Fault>| anyhow::anyhow!("audit.sink: {}", fault.message);
        let keys = match &self.settings.keys {
            AccessKeys::Missing => anyhow::bail!(
                "audit.sink is a bucket, and there are no access keys for it: give a file of them as audit.sink_keys_file, or \
                 the keys as TIDEGATE_AUDIT_SINK_KEYS"
            ),
            AccessKeys::Given(keys) => Arc::clone(keys),
            AccessKeys::File(path) => Arc::new(read(path).context("audit.sink_keys_file")?),
        };
        let request = self.request("chain", (1, 1), Bytes::new(), &keys)?;
        egress::check_webhook_url(&request.url, egress).map_err(refused)
    }

    fn server(&self) -> StorageServer<'_> {
        StorageServer { endpoint: self.settings.endpoint.as_deref(), region: &self.settings.region }
    }

    /// The request that writes the object with these entries of a chain.
    fn request(
        &self,
        chain: &str,
        (first, last): (u64, u64),
        content: Bytes,
        keys: &Secret,
    ) -> anyhow::Result<Posting> {
        let place = StoragePlace::read(&self.uri).context("the sink isn't a bucket")?;
        let key = object_key(place.key, chain, first, last);
        let object = StoragePlace { bucket: place.bucket, key: &key };
        let unix_s = self.world.clock.unix_ms() / 1_000;
        let request = self.server().put(object, (MEDIA_TYPE, content.clone()), keys, unix_s);
        let request = request.map_err(|_| {
            anyhow::anyhow!(
                "the access keys of audit.sink are not {{\"access_key_id\": …, \"secret_access_key\": …}}, with a \
                 \"session_token\" where they are for a while"
            )
        })?;
        let mut headers = request.headers;
        headers.push(Posting::sender());
        let (method, url) = (request.method, request.url);
        Ok(Posting { method, url, headers, body: content, owner: None, is_of_settings: false })
    }

    async fn write(&self, entries: &[SentEntry]) -> anyhow::Result<Posting> {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            anyhow::bail!("there are no entries")
        };
        let mut content = Vec::new();
        for entry in entries {
            serde_json::to_writer(&mut content, entry)?;
            content.push(b'\n');
        }
        let range = (first.entry().sequence, last.entry().sequence);
        let keys = self.settings.keys.read().await?;
        self.request(&first.chain, range, Bytes::from(content), &keys)
    }
}

/// A folder for each chain, in which names sort as its entries do.
fn object_key(folder: &str, chain: &str, first: u64, last: u64) -> String {
    let folder = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    format!("{folder}{chain}/{first:012}-{last:012}.jsonl")
}

impl AuditDestination for IntoStorage {
    fn id(&self) -> Digest {
        let endpoint = self.settings.endpoint.as_deref().unwrap_or_default();
        Digest::of(&[b"storage\n", endpoint.as_bytes(), b"\n", self.uri.as_bytes()])
    }

    fn take(&self, entries: Vec<SentEntry>) -> PortFuture<'_, Result<(), String>> {
        Box::pin(async move {
            let request = self.write(&entries).await.map_err(|error| format!("{error:#}"))?;
            outside::send(&*self.outbound, request).await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_a_chain_sort_as_its_entries_do() {
        let ends = [(1, 9), (10, 99), (100, 599), (1_000, 1_000)];
        let names = |folder: &str| ends.map(|(first, last)| object_key(folder, "wsp_1", first, last));
        assert_eq!(names("")[0], "wsp_1/000000000001-000000000009.jsonl");
        assert_eq!(names("a/b")[2], "a/b/wsp_1/000000000100-000000000599.jsonl");
        assert!(names("a").is_sorted());
    }
}
