//! Generates models with random weights in the shape of a published one with 0.6 billion parameters, once.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kernels::{Architecture, Pairs, Rope, RopeScaling};
use weights::synthetic::{Packing, SyntheticModel};

/// One file for each quantisation.
pub struct Models {
    pub eight: PathBuf,
    pub four: PathBuf,
    /// A model that deterministically predicts the next token from each token, in 8 bits.
    pub counting: PathBuf,
}

pub fn shape() -> Architecture {
    Architecture {
        vocabulary: 151_936,
        hidden: 1024,
        layers: 28,
        heads: 16,
        kv_heads: 8,
        head_dim: 128,
        inner: 3072,
        norm_epsilon: 1e-6,
        rope: Rope { theta: 1_000_000.0, stretch: RopeScaling::None },
        context: 32_768,
        is_tied: true,
        norms_heads: true,
        pairs: Pairs::Halves,
        mixture: None,
    }
}

pub fn made(directory: &Path) -> Result<Models> {
    let models = Models {
        eight: directory.join("q8_0.gguf"),
        four: directory.join("q4_k.gguf"),
        counting: directory.join("counting.gguf"),
    };
    if [&models.eight, &models.four, &models.counting].iter().all(|path| path.is_file()) {
        return Ok(models);
    }
    eprintln!("making the models, once");
    std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    let made = SyntheticModel::new("qwen3", shape(), 1);
    for (path, kind) in [(&models.eight, Packing::Q8_0), (&models.four, Packing::Q4K)] {
        // The output head is tied to the embedding table, which published files have in 8 bits.
        let unfinished = path.with_extension("part");
        made.write_packed_beside(&unfinished, kind, Packing::Q8_0)?;
        std::fs::rename(&unfinished, path)?;
    }
    let unfinished = models.counting.with_extension("part");
    made.counting().write_packed(&unfinished, Packing::Q8_0)?;
    std::fs::rename(&unfinished, &models.counting)?;
    Ok(models)
}
