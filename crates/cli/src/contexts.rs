//! The gateways that this person is signed in to: one file in their configuration directory, which only they
//! may read.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::output::{self, Failure};
use crate::private_file;

pub const DEFAULT: &str = "default";

/// A gateway, and the key that `tidegate login` obtained there.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    pub url: String,
    pub workspace_id: String,
    pub api_key: String,
}

/// The whole file.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contexts {
    /// The context used when none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    #[serde(default)]
    pub contexts: BTreeMap<String, Context>,
}

impl Contexts {
    /// Reads the file; empty if there is none.
    ///
    /// # Errors
    /// It exists and can't be read.
    pub fn read() -> Result<Self, Failure> {
        path().map_or_else(|| Ok(Self::default()), |path| read_from(&path))
    }

    /// The named context, or the current one, with its name.
    ///
    /// # Errors
    /// The named one does not exist.
    pub fn choose(&self, named: Option<&str>) -> Result<Option<(&str, &Context)>, Failure> {
        let name = named.or(self.current.as_deref()).unwrap_or(DEFAULT);
        match self.contexts.get_key_value(name) {
            Some((name, context)) => Ok(Some((name.as_str(), context))),
            None if named.is_some() => Err(Failure::new(
                output::USAGE,
                format!("There is no context {name}: `tidegate login --context {name}` makes it."),
            )),
            None => Ok(None),
        }
    }

    /// Replaces the file atomically.
    ///
    /// # Errors
    /// The disk fails, or there is no home directory.
    pub fn write(&self) -> Result<(), Failure> {
        let path = path().ok_or_else(|| {
            Failure::new(
                output::FAILED,
                "Neither HOME nor XDG_CONFIG_HOME is set: there is no place for the key.",
            )
        })?;
        write_to(self, &path)
    }
}

fn path() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let directory = variable("XDG_CONFIG_HOME").or_else(|| variable("HOME").map(|home| home.join(".config")));
    directory.map(|directory| directory.join("tidegate").join("contexts.toml"))
}

fn read_from(path: &Path) -> Result<Contexts, Failure> {
    let text = match fs::read_to_string(path) {
        Ok(text) => {
            keep_private(path)?;
            text
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Contexts::default()),
        Err(error) => {
            return Err(Failure::new(output::FAILED, format!("{} can't be read: {error}.", path.display())));
        }
    };
    // The parser's own message would show the line, and with it a key.
    toml::from_str(&text).map_err(|_| {
        Failure::new(
            output::FAILED,
            format!("{} is not in its form: correct or remove it, then `tidegate login`.", path.display()),
        )
    })
}

/// Refuses a file that other users of this machine can read, so that nothing is sent with an exposed key.
fn keep_private(path: &Path) -> Result<(), Failure> {
    let mode = fs::metadata(path)?.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let display = path.display();
    Err(Failure::new(
        output::FAILED,
        format!("{display} holds keys and others can read it (mode {mode:o}): chmod 600 {display}"),
    ))
}

fn write_to(contexts: &Contexts, path: &Path) -> Result<(), Failure> {
    let text = toml::to_string(contexts).map_err(anyhow::Error::from)?;
    if let Some(directory) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    Ok(private_file::replace(path, &text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_and_is_private() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("config").join("contexts.toml");
        assert!(read_from(&path).unwrap().contexts.is_empty());
        let context =
            Context { url: "http://a".into(), workspace_id: "ws_1".into(), api_key: "tg_live_x".into() };
        let mut contexts = Contexts::default();
        contexts.contexts.insert("work".into(), context.clone());
        write_to(&contexts, &path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let read = read_from(&path).unwrap();
        assert!(read.choose(Some("work")).unwrap() == Some(("work", &context)));
        assert!(read.choose(None).unwrap().is_none());
        assert!(read.choose(Some("home")).is_err());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(read_from(&path).err().unwrap().message.contains("chmod 600"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "api_key = tg_live_secret").unwrap();
        assert!(!read_from(&path).err().unwrap().message.contains("tg_live_secret"));
    }
}
