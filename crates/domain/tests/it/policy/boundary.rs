//! The tests of `domain::policy::boundary`.

use domain::{DataBoundary, RegionPolicy};

#[test]
fn the_lists_are_in_lower_case_and_apart() {
    let [us, eu] = [RegionPolicy::UsOnly, RegionPolicy::EuOnly].map(|policy| policy.regions().unwrap());
    for region in us.iter().chain(eu) {
        assert_eq!(*region, region.to_ascii_lowercase());
    }
    assert!(us.iter().all(|region| !eu.contains(region)));
}

#[test]
fn every_name_reads_back() {
    for one in RegionPolicy::ALL {
        assert_eq!(RegionPolicy::from_name(one.as_str()), Some(one));
    }
    for one in DataBoundary::ALL {
        assert_eq!(DataBoundary::from_name(one.as_str()), Some(one));
        assert_eq!(one.or_stricter(DataBoundary::Strict), DataBoundary::Strict);
        assert_eq!(one.or_stricter(DataBoundary::Project), one);
    }
}
