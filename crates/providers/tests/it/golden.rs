//! Replays all recorded exchanges of one provider.

use std::collections::BTreeMap;

use bytes::Bytes;
use conversation::request::Addressed;
use dialects::{decode_request, native_headers, read_prompt};
use domain::{Abilities, Grammar, Operation, Secret};
use http::{HeaderMap, HeaderName, HeaderValue};
use providers::{ModelRequest, Outgoing, Provider, Signer, Target, provider};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "lowercase")]
enum Exchange {
    Request {
        source: String,
        base_url: String,
        secret: String,
        /// The client's wire format.
        #[serde(default = "chat")]
        grammar: Grammar,
        #[serde(default)]
        client_headers: BTreeMap<String, String>,
        /// What the URL says about the model, in formats that have it there.
        addressed: Option<String>,
        client: String,
        upstream_model: String,
        expected: Requested,
    },
    Error {
        source: String,
        status: u16,
        headers: BTreeMap<String, String>,
        body: String,
        /// The class, and the report's fields that matter here.
        expected: BTreeMap<String, serde_json::Value>,
    },
    Models {
        source: String,
        body: String,
        expected: Vec<String>,
    },
}

const fn chat() -> Grammar {
    Grammar::Chat
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Requested {
    method: String,
    url: String,
    headers: BTreeMap<String, String>,
    body: String,
}

#[test]
fn every_exchange_is_what_it_says() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden/providers");
    let mut count = 0;
    for slug in std::fs::read_dir(folder).expect("the folder is in the repository") {
        let slug = slug.expect("an entry");
        let seller = provider(slug.file_name().to_str().expect("a slug"));
        for entry in std::fs::read_dir(slug.path()).expect("a provider's folder") {
            let path = entry.expect("an entry").path();
            let text = std::fs::read_to_string(&path).expect("a text");
            let exchange =
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            check(&path.display().to_string(), seller, exchange);
            count += 1;
        }
    }
    assert!(count > 12, "only {count} exchanges were found");
}

fn headers(pairs: &BTreeMap<String, String>) -> HeaderMap {
    let read = |(name, value): (&String, &String)| {
        (name.parse::<HeaderName>().expect("a name"), value.parse().expect("a value"))
    };
    pairs.iter().map(read).collect()
}

fn assert_sent(name: &str, outgoing: &Outgoing, expected: &Requested) {
    let text = |(name, value): &(HeaderName, HeaderValue)| {
        (name.to_string(), value.to_str().expect("text").to_owned())
    };
    let headers: BTreeMap<_, _> = outgoing.headers.iter().map(text).collect();
    assert_eq!(outgoing.method.as_str(), expected.method, "{name}");
    assert_eq!(outgoing.url, expected.url, "{name}");
    assert_eq!(headers, expected.headers, "{name}");
    assert_eq!(String::from_utf8_lossy(&outgoing.body.concat()), expected.body, "{name}");
}

fn check(name: &str, seller: &dyn Provider, exchange: Exchange) {
    let source = match exchange {
        Exchange::Request {
            source,
            base_url,
            secret,
            grammar,
            client_headers,
            addressed,
            client,
            upstream_model,
            expected,
        } => {
            let body = Bytes::from(client);
            let addressed = addressed.map(|model| Addressed { model, ..Addressed::default() });
            let request = decode_request(grammar, Operation::Chat, &body, addressed.as_ref()).expect(name);
            let native_headers = native_headers(grammar, &headers(&client_headers));
            let prompt = read_prompt(grammar, &body, &request).expect(name);
            let is_spoken = seller.grammars(Operation::Chat, &upstream_model).contains(&grammar);
            let target = Target {
                base_url: &base_url,
                upstream_model: &upstream_model,
                abilities: &Abilities::default,
                hosting: &domain::hosting::PLAIN,
                quirks: domain::MissingFeatures::default(),
            };
            let ask = ModelRequest {
                operation: Operation::Chat,
                grammar,
                request: &request,
                body: &body,
                native_headers: &native_headers,
                is_lenient: false,
                drops_hosted_tools: false,
                shared_by: None,
                inserts: &[],
                prompt: (!is_spoken).then_some(&prompt),
            };
            let mut outgoing = seller.generate(&target, &ask).expect(name);
            let secret = Secret::from_text(secret);
            let signer = Signer { secret: &secret, hosting: &domain::hosting::PLAIN, unix_s: 0 };
            seller.authorise(&mut outgoing, &signer).expect(name);
            assert_sent(name, &outgoing, &expected);
            source
        }
        Exchange::Error { source, status, headers, body, expected } => {
            let headers = self::headers(&headers);
            let found = seller.classify(status, &headers, &Bytes::from(body), "slug");
            let report = serde_json::json!({
                "class": found.class.as_str(), "retry_after_ms": found.retry_after_ms,
                "should_retry": found.should_retry, "message": found.report.message, "code": found.report.code,
                "param": found.report.param, "request_id": found.report.request_id,
            });
            assert_eq!(found.report.status, Some(status), "{name}");
            assert_eq!(found.report.provider, "slug", "{name}");
            for (field, value) in expected {
                assert_eq!(report.get(&field), Some(&value), "{name}: {field}");
            }
            source
        }
        Exchange::Models { source, body, expected } => {
            assert_eq!(seller.read_models(&Bytes::from(body)), Some(expected), "{name}");
            source
        }
    };
    assert!(source.starts_with("constructed: ") || source.starts_with("recorded: "), "{name}");
}
