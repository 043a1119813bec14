//! Where the pieces of files are stored: a directory, or a bucket of a cloud.

use std::path::{Path as DiskPath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use domain::{FileId, Secret};
use egress::EgressSettings;
use futures_util::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt as _, RetryConfig};
use serde::Deserialize;
use tasks::Thread;

use crate::limits::{BUCKET_RETRIES_MAX, BUCKET_RETRIES_TIME_MAX, ORPHAN_AGE_MS};
use crate::outbound::Outbound;

/// Where files are stored, as an operator writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BucketPlace {
    Directory(PathBuf),
    S3 { bucket: String, folder: String },
    Azure { container: String, folder: String },
    Google { bucket: String, folder: String },
}

/// Where a bucket's keys are.
#[derive(Debug, Clone, Default)]
pub enum BucketKeys {
    /// The identity of this machine.
    #[default]
    Machine,
    Given(Arc<Secret>),
    File(PathBuf),
}

#[derive(Debug, Clone)]
pub struct BucketSettings {
    pub place: BucketPlace,
    pub region: String,
    /// The bucket's server, where it is not the cloud's own.
    pub endpoint: Option<String>,
    pub keys: BucketKeys,
}

/// The bucket can't be used as it is set.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BucketError(String);

/// The store of the pieces of files.
#[derive(Clone)]
pub(crate) struct Bucket {
    store: Arc<dyn ObjectStore>,
    folder: Path,
    /// The directory, where it is one.
    directory: Option<PathBuf>,
    /// Ends when its last request is answered.
    _thread: Option<Arc<Thread>>,
}

/// An object of the bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    /// `None` for one that is not a piece of a file.
    pub piece: Option<(FileId, String)>,
    pub changed_unix_ms: u64,
}

/// The keys of a bucket, of either cloud that has them as words.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Keys {
    access_key_id: Option<String>,
    secret_access_key: Option<String>,
    session_token: Option<String>,
    account: Option<String>,
    access_key: Option<String>,
}

impl BucketPlace {
    /// Reads `s3://BUCKET/FOLDER`, `az://CONTAINER/FOLDER`, `gs://BUCKET/FOLDER` or the path of a directory.
    pub fn read(text: &str) -> Option<Self> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return (!text.is_empty()).then(|| Self::Directory(PathBuf::from(text)));
        };
        let (name, folder) = rest.split_once('/').unwrap_or((rest, ""));
        let (name, folder) = (name.to_owned(), folder.trim_matches('/').to_owned());
        if name.is_empty() || Path::parse(&folder).is_err() {
            return None;
        }
        match scheme {
            "s3" => Some(Self::S3 { bucket: name, folder }),
            "az" => Some(Self::Azure { container: name, folder }),
            "gs" => Some(Self::Google { bucket: name, folder }),
            _ => None,
        }
    }

    fn folder(&self) -> &str {
        match self {
            Self::Directory(_) => "",
            Self::S3 { folder, .. } | Self::Azure { folder, .. } | Self::Google { folder, .. } => folder,
        }
    }
}

impl BucketKeys {
    /// The text of the keys; what is wrong with it is told without it.
    fn text(&self) -> Result<Option<Secret>, BucketError> {
        match self {
            Self::Machine => Ok(None),
            Self::Given(keys) => Ok(Some(Secret::new(keys.expose().to_vec()))),
            Self::File(path) => std::fs::read(path).map(Secret::new).map(Some).map_err(|error| {
                BucketError(format!("The keys of the bucket can't be read from {}: {error}.", path.display()))
            }),
        }
    }

    fn words(&self) -> Result<Keys, BucketError> {
        let Some(text) = self.text()? else { return Ok(Keys::default()) };
        serde_json::from_slice(text.expose()).map_err(|_| {
            BucketError(
                "The keys of the bucket are not JSON with access_key_id and secret_access_key (S3), or account and \
                 access_key (Azure)."
                    .to_owned(),
            )
        })
    }
}

impl Bucket {
    /// Nothing is read or written yet: a bucket that does not answer keeps no gateway from serving.
    ///
    /// # Errors
    /// The settings can't be used.
    pub(crate) fn open(settings: &BucketSettings, egress: &Arc<EgressSettings>) -> Result<Self, BucketError> {
        let folder = Path::parse(settings.place.folder()).map_err(unusable)?;
        if let BucketPlace::Directory(path) = &settings.place {
            let made = std::fs::create_dir_all(path).and_then(|()| private(path));
            made.map_err(|error| BucketError(format!("{} can't be made: {error}.", path.display())))?;
            let store = LocalFileSystem::new_with_prefix(path).map_err(unusable)?;
            let store = store.with_fsync(true).with_automatic_cleanup(true);
            let directory = Some(path.clone());
            return Ok(Self { store: Arc::new(store), folder, directory, _thread: None });
        }
        // Nobody but the operator names this address: it may be one of a private network.
        let allow_private = egress.allow_private || settings.endpoint.is_some();
        let egress = Arc::new(EgressSettings { allow_private, ..EgressSettings::clone(egress) });
        let (outbound, thread) = Outbound::start(egress)
            .map_err(|error| BucketError(format!("The bucket's thread can't be started: {error}.")))?;
        let store = remote(settings, outbound)?;
        Ok(Self { store, folder, directory: None, _thread: Some(Arc::new(thread)) })
    }

