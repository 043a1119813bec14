//! The optimizer: AdamW, with decoupled weight decay.
#![expect(clippy::indexing_slicing, reason = "parameters are where their slots say")]

use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};

use crate::settings::Settings;
use crate::weight::Slot;

/// Numbers of one task.
const NUMBERS: usize = 16_384;

/// AdamW's moments: the running means of the gradients and of their squares.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Moments {
    pub first: Vec<f32>,
    pub second: Vec<f32>,
}

/// The parameters of one optimizer step.
pub(super) struct AdamWStep<'a> {
    pub settings: &'a Settings,
    pub rate: f64,
    /// Counts from 1, for the bias correction.
    pub step: usize,
    /// Gradient clipping: what the gradients are multiplied by.
    pub shrink: f64,
}

/// The global gradient norm, summed over chunks of a fixed size in a fixed order.
pub(super) fn gradient_norm(slopes: &[f32]) -> f64 {
    let square = |slope: &f32| f64::from(*slope) * f64::from(*slope);
    let sums: Vec<f64> =
        slopes.par_chunks(NUMBERS).map(|slopes| slopes.iter().map(square).sum::<f64>()).collect();
    sums.iter().sum::<f64>().sqrt()
}

impl AdamWStep<'_> {
    pub(super) fn go(&self, slots: &[Slot], parameters: &mut [f32], slopes: &[f32], moments: &mut Moments) {
        let Settings { betas: (early, late), epsilon, weight_decay, .. } = *self.settings;
        let power = i32::try_from(self.step).unwrap_or(i32::MAX);
        let (early_sum, late_sum) = (1.0 - early.powi(power), 1.0 - late.powi(power));
        for slot in slots {
            let kept = if slot.decays() { 1.0 - self.rate * weight_decay } else { 1.0 } as f32;
            let (rate, shrink) = ((self.rate / early_sum) as f32, self.shrink as f32);
            let (early, late, late_sum, epsilon) =
                (early as f32, late as f32, late_sum as f32, epsilon as f32);
            let range = slot.range.clone();
            let of_moments = moments.first[range.clone()]
                .par_chunks_mut(NUMBERS)
                .zip(moments.second[range.clone()].par_chunks_mut(NUMBERS));
            let of_slopes = slopes[range.clone()].par_chunks(NUMBERS);
            let each = parameters[range].par_chunks_mut(NUMBERS).zip(of_slopes).zip(of_moments);
            each.for_each(|((parameters, slopes), (first, second))| {
                let of_moments = first.iter_mut().zip(second);
                for ((parameter, slope), (first, second)) in parameters.iter_mut().zip(slopes).zip(of_moments)
                {
                    let slope = slope * shrink;
                    *first = early * *first + (1.0 - early) * slope;
                    *second = late * *second + (1.0 - late) * slope * slope;
                    *parameter = *parameter * kept - rate * *first / ((*second / late_sum).sqrt() + epsilon);
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_what_the_rule_says() {
        let slots = [
            Slot { name: "matrix".into(), shape: vec![2, 1], range: 0..2 },
            Slot { name: "norm".into(), shape: vec![1], range: 2..3 },
        ];
        let settings = Settings { weight_decay: 0.1, ..Settings::default() };
        let (mut parameters, slopes) = (vec![1.0, -2.0, 3.0], [0.5f32, -4.0, 0.0]);
        let mut moments = Moments { first: vec![0.0; 3], second: vec![0.0; 3] };
        let (mut wanted, mut first, mut second) = ([1.0f64, -2.0, 3.0], [0.0f64; 3], [0.0f64; 3]);
        for step in 1..=5 {
            let stride = AdamWStep { settings: &settings, rate: 0.01, step, shrink: 0.5 };
            stride.go(&slots, &mut parameters, &slopes, &mut moments);
            for at in 0..3 {
                let slope = f64::from(slopes[at]) * 0.5;
                first[at] = 0.9 * first[at] + 0.1 * slope;
                second[at] = 0.999 * second[at] + 0.001 * slope * slope;
                let early = first[at] / (1.0 - 0.9f64.powi(step as i32));
                let late = second[at] / (1.0 - 0.999f64.powi(step as i32));
                wanted[at] *= if at < 2 { 1.0 - 0.01 * 0.1 } else { 1.0 };
                wanted[at] -= 0.01 * early / (late.sqrt() + 1e-8);
            }
        }
        for (parameter, wanted) in parameters.iter().zip(wanted) {
            assert!((f64::from(*parameter) - wanted).abs() < 1e-5, "{parameters:?} {wanted}");
        }
        assert_eq!(parameters[2], 3.0);
        assert!((gradient_norm(&[3.0, 4.0]) - 5.0).abs() < 1e-12);
    }
}
