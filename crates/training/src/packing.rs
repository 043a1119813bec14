//! Shuffling, packing into batches, and the split into training and validation set. All of it follows from
//! the seed alone, so that an interrupted run resumes where it was.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::dataset::Example;
use crate::error::TrainerError;
use crate::network::Batch;
use crate::settings::Settings;

/// The random stream that the validation set is drawn from.
const HELD_BACK: u64 = u64::MAX;

/// A permutation of `0..count`, by seed and epoch.
pub(super) fn order(count: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut numbers = ChaCha8Rng::seed_from_u64(seed);
    numbers.set_stream(epoch);
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        let other = numbers.next_u64() % (last as u64 + 1);
        order.swap(last, usize::try_from(other).unwrap_or_default());
    }
    order
}

/// Packs texts into batches of at most `tokens` tokens, in the given order.
pub(super) fn pack(texts: &[Example], order: &[usize], tokens: usize) -> Vec<Vec<usize>> {
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut left = 0;
    for index in order {
        let length = texts.get(*index).map_or(0, |text| text.tokens.len());
        match batches.last_mut().filter(|_| length <= left) {
            Some(batch) => batch.push(*index),
            None => {
                batches.push(vec![*index]);
                left = tokens;
            }
        }
        left = left.saturating_sub(length);
    }
    batches
}

/// The batches of each optimizer step of an epoch.
pub(super) fn steps_of(texts: &[Example], settings: &Settings, epoch: usize) -> Vec<Vec<Vec<usize>>> {
    let order = order(texts.len(), settings.seed, epoch as u64);
    let packs = |order: &[usize]| pack(texts, order, settings.batch_tokens);
    match settings.step_texts {
        Some(count) => order.chunks(count.max(1)).map(packs).collect(),
        None => packs(&order).chunks(settings.accumulation.max(1)).map(<[_]>::to_vec).collect(),
    }
}

/// Splits the texts into training set and validation set.
pub(super) fn split(
    texts: Vec<Example>,
    settings: &Settings,
) -> Result<(Vec<Example>, Vec<Example>), TrainerError> {
    if settings.held_back >= texts.len() {
        let what = format!("leaves none of {} texts to learn", texts.len());
        return Err(TrainerError::Setting { field: "held_back", what });
    }
    let seed = settings.held_back_seed.unwrap_or(settings.seed);
    let mut is_held_back = vec![false; texts.len()];
    for index in order(texts.len(), seed, HELD_BACK).into_iter().take(settings.held_back) {
        if let Some(is_held_back) = is_held_back.get_mut(index) {
            *is_held_back = true;
        }
    }
    let each = texts.into_iter().zip(is_held_back);
    let (held_back, learned): (Vec<_>, Vec<_>) = each.partition(|(_, is_held_back)| *is_held_back);
    let bare = |texts: Vec<(Example, bool)>| texts.into_iter().map(|(text, _)| text).collect();
    Ok((bare(learned), bare(held_back)))
}

/// Concatenates texts into a batch. A text's first token is not a target: what precedes it is another text.
pub(super) fn batch(texts: &[Example], which: &[usize]) -> Batch {
    let mut batch = Batch::default();
    for text in which.iter().filter_map(|index| texts.get(*index)) {
        let first = batch.tokens.len();
        let learned = text.tokens.iter().zip(&text.is_learned).enumerate().skip(1);
        let learned = learned.filter(|(_, (_, is_learned))| **is_learned);
        batch.targets.extend(learned.map(|(position, (token, _))| (first + position - 1, *token)));
        batch.tokens.extend(&text.tokens);
        batch.sequences.push(first..batch.tokens.len());
    }
    batch
}

/// A hash of the training data (FNV-1a, on tokens), to detect that a checkpoint belongs to other data.
pub(super) fn digest<'a>(texts: impl Iterator<Item = &'a Example>) -> u64 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let mut digest = 0xcbf2_9ce4_8422_2325;
    let mut add = |number: u64| digest = (digest ^ number).wrapping_mul(PRIME);
    for text in texts {
        add(text.tokens.len() as u64);
        let each = text.tokens.iter().zip(&text.is_learned);
        each.for_each(|(token, is_learned)| add(u64::from(*token) << 1 | u64::from(*is_learned)));
    }
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_of_its_own_says_which_texts_are_held_back() {
        let text = |token: u32| Example { tokens: vec![token; 2], is_learned: vec![true; 2] };
        let held_back = |seed, held_back_seed| {
            let settings = Settings { seed, held_back: 5, held_back_seed, ..Settings::default() };
            let (learned, held_back) = split((0..40).map(text).collect(), &settings).unwrap();
            assert_eq!((learned.len(), held_back.len()), (35, 5));
            held_back.iter().map(|text| text.tokens[0]).collect::<Vec<_>>()
        };
        // Another shuffle seed leaves the validation set as it is, so that two runs can be compared.
        assert_eq!(held_back(1, Some(7)), held_back(2, Some(7)));
        assert_ne!(held_back(1, Some(7)), held_back(1, Some(8)));
        assert_eq!(held_back(7, None), held_back(1, Some(7)));
    }

    #[test]
    fn every_text_is_gone_over_once_and_none_is_cut() {
        let text = |length: usize| Example { tokens: vec![1; length], is_learned: vec![true; length] };
        let texts: Vec<Example> = (1..40).map(text).collect();
        let orders = [order(39, 5, 0), order(39, 5, 1), order(39, 6, 0)];
        assert!(orders[0] != orders[1] && orders[0] != orders[2]);
        assert_eq!(orders[0], order(39, 5, 0));
        for order in orders {
            let batches = pack(&texts, &order, 64);
            assert_eq!(batches.concat(), order);
            for which in &batches {
                let batch = batch(&texts, which);
                assert!(batch.tokens.len() <= 64);
                assert_eq!(batch.targets.len(), batch.tokens.len() - which.len());
                let is_first = |row: usize| batch.sequences.iter().any(|text| text.start == row + 1);
                assert!(batch.targets.iter().all(|(row, _)| !is_first(*row)));
            }
        }
    }
}
