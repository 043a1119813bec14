//! What a request loses, and what it is refused for.

use conversation::features::{Feature, FeatureNames};
use conversation::losses::DroppedFields;
use domain::prompt::{Json, ToolKind};
use domain::{FaultClass, Grammar};

#[test]
fn a_mistyped_field_is_told_from_an_unknown_one() {
    let refused = |name: &str| {
        let known = |_| -> FeatureNames { &[(Feature::Temperature, "temperature"), (Feature::Seed, "seed")] };
        let mut losses = DroppedFields::new(Grammar::Chat, Grammar::Anthropic, known);
        losses.drop_unknown(name, true);
        losses.finish(false).unwrap_err().to_string()
    };
    let fault = refused("tempreature");
    assert!(fault.contains("did you mean \"temperature\"?"), "{fault}");
    let short = ("sede", "a short name is near to too many");
    for (unknown, why) in [short, ("sampling_profile", "it is another")] {
        let fault = refused(unknown);
        assert!(!fault.contains("did you mean") && fault.contains("can't express"), "{why}: {fault}");
    }
}

#[test]
fn a_tool_of_a_providers_own_is_refused_by_name_and_what_it_did_before_is_told() {
    let mut losses = DroppedFields::new(Grammar::Responses, Grammar::Anthropic, names);
    losses.drop_foreign("file_search_call");
    assert_eq!(losses.clone().finish(false).unwrap(), ["file_search_call"]);
    let search = ToolKind::Hosted { kind: "file_search".to_owned(), json: Json("{}".to_owned()) };
    losses.drop_tool(1, &search);
    let fault = losses.clone().finish(false).unwrap_err();
    assert_eq!((fault.class, fault.param.as_deref()), (FaultClass::Unsupported, Some("tools[1]")));
    let text = fault.to_string();
    assert!(text.contains("\"tools[1]\", the tool file_search"), "{text}");
    assert!(text.contains("speaks responses ("), "{text}");
    assert_eq!(losses.clone().finish(true).unwrap(), ["file_search_call", "tools[1]"]);
    // A route may let such tools go, and nothing else.
    losses.allow_lost_tools();
    assert_eq!(losses.clone().finish(false).unwrap(), ["file_search_call", "tools[1]"]);
    losses.drop_unknown("other", true);
    assert_eq!(losses.finish(false).unwrap_err().param.as_deref(), Some("other"));
}

fn names(grammar: Grammar) -> FeatureNames {
    match grammar {
        Grammar::Chat => &[(Feature::Seed, "seed"), (Feature::Logprobs, "logprobs")],
        Grammar::Responses | Grammar::Gemini => &[(Feature::Logprobs, "other")],
        Grammar::Anthropic | Grammar::Converse => &[],
    }
}

#[test]
fn meaning_is_refused_by_name_and_a_hint_is_told() {
    let mut losses = DroppedFields::new(Grammar::Chat, Grammar::Anthropic, names);
    losses.drop_feature(Feature::Seed);
    losses.drop_feature(Feature::Seed);
    assert_eq!(losses.clone().finish(false).unwrap(), ["seed"]);
    losses.drop_feature(Feature::Logprobs);
    let fault = losses.clone().finish(false).unwrap_err();
    assert_eq!(fault.param.as_deref(), Some("logprobs"));
    assert!(fault.to_string().contains("chat or responses or gemini"), "{fault}");
    assert_eq!(losses.finish(true).unwrap(), ["seed", "logprobs"]);
}
