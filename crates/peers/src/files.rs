//! Small files of the data directory: read within a bound, replaced atomically.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use world::replace_private;

pub(crate) fn read_text(path: &Path, bytes_max: u64) -> io::Result<String> {
    let mut text = String::new();
    let invalid =
        |why: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {why}", path.display()));
    let file = File::open(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    file.take(bytes_max + 1).read_to_string(&mut text).map_err(|error| invalid(&error.to_string()))?;
    if text.len() as u64 > bytes_max { Err(invalid("it is too long")) } else { Ok(text) }
}

/// `None` if the file doesn't exist.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path, bytes_max: u64) -> io::Result<Option<T>> {
    let text = match read_text(path, bytes_max) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display())))
}

pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    replace_private(path, &serde_json::to_vec_pretty(value)?)
}
