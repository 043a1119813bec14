//! Rotary position embeddings (RoPE) and their context extensions. Angles are computed in f64 and stored in
//! f32: in f16 those of late positions are wrong.
#![expect(
    clippy::cast_possible_truncation,
    reason = "angles are worked out in double precision and used in single"
)]

use std::f64::consts::{PI, TAU};

use crate::shape::{Rope, RopeScaling};

/// The rotation frequency of each pair of a head's dimensions, and the scale of the result.
#[derive(Debug)]
pub struct RotaryEmbedding {
    frequencies: Vec<f64>,
    scale: f64,
}

/// Cosines and sines of a step's positions, a row of `head_dim / 2` each; all layers share them.
#[derive(Debug)]
pub struct Angles {
    pairs: usize,
    cosines: Vec<f32>,
    sines: Vec<f32>,
}

impl RotaryEmbedding {
    pub fn new(rope: &Rope, head_dim: usize) -> Self {
        let (frequencies, scale) = frequencies(rope, head_dim);
        Self { frequencies, scale }
    }

    pub fn angles(&self, positions: impl ExactSizeIterator<Item = usize>) -> Angles {
        let pairs = self.frequencies.len();
        let (mut cosines, mut sines) = (Vec::new(), Vec::new());
        cosines.reserve_exact(positions.len() * pairs);
        sines.reserve_exact(positions.len() * pairs);
        for position in positions {
            for frequency in &self.frequencies {
                let (sine, cosine) = (position as f64 * frequency).sin_cos();
                cosines.push((cosine * self.scale) as f32);
                sines.push((sine * self.scale) as f32);
            }
        }
        Angles { pairs, cosines, sines }
    }
}

impl Angles {
    /// All cosines and all sines, the rows concatenated.
    pub fn all(&self) -> (&[f32], &[f32]) {
        (&self.cosines, &self.sines)
    }

    /// The cosines and sines of one row of the step.
    pub fn of(&self, row: usize) -> (&[f32], &[f32]) {
        let row = row * self.pairs..(row + 1) * self.pairs;
        (self.cosines.get(row.clone()).unwrap_or_default(), self.sines.get(row).unwrap_or_default())
    }
}

/// The angle of each pair for one position, in radians, and the factor for cosines and sines.
pub fn frequencies(rope: &Rope, head_dim: usize) -> (Vec<f64>, f64) {
    let plain = |pair: usize| rope.theta.powf(-((2 * pair) as f64) / head_dim as f64);
    let all = (0..head_dim / 2).map(plain);
    match &rope.stretch {
        RopeScaling::None => (all.collect(), 1.0),
        RopeScaling::Linear { factor } => (all.map(|frequency| frequency / factor).collect(), 1.0),
        RopeScaling::Bands { factor, low, high, original } => {
            let banded = |frequency: f64| {
                let turns = original * frequency / TAU;
                let smooth = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                (1.0 - smooth) * frequency / factor + smooth * frequency
            };
            (all.map(banded).collect(), 1.0)
        }
        RopeScaling::Each(factors) => {
            (all.zip(factors).map(|(frequency, factor)| frequency / factor).collect(), 1.0)
        }
        RopeScaling::Ramp { factor, original, fast, slow, attention, truncates } => {
            // The pair that makes this many turns over the original context length.
            let pair_of =
                |turns: f64| head_dim as f64 * (original / (turns * 2.0 * PI)).ln() / (2.0 * rope.theta.ln());
            let (mut first, mut last) = (pair_of(*fast), pair_of(*slow));
            if *truncates {
                (first, last) = (first.floor(), last.ceil());
            }
            let (first, last) = (first.max(0.0), last.min((head_dim - 1) as f64));
            let span = if last > first { last - first } else { 0.001 };
            let ramped = |(pair, frequency): (usize, f64)| {
                let stretched = ((pair as f64 - first) / span).clamp(0.0, 1.0);
                frequency / factor * stretched + frequency * (1.0 - stretched)
            };
            (all.enumerate().map(ramped).collect(), attention.unwrap_or_else(|| usual_attention(*factor)))
        }
    }
}

/// YaRN's default attention factor.
pub fn usual_attention(factor: f64) -> f64 {
    if factor > 1.0 { 0.1 * factor.ln() + 1.0 } else { 1.0 }
}

