//! A model: its weights, and one way over them for whatever a step holds.

use crate::adapters::{Site, Worn};
use crate::batch::Ragged;
use crate::kernels::{Attending, add, attend, gated, norm, norm_rows, turn};
use crate::linear::Linear;
use crate::pool::{BLOCK, Pool};
use crate::rope::{Angles, Turning};
use crate::weights::{Rows, Source};
use crate::{EngineError, Shape};

/// Nothing of a text is in it: what texts leave behind is in the pool.
#[derive(Debug)]
pub struct Model {
    shape: Shape,
    turning: Turning,
    embedding: Rows,
    layers: Vec<Layer>,
    norm: Vec<f32>,
    head: Linear,
}

#[derive(Debug)]
pub(crate) struct Layer {
    pub before_attention: Vec<f32>,
    /// Queries, keys and values, of one product.
    pub asks: Linear,
    /// The norms of queries' and of keys' heads.
    pub head_norms: Option<(Vec<f32>, Vec<f32>)>,
    pub answers: Linear,
    pub before_dense: Vec<f32>,
    pub dense: Dense,
}

#[derive(Debug)]
pub(crate) enum Dense {
    One(Pair),
    Mixture { router: Linear, experts: Vec<Pair>, chosen: usize, is_normed: bool },
}

/// The two products of a dense part: gates and ups of one, and back.
#[derive(Debug)]
pub(crate) struct Pair {
    pub up: Linear,
    pub down: Linear,
    pub inner: usize,
}

impl Model {
    /// # Errors
    /// The weights lack what the shape wants, or have it otherwise.
    pub fn load(source: &Source) -> Result<Self, EngineError> {
        let shape = source.shape().clone();
        let layers = (0..shape.layers).map(|index| source.layer(&shape, index)).collect::<Result<_, _>>()?;
        let embedding = source.embedding(&shape)?;
        let head = source.head(&shape, &embedding)?;
        let turning = Turning::new(&shape.rope, shape.head_dim);
        Ok(Self { turning, embedding, layers, norm: source.last_norm(&shape)?, head, shape })
    }

    #[must_use]
    pub const fn shape(&self) -> &Shape {
        &self.shape
    }

    /// One step. What is told is a row of the vocabulary for each token from `told_from` of its part on, in order.
    ///
    /// # Errors
    /// The step names what is not there: a token, a block, a place beyond the context.
    pub fn step(&self, batch: &Ragged, pool: &mut Pool) -> Result<Vec<f32>, EngineError> {
        self.check(batch)?;
        let places = batch.places();
        let angles = self.turning.angles(places.iter().map(|(_, place)| *place));
        let tokens = batch.parts.iter().flat_map(|part| &part.tokens);
        let mut rows = self.embedding.rows(tokens.copied())?;
        let worn = Worn::of(batch);
        for (index, layer) in self.layers.iter().enumerate() {
            let normed = norm_rows(&rows, &layer.before_attention, self.shape.norm_epsilon);
            let mut asked = layer.asks.apply(&normed, self.shape.hidden)?;
            worn.add(&mut asked, &normed, index, Site::Asks);
            let queries = self.ask(layer, (index, &places), &asked, &angles, batch, pool)?;
            let at = Attending { shape: &self.shape, pool, layer: index, batch, places: &places };
            let attended = attend(&at, &queries);
            let mut answers = layer.answers.apply(&attended, self.shape.query_width())?;
            worn.add(&mut answers, &attended, index, Site::Answers);
            add(&mut rows, &answers);
            let normed = norm_rows(&rows, &layer.before_dense, self.shape.norm_epsilon);
            layer.dense.add_to(&mut rows, &normed, self.shape.hidden, (&worn, index))?;
        }
        let mut told = Vec::new();
        for row in batch.told() {
            let row = row * self.shape.hidden..(row + 1) * self.shape.hidden;
            told.extend_from_slice(rows.get(row).unwrap_or_default());
        }
        if told.is_empty() {
            return Ok(told);
        }
        let normed = norm_rows(&told, &self.norm, self.shape.norm_epsilon);
        self.head.apply(&normed, self.shape.hidden)
    }

    fn check(&self, batch: &Ragged) -> Result<(), EngineError> {
        for part in &batch.parts {
            if part.end() > self.shape.context {
                return Err(EngineError::Step("a place beyond the context"));
            }
            if part.end() > part.blocks.len() * BLOCK {
                return Err(EngineError::Step("a text without room in the pool"));
            }
            if part.tokens.iter().any(|token| *token as usize >= self.shape.vocabulary) {
                return Err(EngineError::Step("a token that is not in the vocabulary"));
            }
            if part.adapter.as_ref().is_some_and(|adapter| !adapter.fits(&self.shape)) {
                return Err(EngineError::Step("an adapter of another model"));
            }
        }
        Ok(())
    }

