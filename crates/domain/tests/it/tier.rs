//! The tests of `domain::tier`.

use domain::{HostedTool, HostedTools, Tier};

#[test]
fn each_vendor_s_word_names_a_tier() {
    for (word, tier) in [
        ("auto", None),
        ("SERVICE_TIER_UNSPECIFIED", None),
        ("default", Some(Tier::Standard)),
        ("ON_DEMAND", Some(Tier::Standard)),
        ("FLEX", Some(Tier::Flex)),
        ("SERVICE_TIER_PRIORITY", Some(Tier::Priority)),
        ("PROVISIONED_THROUGHPUT", Some(Tier::Scale)),
        ("gold", Some(Tier::Other)),
    ] {
        assert_eq!(Tier::from_word(word), tier, "{word}");
    }
}

#[test]
fn tools_are_told_apart() {
    let mut tools = HostedTools::default();
    assert!(tools.is_none());
    tools.add(HostedTool::Other);
    tools.add(HostedTool::WebSearch);
    assert_eq!(tools.iter().collect::<Vec<_>>(), [HostedTool::WebSearch, HostedTool::Other]);
    for tool in HostedTool::ALL {
        assert_eq!(HostedTool::from_word(tool.as_str()), Some(tool));
    }
}
