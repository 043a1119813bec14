//! GGUF files that were split: `NAME-00001-of-00003.gguf` has the metadata and the first tensors, the others have
//! the rest. The header of each shard says which one it is.

use std::path::{Path, PathBuf};

use super::head::{Head, Value};
use super::{File, open_one};
use crate::error::WeightsError;
use crate::limits::GGUF_SHARDS_MAX;

/// The index of a shard from 0 on, how many there are, and how many tensors all of them have.
const INDEX: &str = "split.no";
const COUNT: &str = "split.count";
const TENSORS: &str = "split.tensors.count";

/// Opens the other shards of a model whose first shard is open. Does nothing for a model in one file.
pub(super) fn add_others(file: &mut File) -> Result<(), WeightsError> {
    let Some((index, count)) = place(&file.head) else { return Ok(()) };
    let first = file.path.clone();
    let broken = |what: String| WeightsError::Broken { path: first.clone(), what };
    if count > GGUF_SHARDS_MAX {
        return Err(broken(format!(
            "it claims to be one of {count} shards; at most {GGUF_SHARDS_MAX} are supported"
        )));
    }
    if index != 0 {
        return Err(broken(format!(
            "it is shard {} of {count}: open the first one, whose name ends with -00001-of-{count:05}.gguf",
            index + 1
        )));
    }
    let stem = stem(&first, count).ok_or_else(|| {
        broken(format!(
            "it is the first of {count} shards, but its name doesn't end with -00001-of-{count:05}.gguf, so that the others \
             can't be found by theirs"
        ))
    })?;
    for index in 1..count {
        add(file, &first, shard_path(&first, &stem, index, count), (index, count))?;
    }
    let found = file.head.tensors.len();
    match number(&file.head, TENSORS) {
        Some(all) if all != found => {
            Err(broken(format!("the {count} shards have {found} tensors, but the first says {all}")))
        }
        _ => Ok(()),
    }
}

/// Opens a shard and adds its tensors.
fn add(
    file: &mut File,
    first: &Path,
    path: PathBuf,
    (index, count): (usize, usize),
) -> Result<(), WeightsError> {
    let broken = |path: &Path, what: String| Err(WeightsError::Broken { path: path.to_owned(), what });
    if !path.exists() {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        return broken(
            first,
            format!("it is the first of {count} shards, but {name} isn't in the same directory"),
        );
    }
    let (handle, head) = open_one(&path, index)?;
    match place(&head) {
        Some(here) if here == (index, count) => {}
        Some((other, all)) => {
            let what = format!(
                "by its name it is shard {} of {count}, and by its header shard {} of {all}",
                index + 1,
                other + 1
            );
            return broken(&path, what);
        }
        None => {
            let what =
                format!("by its name it is shard {} of {count}, and by its header no shard", index + 1);
            return broken(&path, what);
        }
    }
    for (name, info) in head.tensors {
        if let Some(other) = file.head.tensors.get(&name) {
            let other = file.shards.get(other.shard).map(|(path, _)| path.display().to_string());
            let what = format!("the tensor \"{name}\" is also in {}", other.unwrap_or_default());
            return broken(&path, what);
        }
        file.head.tensors.insert(name, info);
    }
    file.shards.push((path, handle));
    Ok(())
}

/// The index of the shard and the number of shards; `None` for a file that was not split.
fn place(head: &Head) -> Option<(usize, usize)> {
    let count = number(head, COUNT).filter(|count| *count > 1)?;
    Some((number(head, INDEX).unwrap_or_default(), count))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be a count")]
fn number(head: &Head, name: &str) -> Option<usize> {
    match head.values.get(name) {
        Some(Value::Number(number)) if *number >= 0.0 && *number <= f64::from(i32::MAX) => {
            Some(*number as usize)
        }
        _ => None,
    }
}

/// The part of the first shard's name before its number.
fn stem(first: &Path, count: usize) -> Option<String> {
    let name = first.file_name()?.to_str()?;
    name.strip_suffix(&format!("-00001-of-{count:05}.gguf")).map(str::to_owned)
}

fn shard_path(first: &Path, stem: &str, index: usize, count: usize) -> PathBuf {
    first.with_file_name(format!("{stem}-{:05}-of-{count:05}.gguf", index + 1))
}
