//! Reads an adapter's directory. The configuration and the tensor shapes are checked against the model before
//! any tensor is read.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kernels::{Adapter, Architecture, LoraProjection, Matrix, Pairs, Site, Up, are_numbers, panels};

use super::config::{Config, Part, refusal};
use super::limits::Limits;
use crate::error::WeightsError;
use crate::plain::Files;
use crate::spare::AvailableMemory;

pub(super) const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
/// PEFT's older format: a pickle, which can execute code.
const PICKLE: &str = "adapter_model.bin";

const QUERIES: &str = "self_attn.q_proj";
const KEYS: &str = "self_attn.k_proj";

/// A matrix of the model that an adapter may change.
pub(super) struct Module {
    pub layer: usize,
    site: Site,
    pub name: String,
    inputs: usize,
    outputs: usize,
    /// Offset of its outputs within the fused projection of the same input.
    first: usize,
    /// The model's rows are permuted so that the two of a RoPE pair are neighbours; an adapter's rows never
    /// are.
    has_neighbours: bool,
}

/// The digest by which a reload detects that files have changed. It has a key, so that no file can be made to
/// collide; by default a random one.
#[derive(Clone)]
pub struct Seal(Arc<Digest>);

type Digest = dyn Fn(&[&[u8]]) -> u128 + Send + Sync;

impl Seal {
    pub fn new(digest: impl Fn(&[&[u8]]) -> u128 + Send + Sync + 'static) -> Self {
        Self(Arc::new(digest))
    }

    fn digest(&self, pieces: &[&[u8]]) -> u128 {
        (self.0)(pieces)
    }
}

impl Default for Seal {
    fn default() -> Self {
        let keys = <[RandomState; 2]>::default();
        Self::new(move |pieces| {
            let [one, other] = keys.each_ref().map(|keys| {
                let mut hasher = keys.build_hasher();
                for piece in pieces {
                    hasher.write_usize(piece.len());
                    hasher.write(piece);
                }
                u128::from(hasher.finish())
            });
            one << 64 | other
        })
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal")
    }
}

/// All matrices that adapters may change, those of one fused projection together. Experts can't be changed.
fn modules(shape: &Architecture) -> Vec<Module> {
    let (queries, kv, hidden, inner) = (shape.query_width(), shape.kv_width(), shape.hidden, shape.inner);
    let mut modules = Vec::new();
    for layer in 0..shape.layers {
        let mut add = |site, name: &str, inputs, (first, outputs)| {
            let has_neighbours = shape.pairs == Pairs::Neighbours && matches!(name, QUERIES | KEYS);
            let name = format!("model.layers.{layer}.{name}");
            modules.push(Module { layer, site, name, inputs, outputs, first, has_neighbours });
        };
        add(Site::Asks, QUERIES, hidden, (0, queries));
        add(Site::Asks, KEYS, hidden, (queries, kv));
        add(Site::Asks, "self_attn.v_proj", hidden, (queries + kv, kv));
        add(Site::Answers, "self_attn.o_proj", queries, (0, hidden));
        if shape.mixture_of(layer).is_none() {
            add(Site::Up, "mlp.gate_proj", hidden, (0, inner));
            add(Site::Up, "mlp.up_proj", hidden, (inner, inner));
            add(Site::Down, "mlp.down_proj", inner, (0, hidden));
        }
    }
    modules
}

impl Module {
    fn tensor(&self, matrix: &str) -> String {
        format!("base_model.model.{}.lora_{matrix}.weight", self.name)
    }

    /// The tensor names and shapes of LoRA A and B.
    pub(super) fn tensors(&self, part: Part) -> [(String, [usize; 2]); 2] {
        [(self.tensor("A"), [part.rank, self.inputs]), (self.tensor("B"), [self.outputs, part.rank])]
    }

    /// The row of the adapter's B matrix for a row of the model's matrix.
    pub(super) const fn row(&self, row: usize, head_dim: usize) -> usize {
        if !self.has_neighbours {
            return row;
        }
        let (head, within) = (row / head_dim, row % head_dim);
        head * head_dim + within / 2 + if within % 2 == 0 { 0 } else { head_dim / 2 }
    }
}

/// Checks that both exist and are regular files: opening a FIFO, for example, would block forever.
fn are_files(directory: &Path) -> Result<(), WeightsError> {
    for name in [CONFIG, WEIGHTS] {
        let path = directory.join(name);
        match std::fs::metadata(&path) {
            Ok(found) if found.is_file() => {}
            Ok(_) => return Err(WeightsError::Broken { path, what: "it isn't a file".to_owned() }),
            Err(_) if name == WEIGHTS && directory.join(PICKLE).exists() => {
                let what = "is a program that makes tensors, and isn't run: only safetensors are supported";
                return Err(refusal(&directory.join(PICKLE), PICKLE, what));
            }
            Err(source) => return Err(WeightsError::File { path, source }),
        }
    }
    Ok(())
}

