//! The capability manifest, and what the translation takes from it.

use catalogue::{CacheKind, Fact, PurgeControl};
use domain::{Abilities, Grammar, Thinking, Vocabulary};

use crate::{FIRST_CLASS, shipped};

#[test]
fn every_first_class_provider_says_every_fact() {
    let catalogue = shipped();
    let manifest = catalogue.capabilities();
    assert!(manifest.revision().starts_with("cap_2026_"), "{}", manifest.revision());
    for slug in FIRST_CLASS {
        let provider = manifest.provider(slug).unwrap_or_else(|| panic!("{slug} is missing"));
        assert!(provider.facts().missing().is_empty(), "{slug}");
        let rows = provider.models().iter().map(|row| &row.facts).chain([provider.facts()]);
        for (name, source, checked, has_value) in rows.flat_map(|facts| facts.readings()) {
            assert_eq!(has_value, source != "unverified", "{slug}, {name}");
            assert_eq!(has_value, checked.len() == 10, "{slug}, {name}");
        }
        let read = provider.facts().readings().iter().filter(|(_, _, _, has_value)| *has_value).count();
        println!("{slug}: {read} of {} facts read", provider.facts().readings().len());
    }
}

#[test]
fn every_row_speaks_of_a_model_that_could_be_asked_for() {
    let catalogue = shipped();
    let unused: Vec<String> = catalogue
        .capabilities()
        .providers()
        .iter()
        .flat_map(|provider| {
            let sold: Vec<&str> = catalogue
                .models()
                .iter()
                .filter_map(|model| model.offer(provider.slug()))
                .map(|offer| offer.upstream_model.rsplit('/').next().unwrap_or_default())
                .collect();
            let is_sold = move |name: &str| match name.strip_suffix('*') {
                Some(prefix) => sold.iter().any(|model| model.starts_with(prefix)),
                None => sold.contains(&name),
            };
            provider
                .models()
                .iter()
                .filter(move |row| !row.names.iter().any(|name| is_sold(name)))
                .map(|row| format!("{} {:?}", provider.slug(), row.names))
        })
        .collect();
    // Models that no provider lists any more, and that customers' own keys still reach.
    let known = [
        r#"openai ["gpt-audio*", "gpt-4o-audio*", "gpt-4o-mini-audio*"]"#,
        r#"openai ["gpt-5-chat*"]"#,
        r#"anthropic ["claude-3-7*", "claude-opus-4-0*", "claude-opus-4-1*", "claude-opus-4-2*", "claude-sonnet-4-0*", "claude-sonnet-4-2*"]"#,
        r#"anthropic ["claude-3-5*", "claude-3-haiku*", "claude-3-opus*", "claude-3-sonnet*"]"#,
        r#"gemini ["gemini-2.0*"]"#,
        r#"vertex_ai ["claude-3-7*", "claude-opus-4-0*", "claude-opus-4-1*", "claude-opus-4-2*", "claude-sonnet-4-0*", "claude-sonnet-4-2*"]"#,
    ];
    assert_eq!(unused, known);
}

#[test]
fn requests_are_written_for_the_model_they_go_to() {
    let catalogue = shipped();
    let (budget, effort) = (Thinking::Budget, Thinking::Effort);
    // Sampling refused, developer role, cache marks, turns of the role `system`.
    for (provider, model, output, thinking, flags) in [
        ("openai", "openai/gpt-4o", Some(16_384), Thinking::Never, [false, false, false, false]),
        ("openai", "gpt-4o-2024-08-06", None, Thinking::Never, [false, false, false, false]),
        ("openai", "openai/o4-mini", Some(100_000), effort, [true, true, false, false]),
        ("openai", "openai/gpt-5-mini", Some(128_000), effort, [true, true, false, false]),
        ("openai", "openai/gpt-5.3-chat-latest", Some(16_384), Thinking::Never, [false, false, false, false]),
        ("openai", "openai/gpt-5.6-sol", Some(128_000), effort, [true, true, true, false]),
        ("openai", "openai/gpt-6.2-sol", Some(128_000), effort, [true, false, true, false]),
        ("openai", "openai/text-embedding-3-small", None, Thinking::Never, [false, false, false, false]),
        ("anthropic", "anthropic/claude-sonnet-4-6", Some(128_000), effort, [false, false, true, false]),
        ("anthropic", "claude-haiku-4-5-20251001", None, budget, [false, false, true, false]),
        ("anthropic", "anthropic/claude-opus-4-5", Some(64_000), budget, [false, false, true, false]),
        ("anthropic", "anthropic/claude-opus-4-7", Some(128_000), effort, [true, false, true, false]),
        ("anthropic", "anthropic/claude-opus-4-8", Some(128_000), effort, [true, false, true, true]),
        ("anthropic", "claude-opus-5", Some(128_000), effort, [true, false, true, true]),
        ("anthropic", "claude-sonnet-9", None, effort, [true, false, true, false]),
        ("gemini", "google/gemini-2.5-pro", Some(65_536), budget, [false, false, false, false]),
        ("google", "gemini-3.8-flash", Some(65_536), effort, [false, false, false, false]),
        ("xai", "xai/grok-4.7", None, effort, [false, false, false, false]),
        ("xai", "xai/grok-4.20-0309-reasoning", None, Thinking::Never, [false, false, false, false]),
    ] {
        let [refuses_sampling, developer_role, cache_marks, system_turns] = flags;
        let wanted = Abilities {
            output_tokens_max: output,
            thinking,
            refuses_sampling,
            uses_max_tokens: false,
            developer_role,
            cache_marks,
            system_turns,
        };
        assert_eq!(catalogue.abilities(provider, model), wanted, "{provider} {model}");
    }
    let by_model = catalogue.abilities("fireworks_ai", "openai/gpt-oss-120b");
    assert_eq!(by_model, catalogue.abilities("fireworks", "accounts/fireworks/models/gpt-oss-120b"));
    assert_eq!((by_model.output_tokens_max, by_model.thinking), (Some(32_768), effort));
    assert!(by_model.uses_max_tokens);
}

