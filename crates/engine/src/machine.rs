//! A model on whatever computes it, and what it remembers there.

use std::sync::Arc;

use crate::batch::Ragged;
use crate::device::{DeviceModel, DevicePool, Processor};
use crate::model::Tells;
use crate::pool::{Keeps, Pool};
use crate::{EngineError, Model, Shape, Source};

/// A model, by kernels of ours or by tensors.
#[derive(Debug, Clone)]
pub enum Machine {
    Own(Arc<Model>),
    Device(Arc<DeviceModel>),
}

/// What a machine remembers of texts; a machine's own.
#[derive(Debug)]
pub enum Memory {
    Own(Pool),
    Device(DevicePool),
}

impl From<Arc<Model>> for Machine {
    fn from(model: Arc<Model>) -> Self {
        Self::Own(model)
    }
}

impl From<Arc<DeviceModel>> for Machine {
    fn from(model: Arc<DeviceModel>) -> Self {
        Self::Device(model)
    }
}

impl Machine {
    /// # Errors
    /// There is no such device here, or the weights are not what they should be.
    pub fn load(source: &Source, processor: Processor) -> Result<Self, EngineError> {
        Ok(match processor {
            Processor::Own => Self::Own(Arc::new(Model::load(source)?)),
            _ => Self::Device(Arc::new(DeviceModel::load(source, processor)?)),
        })
    }

    #[must_use]
    pub fn shape(&self) -> &Shape {
        match self {
            Self::Own(model) => model.shape(),
            Self::Device(model) => model.shape(),
        }
    }

    /// Room for a number of blocks, where the model is.
    ///
    /// # Errors
    /// There is no room for them.
    pub fn memory(&self, keeps: Keeps, blocks: usize) -> Result<Memory, EngineError> {
        Ok(match self {
            Self::Own(model) => Memory::Own(Pool::new(model.shape(), keeps, blocks)),
            Self::Device(model) => Memory::Device(model.pool(keeps, blocks)?),
        })
    }

    /// One step. What is told is a row of the vocabulary for each token from `told_from` of its part on, in order.
    ///
    /// # Errors
    /// The step names what is not there, or the device failed.
    pub fn step(&self, batch: &Ragged, memory: &mut Memory) -> Result<Vec<f32>, EngineError> {
        self.step_telling(batch, &[], memory)
    }

    /// The same, where `tells` says for each part what is told of it; scores, of parts that it says nothing of.
    ///
    /// # Errors
    /// As `step`.
    pub fn step_telling(
        &self,
        batch: &Ragged,
        tells: &[Tells],
        memory: &mut Memory,
    ) -> Result<Vec<f32>, EngineError> {
        match (self, memory) {
            (Self::Own(model), Memory::Own(pool)) => model.step_telling(batch, tells, pool),
            (Self::Device(model), Memory::Device(pool)) => model.step_telling(batch, tells, pool),
            _ => Err(EngineError::Step("what another machine remembers")),
        }
    }

    /// What the head has for a token.
    ///
    /// # Errors
    /// The head has no such row, or it can't be unpacked.
    pub(crate) fn head_row(&self, source: &Source, token: u32) -> Result<Vec<f32>, EngineError> {
        match self {
            Self::Own(model) => model.head_row(token),
            // Asked twice of a model, and never while it serves: its files are read once more for it.
            Self::Device(model) => {
                let shape = model.shape();
                let table = source.embedding(shape)?;
                source.head(shape, &table)?.row(token, shape.hidden)
            }
        }
    }
}

impl Memory {
    #[must_use]
    pub const fn blocks(&self) -> usize {
        match self {
            Self::Own(pool) => pool.blocks(),
            Self::Device(pool) => pool.blocks(),
        }
    }

    /// Leaves nothing of what these blocks had. A device that fails at it computes nothing any more.
    pub(crate) fn wipe(&mut self, blocks: &[u32]) {
        match self {
            Self::Own(pool) => pool.wipe(blocks),
            Self::Device(pool) => pool.wipe(blocks),
        }
    }
}
