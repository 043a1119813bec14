//! LoRA adapters: low-rank updates of a base model's projections, chosen per request by name. They are read
//! in PEFT's format.

mod batch;
mod begun;
mod config;
mod names;
mod read;
mod registry;

use crate::Architecture;
use crate::kernels::LoraProjection;

pub(crate) use batch::BatchAdapters;
pub use begun::InitialAdapter;
pub use registry::{AdapterId, AdapterRead, AdapterReadResult, AdapterStatus, RegisterOptions};
pub(crate) use registry::{AdapterRegistry, Residency};

/// Limits on the adapters of a runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most adapters that may be registered.
    pub registered: usize,
    /// The most of them that may be in memory at once.
    pub resident: usize,
    pub resident_bytes: u64,
    /// The highest LoRA rank.
    pub rank: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { registered: 32, resident: 16, resident_bytes: 8 << 30, rank: 256 }
    }
}

/// A LoRA adapter in memory. The model applies it, in its own forward pass.
#[derive(Debug)]
pub struct Adapter {
    of: Of,
    layers: Vec<Sites>,
    rank: usize,
    bytes: u64,
    digest: u128,
    /// The registration that it belongs to: unique among all adapters of a `AdapterRegistry`, and new each time one is
    /// replaced.
    generation: u64,
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
pub(crate) enum Site {
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
    /// The highest rank among its LoRA matrices.
    #[must_use]
    pub const fn rank(&self) -> usize {
        self.rank
    }

    /// Its size in memory.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) const fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn fits(&self, shape: &Architecture) -> bool {
        self.of == Of::new(shape)
    }

    pub(crate) fn low(&self, layer: usize, site: Site) -> Option<&LoraProjection> {
        let sites = self.layers.get(layer)?;
        match site {
            Site::Asks => sites.qkv.as_ref(),
            Site::Answers => sites.answers.as_ref(),
            Site::Up => sites.up.as_ref(),
            Site::Down => sites.down.as_ref(),
        }
    }
}
