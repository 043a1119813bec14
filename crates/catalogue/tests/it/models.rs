//! The models, offers and prices.

use std::collections::HashSet;

use catalogue::{Offer, TierRates};
use domain::{HostedTool, Modality, Nanos, Price, Tier, Units, Usage};

use crate::{FIRST_CLASS, shipped};

/// The minimum number of models in the catalogue.
const ALL_MODELS_MIN: usize = 150;
/// The minimum number of models that the first-class providers have together.
const MODELS_MIN: usize = 60;

#[test]
fn what_everybody_asks_for_is_there_and_priced() {
    let catalogue = shipped();
    for (name, input, cached_read, output) in [
        ("openai/gpt-4o", 2_500_000, Some(1_250_000), 10_000_000),
        ("openai/gpt-4o-mini", 150_000, Some(75_000), 600_000),
        ("openai/gpt-4.1", 2_000_000, Some(500_000), 8_000_000),
        ("openai/o3", 2_000_000, Some(500_000), 8_000_000),
        ("openai/gpt-5.4", 2_500_000, Some(250_000), 15_000_000),
        ("openai/text-embedding-3-small", 20_000, None, 0),
        ("openai/omni-moderation-latest", 0, None, 0),
        ("openai/gpt-4o-transcribe", 2_500_000, None, 10_000_000),
        ("anthropic/claude-sonnet-4-6", 3_000_000, Some(300_000), 15_000_000),
        ("anthropic/claude-opus-5-5", 4_000_000, Some(200_000), 20_000_000),
        ("google/gemini-2.5-pro", 1_250_000, Some(125_000), 10_000_000),
        ("google/gemini-embedding-001", 150_000, None, 0),
        ("xai/grok-4.7", 2_000_000, Some(500_000), 6_000_000),
        ("moonshotai/Kimi-K2.6", 950_000, Some(160_000), 4_000_000),
    ] {
        let model = catalogue.model(name).unwrap_or_else(|| panic!("{name} is missing"));
        let rates = model.offers[0].rates.unwrap_or_else(|| panic!("{name} is unpriced"));
        let found = (rates.input, rates.cached_read, rates.output);
        assert_eq!(found, (Price(input), cached_read.map(Price), Price(output)), "{name}");
    }
    let llama = catalogue.model("meta-llama/Llama-3.3-70B-Instruct").unwrap();
    let sellers: Vec<&str> = llama.offers.iter().map(|offer| offer.provider.as_str()).collect();
    assert_eq!(sellers, ["together_ai", "nebius", "aws_bedrock", "vertex_ai", "openrouter"]);
}

#[test]
fn the_first_class_providers_are_covered() {
    let catalogue = shipped();
    let (mut models, mut priced) = (0, 0);
    for slug in FIRST_CLASS {
        let offers: Vec<&Offer> = catalogue.models().iter().filter_map(|model| model.offer(slug)).collect();
        let with_price = offers.iter().filter(|offer| offer.rates.is_some()).count();
        println!("{slug}: {} models, {with_price} priced", offers.len());
        models += offers.len();
        priced += with_price;
    }
    println!("together: {models} models, {priced} priced");
    assert!(models >= MODELS_MIN, "{models} models");
    assert!(priced > 0, "{priced} of {models} priced");
}

/// `make test` shows this line, so that a share that falls is seen. No share is required: a price that can't
/// be read is better omitted, and the models that must have one are named above.
#[test]
fn the_whole_is_large_and_whatever_has_no_price_says_so() {
    let catalogue = shipped();
    let models = catalogue.models();
    let offers: Vec<&Offer> = models.iter().flat_map(|model| &model.offers).collect();
    for facts in catalogue.providers() {
        let own = offers.iter().filter(|offer| offer.provider == facts.slug);
        let priced = own.clone().filter(|offer| offer.rates.is_some()).count();
        println!("{}: {} offers, {priced} priced", facts.slug, own.count());
    }
    let priced = offers.iter().filter(|offer| offer.rates.is_some()).count();
    let share = priced * 100 / offers.len();
    println!("{} models, {} offers, {share} % priced", models.len(), offers.len());
    assert!(models.len() >= ALL_MODELS_MIN, "{} models", models.len());
    let silent = offers.iter().filter(|offer| offer.rates.is_none() && offer.origin.source != "unverified");
    assert_eq!(silent.count(), 0);
}

