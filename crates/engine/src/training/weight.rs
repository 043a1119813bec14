//! A network's weights: those that are trained lie one behind the other in one place, so that all that is done to them is
//! done in one pass; the others stay as they are in their file.
#![expect(clippy::indexing_slicing, reason = "parameters are where their slots say")]

use std::borrow::Cow;
use std::ops::Range;

use super::matrix::{By, Into, View, multiply};
use crate::EngineError;
use crate::linear::Linear;

/// A tensor that is trained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// As plain files call it.
    pub name: String,
    pub shape: Vec<usize>,
    /// Where it lies among all parameters.
    pub range: Range<usize>,
}

#[derive(Debug)]
pub(super) enum Weight {
    Trained(Range<usize>),
    Fixed(Linear),
    /// A norm's.
    FixedVector(Vec<f32>),
}

/// What is added to a matrix that stays as it is: the product of two small ones.
#[derive(Debug)]
pub(super) struct Low {
    /// `rank` rows as wide as the input.
    pub first: Range<usize>,
    /// A row of `rank` for each output.
    pub second: Range<usize>,
    pub rank: usize,
    pub scale: f32,
}

/// A product with a matrix that has a row for each output.
#[derive(Debug)]
pub(super) struct Product {
    pub weight: Weight,
    pub low: Option<Low>,
    pub width: usize,
    pub outputs: usize,
}

impl Slot {
    /// Matrices are pulled towards nought; norms are not.
    pub(super) const fn decays(&self) -> bool {
        self.shape.len() > 1
    }
}

impl Weight {
    pub(super) fn numbers<'a>(&'a self, parameters: &'a [f32]) -> Result<Cow<'a, [f32]>, EngineError> {
        match self {
            Self::Trained(range) => Ok(Cow::Borrowed(&parameters[range.clone()])),
            Self::Fixed(matrix) => matrix.singles(),
            Self::FixedVector(vector) => Ok(Cow::Borrowed(vector)),
        }
    }

    /// Its own slopes, where it is trained.
    pub(super) fn slopes<'a>(&self, slopes: &'a mut [f32]) -> Option<&'a mut [f32]> {
        match self {
            Self::Trained(range) => Some(&mut slopes[range.clone()]),
            Self::Fixed(_) | Self::FixedVector(_) => None,
        }
    }
}

impl Product {
    /// What comes out for rows, and what the small matrices made of them on the way.
    pub(super) fn forward(
        &self,
        parameters: &[f32],
        rows: &[f32],
    ) -> Result<(Vec<f32>, Vec<f32>), EngineError> {
        let count = rows.len() / self.width;
        let mut out = vec![0.0; count * self.outputs];
        let rows = View::new(rows, self.width);
        let weight = self.weight.numbers(parameters)?;
        multiply((&mut out, Into::Place), rows, View::new(&weight, self.width).turned(), 1.0, By::All);
        let Some(low) = &self.low else { return Ok((out, Vec::new())) };
        let mut between = vec![0.0; count * low.rank];
        let (first, second) = (&parameters[low.first.clone()], &parameters[low.second.clone()]);
        multiply((&mut between, Into::Place), rows, View::new(first, self.width).turned(), 1.0, By::All);
        let through = View::new(&between, low.rank);
        multiply((&mut out, Into::Sum), through, View::new(second, low.rank).turned(), low.scale, By::All);
        Ok((out, between))
    }

    /// From the slopes of what came out: those of what went in, which are added to `back`, and those of the matrices.
    pub(super) fn backward(
        &self,
        (parameters, slopes): (&[f32], &mut [f32]),
        (rows, between): (&[f32], &[f32]),
        out: &[f32],
        back: &mut [f32],
    ) -> Result<(), EngineError> {
        let (rows, out) = (View::new(rows, self.width), View::new(out, self.outputs));
        let weight = self.weight.numbers(parameters)?;
        multiply((back, Into::Sum), out, View::new(&weight, self.width), 1.0, By::All);
        if let Some(slopes) = self.weight.slopes(slopes) {
            multiply((slopes, Into::Sum), out.turned(), rows, 1.0, By::All);
        }
        let Some(low) = &self.low else { return Ok(()) };
        let second = View::new(&parameters[low.second.clone()], low.rank);
        let mut through = vec![0.0; between.len()];
        multiply((&mut through, Into::Place), out, second, low.scale, By::All);
        let through = View::new(&through, low.rank);
        let between = View::new(between, low.rank);
        let second = &mut slopes[low.second.clone()];
        multiply((second, Into::Sum), out.turned(), between, low.scale, By::All);
        let first = &mut slopes[low.first.clone()];
        multiply((first, Into::Sum), through.turned(), rows, 1.0, By::All);
        let first = View::new(&parameters[low.first.clone()], self.width);
        multiply((back, Into::Sum), through, first, 1.0, By::All);
        Ok(())
    }
}
