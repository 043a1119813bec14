//! Sampling. A draw depends only on the request's seed and on the position in its sequence, so a request
//! gives the same answer whatever else is in its batch.
#![expect(clippy::cast_possible_truncation, reason = "sums are made in double precision and told in single")]

use std::cmp::Ordering;
use std::collections::HashMap;

use kernels::{argmax, sum_exp};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// A request's sampling parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// 0 is greedy decoding.
    pub temperature: f32,
    pub top_k: Option<usize>,
    pub top_p: f32,
    /// Relative to the likeliest token.
    pub min_p: f32,
    pub presence_penalty: f32,
    pub frequency_penalty: f32,
    /// Above 1 it makes tokens of the prompt and the answer less likely.
    pub repetition_penalty: f32,
    pub bias: Vec<(u32, f32)>,
    pub seed: u64,
    /// How many of the likeliest tokens are reported with their log probabilities, besides the sampled one.
    pub logprobs: Option<usize>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: None,
            top_p: 1.0,
            min_p: 0.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            repetition_penalty: 1.0,
            bias: Vec::new(),
            seed: 0,
            logprobs: None,
        }
    }
}

/// A sampled token.
#[derive(Debug, Clone, PartialEq)]
pub struct SampledToken {
    pub token: u32,
    /// The natural logarithm of its probability, before temperature and truncation.
    pub logprob: f32,
    /// The likeliest tokens, in descending order.
    pub others: Vec<(u32, f32)>,
}

/// Descending; ties go to the lower token.
fn by_score(one: &(u32, f32), other: &(u32, f32)) -> Ordering {
    other.1.total_cmp(&one.1).then(one.0.cmp(&other.0))
}

impl Sampling {
    /// Samples the next token. `allowed` is a token mask with a bit for each token. Returns `None` if no
    /// token is allowed or the likeliest score is not finite.
    pub fn draw(
        &self,
        scores: &[f32],
        (prompt, generated): (&[u32], &[u32]),
        allowed: Option<&[u32]>,
    ) -> Option<SampledToken> {
        if allowed.is_none() && self.takes_the_likeliest() {
            let (token, score) = argmax(scores).filter(|(_, score)| score.is_finite())?;
            let logprob = -sum_exp(scores, score).ln() as f32;
            return Some(SampledToken { token: u32::try_from(token).ok()?, logprob, others: Vec::new() });
        }
        let mut scores = scores.to_vec();
        self.penalise(&mut scores, prompt, generated);
        let open: Vec<(u32, f32)> = match allowed {
            None => (0..).zip(scores.iter().copied()).collect(),
            Some(allowed) => allowed_scores(&scores, allowed),
        };
        let likeliest = open.iter().copied().min_by(by_score).filter(|(_, score)| score.is_finite())?;
        let all: f64 = open.iter().map(|(_, score)| f64::from(score - likeliest.1).exp()).sum();
        let logprob = |score: f32| (f64::from(score - likeliest.1) - all.ln()) as f32;
        let others = match self.logprobs {
            Some(count) if count > 0 => {
                let mut sorted = open.clone();
                keep_best(&mut sorted, count);
                sorted.into_iter().map(|(token, score)| (token, logprob(score))).collect()
            }
            _ => Vec::new(),
        };
        let position = (prompt.len() + generated.len()) as u64;
        let (token, score) =
            if self.temperature <= 0.0 { likeliest } else { self.pick(open, likeliest, position) };
        Some(SampledToken { token, logprob: logprob(score), others })
    }

    /// Whether the result is the plain argmax, so that the scores need not be copied.
    fn takes_the_likeliest(&self) -> bool {
        self.temperature <= 0.0
            && self.bias.is_empty()
            && self.presence_penalty == 0.0
            && self.frequency_penalty == 0.0
            && self.repetition_penalty == 1.0
            && self.logprobs.is_none_or(|count| count == 0)
    }

    fn penalise(&self, scores: &mut [f32], prompt: &[u32], generated: &[u32]) {
        for (token, bias) in &self.bias {
            if let Some(score) = scores.get_mut(*token as usize) {
                *score += bias;
            }
        }
        let mut counts: HashMap<u32, u32> = HashMap::new();
        generated.iter().for_each(|token| *counts.entry(*token).or_default() += 1);
        if self.presence_penalty != 0.0 || self.frequency_penalty != 0.0 {
            for (token, count) in &counts {
                if let Some(score) = scores.get_mut(*token as usize) {
                    *score -= self.presence_penalty + self.frequency_penalty * *count as f32;
                }
            }
        }
        if self.repetition_penalty != 1.0 {
            prompt.iter().for_each(|token| *counts.entry(*token).or_default() += 1);
            for token in counts.keys() {
                if let Some(score) = scores.get_mut(*token as usize) {
                    let penalty = self.repetition_penalty;
                    *score = if *score > 0.0 { *score / penalty } else { *score * penalty };
                }
            }
        }
    }

    fn pick(&self, mut open: Vec<(u32, f32)>, likeliest: (u32, f32), position: u64) -> (u32, f32) {
        match self.top_k {
            Some(count) if count > 0 => keep_best(&mut open, count),
            _ if self.top_p < 1.0 => open.sort_unstable_by(by_score),
            _ => {}
        }
        let weight = |score: f32| f64::from((score - likeliest.1) / self.temperature).exp();
        if self.top_p < 1.0 {
            let enough = f64::from(self.top_p) * open.iter().map(|(_, score)| weight(*score)).sum::<f64>();
            let mut sum = 0.0;
            let kept = open.iter().position(|(_, score)| {
                sum += weight(*score);
                sum >= enough
            });
            open.truncate(kept.map_or(open.len(), |last| last + 1));
        }
        if self.min_p > 0.0 {
            open.retain(|(_, score)| weight(*score) >= f64::from(self.min_p));
        }
        let all: f64 = open.iter().map(|(_, score)| weight(*score)).sum();
        let mut left = self.unit(position) * all;
        for (token, score) in &open {
            left -= weight(*score);
            if left < 0.0 {
                return (*token, *score);
            }
        }
        // Only rounding errors lead here.
        open.last().copied().unwrap_or(likeliest)
    }

