//! The hyperparameters of a training run.

use crate::error::TrainerError;
use serde::{Deserialize, Serialize};
use weights::limits::LORA_RANK_MAX;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Trains {
    /// LoRA matrices; the base model's weights stay frozen.
    Adapter(LoraConfig),
    /// All weights of the model.
    Whole,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoraConfig {
    pub rank: usize,
    pub alpha: f32,
    /// rsLoRA: scaled by `alpha / sqrt(rank)` instead of `alpha / rank`.
    pub is_rank_stable: bool,
    pub targets: Vec<Target>,
}

domain::words! {
    /// The projections of a layer that can be LoRA targets. Their words end the names of these tensors.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    pub enum Target {
        #[serde(rename = "q_proj")]
        Queries = "q_proj",
        #[serde(rename = "k_proj")]
        Keys = "k_proj",
        #[serde(rename = "v_proj")]
        Values = "v_proj",
        #[serde(rename = "o_proj")]
        Answers = "o_proj",
        #[serde(rename = "gate_proj")]
        Gate = "gate_proj",
        #[serde(rename = "up_proj")]
        Up = "up_proj",
        #[serde(rename = "down_proj")]
        Down = "down_proj",
    }
}

/// The learning rate schedule after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    Constant,
    /// Decays linearly to zero.
    Linear,
    /// Decays to zero along half a cosine wave.
    Cosine,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    pub trains: Trains,
    /// Determines the shuffling, the validation set and the initialisation of an adapter.
    pub seed: u64,
    pub epochs: usize,
    /// Maximum number of tokens in a batch; no text may be longer.
    pub batch_tokens: usize,
    /// Gradient accumulation: batches per optimizer step.
    pub accumulation: usize,
    /// Makes a step of this many texts instead, in as many batches as they need.
    #[serde(default)]
    pub step_texts: Option<usize>,
    pub rate: f64,
    pub warmup_steps: usize,
    pub schedule: Schedule,
    pub weight_decay: f64,
    pub betas: (f64, f64),
    pub epsilon: f64,
    /// Gradient clipping: the maximum norm of all gradients together.
    pub slope_length_max: Option<f64>,
    /// The size of the validation set, in texts.
    pub held_back: usize,
    /// Determines the validation set; `seed` does where this is `None`.
    #[serde(default)]
    pub held_back_seed: Option<u64>,
    /// How many steps pass between evaluations of the validation set; the end of each epoch is one, too.
    pub held_back_every: usize,
    pub checkpoint_every: usize,
    /// Gradient checkpointing: stores only the layers' inputs, and recomputes each layer's activations in the
    /// backward pass.
    pub saves_memory: bool,
}

impl LoraConfig {
    pub(super) fn scale(&self) -> f32 {
        let rank = self.rank as f32;
        self.alpha / if self.is_rank_stable { rank.sqrt() } else { rank }
    }
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self { rank: 8, alpha: 16.0, is_rank_stable: false, targets: Target::ALL.to_vec() }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            trains: Trains::Adapter(LoraConfig::default()),
            seed: 0,
            epochs: 3,
            batch_tokens: 2_048,
            accumulation: 1,
            step_texts: None,
            rate: 2e-4,
            warmup_steps: 10,
            schedule: Schedule::Cosine,
            weight_decay: 0.0,
            betas: (0.9, 0.999),
            epsilon: 1e-8,
            slope_length_max: Some(1.0),
            held_back: 0,
            held_back_seed: None,
            held_back_every: 50,
            checkpoint_every: 50,
            saves_memory: false,
        }
    }
}

impl Settings {
    /// # Errors
    /// A setting is out of range; the error names it.
    pub fn checked(self) -> Result<Self, TrainerError> {
        let wrong = |field, what: &str| Err(TrainerError::Setting { field, what: what.to_owned() });
        for (field, value) in [
            ("epochs", self.epochs),
            ("batch_tokens", self.batch_tokens),
            ("accumulation", self.accumulation),
            ("step_texts", self.step_texts.unwrap_or(1)),
            ("held_back_every", self.held_back_every),
            ("checkpoint_every", self.checkpoint_every),
        ] {
            if value == 0 {
                return wrong(field, "is 0");
            }
        }
        let is_share = |number: f64| (0.0..1.0).contains(&number);
        if !(self.rate.is_finite() && self.rate > 0.0) {
            return wrong("rate", "isn't a number above 0");
        }
        if !(self.weight_decay.is_finite() && self.weight_decay >= 0.0) {
            return wrong("weight_decay", "isn't a number of at least 0");
        }
        if !is_share(self.betas.0) || !is_share(self.betas.1) {
            return wrong("betas", "aren't both at least 0 and below 1");
        }
        if !(self.epsilon.is_finite() && self.epsilon > 0.0) {
            return wrong("epsilon", "isn't a number above 0");
        }
        if self.slope_length_max.is_some_and(|length| !(length.is_finite() && length > 0.0)) {
            return wrong("slope_length_max", "isn't a number above 0");
        }
        if let Trains::Adapter(low) = &self.trains {
            if low.rank == 0 || low.rank > LORA_RANK_MAX {
                return wrong("rank", &format!("is {}, and must be from 1 to {LORA_RANK_MAX}", low.rank));
            }
            if !low.alpha.is_finite() {
                return wrong("alpha", "isn't a number");
            }
            if low.targets.is_empty() {
                return wrong("targets", "name nothing to train");
            }
        }
        Ok(self)
    }

    /// The learning rate at a step (from 0) of a run of `of` steps.
    pub(super) fn rate_at(&self, step: usize, of: usize) -> f64 {
        if step < self.warmup_steps {
            return self.rate * (step + 1) as f64 / self.warmup_steps as f64;
        }
        let span = of.saturating_sub(self.warmup_steps).max(1) as f64;
        let gone = ((step - self.warmup_steps) as f64 / span).min(1.0);
        self.rate
            * match self.schedule {
                Schedule::Constant => 1.0,
                Schedule::Linear => 1.0 - gone,
                Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * gone).cos()),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_and_goes_down_as_told() {
        let of = |schedule| {
            let settings = Settings { rate: 8.0, warmup_steps: 4, schedule, ..Settings::default() };
            [0, 3, 4, 8, 12].map(|step| (settings.rate_at(step, 12) * 1e6).round() / 1e6)
        };
        assert_eq!(of(Schedule::Constant), [2.0, 8.0, 8.0, 8.0, 8.0]);
        assert_eq!(of(Schedule::Linear), [2.0, 8.0, 8.0, 4.0, 0.0]);
        assert_eq!(of(Schedule::Cosine), [2.0, 8.0, 8.0, 4.0, 0.0]);
    }

    #[test]
    fn what_can_not_be_done_is_named() {
        let refused = |settings: Settings| settings.checked().unwrap_err().to_string();
        let low = LoraConfig { rank: 1_000, ..LoraConfig::default() };
        let refusal = refused(Settings { trains: Trains::Adapter(low), ..Settings::default() });
        assert_eq!(refusal, "a training setting is invalid: \"rank\" is 1000, and must be from 1 to 256");
        assert!(refused(Settings { rate: f64::NAN, ..Settings::default() }).contains("\"rate\""));
        assert!(refused(Settings { epochs: 0, ..Settings::default() }).contains("\"epochs\""));
        for length in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let settings = Settings { slope_length_max: Some(length), ..Settings::default() };
            assert!(refused(settings).contains("\"slope_length_max\""), "{length}");
        }
        assert!(Settings { slope_length_max: None, ..Settings::default() }.checked().is_ok());
        assert!(Settings::default().checked().is_ok());
    }
}
