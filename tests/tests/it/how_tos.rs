//! Every how-to page does what it says: its commands run, and print what the page shows.

use std::collections::BTreeSet;

use crate::command::workspace;
use crate::pages;

/// A test for each page, named after it. Pages that need a model engine are tests of its tier, because other tiers build a gateway without one.
macro_rules! how_tos {
    ($($(#[$tier:meta])? $page:ident,)*) => {
        const PAGES: &[&str] = &[$(stringify!($page)),*];
        $($(#[$tier])?
        #[tokio::test]
        async fn $page() {
            pages::run(&folder().join(format!("{}.md", stringify!($page).replace('_', "-")))).await;
        })*
    };
}

how_tos! {
    add_a_node, alias_with_a_fallback, answer_similar_questions_from_a_cache, apply_from_a_file,
    back_up_and_restore, cache_answers, call_it_from_an_sdk, define_an_agent, export_usage_as_csv,
    get_events_by_webhook, give_a_team_its_own_key, hedge_slow_requests, invite_people, join_a_node_by_token,
    keep_content_for_seven_days, keep_requests_in_the_eu, limit_the_rate_of_a_key, mask_personal_data,
    own_key_first_then_managed, own_providers_by_kind_of_model, purge_a_request, read_an_invoice,
    restrict_models_with_a_policy, rotate_a_credential, run_a_flow, scrape_metrics,
    see_what_each_end_user_costs, see_why_a_request_failed, send_a_batch,
    #[cfg(feature = "engine")] serve_adapters, set_a_budget, share_a_postgresql_database, store_a_file,
    #[cfg(feature = "engine")] train_an_adapter, try_a_model_as_a_canary, use_a_tool, use_amazon_bedrock,
    use_an_mcp_server, use_azure_openai, use_claude_code, use_vertex_ai, use_your_own_openai_key,
    verify_the_audit_log,
}

/// The tour of five minutes, as a new user takes it.
#[tokio::test]
async fn the_quickstart_works() {
    pages::run(&workspace().join("docs/quickstart.md")).await;
}

#[tokio::test]
async fn the_examples_run() {
    pages::run(&workspace().join("examples/README.md")).await;
}

fn read(path: &str) -> String {
    std::fs::read_to_string(workspace().join(path)).unwrap()
}

/// The texts in backticks with which the bullets of a page begin.
fn listed(page: &str) -> Vec<String> {
    let bullets = page.lines().filter_map(|line| line.strip_prefix("- `")?.split_once('`'));
    bullets.map(|(name, _)| name.to_owned()).collect()
}

/// What the roadmap calls missing is missing.
#[test]
fn the_roadmap_lists_what_is_missing() {
    let missing = listed(&read("docs/roadmap.md"));
    let api: serde_json::Value = serde_json::from_str(&read("docs/openapi.json")).unwrap();
    let commands = read("docs/cli.md");
    let (paths, commands_missing): (Vec<_>, Vec<_>) = missing.iter().partition(|name| name.starts_with('/'));
    assert!(!paths.is_empty() && !commands_missing.is_empty(), "{missing:?}");
    for path in paths {
        assert!(api["paths"].get(path).is_none(), "{path} exists: move it to the changelog");
    }
    for command in commands_missing {
        assert!(!commands.contains(&format!("# `{command}`")), "{command} exists: move it to the changelog");
    }
    assert!(api["paths"].get("/v1/files").is_some() && commands.contains("# `tidegate chat`"));
}

/// Each code that the troubleshooting page explains is one of the table.
#[test]
fn troubleshooting_knows_its_codes() {
    let page = read("docs/troubleshooting.md");
    let codes: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("- **`")?.split('`').next()).collect();
    assert!(codes.len() > 10, "{codes:?}");
    for code in codes {
        let is_known = domain::fault_codes::FAULT_CODES.iter().any(|(known, _)| *known == code);
        assert!(is_known, "{code} isn't a fault code");
    }
}

fn folder() -> std::path::PathBuf {
    workspace().join("docs/how-to")
}

/// A page that is in no test would rot, and one that is long is no how-to.
#[test]
fn every_page_is_run_and_short() {
    let mut found = BTreeSet::new();
    for page in std::fs::read_dir(folder()).unwrap() {
        let page = page.unwrap().path();
        let name = page.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&page).unwrap();
        assert!(text.lines().count() <= LINES_MAX, "{name} has more than {LINES_MAX} lines");
        if name != "README" {
            found.insert(name.replace('-', "_"));
        }
    }
    assert_eq!(found, PAGES.iter().map(|page| (*page).to_owned()).collect());
    let index = read("docs/how-to/README.md");
    for page in PAGES {
        let link = format!("({}.md)", page.replace('_', "-"));
        assert!(index.contains(&link), "docs/how-to/README.md has no link to {link}");
    }
}

const LINES_MAX: usize = 70;
