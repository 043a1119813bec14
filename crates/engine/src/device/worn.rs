//! LoRA adapters on a device. The A and B matrices of all adapters in a step are concatenated into one pair
//! of products, and a mask keeps for each row its own adapter's part: few large products instead of many
//! small ones.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use candle_core::{DType, Device, Result, Tensor};
use kernels::{Adapter, LoraProjection, Site, StepBatch};

const SITES: [Site; 4] = [Site::Asks, Site::Answers, Site::Up, Site::Down];

/// The LoRA matrices for one projection: the A matrices stacked by rows, the B matrices by columns, and the
/// rank of each adapter.
#[derive(Debug, Clone)]
struct LoraMatrices {
    down: Tensor,
    up: Tensor,
    ranks: Vec<usize>,
}

/// For each layer, the LoRA matrices of each of its projections.
type Layers = Vec<[Option<LoraMatrices>; SITES.len()]>;

/// The adapters that were copied to the device and are still in use, and those of the last step,
/// concatenated.
#[derive(Debug, Default)]
pub(super) struct Brought {
    each: Vec<(Weak<Adapter>, Arc<Layers>)>,
    together: Option<(Vec<Weak<Adapter>>, Arc<Layers>)>,
}

/// The adapters of a step.
#[derive(Debug)]
pub(super) struct Worn {
    layers: Option<Arc<Layers>>,
    /// The rows that have an adapter, where not all rows do.
    rows: Option<Tensor>,
    /// For each of those rows, the index of its adapter.
    whose: Vec<usize>,
    /// Masks by the list of ranks: zero where a column is not of the row's own adapter.
    masks: HashMap<Vec<usize>, Tensor>,
}

/// What a copy to the device needs to know of it and of the model.
#[derive(Debug, Clone, Copy)]
pub(super) struct To<'a> {
    pub device: &'a Device,
    pub work: DType,
    pub layers: usize,
    /// The output width of each projection of a layer.
    pub outputs: [usize; SITES.len()],
}

impl LoraMatrices {
    fn bring(low: &LoraProjection, outputs: usize, to: &To<'_>) -> Result<Self> {
        let down = low.down_matrix();
        let ranks = down.len().checked_div(low.inputs()).unwrap_or_default();
        let up = low.up_matrix(outputs);
        Ok(Self {
            down: Tensor::from_slice(&down, (ranks, low.inputs()), to.device)?.to_dtype(to.work)?,
            up: Tensor::from_vec(up, (outputs, ranks), to.device)?.to_dtype(to.work)?,
            ranks: vec![ranks],
        })
    }

    /// Concatenates several adapters; one that does not change this projection has rank 0.
    fn join(each: &[Option<&Self>]) -> Result<Option<Self>> {
        let there: Vec<&Self> = each.iter().copied().flatten().collect();
        if there.is_empty() {
            return Ok(None);
        }
        let ranks =
            each.iter().map(|matrices| matrices.map_or(0, |matrices| matrices.ranks.iter().sum())).collect();
        let down = Tensor::cat(&there.iter().map(|matrices| &matrices.down).collect::<Vec<_>>(), 0)?;
        let up = Tensor::cat(&there.iter().map(|matrices| &matrices.up).collect::<Vec<_>>(), 1)?;
        Ok(Some(Self { down, up, ranks }))
    }
}

impl Brought {
    /// Drops the adapters that are not used any more.
    pub(super) fn leave(&mut self) {
        self.each.retain(|(adapter, _)| adapter.strong_count() > 0);
        self.together.take_if(|(adapters, _)| adapters.iter().any(|adapter| adapter.strong_count() == 0));
    }

    fn one(&mut self, adapter: &Arc<Adapter>, to: &To<'_>) -> Result<Arc<Layers>> {
        let is_it = |known: &Weak<Adapter>| std::ptr::eq(known.as_ptr(), Arc::as_ptr(adapter));
        if let Some((_, layers)) = self.each.iter().find(|(known, _)| is_it(known)) {
            return Ok(Arc::clone(layers));
        }
        let mut layers = Layers::with_capacity(to.layers);
        for layer in 0..to.layers {
            let mut matrices = [None, None, None, None];
            for ((matrices, site), outputs) in matrices.iter_mut().zip(SITES).zip(to.outputs) {
                *matrices =
                    adapter.low(layer, site).map(|low| LoraMatrices::bring(low, outputs, to)).transpose()?;
            }
            layers.push(matrices);
        }
        let layers = Arc::new(layers);
        self.each.push((Arc::downgrade(adapter), Arc::clone(&layers)));
        Ok(layers)
    }

