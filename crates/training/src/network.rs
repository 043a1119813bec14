//! A model in training: its trained weights in single precision, its frozen weights as they are in the file,
//! and one forward and backward pass over a batch.
#![expect(clippy::indexing_slicing, reason = "rows are cut by the widths that they were made with")]

use std::ops::Range;

use kernels::{Angles, Architecture, KernelError, RotaryEmbedding, Rows};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use weights::adapters::InitialAdapter;
use weights::{Source, TensorName, WeightsError};

use crate::error::TrainerError;
use crate::head::{Back, Head};
use crate::layer::{At, Dense, Layer, Mlp};
use crate::mixture::Mixture;
use crate::rows::{norm_backward, norms_of};
use crate::settings::{LoraConfig, Trains};
use crate::weight::{LoraWeights, Product, Slot, Weight};

/// A batch of concatenated sequences. None attends to another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    pub tokens: Vec<u32>,
    /// The range of each sequence within the tokens.
    pub sequences: Vec<Range<usize>>,
    /// Rows whose logits are trained, each with the token to be predicted there.
    pub targets: Vec<(usize, u32)>,
}

#[derive(Debug)]
pub struct Network {
    shape: Architecture,
    turning: RotaryEmbedding,
    embedding: Embedding,
    layers: Vec<Layer>,
    norm: Weight,
    /// `None` where the head is tied to the trained embedding.
    head: Option<Weight>,
    slots: Vec<Slot>,
    parameters: Vec<f32>,
}

#[derive(Debug)]
enum Embedding {
    Trained(Range<usize>),
    Fixed(Rows),
}

/// Loads the weights, and collects the trained ones in `parameters`.
struct Loading<'a> {
    source: &'a Source,
    low: Option<&'a LoraConfig>,
    slots: Vec<Slot>,
    parameters: Vec<f32>,
    numbers: ChaCha8Rng,
}

