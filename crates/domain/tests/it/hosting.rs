//! The tests of `domain::hosting`.

use std::collections::BTreeMap;

use domain::Hosting;
use domain::hosting::{PLAIN, StoragePlace};

#[test]
fn a_full_name_is_stronger_than_a_bare_one() {
    let named = |full: &str, own: &str| (full.to_owned(), own.to_owned());
    let deployments = BTreeMap::from([named("openai/gpt-4o", "whole"), named("gpt-4o", "bare")]);
    let hosting = Hosting { deployments, ..Hosting::default() };
    assert_eq!(hosting.deployment(&["openai/gpt-4o", "gpt-4o"]), Some("whole"));
    assert_eq!(hosting.deployment(&["other/gpt-4o", "gpt-4o"]), Some("bare"));
    assert_eq!(hosting.deployment(&["openai/gpt-5", "gpt-5"]), None);
    assert_eq!(*PLAIN, Hosting::default());
}

#[test]
fn a_place_in_storage_holds_what_is_below_it_and_nothing_beside() {
    let read = |uri: &'static str| StoragePlace::read(uri);
    let own = read("s3://my-bucket/llm/batches/").unwrap();
    assert_eq!(own, StoragePlace { bucket: "my-bucket", key: "llm/batches" });
    for (uri, is_held) in [
        ("s3://my-bucket/llm/batches", true),
        ("s3://my-bucket/llm/batches/in/a.jsonl", true),
        ("s3://my-bucket/llm/batches2/a.jsonl", false),
        ("s3://my-bucket/llm", false),
        ("s3://my-bucket", false),
        ("s3://my-bucket2/llm/batches/a.jsonl", false),
    ] {
        assert_eq!(own.holds(&read(uri).unwrap()), is_held, "{uri}");
    }
    let whole = read("s3://my-bucket").unwrap();
    assert!(whole.holds(&read("s3://my-bucket/any/thing").unwrap()));
    let places = "my-bucket/llm https://my-bucket/llm s3:// s3://b/x s3://My-Bucket/x s3://-my-bucket/x \
        s3://my_bucket/x s3://my-bucket//x s3://my-bucket/llm/../other s3://my-bucket/./x s3://my-bucket/a%2Fb";
    for wrong in places.split_whitespace().chain(["s3://my-bucket/a b"]) {
        assert_eq!(read(wrong), None, "{wrong}");
    }
}

#[test]
fn a_location_is_stronger_than_a_region() {
    let mut hosting = Hosting { region: Some("here".to_owned()), ..Hosting::default() };
    assert_eq!((hosting.location_or_region(), hosting.word("location")), (Some("here"), Some("here")));
    hosting.location = Some("there".to_owned());
    assert_eq!((hosting.word("location"), hosting.word("region")), (Some("there"), Some("here")));
    assert_eq!(hosting.word("deployments"), None);
}
