//! The tests of `domain::caching`.

use std::time::Duration;

use domain::limits::{RESPONSE_CACHE_TTL_S, SEMANTIC_CACHE_SIMILARITY_BPS};
use domain::{CacheMode, CachePolicy, Profile, ResponseCacheMode, SemanticCache};

#[test]
fn a_project_comes_before_its_workspace_and_both_before_us() {
    let none = CachePolicy::default();
    assert_eq!(none.mode(Profile::ManagedProvider), CacheMode::Apply);
    assert_eq!(none.mode(Profile::Byok), CacheMode::Suggest);
    let project = CachePolicy { byok: Some(CacheMode::Off), ..none.clone() };
    let (managed, byok) = (Some(CacheMode::Off), Some(CacheMode::Apply));
    let workspace = CachePolicy { managed, byok, ..none.clone() };
    let both = project.or(&workspace);
    assert_eq!(
        [Profile::ManagedProvider, Profile::Byok].map(|profile| both.mode(profile)),
        [CacheMode::Off; 2]
    );
    assert_eq!(none.or(&workspace).mode(Profile::Byok), CacheMode::Apply);
    assert_eq!(both.mode(Profile::Byoc), CacheMode::Off);
}

#[test]
fn prefixes_are_kept_alive_where_someone_says_so_and_requests_may_be_changed() {
    let none = CachePolicy::default();
    let on = CachePolicy { keep_alive: Some(true), ..none.clone() };
    let off = CachePolicy { keep_alive: Some(false), ..none.clone() };
    assert!(!none.keeps_alive(Profile::ManagedProvider) && on.keeps_alive(Profile::ManagedProvider));
    assert!(none.or(&on).keeps_alive(Profile::ManagedProvider));
    assert!(!off.or(&on).keeps_alive(Profile::ManagedProvider), "a project comes first");
    assert!(!on.keeps_alive(Profile::Byok), "nothing is changed there unless the customer allows it");
    let own = CachePolicy { byok: Some(CacheMode::Apply), ..on };
    let profiles = [Profile::Byok, Profile::Subscription, Profile::Byoc];
    assert_eq!(profiles.map(|profile| own.keeps_alive(profile)), [true, false, false]);
}

#[test]
fn answers_are_kept_where_a_project_or_its_workspace_says_so() {
    let none = CachePolicy::default();
    let exact = CachePolicy { responses: Some(ResponseCacheMode::Exact), ..none.clone() };
    let off = CachePolicy { responses: Some(ResponseCacheMode::Off), ..none.clone() };
    let brief = CachePolicy { responses_ttl_s: Some(7), generation: 3, ..none.clone() };
    assert_eq!(none.responses_lifetime(&none), None);
    assert_eq!(exact.responses_lifetime(&none), Some(Duration::from_secs(u64::from(RESPONSE_CACHE_TTL_S))));
    assert_eq!(brief.responses_lifetime(&exact), Some(Duration::from_secs(7)));
    assert_eq!(off.responses_lifetime(&exact), None);
    assert_eq!((brief.or(&exact).generation, exact.or(&brief).generation), (3, 0));
}

#[test]
fn texts_are_compared_where_the_mode_says_so_and_a_model_is_named() {
    let none = CachePolicy::default();
    let semantic = CachePolicy { responses: Some(ResponseCacheMode::Semantic), ..none.clone() };
    let model = CachePolicy { semantic_model: Some("a/b".into()), ..none };
    let strict = CachePolicy { semantic_similarity_bps_min: Some(9_900), ..none };
    assert_eq!((semantic.semantic(), model.semantic()), (None, None));
    assert!(semantic.responses_lifetime(&semantic).is_some(), "the same request is answered at least");
    let expected = |similarity_bps_min| Some(SemanticCache { model: "a/b".into(), similarity_bps_min });
    assert_eq!(semantic.or(&model).semantic(), expected(SEMANTIC_CACHE_SIMILARITY_BPS));
    assert_eq!(strict.or(&semantic.or(&model)).semantic(), expected(9_900));
    let exact = CachePolicy { responses: Some(ResponseCacheMode::Exact), ..strict };
    assert_eq!(exact.or(&semantic.or(&model)).semantic(), None, "a project comes first");
}

#[test]
fn words_are_read_as_they_are_written() {
    for mode in ResponseCacheMode::ALL {
        assert_eq!(ResponseCacheMode::of(mode.as_str()), Some(mode));
    }
    for mode in CacheMode::ALL {
        assert_eq!(CacheMode::of(mode.as_str()), Some(mode));
    }
    assert_eq!(CacheMode::of("on"), None);
}
