//! Small architectures with all features of large ones.

use kernels::{Architecture, Mixture, Pairs, Rope, RopeScaling};

/// Three layers, with a different number for every dimension.
pub fn dense() -> Architecture {
    Architecture {
        vocabulary: 512,
        hidden: 64,
        layers: 3,
        heads: 4,
        kv_heads: 2,
        head_dim: 32,
        inner: 128,
        norm_epsilon: 1e-6,
        rope: Rope { theta: 1_000_000.0, stretch: RopeScaling::None },
        context: 16_384,
        is_tied: true,
        norms_heads: true,
        pairs: Pairs::Halves,
        mixture: None,
    }
}

pub fn mixture() -> Architecture {
    let mixture = Mixture { experts: 8, chosen: 2, inner: 64, is_normed: true, dense_layers: vec![] };
    Architecture { mixture: Some(mixture), is_tied: false, ..dense() }
}

pub fn llama() -> Architecture {
    let stretch = RopeScaling::Bands { factor: 8.0, low: 1.0, high: 4.0, original: 256.0 };
    Architecture { norms_heads: false, rope: Rope { theta: 500_000.0, stretch }, is_tied: false, ..dense() }
}

/// Wide enough for every quantisation type.
pub fn wide() -> Architecture {
    Architecture { hidden: 256, inner: 512, head_dim: 64, vocabulary: 320, ..dense() }
}

/// YaRN: made for 64 tokens, extended to 256.
pub fn stretched() -> Architecture {
    let (factor, original, fast, slow) = (4.0, 64.0, 32.0, 1.0);
    let stretch = RopeScaling::Ramp { factor, original, fast, slow, attention: None, truncates: true };
    Architecture { rope: Rope { theta: 10_000.0, stretch }, context: 256, ..dense() }
}
