//! A model on disk, by the names of its tensors: a directory of safetensors ("plain") or a GGUF file ("packed").

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kernels::{Architecture, Dense, Layer, Linear, Pair, Rows};

use crate::digest::Digest;
use crate::error::WeightsError;
use crate::piece::{Piece, TensorName, dense};
use crate::{config, packed, plain};

/// A model's files, opened and with their headers read.
#[derive(Debug)]
pub struct Source {
    pub(crate) shape: Architecture,
    pub(crate) store: Store,
    path: PathBuf,
    /// The directory for other files of the model.
    pub(crate) directory: PathBuf,
    /// The name of its directory or file.
    pub(crate) name: String,
    /// Its tensor names lack the prefix "model.": it was saved without an output head.
    is_bare: bool,
    /// It should have an untied output head but has none, so that it can't generate text.
    pub(crate) is_headless: bool,
}

#[derive(Debug)]
pub(crate) enum Store {
    /// `config.json` and safetensors.
    Plain(plain::Files),
    /// A GGUF file, or the shards of one.
    Packed(packed::File),
}

/// Bytes per read when whole files are hashed.
const PIECE_BYTES: usize = 1 << 22;

impl Source {
    /// Reads a model's headers and configuration, from a directory with `config.json` or from a GGUF file; of one
    /// that was split, from its first shard.
    ///
    /// # Errors
    /// The files don't exist, or are not a model's.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() {
            let mut shape = config::read(&path.join("config.json"))?;
            let files = plain::Files::open(path)?;
            let is_bare = files.shape_and_size("embed_tokens.weight").is_some();
            // Embedding and reranking models may come without the output head, which they don't use.
            let may_lack = is_bare || files.shape_and_size("score.weight").is_some();
            let is_headless = may_lack && !shape.is_tied && files.shape_and_size("lm_head.weight").is_none();
            shape.is_tied |= is_headless;
            let (store, directory) = (Store::Plain(files), path.to_owned());
            return Ok(Self { shape, store, path: path.to_owned(), directory, name, is_bare, is_headless });
        }
        let file = packed::File::open(path)?;
        let shape = packed::shape(&file)?;
        let directory = path.parent().unwrap_or(path).to_owned();
        let path = path.to_owned();
        Ok(Self {
            shape,
            store: Store::Packed(file),
            path,
            directory,
            name,
            is_bare: false,
            is_headless: false,
        })
    }

    /// An identifier of the model, computed from metadata.
    ///
    /// # Errors
    /// Its files can't be read.
    pub fn digest(&self) -> Result<u128, WeightsError> {
        let mut digest = Digest::new();
        match &self.store {
            Store::Plain(files) => {
                let path = self.directory.join("config.json");
                let config = std::fs::read(&path).map_err(|source| WeightsError::File { path, source })?;
                digest.add(&config);
                files.add_to_digest(&mut digest);
            }
            Store::Packed(file) => file.add_to_digest(&mut digest),
        }
        for number in self.last_norm(&self.shape)? {
            digest.add(&number.to_le_bytes());
        }
        Ok(digest.end())
    }

    /// A digest of all bytes of the files; takes as long as reading them. `None` where `may_go_on`, which is
    /// called between reads, returned false.
    ///
    /// # Errors
    /// Its files can't be read.
    pub fn digest_of_all(&self, may_go_on: &dyn Fn() -> bool) -> Result<Option<u128>, WeightsError> {
        let mut digest = Digest::new();
        let files = match &self.store {
            Store::Plain(files) => {
                let path = self.directory.join("config.json");
                let config = std::fs::read(&path).map_err(|source| WeightsError::File { path, source })?;
                digest.add(&config);
                files.all()
            }
            Store::Packed(file) => file.all(),
        };
        let mut piece = vec![0; PIECE_BYTES];
        for (path, file) in files {
            let mut at = 0;
            loop {
                if !may_go_on() {
                    return Ok(None);
                }
                let read = fill_from(file, &mut piece, at);
                let read = read.map_err(|source| WeightsError::File { path: path.to_owned(), source })?;
                digest.add_many(piece.get(..read).unwrap_or_default());
                at += read as u64;
                if read < piece.len() {
                    break;
                }
            }
            digest.add(&at.to_le_bytes());
        }
        Ok(Some(digest.end()))
    }

    /// The directory or file that it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The size of the weights, in the file and in memory.
    pub fn weight_bytes(&self) -> u64 {
        match &self.store {
            Store::Plain(files) => files.weight_bytes(),
            Store::Packed(file) => file.weight_bytes(),
        }
    }

    pub const fn shape(&self) -> &Architecture {
        &self.shape
    }

    pub(crate) fn name(&self, plain: &str, packed: &str) -> String {
        let plain = plain.strip_prefix("model.").filter(|_| self.is_bare).unwrap_or(plain);
        format!("{}.weight", if matches!(self.store, Store::Plain(_)) { plain } else { packed })
    }

    fn vector(&self, name: &str, length: usize) -> Result<Vec<f32>, WeightsError> {
        match &self.store {
            Store::Plain(files) => files.vector(name, length),
            Store::Packed(file) => file.vector(name, length),
        }
    }

    /// Reads matrices of the same input, stacked by rows.
    fn linear(&self, pieces: &[Piece], columns: usize) -> Result<Linear, WeightsError> {
        match &self.store {
            Store::Plain(files) => Ok(dense(files.matrix(pieces, columns)?, pieces, columns)),
            Store::Packed(file) => file.linear(pieces, columns),
        }
    }

    /// Reads a single matrix.
    pub fn single(&self, at: &TensorName<'_>, rows: usize, columns: usize) -> Result<Linear, WeightsError> {
        self.linear(&[self.piece(at, rows)], columns)
    }

    pub fn single_vector(
        &self,
        (plain, packed): (&str, &str),
        length: usize,
    ) -> Result<Vec<f32>, WeightsError> {
        self.vector(&self.name(plain, packed), length)
    }

    pub fn embedding(&self, shape: &Architecture) -> Result<Rows, WeightsError> {
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

    pub fn head(&self, shape: &Architecture, embedding: &Rows) -> Result<Linear, WeightsError> {
        if shape.is_tied {
            return Ok(embedding.as_linear());
        }
        self.linear(&[Piece::whole(self.name("lm_head", "output"), shape.vocabulary)], shape.hidden)
    }

    pub fn last_norm(&self, shape: &Architecture) -> Result<Vec<f32>, WeightsError> {
        self.vector(&self.name("model.norm", "output_norm"), shape.hidden)
    }

    pub fn layer(&self, shape: &Architecture, index: usize) -> Result<Layer, WeightsError> {
        let name = |plain: &str, packed: &str| {
            self.name(&format!("model.layers.{index}.{plain}"), &format!("blk.{index}.{packed}"))
        };
        let (queries, kv) = (shape.query_width(), shape.kv_width());
        let qkv = [
            Piece::whole(name("self_attn.q_proj", "attn_q"), queries),
            Piece::whole(name("self_attn.k_proj", "attn_k"), kv),
            Piece::whole(name("self_attn.v_proj", "attn_v"), kv),
        ];
        let head_norm = |plain, packed| self.vector(&name(plain, packed), shape.head_dim);
        let head_norms = if shape.norms_heads {
            Some((
                head_norm("self_attn.q_norm", "attn_q_norm")?,
                head_norm("self_attn.k_norm", "attn_k_norm")?,
            ))
        } else {
            None
        };
        let answers = Piece::whole(name("self_attn.o_proj", "attn_output"), shape.hidden);
        Ok(Layer {
            before_attention: self.vector(&name("input_layernorm", "attn_norm"), shape.hidden)?,
            qkv: self.linear(&qkv, shape.hidden)?,
            head_norms,
            answers: self.linear(&[answers], queries)?,
            before_dense: self.vector(&name("post_attention_layernorm", "ffn_norm"), shape.hidden)?,
            dense: self.dense(shape, index)?,
        })
    }

    fn dense(&self, shape: &Architecture, index: usize) -> Result<Dense, WeightsError> {
        let name = |plain: &str, packed: &str| {
            self.name(&format!("model.layers.{index}.mlp.{plain}"), &format!("blk.{index}.{packed}"))
        };
        let pair = |up: [Piece; 2], down: Piece, inner: usize| {
            let (up, down) = (self.linear(&up, shape.hidden)?, self.linear(&[down], inner)?);
            Ok::<_, WeightsError>(Pair { up, down, inner })
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
        let of = |expert: usize, plain: &str, packed: &str, rows: usize| {
            let plain = format!("model.layers.{index}.mlp.experts.{expert}.{plain}");
            let packed = format!("blk.{index}.{packed}");
            self.piece(&TensorName { plain: &plain, packed: &packed, expert: Some(expert) }, rows)
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

impl Source {
    /// Locates a matrix: a tensor of its own, or part of a stack.
    pub(crate) fn piece(&self, at: &TensorName<'_>, rows: usize) -> Piece {
        let whole = self.name(at.plain, at.packed);
        match (&self.store, at.expert) {
            (Store::Packed(_), expert) => {
                Piece { name: whole, first: expert.unwrap_or_default() * rows, rows }
            }
            (Store::Plain(files), Some(expert)) => {
                stacked_piece(files, &whole, expert, rows).unwrap_or_else(|| Piece::whole(whole, rows))
            }
            (Store::Plain(_), None) => Piece::whole(whole, rows),
        }
    }
}

/// An expert's matrix in newer safetensors: one tensor has gate and up of all experts, alternating, and
/// another has the down projections.
fn stacked_piece(files: &plain::Files, whole: &str, expert: usize, rows: usize) -> Option<Piece> {
    let (root, own) = whole.strip_suffix(".weight")?.rsplit_once(&format!(".{expert}."))?;
    let (stack, at) = match own {
        "gate_proj" => ("gate_up_proj", 2 * expert),
        "up_proj" => ("gate_up_proj", 2 * expert + 1),
        _ => (own, expert),
    };
    let name = format!("{root}.{stack}");
    files.shape_and_size(&name).is_some().then(|| Piece { name, first: at * rows, rows })
}

/// Reads at an offset until the buffer is full or the file ends.
fn fill_from(file: &File, buffer: &mut [u8], at: u64) -> std::io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