    fn path(&self, file: FileId, name: &str) -> Path {
        self.folder.clone().join(file.as_uuid().simple().to_string()).join(name)
    }

    pub(crate) async fn put(&self, file: FileId, name: &str, bytes: Bytes) -> Result<(), Error> {
        self.store.put(&self.path(file, name), bytes.into()).await.map(drop)
    }

    /// `None` if it is not there.
    pub(crate) async fn get(&self, file: FileId, name: &str) -> Result<Option<Bytes>, Error> {
        match self.store.get(&self.path(file, name)).await {
            Ok(found) => found.bytes().await.map(Some),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes pieces of a file; those that are not there are no error.
    pub(crate) async fn delete(&self, file: FileId, names: Vec<String>) -> Result<(), Error> {
        let paths: Vec<_> = names.iter().map(|name| Ok(self.path(file, name))).collect();
        self.delete_paths(paths).await
    }

    async fn delete_paths(&self, paths: Vec<Result<Path, Error>>) -> Result<(), Error> {
        let mut deleted = self.store.delete_stream(stream::iter(paths).boxed());
        while let Some(one) = deleted.next().await {
            match one {
                Ok(_) | Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Deletes whatever is stored of a file.
    pub(crate) async fn delete_all(&self, file: FileId) -> Result<(), Error> {
        let folder = self.folder.clone().join(file.as_uuid().simple().to_string());
        let found: Vec<_> = self.store.list(Some(&folder)).try_collect().await?;
        self.delete_paths(found.into_iter().map(|object| Ok(object.location)).collect()).await
    }

    /// Every object below the folder.
    pub(crate) fn list(&self) -> BoxStream<'static, Result<Stored, Error>> {
        let folder = self.folder.clone();
        let objects = self.store.list((!folder.as_ref().is_empty()).then_some(&folder));
        objects
            .map_ok(move |object| {
                let changed = object.last_modified.timestamp_millis();
                Stored {
                    piece: piece_of(&folder, &object.location),
                    changed_unix_ms: u64::try_from(changed).unwrap_or_default(),
                }
            })
            .boxed()
    }

    /// Deletes what a process that was killed left half-written: a directory has such files beside its objects, and lists
    /// none of them.
    pub(crate) fn clean(&self, now_unix_ms: u64) {
        let Some(directory) = &self.directory else { return };
        let Ok(folders) = std::fs::read_dir(directory) else { return };
        for folder in folders.flatten().filter(|folder| folder.path().is_dir()) {
            let Ok(entries) = std::fs::read_dir(folder.path()) else { continue };
            for entry in entries.flatten() {
                let is_half = entry.file_name().to_string_lossy().contains('#');
                let changed = entry.metadata().and_then(|about| about.modified()).ok();
                let changed = changed.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
                let changed_ms =
                    changed.map_or(now_unix_ms, |at| u64::try_from(at.as_millis()).unwrap_or(now_unix_ms));
                if is_half && changed_ms.saturating_add(ORPHAN_AGE_MS) <= now_unix_ms {
                    let _ = std::fs::remove_file(entry.path());
                }
            }
        }
    }
}

/// Nobody but this process's user reads the directory.
fn private(path: &DiskPath) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
}

fn piece_of(folder: &Path, location: &Path) -> Option<(FileId, String)> {
    let parts: Vec<_> = location.prefix_match(folder)?.collect();
    let [file, name] = parts.as_slice() else { return None };
    let file = format!("{}_{}", FileId::PREFIX, file.as_ref()).parse().ok()?;
    Some((file, name.as_ref().to_owned()))
}

fn remote(settings: &BucketSettings, outbound: Outbound) -> Result<Arc<dyn ObjectStore>, BucketError> {
    let retry = RetryConfig {
        max_retries: BUCKET_RETRIES_MAX,
        retry_timeout: BUCKET_RETRIES_TIME_MAX,
        ..RetryConfig::default()
    };
    let endpoint = settings.endpoint.clone();
    match &settings.place {
        BucketPlace::S3 { bucket, .. } => {
            let keys = settings.keys.words()?;
            let mut builder = AmazonS3Builder::from_env()
                .with_http_connector(outbound)
                .with_retry(retry)
                .with_bucket_name(bucket)
                .with_region(&settings.region)
                .with_allow_http(true);
            if let Some(endpoint) = endpoint {
                builder = builder.with_endpoint(endpoint).with_virtual_hosted_style_request(false);
            }
            if let (Some(id), Some(secret)) = (keys.access_key_id, keys.secret_access_key) {
                builder = builder.with_access_key_id(id).with_secret_access_key(secret);
            }
            if let Some(token) = keys.session_token {
                builder = builder.with_token(token);
            }
            Ok(Arc::new(builder.build().map_err(unusable)?))
        }
        BucketPlace::Azure { container, .. } => {
            let keys = settings.keys.words()?;
            let mut builder = MicrosoftAzureBuilder::from_env()
                .with_http_connector(outbound)
                .with_retry(retry)
                .with_container_name(container)
                .with_allow_http(true);
            if let Some(endpoint) = endpoint {
                builder = builder.with_endpoint(endpoint);
            }
            if let Some(account) = keys.account {
                builder = builder.with_account(account);
            }
            if let Some(key) = keys.access_key {
                builder = builder.with_access_key(key);
            }
            Ok(Arc::new(builder.build().map_err(unusable)?))
        }
        BucketPlace::Google { bucket, .. } => {
            let mut builder = GoogleCloudStorageBuilder::from_env()
                .with_http_connector(outbound)
                .with_retry(retry)
                .with_bucket_name(bucket);
            if let Some(endpoint) = &endpoint {
                builder = builder.with_base_url(endpoint);
            }
            if let Some(keys) = settings.keys.text()? {
                let text = keys.expose_text().unwrap_or_default().to_owned();
                builder = builder.with_service_account_key(text);
            }
            Ok(Arc::new(builder.build().map_err(unusable)?))
        }
        BucketPlace::Directory(_) => Err(BucketError("A directory isn't a bucket.".to_owned())),
    }
}

/// Errors of building name the option that is wrong, and no key.
fn unusable(error: impl std::fmt::Display) -> BucketError {
    BucketError(format!("The store of files can't be used as it is set: {error}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<String> {
        BucketPlace::read(text).map(|place| format!("{place:?}"))
    }

    #[test]
    fn a_place_is_read_strictly() {
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(read("/var/files"), text(r#"Directory("/var/files")"#));
        assert_eq!(read("s3://box/a/b/"), text(r#"S3 { bucket: "box", folder: "a/b" }"#));
        assert_eq!(read("az://box"), text(r#"Azure { container: "box", folder: "" }"#));
        assert_eq!(read("gs://box/x"), text(r#"Google { bucket: "box", folder: "x" }"#));
        for wrong in ["", "ftp://box", "s3:///x", "s3://"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn keys_are_told_apart_and_never_repeated() {
        let keys = |text: &str| BucketKeys::Given(Arc::new(Secret::from_text(text.to_owned()))).words();
        assert_eq!(keys(r#"{"account": "a", "access_key": "b"}"#).unwrap().account.as_deref(), Some("a"));
        let message = keys(r#"{"secret_access_key": "canary", "x": 1}"#).err().unwrap().to_string();
        assert!(!message.contains("canary") && message.contains("access_key_id"), "{message}");
    }

    #[tokio::test]
    async fn a_directory_keeps_and_forgets_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let settings = BucketSettings {
            place: BucketPlace::Directory(dir.path().join("files")),
            region: String::new(),
            endpoint: None,
            keys: BucketKeys::Machine,
        };
        let bucket = Bucket::open(&settings, &Arc::default()).unwrap();
        let file = FileId::new(1, [1; 10]);
        bucket.put(file, "0-a", Bytes::from_static(b"one")).await.unwrap();
        bucket.put(file, "1-b", Bytes::from_static(b"two")).await.unwrap();
        assert_eq!(bucket.get(file, "1-b").await.unwrap().as_deref(), Some(&b"two"[..]));
        assert_eq!(bucket.get(file, "2-c").await.unwrap(), None);
        let listed: Vec<Stored> = bucket.list().try_collect().await.unwrap();
        let mut names: Vec<_> = listed.into_iter().filter_map(|stored| stored.piece).collect();
        names.sort();
        assert_eq!(names, [(file, "0-a".to_owned()), (file, "1-b".to_owned())]);
        bucket.delete(file, vec!["0-a".to_owned(), "9-z".to_owned()]).await.unwrap();
        assert_eq!(bucket.get(file, "0-a").await.unwrap(), None);
        bucket.delete_all(file).await.unwrap();
        assert_eq!(bucket.list().count().await, 0);
        let half = dir.path().join("files/x");
        std::fs::create_dir_all(&half).unwrap();
        std::fs::write(half.join("0-a#1"), b"half").unwrap();
        bucket.clean(0);
        assert!(half.join("0-a#1").exists());
        bucket.clean(u64::MAX);
        assert!(!half.join("0-a#1").exists());
    }
}
