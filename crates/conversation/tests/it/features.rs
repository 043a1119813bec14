//! The table of features.

use conversation::features::Feature;

#[test]
fn every_feature_is_in_the_table_once() {
    for (at, feature) in Feature::all().enumerate() {
        assert!(Feature::all().take(at).all(|other| other != feature), "{feature:?}");
    }
}