impl Loading<'_> {
    fn slot(&mut self, name: String, shape: Vec<usize>, numbers: &[f32]) -> Range<usize> {
        let first = self.parameters.len();
        self.parameters.extend_from_slice(numbers);
        let range = first..self.parameters.len();
        self.slots.push(Slot { name, shape, range: range.clone() });
        range
    }

    fn vector(&mut self, plain: &str, packed: &str, length: usize) -> Result<Weight, TrainerError> {
        let numbers = self.source.single_vector((plain, packed), length)?;
        Ok(match self.low {
            Some(_) => Weight::FixedVector(numbers),
            None => Weight::Trained(self.slot(format!("{plain}.weight"), vec![length], &numbers)),
        })
    }

    fn matrix(&mut self, at: &TensorName<'_>, rows: usize, width: usize) -> Result<Weight, TrainerError> {
        let linear = self.source.single(at, rows, width)?;
        Ok(match self.low {
            Some(_) => Weight::Fixed(linear),
            None => {
                let name = format!("{}.weight", at.plain);
                Weight::Trained(self.slot(name, vec![rows, width], &linear.singles()?))
            }
        })
    }

    fn product(
        &mut self,
        at: &TensorName<'_>,
        outputs: usize,
        width: usize,
    ) -> Result<Product, TrainerError> {
        let weight = self.matrix(at, outputs, width)?;
        let is_target =
            |low: &&LoraConfig| low.targets.iter().any(|target| at.plain.ends_with(target.as_str()));
        let low = match self.low.filter(is_target) {
            Some(low) => {
                // The usual LoRA initialisation: A is uniform around zero and B is zero, so that the adapter
                // adds nothing yet.
                let bound = 1.0 / (width as f64).sqrt();
                let mut unit = || (self.numbers.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
                let first: Vec<f32> =
                    (0..low.rank * width).map(|_| ((2.0 * unit() - 1.0) * bound) as f32).collect();
                let (first_name, second_name) = names_of_low(at.plain);
                let first = self.slot(first_name, vec![low.rank, width], &first);
                let second = vec![0.0; outputs * low.rank];
                let second = self.slot(second_name, vec![outputs, low.rank], &second);
                Some(LoraWeights { first, second, rank: low.rank, scale: low.scale() })
            }
            None => None,
        };
        Ok(Product { weight, low, width, outputs })
    }

    fn three(
        &mut self,
        names: &[(String, String); 3],
        expert: Option<usize>,
        sizes: (usize, usize),
    ) -> Result<Mlp, TrainerError> {
        let (inner, hidden) = sizes;
        let [gate, up, down] = names.each_ref().map(|(plain, packed)| TensorName { plain, packed, expert });
        Ok(Mlp {
            gate: self.product(&gate, inner, hidden)?,
            up: self.product(&up, inner, hidden)?,
            down: self.product(&down, hidden, inner)?,
        })
    }

    fn dense(&mut self, shape: &Architecture, index: usize) -> Result<Dense, TrainerError> {
        let name = |plain: &str, packed: &str| {
            (format!("model.layers.{index}.mlp.{plain}"), format!("blk.{index}.{packed}"))
        };
        let Some(mixture) = shape.mixture_of(index) else {
            let names =
                [name("gate_proj", "ffn_gate"), name("up_proj", "ffn_up"), name("down_proj", "ffn_down")];
            return Ok(Dense::One(self.three(&names, None, (shape.inner, shape.hidden))?));
        };
        let (plain, packed) = name("gate", "ffn_gate_inp");
        let router = TensorName { plain: &plain, packed: &packed, expert: None };
        let router = self.product(&router, mixture.experts, shape.hidden)?;
        let mut experts = Vec::new();
        for expert in 0..mixture.experts {
            let of = |plain: &str, packed: &str| name(&format!("experts.{expert}.{plain}"), packed);
            let names = [
                of("gate_proj", "ffn_gate_exps"),
                of("up_proj", "ffn_up_exps"),
                of("down_proj", "ffn_down_exps"),
            ];
            experts.push(self.three(&names, Some(expert), (mixture.inner, shape.hidden))?);
        }
        Ok(Dense::Mixture(Mixture { router, experts, chosen: mixture.chosen, is_normed: mixture.is_normed }))
    }

    fn layer(&mut self, shape: &Architecture, index: usize) -> Result<Layer, TrainerError> {
        let name = |plain: &str, packed: &str| {
            (format!("model.layers.{index}.{plain}"), format!("blk.{index}.{packed}"))
        };
        let (queries, kv) = (shape.query_width(), shape.kv_width());
        let mut product = |plain: &str, packed: &str, outputs: usize, width: usize| {
            let (plain, packed) = name(plain, packed);
            self.product(&TensorName { plain: &plain, packed: &packed, expert: None }, outputs, width)
        };
        let qkv = [
            product("self_attn.q_proj", "attn_q", queries, shape.hidden)?,
            product("self_attn.k_proj", "attn_k", kv, shape.hidden)?,
            product("self_attn.v_proj", "attn_v", kv, shape.hidden)?,
        ];
        let answers = product("self_attn.o_proj", "attn_output", shape.hidden, queries)?;
        let mut vector = |plain: &str, packed: &str, length: usize| {
            let (plain, packed) = name(plain, packed);
            self.vector(&plain, &packed, length)
        };
        let before_attention = vector("input_layernorm", "attn_norm", shape.hidden)?;
        let before_dense = vector("post_attention_layernorm", "ffn_norm", shape.hidden)?;
        let head_norms = if shape.norms_heads {
            Some((
                vector("self_attn.q_norm", "attn_q_norm", shape.head_dim)?,
                vector("self_attn.k_norm", "attn_k_norm", shape.head_dim)?,
            ))
        } else {
            None
        };
        let dense = self.dense(shape, index)?;
        let [queries, keys, values] = qkv;
        Ok(Layer { before_attention, queries, keys, values, head_norms, answers, before_dense, dense })
    }
}

