//! Models in several files: they are the same models as in one, and a shard that is missing, of another model or in
//! another's place is named.

use std::fs;
use std::path::{Path, PathBuf};

use kernels::{KvCache, KvDtype, Model};
use serde_json::{Value, json};
use weights::synthetic::{Packing, SyntheticModel};
use weights::{Source, WeightsError, load_model};

use crate::parity::{in_pieces, text};
use crate::shapes;

const INDEX: &str = "model.safetensors.index.json";
const PLAIN: [&str; 3] = [
    "model-00001-of-00003.safetensors",
    "model-00002-of-00003.safetensors",
    "model-00003-of-00003.safetensors",
];

fn made(seed: u64) -> SyntheticModel {
    SyntheticModel::new("qwen3", shapes::dense(), seed)
}

fn opened(path: &Path) -> Model {
    load_model(&Source::open(path).unwrap()).unwrap()
}

fn logits(model: &Model) -> Vec<Vec<f32>> {
    let mut pool = KvCache::new(model.shape(), KvDtype::F32, 8);
    in_pieces(model, &mut pool, &text(40, 1), &[40])
}

/// The model in three GGUF files, and the first of them.
fn packed(directory: &Path, seed: u64) -> Vec<PathBuf> {
    made(seed).write_packed_in((directory, "tiny-Q8_0"), Packing::Q8_0, 3).unwrap()
}

#[test]
fn a_model_in_shards_is_the_model_in_one_file() {
    let root = tempfile::tempdir().unwrap();
    for made in [made(7), SyntheticModel::new("qwen3_moe", shapes::mixture(), 7)] {
        let (one, several) = (root.path().join("one"), root.path().join("several"));
        made.write_plain(&one, false).unwrap();
        made.write_plain_in(&several, 3).unwrap();
        assert!(PLAIN.iter().all(|name| several.join(name).exists()));
        assert!(!several.join("model.safetensors").exists());
        let (one, several) = (Source::open(&one).unwrap(), Source::open(&several).unwrap());
        assert_eq!(one.weight_bytes(), several.weight_bytes());
        assert_eq!(one.digest().unwrap(), several.digest().unwrap());
        assert_eq!(logits(&load_model(&one).unwrap()), logits(&load_model(&several).unwrap()));

        let whole = root.path().join("whole.gguf");
        made.write_packed(&whole, Packing::Q8_0).unwrap();
        let shards = made.write_packed_in((root.path(), "split"), Packing::Q8_0, 3).unwrap();
        let (one, several) = (Source::open(&whole).unwrap(), Source::open(&shards[0]).unwrap());
        assert_eq!((one.weight_bytes(), one.shape()), (several.weight_bytes(), several.shape()));
        assert_eq!(logits(&load_model(&one).unwrap()), logits(&load_model(&several).unwrap()));
    }
}

#[test]
fn the_digest_of_all_has_each_shard() {
    let root = tempfile::tempdir().unwrap();
    let shards = packed(root.path(), 7);
    let digest = || Source::open(&shards[0]).unwrap().digest_of_all(&|| true).unwrap().unwrap();
    let first = digest();
    for shard in &shards {
        let whole = fs::read(shard).unwrap();
        let mut changed = whole.clone();
        let last = changed.len() - 1;
        changed[last] ^= 1;
        fs::write(shard, changed).unwrap();
        assert_ne!(digest(), first, "{}", shard.display());
        fs::write(shard, whole).unwrap();
    }
    assert_eq!(digest(), first);
}

/// A change of a model's files, and words of its refusal.
type Case<'a> = (&'a dyn Fn(&Path), &'a [&'a str]);

fn check_refusals(write: impl Fn(&Path) -> PathBuf, cases: &[Case<'_>]) {
    let made = tempfile::tempdir().unwrap();
    let opens = write(made.path());
    opened(&opens);
    for (change, words) in cases {
        let root = tempfile::tempdir().unwrap();
        for file in fs::read_dir(made.path()).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), root.path().join(file.file_name())).unwrap();
        }
        change(root.path());
        let path = root.path().join(opens.strip_prefix(made.path()).unwrap());
        let refused = Source::open(&path).unwrap_err();
        assert!(matches!(refused, WeightsError::Broken { .. }), "{refused}");
        let message = refused.to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    }
}

fn change_index(directory: &Path, change: impl Fn(&mut Value)) {
    let path = directory.join(INDEX);
    let mut index = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut index);
    fs::write(path, index.to_string()).unwrap();
}

