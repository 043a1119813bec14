//! What `/v1/models` lists.

use domain::{Dialect, Modality, Price, Profile, Rates, RouteScope, RouteSpec};
use snapshot::NodeState;
use std::sync::Arc;

use crate::fixture::Fixture;

#[test]
fn a_name_means_to_lists_what_it_means_to_requests() {
    let mut fixture = Fixture::own(1).credential(2, "gemini").node(1, &["echo"]);
    fixture.dialect = Dialect::Chat;
    for (name, meaning, is_known) in [
        ("openai/gpt-4o-mini", "openai/gpt-4o-mini", true),
        ("gpt-4o-mini", "openai/gpt-4o-mini", true),
        ("openai:gpt-4o-mini", "openai/gpt-4o-mini", true),
        ("gpt-4o-mini-2024-07-18", "openai/gpt-4o-mini", true),
        ("text-embedding-3-small", "openai/text-embedding-3-small", true),
        ("gemini-2.5-flash", "google/gemini-2.5-flash", true),
        ("gemini/gemini-2.5-flash", "google/gemini-2.5-flash", true),
        ("echo", "echo", true),
        ("gpt-of-tomorrow", "openai/gpt-of-tomorrow", true),
        ("a-typing-error", "openai/a-typing-error", false),
    ] {
        let model = fixture.named(name).unwrap_or_else(|fault| panic!("{name}: {fault:?}"));
        assert_eq!((&*model.id, &*model.name, model.is_known), (name, meaning, is_known));
    }
    for name in ["claude-sonnet-4-5", "nobody/knows-it", ""] {
        assert!(fixture.named(name).is_err(), "{name}");
    }
}

fn ids(fixture: &Fixture) -> Vec<String> {
    fixture.served().into_iter().map(|model| model.id).collect()
}

#[test]
fn what_would_be_served_is_listed_and_nothing_else() {
    assert!(ids(&Fixture::new()).is_empty());
    let fixture = Fixture::new()
        .credential(1, "nebius")
        .credential_with(2, "my-vllm", |entry| {
            entry.base_url = Some("https://vllm.example/v1".into());
            entry.pricing = Arc::new(vec![("own".into(), Rates { input: Price(1), ..Rates::default() })]);
        })
        .node(1, &["echo"])
        .node_with(2, &["gone"], |entry| entry.state = NodeState::Draining);
    let shipped = catalogue::Catalogue::embedded().unwrap();
    let sold = |id: &str| shipped.model(id).is_some_and(|model| model.offer("nebius").is_some());
    let all = fixture.served();
    assert!(all.iter().filter(|model| sold(&model.id)).count() > 10);
    // One of the models that the provider has is enough.
    let is_served = |id: &str| id == "meta-llama/Llama-3.3-70B-Instruct" || !sold(id);
    let listed = all.into_iter().filter(|model| is_served(&model.id));
    let listed: Vec<_> = listed.map(|model| (model.id, model.owned_by)).collect();
    let expected = [
        ("echo", "byoc"),
        ("meta-llama/Llama-3.3-70B-Instruct", "meta-llama"),
        ("my-vllm/own", "my-vllm"),
        ("other/twin", "other"),
    ];
    assert_eq!(listed, expected.map(|(id, owner)| (id.to_owned(), owner.to_owned())));
}

#[test]
fn a_route_and_the_modality_narrow_the_list() {
    let scope = RouteScope { model: Some("openai/gpt-4o".into()), ..RouteScope::default() };
    let route = RouteSpec { scope, profiles: vec![Profile::Byoc], ..RouteSpec::default() };
    let mut fixture = Fixture::new().account(1, "openai").credential(1, "nebius").route(1, route);
    let listed = ids(&fixture);
    assert!(!listed.contains(&"openai/gpt-4o".to_owned()) && listed.contains(&"openai/gpt-5.4".to_owned()));
    assert!(!listed.iter().any(|id| id.contains("embedding")));
    fixture.modality = Modality::Embedding;
    let [large, small] = ["openai/text-embedding-3-large", "openai/text-embedding-3-small"];
    let expected = ["Qwen/Qwen3-Embedding-8B", large, small, "openai/text-embedding-ada-002"];
    assert_eq!(ids(&fixture), expected);
}
