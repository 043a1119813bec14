//! What kept requests mean: the vectors by which they are compared, in groups that differ in one text alone.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use domain::IdMap;
use domain::limits::SEMANTIC_CACHE_TEXTS_MAX;
use likeness::{Literals, UnitVector};

use super::memory::Name;

/// Requests of one project that are the same in all but the text of their last message: two keyed hashes of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Partition(pub u64, pub u64);

impl Hash for Partition {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

/// What one text means.
#[derive(Debug, PartialEq)]
pub(crate) struct Meaning {
    /// The model that made the vector: those of two models can't be compared.
    pub space: Arc<str>,
    pub vector: UnitVector,
    pub literals: Literals,
}

/// A kept text that is alike enough.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Alike {
    pub similarity_bps: u16,
    pub name: Name,
}

/// What a text was compared with.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Comparison {
    /// The most alike first.
    pub alike: Vec<Alike>,
    /// Of the text that is most alike, whether alike enough or not.
    pub best_bps: Option<u16>,
    /// A text that is alike enough was left out: it differs in a number, a negation or a literal.
    pub is_guarded: bool,
}

impl Meaning {
    pub(crate) fn bytes(&self) -> usize {
        self.vector.bytes()
    }

    pub(crate) fn compare(&self, others: Vec<(Name, Arc<Self>)>, similarity_bps_min: u16) -> Comparison {
        let mut comparison = Comparison::default();
        for (name, other) in others.into_iter().filter(|(_, other)| other.space == self.space) {
            let similarity_bps = self.vector.similarity_bps(&other.vector);
            comparison.best_bps = comparison.best_bps.max(Some(similarity_bps));
            if similarity_bps < similarity_bps_min {
                continue;
            }
            if other.literals == self.literals {
                comparison.alike.push(Alike { similarity_bps, name });
            } else {
                comparison.is_guarded = true;
            }
        }
        comparison.alike.sort_by_key(|alike| std::cmp::Reverse(alike.similarity_bps));
        comparison
    }
}

/// The meanings of one shard's entries.
#[derive(Debug, Default)]
pub(crate) struct Meanings(IdMap<Partition, Vec<(Name, Arc<Meaning>)>>);

impl Meanings {
    pub(crate) fn of(&self, partition: Partition) -> &[(Name, Arc<Meaning>)] {
        self.0.get(&partition).map_or(&[], Vec::as_slice)
    }

    /// Adds one, and returns the oldest where there are too many now.
    pub(crate) fn add(&mut self, partition: Partition, name: Name, meaning: Arc<Meaning>) -> Option<Name> {
        let known = self.0.entry(partition).or_default();
        known.push((name, meaning));
        let surplus = known.len() > SEMANTIC_CACHE_TEXTS_MAX;
        known.first().filter(|_| surplus).map(|(oldest, _)| oldest.clone())
    }

    pub(crate) fn remove(&mut self, partition: Partition, name: &Name) {
        if let Some(known) = self.0.get_mut(&partition) {
            known.retain(|(other, _)| other != name);
            if known.is_empty() {
                self.0.remove(&partition);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::ResponseMemory;
    use super::*;
    use domain::{ProjectId, WorkspaceId};

    fn meaning(space: &str, vector: [f32; 2], text: &str) -> Arc<Meaning> {
        let literals = Literals::of(text);
        let vector = UnitVector::of(vector.into()).unwrap();
        Arc::new(Meaning { space: space.into(), vector, literals })
    }

    #[test]
    fn what_is_alike_enough_and_says_the_same_is_found_the_most_alike_first() {
        let memory = ResponseMemory::default();
        let owner = (WorkspaceId::new(1, [1; 10]), ProjectId::new(1, [1; 10]));
        let name = |text: &str| memory.name(owner, (0, 0), text.into(), None);
        let known = [
            ("near", meaning("m", [0.9, 0.1], "give me a joke")),
            ("nearest", meaning("m", [1.0, 0.01], "a joke please")),
            ("number", meaning("m", [1.0, 0.0], "give me 2 jokes")),
            ("far", meaning("m", [0.0, 1.0], "give me a joke")),
            ("other space", meaning("n", [1.0, 0.0], "give me a joke")),
        ];
        let others = || known.iter().map(|(text, meaning)| (name(text), Arc::clone(meaning))).collect();
        let asked = meaning("m", [1.0, 0.0], "tell a joke");
        let names = |bound| {
            let found = asked.compare(others(), bound);
            let alike: Vec<_> = found.alike.iter().map(|alike| alike.name.request.to_string()).collect();
            (alike, found.best_bps, found.is_guarded)
        };
        assert_eq!(names(9_900), (vec!["nearest".into(), "near".into()], Some(10_000), true));
        assert_eq!(names(9_990), (vec!["nearest".into()], Some(10_000), true));
        assert_eq!(asked.compare(Vec::new(), 9_000), Comparison::default());
        let unlike = asked.compare(vec![(name("far"), Arc::clone(&known[3].1))], 9_000);
        assert_eq!(unlike, Comparison { best_bps: Some(0), ..Comparison::default() });
    }
}