#[test]
fn every_price_says_where_and_when_it_was_read() {
    for model in shipped().models() {
        for offer in &model.offers {
            let origin = &offer.origin;
            assert_eq!(offer.rates.is_none(), origin.source == "unverified", "{}", model.full);
            assert_eq!(offer.rates.is_none(), origin.checked.is_empty(), "{}", model.full);
            // A repository that lists prices is not a provider; what it lists is as old as its file.
            let repeats = origin.source.contains("github.com") || origin.source.contains("quote");
            assert!(origin.is_third_hand || !repeats, "{}: {}", model.full, origin.source);
            let lists = ["anomalyco/models.dev", "pydantic/genai-prices prices/"];
            let is_listed = lists.iter().any(|list| origin.source.contains(list));
            assert!(origin.as_of.is_some() || !is_listed, "{}: {}", model.full, origin.source);
            let day = origin.as_of.as_deref();
            assert!(
                day.is_none_or(|day| day <= &*origin.checked && origin.source.contains(day)),
                "{}",
                model.full
            );
        }
    }
}

#[test]
fn tiers_and_fees_have_a_price_where_one_was_read() {
    let catalogue = shipped();
    let of = |model: &str, seller: &str, wanted: Tier| {
        let offer = catalogue.model(model).unwrap().offer(seller).unwrap();
        offer.tiers.iter().find(|price| price.tier == wanted).map(|price| price.price)
    };
    assert_eq!(of("openai/gpt-4o-mini", "openai", Tier::Flex), Some(TierRates::Percent(50)));
    let Some(TierRates::Rates(rates)) = of("openai/gpt-4o-mini", "openai", Tier::Priority) else { panic!() };
    assert_eq!((rates.input, rates.cached_read), (Price(250_000), Some(Price(125_000))));
    assert_eq!(rates.output, Price(1_000_000));
    assert_eq!(of("openai/gpt-4o-mini", "openai", Tier::Scale), None);
    assert_eq!(of("google/gemini-2.5-pro", "gemini", Tier::Flex), Some(TierRates::Percent(50)));
    assert_eq!(of("google/gemini-2.5-pro", "gemini", Tier::Priority), None, "a range isn't a price");
    for offer in catalogue.models().iter().flat_map(|model| &model.offers) {
        for price in &*offer.tiers {
            let is_dearer = match price.price {
                TierRates::Percent(percent) => percent > 100,
                TierRates::Rates(it) => offer.rates.is_some_and(|ours| it.output.0 > ours.output.0),
            };
            assert_eq!(is_dearer, price.tier == Tier::Priority, "{} {:?}", offer.upstream_model, price.tier);
            assert!(!price.origin.source.is_empty() && !price.origin.checked.is_empty());
        }
    }
    let searches = |slug: &str| {
        let fees = &catalogue.provider(slug).unwrap().fees;
        fees.iter().find(|fee| fee.tool == HostedTool::WebSearch).map(|fee| fee.price.for_thousand())
    };
    assert_eq!((searches("openai"), searches("anthropic")), (Some(10_000_000), Some(10_000_000)));
    assert_eq!(searches("gemini"), None);
}

#[test]
fn no_name_stands_for_two_things() {
    let catalogue = shipped();
    let mut full = HashSet::new();
    let mut sold = HashSet::new();
    for model in catalogue.models() {
        assert!(full.insert(model.full.to_lowercase()), "{} stands twice", model.full);
        for offer in &model.offers {
            assert_eq!(catalogue.provider(&offer.provider).map(|facts| &facts.slug), Some(&offer.provider));
            let at_seller = (offer.provider.clone(), offer.upstream_model.clone());
            assert!(sold.insert(at_seller), "{} sells {} twice", offer.provider, offer.upstream_model);
        }
    }
}

#[test]
fn a_bare_name_of_the_first_class_leads_to_one_model() {
    let catalogue = shipped();
    for model in
        catalogue.models().iter().filter(|model| FIRST_CLASS.iter().any(|slug| model.offer(slug).is_some()))
    {
        assert_eq!(catalogue.by_bare_name(&model.name).len(), 1, "{}", model.full);
    }
}

