//! What a model's name resolves to.

use domain::{Dialect, FaultClass, Modality, Price, RouteScope, RouteSpec};

use crate::fixture::{Fixture, credential_id, short, spec};

const LLAMA: &str = "meta-llama/Llama-3.3-70B-Instruct";
const TURBO: &str = "meta-llama/Llama-3.3-70B-Instruct-Turbo";

/// Every kind of candidate that a name could mean.
fn everybody() -> Fixture {
    Fixture::own(1)
        .credential(2, "together_ai")
        .credential_with(3, "my-vllm", |entry| entry.base_url = Some("https://vllm.example/v1".into()))
        .node(1, &["llama3:8b", LLAMA, "gpt-4o", "qwen/anything"])
        .account(1, "openai")
}

/// The question, the rule, the resolved model, the attempts, and the name at the first provider.
type Row = (&'static str, &'static str, &'static str, &'static str, &'static str);

#[test]
fn each_name_is_read_by_the_first_rule_that_matches() {
    let rows: &[Row] = &[
        // 2: a pinned provider.
        ("openai:gpt-4o", "pinned_seller", "openai/gpt-4o", "c1", "gpt-4o"),
        ("openai:openai/gpt-4o", "pinned_seller", "openai/gpt-4o", "c1", "gpt-4o"),
        ("together:meta-llama/Llama-3.3-70B-Instruct", "pinned_seller", LLAMA, "c2", TURBO),
        ("together_ai:meta-llama/Llama-3.3-70B-Instruct-Turbo", "pinned_seller", LLAMA, "c2", TURBO),
        ("together:new/model:v2", "pinned_seller", "together_ai/new/model:v2", "c2", "new/model:v2"),
        ("my-vllm:qwen/Qwen3", "pinned_seller", "my-vllm/qwen/Qwen3", "c3", "qwen/Qwen3"),
        // A workspace's own server may have a model that the catalogue knows from others.
        ("my-vllm:openai/gpt-4o", "pinned_seller", "my-vllm/openai/gpt-4o", "c3", "openai/gpt-4o"),
        // 3: a model of the catalogue, at each provider of it, including nodes.
        ("openai/gpt-4o", "catalogue", "openai/gpt-4o", "c1", "gpt-4o"),
        (LLAMA, "catalogue", LLAMA, "c2", TURBO),
        // 4: a node's own name, before a bare name of the catalogue.
        ("llama3:8b", "node_model", "llama3:8b", "n1", "llama3:8b"),
        ("gpt-4o", "node_model", "gpt-4o", "n1", "gpt-4o"),
        ("qwen/anything", "node_model", "qwen/anything", "n1", "qwen/anything"),
        // 5: a provider, a synonym or a slug of the workspace, and whatever follows.
        ("openai/gpt-99", "provider_prefix", "openai/gpt-99", "c1", "gpt-99"),
        ("openai/ft:gpt-9:acme::x", "provider_prefix", "openai/ft:gpt-9:acme::x", "c1", "ft:gpt-9:acme::x"),
        ("together/meta-llama/Llama-3.3-70B-Instruct", "provider_prefix", LLAMA, "c2", TURBO),
        ("my-vllm/a/b/c", "provider_prefix", "my-vllm/a/b/c", "c3", "a/b/c"),
        // 6: a bare name of one model.
        ("gpt-4o-mini", "bare_name", "openai/gpt-4o-mini", "c1", "gpt-4o-mini"),
    ];
    let fixture = everybody();
    for (model, rule, resolved, attempts, upstream) in rows {
        let answer = fixture.ask(model);
        assert_eq!(answer.fault, None, "{model}");
        assert_eq!(answer.resolution, *rule, "{model}");
        assert_eq!(answer.resolved_model.as_deref(), Some(*resolved), "{model}");
        assert_eq!(short(&answer), *attempts, "{model}");
        assert_eq!(answer.attempts[0].upstream_model, *upstream, "{model}");
    }
}

#[test]
fn media_models_without_a_row_are_explained_by_what_they_do_where_they_are_served() {
    let at = |entry: &mut snapshot::CredentialEntry| entry.base_url = Some("https://vertex.example".into());
    let scope = RouteScope { modality: Some("image".into()), ..RouteScope::default() };
    let route = RouteSpec { credential_ids: vec![credential_id(1)], ..spec(scope) };
    let fixture =
        five(Dialect::Chat).credential_with(6, "vertex_ai", at).credential(7, "fal").route(1, route);
    for (model, modality, attempts, upstream) in [
        ("openai/gpt-image-1", Modality::Image, "c1", "gpt-image-1"),
        ("dall-e-3", Modality::Image, "c1", "dall-e-3"),
        ("openai/sora-2", Modality::Video, "c1", "sora-2"),
        ("google/veo-3.0-generate-001", Modality::Video, "c6", "veo-3.0-generate-001"),
        ("veo-3.0-generate-001", Modality::Video, "c6", "veo-3.0-generate-001"),
        ("vertex:veo-3.0-generate-001", Modality::Video, "c6", "veo-3.0-generate-001"),
        ("openai/gpt-99", Modality::Chat, "c1", "gpt-99"),
    ] {
        let answer = fixture.ask_for(model, None);
        assert_eq!(answer.fault, None, "{model}");
        assert_eq!((answer.modality, short(&answer).as_str()), (modality, attempts), "{model}");
        assert_eq!(answer.attempts[0].upstream_model, upstream, "{model}");
        assert_eq!(answer.route.is_some(), modality == Modality::Image, "{model}");
        let named = fixture.named(model).unwrap();
        assert_eq!(named.facts.modality.unwrap_or(Modality::Chat), modality, "{model}");
    }
    // The route rules pictures, so that an account elsewhere has to be named there.
    let of_pictures = fixture.ask_for("fal:fal-ai/flux/dev", None);
    assert_eq!((of_pictures.modality, of_pictures.attempts.len()), (Modality::Image, 0));
    let unruled = five(Dialect::Chat).credential(7, "fal");
    assert_eq!(short(&unruled.ask_for("fal:fal-ai/flux/dev", None)), "c7");
    // Policies and routes know it by its publisher's name, too.
    let elsewhere = fixture.ask_for("google/veo-3.0-generate-001", None);
    assert_eq!(elsewhere.resolved_model.as_deref(), Some("vertex_ai/veo-3.0-generate-001"));
    let scope = RouteScope { model: Some("google/veo-*".into()), ..RouteScope::default() };
    let ruled = Fixture::new().credential_with(1, "vertex_ai", at).route(1, spec(scope));
    assert!(ruled.ask_for("google/veo-3.0-generate-001", None).route.is_some());
}

#[test]
fn a_name_that_means_nothing_or_too_much_is_refused() {
    let fixture = everybody();
    for (model, class, code, expected) in [
        ("openai/", FaultClass::NotFound, "model_not_found", "no model"),
        ("", FaultClass::NotFound, "model_not_found", "no model"),
        ("qpt-4o-mimi", FaultClass::NotFound, "model_not_found", "openai/gpt-4o-mini"),
        ("GPT-4o-mini", FaultClass::NotFound, "model_not_found", "openai/gpt-4o-mini"),
        ("opnai/gpt-4o", FaultClass::NotFound, "model_not_found", "openai/gpt-4o"),
        ("llama3:8", FaultClass::NotFound, "model_not_found", "llama3:8b"),
        ("nobody/nothing-like-it", FaultClass::NotFound, "model_not_found", "GET /v1/models"),
        ("twin", FaultClass::BadRequest, "model_ambiguous", "acme/twin or other/twin"),
    ] {
        let answer = fixture.ask(model);
        let fault = answer.fault.unwrap();
        assert_eq!((fault.class, fault.code), (class, code), "{model}");
        assert!(fault.to_string().contains(expected), "{model}: {fault}");
        assert_eq!(fault.param.as_deref(), Some("model"));
        assert!(answer.attempts.is_empty() && answer.resolved_model.is_none(), "{model}");
    }
}

#[test]
fn a_clients_text_is_cut_in_messages() {
    let fault = Fixture::new().ask(&format!("{}\u{7}", "x".repeat(100_000))).fault.unwrap();
    assert!(fault.to_string().len() < 1_000);
}

/// A workspace with a credential of each of the five, called on the paths of a dialect.
fn five(dialect: Dialect) -> Fixture {
    let providers = (1..).zip(["openai", "anthropic", "gemini", "xai", "mistral"]);
    let add = |fixture: Fixture, (number, provider)| fixture.credential(number, provider);
    Fixture { dialect, ..providers.fold(Fixture::new(), add) }
}

/// The names that production code pins, as their vendors serve them: which provider
/// they go to, and what is passed on.
#[test]
fn names_as_vendors_have_them_go_to_their_vendors_as_they_are() {
    for (model, rule, resolved, attempts, is_priced) in [
        ("claude-haiku-4-5-20251001", "release", "anthropic/claude-haiku-4-5", "c2", true),
        ("claude-sonnet-4-5-20250929", "release", "anthropic/claude-sonnet-4-5", "c2", true),
        ("claude-opus-4-5-20251101", "release", "anthropic/claude-opus-4-5", "c2", true),
        ("claude-haiku-4-5-latest", "release", "anthropic/claude-haiku-4-5", "c2", true),
        ("claude-sonnet-4-20250514", "family", "anthropic/claude-sonnet-4-20250514", "c2", false),
        ("gpt-4o-2024-08-06", "release", "openai/gpt-4o", "c1", true),
        ("gpt-4o-mini-2024-07-18", "release", "openai/gpt-4o-mini", "c1", true),
        ("gpt-5-codex", "family", "openai/gpt-5-codex", "c1", false),
        ("gpt-5.1-codex", "family", "openai/gpt-5.1-codex", "c1", false),
        ("ft:gpt-4o-mini-2024-07-18:acme::id", "release", "openai/gpt-4o-mini", "c1", true),
        ("ft:gpt-4o-mini:acme:name:id", "release", "openai/gpt-4o-mini", "c1", true),
        ("ft:gpt-3.5-turbo-0125:acme::id", "family", "openai/ft:gpt-3.5-turbo-0125:acme::id", "c1", false),
        ("grok-4", "family", "xai/grok-4", "c4", false),
        ("gemini-flash-latest", "family", "gemini/gemini-flash-latest", "c3", false),
        ("gemini-3-pro-preview", "family", "gemini/gemini-3-pro-preview", "c3", false),
        ("pixtral-12b-2409", "release", "mistralai/pixtral-12b", "c5", true),
        ("o3-deep-research", "family", "openai/o3-deep-research", "c1", false),
    ] {
        for dialect in [Dialect::Native, Dialect::Chat, Dialect::Anthropic] {
            let answer = five(dialect).ask(model);
            assert_eq!(answer.fault, None, "{model}");
            assert_eq!(answer.resolution, rule, "{model}");
            assert_eq!(answer.resolved_model.as_deref(), Some(resolved), "{model}");
            assert_eq!(short(&answer), attempts, "{model}");
            assert_eq!(answer.attempts[0].upstream_model, model);
            assert_eq!(answer.attempts[0].rates.is_some(), is_priced, "{model}");
        }
    }
}

#[test]
fn a_release_with_its_publisher_or_seller_before_it_is_priced_too() {
    for (model, rule, sent) in [
        ("openai/gpt-4o-2024-08-06", "release", "gpt-4o-2024-08-06"),
        ("openai:gpt-4o-2024-08-06", "pinned_seller", "gpt-4o-2024-08-06"),
        ("openai:openai/gpt-4o-2024-08-06", "pinned_seller", "gpt-4o-2024-08-06"),
        ("openai/ft:gpt-4o:acme::x", "release", "ft:gpt-4o:acme::x"),
    ] {
        let (answer, undated) = (five(Dialect::Chat).ask(model), five(Dialect::Chat).ask("gpt-4o"));
        assert_eq!((answer.resolution.as_str(), short(&answer).as_str()), (rule, "c1"), "{model}");
        assert_eq!(answer.resolved_model.as_deref(), Some("openai/gpt-4o"), "{model}");
        let [attempt, plain] = [&answer.attempts[0], &undated.attempts[0]];
        assert_eq!((attempt.upstream_model.as_str(), attempt.rates), (sent, plain.rates), "{model}");
        assert!(plain.rates.is_some_and(|rates| rates.input != Price(0)));
    }
}

/// Any other name goes to the vendor on whose own paths it came in, if there is a credential of it.
#[test]
fn an_unknown_name_goes_to_the_vendor_of_its_dialect() {
    for (dialect, attempts) in [
        (Dialect::Chat, "c1"),
        (Dialect::Responses, "c1"),
        (Dialect::Anthropic, "c2"),
        (Dialect::Gemini, "c3"),
        (Dialect::Run, ""),
        (Dialect::Native, ""),
    ] {
        let answer = five(dialect).ask("brand-new");
        assert_eq!(short(&answer), attempts, "{dialect:?}");
        let rule = if attempts.is_empty() { "" } else { "dialect" };
        assert_eq!(answer.resolution, rule, "{dialect:?}");
        // A prefixed name belongs to that prefix alone.
        let placed = five(dialect).ask("nobody/brand-new").fault.unwrap();
        assert_eq!(placed.code, "model_not_found");
    }
    let mut elsewhere = Fixture::new()
        .credential_with(1, "openai", |entry| entry.environment = Some("staging".into()))
        .account(1, "openai");
    elsewhere.dialect = Dialect::Chat;
    assert_eq!(elsewhere.ask("brand-new").fault.unwrap().code, "model_not_found");
    let fault = Fixture::own(1).ask("grok-4.6x").fault.unwrap();
    assert_eq!(fault.code, "model_not_served");
    let message = fault.to_string();
    assert!(message.contains("tidegate credential add xai") && message.contains("xai/grok-4.6"), "{message}");
}

/// Other providers have their own name for a model: a release of another day is not
/// it, and a fine-tune is not there.
#[test]
fn a_release_is_asked_of_those_who_have_it() {
    let at = |entry: &mut snapshot::CredentialEntry| entry.base_url = Some("https://bedrock.example".into());
    let clouds = || {
        Fixture::new().credential_with(1, "aws_bedrock", at).account(1, "openai").account(2, "azure_openai")
    };
    let answer = clouds().ask("claude-haiku-4-5-20251001");
    assert_eq!(short(&answer), "c1", "{answer:?}");
    assert_ne!(answer.attempts[0].upstream_model, "claude-haiku-4-5-20251001");
    assert_eq!(short(&clouds().ask("claude-haiku-4-5-20270101")), "", "another day");
    // A pooled account is shared: of its customers' fine-tunes only those that its operator lists are served.
    assert_eq!(short(&clouds().ask("gpt-4o-2024-08-06")), "a1");
    assert_eq!(short(&clouds().ask("ft:gpt-4o:acme::x")), "");
    let listed = Fixture::new()
        .account_with(1, "openai", |entry| entry.models = Some(vec!["ft:gpt-4o:acme::x".into()].into()))
        .account_with(2, "openai", |entry| entry.models = Some(vec!["openai/gpt-4o".into()].into()));
    assert_eq!(short(&listed.ask("ft:gpt-4o:acme::x")), "a1");
    assert_eq!(short(&listed.ask("gpt-4o-2024-08-06")), "a2");
}

#[test]
fn a_plan_is_for_what_the_model_does() {
    let fixture = five(Dialect::Chat);
    for (model, modality, attempts) in [
        ("openai/gpt-4o", Modality::Chat, "c1"),
        ("text-embedding-3-small", Modality::Embedding, "c1"),
        ("gpt-image-1-mini", Modality::Image, "c1"),
        ("whisper-1", Modality::Audio, "c1"),
        ("gpt-realtime-2", Modality::Realtime, "c1"),
        ("omni-moderation-latest", Modality::Moderation, "c1"),
    ] {
        let answer = fixture.ask_for(model, None);
        assert_eq!((answer.modality, short(&answer).as_str()), (modality, attempts), "{model}: {answer:?}");
    }
    let answer = fixture.ask_for("openai/gpt-4o", Some(Modality::Image));
    assert_eq!(answer.fault.unwrap().code, "model_modality");
}