    /// Norms and turns what was asked, keeps keys and values, and gives the queries.
    fn ask(
        &self,
        layer: &Layer,
        (index, places): (usize, &[(usize, usize)]),
        asked: &[f32],
        angles: &Angles,
        batch: &Ragged,
        pool: &mut Pool,
    ) -> Result<Vec<f32>, EngineError> {
        let Shape { head_dim, pairs, norm_epsilon, .. } = self.shape;
        let (query_width, kv_width) = (self.shape.query_width(), self.shape.kv_width());
        let mut queries = Vec::with_capacity(places.len() * query_width);
        let mut keys = Vec::with_capacity(kv_width);
        for (row, (asked, (part, place))) in
            asked.chunks_exact(query_width + 2 * kv_width).zip(places).enumerate()
        {
            let (query, rest) = asked.split_at(query_width);
            let (key, values) = rest.split_at(kv_width);
            let first = queries.len();
            queries.extend_from_slice(query);
            keys.clear();
            keys.extend_from_slice(key);
            let heads = |rows: &mut [f32], weight: Option<&Vec<f32>>| {
                for head in rows.chunks_exact_mut(head_dim) {
                    if let Some(weight) = weight {
                        norm(head, weight, norm_epsilon);
                    }
                    turn(head, angles.of(row), pairs);
                }
            };
            let norms = layer.head_norms.as_ref();
            heads(queries.get_mut(first..).unwrap_or_default(), norms.map(|(queries, _)| queries));
            heads(&mut keys, norms.map(|(_, keys)| keys));
            let block = batch.parts.get(*part).and_then(|part| part.blocks.get(place / BLOCK));
            let block = block.ok_or(EngineError::Step("a text without room in the pool"))?;
            pool.keep(index, (*block, place % BLOCK), &keys, values)?;
        }
        Ok(queries)
    }
}

impl Pair {
    fn apply(&self, rows: &[f32], width: usize) -> Result<Vec<f32>, EngineError> {
        let up = self.up.apply(rows, width)?;
        self.down.apply(&gated(&up, self.inner), self.inner)
    }
}

impl Dense {
    /// Adapters are of dense parts alone: experts have none.
    fn add_to(
        &self,
        rows: &mut [f32],
        normed: &[f32],
        width: usize,
        (worn, layer): (&Worn<'_>, usize),
    ) -> Result<(), EngineError> {
        match self {
            Self::One(pair) => {
                let mut up = pair.up.apply(normed, width)?;
                worn.add(&mut up, normed, layer, Site::Up);
                let inner = gated(&up, pair.inner);
                let mut down = pair.down.apply(&inner, pair.inner)?;
                worn.add(&mut down, &inner, layer, Site::Down);
                add(rows, &down);
            }
            Self::Mixture { router, experts, chosen, is_normed } => {
                let scores = router.apply(normed, width)?;
                let work = choose(&scores, experts.len(), *chosen, *is_normed);
                mix(experts, &work, rows, normed, width)?;
            }
        }
        Ok(())
    }
}

/// For each expert the rows that it works on, with the weight of what it says.
fn choose(scores: &[f32], experts: usize, chosen: usize, is_normed: bool) -> Vec<Vec<(usize, f32)>> {
    let mut work = vec![Vec::new(); experts];
    for (row, scores) in scores.chunks_exact(experts).enumerate() {
        let top = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut weights: Vec<(usize, f32)> =
            scores.iter().map(|score| (score - top).exp()).enumerate().collect();
        let all: f32 = weights.iter().map(|(_, weight)| weight).sum();
        // The first of equals, whichever row it is.
        weights.sort_by(|(one, weight), (other, more)| more.total_cmp(weight).then(one.cmp(other)));
        weights.truncate(chosen);
        let sum = if is_normed { weights.iter().map(|(_, weight)| weight).sum() } else { all };
        for (expert, weight) in weights {
            if let Some(work) = work.get_mut(expert) {
                work.push((row, weight / sum));
            }
        }
    }
    work
}

/// Each expert that anybody chose is asked once, for all rows that chose it.
fn mix(
    experts: &[Pair],
    work: &[Vec<(usize, f32)>],
    rows: &mut [f32],
    normed: &[f32],
    width: usize,
) -> Result<(), EngineError> {
    for (expert, work) in experts.iter().zip(work).filter(|(_, work)| !work.is_empty()) {
        let of = |(row, _): &(usize, f32)| normed.get(row * width..(row + 1) * width);
        let asked: Vec<f32> = work.iter().filter_map(of).flatten().copied().collect();
        let said = expert.apply(&asked, width)?;
        for ((row, weight), said) in work.iter().zip(said.chunks_exact(width)) {
            let into = rows.get_mut(row * width..(row + 1) * width).unwrap_or_default();
            into.iter_mut().zip(said).for_each(|(into, said)| *into += weight * said);
        }
    }
    Ok(())
}
