//! The contract terms stated for a credential or account: validated on write, shown as sent, included in
//! exports, and used for pricing.

use http::Method;
use serde_json::{Value, json};

use crate::ask::{MINI, has, problem, question, trace_of, with};
use crate::gateway::{Gateway, OWN, POOL, id_of};

const PATHS: [&str; 2] = ["/v2/provider-credentials", "/v2/accounts"];

fn stated() -> Value {
    json!({
        "limits": {"requests_per_minute": 500, "tokens_per_minute": 2_000_000, "reserved_units": 50},
        "retention": "zero", "commitment": {"amount_micros": 50_000_000_000_u64, "period": "quarter"},
        "compliance": ["soc2", "hipaa", "soc2"],
        "pricing": {MINI: {"input": 100_000, "output": 400_000, "cached_input": 50_000}},
    })
}

fn body(gateway: &Gateway, path: &str, more: Value) -> Value {
    let secret = if path == PATHS[0] { OWN } else { POOL };
    let base = json!({"provider": "openai", "secret": secret, "base_url": gateway.emulator.base_url()});
    with(base, more)
}

#[tokio::test]
async fn facts_are_shown_changed_and_taken_away() {
    let gateway = Gateway::start().await;
    for path in PATHS {
        let made = gateway.make(path, body(&gateway, path, stated())).await;
        let one = format!("{path}/{}", id_of(&made));
        let mut expected = stated();
        expected["compliance"] = json!(["hipaa", "soc2"]);
        let facts = |view: &Value| {
            let names = ["limits", "retention", "commitment", "compliance", "pricing"];
            Value::Object(names.iter().map(|name| ((*name).to_owned(), view[*name].clone())).collect())
        };
        assert_eq!(facts(&made), expected, "{path}");
        assert_eq!(facts(&gateway.get(&one).await), expected, "{path}");
        // Other changes leave the terms as they are; each term changes independently.
        assert_eq!(facts(&gateway.patch(&one, json!({"display_name": "renamed"})).await), expected, "{path}");
        let changes = json!({"limits": {"tokens_per_minute": null, "concurrent_requests": 8}, "retention": {"days": 30}});
        let changed = gateway.patch(&one, changes).await;
        let limits = json!({"requests_per_minute": 500, "concurrent_requests": 8, "reserved_units": 50});
        has(&changed, json!({"limits": limits, "retention": {"days": 30}}));
        // A dry run shows the result and changes nothing.
        let json = [("content-type", "application/json")];
        let (wish, dry) = (json!({"compliance": ["gdpr"]}).to_string(), format!("{one}?dry_run=true"));
        let rehearsed = gateway.admin().call(Method::PATCH, &dry, &json, wish).await.unwrap();
        assert_eq!(rehearsed.json()["compliance"], json!(["gdpr"]), "{}", rehearsed.text());
        assert_eq!(gateway.get(&one).await, changed_read(&changed, &gateway.get(&one).await), "{path}");
        let none =
            json!({"limits": null, "retention": null, "commitment": null, "compliance": [], "pricing": null});
        let nothing =
            json!({"limits": {}, "retention": null, "commitment": null, "compliance": [], "pricing": {}});
        assert_eq!(facts(&gateway.patch(&one, none).await), nothing, "{path}");
        let audit = gateway.get("/v2/audit?limit=100").await.to_string()
            + &gateway.get("/v2/audit?limit=100&chain=installation").await.to_string();
        assert!(audit.contains(", other limits, retention, commitment, compliance, pricing"), "{audit}");
    }
}

/// The object as the second read must show it, with the counter that a change does not return.
fn changed_read(changed: &Value, read: &Value) -> Value {
    let mut expected = changed.clone();
    if let Some(openings) = read.get("openings") {
        expected["openings"] = openings.clone();
    }
    expected
}