/// A model's context length: the declared one, or the original one times the YaRN factor if that is larger.
pub fn stretched_context(stretch: &RopeScaling, original: Option<f64>, context: usize) -> usize {
    match (stretch, original) {
        (RopeScaling::Ramp { factor, .. }, Some(original)) => context.max((original * factor) as usize),
        _ => context,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THETA: f64 = 1_000_000.0;

    /// The usual YaRN setting, for an original context of 32,768 tokens.
    fn ramp(factor: f64) -> RopeScaling {
        let (original, fast, slow) = (32_768.0, 32.0, 1.0);
        RopeScaling::Ramp { factor, original, fast, slow, attention: None, truncates: true }
    }

    #[test]
    fn a_stretch_by_one_is_none() {
        let plain = frequencies(&Rope { theta: THETA, stretch: RopeScaling::None }, 128);
        for stretch in [
            RopeScaling::Linear { factor: 1.0 },
            RopeScaling::Bands { factor: 1.0, low: 1.0, high: 4.0, original: 8_192.0 },
            ramp(1.0),
        ] {
            let stretched = frequencies(&Rope { theta: THETA, stretch }, 128);
            assert_eq!(stretched.1, plain.1);
            for (one, other) in stretched.0.iter().zip(&plain.0) {
                assert!((one - other).abs() <= 1e-15 * other, "{one} {other}");
            }
        }
    }

    #[test]
    fn a_ramp_leaves_fast_waves_and_stretches_slow_ones() {
        let stretch = ramp(4.0);
        let (frequencies, scale) = frequencies(&Rope { theta: THETA, stretch }, 128);
        assert_eq!(frequencies[0], 1.0);
        let last = THETA.powf(-126.0 / 128.0);
        assert!((frequencies[63] - last / 4.0).abs() < 1e-15);
        assert!((scale - (0.1 * 4f64.ln() + 1.0)).abs() < 1e-15);
    }

    /// Compares with the values of `transformers` for published models; `scripts/model-goldens.py` wrote
    /// them.
    #[test]
    fn published_models_turn_as_transformers_turns_them() {
        let goldens = include_str!("../../engine/tests/fixtures/models/goldens.json");
        let goldens: serde_json::Value = serde_json::from_str(goldens).unwrap();
        let bands = RopeScaling::Bands { factor: 8.0, low: 1.0, high: 4.0, original: 8_192.0 };
        for (name, theta, stretch) in [("qwen3_yarn", THETA, ramp(4.0)), ("llama3", 500_000.0, bands)] {
            let golden = &goldens["published"][name];
            let (frequencies, scale) = frequencies(&Rope { theta, stretch }, 128);
            assert!((scale - golden["attention"].as_f64().unwrap()).abs() < 1e-12, "{name}");
            assert_eq!(golden["frequencies"].as_array().unwrap().len(), 64);
            for (own, theirs) in frequencies.iter().zip(golden["frequencies"].as_array().unwrap()) {
                let theirs = theirs.as_f64().unwrap();
                assert!((own - theirs).abs() <= 1e-6 * theirs, "{name}: {own} {theirs}");
            }
        }
    }

    #[test]
    fn a_ramp_makes_texts_longer_where_its_files_say_from_what() {
        let ramp = ramp(4.0);
        assert_eq!(stretched_context(&ramp, Some(32_768.0), 40_960), 131_072);
        assert_eq!(stretched_context(&ramp, None, 131_072), 131_072);
        assert_eq!(stretched_context(&RopeScaling::Linear { factor: 4.0 }, Some(32_768.0), 40_960), 40_960);
    }

    #[test]
    fn late_positions_are_as_exact_as_early_ones() {
        let turning = RotaryEmbedding::new(&Rope { theta: THETA, stretch: RopeScaling::None }, 64);
        let positions = [0, 1, 2_049, 39_999];
        let angles = turning.angles(positions.into_iter());
        for (row, position) in positions.into_iter().enumerate() {
            let (cosines, sines) = angles.of(row);
            assert_eq!((cosines.len(), sines.len()), (32, 32));
            for (pair, (cosine, sine)) in cosines.iter().zip(sines).enumerate() {
                let angle = position as f64 * THETA.powf(-((2 * pair) as f64) / 64.0);
                assert!((f64::from(*cosine) - angle.cos()).abs() < 1e-7);
                assert!((f64::from(*sine) - angle.sin()).abs() < 1e-7);
            }
        }
    }
}
