//! Adapters: few numbers beside a model's own, by which it says something else for whoever asks for them. They are read
//! as PEFT writes them.

mod begun;
mod config;
mod names;
mod read;
mod shelf;
mod worn;

use crate::Shape;
use crate::kernels::Low;

pub use begun::Begun;
pub use shelf::{AdapterId, AdapterStatus, Read, Reading, Registering};
pub(crate) use shelf::{Shelf, Wanted};
pub(crate) use worn::Worn;

/// What of adapters there may be at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Those that are known by name.
    pub registered: usize,
    /// Those of them that are in memory.
    pub resident: usize,
    pub resident_bytes: u64,
    /// The most numbers that a change may go through.
    pub rank: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { registered: 32, resident: 16, resident_bytes: 8 << 30, rank: 256 }
    }
}

/// An adapter in memory. What it makes of a text is the model's to compute.
#[derive(Debug)]
pub struct Adapter {
    of: Of,
    layers: Vec<Sites>,
    rank: usize,
    bytes: u64,
    digest: u128,
    /// A number that no other adapter of a shelf had, nor this one before it was replaced.
    generation: u64,
}

/// One adapter is itself alone, whatever is in it.
impl PartialEq for Adapter {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Adapter {}

/// The products of a layer that adapters add to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Site {
    Asks,
    Answers,
    Up,
    Down,
}

/// What is added to each product of a layer.
#[derive(Debug, Default)]
struct Sites {
    asks: Option<Low>,
    answers: Option<Low>,
    up: Option<Low>,
    down: Option<Low>,
}

/// The model that an adapter is made for, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Of {
    layers: usize,
    hidden: usize,
    queries: usize,
    kv: usize,
    inner: usize,
}

impl Of {
    const fn new(shape: &Shape) -> Self {
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
    /// The highest rank of its parts.
    #[must_use]
    pub const fn rank(&self) -> usize {
        self.rank
    }

    /// What it takes in memory.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) const fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn fits(&self, shape: &Shape) -> bool {
        self.of == Of::new(shape)
    }

    pub(crate) fn low(&self, layer: usize, site: Site) -> Option<&Low> {
        let sites = self.layers.get(layer)?;
        match site {
            Site::Asks => sites.asks.as_ref(),
            Site::Answers => sites.answers.as_ref(),
            Site::Up => sites.up.as_ref(),
            Site::Down => sites.down.as_ref(),
        }
    }
}
