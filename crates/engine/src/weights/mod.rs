//! Where a model's weights come from: files as they are published, plain or packed.

mod beside;
mod config;
mod packed;
mod plain;
mod raw;
mod rows;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use beside::{Beside, Habits};
pub(crate) use plain::Files;
pub(crate) use raw::Raw;
pub(crate) use rows::Rows;

use crate::kernels::Matrix;
use crate::linear::Linear;
use crate::model::{Dense, Layer, Pair};
use crate::{EngineError, Shape};

/// A model's files, of which the heads were read.
#[derive(Debug)]
pub struct Source {
    shape: Shape,
    store: Store,
    /// Where other files of the model may be.
    directory: PathBuf,
}

#[derive(Debug)]
enum Store {
    /// `config.json` and safetensors beside it.
    Plain(plain::Files),
    /// One file of GGUF.
    Packed(packed::File),
}

/// Rows of a matrix: all of those that a tensor has, or some of a higher stack.
pub(crate) struct Piece {
    name: String,
    first: usize,
    rows: usize,
}

/// A matrix by the names that both kinds of files have for it.
pub(crate) struct Place<'a> {
    pub plain: &'a str,
    pub packed: &'a str,
    /// Which of the matrices that packed files stack.
    pub expert: Option<usize>,
}

impl Piece {
    fn whole(name: String, rows: usize) -> Self {
        Self { name, first: 0, rows }
    }
}

impl Source {
    /// Reads what a model is: from a directory with its `config.json`, or from a file of GGUF.
    ///
    /// # Errors
    /// The files are not there, or no model's.
    pub fn open(path: &Path) -> Result<Self, EngineError> {
        if path.is_dir() {
            let shape = config::read(&path.join("config.json"))?;
            let store = Store::Plain(plain::Files::open(path)?);
            return Ok(Self { shape, store, directory: path.to_owned() });
        }
        let file = packed::File::open(path)?;
        let shape = packed::shape(&file)?;
        let directory = path.parent().unwrap_or(path).to_owned();
        Ok(Self { shape, store: Store::Packed(file), directory })
    }

    /// What the weights take, in the file and in memory.
    #[must_use]
    pub fn weight_bytes(&self) -> u64 {
        match &self.store {
            Store::Plain(files) => files.weight_bytes(),
            Store::Packed(file) => file.weight_bytes(),
        }
    }

    #[must_use]
    pub const fn shape(&self) -> &Shape {
        &self.shape
    }

    fn name(&self, plain: &str, packed: &str) -> String {
        format!("{}.weight", if matches!(self.store, Store::Plain(_)) { plain } else { packed })
    }

    fn vector(&self, name: &str, length: usize) -> Result<Vec<f32>, EngineError> {
        match &self.store {
            Store::Plain(files) => files.vector(name, length),
            Store::Packed(file) => file.vector(name, length),
        }
    }

    /// A matrix of pieces, one below the other.
    fn linear(&self, pieces: &[Piece], columns: usize) -> Result<Linear, EngineError> {
        match &self.store {
            Store::Plain(files) => Ok(dense(files.matrix(pieces, columns)?, pieces, columns)),
            Store::Packed(file) => file.linear(pieces, columns),
        }
    }

    /// One matrix alone.
    pub(crate) fn single(&self, at: &Place<'_>, rows: usize, columns: usize) -> Result<Linear, EngineError> {
        let first = match &self.store {
            Store::Packed(_) => at.expert.unwrap_or_default() * rows,
            Store::Plain(_) => 0,
        };
        self.linear(&[Piece { name: self.name(at.plain, at.packed), first, rows }], columns)
    }

    pub(crate) fn single_vector(
        &self,
        (plain, packed): (&str, &str),
        length: usize,
    ) -> Result<Vec<f32>, EngineError> {
        self.vector(&self.name(plain, packed), length)
    }

    pub(crate) fn embedding(&self, shape: &Shape) -> Result<Rows, EngineError> {
        let name = self.name("model.embed_tokens", "token_embd");
        let piece = Piece::whole(name, shape.vocabulary);
        match &self.store {
            Store::Plain(files) => {
                let matrix = Arc::new(files.matrix(&[piece], shape.hidden)?);
                Ok(Rows::Dense { matrix, width: shape.hidden, rows: shape.vocabulary })
            }
            Store::Packed(file) => file.rows(&piece, shape.hidden),
        }
    }

