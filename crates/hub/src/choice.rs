//! Selects the files of a repository to download: what a runtime needs, and never a pickle, which runs code
//! when it is loaded.

use std::collections::{BTreeMap, BTreeSet};

use crate::digest::Checksum;
use crate::error::{HubError, HubErrorKind};
use crate::limits::{
    FILE_DEPTH_MAX, FILE_NAME_BYTES_MAX, MODEL_FILES_MAX, WEIGHTS_BYTES_MAX, WORDS_BYTES_MAX,
};
use crate::names::Reference;

/// A file in the hub's list. Fields that are missing there are requested later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Its path in the repository.
    pub path: String,
    pub size: Option<u64>,
    pub checksum: Option<Checksum>,
}

/// Configuration, tokenizer and chat template, and the files of embedding models, where a repository has
/// them.
const WORDS: [&str; 8] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "modules.json",
    "config_sentence_transformers.json",
    POOLING,
];
/// The pooling configuration of an embedding model: in a subdirectory there, beside the other files here.
const POOLING: &str = "1_Pooling/config.json";
const POOLING_HERE: &str = "1_Pooling.json";
const INDEX: &str = "model.safetensors.index.json";

impl Listed {
    /// Its local name: all files of a model are in one directory.
    pub(crate) fn name(&self) -> &str {
        match self.path.as_str() {
            POOLING => POOLING_HERE,
            path => path.rsplit('/').next().unwrap_or(path),
        }
    }

    pub(crate) fn bytes_max(&self) -> u64 {
        if is_weights(self.name()) { WEIGHTS_BYTES_MAX } else { WORDS_BYTES_MAX }
    }
}

/// Whether a file holds weights.
pub(crate) fn is_weights(name: &str) -> bool {
    name.ends_with(".safetensors") || name.ends_with(".gguf")
}

/// A GGUF file's name without the extension and the shard number.
pub fn stem_of(name: &str) -> Option<&str> {
    let stem = name.strip_suffix(".gguf")?;
    let numbered = stem.len().checked_sub("-00001-of-00002".len()).and_then(|at| stem.split_at_checked(at));
    Some(match numbered {
        Some((first, number)) if is_number_of_several(number) => first,
        _ => stem,
    })
}

fn is_number_of_several(text: &str) -> bool {
    let is_number = |part: &str| part.len() == 5 && part.bytes().all(|byte| byte.is_ascii_digit());
    text.strip_prefix('-')
        .and_then(|text| text.split_once("-of-"))
        .is_some_and(|(number, all)| is_number(number) && is_number(all))
}

/// # Errors
/// The list contains dangerous paths, nothing that can be run, or several models to choose from.
pub(crate) fn choose(model: &Reference, listed: Vec<Listed>) -> Result<Vec<Listed>, HubError> {
    if let Some(hostile) = listed.iter().find(|file| is_hostile(&file.path)) {
        return Err(refused(format!(
            "{model} lists a file {:?}, which would lie outside of the model's directory. Nothing was fetched.",
            hostile.path.chars().take(FILE_NAME_BYTES_MAX).collect::<String>()
        )));
    }
    let weights = choose_weights(model, &listed)?;
    let is_wanted = |file: &Listed| {
        weights.contains(&file.path) || (WORDS.contains(&file.path.as_str()) || file.path == INDEX)
    };
    let chosen: Vec<Listed> = listed.into_iter().filter(is_wanted).collect();
    check_bounds(model, chosen)
}

fn check_bounds(model: &Reference, chosen: Vec<Listed>) -> Result<Vec<Listed>, HubError> {
    if chosen.len() > MODEL_FILES_MAX {
        return Err(refused(format!(
            "{model} has {} files of weights; {MODEL_FILES_MAX} is the most.",
            chosen.len()
        )));
    }
    let names: BTreeSet<&str> = chosen.iter().map(Listed::name).collect();
    if names.len() < chosen.len() {
        return Err(refused(format!("{model} has two files of one name.")));
    }
    Ok(chosen)
}

/// Paths that leave the directory, on this system or another. Merely unusual names are never downloaded.
fn is_hostile(path: &str) -> bool {
    path.is_empty()
        || path.starts_with('/')
        || path.split('/').any(|part| part == ".." || part == ".")
        || path.chars().any(|c| c == '\\' || c == ':' || c.is_control())
}

fn is_plain_path(path: &str) -> bool {
    let is_plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with(['.', '-'])
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte))
    };
    path.len() <= FILE_NAME_BYTES_MAX
        && path.split('/').count() <= FILE_DEPTH_MAX
        && path.split('/').all(is_plain)
}

fn choose_weights(model: &Reference, listed: &[Listed]) -> Result<BTreeSet<String>, HubError> {
    let plain = || listed.iter().map(|file| file.path.as_str()).filter(|path| is_plain_path(path));
    let packed = group_by_stem(plain());
    if let Some(tag) = model.tag() {
        return one_of(model, tag, packed);
    }
    let root: BTreeSet<String> = plain()
        .filter(|path| path.ends_with(".safetensors") && !path.contains('/'))
        .map(str::to_owned)
        .collect();
    if !root.is_empty() {
        // Besides the shards that the index names, some repositories have the same weights again in a single
        // file.
        let usual: BTreeSet<String> = root.iter().filter(|name| name.starts_with("model")).cloned().collect();
        return Ok(if usual.is_empty() { root } else { usual });
    }
    if packed.len() > 1 {
        return Err(HubError::new(
            HubErrorKind::Usage,
            format!("{model} has several files to choose from. Name one as {model}:TAG: {}.", tags(&packed)),
        ));
    }
    packed.into_values().next().ok_or_else(|| no_weights(model, listed))
}