/// The tensor names of the LoRA matrices A and B of a projection.
fn names_of_low(plain: &str) -> (String, String) {
    (format!("{plain}.lora_A.weight"), format!("{plain}.lora_B.weight"))
}

impl Network {
    /// # Errors
    /// The weights don't match the shape, or there is nothing to train.
    pub fn load(source: &Source, trains: &Trains, seed: u64) -> Result<Self, TrainerError> {
        let loaded = Self::load_while(source, trains, seed, &|| true)?;
        loaded
            .ok_or(TrainerError::Kernel(KernelError::Step("a network that nobody called off was not loaded")))
    }

    /// Like `load`; `None` where `may_go_on`, which is called before each layer, returned false.
    pub(super) fn load_while(
        source: &Source,
        trains: &Trains,
        seed: u64,
        may_go_on: &dyn Fn() -> bool,
    ) -> Result<Option<Self>, TrainerError> {
        let shape = source.shape().clone();
        let low = match trains {
            Trains::Adapter(low) => Some(low),
            Trains::Whole => None,
        };
        let (slots, parameters, numbers) = (Vec::new(), Vec::new(), ChaCha8Rng::seed_from_u64(seed));
        let mut loading = Loading { source, low, slots, parameters, numbers };
        let names = ("model.embed_tokens", "token_embd");
        let embedding = match low {
            Some(_) => Embedding::Fixed(source.embedding(&shape)?),
            None => {
                let tensor = TensorName { plain: names.0, packed: names.1, expert: None };
                match loading.matrix(&tensor, shape.vocabulary, shape.hidden)? {
                    Weight::Trained(range) => Embedding::Trained(range),
                    Weight::Fixed(_) | Weight::FixedVector(_) => Embedding::Fixed(source.embedding(&shape)?),
                }
            }
        };
        let mut layers = Vec::new();
        for index in 0..shape.layers {
            if !may_go_on() {
                return Ok(None);
            }
            layers.push(loading.layer(&shape, index)?);
        }
        let norm = loading.vector("model.norm", "output_norm", shape.hidden)?;
        let head = match (shape.is_tied, &embedding) {
            (true, Embedding::Fixed(rows)) => Some(Weight::Fixed(rows.as_linear())),
            (true, Embedding::Trained(_)) => None,
            (false, _) => {
                let tensor = TensorName { plain: "lm_head", packed: "output", expert: None };
                Some(loading.matrix(&tensor, shape.vocabulary, shape.hidden)?)
            }
        };
        let Loading { slots, parameters, .. } = loading;
        let turning = RotaryEmbedding::new(&shape.rope, shape.head_dim);
        Ok(Some(Self { turning, embedding, layers, norm, head, slots, parameters, shape }))
    }

    /// Initialises the LoRA matrices with those of an existing adapter.
    pub(super) fn begin_as(&mut self, started: &InitialAdapter) -> Result<(), TrainerError> {
        for slot in &self.slots {
            let numbers = started.numbers(&slot.name, &slot.shape);
            let numbers = numbers.ok_or_else(|| WeightsError::NoTensor(slot.name.clone()))?;
            self.parameters[slot.range.clone()].copy_from_slice(numbers);
        }
        Ok(())
    }

    pub const fn shape(&self) -> &Architecture {
        &self.shape
    }