#[test]
fn a_long_prompt_is_dearer_and_costs_so_from_its_first_token() {
    let catalogue = shipped();
    for offer in catalogue.models().iter().flat_map(|model| &model.offers) {
        let Some(long) = offer.long_prompt else {
            assert_eq!(offer.rates_for(u64::MAX), offer.rates);
            continue;
        };
        let rates = offer.rates.unwrap();
        assert_eq!(offer.rates_for(long.above_tokens), Some(rates));
        assert_eq!(offer.rates_for(long.above_tokens + 1), Some(long.rates));
        assert!(long.rates.input.0 > rates.input.0, "{}", offer.upstream_model);
        assert!(long.rates.output.0 > rates.output.0, "{}", offer.upstream_model);
        assert_eq!(long.rates.cached_read.is_some(), rates.cached_read.is_some(), "{}", offer.upstream_model);
        assert_eq!(long.rates.cache_write.is_some(), rates.cache_write.is_some(), "{}", offer.upstream_model);
    }
    let whisper = catalogue.model("openai/whisper-1").unwrap().offers[0].rates.unwrap();
    assert_eq!(whisper.units.audio_ms.map(Price::for_minute), Some(6_000));
    let pro = catalogue.model("google/gemini-2.5-pro").unwrap().offer("gemini").unwrap();
    assert_eq!(pro.rates_for(200_000).unwrap().input, Price(1_250_000));
    assert_eq!(pro.rates_for(200_001).unwrap().input, Price(2_500_000));
}

#[test]
fn what_is_sold_by_the_unit_has_no_price_of_tokens() {
    let catalogue = shipped();
    let spoken = catalogue.model("openai/tts-1").unwrap().offer("openai").unwrap().rates.unwrap();
    assert!(!spoken.are_of_tokens());
    let units = Units { characters: 1_000_000, ..Units::default() };
    assert_eq!(spoken.cost(&Usage { units, ..Usage::default() }), Nanos(15_000_000_000));
    let read = |rates: &str| {
        let overlay = format!(
            "[[model]]\nname = \"acme/x\"\nmodality = \"image\"\n[[model.offer]]\nprovider = \"openai\"\nupstream_model = \"x\"\nrates = {rates}\n"
        );
        let stated = shipped().with_overlay(&overlay);
        stated.map(|catalogue| catalogue.model("acme/x").unwrap().offers[0].rates.unwrap())
    };
    let units = "{ per_image = 40_000, per_audio_minute = 6_000, per_thousand_searches = 2_000_000 }";
    let rates = read(units).unwrap();
    assert_eq!(rates.units.image, Some(Price(40_000_000_000)));
    assert_eq!(rates.units.audio_ms, Some(Price(100_000)));
    assert_eq!(rates.units.search, Some(Price(2_000_000_000)));
    assert!(read("{ image_output = 5 }").is_err(), "a picture's tokens alone are no price of the prompt");
    assert!(read("{ per_image = 10_000_000_001 }").is_err());
}

#[test]
fn what_is_no_conversation_has_its_own_modality() {
    let catalogue = shipped();
    for (name, modality) in [
        ("openai/text-embedding-3-large", Modality::Embedding),
        ("google/gemini-embedding-2", Modality::Embedding),
        ("openai/gpt-image-1-mini", Modality::Image),
        ("openai/tts-1", Modality::Audio),
        ("Qwen/Qwen3-Reranker-8B", Modality::Rerank),
        ("openai/omni-moderation-latest", Modality::Moderation),
        ("openai/whisper-1", Modality::Audio),
        ("openai/gpt-4o", Modality::Chat),
    ] {
        assert_eq!(catalogue.model(name).unwrap().modality, modality, "{name}");
        assert_eq!(Modality::from_word(modality.as_str()), Some(modality));
    }
}