fn group_by_stem<'a>(paths: impl Iterator<Item = &'a str>) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in paths {
        let name = path.rsplit('/').next().unwrap_or(path);
        // The vision encoder of a multimodal model is not a model by itself.
        if let Some(stem) = stem_of(name).filter(|stem| !stem.starts_with("mmproj")) {
            found.entry(stem.to_ascii_lowercase()).or_default().insert(path.to_owned());
        }
    }
    found
}

fn one_of(
    model: &Reference,
    tag: &str,
    packed: BTreeMap<String, BTreeSet<String>>,
) -> Result<BTreeSet<String>, HubError> {
    let is_meant = |stem: &str| {
        stem == tag || stem.strip_suffix(tag).is_some_and(|rest| rest.ends_with(['-', '.', '_']))
    };
    let available = tags(&packed);
    let mut meant: Vec<_> = packed.into_iter().filter(|(stem, _)| is_meant(stem)).collect();
    let repository = model.repository();
    match (meant.len(), meant.pop()) {
        (1, Some((_, files))) => Ok(files),
        (0, _) => Err(HubError::new(
            HubErrorKind::NotFound,
            format!("{repository} has no GGUF file of the tag {tag}. It has: {available}."),
        )),
        _ => Err(HubError::new(
            HubErrorKind::Usage,
            format!("{repository} has several GGUF files of the tag {tag}. Name one of them: {available}."),
        )),
    }
}

fn tags(packed: &BTreeMap<String, BTreeSet<String>>) -> String {
    let names: Vec<&str> = packed.keys().map(String::as_str).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn no_weights(model: &Reference, listed: &[Listed]) -> HubError {
    let is_pickle =
        |path: &str| [".bin", ".pt", ".pth", ".ckpt", ".pkl"].iter().any(|end| path.ends_with(end));
    match listed.iter().find(|file| is_pickle(&file.path)) {
        Some(pickle) => refused(format!(
            "{model} has its weights in {} alone, a form that runs code when it is read. Tidegate takes safetensors \
             and GGUF: look for the model in one of these.",
            pickle.path
        )),
        None => refused(format!("{model} has no weights in safetensors or GGUF.")),
    }
}

fn refused(message: String) -> HubError {
    HubError::new(HubErrorKind::Refused, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(model: &str, paths: &[&str], expected: Result<&[&str], &str>) {
        let listed = paths.iter().map(|path| Listed { path: (*path).to_owned(), size: None, checksum: None });
        let chosen = choose(&Reference::read(model).unwrap(), listed.collect());
        match (chosen, expected) {
            (Ok(chosen), Ok(expected)) => {
                assert_eq!(chosen.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), expected);
            }
            (Err(error), Err(expected)) => assert!(error.message.contains(expected), "{error}"),
            (found, expected) => panic!("{paths:?}: {found:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn only_what_a_runtime_needs_is_chosen() {
        check(
            "a/b",
            &[
                "README.md",
                "config.json",
                "model.safetensors",
                "pytorch_model.bin",
                "onnx/model.onnx",
                "tokenizer.json",
            ],
            Ok(&["config.json", "model.safetensors", "tokenizer.json"]),
        );
        check(
            "a/b",
            &[
                "consolidated.safetensors",
                "model-00001-of-00002.safetensors",
                "model-00002-of-00002.safetensors",
                INDEX,
            ],
            Ok(&["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", INDEX]),
        );
        check("a/b", &["weights.safetensors", "sub/model.safetensors"], Ok(&["weights.safetensors"]));
        check("a/b", &["pytorch_model.bin"], Err("runs code"));
        check("a/b", &["README.md"], Err("no weights"));
    }

    #[test]
    fn what_says_how_vectors_are_made_comes_along() {
        let words =
            ["config.json", "1_Pooling/config.json", "config_sentence_transformers.json", "modules.json"];
        let all =
            [&words[..], &["model.safetensors", "2_Dense/config.json", "sub/1_Pooling/config.json"]].concat();
        check("a/b", &all, Ok(&[&words[..], &["model.safetensors"]].concat()));
        let listed = Listed { path: POOLING.to_owned(), size: None, checksum: None };
        assert_eq!(listed.name(), "1_Pooling.json");
    }

    #[test]
    fn one_file_of_several_is_named_by_its_tag() {
        let files = [
            "b-Q4_K_M.gguf",
            "b-Q8_0.gguf",
            "mmproj-b-f16.gguf",
            "bf16/b-bf16-00001-of-00002.gguf",
            "bf16/b-bf16-00002-of-00002.gguf",
        ];
        check("a/b:q8_0", &files, Ok(&["b-Q8_0.gguf"]));
        check("a/b:bf16", &files, Ok(&[files[3], files[4]]));
        check("a/b:f16", &files, Err("b-q4_k_m, b-q8_0"));
        check("a/b", &files, Err("several files"));
        check("a/b", &["b-Q8_0.gguf", "config.json"], Ok(&["b-Q8_0.gguf", "config.json"]));
    }

    #[test]
    fn a_hostile_list_is_refused_whole() {
        for hostile in [
            "../model.safetensors",
            "/etc/passwd",
            "a/../../b.gguf",
            "a\\..\\b.gguf",
            "c:b.gguf",
            "a\u{0}.gguf",
            "./config.json",
            "",
        ] {
            check(
                "a/b",
                &["config.json", "model.safetensors", hostile],
                Err("outside of the model's directory"),
            );
        }
        check("a/b", &["q/b.gguf", "r/b.gguf"], Err("two files of one name"));
        let many: Vec<String> = (0..600).map(|number| format!("model-{number}.safetensors")).collect();
        check("a/b", &many.iter().map(String::as_str).collect::<Vec<_>>(), Err("is the most"));
    }
}
