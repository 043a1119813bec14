//! A model together with its backend, and the KV cache there.

use std::sync::Arc;

use kernels::{Architecture, KernelError, KvCache, KvDtype, Model, StepBatch, StepOutput};
use weights::{Source, load_model};

use crate::EngineError;
use crate::device::{DeviceModel, DevicePool, Processor};

/// A model, on our own CPU kernels or as tensors on a device.
#[derive(Debug, Clone)]
pub enum Backend {
    Own(Arc<Model>),
    Device(Arc<DeviceModel>),
}

/// A KV cache; it belongs to the backend that made it.
#[derive(Debug)]
pub enum BackendCache {
    Own(KvCache),
    Device(DevicePool),
}

impl From<Arc<Model>> for Backend {
    fn from(model: Arc<Model>) -> Self {
        Self::Own(model)
    }
}

impl From<Arc<DeviceModel>> for Backend {
    fn from(model: Arc<DeviceModel>) -> Self {
        Self::Device(model)
    }
}

impl Backend {
    /// # Errors
    /// The device does not exist here, or the weights are invalid.
    pub fn load(source: &Source, processor: Processor) -> Result<Self, EngineError> {
        Ok(match processor {
            Processor::Own => Self::Own(Arc::new(load_model(source)?)),
            _ => Self::Device(Arc::new(DeviceModel::load(source, processor)?)),
        })
    }

    pub fn shape(&self) -> &Architecture {
        match self {
            Self::Own(model) => model.shape(),
            Self::Device(model) => model.shape(),
        }
    }

    /// Allocates a KV cache of this many blocks on the model's backend.
    ///
    /// # Errors
    /// There is not enough memory.
    pub fn allocate_cache(&self, keeps: KvDtype, blocks: usize) -> Result<BackendCache, EngineError> {
        Ok(match self {
            Self::Own(model) => BackendCache::Own(KvCache::new(model.shape(), keeps, blocks)),
            Self::Device(model) => BackendCache::Device(model.pool(keeps, blocks)?),
        })
    }

    /// Runs one step. Returns a row of logits for each token from `output_from` of its part on, in order.
    ///
    /// # Errors
    /// The step names something that does not exist, or the device failed.
    pub fn step(&self, batch: &StepBatch, memory: &mut BackendCache) -> Result<Vec<f32>, EngineError> {
        self.step_with_outputs(batch, &[], memory)
    }

    /// Like `step`, but `outputs` chooses what is returned for each part; parts without an entry return logits.
    pub fn step_with_outputs(
        &self,
        batch: &StepBatch,
        outputs: &[StepOutput],
        memory: &mut BackendCache,
    ) -> Result<Vec<f32>, EngineError> {
        match (self, memory) {
            (Self::Own(model), BackendCache::Own(pool)) => Ok(model.step_with_outputs(batch, outputs, pool)?),
            (Self::Device(model), BackendCache::Device(pool)) => {
                model.step_with_outputs(batch, outputs, pool)
            }
            _ => Err(KernelError::Step("the KV cache belongs to another backend").into()),
        }
    }

    /// The row of the output head for a token.
    ///
    /// # Errors
    /// The head has no such row, or it can't be unpacked.
    pub(crate) fn head_row(&self, source: &Source, token: u32) -> Result<Vec<f32>, EngineError> {
        Ok(match self {
            Self::Own(model) => model.head_row(token)?,
            // Called twice for a model when it is loaded and never while it serves, so its files are read
            // again.
            Self::Device(model) => {
                let shape = model.shape();
                let table = source.embedding(shape)?;
                source.head(shape, &table)?.row(token, shape.hidden)?
            }
        })
    }
}

impl BackendCache {
    pub const fn blocks(&self) -> usize {
        match self {
            Self::Own(pool) => pool.blocks(),
            Self::Device(pool) => pool.blocks(),
        }
    }

    /// Appends the bytes of a block, or none where blocks can't be copied.
    pub(crate) fn copy_block(&self, block: u32, into: &mut Vec<u8>) {
        if let Self::Own(pool) = self {
            pool.copy_block(block, into);
        }
    }

    /// Overwrites a block with a copy; `false` if it does not fit.
    pub(crate) fn restore_block(&mut self, block: u32, copy: &[u8]) -> bool {
        match self {
            Self::Own(pool) => pool.restore_block(block, copy),
            Self::Device(_) => false,
        }
    }

    /// Zeroes these blocks. If a device fails to, its later steps return the error.
    pub(crate) fn wipe(&mut self, blocks: &[u32]) {
        match self {
            Self::Own(pool) => pool.wipe(blocks),
            Self::Device(pool) => pool.wipe(blocks),
        }
    }
}
