//! Runs: one shape whatever serves them, every envelope, and validation errors with pointers.

use domain::{Operation, Outcome, Profile};
use harness::{Behaviour, UsageMode};
use serde_json::{Value, json};

use crate::bench::{Bench, Serves, on_bench, on_core};

const MODEL: &str = "openai/gpt-4o-mini";

fn ask(app: &str) -> Value {
    json!({"app": app, "input": {"prompt": "Say something about tides."}})
}

/// The shape of a value: field names and types without the content.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(map) => map.iter().map(|(name, value)| (name.clone(), shape(value))).collect(),
        Value::Array(list) => list.iter().map(shape).collect(),
        Value::String(_) => json!("string"),
        Value::Number(_) => json!("number"),
        other => other.clone(),
    }
}

#[test]
fn the_snippet_answers_with_a_finished_task_and_one_exact_record() {
    on_bench(async |bench| {
        let input = json!({"prompt": "Summarize this quarterly report", "document": "data:,Sales%20rose."});
        let body = json!({"app": MODEL, "input": input});
        let answer = bench.run(200, &body).await;
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let trace = answer.header("agent-trace-id").unwrap().to_owned();
        assert_eq!(answer.header("x-request-id"), Some(trace.as_str()));
        assert_eq!(answer.header("agent-execution-profile"), Some("byok"));
        assert_eq!(answer.header("agent-attempts"), Some("1"));
        assert!(answer.header("agent-byok-credential-id").is_some());

        let sent = &bench.emulator.journal()[0];
        assert_eq!(sent.json()["model"], "gpt-4o-mini");
        let content = sent.json()["messages"][0]["content"].as_str().unwrap().to_owned();
        let document = "<document name=\"document\" type=\"text/plain\">\nSales rose.\n";
        assert!(content.starts_with(document), "{content}");
        assert!(content.ends_with("\n\nSummarize this quarterly report"), "{content}");
        assert_eq!(bench.emulator.violations(), []);

        let records = bench.records().await;
        assert_eq!(records.len(), 1);
        let record = &records[0];
        assert_eq!((record.operation, record.outcome), (Operation::Run, Outcome::Completed));
        assert_eq!((record.trace.to_string(), record.profile()), (trace.clone(), Some(Profile::Byok)));
        let tokens = record.usage.prompt_total() + record.usage.completion_total();
        assert_eq!(tokens, sent.prompt_tokens + sent.said_tokens);

        let whole = answer.json();
        // This core has no store of tasks.
        assert_eq!(whole["messages"].as_array().map(Vec::len), Some(1), "{whole}");
        assert_eq!(whole["messages"][0]["code"], "task_not_kept");
        let task = &whole["data"];
        assert_eq!(task["id"], trace.replace("trc_", "tsk_"));
        let (status, app, app_id) = (&task["status"], &task["app"], &task["app_id"]);
        assert_eq!((status, app, app_id), (&json!(10), &json!(MODEL), &json!(MODEL)));
        assert_eq!(task["input"], body["input"]);
        assert!(!task["output"]["response"].as_str().unwrap().is_empty());
        let event = json!({"tier": "cloud", "type": "text", "model": MODEL, "quantity": tokens,
            "unit": "tokens", "estimated": false});
        assert_eq!(task["usage_events"], json!([event]));
    });
}

#[test]
fn counts_are_those_of_the_books_and_estimates_say_so() {
    on_bench(async |bench| {
        bench.emulator.script_all([Behaviour::ok().usage(UsageMode::Missing)]);
        let event = bench.run(200, &ask(MODEL)).await.json()["data"]["usage_events"][0].clone();
        let usage = bench.records().await[0].usage;
        assert!(usage.is_estimated());
        assert_eq!(event["quantity"], usage.prompt_total() + usage.completion_total());
        assert_eq!(event["estimated"], true);
    });
}

#[test]
fn one_shape_whoever_serves() {
    on_core(async {
        let mut shapes = Vec::new();
        for (serves, app, profile, tier) in [
            (Serves::Own, MODEL, "byok", "cloud"),
            (Serves::Pool, MODEL, "managed_provider", "cloud"),
            (Serves::Node, "local-model", "byoc", "private"),
        ] {
            let bench = Bench::start(serves).await;
            let answer = bench.run(200, &ask(app)).await;
            assert_eq!(answer.header("agent-execution-profile"), Some(profile));
            assert_eq!(answer.json()["data"]["usage_events"][0]["tier"], tier);
            assert_eq!(answer.json()["data"]["infra"], tier);
            assert_eq!(bench.records().await.len(), 1);
            shapes.push(shape(&answer.json()));
        }
        assert_eq!(shapes[0], shapes[1]);
        assert_eq!(shapes[0], shapes[2]);
    });
}

