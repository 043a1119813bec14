//! The exponential function, vectorised: a polynomial and exponent bits, without calls or branches.

use crate::lanes::Lanes;

/// Adding this to a number rounds it to an integer, which is then in the lowest mantissa bits.
const WHOLE: f32 = 12_582_912.0;
/// ln 2 as a sum of two numbers (Cody-Waite): the first has few digits, so that its multiples are exact.
const LN_2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);
/// Outside of these bounds the result underflows or overflows single precision.
const LEAST: f32 = -87.3;
const MOST: f32 = 88.3;

/// Coefficients of a polynomial that approximates the exponential from -ln(2)/2 to ln(2)/2.
const SERIES: [f32; 6] = [1.987_569_2e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];

/// Exact to a unit or two in the last place. Arguments below `LEAST` are treated as `LEAST`, and NaN stays
/// NaN.
#[inline(always)]
pub(super) fn exps<L: Lanes>(lanes: L, powers: L::Floats) -> L::Floats {
    let of = |value| lanes.float(value);
    let powers = lanes.smaller(of(MOST), lanes.larger(of(LEAST), powers));
    let shifted = lanes.plus(lanes.times(powers, of(std::f32::consts::LOG2_E)), of(WHOLE));
    let twos = lanes.minus(shifted, of(WHOLE));
    let rest = lanes.minus(powers, lanes.times(twos, of(LN_2.0)));
    let rest = lanes.minus(rest, lanes.times(twos, of(LN_2.1)));
    let [first, factors @ ..] = SERIES;
    let mut series = of(first);
    for factor in factors {
        series = lanes.plus(lanes.times(series, rest), of(factor));
    }
    let series = lanes.plus(lanes.times(lanes.times(series, rest), rest), rest);
    lanes.times(lanes.plus(series, of(1.0)), lanes.two_to(shifted))
}

/// The scalar version, with bit-identical results.
#[inline(always)]
pub(super) fn exp(power: f32) -> f32 {
    let power = if LEAST > power { LEAST } else { power };
    let power = if MOST < power { MOST } else { power };
    let shifted = power * std::f32::consts::LOG2_E + WHOLE;
    let twos = shifted - WHOLE;
    let rest = (power - twos * LN_2.0) - twos * LN_2.1;
    let [first, factors @ ..] = SERIES;
    let series = factors.into_iter().fold(first, |series, factor| series * rest + factor);
    let series = series * rest * rest + rest + 1.0;
    series * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lanes::{InstructionSet, LANES, Work};

    #[test]
    fn lanes_are_what_one_is() {
        struct Each(f32);
        impl Work for Each {
            fn with<L: Lanes>(self, lanes: L) {
                let powers: [f32; LANES] = std::array::from_fn(|lane| self.0 + lane as f32 * 0.37);
                let mut out = [0.0; LANES];
                lanes.store(exps(lanes, lanes.load(&powers)), &mut out);
                assert_eq!(out.map(f32::to_bits), powers.map(|power| exp(power).to_bits()));
            }
        }
        for isa in InstructionSet::all() {
            (-900..900).for_each(|step| isa.go(Each(step as f32 * 0.1)));
        }
    }

    #[test]
    fn powers_are_what_they_should_be() {
        for step in -87_000..88_000 {
            let power = step as f32 * 1e-3;
            let wanted = f64::from(power).exp();
            let far = (f64::from(exp(power)) - wanted).abs() / wanted;
            assert!(far < 2.5e-7, "{power}: {far}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NEG_INFINITY) < 1.3e-38 && exp(-1e9) < 1.3e-38);
        assert!(exp(f32::INFINITY) > 1e38 && exp(f32::NAN).is_nan());
    }
}
