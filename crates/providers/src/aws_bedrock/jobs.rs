//! Batches (model invocation jobs), with requests and results in the customer's own S3 bucket. Jobs are
//! created and polled at the control-plane host, which also lists models; results are read from the bucket.

use bytes::Bytes;
use conversation::request::{Stored, StoredAct, upstream_body};
use domain::hosting::StoragePlace;
use domain::{Fault, FaultClass, Grammar, Operation, UpstreamReport};
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method};

use super::{control, model};
use crate::auth::aws::{self, element};
use crate::compatible::{self, EncodedBody, join};
use crate::escape::{UNRESERVED, escape};
use crate::storage::{HASH, StorageServer};
use crate::{Classified, ModelRequest, Outgoing, Target, classify};

const JOBS: &str = "model-invocation-job";
/// The hash of an empty body.
const OF_NOTHING: HeaderValue =
    HeaderValue::from_static("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
const REQUEST_ID: &str = "x-amz-request-id";

pub(super) fn generate(target: &Target<'_>, ask: &ModelRequest<'_>) -> Result<Outgoing, Box<Fault>> {
    match ask.request.stored.as_deref() {
        Some(stored) if ask.operation == Operation::File => object(target, ask, stored),
        Some(stored) => look(target, ask, stored),
        None => make(target, ask),
    }
}

/// Creates a job, for the same model or inference profile that conversations use.
fn make(target: &Target<'_>, ask: &ModelRequest<'_>) -> Result<Outgoing, Box<Fault>> {
    let mut request = ask.request.clone();
    let bundle = request.batch_mut().filter(|bundle| bundle.storage.is_some());
    let bundle = bundle.ok_or_else(|| compatible::unsupported_operation(ask.operation))?;
    for named in &mut bundle.models {
        let there = model(named.upstream_name.as_deref().unwrap_or(&named.name), target.hosting)?;
        named.upstream_name = Some(there);
    }
    let body = upstream_body(ask.body, &request, "", false);
    let encoded = EncodedBody { grammar: Some(Grammar::Converse), body, dropped: Vec::new() };
    Ok(encoded.to(join(&control(target.base_url), JOBS), ask))
}

fn look(target: &Target<'_>, ask: &ModelRequest<'_>, job: &Stored) -> Result<Outgoing, Box<Fault>> {
    let mut path = format!("{JOBS}/");
    escape(job.upstream_id().as_bytes(), UNRESERVED, &mut path);
    let method = match job.act {
        StoredAct::Read => Method::GET,
        StoredAct::Cancel => {
            path.push_str("/stop");
            Method::POST
        }
        _ => return Err(compatible::unsupported_operation(ask.operation)),
    };
    Ok(bare(ask, method, join(&control(target.base_url), &path)))
}

fn bare(ask: &ModelRequest<'_>, method: Method, url: String) -> Outgoing {
    let encoded = EncodedBody::empty(Some(Grammar::Converse));
    let mut outgoing = encoded.to(url, ask);
    outgoing.headers.retain(|(name, _)| *name != CONTENT_TYPE);
    Outgoing { method, ..outgoing }
}

/// An object within the storage location that the credential allows.
fn object(target: &Target<'_>, ask: &ModelRequest<'_>, stored: &Stored) -> Result<Outgoing, Box<Fault>> {
    let own = target.hosting.batch_storage.as_deref().and_then(StoragePlace::read);
    let location = StoragePlace::read(stored.upstream_id());
    let location =
        location.filter(|location| own.is_some_and(|own| own.holds(location))).ok_or_else(outside)?;
    let endpoint = target.hosting.storage_url.as_deref();
    // Only the addresses of S3 itself have the region in them.
    let region = if endpoint.is_some() { "" } else { aws::region(target.hosting, target.base_url)? };
    let url = StorageServer { endpoint, region }.url(location);
    let mut outgoing = bare(ask, Method::GET, url);
    outgoing.headers.retain(|(name, _)| *name != ACCEPT);
    outgoing.headers.push((HASH, OF_NOTHING));
    Ok(outgoing)
}

fn outside() -> Box<Fault> {
    let message = "The results lie outside of where the credential lets batches lie.";
    let fault = Fault::new(FaultClass::Forbidden, "batch_outside_storage", message);
    Box::new(
        fault
            .fix("Set config.batch_storage of the credential to a place that holds them.")
            .should_retry(false),
    )
}

/// Classifies S3's errors, which have a format of their own.
pub(super) fn classify_storage(
    status: u16,
    headers: &HeaderMap,
    body: &Bytes,
    provider: &str,
) -> Option<Classified> {
    let text = std::str::from_utf8(body).ok()?;
    let code = element(element(text, "Error")?, "Code")?;
    let mut classified = classify::classify(status, headers, body, provider);
    let (class, fix) = match code {
        "AccessDenied" | "AllAccessDisabled" => (FaultClass::UpstreamPermission, MAY_READ),
        "NoSuchKey" | "NoSuchBucket" => (FaultClass::UpstreamNotFound, LIES_THERE),
        "SlowDown" | "ServiceUnavailable" => (FaultClass::Overloaded, ""),
        "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "ExpiredToken" | "InvalidToken" => {
            (FaultClass::UpstreamAuth, "Rotate the credential with keys that are active.")
        }
        "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" => {
            (FaultClass::BadRequest, "Use a bucket of the credential's own region.")
        }
        _ => (classified.class, ""),
    };
    classified.class = class;
    classified.fix = Some(fix.to_owned()).filter(|fix| !fix.is_empty());
    let id = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
    // An authentication error's message repeats what was signed, so it is withheld.
    let keeps_message = class != FaultClass::UpstreamAuth;
    let message = element(text, "Message").filter(|_| keeps_message).map(str::to_owned);
    classified.report = UpstreamReport {
        code: Some(code.to_owned()),
        message,
        request_id: id.or(classified.report.request_id.take()),
        ..classified.report
    };
    Some(classified)
}