#[test]
fn safetensors_that_do_not_fit_together_are_refused() {
    let write = |root: &Path| {
        made(7).write_plain_in(root, 3).unwrap();
        root.to_owned()
    };
    let missing = |root: &Path| fs::remove_file(root.join(PLAIN[1])).unwrap();
    let unindexed = |root: &Path| fs::remove_file(root.join(INDEX)).unwrap();
    let swapped = |root: &Path| {
        fs::rename(root.join(PLAIN[0]), root.join("kept")).unwrap();
        fs::rename(root.join(PLAIN[1]), root.join(PLAIN[0])).unwrap();
        fs::rename(root.join("kept"), root.join(PLAIN[1])).unwrap();
    };
    let absent = |root: &Path| {
        change_index(root, |index| index["weight_map"]["model.extra.weight"] = json!(PLAIN[2]));
    };
    let twice = |root: &Path| {
        fs::copy(root.join(PLAIN[0]), root.join("again.safetensors")).unwrap();
        change_index(root, |index| index["weight_map"]["model.norm.weight"] = json!("again.safetensors"));
    };
    let cut = |root: &Path| {
        let whole = fs::read(root.join(PLAIN[2])).unwrap();
        fs::write(root.join(PLAIN[2]), &whole[..whole.len() - 1]).unwrap();
    };
    check_refusals(
        write,
        &[
            (&missing, &[INDEX, PLAIN[1], "isn't in the same directory"]),
            (&unindexed, &[INDEX, "it is missing"]),
            (&swapped, &[INDEX, "which does not have it"]),
            (&absent, &[INDEX, "\"model.extra.weight\"", PLAIN[2], "which does not have it"]),
            (&twice, &["the tensor", "also in"]),
            (&cut, &[PLAIN[2], "the file ends before the tensor does"]),
        ],
    );
}

#[test]
fn gguf_files_that_do_not_fit_together_are_refused() {
    const SHARDS: [&str; 3] =
        ["tiny-Q8_0-00001-of-00003.gguf", "tiny-Q8_0-00002-of-00003.gguf", "tiny-Q8_0-00003-of-00003.gguf"];
    let write = |root: &Path| packed(root, 7).remove(0);
    let missing = |root: &Path| fs::remove_file(root.join(SHARDS[1])).unwrap();
    let later = |root: &Path| {
        fs::copy(root.join(SHARDS[1]), root.join(SHARDS[0])).unwrap();
    };
    let out_of_order = |root: &Path| {
        fs::copy(root.join(SHARDS[2]), root.join(SHARDS[1])).unwrap();
    };
    let whole = |root: &Path| made(7).write_packed(&root.join(SHARDS[1]), Packing::Q8_0).unwrap();
    let of_four = |root: &Path| {
        let other = root.join("other");
        fs::create_dir(&other).unwrap();
        let of_four = made(7).write_packed_in((&other, "tiny-Q8_0"), Packing::Q8_0, 4).unwrap();
        fs::copy(&of_four[1], root.join(SHARDS[1])).unwrap();
    };
    // Of a model with another number of layers, so that its shards have other tensors.
    let of_another = |root: &Path| {
        let other = root.join("other");
        fs::create_dir(&other).unwrap();
        let shape = kernels::Architecture { layers: 4, ..shapes::dense() };
        let made = SyntheticModel::new("qwen3", shape, 7);
        let others = made.write_packed_in((&other, "tiny-Q8_0"), Packing::Q8_0, 3).unwrap();
        fs::copy(&others[2], root.join(SHARDS[2])).unwrap();
    };
    let cut = |root: &Path| {
        let whole = fs::read(root.join(SHARDS[2])).unwrap();
        fs::write(root.join(SHARDS[2]), &whole[..whole.len() / 2]).unwrap();
    };
    check_refusals(
        write,
        &[
            (&missing, &[SHARDS[0], SHARDS[1], "isn't in the same directory"]),
            (&later, &[SHARDS[0], "it is shard 2 of 3", "-00001-of-00003.gguf"]),
            (&out_of_order, &[SHARDS[1], "by its name it is shard 2 of 3, and by its header shard 3 of 3"]),
            (&whole, &[SHARDS[1], "by its header no shard"]),
            (&of_four, &[SHARDS[1], "shard 2 of 3", "shard 2 of 4"]),
            (&of_another, &["tensor"]),
            (&cut, &[SHARDS[2], "it ends before the tensor"]),
        ],
    );
    let root = tempfile::tempdir().unwrap();
    let shards = packed(root.path(), 7);
    let renamed = root.path().join("renamed.gguf");
    fs::rename(&shards[0], &renamed).unwrap();
    let refused = Source::open(&renamed).unwrap_err().to_string();
    let words = ["the first of 3 shards", "-00001-of-00003.gguf"];
    assert!(words.iter().all(|word| refused.contains(word)), "{refused}");
}
