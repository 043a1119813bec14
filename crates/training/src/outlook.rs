//! The estimate of a training run (steps, tokens, parameters, memory), computed before it starts.

use kernels::Architecture;
use weights::Source;

use crate::dataset::Example;
use crate::error::TrainerError;
use crate::packing::{split, steps_of};
use crate::settings::{LoraConfig, Settings, Target};

/// The cost of training an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrainingEstimate {
    pub examples: usize,
    pub validation_examples: usize,
    /// Training tokens of one epoch.
    pub tokens: usize,
    /// How many of those are targets.
    pub learned: usize,
    pub longest: usize,
    pub steps: usize,
    /// The number of trained parameters.
    pub parameters: u64,
    /// Estimated memory.
    pub bytes: u64,
}

impl TrainingEstimate {
    /// `None` where `may_go_on` returned false.
    ///
    /// # Errors
    /// The settings or the texts are unusable.
    pub fn of(
        source: &Source,
        (texts, beside): (Vec<Example>, Vec<Example>),
        (settings, low): (Settings, &LoraConfig),
        may_go_on: &dyn Fn() -> bool,
    ) -> Result<Option<Self>, TrainerError> {
        let settings = settings.checked()?;
        let (texts, held_back) = split(texts, &settings)?;
        let count = |text: &Example| text.is_learned.iter().skip(1).filter(|is_learned| **is_learned).count();
        let epochs = (0..settings.epochs).map(|epoch| steps_of(&texts, &settings, epoch));
        let (mut all, mut most) = (0, 0);
        for steps in epochs {
            if !may_go_on() {
                return Ok(None);
            }
            all += steps.len();
            let batches = steps.iter().flatten();
            let tokens = batches.map(|which| which.iter().filter_map(|at| texts.get(*at)).map(length).sum());
            most = most.max(tokens.max().unwrap_or(0));
        }
        let (shape, parameters) = (source.shape(), parameters(source.shape(), low));
        let held = held_bytes(shape, (most, settings.saves_memory), low.rank);
        // The head is unpacked whole; each trained parameter has its value, its gradient and two moments of 4
        // bytes each.
        let head = shape.vocabulary as u64 * shape.hidden as u64 * 4;
        Ok(Some(Self {
            examples: texts.len(),
            validation_examples: held_back.len() + beside.len(),
            tokens: texts.iter().map(length).sum(),
            learned: texts.iter().map(count).sum(),
            longest: texts.iter().map(length).max().unwrap_or(0),
            steps: all,
            parameters,
            bytes: source.weight_bytes() + parameters * 16 + held + head,
        }))
    }
}

fn length(text: &Example) -> usize {
    text.tokens.len()
}

/// The number of parameters in all LoRA matrices.
fn parameters(shape: &Architecture, low: &LoraConfig) -> u64 {
    let (queries, kv) = (shape.query_width(), shape.kv_width());
    let of_layer = |index: usize| {
        let (inner, times) =
            shape.mixture_of(index).map_or((shape.inner, 1), |mixture| (mixture.inner, mixture.experts));
        let of_target = |target: &Target| match target {
            Target::Queries | Target::Answers => shape.hidden + queries,
            Target::Keys | Target::Values => shape.hidden + kv,
            Target::Gate | Target::Up | Target::Down => (shape.hidden + inner) * times,
        };
        let mut targets = low.targets.clone();
        targets.sort_unstable();
        targets.dedup();
        targets.iter().map(of_target).sum::<usize>() as u64
    };
    (0..shape.layers).map(of_layer).sum::<u64>() * low.rank as u64
}

/// Activation memory: the bytes that the forward pass keeps for the backward pass of a batch.
fn held_bytes(shape: &Architecture, (tokens, saves_memory): (usize, bool), rank: usize) -> u64 {
    let (queries, kv) = (shape.query_width(), shape.kv_width());
    let inner = shape.mixture.as_ref().map_or(shape.inner, |mixture| mixture.inner * mixture.chosen);
    let layer = 4 * shape.hidden + 3 * queries + 4 * kv + 2 * inner + shape.heads + 7 * rank;
    let layers = if saves_memory { 1 } else { shape.layers };
    (tokens as u64) * (layers * layer + (shape.layers + 2) * shape.hidden) as u64 * 4
}