    fn all(&mut self, adapters: &[&Arc<Adapter>], to: &To<'_>) -> Result<Option<Arc<Layers>>> {
        self.leave();
        let is_same = |known: &[Weak<Adapter>]| {
            known.len() == adapters.len()
                && known
                    .iter()
                    .zip(adapters)
                    .all(|(known, adapter)| std::ptr::eq(known.as_ptr(), Arc::as_ptr(adapter)))
        };
        match adapters {
            [] => return Ok(None),
            [adapter] => return self.one(adapter, to).map(Some),
            _ => {}
        }
        if let Some((_, layers)) = self.together.as_ref().filter(|(known, _)| is_same(known)) {
            return Ok(Some(Arc::clone(layers)));
        }
        let each = adapters.iter().map(|adapter| self.one(adapter, to)).collect::<Result<Vec<_>>>()?;
        let mut layers = Layers::with_capacity(to.layers);
        for layer in 0..to.layers {
            let mut joined = [None, None, None, None];
            for (site, joined) in joined.iter_mut().enumerate() {
                let of = |layers: &'_ Arc<Layers>| -> Option<LoraMatrices> {
                    layers.get(layer)?.get(site)?.clone()
                };
                let matrices: Vec<Option<LoraMatrices>> = each.iter().map(of).collect();
                *joined = LoraMatrices::join(&matrices.iter().map(Option::as_ref).collect::<Vec<_>>())?;
            }
            layers.push(joined);
        }
        let layers = Arc::new(layers);
        let known = adapters.iter().map(|adapter| Arc::downgrade(adapter)).collect();
        self.together = Some((known, Arc::clone(&layers)));
        Ok(Some(layers))
    }
}

impl Worn {
    pub(super) fn of(batch: &StepBatch, brought: &mut Brought, to: &To<'_>) -> Result<Self> {
        let mut adapters: Vec<&Arc<Adapter>> = Vec::new();
        let (mut rows, mut whose, mut row) = (Vec::new(), Vec::new(), 0u32);
        for part in &batch.chunks {
            let which = part.adapter.as_ref().map(|adapter| {
                adapters.iter().position(|known| Arc::ptr_eq(known, adapter)).unwrap_or_else(|| {
                    adapters.push(adapter);
                    adapters.len() - 1
                })
            });
            for _ in &part.tokens {
                if let Some(which) = which {
                    rows.push(row);
                    whose.push(which);
                }
                row += 1;
            }
        }
        let layers = brought.all(&adapters, to)?;
        let is_all = rows.len() == row as usize;
        let rows = if is_all || rows.is_empty() { None } else { Some(Tensor::new(rows, to.device)?) };
        let mut worn = Self { layers, rows, whose, masks: HashMap::new() };
        worn.make_masks(to)?;
        Ok(worn)
    }

    fn make_masks(&mut self, to: &To<'_>) -> Result<()> {
        let Some(layers) = &self.layers else { return Ok(()) };
        for matrices in layers.iter().flatten().flatten().filter(|matrices| matrices.ranks.len() > 1) {
            if self.masks.contains_key(&matrices.ranks) {
                continue;
            }
            let all: usize = matrices.ranks.iter().sum();
            let mut mask = Vec::with_capacity(self.whose.len() * all);
            for whose in &self.whose {
                let each = matrices.ranks.iter().enumerate();
                mask.extend(each.flat_map(|(adapter, rank)| {
                    std::iter::repeat_n(if adapter == *whose { 1.0f32 } else { 0.0 }, *rank)
                }));
            }
            let mask = Tensor::from_vec(mask, (self.whose.len(), all), to.device)?.to_dtype(to.work)?;
            self.masks.insert(matrices.ranks.clone(), mask);
        }
        Ok(())
    }

    /// Adds the LoRA update of each row's adapter to the output of a projection. Rows without an adapter are
    /// left as they are.
    pub(super) fn add(&self, outputs: Tensor, inputs: &Tensor, layer: usize, site: Site) -> Result<Tensor> {
        let matrices = self.layers.as_ref().and_then(|layers| layers.get(layer)).and_then(|matrices| {
            let at = SITES.iter().position(|known| *known == site)?;
            matrices.get(at)?.as_ref()
        });
        let Some(matrices) = matrices else { return Ok(outputs) };
        let few = match &self.rows {
            Some(rows) => inputs.index_select(rows, 0)?.matmul(&matrices.down.t()?)?,
            None => inputs.matmul(&matrices.down.t()?)?,
        };
        let few = match self.masks.get(&matrices.ranks) {
            Some(mask) => (few * mask)?,
            None => few,
        };
        let more = few.matmul(&matrices.up.t()?)?;
        match &self.rows {
            Some(rows) => outputs.index_add(rows, &more, 0),
            None => outputs + more,
        }
    }
}
