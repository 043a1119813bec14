//! Where content is stored outside the database: files of projects, and copies of the audit.

use std::path::PathBuf;

use files::{BucketKeys, BucketPlace, BucketSettings, FileLimits, FileSettings};

use super::{Layers, SettingsError, address};
use crate::audit_storage::{AccessKeys, StorageSettings};
use crate::limits::FILE_STORE_BYTES_MAX;

const STORES: &str = "a directory, s3://BUCKET/FOLDER, az://CONTAINER/FOLDER or gs://BUCKET/FOLDER";
const BYTES: &str = "a number of bytes from 1 to 1125899906842624";

impl Layers {
    pub(super) fn audit_storage(&self) -> Result<StorageSettings, SettingsError> {
        let region = self.parsed("audit.sink_region", "a region such as eu-west-1", |text| {
            let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            Some(text.to_owned()).filter(|text| !text.is_empty() && text.bytes().all(is_plain))
        })?;
        let endpoint =
            self.parsed("audit.sink_endpoint", "an address such as https://minio.example", address)?;
        let keys = match (self.given_secret("audit.sink_keys"), self.path("audit.sink_keys_file")) {
            (Some(keys), _) => AccessKeys::Given(keys),
            (None, Some(file)) => AccessKeys::File(file),
            (None, None) => AccessKeys::Missing,
        };
        Ok(StorageSettings { region, endpoint, keys })
    }

    pub(super) fn files(&self) -> Result<FileSettings, SettingsError> {
        let place = self.parsed("files.store", STORES, |text| match text {
            "" => Some(BucketPlace::Directory(PathBuf::from(self.text("data_dir")).join("files"))),
            text => BucketPlace::read(text),
        })?;
        let keys = match (self.given_secret("files.keys"), self.path("files.keys_file")) {
            (Some(keys), _) => BucketKeys::Given(keys),
            (None, Some(file)) => BucketKeys::File(file),
            (None, None) => BucketKeys::Machine,
        };
        let bytes = |text: &str| text.parse().ok().filter(|bytes| (1..=FILE_STORE_BYTES_MAX).contains(bytes));
        let limits = FileLimits {
            bytes_max: self.parsed("files.bytes_max", BYTES, bytes)?,
            project_bytes_max: self.parsed("files.project_bytes_max", BYTES, bytes)?,
            keep_days: self.parsed("files.keep_days", "a number of days from 1 to 3650", |text| {
                text.parse().ok().filter(|days| (1..=3_650).contains(days))
            })?,
        };
        let bucket = BucketSettings {
            place,
            region: self.text("files.region").to_owned(),
            endpoint: self.parsed("files.endpoint", "an address such as https://minio.example", address)?,
            keys,
        };
        let public_url = self.given("public_url").map(str::to_owned);
        Ok(FileSettings { bucket, limits, public_url })
    }
}
