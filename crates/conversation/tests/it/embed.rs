//! Vectors in both their forms.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use conversation::embed::Vector;
use proptest::prelude::*;

proptest! {
    #[test]
    fn numbers_survive_base64(numbers in prop::collection::vec(any::<f32>().prop_filter("JSON has none", |n| n.is_finite()), 0..20)) {
        let written = serde_json::to_string(&numbers).unwrap();
        let base64 = Vector::Numbers(&written).base64().unwrap().into_owned();
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        prop_assert_eq!(STANDARD.decode(&base64).unwrap(), bytes);
        let vector = Vector::Base64(Cow::Owned(base64));
        let back: Vec<f32> = serde_json::from_str(&vector.numbers().unwrap()).unwrap();
        let bits = |numbers: &[f32]| numbers.iter().map(|number| number.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(&back), bits(&numbers));
    }
}
