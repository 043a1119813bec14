//! Compares hidden states with those of transformers on the same files, as recorded by
//! `scripts/model-goldens.py`.

use kernels::{BLOCK, KvCache, KvDtype, Model, StepBatch, StepOutput};
use serde_json::Value;
use weights::{Source, load_model};

use crate::cases::{Case, cases};
use crate::parity::{blocks, part, spread};
use crate::training::loaded;

const GOLDENS: &str = include_str!("../fixtures/models/goldens.json");
/// Maximum deviation from transformers' states, relative to their spread. Those are computed in single
/// precision, RoPE angles included.
const NEAR: f64 = 2e-4;

fn rows(value: &Value) -> Vec<Vec<f64>> {
    let numbers = |row: &Value| row.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
    value.as_array().unwrap().iter().map(numbers).collect()
}

fn states(case: &Case, model: &Model) -> Vec<Vec<f32>> {
    let mut pool = KvCache::new(model.shape(), KvDtype::F32, case.tokens.len().div_ceil(BLOCK) + 4);
    let step = StepBatch { chunks: vec![part(&case.tokens, 0, &blocks(3, case.tokens.len()))] };
    let hidden = model.step_with_outputs(&step, &[StepOutput::HiddenState], &mut pool).unwrap();
    hidden.chunks(model.shape().hidden).map(<[f32]>::to_vec).collect()
}

#[test]
fn states_are_those_of_transformers() {
    let goldens: Value = serde_json::from_str(GOLDENS).unwrap();
    for case in cases() {
        let directory = tempfile::tempdir().unwrap();
        case.made.write_plain(directory.path(), case.is_older).unwrap();
        let model = load_model(&Source::open(directory.path()).unwrap()).unwrap();
        let golden = &goldens[case.name];
        let (wanted, ours) = (rows(&golden["states"]), states(&case, &model));
        assert_eq!(wanted.len(), case.positions.len(), "{}", case.name);
        let spread = spread(&wanted);
        for (position, wanted) in case.positions.iter().zip(&wanted) {
            let each =
                ours[*position].iter().zip(wanted).map(|(ours, wanted)| (f64::from(*ours) - wanted).abs());
            let far = each.fold(0.0, f64::max);
            assert!(far <= NEAR * spread, "{} at {position}: {far} of {spread}", case.name);
        }
        if let Some(score) = golden["score"].as_f64() {
            let row = &case.made.tensors["score.weight"].1;
            let last = ours.last().unwrap();
            let own: f64 = row.iter().zip(last).map(|(row, state)| f64::from(row * state)).sum();
            assert!((own - score).abs() <= NEAR * score.abs().max(1.0), "{own} {score}");
        }
    }
}

#[test]
fn stretched_angles_change_what_is_said() {
    let goldens: Value = serde_json::from_str(GOLDENS).unwrap();
    // Without YaRN the states are far from the recorded ones, so that the comparison can fail.
    let mut case = cases().into_iter().find(|case| case.name == "yarn").unwrap();
    case.made.shape.rope.stretch = kernels::RopeScaling::None;
    let wanted = rows(&goldens["yarn"]["states"]);
    let ours = states(&case, &loaded(&case.made, None));
    let each = ours[239].iter().zip(&wanted[4]).map(|(ours, wanted)| (f64::from(*ours) - wanted).abs());
    assert!(each.fold(0.0, f64::max) > 100.0 * NEAR * spread(&wanted));
}