#[test]
fn a_model_without_a_row_does_what_its_name_tells() {
    let catalogue = shipped();
    let images = "openai gpt-image-1, openai dall-e-3, azure_openai gpt-image-1.5, \
                  vertex_ai google/imagen-4.0-generate-001, together_ai black-forest-labs/FLUX.1-schnell";
    let films = "openai sora-2, vertex_ai veo-3.0-generate-001, my-proxy openai/sora-2, fal fal-ai/veo3, \
                 fal fal-ai/kling-video/v2.5-turbo/pro/text-to-video";
    let unknown = "openai gpt-99, gemini gemini-2.5-flash-image, fal fal-ai/flux/dev, my-vllm llava-video-7b";
    for (expected, names) in [
        (Some(Modality::Image), images),
        (Some(Modality::Video), films),
        (Some(Modality::Audio), "openai gpt-4o-mini-tts-2025-12-15, fal fal-ai/elevenlabs/tts/turbo"),
        (Some(Modality::Realtime), "openai gpt-4o-realtime-preview"),
        (None, unknown),
    ] {
        for name in names.split(", ") {
            let (seller, model) = name.split_once(' ').unwrap();
            assert_eq!(catalogue.modality_by_name(seller, model), expected, "{name}");
        }
    }
    assert_eq!(catalogue.provider("fal").unwrap().modality, Some(Modality::Image));
    let elsewhere = |name| catalogue.served_elsewhere("gemini", name).map(|facts| facts.slug.as_str());
    assert_eq!((elsewhere("veo-3.0"), elsewhere("gemini-9")), (Some("vertex_ai"), None));
    for kind in catalogue.providers().iter().flat_map(|facts| &facts.kinds) {
        assert!(kind.at.as_ref().is_none_or(|at| catalogue.provider(at).is_some()), "{kind:?}");
    }
    let overlay = "[[model]]\nname = \"openai/gpt-image-7\"\n[[model.offer]]\nprovider = \"openai\"\nupstream_model = \"gpt-image-7\"\n";
    let stated = shipped().with_overlay(overlay).unwrap();
    assert_eq!(stated.model("openai/gpt-image-7").unwrap().modality, Modality::Image);
}

#[test]
fn names_and_synonyms_lead_to_their_provider() {
    let catalogue = shipped();
    let names = "openai=openai together=together_ai nebius=nebius google=gemini google_gemini=gemini \
                 bedrock=aws_bedrock azure=azure_openai foundry=azure_foundry vertex=vertex_ai \
                 fireworks=fireworks_ai mistral=mistral fal=fal xai=xai anthropic=anthropic";
    for (name, slug) in names.split(' ').map(|pair| pair.split_once('=').unwrap()) {
        let facts = catalogue.provider(name).unwrap();
        assert_eq!((facts.slug.as_str(), facts.available), (slug, true), "{name}");
    }
    let emergency = catalogue.provider("openrouter").unwrap();
    assert!(emergency.emergency_only && emergency.managed && !emergency.byok);
    assert!(catalogue.provider("my-vllm").is_none() && catalogue.facts("my-vllm").unwrap().custom);
    assert_eq!(catalogue.own_provider("openai").unwrap().slug, "openai");
    assert!(catalogue.own_provider("meta-llama").is_none() && catalogue.is_publisher("meta-llama"));
}

#[test]
fn a_first_class_provider_is_ready_to_be_reached() {
    let catalogue = shipped();
    for slug in FIRST_CLASS {
        let facts = catalogue.provider(slug).unwrap();
        assert!(facts.byok && facts.managed && !facts.custom && !facts.emergency_only, "{slug}");
        assert!(facts.base_url.is_some() && facts.secret_env.is_some(), "{slug}");
        assert!(!facts.publishers.is_empty(), "{slug}");
    }
}

#[test]
fn a_dated_name_at_a_provider_is_its_models_in_each_form_of_a_date() {
    let catalogue = shipped();
    let of = |provider, name| catalogue.named_at(provider, name).map(|model| &*model.full);
    for (provider, name, model) in [
        ("openai", "gpt-4o-mini", "openai/gpt-4o-mini"),
        ("openai", "gpt-4o-mini-2024-07-18", "openai/gpt-4o-mini"),
        ("anthropic", "claude-haiku-4-5-20251001", "anthropic/claude-haiku-4-5"),
    ] {
        assert_eq!(of(provider, name), Some(model), "{provider} {name}");
        assert_eq!(catalogue.batch_percent(provider, name), Some(50), "{provider} {name}");
    }
    for (provider, name) in [
        ("openai", "gpt-4o-mini-2024-07"),
        ("openai", "ft:gpt-4o-mini-2024-07-18:acme::id"),
        ("openai", "claude-haiku-4-5-20251001"),
        ("azure_openai", "gpt-4o-mini-2024-07-18"),
        ("anthropic", "claude-haiku-4-5-2025100x"),
    ] {
        assert_eq!(of(provider, name), None, "{provider} {name}");
    }
}
