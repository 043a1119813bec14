//! `tidegate file`: uploads files in parts, lists, reads and deletes them.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::Value;

use crate::api::{Api, PartAnswer, escape, field};
use crate::body::Body;
use crate::collection::Collection;
use crate::limits::{UPLOAD_PART_BYTES, UPLOAD_TRIES_MAX, UPLOAD_WAIT};
use crate::output::{self, Failure};
use crate::progress::Progress;
use crate::shared::Shared;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Uploads a file. A run reads it by its id: `"document": "fil_…"`.
    Put {
        path: PathBuf,
        /// Its type, such as text/csv; by default detected from its content.
        #[arg(long = "type")]
        kind: Option<String>,
        /// Its name; by default the file's name.
        #[arg(long)]
        name: Option<String>,
        /// The project; by default the project of your key.
        #[arg(long)]
        project: Option<String>,
    },
    /// Lists the files of the workspace, newest first.
    List,
    /// Shows a file, without its content.
    Show { id: String },
    /// Writes the content of a file to standard output, or to another file.
    Get {
        id: String,
        /// The file to write to.
        #[arg(long)]
        to: Option<PathBuf>,
    },
    /// Deletes a file with its content.
    Delete { id: String },
}

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let files = Collection::connect(shared, "/v2/files")?;
    match command {
        Command::Put { path, kind, name, project } => {
            let file = Upload::open(&path)?;
            let of_path = path.file_name().map(|name| name.to_string_lossy().into_owned());
            let body = Body::new()
                .with("filename", name.or(of_path).unwrap_or_else(|| "file".to_owned()))
                .with("size", file.size)
                .with_some("content_type", kind)
                .with_some("project_id", project);
            let made = files.api.post("/v2/files", &body.build())?;
            file.send(&files.api, &field(&made, "upload_url"))?;
            files.show(&field(&made, "id"))
        }
        Command::List => files.list(
            &["id", "filename", "content_type", "bytes", "purpose", "created_at", "expires_at"],
            "No files. `tidegate file put PATH` uploads one.",
        ),
        Command::Show { id } => files.show(&id),
        Command::Get { id, to } => {
            let mut written: Box<dyn std::io::Write> = match &to {
                Some(path) => Box::new(File::create(path).map_err(|error| unusable(path, &error))?),
                None => Box::new(std::io::stdout().lock()),
            };
            let path = format!("{}/content", files.at(&id));
            let mut at = path.clone();
            loop {
                let page = files.api.get(&at)?;
                let pieces = page.get("data").and_then(Value::as_array);
                for piece in pieces.into_iter().flatten() {
                    let content = STANDARD.decode(field(piece, "content_base64")).unwrap_or_default();
                    let done = written.write_all(&content);
                    done.map_err(|error| Failure::new(1, format!("The content can't be written: {error}.")))?;
                }
                match page.get("next_cursor").and_then(Value::as_str) {
                    Some(cursor) => at = format!("{path}?cursor={}", escape(cursor)),
                    None => break,
                }
            }
            let done = written.flush();
            done.map_err(|error| Failure::new(1, format!("The content can't be written: {error}.")))
        }
        Command::Delete { id } => files.remove(&id),
    }
}

fn unusable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(output::USAGE, format!("{} can't be used: {error}.", path.display()))
        .fix("Check the path, and that this account may use it.")
}

/// A file on its way.
#[derive(Debug)]
struct Upload {
    path: PathBuf,
    file: File,
    size: u64,
}

impl Upload {
    fn open(path: &Path) -> Result<Self, Failure> {
        let file = File::open(path).map_err(|error| unusable(path, &error))?;
        let about = file.metadata().map_err(|error| unusable(path, &error))?;
        if !about.is_file() {
            return Err(Failure::new(output::USAGE, format!("{} isn't a file.", path.display())));
        }
        Ok(Self { path: path.to_owned(), file, size: about.len() })
    }

    /// Sends it part by part. After a failure it continues from what has arrived.
    fn send(mut self, api: &Api, url: &str) -> Result<(), Failure> {
        let (mut sent, mut tries) = (0, 0);
        let progress = Progress::new(false);
        loop {
            progress.moved(sent, self.size);
            let answered =
                self.part(sent).and_then(|(range, bytes)| api.put_part(url, range.as_deref(), bytes));
            match answered {
                Ok(answer) if answer.is_complete() => break,
                Ok(answer) => sent = answer.received()?,
                Err(failure) if failure.code == output::UNAVAILABLE && tries < UPLOAD_TRIES_MAX => {
                    tries += 1;
                    api.pause(UPLOAD_WAIT * tries);
                    let asking = api.put_part(url, Some(&format!("bytes */{}", self.size)), Bytes::new());
                    sent = asking.and_then(|answer: PartAnswer| answer.received()).unwrap_or(sent);
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    /// The part that begins at a byte, and its range; a file that is empty has none.
    fn part(&mut self, from: u64) -> Result<(Option<String>, Bytes), Failure> {
        if self.size == 0 {
            return Ok((None, Bytes::new()));
        }
        let length = (self.size.saturating_sub(from)).min(UPLOAD_PART_BYTES);
        let mut part = Vec::new();
        let read = self.file.seek(SeekFrom::Start(from));
        let read = read.and_then(|_| (&self.file).take(length).read_to_end(&mut part));
        read.map_err(|error| unusable(&self.path, &error))?;
        if part.len() as u64 != length || length == 0 {
            return Err(Failure::new(1, format!("{} has become shorter meanwhile.", self.path.display())));
        }
        let range = format!("bytes {from}-{}/{}", from + length - 1, self.size);
        Ok((Some(range), Bytes::from(part)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_is_a_wrong_argument() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().join("nothing"), folder.path().to_owned()] {
            assert_eq!(Upload::open(&path).unwrap_err().code, output::USAGE, "{}", path.display());
        }
    }
}
