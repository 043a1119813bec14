//! The families of models that are known here: what they are called, and what tells one from the other. All of them are
//! layers of attention and a dense part, so that a family is a line of this table.

use crate::shape::Pairs;

/// What their files call them; both kinds of files have words of their own.
pub(crate) struct Family {
    /// In `config.json` (`model_type`).
    pub name: &'static str,
    /// In a packed file (`general.architecture`).
    pub packed: &'static str,
    pub norms_heads: bool,
    /// In packed files; plain ones turn halves always.
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
