//! What a model's name means.

use domain::FaultClass;

use crate::house::{House, short};

/// Everybody who could be meant by something.
fn everybody() -> House {
    House::new()
        .credential(1, "openai")
        .credential(2, "together_ai")
        .credential_with(3, "my-vllm", |entry| entry.base_url = Some("https://vllm.example/v1".into()))
        .node(1, &["llama3:8b", "meta-llama/Llama-3.3-70B-Instruct", "gpt-4o", "qwen/anything"])
        .account(1, "openai")
}

/// The question, the rule, the resolved model, the attempts, and the name at the first seller.
type Row = (&'static str, &'static str, &'static str, &'static str, &'static str);

#[test]
fn each_name_is_read_by_the_first_rule_that_matches() {
    let rows: &[Row] = &[
        // 2: a pinned seller.
        ("openai:gpt-4o", "pinned_seller", "openai/gpt-4o", "c1", "gpt-4o"),
        ("openai:openai/gpt-4o", "pinned_seller", "openai/gpt-4o", "c1", "gpt-4o"),
        (
            "together:meta-llama/Llama-3.3-70B-Instruct",
            "pinned_seller",
            "meta-llama/Llama-3.3-70B-Instruct",
            "c2",
            "meta-llama/Llama-3.3-70B-Instruct-Turbo",
        ),
        (
            "together_ai:meta-llama/Llama-3.3-70B-Instruct-Turbo",
            "pinned_seller",
            "meta-llama/Llama-3.3-70B-Instruct",
            "c2",
            "meta-llama/Llama-3.3-70B-Instruct-Turbo",
        ),
        ("together:new/model:v2", "pinned_seller", "together_ai/new/model:v2", "c2", "new/model:v2"),
        ("my-vllm:qwen/Qwen3", "pinned_seller", "my-vllm/qwen/Qwen3", "c3", "qwen/Qwen3"),
        // A server of the workspace's own may have what the catalogue knows of others.
        ("my-vllm:openai/gpt-4o", "pinned_seller", "my-vllm/openai/gpt-4o", "c3", "openai/gpt-4o"),
        // 3: a model of the catalogue, at each seller of it, nodes among them.
        ("openai/gpt-4o", "catalogue", "openai/gpt-4o", "c1", "gpt-4o"),
        (
            "meta-llama/Llama-3.3-70B-Instruct",
            "catalogue",
            "meta-llama/Llama-3.3-70B-Instruct",
            "c2",
            "meta-llama/Llama-3.3-70B-Instruct-Turbo",
        ),
        // 4: a node's own name, before a bare name of the catalogue.
        ("llama3:8b", "node_model", "llama3:8b", "n1", "llama3:8b"),
        ("gpt-4o", "node_model", "gpt-4o", "n1", "gpt-4o"),
        ("qwen/anything", "node_model", "qwen/anything", "n1", "qwen/anything"),
        // 5: a provider, a synonym or a slug of the workspace, and whatever follows.
        ("openai/gpt-99", "provider_prefix", "openai/gpt-99", "c1", "gpt-99"),
        (
            "openai/ft:gpt-4o:acme::x",
            "provider_prefix",
            "openai/ft:gpt-4o:acme::x",
            "c1",
            "ft:gpt-4o:acme::x",
        ),
        (
            "together/meta-llama/Llama-3.3-70B-Instruct",
            "provider_prefix",
            "meta-llama/Llama-3.3-70B-Instruct",
            "c2",
            "meta-llama/Llama-3.3-70B-Instruct-Turbo",
        ),
        ("my-vllm/a/b/c", "provider_prefix", "my-vllm/a/b/c", "c3", "a/b/c"),
        // 6: a bare name of one model.
        ("gpt-4o-mini", "bare_name", "openai/gpt-4o-mini", "c1", "gpt-4o-mini"),
    ];
    let house = everybody();
    for (model, rule, resolved, attempts, upstream) in rows {
        let answer = house.ask(model);
        assert_eq!(answer.fault, None, "{model}");
        assert_eq!(answer.resolution, *rule, "{model}");
        assert_eq!(answer.resolved_model.as_deref(), Some(*resolved), "{model}");
        assert_eq!(short(&answer), *attempts, "{model}");
        assert_eq!(answer.attempts[0].upstream_model, *upstream, "{model}");
    }
}

#[test]
fn a_name_that_means_nothing_or_too_much_is_refused() {
    let house = everybody();
    for (model, class, code, told) in [
        ("openai/", FaultClass::NotFound, "model_not_found", "no model"),
        ("", FaultClass::NotFound, "model_not_found", "no model"),
        ("gpt-4o-mimi", FaultClass::NotFound, "model_not_found", "openai/gpt-4o-mini"),
        ("GPT-4o-mini", FaultClass::NotFound, "model_not_found", "openai/gpt-4o-mini"),
        ("opnai/gpt-4o", FaultClass::NotFound, "model_not_found", "openai/gpt-4o"),
        ("llama3:8", FaultClass::NotFound, "model_not_found", "llama3:8b"),
        ("nobody/nothing-like-it", FaultClass::NotFound, "model_not_found", "GET /v1/models"),
        ("twin", FaultClass::BadRequest, "model_ambiguous", "acme/twin or other/twin"),
    ] {
        let answer = house.ask(model);
        let fault = answer.fault.unwrap();
        assert_eq!((fault.class, fault.code), (class, code), "{model}");
        assert!(fault.to_string().contains(told), "{model}: {fault}");
        assert_eq!(fault.param.as_deref(), Some("model"));
        assert!(answer.attempts.is_empty() && answer.resolved_model.is_none(), "{model}");
    }
}

#[test]
fn a_clients_text_is_cut_in_messages() {
    let fault = House::new().ask(&format!("{}\u{7}", "x".repeat(100_000))).fault.unwrap();
    assert!(fault.to_string().len() < 1_000);
}