const MAY_READ: &str = "Allow s3:GetObject below config.batch_storage to the credential's user or role, in its policy and in that of the \
                        bucket, and kms:Decrypt where the bucket is encrypted with a key of its own.";
const LIES_THERE: &str = "Leave the results where the batch wrote them until they are in the books.";

#[cfg(test)]
mod tests {
    use conversation::request::Request;
    use dialects::decode_batch;
    use domain::{AuthKind, Hosting, MissingFeatures, Secret};

    use super::*;
    use crate::aws_bedrock::AwsBedrock;
    use crate::{Provider, Signer, provider};

    const BASE: &str = "https://bedrock-runtime.eu-west-1.amazonaws.com";
    const JOB: &str = "abc123def456";

    fn hosting(storage_url: Option<&str>) -> Hosting {
        let own = |text: &str| Some(text.to_owned());
        Hosting {
            auth: AuthKind::IamStatic,
            region: own("eu-west-1"),
            batch_storage: own("s3://my-bucket/batches"),
            storage_url: storage_url.map(str::to_owned),
            ..Hosting::default()
        }
    }

    fn outgoing_for(
        hosting: &Hosting,
        operation: Operation,
        request: &Request,
        body: &Bytes,
    ) -> Result<Outgoing, Box<Fault>> {
        let target = Target {
            base_url: BASE,
            upstream_model: "us.anthropic.claude-x",
            hosting,
            abilities: &Default::default,
            quirks: MissingFeatures::default(),
        };
        let ask = ModelRequest {
            operation,
            grammar: Grammar::Converse,
            request,
            body,
            native_headers: &[],
            is_lenient: false,
            drops_hosted_tools: false,
            shared_by: None,
            inserts: &[],
            prompt: None,
        };
        AwsBedrock.generate(&target, &ask)
    }

    fn about(
        hosting: &Hosting,
        operation: Operation,
        id: &str,
        act: StoredAct,
    ) -> Result<Outgoing, Box<Fault>> {
        let request = Request::about(Stored::new(id.to_owned(), act, String::new()));
        outgoing_for(hosting, operation, &request, &Bytes::new())
    }

