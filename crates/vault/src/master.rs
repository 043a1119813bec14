//! Master keys of 32 bytes each, from a file that only its owner can read, from the environment, or from a
//! command.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::Secret;
use world::Random;
use zeroize::{Zeroize, Zeroizing};

const KEY_LEN: usize = 32;

/// A key that wraps all other keys. It is wiped on drop and never printed.
pub struct MasterKey(Zeroizing<[u8; KEY_LEN]>);

#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    #[error(
        "the master key file {path} can be read by others (mode {mode:03o}); run `chmod 600 {path}`, or mount its Secret \
         with `defaultMode: 0400`, and consider who may have read it"
    )]
    Readable { path: PathBuf, mode: u32 },
    #[error("the master key file {path} could not be used")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the master key from {origin} is not 32 bytes in base64; `openssl rand -base64 32` makes one")]
    Malformed { origin: &'static str },
    #[error("the command of TIDEGATE_MASTER_KEY_COMMAND could not be run")]
    Command(#[source] io::Error),
    #[error(
        "the command of TIDEGATE_MASTER_KEY_COMMAND failed ({0}); it must print the key in base64 and exit with 0"
    )]
    CommandFailed(std::process::ExitStatus),
}

impl MasterKey {
    pub fn generate(random: &dyn Random) -> Self {
        let mut bytes = Zeroizing::new([0_u8; KEY_LEN]);
        random.fill(&mut *bytes);
        Self(bytes)
    }

    /// Generates a key and writes it to a new file (mode 0600) before anything is sealed under it.
    ///
    /// # Errors
    /// If the file exists, or the disk refuses.
    pub fn create_file(path: &Path, random: &dyn Random) -> Result<Self, MasterKeyError> {
        let key = Self::generate(random);
        let mut text = Zeroizing::new(STANDARD.encode(*key.0));
        text.push('\n');
        write_private(path, text.as_bytes())
            .map_err(|source| MasterKeyError::File { path: path.into(), source })?;
        Ok(key)
    }

    /// Reads a file of 32 raw bytes, or of one base64 key per line: during a rotation, the old and the new
    /// one. A file that others can read is refused; see `is_private`.
    ///
    /// # Errors
    /// If the file has another form or is readable by others, or any error of the disk.
    pub fn all_from_file(path: &Path) -> Result<Vec<Self>, MasterKeyError> {
        let failed = |source| MasterKeyError::File { path: path.into(), source };
        let metadata = fs::metadata(path).map_err(failed)?;
        if !is_private(&metadata) {
            return Err(MasterKeyError::Readable { path: path.into(), mode: mode_of(&metadata) });
        }
        let bytes = Zeroizing::new(fs::read(path).map_err(failed)?);
        Self::decode(&bytes, "the master key file")
    }

    /// The value of `TIDEGATE_MASTER_KEY`: one key, or several separated by spaces.
    ///
    /// # Errors
    /// If one is not 32 bytes in base64.
    pub fn all_from_base64(text: &Secret) -> Result<Vec<Self>, MasterKeyError> {
        Self::decode_text(text.expose(), "TIDEGATE_MASTER_KEY")
    }

    /// Runs the value of `TIDEGATE_MASTER_KEY_COMMAND` in a shell and reads its output, one key per line.
    ///
    /// # Errors
    /// If it can't be run, fails, or prints something else.
    pub fn all_from_command(command: &str) -> Result<Vec<Self>, MasterKeyError> {
        let output = Command::new("/bin/sh")
            .args(["-c", command])
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .map_err(MasterKeyError::Command)?;
        let printed = Zeroizing::new(output.stdout);
        if !output.status.success() {
            return Err(MasterKeyError::CommandFailed(output.status));
        }
        Self::decode(&printed, "TIDEGATE_MASTER_KEY_COMMAND")
    }

    /// Replaces a file's content with exactly these keys, atomically.
    pub fn write_all(path: &Path, keys: &[&Self]) -> Result<(), MasterKeyError> {
        let failed = |source| MasterKeyError::File { path: path.into(), source };
        let mut text = Zeroizing::new(String::new());
        for key in keys {
            text.push_str(&Zeroizing::new(STANDARD.encode(*key.0)));
            text.push('\n');
        }
        let beside = path.with_extension("new");
        // Left over from a writer that was killed.
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        write_private(&beside, text.as_bytes()).map_err(failed)?;
        fs::rename(&beside, path).map_err(failed)?;
        sync_parent(path).map_err(failed)
    }

    pub(crate) fn expose(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    fn decode(bytes: &[u8], origin: &'static str) -> Result<Vec<Self>, MasterKeyError> {
        match <[u8; KEY_LEN]>::try_from(bytes) {
            Ok(mut raw) => {
                let key = Self(Zeroizing::new(raw));
                raw.zeroize();
                Ok(vec![key])
            }
            Err(_) => Self::decode_text(bytes, origin),
        }
    }

    fn decode_text(text: &[u8], origin: &'static str) -> Result<Vec<Self>, MasterKeyError> {
        let words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let keys = words.map(|word| Self::decode_word(word, origin)).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() { Err(MasterKeyError::Malformed { origin }) } else { Ok(keys) }
    }

    fn decode_word(word: &[u8], origin: &'static str) -> Result<Self, MasterKeyError> {
        let malformed = MasterKeyError::Malformed { origin };
        // With spare bytes, so that a longer key is refused and not truncated.
        let mut bytes = Zeroizing::new([0_u8; KEY_LEN + 4]);
        let Ok(length) = STANDARD.decode_slice(word, &mut *bytes) else { return Err(malformed) };
        match bytes.get(..length).and_then(|b| <[u8; KEY_LEN]>::try_from(b).ok()) {
            Some(mut raw) => {
                let key = Self(Zeroizing::new(raw));
                raw.zeroize();
                Ok(key)
            }
            None => Err(malformed),
        }
    }
}

domain::brief_debug!(MasterKey as "MasterKey(hidden)");

/// Whether a file of master keys is safe from others. One that belongs to root may be read by its group, too: that is how
/// Kubernetes gives a Secret to a pod with an `fsGroup` (mode 0440), and systemd a credential to a service.
pub fn is_private(metadata: &fs::Metadata) -> bool {
    is_private_mode(mode_of(metadata), owner_of(metadata))
}

const fn is_private_mode(mode: u32, owner: u32) -> bool {
    let refused = if owner == 0 { 0o037 } else { 0o077 };
    mode & refused == 0
}

#[cfg(unix)]
fn owner_of(metadata: &fs::Metadata) -> u32 {
    std::os::unix::fs::MetadataExt::uid(metadata)
}

#[cfg(not(unix))]
fn owner_of(_metadata: &fs::Metadata) -> u32 {
    0
}

#[cfg(unix)]
fn mode_of(metadata: &fs::Metadata) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o777
}

#[cfg(not(unix))]
fn mode_of(_metadata: &fs::Metadata) -> u32 {
    0o600
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    sync_parent(path)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => fs::File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::is_private_mode;

    #[test]
    fn a_group_reads_what_root_gave_it_alone() {
        for (mode, is_roots, is_ours) in [
            (0o400, true, true),
            (0o600, true, true),
            (0o440, true, false),
            (0o640, true, false),
            (0o660, false, false),
            (0o450, false, false),
            (0o444, false, false),
            (0o644, false, false),
            (0o604, false, false),
        ] {
            let found = (is_private_mode(mode, 0), is_private_mode(mode, 65_532));
            assert_eq!(found, (is_roots, is_ours), "{mode:o}");
        }
    }
}
