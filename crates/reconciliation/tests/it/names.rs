//! Spellings of models, and their prices.

use catalogue::Catalogue;
use domain::{Price, Tier};
use reconciliation::{Measure, Names};

#[test]
fn spellings_of_one_model_are_one_name() {
    let embedded = Catalogue::embedded().unwrap();
    for (provider, spellings) in [
        ("openai", &["gpt-4o-mini", "gpt-4o-mini-2024-07-18", "GPT 4o mini", "gpt-4o-mini-0718"][..]),
        ("anthropic", &["claude-haiku-4-5", "claude-haiku-4-5-20251001", "Claude Haiku 4.5"]),
        (
            "aws_bedrock",
            &["Claude4.5Haiku", "us.anthropic.claude-haiku-4-5-20251001-v1:0", "anthropic.claude-haiku-4-5"],
        ),
        ("vertex_ai", &["gemini-2.5-flash", "Gemini 2.5 Flash"]),
    ] {
        let mut names = Names::new(&embedded, provider);
        let keys: Vec<_> = spellings.iter().map(|name| names.of(name)).collect();
        assert!(keys.windows(2).all(|pair| pair[0] == pair[1]), "{provider}: {keys:?}");
        assert!(keys[0].contains('/'), "{provider}: {keys:?} is not a name in the catalogue");
    }
    let mut names = Names::new(&embedded, "openai");
    assert_ne!(names.of("gpt-4o"), names.of("gpt-4o-mini"));
    assert_ne!(names.of("gpt-4.1"), names.of("gpt-4o"));
}

#[test]
fn a_price_is_that_of_the_tier_with_its_source() {
    let embedded = Catalogue::embedded().unwrap();
    let names = Names::new(&embedded, "openai");
    let price = |tier| names.price("openai/gpt-4o-mini", tier, Measure::Input).unwrap();
    assert_eq!(price(None).price, Price(150_000));
    assert_eq!(price(Some(Tier::Batch)).price, Price(75_000));
    assert!(price(None).source.starts_with("http"), "{:?}", price(None));
    assert_eq!(names.price("nobody/nothing", None, Measure::Input), None);
    assert_eq!(names.price("openai/gpt-4o-mini", None, Measure::Whole), None);
}
