//! A model on candle tensors: the backend for accelerators, which also runs on the CPU.
#![expect(
    clippy::cast_possible_truncation,
    reason = "scales are worked out in double precision and used in single"
)]

#[cfg(all(any(feature = "metal", feature = "accelerate"), not(target_os = "macos")))]
compile_error!("the features `metal` and `accelerate` are for Macs: build without them elsewhere");

mod attention;
#[cfg(feature = "metal")]
mod fused;
mod layer;
mod mixture;
mod pool;
mod processor;
mod product;
mod worn;

use candle_core::{DType, Device, Tensor};
use candle_nn::ops::rms_norm;
use kernels::{Architecture, KernelError, KvDtype, RotaryEmbedding, StepBatch, StepOutput, mixed};
use weights::Source;

pub use self::pool::DevicePool;
pub use self::processor::Processor;

use self::attention::AttentionPlan;
use self::layer::Layer;
use self::pool::CacheWrites;
use self::product::{Origin, Product, Table, Weights, kind_of};
use self::worn::{To, Worn};
use crate::EngineError;

/// A model's weights on a device. It holds no state of sequences: that is the KV cache's, in `DevicePool`.
#[derive(Debug)]
pub struct DeviceModel {
    shape: Architecture,
    turning: RotaryEmbedding,
    device: Device,
    work: DType,
    table: Table,
    layers: Vec<Layer>,
    norm: Tensor,
    head: Product,
}

/// What all layers share in a step: RoPE angles, KV cache slots, adapters.
#[derive(Debug)]
struct Step {
    cosines: Tensor,
    sines: Tensor,
    keeping: CacheWrites,
    seeing: AttentionPlan,
    worn: Worn,
}

