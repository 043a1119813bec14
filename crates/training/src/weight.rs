//! The weights of a model in training. The trained ones lie in one contiguous buffer, so that the optimizer
//! treats them in one pass; the frozen ones stay in the format of their file.
#![expect(clippy::indexing_slicing, reason = "parameters are where their slots say")]

use std::borrow::Cow;
use std::ops::Range;

use kernels::Linear;

use crate::error::TrainerError;
use crate::matrix::{By, Into, View, multiply};

/// A trained tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Its name in safetensors files.
    pub name: String,
    pub shape: Vec<usize>,
    /// Its range within all parameters.
    pub range: Range<usize>,
}

#[derive(Debug)]
pub(super) enum Weight {
    Trained(Range<usize>),
    Fixed(Linear),
    /// The weights of a norm.
    FixedVector(Vec<f32>),
}

/// A LoRA update of a frozen matrix: the product of A and B.
#[derive(Debug)]
pub(super) struct LoraWeights {
    /// LoRA A: `rank` rows as wide as the input.
    pub first: Range<usize>,
    /// LoRA B: a row of `rank` numbers for each output.
    pub second: Range<usize>,
    pub rank: usize,
    pub scale: f32,
}

/// A linear projection, with its LoRA update where it is a target.
#[derive(Debug)]
pub(super) struct Product {
    pub weight: Weight,
    pub low: Option<LoraWeights>,
    pub width: usize,
    pub outputs: usize,
}

impl Slot {
    /// Weight decay applies to matrices, not to norms.
    pub(super) const fn decays(&self) -> bool {
        self.shape.len() > 1
    }
}

impl Weight {
    pub(super) fn numbers<'a>(&'a self, parameters: &'a [f32]) -> Result<Cow<'a, [f32]>, TrainerError> {
        match self {
            Self::Trained(range) => Ok(Cow::Borrowed(&parameters[range.clone()])),
            Self::Fixed(matrix) => Ok(matrix.singles()?),
            Self::FixedVector(vector) => Ok(Cow::Borrowed(vector)),
        }
    }

    /// The slice of the gradient buffer for this weight, where it is trained.
    pub(super) fn slopes<'a>(&self, slopes: &'a mut [f32]) -> Option<&'a mut [f32]> {
        match self {
            Self::Trained(range) => Some(&mut slopes[range.clone()]),
            Self::Fixed(_) | Self::FixedVector(_) => None,
        }
    }
}

impl Product {
    /// The output for rows, and the intermediate activations that the backward pass needs.
    pub(super) fn forward(
        &self,
        parameters: &[f32],
        rows: &[f32],
    ) -> Result<(Vec<f32>, Vec<f32>), TrainerError> {
        let count = rows.len() / self.width;
        let mut out = vec![0.0; count * self.outputs];
        let rows = View::new(rows, self.width);
        let weight = self.weight.numbers(parameters)?;
        multiply((&mut out, Into::Place), rows, View::new(&weight, self.width).transposed(), 1.0, By::All);
        let Some(low) = &self.low else { return Ok((out, Vec::new())) };
        let mut between = vec![0.0; count * low.rank];
        let (first, second) = (&parameters[low.first.clone()], &parameters[low.second.clone()]);
        multiply((&mut between, Into::Place), rows, View::new(first, self.width).transposed(), 1.0, By::All);
        let through = View::new(&between, low.rank);
        multiply(
            (&mut out, Into::Sum),
            through,
            View::new(second, low.rank).transposed(),
            low.scale,
            By::All,
        );
        Ok((out, between))
    }

    /// From the gradient of the output: adds the gradient of the input to `back`, and those of the trained
    /// matrices to `slopes`.
    pub(super) fn backward(
        &self,
        (parameters, slopes): (&[f32], &mut [f32]),
        (rows, between): (&[f32], &[f32]),
        out: &[f32],
        back: &mut [f32],
    ) -> Result<(), TrainerError> {
        let (rows, out) = (View::new(rows, self.width), View::new(out, self.outputs));
        let weight = self.weight.numbers(parameters)?;
        multiply((back, Into::Sum), out, View::new(&weight, self.width), 1.0, By::All);
        if let Some(slopes) = self.weight.slopes(slopes) {
            multiply((slopes, Into::Sum), out.transposed(), rows, 1.0, By::All);
        }
        let Some(low) = &self.low else { return Ok(()) };
        let second = View::new(&parameters[low.second.clone()], low.rank);
        let mut through = vec![0.0; between.len()];
        multiply((&mut through, Into::Place), out, second, low.scale, By::All);
        let through = View::new(&through, low.rank);
        let between = View::new(between, low.rank);
        let second = &mut slopes[low.second.clone()];
        multiply((second, Into::Sum), out.transposed(), between, low.scale, By::All);
        let first = &mut slopes[low.first.clone()];
        multiply((first, Into::Sum), through.transposed(), rows, 1.0, By::All);
        let first = View::new(&parameters[low.first.clone()], self.width);
        multiply((back, Into::Sum), through, first, 1.0, By::All);
        Ok(())
    }
}