    /// A uniform number from 0 to 1 that depends on seed and position only.
    fn unit(&self, position: u64) -> f64 {
        let mut numbers = ChaCha8Rng::seed_from_u64(self.seed);
        numbers.set_stream(position);
        (numbers.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The tokens whose bits are set, in ascending order.
fn allowed_scores(scores: &[f32], allowed: &[u32]) -> Vec<(u32, f32)> {
    let mut kept = Vec::new();
    for (first, (word, scores)) in (0u32..).step_by(32).zip(allowed.iter().zip(scores.chunks(32))) {
        let mut left = *word;
        while left != 0 {
            let bit = left.trailing_zeros();
            left &= left - 1;
            kept.extend(scores.get(bit as usize).map(|score| (first + bit, *score)));
        }
    }
    kept
}

/// Keeps the `count` best, in descending order.
fn keep_best(open: &mut Vec<(u32, f32)>, count: usize) {
    if count < open.len() {
        open.select_nth_unstable_by(count, by_score);
        open.truncate(count);
    }
    open.sort_unstable_by(by_score);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCORES: [f32; 5] = [1.0, 3.0, 2.0, 3.0, -1.0];

    fn draw(sampling: &Sampling, generated: &[u32]) -> u32 {
        sampling.draw(&SCORES, (&[], generated), None).unwrap().token
    }

    fn each(sampling: &Sampling) -> [f64; 5] {
        let mut counts = [0.0; 5];
        for seed in 0..20_000 {
            counts[draw(&Sampling { seed, ..sampling.clone() }, &[]) as usize] += 1.0 / 20_000.0;
        }
        counts
    }

    #[test]
    fn nothing_is_drawn_where_the_likeliest_is_asked_for() {
        let cold = Sampling { temperature: 0.0, ..Sampling::default() };
        assert_eq!(draw(&cold, &[]), 1, "the first of equals");
        assert_eq!(draw(&Sampling { presence_penalty: 0.1, ..cold.clone() }, &[1]), 3);
        assert_eq!(draw(&Sampling { frequency_penalty: 0.6, ..cold.clone() }, &[1, 1, 3, 3]), 2);
        assert_eq!(draw(&Sampling { repetition_penalty: 2.0, ..cold.clone() }, &[1, 3]), 2);
        assert_eq!(cold.draw(&SCORES, (&[], &[]), Some(&[0b101])).unwrap().token, 2);
        assert_eq!(cold.draw(&SCORES, (&[], &[]), Some(&[0])), None);
        assert_eq!(cold.draw(&SCORES, (&[], &[]), Some(&[1 << 5, 1])), None, "there are five tokens");
        assert_eq!(cold.draw(&[f32::NAN; 3], (&[], &[]), None), None);
        assert_eq!(draw(&Sampling { bias: vec![(4, 100.0)], ..cold }, &[]), 4);
    }

    #[test]
    fn what_is_drawn_is_as_likely_as_it_should_be() {
        let sum: f64 = SCORES.iter().map(|score| f64::from(*score).exp()).sum();
        for (counted, score) in each(&Sampling::default()).into_iter().zip(SCORES) {
            let wanted = f64::from(score).exp() / sum;
            assert!((counted - wanted).abs() < 0.015, "{counted} {wanted}");
        }
        let two = each(&Sampling { top_k: Some(2), ..Sampling::default() });
        assert!((two[1] - 0.5).abs() < 0.015 && (two[1] + two[3] - 1.0).abs() < 1e-9, "{two:?}");
        let most = each(&Sampling { top_p: 0.79, ..Sampling::default() });
        assert!((most[1] + most[3] - 1.0).abs() < 1e-9, "{most:?}");
        let near = each(&Sampling { min_p: 0.3, ..Sampling::default() });
        assert!(near[0] == 0.0 && near[2] > 0.1, "{near:?}");
    }

    #[test]
    fn the_seed_and_the_place_say_what_is_drawn() {
        let sampling = Sampling { seed: 7, temperature: 5.0, ..Sampling::default() };
        let at = |length: u32| draw(&sampling, &(0..length).collect::<Vec<_>>());
        let drawn: Vec<u32> = (0..64).map(at).collect();
        assert_eq!(drawn, (0..64).map(at).collect::<Vec<_>>());
        assert!((0..5).all(|token| drawn.contains(&token)), "{drawn:?}");
    }

    #[test]
    fn how_likely_they_were_is_told() {
        let sampling = Sampling { temperature: 0.0, logprobs: Some(3), ..Sampling::default() };
        let drawn = sampling.draw(&SCORES, (&[], &[]), None).unwrap();
        let alone = Sampling { logprobs: None, ..sampling }.draw(&SCORES, (&[], &[]), None).unwrap();
        assert!(alone.token == drawn.token && (alone.logprob - drawn.logprob).abs() < 1e-6);
        let sum: f32 = SCORES.iter().map(|score| score.exp()).sum();
        assert!((drawn.logprob - (3f32.exp() / sum).ln()).abs() < 1e-5);
        assert_eq!(drawn.others.iter().map(|(token, _)| *token).collect::<Vec<_>>(), [1, 3, 2]);
        assert!((drawn.others[2].1 - (2f32.exp() / sum).ln()).abs() < 1e-5);
    }
}
