//! Object storage of S3's kind: the addresses of objects, and the signed request that writes one.

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use domain::hosting::StoragePlace;
use domain::{Fault, Secret};
use http::Method;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};

use crate::Outgoing;
use crate::auth::bearer::unusable;
use crate::auth::sigv4::{self, Scope};
use crate::escape::escape;

/// The hash of the body, a header that S3 alone requires.
pub(crate) const HASH: HeaderName = HeaderName::from_static("x-amz-content-sha256");
/// The same, which buckets whose objects can't be changed require.
const CHECKSUM: HeaderName = HeaderName::from_static("x-amz-checksum-sha256");
const SERVICE: &str = "s3";

/// A server of object storage.
#[derive(Debug, Clone, Copy)]
pub struct StorageServer<'a> {
    /// `None` for S3 itself.
    pub endpoint: Option<&'a str>,
    pub region: &'a str,
}

impl StorageServer<'_> {
    /// The URL of an object.
    pub fn url(&self, object: StoragePlace<'_>) -> String {
        let (bucket, region) = (object.bucket, self.region);
        let mut url = match self.endpoint {
            Some(endpoint) => format!("{}/{bucket}", endpoint.trim_end_matches('/')),
            // TLS wildcard certificates do not cover bucket names with dots.
            None if bucket.contains('.') => format!("https://s3.{region}.amazonaws.com/{bucket}"),
            None => format!("https://{bucket}.s3.{region}.amazonaws.com"),
        };
        url.push('/');
        escape(object.key.as_bytes(), b"-_.~/", &mut url);
        url
    }

    /// The request that writes an object, signed with a pair of access keys.
    ///
    /// # Errors
    /// The secret is no pair of access keys.
    pub fn put(
        &self,
        object: StoragePlace<'_>,
        (media_type, content): (&'static str, Bytes),
        keys: &Secret,
        unix_s: u64,
    ) -> Result<Outgoing, Box<Fault>> {
        let hash = digest::digest(&digest::SHA256, &content);
        let value = |text: String| HeaderValue::try_from(text).map_err(|_| unusable());
        let headers = vec![
            (CONTENT_TYPE, HeaderValue::from_static(media_type)),
            (HASH, value(sigv4::hex(hash.as_ref()))?),
            (CHECKSUM, value(STANDARD.encode(hash.as_ref()))?),
        ];
        let request = Outgoing::without_body(Method::PUT, self.url(object), headers);
        let mut request = Outgoing { body: vec![content], grammar: None, ..request };
        sigv4::sign(&mut request, keys, Scope { region: self.region, service: SERVICE }, unix_s)?;
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: &str = r#"{"access_key_id":"AKIDEXAMPLE","secret_access_key":"canary"}"#;

    #[test]
    fn an_object_is_written_where_its_bucket_is_with_a_hash_that_is_signed() {
        let s3 = StorageServer { endpoint: None, region: "eu-west-1" };
        let own = StorageServer { endpoint: Some("https://minio.example:9000/"), ..s3 };
        for (server, uri, url) in [
            (
                s3,
                "s3://my-bucket/a/b(1).jsonl",
                "https://my-bucket.s3.eu-west-1.amazonaws.com/a/b%281%29.jsonl",
            ),
            (s3, "s3://my.bucket/a", "https://s3.eu-west-1.amazonaws.com/my.bucket/a"),
            (own, "s3://my-bucket/a", "https://minio.example:9000/my-bucket/a"),
        ] {
            let object = StoragePlace::read(uri).unwrap();
            assert_eq!(server.url(object), url);
            let content = ("application/x-ndjson", Bytes::from_static(b"{}\n"));
            let keys = Secret::from_text(KEYS.to_owned());
            let request = server.put(object, content.clone(), &keys, 1_440_938_160).unwrap();
            assert_eq!((request.method, request.url.as_str()), (Method::PUT, url));
            let header = |name: &str| {
                let (_, value) = request.headers.iter().find(|(known, _)| known == name).unwrap();
                value.to_str().unwrap().to_owned()
            };
            assert_eq!(
                header("x-amz-content-sha256"),
                "ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356"
            );
            assert_eq!(header("x-amz-checksum-sha256"), "yj0WO6sFU4GCciYUBWjzvvfqrBh869doeOC2Pp5EI1Y=");
            let signed = header("authorization");
            let names =
                "SignedHeaders=content-type;host;x-amz-checksum-sha256;x-amz-content-sha256;x-amz-date";
            assert!(
                signed.contains("/20150830/eu-west-1/s3/aws4_request") && signed.contains(names),
                "{signed}"
            );
            assert!(server.put(object, content, &Secret::from_text("{}".to_owned()), 1).is_err());
        }
    }
}