/// Checks that the file has exactly the expected tensors, and not too many bytes. Returns their bytes.
fn check(
    path: &Path,
    files: &Files,
    changed: &[(Module, Part)],
    limits: &Limits,
) -> Result<u64, WeightsError> {
    let mut wanted = HashSet::new();
    let mut all = 0;
    for (name, shape) in changed.iter().flat_map(|(module, part)| module.tensors(*part)) {
        let Some((found, bytes)) = files.shape_and_size(&name) else {
            return Err(refusal(path, &name, "is missing, but target_modules selects it"));
        };
        if found != shape {
            let what = format!("is {found:?}, but the model and the adapter's rank require {shape:?}");
            return Err(refusal(path, &name, what));
        }
        all += bytes;
        wanted.insert(name);
    }
    if let Some(name) = files.names().find(|name| !wanted.contains(*name)) {
        return Err(refusal(path, name, "belongs to nothing that the adapter changes"));
    }
    if all > limits.resident_bytes {
        return Err(WeightsError::AdapterLimit {
            what: "bytes of an adapter",
            wanted: all,
            most: limits.resident_bytes,
        });
    }
    Ok(all)
}

/// An adapter's directory, checked against the model.
pub(super) struct Found {
    pub config: Config,
    /// The raw `adapter_config.json`.
    raw_config: Vec<u8>,
    /// The matrices that are changed, with rank and scale.
    pub changed: Vec<(Module, Part)>,
    /// The safetensors file.
    pub path: PathBuf,
    pub files: Files,
    bytes: u64,
}

pub(super) fn find(directory: &Path, shape: &Architecture, limits: &Limits) -> Result<Found, WeightsError> {
    are_files(directory)?;
    let (config, raw_config) = Config::read(&directory.join(CONFIG), limits.rank)?;
    let path = directory.join(WEIGHTS);
    let modules = modules(shape);
    config.check_targets(&modules.iter().map(|module| module.name.as_str()))?;
    let mut changed = Vec::new();
    for module in modules {
        if let Some(part) = config.part(&module.name, module.layer)? {
            changed.push((module, part));
        }
    }
    if changed.is_empty() {
        let what = "selects nothing in this model that takes adapters";
        return Err(refusal(&directory.join(CONFIG), "target_modules", what));
    }
    let files = Files::one(path.clone())?;
    let bytes = check(&path, &files, &changed, limits)?;
    Ok(Found { config, raw_config, changed, path, files, bytes })
}

/// Reads a directory with `adapter_config.json` and `adapter_model.safetensors`.
///
/// # Errors
/// It is not an adapter for such a model, or exceeds the limits; the file and the field or the tensor are
/// named.
pub fn open(directory: &Path, shape: &Architecture, limits: &Limits) -> Result<Adapter, WeightsError> {
    read(directory, shape, limits, (&Seal::default(), &AvailableMemory::default()))
}

/// Like `open`, with the keys of the digest, and with the memory that may be allocated.
///
/// # Errors
/// As `open`, or too little memory is left.
pub fn read(
    directory: &Path,
    shape: &Architecture,
    limits: &Limits,
    (seal, available_memory): (&Seal, &AvailableMemory),
) -> Result<Adapter, WeightsError> {
    let Found { raw_config, changed, path, files, bytes, .. } = find(directory, shape, limits)?;
    // A matrix is read whole before it is rearranged, so that both copies exist for a while.
    available_memory.check("the adapter", bytes.saturating_mul(2))?;
    let mut adapter = Adapter::new(shape);
    adapter.digest = seal.digest(&[&raw_config]);
    let of_input = |(one, _): &(Module, Part), (other, _): &(Module, Part)| {
        (one.layer, one.site) == (other.layer, other.site)
    };
    for changed in changed.chunk_by(of_input) {
        add(&mut adapter, changed, (&path, &files), shape, seal)?;
    }
    Ok(adapter)
}

/// Reads the LoRA matrices of one fused projection.
fn add(
    adapter: &mut Adapter,
    changed: &[(Module, Part)],
    (path, files): (&Path, &Files),
    shape: &Architecture,
    seal: &Seal,
) -> Result<(), WeightsError> {
    let Some((Module { layer, site, inputs, .. }, _)) = changed.first() else { return Ok(()) };
    let (mut downs, mut ups) = (Vec::new(), Vec::new());
    for (module, part) in changed {
        let [down, up] = module.tensors(*part);
        let mut read = |(name, wanted): &(String, [usize; 2])| {
            let (kind, bytes) = files.read(name, wanted)?;
            adapter.digest = seal.digest(&[&adapter.digest.to_le_bytes(), &bytes]);
            if are_numbers(kind, &bytes) {
                Ok((kind, bytes))
            } else {
                Err(refusal(path, name, "has a value that isn't a number"))
            }
        };
        downs.push(read(&down)?);
        let (kind, bytes) = read(&up)?;
        let from = |row| module.row(row, shape.head_dim);
        let panels = Matrix::of([(kind, panels(&bytes, part.rank, module.outputs, from))]);
        let (first, outputs) = (module.first, module.outputs);
        ups.push(Up { panels, rank: part.rank, scale: part.scale, first, outputs });
    }
    Ok(adapter.set(*layer, *site, LoraProjection::new(*inputs, Matrix::of(downs), ups))?)
}
