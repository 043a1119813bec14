//! Hits and false hits among pairs of sentences, by their vectors and with the guard of the response cache.

use std::collections::BTreeMap;

use likeness::{Literals, UnitVector};
use serde_json::Value;

/// One pair a line: its kind and both sentences. `same` may share an answer; all other kinds may not, and differ in what
/// their kind says.
const PAIRS: &str = include_str!("pairs.tsv");
const SAME: &str = "same";

/// Two sentences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    pub kind: &'static str,
    pub one: &'static str,
    pub other: &'static str,
}

impl Pair {
    fn is_same(&self) -> bool {
        self.kind == SAME
    }

    fn is_guarded(&self) -> bool {
        Literals::of(self.one) != Literals::of(self.other)
    }
}

/// What a bound lets through.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Figures {
    pub bound: u16,
    pub paraphrases: usize,
    pub hits: usize,
    pub hits_guarded: usize,
    pub lookalikes: usize,
    pub false_hits: usize,
    pub false_hits_guarded: usize,
    /// Those that the guard lets through.
    pub false_by_kind: BTreeMap<&'static str, usize>,
}

/// The pairs of one kind.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    pub name: &'static str,
    pub pairs: usize,
    pub guarded: usize,
    pub median_bps: u16,
}

/// The vectors of all sentences.
#[derive(Debug, Default)]
pub struct Vectors(BTreeMap<&'static str, UnitVector>);

impl Vectors {
    /// The sentences without a vector, each once.
    pub fn missing(&self, pairs: &[Pair]) -> Vec<&'static str> {
        let mut texts: Vec<_> = pairs.iter().flat_map(|pair| [pair.one, pair.other]).collect();
        texts.sort_unstable();
        texts.dedup();
        texts.retain(|text| !self.0.contains_key(text));
        texts
    }

    /// Adds the vectors of an answer; `None` where it has not one for each text.
    pub fn add(&mut self, texts: &[&'static str], answer: &Value) -> Option<()> {
        let rows = answer.get("data")?.as_array().filter(|rows| rows.len() == texts.len())?;
        for (text, row) in texts.iter().zip(rows) {
            #[expect(clippy::cast_possible_truncation, reason = "models compute in single precision at most")]
            let number = |number: &Value| number.as_f64().map(|number| number as f32);
            let numbers: Option<_> = row.get("embedding")?.as_array()?.iter().map(number).collect();
            self.0.insert(text, UnitVector::of(numbers?)?);
        }
        Some(())
    }

    fn similarity_bps(&self, pair: &Pair) -> u16 {
        let (one, other) = (self.0.get(pair.one), self.0.get(pair.other));
        one.zip(other).map_or(0, |(one, other)| one.similarity_bps(other))
    }
}

pub fn pairs() -> Vec<Pair> {
    let read = |line: &'static str| {
        let mut cells = line.split('\t');
        Some(Pair { kind: cells.next()?, one: cells.next()?, other: cells.next()? })
    };
    PAIRS.lines().filter_map(read).collect()
}

pub fn figures(pairs: &[Pair], vectors: &Vectors, bound: u16) -> Figures {
    let mut figures = Figures { bound, ..Figures::default() };
    for pair in pairs {
        let is_hit = vectors.similarity_bps(pair) >= bound;
        let passes = is_hit && !pair.is_guarded();
        let (total, hits, guarded) = if pair.is_same() {
            (&mut figures.paraphrases, &mut figures.hits, &mut figures.hits_guarded)
        } else {
            (&mut figures.lookalikes, &mut figures.false_hits, &mut figures.false_hits_guarded)
        };
        *total += 1;
        *hits += usize::from(is_hit);
        *guarded += usize::from(passes);
        if passes && !pair.is_same() {
            *figures.false_by_kind.entry(pair.kind).or_default() += 1;
        }
    }
    figures
}

/// The kinds in the order of the set.
pub fn kinds_at(pairs: &[Pair], vectors: &Vectors) -> Vec<Kind> {
    let mut names: Vec<&'static str> = pairs.iter().map(|pair| pair.kind).collect();
    names.dedup();
    let of = |name: &'static str| {
        let of_kind: Vec<&Pair> = pairs.iter().filter(|pair| pair.kind == name).collect();
        let mut similarities: Vec<_> = of_kind.iter().map(|pair| vectors.similarity_bps(pair)).collect();
        similarities.sort_unstable();
        Kind {
            name,
            pairs: of_kind.len(),
            guarded: of_kind.iter().filter(|pair| pair.is_guarded()).count(),
            median_bps: similarities.get(similarities.len() / 2).copied().unwrap_or(0),
        }
    };
    names.into_iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_kept_set_is_whole_and_of_every_kind() {
        let pairs = pairs();
        assert_eq!(pairs.len(), PAIRS.lines().count(), "every line is a pair");
        assert!(pairs.len() >= 150, "{}", pairs.len());
        let kinds = kinds_at(&pairs, &Vectors::default());
        let names: Vec<_> = kinds.iter().map(|kind| kind.name).collect();
        assert_eq!(
            names,
            [
                "same",
                "number",
                "negation",
                "entity",
                "unit",
                "time",
                "direction",
                "language",
                "literal",
                "attribute"
            ]
        );
        assert!(kinds.iter().all(|kind| kind.pairs >= 10), "{kinds:?}");
        let mut sentences: Vec<_> = pairs.iter().map(|pair| (pair.one, pair.other)).collect();
        sentences.sort_unstable();
        sentences.dedup();
        assert_eq!(sentences.len(), pairs.len(), "each once");
        assert!(pairs.iter().all(|pair| pair.one != pair.other));
    }

    #[test]
    fn the_guard_stops_what_it_says_it_stops_and_few_paraphrases() {
        for kind in kinds_at(&pairs(), &Vectors::default()) {
            match kind.name {
                "number" | "negation" | "literal" => assert_eq!(kind.guarded, kind.pairs, "{kind:?}"),
                "same" => assert!(kind.guarded * 20 <= kind.pairs, "{kind:?}"),
                _ => {}
            }
        }
    }

    #[test]
    fn figures_count_hits_at_a_bound_with_the_guard_and_without() {
        let pair = |kind, one, other| Pair { kind, one, other };
        let pairs = [
            pair(SAME, "a", "b"),
            pair(SAME, "a", "far"),
            pair("number", "with 1", "with 2"),
            pair("entity", "a", "c"),
        ];
        let mut vectors = Vectors::default();
        let texts = vectors.missing(&pairs);
        assert_eq!(texts, ["a", "b", "c", "far", "with 1", "with 2"]);
        let vector = |text: &&str| if *text == "far" { [0.0, 1.0] } else { [1.0, 0.0] };
        let rows: Vec<_> = texts.iter().map(|text| json!({"embedding": vector(text)})).collect();
        assert_eq!(vectors.add(&texts[1..], &json!({"data": rows})), None, "one too many");
        vectors.add(&texts, &json!({"data": rows})).unwrap();
        assert_eq!(vectors.missing(&pairs), Vec::<&str>::new());
        let expected = Figures {
            bound: 9_500,
            paraphrases: 2,
            hits: 1,
            hits_guarded: 1,
            lookalikes: 2,
            false_hits: 2,
            false_hits_guarded: 1,
            false_by_kind: [("entity", 1)].into(),
        };
        assert_eq!(figures(&pairs, &vectors, 9_500), expected);
        assert_eq!(figures(&pairs, &vectors, 0).hits, 2);
    }
}