#[test]
fn each_version_gets_its_envelope() {
    on_bench(async |bench| {
        let bare = bench.run_with(("x-api-version", "2"), &ask(MODEL)).await;
        assert_eq!(bare.json()["status"], 10, "{}", bare.text());
        let first = bench.run_with(("X-API-Version", "1"), &ask(MODEL)).await;
        assert_eq!((&first.json()["success"], &first.json()["status"]), (&json!(true), &json!(200)));
        assert_eq!(first.json()["data"]["status"], 10);
    });
}

#[test]
fn system_and_max_tokens_reach_the_model_and_a_cut_is_told() {
    on_bench(async |bench| {
        let mut body = ask(MODEL);
        body["input"]["system"] = json!("Be brief.");
        body["input"]["max_tokens"] = json!(3);
        let answer = bench.run(200, &body).await;
        let sent = bench.emulator.journal()[0].json();
        assert_eq!(sent["messages"][0], json!({"role": "system", "content": "Be brief."}));
        assert_eq!(sent["max_tokens"], 3);
        assert_eq!(answer.json()["messages"][0]["code"], "output_truncated", "{}", answer.text());
    });
}

#[test]
fn what_does_not_fit_reaches_no_upstream_and_is_named() {
    on_bench(async |bench| {
        let with = |input: Value| json!({"app": MODEL, "input": input});
        let document = |document: Value| with(json!({"prompt": "x", "document": document}));
        for (body, pointer) in [
            (with(json!({})), "/input/prompt"),
            (json!({"app": MODEL}), "/input"),
            (with(json!({"prompt": ""})), "/input/prompt"),
            (with(json!({"prompt": "x", "max_tokens": "9"})), "/input/max_tokens"),
            (with(json!({"prompt": "x", "image": "y"})), "/input/image"),
            (document(json!("report.txt")), "/input/document"),
            (document(json!("file:///etc/passwd")), "/input/document"),
            (document(json!({"uri": "ftp://h/x"})), "/input/document/uri"),
        ] {
            let answer = bench.run(422, &body).await;
            assert_eq!(answer.header("content-type"), Some("application/problem+json"));
            let problem = answer.json();
            assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
            assert_eq!((&problem["status"], &problem["code"]), (&json!(422), &json!("validation_error")));
            assert!(problem["type"].as_str().unwrap().ends_with("/validation_error"), "{problem}");
            assert!(problem["detail"].as_str().unwrap().contains(pointer), "{problem}");
            assert_eq!(problem["request_id"].as_str(), answer.header("x-request-id"));
        }
        assert!(bench.emulator.journal().is_empty());
        assert!(bench.records().await.is_empty());
        let counted = bench.core.counters.snapshot();
        assert!(counted.contains(&("refusals", "validation_error", 8)), "{counted:?}");
        assert!(counted.contains(&("answers", "4xx", 8)), "{counted:?}");
    });
}

#[test]
fn errors_of_the_line_are_problems_in_the_clients_words() {
    on_bench(async |bench| {
        let unknown = bench.run(404, &ask("nobody/knows-it")).await;
        assert_eq!(unknown.header("content-type"), Some("application/problem+json"));
        assert_eq!(unknown.json()["param"], "app", "{}", unknown.text());

        bench.emulator.script_all([Behaviour::status(401)]);
        let refused = bench.run(502, &ask(MODEL)).await;
        assert_eq!(refused.header("content-type"), Some("application/problem+json"));
        assert_eq!(refused.header("agent-execution-profile"), Some("byok"));
        assert_eq!(refused.json()["request_id"].as_str(), refused.header("x-request-id"));
        let records = bench.records().await;
        assert_eq!(records.iter().map(|record| record.status).collect::<Vec<_>>(), [404, 502]);
    });
}

#[test]
fn a_stranger_is_refused_in_this_grammar() {
    on_bench(async |bench| {
        let headers = ("authorization", "Bearer tg_live_wrong");
        let answer = bench.run_with(headers, &ask(MODEL)).await;
        assert_eq!(answer.status, 401, "{}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert!(bench.records().await.is_empty());
    });
}
