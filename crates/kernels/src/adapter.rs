//! A LoRA adapter in memory: what it adds to each projection of a model.

use crate::error::KernelError;
use crate::lora::LoraProjection;
use crate::shape::Architecture;

/// A LoRA adapter in memory. The model applies it, in its own forward pass.
#[derive(Debug)]
pub struct Adapter {
    of: Of,
    layers: Vec<Sites>,
    rank: usize,
    bytes: u64,
    /// A digest of the files that it was read from.
    pub digest: u128,
    /// The registration that it belongs to: unique among all adapters of a registry, and new each time one is
    /// replaced.
    pub generation: u64,
}

/// By identity: two adapters with the same contents are different.
impl PartialEq for Adapter {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Adapter {}

/// The fused projections of a layer that adapters add to: query/key/value, attention output, gate/up and
/// down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Site {
    Asks,
    Answers,
    Up,
    Down,
}

/// The LoRA updates of one layer's projections.
#[derive(Debug, Default)]
struct Sites {
    qkv: Option<LoraProjection>,
    answers: Option<LoraProjection>,
    up: Option<LoraProjection>,
    down: Option<LoraProjection>,
}

/// The dimensions of the base model that an adapter has to match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Of {
    layers: usize,
    hidden: usize,
    queries: usize,
    kv: usize,
    inner: usize,
}

impl Of {
    const fn new(shape: &Architecture) -> Self {
        Self {
            layers: shape.layers,
            hidden: shape.hidden,
            queries: shape.query_width(),
            kv: shape.kv_width(),
            inner: shape.inner,
        }
    }
}

impl Adapter {
    /// An adapter that changes nothing yet, for a model of this shape.
    pub fn new(shape: &Architecture) -> Self {
        let mut layers = Vec::new();
        layers.resize_with(shape.layers, Sites::default);
        Self { of: Of::new(shape), layers, rank: 0, bytes: 0, digest: 0, generation: 0 }
    }

    /// Sets what is added to the output of a projection.
    ///
    /// # Errors
    /// The model has no such layer.
    pub fn set(&mut self, layer: usize, site: Site, low: LoraProjection) -> Result<(), KernelError> {
        let sites = self.layers.get_mut(layer).ok_or(KernelError::Step("a layer that is not there"))?;
        self.bytes += low.bytes();
        self.rank = self.rank.max(low.rank());
        match site {
            Site::Asks => sites.qkv = Some(low),
            Site::Answers => sites.answers = Some(low),
            Site::Up => sites.up = Some(low),
            Site::Down => sites.down = Some(low),
        }
        Ok(())
    }

    /// The highest rank among its LoRA matrices.
    pub const fn rank(&self) -> usize {
        self.rank
    }

    /// Its size in memory.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn fits(&self, shape: &Architecture) -> bool {
        self.of == Of::new(shape)
    }

    pub fn low(&self, layer: usize, site: Site) -> Option<&LoraProjection> {
        let sites = self.layers.get(layer)?;
        match site {
            Site::Asks => sites.qkv.as_ref(),
            Site::Answers => sites.answers.as_ref(),
            Site::Up => sites.up.as_ref(),
            Site::Down => sites.down.as_ref(),
        }
    }
}