/// Copies a tensor to the host, in single precision.
fn numbers(tensor: &Tensor) -> Result<Vec<f32>, EngineError> {
    Ok(tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}

impl DeviceModel {
    /// # Errors
    /// The build has no such device or there is none, or the weights don't match the shape.
    pub fn load(source: &Source, processor: Processor) -> Result<Self, EngineError> {
        let device = processor.open()?.ok_or(KernelError::Step("a device without tensors"))?;
        let work = match source.plain_kind() {
            Some(kind) if !device.is_cpu() => kind_of(kind),
            _ => DType::F32,
        };
        let weights = Weights { origin: Origin::Files(source), device: &device, work };
        Self::of(source.shape().clone(), &weights)
    }

    /// A model of random weights, generated on the device: for benchmarks.
    ///
    /// # Errors
    /// The build has no such device, there is none, or it is out of memory.
    pub fn drawn(shape: Architecture, kind: DType, processor: Processor) -> Result<Self, EngineError> {
        let device = processor.open()?.ok_or(KernelError::Step("a device without tensors"))?;
        let work = if device.is_cpu() { DType::F32 } else { kind };
        Self::of(shape.checked()?, &Weights { origin: Origin::Drawn(kind), device: &device, work })
    }

    fn of(shape: Architecture, weights: &Weights<'_>) -> Result<Self, EngineError> {
        let (table, tied) = weights.table(&shape)?;
        let layers = (0..shape.layers).map(|index| Layer::load(weights, &shape, index));
        let layers = layers.collect::<Result<_, _>>()?;
        let head = if shape.is_tied { tied } else { layer::head(weights, &shape)? };
        let norm = weights.vector(("model.norm", "output_norm"), shape.hidden)?;
        let turning = RotaryEmbedding::new(&shape.rope, shape.head_dim);
        let (device, work) = (weights.device.clone(), weights.work);
        Ok(Self { shape, turning, device, work, table, layers, norm, head })
    }

    pub const fn shape(&self) -> &Architecture {
        &self.shape
    }

    pub const fn device(&self) -> &Device {
        &self.device
    }

    /// The dtype of the computation.
    pub const fn work(&self) -> DType {
        self.work
    }

    /// The bytes of weights that are read to decode one token.
    pub fn read_bytes(&self) -> u64 {
        self.layers.iter().map(Layer::bytes).sum::<u64>() + self.head.bytes()
    }

    /// Allocates the KV cache on the device.
    ///
    /// # Errors
    /// The device is out of memory, or does not support this KV dtype.
    pub fn pool(&self, keeps: KvDtype, blocks: usize) -> Result<DevicePool, EngineError> {
        let kind = DevicePool::kind_of(keeps, self.work);
        let kind = kind.ok_or_else(|| Processor::of(&self.device).keeps_none())?;
        Ok(DevicePool::new(&self.shape, kind, blocks, &self.device)?)
    }

    /// Runs one step. Returns a row of logits for each token from `output_from` of its part on, in order; for
    /// parts that `outputs` marks as `HiddenState`, the final hidden state instead.
    ///
    /// # Errors
    /// The step has an unknown token or block, or a position beyond the context. Or the device failed.
    pub fn step_with_outputs(
        &self,
        batch: &StepBatch,
        outputs: &[StepOutput],
        pool: &mut DevicePool,
    ) -> Result<Vec<f32>, EngineError> {
        batch.check(&self.shape)?;
        pool.sound()?;
        let tokens: Vec<u32> = batch.chunks.iter().flat_map(|part| &part.tokens).copied().collect();
        if tokens.is_empty() {
            return Ok(Vec::new());
        }
        let step = self.prepare(batch, pool)?;
        let mut rows = self.table.rows(&tokens, &self.device, self.work)?;
        for (index, layer) in self.layers.iter().enumerate() {
            rows = layer.apply(rows, index, &self.shape, &step, pool)?;
        }
        let output_rows: Vec<u32> =
            batch.output_rows().into_iter().filter_map(|row| u32::try_from(row).ok()).collect();
        if output_rows.is_empty() {
            return Ok(Vec::new());
        }
        if output_rows.len() < tokens.len() {
            rows = rows.index_select(&Tensor::new(output_rows, &self.device)?, 0)?;
        }
        let normed = rms_norm(&rows, &self.norm, self.shape.norm_epsilon as f32)?;
        if outputs.contains(&StepOutput::HiddenState) {
            let head = |rows: &[f32]| {
                let width = self.shape.hidden;
                let rows = Tensor::from_slice(rows, (rows.len() / width, width), &self.device)?;
                numbers(&self.head.apply(&rows.to_dtype(normed.dtype())?)?)
            };
            return mixed(&numbers(&normed)?, &self.shape, (batch, outputs), head);
        }
        numbers(&self.head.apply(&normed)?)
    }

    /// Like `step_with_outputs`, with logits for all.
    ///
    /// # Errors
    /// As `step_with_outputs`.
    pub fn step(&self, batch: &StepBatch, pool: &mut DevicePool) -> Result<Vec<f32>, EngineError> {
        self.step_with_outputs(batch, &[], pool)
    }

    fn prepare(&self, batch: &StepBatch, pool: &mut DevicePool) -> Result<Step, EngineError> {
        let positions = batch.positions();
        let angles = self.turning.angles(positions.iter().map(|(_, position)| *position));
        let (cosines, sines) = angles.all();
        let angles = |angles: &[f32]| {
            Tensor::from_slice(angles, (positions.len(), self.shape.head_dim / 2), &self.device)
        };
        let shape = &self.shape;
        let outputs =
            [shape.query_width() + 2 * shape.kv_width(), shape.hidden, 2 * shape.inner, shape.hidden];
        let to = To { device: &self.device, work: self.work, layers: shape.layers, outputs };
        Ok(Step {
            cosines: angles(cosines)?,
            sines: angles(sines)?,
            keeping: CacheWrites::of(batch, pool)?,
            seeing: AttentionPlan::of(batch, shape, pool)?,
            worn: Worn::of(batch, &mut pool.brought, &to)?,
        })
    }
}
