//! Fetched documents: under the address guard, as text, and free of charge when the client leaves in the
//! meantime.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::bench::{Bench, Serves, Shelf, on_bench, on_core};

const WITHIN: Duration = Duration::from_secs(30);

fn ask(document: &Value) -> Value {
    json!({"app": "openai/gpt-4o-mini", "input": {"prompt": "What rose?", "document": document}})
}

#[test]
fn a_text_is_fetched_and_named() {
    on_bench(async |bench| {
        let shelf = Shelf::start().await;
        let report = json!(format!("{}/q3%20report.txt?signature=s", shelf.origin));
        bench.run(200, &ask(&report)).await;
        let uri = format!("{}/table", shelf.origin);
        bench.run(200, &ask(&json!({"uri": uri, "filename": "t.csv", "content_type": "text/csv"}))).await;
        let sent = bench.emulator.journal();
        let content = |at: usize| sent[at].json()["messages"][0]["content"].as_str().unwrap().to_owned();
        let framed =
            "<document name=\"q3 report.txt\" type=\"text/plain\">\nSales rose.\n</document>\n\nWhat rose?";
        assert_eq!(content(0), framed);
        let framed = "<document name=\"t.csv\" type=\"text/csv\">\na,b\n1,2\n</document>\n\nWhat rose?";
        assert_eq!(content(1), framed);
        assert_eq!(bench.records().await.len(), 2);
    });
}

#[test]
fn what_can_not_be_read_costs_nothing_and_says_why() {
    on_bench(async |bench| {
        let shelf = Shelf::start().await;
        for (path, status, code, part) in [
            ("/archive", 422, "validation_error", "text/*"),
            ("/missing", 400, "document_unreachable", "404"),
            ("/inward", 400, "document_refused", "169.254.169.254"),
        ] {
            let answer = bench.run(status, &ask(&json!(format!("{}{path}", shelf.origin)))).await;
            let problem = answer.json();
            assert_eq!(problem["code"], code, "{problem}");
            assert_eq!(problem["param"], "input.document", "{problem}");
            assert!(problem["detail"].as_str().unwrap().contains(part), "{problem}");
            assert!(!answer.text().contains("secret words"), "{problem}");
        }
        assert!(bench.emulator.journal().is_empty());
        assert!(bench.records().await.is_empty());
    });
}

#[test]
fn the_loopback_is_refused_where_the_operator_did_not_allow_it() {
    on_core(async {
        let bench = Bench::with_loopback(Serves::Own, false).await;
        let shelf = Shelf::start().await;
        let document = json!(format!("{}/q3%20report.txt", shelf.origin));
        let answer = bench.run(400, &ask(&document)).await;
        assert_eq!(answer.json()["code"], "document_refused", "{}", answer.text());
    });
}

#[test]
fn a_client_that_leaves_while_the_document_comes_has_used_nothing() {
    on_bench(async |bench| {
        let shelf = Shelf::start().await;
        let body = ask(&json!(format!("{}/never", shelf.origin))).to_string();
        let headers = [("content-type", "application/json")];
        let call = bench.client.open(Method::POST, "/v1/run", &headers, body.into());
        let fetched = async {
            while shelf.waiting.get() == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = call => panic!("nothing answers"),
            fetched = tokio::time::timeout(WITHIN, fetched) => fetched.expect("the document is asked for"),
        }
        let left = async {
            while shelf.gone.get() == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(WITHIN, left).await.expect("the document's connection ends with the client's");
        assert!(bench.emulator.journal().is_empty());
        assert!(bench.records().await.is_empty());
    });
}
