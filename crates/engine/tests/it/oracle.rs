//! The reference implementation: a forward pass in f64, one sequence at a time, written as plainly as
//! possible.

use kernels::{Architecture, RopeScaling};
use weights::synthetic::SyntheticModel;

pub struct Oracle<'a> {
    pub made: &'a SyntheticModel,
}

type Row = Vec<f64>;

impl Oracle<'_> {
    fn tensor(&self, name: &str) -> &(Vec<usize>, Vec<f32>) {
        self.made.tensors.get(&format!("{name}.weight")).unwrap_or_else(|| panic!("no {name}"))
    }

    fn by(&self, name: &str, row: &[f64]) -> Row {
        let (shape, numbers) = self.tensor(name);
        assert_eq!(shape[1], row.len(), "{name}");
        numbers.chunks(row.len()).map(|w| w.iter().zip(row).map(|(w, x)| f64::from(*w) * x).sum()).collect()
    }

    fn norm(&self, name: &str, row: &[f64]) -> Row {
        let mean = row.iter().map(|x| x * x).sum::<f64>() / row.len() as f64;
        let scale = 1.0 / (mean + self.made.shape.norm_epsilon).sqrt();
        row.iter().zip(&self.tensor(name).1).map(|(x, w)| x * scale * f64::from(*w)).collect()
    }

    fn dense(&self, at: &str, row: &[f64]) -> Row {
        let gates = self.by(&format!("{at}.gate_proj"), row);
        let ups = self.by(&format!("{at}.up_proj"), row);
        let inner: Row = gates.iter().zip(&ups).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
        self.by(&format!("{at}.down_proj"), &inner)
    }

    fn mixture(&self, at: &str, row: &[f64], chosen: usize, is_normed: bool) -> Row {
        let scores = self.by(&format!("{at}.gate"), row);
        let all: f64 = scores.iter().map(|s| s.exp()).sum();
        let mut weights: Vec<(usize, f64)> = scores.iter().map(|s| s.exp() / all).enumerate().collect();
        weights.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap());
        weights.truncate(chosen);
        let sum: f64 = if is_normed { weights.iter().map(|(_, w)| w).sum() } else { 1.0 };
        let mut out = vec![0.0; row.len()];
        for (expert, weight) in weights {
            let output = self.dense(&format!("{at}.experts.{expert}"), row);
            out.iter_mut().zip(output).for_each(|(o, s)| *o += s * weight / sum);
        }
        out
    }

    /// The logits after every token.
    pub fn all(&self, tokens: &[u32]) -> Vec<Row> {
        let shape = &self.made.shape;
        let embedding = self.tensor("model.embed_tokens");
        let row = |t: &u32| &embedding.1[*t as usize * shape.hidden..(*t as usize + 1) * shape.hidden];
        let mut rows: Vec<Row> =
            tokens.iter().map(|t| row(t).iter().map(|x| f64::from(*x)).collect()).collect();
        for layer in 0..shape.layers {
            self.layer(shape, layer, &mut rows);
        }
        let head = if shape.is_tied { "model.embed_tokens" } else { "lm_head" };
        rows.iter().map(|row| self.by(head, &self.norm("model.norm", row))).collect()
    }

    fn layer(&self, shape: &Architecture, layer: usize, rows: &mut [Row]) {
        let at = format!("model.layers.{layer}");
        let normed: Vec<Row> = rows.iter().map(|r| self.norm(&format!("{at}.input_layernorm"), r)).collect();
        let heads = |name: &str, norm: &str| -> Vec<Vec<Row>> {
            let head = |(position, row): (usize, &Row)| {
                self.by(&format!("{at}.self_attn.{name}"), row)
                    .chunks(shape.head_dim)
                    .map(|head| {
                        let head = match (norm.is_empty(), shape.norms_heads) {
                            (false, true) => self.norm(&format!("{at}.self_attn.{norm}"), head),
                            _ => head.to_vec(),
                        };
                        if norm.is_empty() { head } else { turned(shape, &head, position) }
                    })
                    .collect()
            };
            normed.iter().enumerate().map(head).collect()
        };
        let (queries, keys, values) =
            (heads("q_proj", "q_norm"), heads("k_proj", "k_norm"), heads("v_proj", ""));
        for (position, row) in rows.iter_mut().enumerate() {
            let mut output = Vec::new();
            for (head, query) in queries[position].iter().enumerate() {
                let from = head / (shape.heads / shape.kv_heads);
                let score = |p: usize| {
                    let key = &keys[p][from];
                    query.iter().zip(key).map(|(q, k)| q * k).sum::<f64>() / (shape.head_dim as f64).sqrt()
                };
                let scores: Row = (0..=position).map(score).collect();
                let top = scores.iter().copied().fold(f64::MIN, f64::max);
                let all: f64 = scores.iter().map(|s| (s - top).exp()).sum();
                let mut out = vec![0.0; shape.head_dim];
                for (p, score) in scores.iter().enumerate() {
                    let weight = (score - top).exp() / all;
                    out.iter_mut().zip(&values[p][from]).for_each(|(o, v)| *o += weight * v);
                }
                output.extend(out);
            }
            let output = self.by(&format!("{at}.self_attn.o_proj"), &output);
            row.iter_mut().zip(output).for_each(|(r, s)| *r += s);
        }
        for row in rows {
            let normed = self.norm(&format!("{at}.post_attention_layernorm"), row);
            let output = match shape.mixture_of(layer) {
                None => self.dense(&format!("{at}.mlp"), &normed),
                Some(m) => self.mixture(&format!("{at}.mlp"), &normed, m.chosen, m.is_normed),
            };
            row.iter_mut().zip(output).for_each(|(r, s)| *r += s);
        }
    }
}

fn turned(shape: &Architecture, head: &[f64], position: usize) -> Row {
    let half = shape.head_dim / 2;
    let mut out = head.to_vec();
    for pair in 0..half {
        let mut frequency = shape.rope.theta.powf(-2.0 * pair as f64 / shape.head_dim as f64);
        if let RopeScaling::Bands { factor, low, high, original } = shape.rope.stretch {
            // By wavelengths, as in the Llama 3 reference implementation.
            let wave = std::f64::consts::TAU / frequency;
            if wave > original / low {
                frequency /= factor;
            } else if wave > original / high {
                let smooth = (original / wave - low) / (high - low);
                frequency = (1.0 - smooth) * frequency / factor + smooth * frequency;
            }
        }
        let (sine, cosine) = (position as f64 * frequency).sin_cos();
        out[pair] = head[pair] * cosine - head[pair + half] * sine;
        out[pair + half] = head[pair + half] * cosine + head[pair] * sine;
    }
    out
}