    pub(crate) fn head(&self, shape: &Shape, embedding: &Rows) -> Result<Linear, EngineError> {
        if shape.is_tied {
            return Ok(embedding.as_linear());
        }
        self.linear(&[Piece::whole(self.name("lm_head", "output"), shape.vocabulary)], shape.hidden)
    }

    pub(crate) fn last_norm(&self, shape: &Shape) -> Result<Vec<f32>, EngineError> {
        self.vector(&self.name("model.norm", "output_norm"), shape.hidden)
    }

    pub(crate) fn layer(&self, shape: &Shape, index: usize) -> Result<Layer, EngineError> {
        let name = |plain: &str, packed: &str| {
            self.name(&format!("model.layers.{index}.{plain}"), &format!("blk.{index}.{packed}"))
        };
        let (queries, kv) = (shape.query_width(), shape.kv_width());
        let asks = [
            Piece::whole(name("self_attn.q_proj", "attn_q"), queries),
            Piece::whole(name("self_attn.k_proj", "attn_k"), kv),
            Piece::whole(name("self_attn.v_proj", "attn_v"), kv),
        ];
        let head_norm = |plain, packed| self.vector(&name(plain, packed), shape.head_dim);
        let head_norms = match shape.norms_heads {
            true => Some((
                head_norm("self_attn.q_norm", "attn_q_norm")?,
                head_norm("self_attn.k_norm", "attn_k_norm")?,
            )),
            false => None,
        };
        let answers = Piece::whole(name("self_attn.o_proj", "attn_output"), shape.hidden);
        Ok(Layer {
            before_attention: self.vector(&name("input_layernorm", "attn_norm"), shape.hidden)?,
            asks: self.linear(&asks, shape.hidden)?,
            head_norms,
            answers: self.linear(&[answers], queries)?,
            before_dense: self.vector(&name("post_attention_layernorm", "ffn_norm"), shape.hidden)?,
            dense: self.dense(shape, index)?,
        })
    }

    fn dense(&self, shape: &Shape, index: usize) -> Result<Dense, EngineError> {
        let name = |plain: &str, packed: &str| {
            self.name(&format!("model.layers.{index}.mlp.{plain}"), &format!("blk.{index}.{packed}"))
        };
        let pair = |up: [Piece; 2], down: Piece, inner: usize| {
            let (up, down) = (self.linear(&up, shape.hidden)?, self.linear(&[down], inner)?);
            Ok::<_, EngineError>(Pair { up, down, inner })
        };
        let Some(mixture) = shape.mixture_of(index) else {
            let up = [
                Piece::whole(name("gate_proj", "ffn_gate"), shape.inner),
                Piece::whole(name("up_proj", "ffn_up"), shape.inner),
            ];
            return Ok(Dense::One(pair(
                up,
                Piece::whole(name("down_proj", "ffn_down"), shape.hidden),
                shape.inner,
            )?));
        };
        // Packed files stack the experts; plain ones name each.
        let is_stacked = matches!(self.store, Store::Packed(_));
        let of = |expert: usize, plain: &str, packed: &str, rows: usize| {
            let name = name(&format!("experts.{expert}.{plain}"), packed);
            Piece { name, first: if is_stacked { expert * rows } else { 0 }, rows }
        };
        let expert = |expert: usize| {
            let up = [
                of(expert, "gate_proj", "ffn_gate_exps", mixture.inner),
                of(expert, "up_proj", "ffn_up_exps", mixture.inner),
            ];
            pair(up, of(expert, "down_proj", "ffn_down_exps", shape.hidden), mixture.inner)
        };
        let router = Piece::whole(name("gate", "ffn_gate_inp"), mixture.experts);
        Ok(Dense::Mixture {
            router: self.linear(&[router], shape.hidden)?,
            experts: (0..mixture.experts).map(expert).collect::<Result<_, _>>()?,
            chosen: mixture.chosen,
            is_normed: mixture.is_normed,
        })
    }
}

fn dense(matrix: Matrix, pieces: &[Piece], width: usize) -> Linear {
    let outputs = pieces.iter().map(|piece| piece.rows).sum();
    Linear::Dense { matrix: Arc::new(matrix), width, outputs }
}

fn wrong_shape(name: &str, found: &[usize], wanted: &[usize]) -> EngineError {
    EngineError::TensorShape { name: name.to_owned(), found: found.to_vec(), wanted: wanted.to_vec() }
}
