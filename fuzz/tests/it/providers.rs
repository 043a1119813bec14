//! Fuzzes the answers of providers other than models' own: lists, refusals, and places in queues.

use bolero::check;
use bytes::Bytes;
use domain::{AuthKind, Hosting, Operation, Secret};
use http::HeaderMap;
use providers::{GrantStep, IntermediateAnswer, Signer};

use crate::material::fuzz;

const PROVIDERS: [&str; 15] = [
    "anthropic",
    "aws_bedrock",
    "azure_foundry",
    "azure_openai",
    "bedrock_mantle",
    "fal",
    "fireworks_ai",
    "gemini",
    "mistral",
    "openai",
    "nebius",
    "together_ai",
    "vertex_ai",
    "xai",
    "",
];

#[test]
fn fuzz_provider_answer() {
    fuzz("provider_answer", check!(), |bytes| {
        let body = Bytes::copy_from_slice(bytes);
        let mut is_taken = false;
        for slug in PROVIDERS {
            let provider = providers::provider(slug);
            for status in [400, 401, 403, 429, 500] {
                let _ = provider.classify(status, &HeaderMap::new(), &body, slug);
            }
            if let Some(models) = provider.read_models(&body) {
                let bytes: usize = models.iter().map(String::len).sum();
                assert!(bytes <= body.len());
                is_taken = true;
            }
            if let Some(queueing) = provider.queueing() {
                is_taken |= queueing.read_taken(&body).is_some() || queueing.is_done(&body).is_some();
            }
        }
        is_taken
    });
}

#[test]
fn fuzz_token_answer() {
    let key = r#"{"access_key_id":"a","secret_access_key":"b","client_email":"c","private_key":"d","token_uri":"https://example.com"}"#;
    let secret = Secret::from_text(key.to_owned());
    fuzz("token_answer", check!(), |bytes| {
        let body = Bytes::copy_from_slice(bytes);
        let answers = vec![body.clone(); 3];
        let mut is_taken = false;
        for slug in ["anthropic", "aws_bedrock", "azure_openai", "vertex_ai"] {
            let provider = providers::provider(slug);
            for auth in AuthKind::ALL {
                let Ok(granting) = providers::granting(provider, auth) else { continue };
                let hosting = Hosting { auth, region: Some("eu-west-1".to_owned()), ..Hosting::default() };
                let signer = Signer { secret: &secret, hosting: &hosting, unix_s: 1_700_000_000 };
                let _ = granting.classify_grant(400, &HeaderMap::new(), &body, slug);
                for count in 1..=answers.len() {
                    let step = granting.grant("https://example.com", &signer, &answers[..count]);
                    is_taken |= matches!(step, Ok(GrantStep::Granted(_)));
                }
            }
        }
        is_taken
    });
}

#[test]
fn fuzz_leading_answer() {
    let hosting = Hosting::default();
    fuzz("leading_answer", check!(), |bytes| {
        let body = Bytes::copy_from_slice(bytes);
        let leading = providers::provider("fal").leading().expect("its sounds are files");
        let base_url = "https://fal.run";
        let answer = IntermediateAnswer {
            base_url,
            hosting: &hosting,
            operation: Operation::Speech,
            stored: None,
            step: 0,
            body: &body,
        };
        leading.follow_up(&answer).is_ok()
    });
}
