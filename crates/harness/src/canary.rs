//! Searches bytes, files and directories for planted secrets, in every encoding in which a careless program
//! might write them.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use memchr::memmem::Finder;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};

/// The encoding in which a secret was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    Raw,
    /// The invariant middle of a base64 string in which the secret starts at any of three offsets.
    Base64,
    UrlEncoded,
    Hex,
    /// The secret's first characters; 12 unless [`Canary::prefix_chars`] sets another number.
    Prefix,
}

/// One occurrence of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The secret's name, never its value.
    pub secret: String,
    pub form: Form,
    /// A file's path, or the name of a blob.
    pub place: String,
    pub offset: u64,
}

/// A set of planted secrets to search for.
#[derive(Debug, Clone, Default)]
pub struct Canary {
    needles: Vec<Needle>,
    prefix_chars: usize,
}

#[derive(Debug, Clone)]
struct Needle {
    secret: String,
    form: Form,
    finder: Finder<'static>,
    bytes: usize,
}

/// Files are read in windows of this size, so that a large database does not have to fit in memory.
const WINDOW_BYTES: usize = 4 * 1024 * 1024;
/// Shorter fragments would be found by chance.
const NEEDLE_BYTES_MIN: usize = 8;

impl Canary {
    pub fn new() -> Self {
        Self { needles: Vec::new(), prefix_chars: 12 }
    }

    /// Sets how much of a secret counts as a leak, for secrets planted afterwards. A format whose first
    /// characters are public by design needs more.
    pub fn prefix_chars(mut self, characters: usize) -> Self {
        self.prefix_chars = characters;
        self
    }

    /// Plants a secret under a name that may be shown.
    pub fn plant(mut self, name: &str, secret: &str) -> Self {
        let bytes = secret.as_bytes();
        self.add(name, Form::Raw, bytes);
        for encoded in base64_forms(bytes) {
            self.add(name, Form::Base64, &encoded);
        }
        let escaped = percent_encode(bytes, NON_ALPHANUMERIC).to_string();
        self.add(name, Form::UrlEncoded, escaped.to_ascii_lowercase().as_bytes());
        self.add(name, Form::UrlEncoded, escaped.as_bytes());
        self.add(name, Form::Hex, hex(bytes).as_bytes());
        self.add(name, Form::Hex, hex(bytes).to_ascii_uppercase().as_bytes());
        if secret.chars().count() > self.prefix_chars {
            let prefix: String = secret.chars().take(self.prefix_chars).collect();
            self.add(name, Form::Prefix, prefix.as_bytes());
        }
        self
    }

    /// All hits in a blob; `location` names it in the hits.
    pub fn scan(&self, location: &str, bytes: &[u8]) -> Vec<Hit> {
        let mut hits = self.scan_from(location, bytes, 0);
        self.tidy(&mut hits);
        hits
    }