    /// The trained tensors, in the order of `parameters`.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    pub fn parameters(&self) -> &[f32] {
        &self.parameters
    }

    pub fn parameters_mut(&mut self) -> &mut [f32] {
        &mut self.parameters
    }

    pub(super) fn trainable_parameters(&mut self) -> (&[Slot], &mut [f32]) {
        (&self.slots, &mut self.parameters)
    }

    fn check(&self, batch: &Batch) -> Result<(), TrainerError> {
        let mut end = 0;
        for text in &batch.sequences {
            if text.start != end || text.end <= text.start {
                return Err(KernelError::Step("texts that do not lie one behind the other").into());
            }
            if text.len() > self.shape.context {
                return Err(KernelError::Step("a place beyond the context").into());
            }
            end = text.end;
        }
        if end != batch.tokens.len() || batch.targets.iter().any(|(row, _)| *row >= end) {
            return Err(KernelError::Step("a token that is in no text").into());
        }
        let targets = batch.targets.iter().map(|(_, token)| token);
        if batch.tokens.iter().chain(targets).any(|token| *token as usize >= self.shape.vocabulary) {
            return Err(KernelError::Step("a token that is not in the vocabulary").into());
        }
        Ok(())
    }

    fn embed(&self, tokens: &[u32]) -> Result<Vec<f32>, TrainerError> {
        match &self.embedding {
            Embedding::Fixed(rows) => Ok(rows.rows(tokens.iter().copied())),
            Embedding::Trained(range) => {
                let (table, width) = (&self.parameters[range.clone()], self.shape.hidden);
                let row = |token: &u32| &table[*token as usize * width..(*token as usize + 1) * width];
                Ok(tokens.iter().flat_map(row).copied().collect())
            }
        }
    }

    fn head(&self) -> Result<std::borrow::Cow<'_, [f32]>, TrainerError> {
        match (&self.head, &self.embedding) {
            (Some(head), _) => head.numbers(&self.parameters),
            (None, Embedding::Trained(range)) => Ok((&self.parameters[range.clone()]).into()),
            (None, Embedding::Fixed(_)) => Err(KernelError::Step("a network without a head").into()),
        }
    }

    fn head_slopes<'a>(&self, slopes: &'a mut [f32]) -> Option<&'a mut [f32]> {
        match (&self.head, &self.embedding) {
            (Some(head), _) => head.slopes(slopes),
            (None, Embedding::Trained(range)) => Some(&mut slopes[range.clone()]),
            (None, Embedding::Fixed(_)) => None,
        }
    }

    /// The logits after every token of one sequence.
    ///
    /// # Errors
    /// The sequence is too long, or a token is not in the vocabulary.
    pub fn scores(&self, tokens: &[u32]) -> Result<Vec<f32>, TrainerError> {
        #[expect(clippy::single_range_in_vec_init, reason = "one text")]
        let batch = Batch { tokens: tokens.to_vec(), sequences: vec![0..tokens.len()], targets: vec![] };
        self.check(&batch)?;
        let angles = self.turning.angles(0..tokens.len());
        let at =
            At { shape: &self.shape, parameters: &self.parameters, angles: &angles, texts: &batch.sequences };
        let mut rows = self.embed(tokens)?;
        for layer in &self.layers {
            rows = layer.forward(&at, &rows)?.0;
        }
        let normed = norms_of(&rows, &self.norm.numbers(&self.parameters)?, self.shape.norm_epsilon);
        Ok(Head { weight: &self.head()?, width: self.shape.hidden }.scores(&normed))
    }

    /// The summed loss over all targets.
    ///
    /// # Errors
    /// A sequence is too long, or a token is not in the vocabulary.
    pub fn loss(&self, batch: &Batch) -> Result<f64, TrainerError> {
        self.check(batch)?;
        let angles = self.turning.angles(positions(batch).into_iter());
        let at = self.at(batch, &angles);
        let mut rows = self.embed(&batch.tokens)?;
        for layer in &self.layers {
            rows = layer.forward(&at, &rows)?.0;
        }
        Ok(self.judge(batch, &rows, None)?.0)
    }

    /// Forward and backward pass: the summed loss as in `loss`, and its gradients by all parameters,
    /// multiplied by `scale` and added to `slopes`. With `saves_memory`, only the input of each layer is
    /// kept, and the layer's forward pass is repeated during the backward pass. `may_go_on` is called before
    /// each layer; where it returns false the result is `None`, and `slopes` holds garbage.
    ///
    /// # Errors
    /// As `loss`; or `slopes` has another length than the parameters.
    pub fn accumulate_gradients(
        &self,
        batch: &Batch,
        (scale, saves_memory): (f32, bool),
        slopes: &mut [f32],
        may_go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Option<f64>, TrainerError> {
        if slopes.len() != self.parameters.len() {
            return Err(KernelError::Step("slopes of another network").into());
        }
        self.check(batch)?;
        let angles = self.turning.angles(positions(batch).into_iter());
        let at = self.at(batch, &angles);
        let mut inputs = Vec::new();
        let mut rows = self.embed(&batch.tokens)?;
        for layer in &self.layers {
            if !may_go_on() {
                return Ok(None);
            }
            let (out, held) = layer.forward(&at, &rows)?;
            inputs.push((rows, (!saves_memory).then_some(held)));
            rows = out;
        }
        let (loss, mut out) = self.judge(batch, &rows, Some((scale, slopes)))?;
        for (layer, (rows, held)) in self.layers.iter().zip(inputs).rev() {
            if !may_go_on() {
                return Ok(None);
            }
            let held = match held {
                Some(held) => held,
                None => layer.forward(&at, &rows)?.1,
            };
            out = layer.backward(&at, slopes, (&rows, held), out)?;
        }
        self.embed_backward(&batch.tokens, &out, slopes);
        Ok(Some(loss))
    }

    fn at<'a>(&'a self, batch: &'a Batch, angles: &'a Angles) -> At<'a> {
        At { shape: &self.shape, parameters: &self.parameters, angles, texts: &batch.sequences }
    }

    /// The loss from the last layer's output and, where requested, the gradient of that output.
    fn judge(
        &self,
        batch: &Batch,
        rows: &[f32],
        learns: Option<(f32, &mut [f32])>,
    ) -> Result<(f64, Vec<f32>), TrainerError> {
        let width = self.shape.hidden;
        let row = |(row, _): &(usize, u32)| &rows[row * width..(row + 1) * width];
        let picked: Vec<f32> = batch.targets.iter().flat_map(row).copied().collect();
        let targets: Vec<u32> = batch.targets.iter().map(|(_, token)| *token).collect();
        let norm = self.norm.numbers(&self.parameters)?;
        let norm = (picked.as_slice(), &*norm, self.shape.norm_epsilon);
        let normed = norms_of(norm.0, norm.1, norm.2);
        let weight = self.head()?;
        let head = Head { weight: &weight, width };
        let Some((scale, slopes)) = learns else { return Ok((head.loss(&normed, &targets, None), vec![])) };
        let mut of_normed = vec![0.0; normed.len()];
        let back = Back { scale, rows: &mut of_normed, weight: self.head_slopes(slopes) };
        let loss = head.loss(&normed, &targets, Some(back));
        let mut of_picked = vec![0.0; normed.len()];
        norm_backward(norm, &of_normed, &mut of_picked, self.norm.slopes(slopes));
        let mut out = vec![0.0; rows.len()];
        for ((row, _), slopes) in batch.targets.iter().zip(of_picked.chunks_exact(width)) {
            let out = &mut out[row * width..(row + 1) * width];
            out.iter_mut().zip(slopes).for_each(|(out, slope)| *out += slope);
        }
        Ok((loss, out))
    }

    fn embed_backward(&self, tokens: &[u32], out: &[f32], slopes: &mut [f32]) {
        let Embedding::Trained(range) = &self.embedding else { return };
        let (table, width) = (&mut slopes[range.clone()], self.shape.hidden);
        for (token, out) in tokens.iter().zip(out.chunks_exact(width)) {
            let row = &mut table[*token as usize * width..(*token as usize + 1) * width];
            row.iter_mut().zip(out).for_each(|(row, slope)| *row += slope);
        }
    }
}

/// The position of each token within its sequence.
fn positions(batch: &Batch) -> Vec<usize> {
    batch.sequences.iter().flat_map(|text| 0..text.len()).collect()
}