#[test]
fn of_whom_nothing_was_read_the_common_case_holds() {
    let catalogue = shipped();
    assert_eq!(catalogue.abilities("my-vllm", "some/model"), Abilities::default());
    assert_eq!(catalogue.grammars("my-vllm"), [Grammar::Chat]);
    let llama = catalogue.abilities("nebius", "meta-llama/Llama-3.3-70B-Instruct");
    assert_eq!(llama, Abilities { output_tokens_max: Some(8_192), ..Abilities::default() });
}

#[test]
fn each_provider_speaks_its_own_grammars() {
    let catalogue = shipped();
    for (provider, grammars) in [
        ("openai", &[Grammar::Responses, Grammar::Chat][..]),
        ("anthropic", &[Grammar::Anthropic]),
        ("xai", &[Grammar::Responses, Grammar::Chat]),
        ("gemini", &[Grammar::Gemini]),
        ("google", &[Grammar::Gemini]),
        ("fireworks_ai", &[Grammar::Chat, Grammar::Responses, Grammar::Anthropic]),
        ("vertex_ai", &[Grammar::Gemini, Grammar::Anthropic, Grammar::Chat]),
    ] {
        assert_eq!(catalogue.grammars(provider), grammars, "{provider}");
    }
}

#[test]
fn purges_promise_what_a_provider_can_do() {
    let catalogue = shipped();
    for (provider, purge, kind) in [
        ("openai", PurgeControl::Expiry, CacheKind::Automatic),
        ("anthropic", PurgeControl::Expiry, CacheKind::Explicit),
        ("xai", PurgeControl::Expiry, CacheKind::Automatic),
        ("gemini", PurgeControl::DeleteResource, CacheKind::Both),
        ("fireworks_ai", PurgeControl::RotateIsolationKey, CacheKind::Automatic),
    ] {
        let facts = catalogue.capabilities().provider(provider).unwrap().facts();
        assert_eq!(facts.purge.as_ref().and_then(Fact::value), Some(&purge), "{provider}");
        assert_eq!(facts.prompt_cache_type.as_ref().and_then(Fact::value), Some(&kind), "{provider}");
    }
}

/// Cache costs are stated in two places, which must not contradict each other.
#[test]
fn shares_agree_with_the_prices() {
    let catalogue = shipped();
    let mut compared = 0;
    let offers = catalogue.models().iter().flat_map(|model| model.offers.iter().map(move |o| (model, o)));
    for (model, offer) in offers {
        let Some(provider) = catalogue.capabilities().provider(&offer.provider) else { continue };
        let Some(rates) = offer.rates else { continue };
        let facts = provider.facts_of(&offer.upstream_model);
        let discount = facts.prompt_cache_discount_pct.as_ref().and_then(Fact::value);
        if let (Some(read), Some(discount)) = (rates.cached_read, discount) {
            let saved = (rates.input.0 - read.0) * 100 / rates.input.0;
            assert_eq!(saved, *discount, "{}: a cached read costs less by", model.full);
            compared += 1;
        }
        for (price, share, what) in [
            (rates.cache_write, &facts.prompt_cache_write_pct, "a cache write"),
            (rates.cache_write_long, &facts.prompt_cache_extended_write_pct, "a long cache write"),
        ] {
            if let (Some(price), Some(share)) = (price, share.as_ref().and_then(Fact::value)) {
                assert_eq!(price.0 * 100, rates.input.0 * share, "{}: {what}", model.full);
                compared += 1;
            }
        }
    }
    assert!(compared > 80, "{compared} compared");
}

/// The manifest is published: the fact, its source and its date, and no value for an unverified one.
#[test]
fn the_manifest_can_be_told() {
    let catalogue = shipped();
    let encoded = toml::to_string(catalogue.capabilities()).unwrap();
    let read: toml::Table = encoded.parse().unwrap();
    assert_eq!(read["revision"].as_str(), Some(catalogue.capabilities().revision()));
    let first = &read["providers"][0];
    assert_eq!(first["provider"].as_str(), Some("openai"));
    assert_eq!(first["facts"]["prompt_cache_min_tokens"]["value"].as_integer(), Some(1_024));
    assert_eq!(first["facts"]["grammars"]["value"][0].as_str(), Some("responses"));
    assert_eq!(first["facts"]["thinking_off"]["source"].as_str(), Some("unverified"));
    assert!(first["facts"]["thinking_off"].get("value").is_none() && first.get("names").is_none());
}

#[test]
fn models_with_a_public_tokenizer_have_it_wherever_they_are_sold() {
    let catalogue = shipped();
    let (o200k, cl100k) = (Some(Vocabulary::O200k), Some(Vocabulary::Cl100k));
    let of_o200k = "gpt-4o-mini gpt-4.1 gpt-5.4-pro o3 o4-mini-2025-04-16 openai/gpt-oss-20b \
                    accounts/fireworks/models/gpt-oss-120b";
    for (vocabulary, models) in [
        (o200k, of_o200k),
        (cl100k, "gpt-4-turbo gpt-3.5-turbo-0125 text-embedding-3-small"),
        (None, "gpt-6.2-sol claude-sonnet-5-5 gemini-2.5-pro some/model"),
    ] {
        for model in models.split(' ') {
            assert_eq!(catalogue.vocabulary(model), vocabulary, "{model}");
        }
    }
}