    /// All hits in a file, or in all files below a directory; links are not followed. A file that vanishes
    /// during the search is skipped.
    pub fn scan_path(&self, path: &Path) -> io::Result<Vec<Hit>> {
        let mut hits = Vec::new();
        let mut waiting = vec![path.to_path_buf()];
        while let Some(path) = waiting.pop() {
            let kind = match fs::symlink_metadata(&path) {
                Ok(metadata) => metadata.file_type(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if kind.is_dir() {
                for entry in fs::read_dir(&path)? {
                    waiting.push(entry?.path());
                }
            } else if kind.is_file() {
                hits.extend(self.scan_file(&path)?);
            }
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            hits.extend(self.scan(&format!("name of {}", path.display()), name.as_bytes()));
        }
        Ok(hits)
    }

    fn scan_file(&self, path: &Path) -> io::Result<Vec<Hit>> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let overlap = self.needles.iter().map(|needle| needle.bytes).max().unwrap_or(1).saturating_sub(1);
        let location = path.display().to_string();
        let mut hits = Vec::new();
        let mut window: Vec<u8> = Vec::new();
        let mut start = 0_u64;
        loop {
            let read = file.by_ref().take(WINDOW_BYTES as u64).read_to_end(&mut window)?;
            hits.extend(self.scan_from(&location, &window, start));
            if read == 0 {
                break;
            }
            let spent = window.len().saturating_sub(overlap);
            window.drain(..spent);
            start += spent as u64;
        }
        self.tidy(&mut hits);
        Ok(hits)
    }

    fn scan_from(&self, location: &str, bytes: &[u8], start: u64) -> Vec<Hit> {
        let mut hits = Vec::new();
        for needle in &self.needles {
            for offset in needle.finder.find_iter(bytes) {
                hits.push(Hit {
                    secret: needle.secret.clone(),
                    form: needle.form,
                    place: location.to_owned(),
                    offset: start + offset as u64,
                });
            }
        }
        hits
    }

    /// Keeps one hit per place: windows overlap, and a whole secret also matches its own prefix.
    fn tidy(&self, hits: &mut Vec<Hit>) {
        hits.sort_by(|one, other| {
            (&one.secret, one.offset, one.form).cmp(&(&other.secret, other.offset, other.form))
        });
        hits.dedup_by(|one, other| one.secret == other.secret && one.offset == other.offset);
    }

    fn add(&mut self, name: &str, form: Form, bytes: &[u8]) {
        let known = |needle: &Needle| needle.secret == name && needle.finder.needle() == bytes;
        if bytes.len() < NEEDLE_BYTES_MIN || self.needles.iter().any(known) {
            return;
        }
        let finder = Finder::new(bytes).into_owned();
        self.needles.push(Needle { secret: name.to_owned(), form, finder, bytes: bytes.len() });
    }
}

/// The part of the base64 encoding that is independent of the bytes around the secret, for each of the three
/// offsets.
fn base64_forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    for offset in 0..3_usize {
        let mut padded = vec![0_u8; offset];
        padded.extend_from_slice(secret);
        // Characters that share bits with a neighbouring byte vary with the context.
        let first = (offset * 8).div_ceil(6);
        let end = padded.len() * 8 / 6;
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let encoded = engine.encode(&padded);
            forms.extend(encoded.get(first..end).map(|inner| inner.as_bytes().to_vec()));
        }
    }
    forms
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "sk-canary+/7f3a9c1e5b2d48/60?=";

    fn check(text: &str, expected: &[Form]) {
        let canary = Canary::new().plant("upstream key", SECRET);
        let forms: Vec<Form> = canary.scan("blob", text.as_bytes()).iter().map(|hit| hit.form).collect();
        assert_eq!(forms, expected, "{text}");
    }

    #[test]
    fn each_form_is_found() {
        check("nothing to see", &[]);
        check(&format!("key={SECRET};"), &[Form::Raw]);
        check(&hex(SECRET.as_bytes()), &[Form::Hex]);
        check(&hex(SECRET.as_bytes()).to_uppercase(), &[Form::Hex]);
        check(&percent_encode(SECRET.as_bytes(), NON_ALPHANUMERIC).to_string(), &[Form::UrlEncoded]);
        check("log: sk-canary+/7... refused", &[Form::Prefix]);
        for before in ["", "a", "ab", "abc", "Bearer "] {
            for after in ["", "x", "xy", "xyz"] {
                let text = format!("{before}{SECRET}{after}");
                check(&STANDARD_NO_PAD.encode(&text), &[Form::Base64]);
                check(&URL_SAFE_NO_PAD.encode(&text), &[Form::Base64]);
            }
        }
    }

    #[test]
    fn files_are_searched_across_windows() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("a/b");
        fs::create_dir_all(&deep).unwrap();
        let mut bytes = vec![b'.'; WINDOW_BYTES - 5];
        bytes.extend_from_slice(SECRET.as_bytes());
        bytes.extend(vec![b'.'; WINDOW_BYTES]);
        fs::write(deep.join("big.db"), &bytes).unwrap();
        fs::write(directory.path().join("clean.txt"), "clean").unwrap();
        let canary = Canary::new().plant("upstream key", SECRET);
        let hits = canary.scan_path(directory.path()).unwrap();
        assert_eq!(hits.len(), 1, "{hits:?}");
        assert_eq!(hits[0].offset, WINDOW_BYTES as u64 - 5);
        assert!(hits[0].place.ends_with("big.db"));
    }
}
