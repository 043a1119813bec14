//! Export files that are written page by page: an interrupted export resumes after the last complete page.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use cli::output::{self, Failure};

/// One file to write.
#[derive(Debug, Clone)]
pub struct Part {
    pub name: String,
    /// Its header line; empty if it has none.
    pub head: String,
}

/// The progress, stored beside the files and replaced atomically.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    names: Vec<String>,
    bytes: Vec<u64>,
    rows: u64,
    cursor: Option<String>,
}

/// Files that are written together from one list.
#[derive(Debug)]
pub struct Parts {
    directory: PathBuf,
    list: &'static str,
    files: Vec<File>,
    state: State,
}

impl Parts {
    /// Creates the files, or resumes those of an interrupted run.
    pub fn open(directory: &Path, list: &'static str, wanted: &[Part]) -> Result<Self, Failure> {
        let names: Vec<_> = wanted.iter().map(|part| part.name.clone()).collect();
        let known = std::fs::read(state_path(directory, list)).ok();
        let known: Option<State> = known.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let known = known.filter(|state: &State| state.names == names && is_there(directory, state));
        let mut parts =
            Self { directory: directory.to_owned(), list, files: Vec::new(), state: State::default() };
        for name in &names {
            let path = parts.part(name);
            let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
            let refused = |error| {
                Failure::new(output::FAILED, format!("{} can't be written: {error}.", path.display()))
            };
            parts.files.push(opened.map_err(refused)?);
        }
        match known {
            Some(state) => {
                parts.state = state;
                parts.cut()?;
            }
            None => {
                parts.state = State { bytes: vec![0; names.len()], names, rows: 0, cursor: None };
                parts.cut()?;
                let heads: Vec<_> = wanted.iter().map(|part| part.head.clone()).collect();
                parts.write(&heads)?;
            }
        }
        Ok(parts)
    }

    /// The cursor at which the list continues.
    pub fn cursor(&self) -> Option<&str> {
        self.state.cursor.as_deref()
    }

    pub const fn rows(&self) -> u64 {
        self.state.rows
    }

    /// Appends a page: one text for each file, and the cursor of the next page.
    pub fn add(&mut self, texts: &[String], rows: u64, next: Option<String>) -> Result<(), Failure> {
        self.write(texts)?;
        self.state.rows += rows;
        self.state.cursor = next;
        let fresh = state_path(&self.directory, self.list).with_extension("new");
        std::fs::write(&fresh, serde_json::to_vec(&self.state).map_err(anyhow::Error::from)?)?;
        std::fs::rename(&fresh, state_path(&self.directory, self.list))?;
        Ok(())
    }

    /// Gives the files their final names.
    pub fn finish(self) -> Result<Vec<String>, Failure> {
        for (name, file) in self.state.names.iter().zip(&self.files) {
            file.sync_all()?;
            std::fs::rename(self.part(name), self.directory.join(name))?;
        }
        forget(&self.directory, self.list)?;
        Ok(self.state.names)
    }

    /// Deletes the files.
    pub fn discard(self) -> Result<(), Failure> {
        for name in &self.state.names {
            std::fs::remove_file(self.part(name))?;
        }
        forget(&self.directory, self.list)
    }

    fn part(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.part"))
    }

    /// Cuts off what was written after the last recorded page.
    fn cut(&mut self) -> Result<(), Failure> {
        for (file, bytes) in self.files.iter_mut().zip(&self.state.bytes) {
            file.set_len(*bytes)?;
            file.seek(SeekFrom::Start(*bytes))?;
        }
        Ok(())
    }

    fn write(&mut self, texts: &[String]) -> Result<(), Failure> {
        for ((file, bytes), text) in self.files.iter_mut().zip(&mut self.state.bytes).zip(texts) {
            file.write_all(text.as_bytes())?;
            *bytes += text.len() as u64;
        }
        Ok(())
    }
}

fn state_path(directory: &Path, list: &str) -> PathBuf {
    directory.join(format!(".{list}.state"))
}

fn is_there(directory: &Path, state: &State) -> bool {
    let length = |name: &String| {
        std::fs::metadata(directory.join(format!("{name}.part"))).map_or(0, |file| file.len())
    };
    state.names.iter().zip(&state.bytes).all(|(name, bytes)| length(name) >= *bytes)
}

fn forget(directory: &Path, list: &str) -> Result<(), Failure> {
    match std::fs::remove_file(state_path(directory, list)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_interrupted_goes_on_from_its_last_whole_page() {
        let root = tempfile::tempdir().unwrap();
        let wanted = [
            Part { name: "a.csv".into(), head: "h\n".into() },
            Part { name: "b.csv".into(), head: String::new() },
        ];
        let open = || Parts::open(root.path(), "rows", &wanted).unwrap();
        let mut parts = open();
        parts.add(&["1\n".into(), "x\n".into()], 1, Some("c1".into())).unwrap();
        // Interrupted in the middle of the next page.
        parts.write(&["2\n".into(), "tor".into()]).unwrap();
        drop(parts);
        assert!(!root.path().join("a.csv").exists(), "nothing half-made has the name of a whole one");
        let mut parts = open();
        assert_eq!((parts.cursor(), parts.rows()), (Some("c1"), 1));
        parts.add(&["2\n".into(), "y\n".into()], 1, None).unwrap();
        assert_eq!(parts.finish().unwrap(), ["a.csv", "b.csv"]);
        let read = |name| std::fs::read_to_string(root.path().join(name)).unwrap();
        assert_eq!((read("a.csv"), read("b.csv")), ("h\n1\n2\n".into(), "x\ny\n".into()));
        let names: Vec<_> =
            std::fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
        // A different set of files starts again.
        let mut parts = open();
        parts.add(&["1\n".into(), String::new()], 1, Some("c1".into())).unwrap();
        drop(parts);
        let other = Parts::open(root.path(), "rows", &wanted[..1]).unwrap();
        assert_eq!((other.cursor(), other.rows()), (None, 0));
        other.discard().unwrap();
    }
}
