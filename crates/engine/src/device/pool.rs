//! The paged KV cache on a device: keys and values of every layer, in blocks of a fixed size.

use candle_core::{DType, Device, Result, Tensor};
use kernels::{Architecture, BLOCK, KernelError, KvDtype, StepBatch};

use super::worn::Brought;
use crate::EngineError;

/// A number of KV cache blocks on a device. The caller keeps track of which sequence has which block.
#[derive(Debug)]
pub struct DevicePool {
    /// Keys and values of each layer, `[blocks, 16, kv_heads, head_dim]` flattened to two dimensions: a row
    /// for each position.
    layers: Vec<(Tensor, Tensor)>,
    blocks: usize,
    width: usize,
    kind: DType,
    device: Device,
    /// An error of `wipe`. The next step returns it instead of computing.
    fault: Option<EngineError>,
    /// The adapters that are on the device.
    pub(super) brought: Brought,
}

/// Consecutive rows of a step that go to consecutive slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    row: usize,
    slot: usize,
    count: usize,
}

/// Where a step's keys and values are written.
#[derive(Debug)]
pub(super) struct CacheWrites {
    /// Long runs are written by a copy each.
    runs: Vec<Run>,
    /// All other rows are scattered: their indices, where they are not all rows, and the slot of each of
    /// their elements.
    others: Option<(Option<Tensor>, Tensor)>,
}

/// Runs of at least this many rows are copied.
const LONG: usize = BLOCK;

impl DevicePool {
    pub(super) fn new(shape: &Architecture, kind: DType, blocks: usize, device: &Device) -> Result<Self> {
        let width = shape.kv_width();
        let side = || Tensor::zeros((blocks * BLOCK, width), kind, device);
        let layers = (0..shape.layers).map(|_| Ok((side()?, side()?))).collect::<Result<_>>()?;
        let (device, brought) = (device.clone(), Brought::default());
        Ok(Self { layers, blocks, width, kind, device, fault: None, brought })
    }

    /// The dtype of the cache; `None` where tensors have none (8 bits with scales).
    pub(super) const fn kind_of(keeps: KvDtype, work: DType) -> Option<DType> {
        match (keeps, work) {
            (KvDtype::F32, _) => Some(DType::F32),
            (KvDtype::F16, DType::BF16) => Some(DType::BF16),
            (KvDtype::F16, _) => Some(DType::F16),
            (KvDtype::Q8, _) => None,
        }
    }

    pub const fn blocks(&self) -> usize {
        self.blocks
    }

    #[cfg(feature = "flash-attn")]
    pub(super) const fn kind(&self) -> DType {
        self.kind
    }

    pub(super) const fn device(&self) -> &Device {
        &self.device
    }

    pub(super) fn layer(&self, layer: usize) -> std::result::Result<&(Tensor, Tensor), EngineError> {
        self.layers.get(layer).ok_or(EngineError::Kernel(KernelError::Step("a layer that is not there")))
    }

    /// Returns the error of an earlier `wipe`, if any.
    pub(super) fn sound(&mut self) -> std::result::Result<(), EngineError> {
        self.fault.take().map_or(Ok(()), Err)
    }

    /// Zeroes these blocks.
    pub(crate) fn wipe(&mut self, blocks: &[u32]) {
        self.brought.leave();
        let mut blocks: Vec<usize> = blocks.iter().map(|block| *block as usize).collect();
        blocks.sort_unstable();
        let slots = blocks.iter().flat_map(|block| block * BLOCK..(block + 1) * BLOCK);
        for run in runs(slots) {
            if let Err(error) = self.wipe_run(run) {
                self.fault = Some(error.into());
                return;
            }
        }
    }

    fn wipe_run(&self, run: Run) -> Result<()> {
        let zeros = Tensor::zeros((run.count, self.width), self.kind, &self.device)?;
        for (keys, values) in &self.layers {
            keys.slice_set(&zeros, 0, run.slot)?;
            values.slice_set(&zeros, 0, run.slot)?;
        }
        Ok(())
    }
}

/// The slot of a sequence's position.
pub(super) fn slot(blocks: &[u32], position: usize) -> Option<usize> {
    blocks.get(position / BLOCK).map(|block| *block as usize * BLOCK + position % BLOCK)
}

/// Groups slots, in the order of their rows, into runs.
fn runs(slots: impl Iterator<Item = usize>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (row, slot) in slots.enumerate() {
        match runs.last_mut() {
            Some(run) if run.slot + run.count == slot => run.count += 1,
            _ => runs.push(Run { row, slot, count: 1 }),
        }
    }
    runs
}

impl CacheWrites {
    pub(super) fn of(batch: &StepBatch, pool: &DevicePool) -> std::result::Result<Self, EngineError> {
        let mut slots = Vec::with_capacity(batch.rows());
        for (part, position) in batch.positions() {
            let slot = batch.chunks.get(part).and_then(|part| slot(&part.blocks, position));
            let slot = slot.ok_or(KernelError::Step("a text without room in the pool"))?;
            if slot >= pool.blocks * BLOCK {
                return Err(KernelError::Step("a block that is not there").into());
            }
            slots.push(slot);
        }
        let count = slots.len();
        let (runs, others): (Vec<Run>, Vec<Run>) =
            runs(slots.into_iter()).into_iter().partition(|run| run.count >= LONG);
        if others.is_empty() {
            return Ok(Self { runs, others: None });
        }
        let number = |number: usize| {
            u32::try_from(number)
                .map_err(|_| EngineError::Kernel(KernelError::Step("a place beyond all pools")))
        };
        let (mut rows, mut slots) = (Vec::new(), Vec::new());
        for run in others {
            for step in 0..run.count {
                rows.push(number(run.row + step)?);
                slots.push(number(run.slot + step)?);
            }
        }
        let device = &pool.device;
        let slots = Tensor::from_vec(slots, (rows.len(), 1), device)?;
        let slots = slots.broadcast_as((rows.len(), pool.width))?.contiguous()?;
        let rows = if rows.len() == count { None } else { Some(Tensor::new(rows, device)?) };
        Ok(Self { runs, others: Some((rows, slots)) })
    }

    /// Writes a step's keys or values into a layer's cache.
    pub(super) fn keep(&self, numbers: &Tensor, kept: &Tensor) -> Result<()> {
        let numbers = numbers.to_dtype(kept.dtype())?.contiguous()?;
        for run in &self.runs {
            kept.slice_set(&numbers.narrow(0, run.row, run.count)?, 0, run.slot)?;
        }
        match &self.others {
            None => Ok(()),
            Some((None, slots)) => kept.scatter_set(slots, &numbers, 0),
            Some((Some(rows), slots)) => kept.scatter_set(slots, &numbers.index_select(rows, 0)?, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_each_other_is_a_run() {
        let run = |row, slot, count| Run { row, slot, count };
        assert_eq!(runs([4, 5, 6, 2, 3, 9].into_iter()), [run(0, 4, 3), run(3, 2, 2), run(5, 9, 1)]);
        assert!(runs(std::iter::empty()).is_empty());
    }
}
