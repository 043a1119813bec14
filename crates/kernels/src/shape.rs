//! A model's architecture: number and width of its layers, attention heads, and position embeddings.

use crate::error::KernelError;
use crate::limits::DIMENSION_MAX;

/// The architecture of a model, without weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Architecture {
    pub vocabulary: usize,
    pub hidden: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    /// The inner width of an MLP.
    pub inner: usize,
    pub norm_epsilon: f64,
    pub rope: Rope,
    /// The context length.
    pub context: usize,
    /// The output head is the embedding (tied weights).
    pub is_tied: bool,
    /// Queries and keys are normalised for each head (QK norm).
    pub norms_heads: bool,
    pub pairs: Pairs,
    /// Its MLPs are mixtures of experts.
    pub mixture: Option<Mixture>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Mixture {
    pub experts: usize,
    /// Experts for each token.
    pub chosen: usize,
    pub inner: usize,
    /// The weights of the chosen experts are normalised to sum to 1.
    pub is_normed: bool,
    /// Layers that have a plain MLP all the same.
    pub dense_layers: Vec<usize>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    pub theta: f64,
    pub stretch: RopeScaling,
}

/// Which two dimensions of a head RoPE rotates together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairs {
    /// One of the first half with its counterpart in the second.
    Halves,
    /// Adjacent ones.
    Neighbours,
}

/// How RoPE is scaled beyond the context that the model was trained on.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    None,
    Linear {
        factor: f64,
    },
    /// By wavelength, as Llama 3.1 does.
    Bands {
        factor: f64,
        low: f64,
        high: f64,
        original: f64,
    },
    /// YaRN.
    Ramp {
        factor: f64,
        original: f64,
        fast: f64,
        slow: f64,
        attention: Option<f64>,
        /// The ramp starts and ends at whole pairs.
        truncates: bool,
    },
    /// A factor for each pair.
    Each(Vec<f64>),
}

impl Architecture {
    /// The width of all query heads together.
    pub const fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// The width of all key heads, or all value heads.
    pub const fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// The mixture of experts of a layer, if it is one.
    pub fn mixture_of(&self, layer: usize) -> Option<&Mixture> {
        self.mixture.as_ref().filter(|mixture| !mixture.dense_layers.contains(&layer))
    }

    /// # Errors
    /// The values contradict each other or are out of range.
    pub fn checked(self) -> Result<Self, KernelError> {
        let wrong = |field, what: &str| Err(KernelError::Shape { field, what: what.to_owned() });
        for (field, value) in [
            ("vocab_size", self.vocabulary),
            ("hidden_size", self.hidden),
            ("num_hidden_layers", self.layers),
            ("num_attention_heads", self.heads),
            ("num_key_value_heads", self.kv_heads),
            ("head_dim", self.head_dim),
            ("intermediate_size", self.inner),
            ("max_position_embeddings", self.context),
        ] {
            if value == 0 || value > DIMENSION_MAX {
                return wrong(field, &format!("is {value}"));
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return wrong("num_key_value_heads", "does not divide the number of heads");
        }
        if !self.head_dim.is_multiple_of(2) {
            return wrong("head_dim", "is odd, and positions turn pairs");
        }
        if !(self.norm_epsilon > 0.0 && self.norm_epsilon < 1.0) {
            return wrong("rms_norm_eps", "is not between 0 and 1");
        }
        if !(self.rope.theta.is_finite() && self.rope.theta > 1.0) {
            return wrong("rope_theta", "is no base above 1");
        }
        match &self.mixture {
            Some(mixture) if mixture.experts == 0 || mixture.experts > DIMENSION_MAX => {
                wrong("num_experts", &format!("is {}", mixture.experts))
            }
            Some(mixture) if mixture.chosen == 0 || mixture.chosen > mixture.experts => {
                wrong("num_experts_per_tok", "is not between 1 and the number of experts")
            }
            Some(mixture) if mixture.inner == 0 || mixture.inner > DIMENSION_MAX => {
                wrong("moe_intermediate_size", &format!("is {}", mixture.inner))
            }
            _ => Ok(self),
        }
    }
}