#[tokio::test]
async fn what_no_contract_can_say_is_refused_at_its_field() {
    const TOO_MANY: u64 = 1_000_000_000_001;
    let gateway = Gateway::start().await;
    let long = "a".repeat(64);
    let many: Vec<String> = (0..33).map(|number| format!("tag-{number}")).collect();
    let weekly = json!({"amount_micros": 5, "period": "week"});
    let dear = json!({"input": 1, "output": TOO_MANY});
    let per_minute = Some("#/limits/requests_per_minute");
    let cases = [
        (json!({"limits": {"requests_per_minute": 0}}), "limits.requests_per_minute", per_minute),
        (json!({"limits": {"tokens_per_minute": -1}}), "limits.tokens_per_minute", None),
        (json!({"limits": {"requests_per_day": "many"}}), "limits.requests_per_day", None),
        (json!({"limits": {"concurrent_requests": TOO_MANY}}), "limits.concurrent_requests", None),
        (json!({"limits": {"rpm": 10}}), "limits.rpm", None),
        (json!({"limits": 10}), "limits", None),
        (json!({"retention": "none"}), "retention", Some("#/retention")),
        (json!({"retention": {"days": 0}}), "retention.days", Some("#/retention/days")),
        (json!({"retention": {"days": 3_651}}), "retention.days", None),
        (json!({"retention": 30}), "retention", None),
        (json!({"commitment": {"amount_micros": 0, "period": "month"}}), "commitment.amount_micros", None),
        (json!({"commitment": weekly}), "commitment.period", Some("#/commitment/period")),
        (json!({"commitment": {"amount_micros": 5}}), "commitment", None),
        (json!({"compliance": ["gdpr", "HIPAA"]}), "compliance[1]", Some("#/compliance/1")),
        (json!({"compliance": ["a b"]}), "compliance[0]", None),
        (json!({"compliance": [long]}), "compliance[0]", None),
        (json!({"compliance": [""]}), "compliance[0]", None),
        (json!({"compliance": many}), "compliance", None),
        (json!({"compliance": "hipaa"}), "compliance", None),
        (json!({"pricing": {MINI: {"input": 1}}}), "pricing.openai/gpt-4o-mini", None),
        (json!({"pricing": {MINI: dear}}), "pricing.openai/gpt-4o-mini.output", None),
        (json!({"pricing": {"": {"input": 1, "output": 1}}}), "pricing", None),
    ];
    for path in PATHS {
        let made = gateway.make(path, body(&gateway, path, json!({}))).await;
        let one = format!("{path}/{}", id_of(&made));
        let before = gateway.get(&one).await;
        for (wrong, param, pointer) in &cases {
            for answer in [
                gateway.admin().post(path, &body(&gateway, path, wrong.clone())).await.unwrap(),
                gateway.patched(&one, wrong.clone()).await,
            ] {
                let error = problem(&answer, 400, "invalid_value");
                assert_eq!(error["param"], *param, "{path} {wrong}: {error}");
                assert!(error["fix"].is_string() && !error.to_string().contains(OWN), "{error}");
                if let Some(pointer) = pointer {
                    assert_eq!(error["errors"][0]["pointer"], *pointer, "{error}");
                }
            }
        }
        assert_eq!(gateway.get(&one).await, before, "{path}: nothing of it was kept");
        assert_eq!(gateway.get(path).await["data"].as_array().unwrap().len(), 1, "{path}: none was made");
    }
}

#[cfg(feature = "control")]
#[tokio::test]
async fn an_account_is_paid_at_its_own_prices() {
    let gateway = Gateway::start().await;
    let pricing = json!({MINI: {"input": 1_000_000, "output": 3_000_000}});
    gateway.make(PATHS[1], body(&gateway, PATHS[1], json!({"pricing": pricing, "markup_bps": 1_000}))).await;
    let plan = gateway.plan(json!({"model": MINI})).await;
    assert_eq!(plan["attempts"][0]["pricing"]["input_micros_per_million"], 1_000_000, "{plan}");
    let request = gateway.settled(&trace_of(&gateway.chat_ok(&question(MINI)).await)).await;
    let tally = gateway.emulator.totals().by_key[POOL];
    let paid = tally.prompt_tokens * 1_000 + tally.completion_tokens * 3_000;
    assert_eq!(request["provider_cost_nanos"], paid, "{request}");
    assert_eq!(request["cost_nanos"], paid + paid / 10, "the markup is on what the operator pays: {request}");
}

#[cfg(feature = "control")]
#[tokio::test]
async fn they_are_taken_along_and_said_on_the_command_line() {
    let gateway = Gateway::start().await;
    let cli = gateway.cli().env("OPENAI_API_KEY", OWN);
    let base = gateway.emulator.base_url();
    let terms = "--limit requests_per_minute=500 --retention zero --commitment 50000/quarter \
         --compliance soc2,hipaa --price openai/gpt-4o-mini=0.1/0.4/0.05 --json";
    let terms: Vec<_> = terms.split(' ').collect();
    let add = ["credential", "add", "openai", "--from-env", "--no-verify", "--base-url", &base];
    let made = cli.run(&[&add[..], &terms[..]].concat()).json();
    let add = ["account", "add", "openai", "--base-url", &base];
    let pooled = cli.run_with(&[&add[..], &terms[..]].concat(), POOL).json();
    for one in [&made, &pooled] {
        has(one, json!({"limits": {"requests_per_minute": 500}, "retention": "zero"}));
        has(one, json!({"compliance": ["hipaa", "soc2"], "/commitment/amount_micros": 50_000_000_000_u64}));
        assert_eq!(one["pricing"][MINI], stated()["pricing"][MINI], "{one}");
    }
    let document = cli.run(&["export"]).ok();
    assert_eq!(document.matches("compliance = [\"hipaa\", \"soc2\"]").count(), 2, "{document}");
    let file = gateway.directory().join("facts.toml");
    std::fs::write(&file, &document).unwrap();
    let file = file.display().to_string();
    // The objects are marked as applied, and nothing else changes.
    assert!(!cli.run(&["apply", "-f", &file]).ok().contains(" -> "));
    let again = cli.run(&["apply", "-f", &file]).ok();
    assert!(again.starts_with("No change"), "{again}");
    for (noun, one) in [("credential", &made), ("account", &pooled)] {
        let id = one["id"].as_str().unwrap();
        let back = ["--limit", "requests_per_minute=", "--retention", "30", "--commitment", ""];
        let more = ["--compliance", "", "--price", "openai/gpt-4o-mini=", "--json"];
        let set = cli.run(&[&[noun, "set", id][..], &back[..], &more[..]].concat()).json();
        has(&set, json!({"limits": {}, "commitment": null, "compliance": [], "pricing": {}}));
        has(&set, json!({"retention": {"days": 30}}));
        let refused = cli.run(&[noun, "set", id, "--compliance", "HIPAA"]).failed(2);
        assert!(refused.contains("lower-case"), "{refused}");
    }
    // Applying the document restores its values.
    assert!(cli.run(&["apply", "-f", &file]).ok().contains("changed"), "two are changed");
    assert_eq!(cli.run(&["export"]).ok(), document);
}
