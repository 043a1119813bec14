//! The supported model families: their names and what distinguishes them. All are decoder-only transformers
//! with attention and a dense or mixture-of-experts MLP, so that a family is a row of this table.

use kernels::Pairs;

/// A family, with its name in either file format.
pub(crate) struct Family {
    /// Its `model_type` in `config.json`.
    pub name: &'static str,
    /// Its `general.architecture` in GGUF files.
    pub packed: &'static str,
    pub norms_heads: bool,
    /// RoPE pairing in GGUF files; in safetensors it is always by halves.
    pub packed_pairs: Pairs,
}

const FAMILIES: [Family; 3] = [
    Family { name: "qwen3", packed: "qwen3", norms_heads: true, packed_pairs: Pairs::Halves },
    Family { name: "qwen3_moe", packed: "qwen3moe", norms_heads: true, packed_pairs: Pairs::Halves },
    Family { name: "llama", packed: "llama", norms_heads: false, packed_pairs: Pairs::Neighbours },
];

pub(crate) const NAMES: [&str; FAMILIES.len()] = {
    let mut names = [""; FAMILIES.len()];
    let mut index = 0;
    #[expect(clippy::indexing_slicing, reason = "worked out by the compiler")]
    while index < names.len() {
        names[index] = FAMILIES[index].name;
        index += 1;
    }
    names
};

pub(crate) fn by_name(name: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.name == name)
}

pub(crate) fn by_packed(name: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.packed == name)
}
