//! Powers of e, for many numbers at once: nothing here but what a compiler can do in lanes.

const WHOLE: f32 = 12_582_912.0;
/// The natural logarithm of two, in two parts: the first has few digits, so that its multiples are exact.
const LN_2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);
/// Beyond these there are no numbers of single precision.
const LEAST: f32 = -87.3;
const MOST: f32 = 88.3;

/// To a unit or two of the last place; below the least that there is, the least.
#[inline(always)]
pub(super) fn exp(power: f32) -> f32 {
    // What is no number stays none.
    let power = if power < LEAST { LEAST } else { power };
    let power = if power > MOST { MOST } else { power };
    let shifted = power * std::f32::consts::LOG2_E + WHOLE;
    let twos = shifted - WHOLE;
    let rest = (power - twos * LN_2.0) - twos * LN_2.1;
    // The series of the exponential, with factors that fit best from -ln(2)/2 to ln(2)/2.
    let mut series = 1.987_569_2e-4;
    for factor in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        series = series * rest + factor;
    }
    let series = series * rest * rest + rest + 1.0;
    let exponent = shifted.to_bits().wrapping_sub(WHOLE.to_bits()).wrapping_add(127);
    series * f32::from_bits(exponent << 23)
}

#[cfg(test)]
mod tests {
    use super::exp;

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
