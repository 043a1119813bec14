//! Model names: a repository on the hub and, for quantised models, a tag. Only names that pass here become
//! part of a path.

use std::fmt;
use std::sync::OnceLock;

use serde::Deserialize;

use crate::error::{HubError, HubErrorKind};
use crate::limits::NAME_BYTES_MAX;

/// A model's name: `owner/name`, `owner/name:tag`, or a short name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    text: String,
    owner: String,
    name: String,
    tag: Option<String>,
}

#[derive(Deserialize)]
struct Table {
    name: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    name: String,
    repository: String,
    packed: Option<String>,
}

impl Reference {
    /// # Errors
    /// It is neither a name nor a known short name.
    pub fn read(text: &str) -> Result<Self, HubError> {
        if !text.contains('/') {
            return Self::short(text);
        }
        let (repository, tag) = match text.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (text, None),
        };
        Self::of(text, repository, tag)
    }

    fn short(text: &str) -> Result<Self, HubError> {
        let wanted = text.to_ascii_lowercase();
        for row in rows() {
            if row.name == wanted {
                return Self::of(&row.name, &row.repository, None);
            }
            let tag = wanted.strip_prefix(row.name.as_str()).and_then(|rest| rest.strip_prefix('-'));
            if let (Some(tag), Some(packed)) = (tag, &row.packed) {
                return Self::of(&wanted, packed, Some(tag));
            }
        }
        let known = short_names().collect::<Vec<_>>().join(", ");
        Err(HubError::new(
            HubErrorKind::NotFound,
            format!("{text} isn't a short name of a model. Name it as OWNER/NAME, or take one of {known}."),
        ))
    }

    fn of(text: &str, repository: &str, tag: Option<&str>) -> Result<Self, HubError> {
        let wrong = || {
            HubError::new(
                HubErrorKind::Usage,
                format!(
                    "{text} isn't a model's name. Write OWNER/NAME, or OWNER/NAME:TAG for one of several GGUF files."
                ),
            )
        };
        let (owner, name) = repository.split_once('/').ok_or_else(wrong)?;
        if !is_plain(owner) || !is_plain(name) || !tag.is_none_or(is_plain) {
            return Err(wrong());
        }
        Ok(Self {
            text: text.to_owned(),
            owner: owner.to_owned(),
            name: name.to_owned(),
            tag: tag.map(str::to_ascii_lowercase),
        })
    }

    /// The same model, with the GGUF file of this name selected.
    ///
    /// # Errors
    /// The file is not a GGUF file, or its name is not plain.
    pub fn with_file(&self, file: &str) -> Result<Self, HubError> {
        let stem = file.rsplit('/').next().and_then(crate::choice::stem_of);
        match stem.filter(|stem| is_plain(stem)) {
            Some(stem) => {
                let repository = self.repository();
                Self::of(&format!("{repository}:{}", stem.to_ascii_lowercase()), &repository, Some(stem))
            }
            None => Err(HubError::new(
                HubErrorKind::Usage,
                format!("{file} isn't a GGUF file. Without --file, all that a runtime needs is fetched."),
            )),
        }
    }

    /// `owner/name`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The directory that holds the model. No repository name has two consecutive dashes, so no two models
    /// share one.
    pub fn directory(&self) -> String {
        match &self.tag {
            Some(tag) => format!("{}--{}--{tag}", self.owner, self.name),
            None => format!("{}--{}", self.owner, self.name),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The known short names.
pub fn short_names() -> impl Iterator<Item = &'static str> {
    rows().iter().map(|row| row.name.as_str())
}

fn rows() -> &'static [Row] {
    static ROWS: OnceLock<Vec<Row>> = OnceLock::new();
    ROWS.get_or_init(|| {
        toml::from_str::<Table>(include_str!("../names.toml")).map(|table| table.name).unwrap_or_default()
    })
}

/// Letters, digits and `._-`, which have no special meaning in a path or a URL.
pub(crate) fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= NAME_BYTES_MAX
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        && !text.starts_with(['.', '-'])
        && !text.ends_with('.')
        && !text.contains("..")
        && !text.contains("--")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_for_repositories() {
        for (text, repository, tag) in [
            ("qwen3:0.6b", "Qwen/Qwen3-0.6B", None),
            ("QWEN3:0.6B", "Qwen/Qwen3-0.6B", None),
            ("qwen3:0.6b-q8_0", "Qwen/Qwen3-0.6B-GGUF", Some("q8_0")),
            ("qwen3-coder:30b", "Qwen/Qwen3-Coder-30B-A3B-Instruct", None),
            ("a/b", "a/b", None),
            ("a/b:Q4_K_M", "a/b", Some("q4_k_m")),
        ] {
            let found = Reference::read(text).unwrap();
            assert_eq!((found.repository().as_str(), found.tag()), (repository, tag), "{text}");
        }
        assert_eq!(short_names().count(), 9);
    }

    #[test]
    fn what_is_no_name_gets_nowhere() {
        for text in [
            "../x", "a/..", "a/b/c", "a//b", "/a", "a/", "a/b:../c", "a/b:", "a/b c", "a/b\\c", "a/-b",
            "a/b--c", ".a/b", "",
        ] {
            assert!(Reference::read(text).is_err(), "{text}");
        }
        let long = format!("a/{}", "b".repeat(97));
        assert_eq!(Reference::read(&long).unwrap_err().kind, HubErrorKind::Usage);
        let unknown = Reference::read("gpt5").unwrap_err();
        assert!(unknown.kind == HubErrorKind::NotFound && unknown.message.contains("qwen3:0.6b"));
    }

    #[test]
    fn a_file_is_a_tag() {
        let model = Reference::read("a/b").unwrap();
        let file = model.with_file("Q8_0/b-Q8_0-00001-of-00002.gguf").unwrap();
        assert_eq!((file.to_string().as_str(), file.directory().as_str()), ("a/b:b-q8_0", "a--b--b-q8_0"));
        assert!(model.with_file("pytorch_model.bin").is_err());
    }
}