    #[test]
    fn a_job_is_made_and_looked_at_by_the_control_plane() {
        let body = Bytes::from_static(
            br#"{"jobName":"n","roleArn":"r","modelId":"anthropic/claude-x","inputDataConfig":{"s3InputDataConfig":{"s3Uri":"s3://a"}},"outputDataConfig":{"s3OutputDataConfig":{"s3Uri":"s3://b"}}}"#,
        );
        let mut request = decode_batch(Grammar::Converse, &body, None).unwrap();
        for named in &mut request.batch_mut().unwrap().models {
            named.upstream_name = Some("us.anthropic.claude-x".to_owned());
        }
        let made = outgoing_for(&hosting(None), Operation::Batch, &request, &body).unwrap();
        assert_eq!(
            format!("{} {}", made.method, made.url),
            "POST https://bedrock.eu-west-1.amazonaws.com/model-invocation-job"
        );
        let sent = String::from_utf8(made.body.concat()).unwrap();
        assert!(sent.contains(r#""modelId":"eu.anthropic.claude-x""#), "{sent}");
        let url = "https://bedrock.eu-west-1.amazonaws.com/model-invocation-job/abc123def456";
        for (act, expected) in
            [(StoredAct::Read, format!("GET {url}")), (StoredAct::Cancel, format!("POST {url}/stop"))]
        {
            let look = about(&hosting(None), Operation::Batch, JOB, act).unwrap();
            assert_eq!(format!("{} {}", look.method, look.url), expected);
            assert!(look.body.is_empty() && look.headers.iter().all(|(name, _)| *name != CONTENT_TYPE));
        }
        assert!(about(&hosting(None), Operation::Batch, JOB, StoredAct::Delete).is_err());
    }

    #[test]
    fn results_are_read_where_the_bucket_is_and_nowhere_outside_of_the_owners_place() {
        let read = |hosting: &Hosting, uri: &str| {
            about(hosting, Operation::File, uri, StoredAct::Content).map(|outgoing| outgoing.url)
        };
        let uri = "s3://my-bucket/batches/out/abc/asks (1)!.jsonl.out";
        assert_eq!(read(&hosting(None), uri).unwrap_err().code, "batch_outside_storage");
        let uri = "s3://my-bucket/batches/out/abc/asks(1)!.jsonl.out";
        let key = "batches/out/abc/asks%281%29%21.jsonl.out";
        let usual = format!("https://my-bucket.s3.eu-west-1.amazonaws.com/{key}");
        assert_eq!(read(&hosting(None), uri).unwrap(), usual);
        let own = hosting(Some("http://127.0.0.1:1/s3/"));
        assert_eq!(read(&own, uri).unwrap(), format!("http://127.0.0.1:1/s3/my-bucket/{key}"));
        let dotted = Hosting { batch_storage: Some("s3://my.bucket".to_owned()), ..hosting(None) };
        assert_eq!(
            read(&dotted, "s3://my.bucket/a").unwrap(),
            "https://s3.eu-west-1.amazonaws.com/my.bucket/a"
        );
        for outside in ["s3://my-bucket/other/a", "s3://other/batches/a", "s3://my-bucket/batches/../a", ""] {
            assert_eq!(read(&own, outside).unwrap_err().code, "batch_outside_storage", "{outside}");
        }
        let none = Hosting { batch_storage: None, ..hosting(None) };
        assert_eq!(read(&none, uri).unwrap_err().code, "batch_outside_storage");
    }

    #[test]
    fn each_service_has_a_signature_of_its_own() {
        let keys = r#"{"access_key_id":"AKIDEXAMPLE","secret_access_key":"canary"}"#;
        let secret = Secret::from_text(keys.to_owned());
        let hosting = hosting(None);
        let signed = |mut outgoing: Outgoing| {
            AwsBedrock
                .authorise(&mut outgoing, &Signer { secret: &secret, hosting: &hosting, unix_s: 0 })
                .unwrap();
            let found = outgoing.headers.iter().find(|(name, _)| name == "authorization");
            found.unwrap().1.to_str().unwrap().to_owned()
        };
        let look = about(&hosting, Operation::Batch, JOB, StoredAct::Read).unwrap();
        assert!(signed(look).contains("/eu-west-1/bedrock/aws4_request, SignedHeaders=host;x-amz-date,"));
        let uri = "s3://my-bucket/batches/a.jsonl.out";
        let object = about(&hosting, Operation::File, uri, StoredAct::Content).unwrap();
        let expected = "/eu-west-1/s3/aws4_request, SignedHeaders=host;x-amz-content-sha256;x-amz-date,";
        let authorization = signed(object);
        assert!(authorization.contains(expected), "{authorization}");
    }

    #[test]
    fn the_storages_refusals_are_told_with_what_mends_them() {
        let classified = |status: u16, code: &str| {
            let body =
                format!("<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>m</Message></Error>");
            provider("aws_bedrock").classify(status, &HeaderMap::new(), &Bytes::from(body), "aws_bedrock")
        };
        let denied = classified(403, "AccessDenied");
        assert_eq!(denied.class, FaultClass::UpstreamPermission);
        assert!(denied.fix.unwrap().contains("s3:GetObject"));
        for (status, code, class, message) in [
            (404, "NoSuchKey", FaultClass::UpstreamNotFound, Some("m")),
            (404, "NoSuchBucket", FaultClass::UpstreamNotFound, Some("m")),
            (503, "SlowDown", FaultClass::Overloaded, Some("m")),
            (403, "SignatureDoesNotMatch", FaultClass::UpstreamAuth, None),
            (301, "PermanentRedirect", FaultClass::BadRequest, Some("m")),
        ] {
            let found = classified(status, code);
            assert_eq!((found.class, found.report.message.as_deref()), (class, message), "{code}");
            assert_eq!(found.report.code.as_deref(), Some(code));
        }
    }
}
