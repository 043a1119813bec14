//! Google Cloud access tokens: a service account signs a JWT with the key of its file; a machine's own
//! identity comes from the metadata server.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use domain::{AuthKind, Fault, FaultClass, Secret};
use http::{HeaderName, HeaderValue, Method, Uri};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};

use super::{bearer, federation, no_such_kind, oauth};
use crate::escape::escape;
use crate::{GrantStep, Granted, Outgoing, Signer};

const ENDPOINT: &str = "https://oauth2.googleapis.com/token";
const MACHINE: &str =
    "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token";
const FLAVOUR: HeaderName = HeaderName::from_static("metadata-flavor");
pub(super) const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const GRANT: &[u8] = b"urn:ietf:params:oauth:grant-type:jwt-bearer";
/// The longest lifetime that Google accepts.
const LIVES_S: u64 = 3_600;
/// Placeholder in an address for the project that the key file names. No project has this name.
pub(crate) const OWN_PROJECT: &str = "projects/-/";

/// The fields of a service account's key file that are read.
#[derive(Deserialize)]
struct KeyFile {
    #[serde(rename = "type")]
    kind: String,
    client_email: String,
    private_key: String,
    private_key_id: Option<String>,
    token_uri: Option<String>,
    project_id: Option<String>,
}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'static str,
    typ: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<&'a str>,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    scope: &'static str,
    aud: &'a str,
    iat: u64,
    exp: u64,
}

/// One request and its answer. The grant's secret is the token, followed by the project that the key file
/// names.
pub(crate) fn grant(signer: &Signer<'_>, answers: &[Bytes]) -> Result<GrantStep, Box<Fault>> {
    match (signer.hosting.auth, answers.last()) {
        (AuthKind::ServiceAccount, None) => ask(signer),
        (AuthKind::ServiceAccount, Some(answer)) => {
            let project = read_file(signer.secret)?.project_id;
            Ok(match oauth::read(answer)? {
                GrantStep::Granted(granted) => GrantStep::Granted(with_project(&granted, project.as_deref())),
                further => further,
            })
        }
        (AuthKind::ManagedIdentity, None) => {
            let (url, google) = (MACHINE.to_owned(), HeaderValue::from_static("Google"));
            Ok(oauth::look(Method::GET, url, FLAVOUR, google))
        }
        (AuthKind::ManagedIdentity, Some(answer)) => oauth::read(answer),
        (AuthKind::WorkloadIdentity | AuthKind::WorkloadIdentityFile, _) => {
            federation::grant(signer, answers)
        }
        (kind, _) => Err(no_such_kind(kind)),
    }
}

/// Signs with a token, and fills in its project where the address has the placeholder.
pub(crate) fn sign(outgoing: &mut Outgoing, secret: &Secret) -> Result<(), Box<Fault>> {
    let mut parts = secret.expose().splitn(2, |byte| *byte == b'\n');
    let token = parts.next().unwrap_or_default();
    let project = parts.next().and_then(|project| std::str::from_utf8(project).ok());
    if outgoing.url.contains(OWN_PROJECT) {
        let project = project.map(str::to_owned);
        let project = segment(super::needed(project.as_ref(), "project")?);
        outgoing.url = outgoing.url.replacen(OWN_PROJECT, &format!("projects/{project}/"), 1);
    }
    bearer::sign(outgoing, &Secret::new(token.to_vec()))
}

/// A name as one segment of a path. Characters that are not part of names are escaped, so that no name can
/// change the path.
pub(crate) fn segment(name: &str) -> String {
    let mut path = String::with_capacity(name.len());
    // A name of dots alone would be a relative path segment.
    let is_step = name.bytes().all(|byte| byte == b'.');
    escape(name.as_bytes(), if is_step { b"" } else { b"-_.@" }, &mut path);
    path
}

fn with_project(granted: &Granted, project: Option<&str>) -> Granted {
    let mut secret = granted.secret.expose().to_vec();
    if let Some(project) = project {
        secret.push(b'\n');
        secret.extend_from_slice(project.as_bytes());
    }
    Granted { secret: Secret::new(secret), lives_s: granted.lives_s }
}

fn ask(signer: &Signer<'_>) -> Result<GrantStep, Box<Fault>> {
    let file = read_file(signer.secret)?;
    let token_uri = file.token_uri.as_deref().unwrap_or(ENDPOINT);
    let url = endpoint(token_uri, signer.hosting.token_url.as_deref())?;
    let assertion = assertion(&file, token_uri, signer.unix_s)?;
    Ok(oauth::form(url.to_owned(), &[("grant_type", GRANT), ("assertion", assertion.as_bytes())]))
}

fn read_file(secret: &Secret) -> Result<KeyFile, Box<Fault>> {
    let file: Option<KeyFile> = serde_json::from_slice(secret.expose()).ok();
    file.filter(|file| file.kind == "service_account").ok_or_else(|| {
        let message = "The secret isn't a key file of a service account.";
        unusable(message, "Rotate the credential with the JSON file of a service account's key, whole.")
    })
}

/// The address that exchanges the key file: Google's, or else `config.token_url`, which was checked when the
/// credential was saved. The file alone can't send its assertion elsewhere.
pub(super) fn endpoint<'a>(token_uri: &'a str, own: Option<&'a str>) -> Result<&'a str, Box<Fault>> {
    match own {
        Some(own) if own == token_uri || is_google(token_uri) => Ok(own),
        None if is_google(token_uri) => Ok(token_uri),
        _ => {
            let message = "The key file names a token address that isn't Google's.";
            let fix =
                "Use the file exactly as Google issued it, or give its token_uri as config.token_url, too.";
            Err(unusable(message, fix))
        }
    }
}

pub(super) fn is_google(url: &str) -> bool {
    let Ok(url) = url.parse::<Uri>() else { return false };
    // An address with user information or a port is not one of Google's.
    let is_plain = url.authority().map(http::uri::Authority::as_str) == url.host();
    is_plain
        && url.scheme_str() == Some("https")
        && url.host().is_some_and(|host| host.ends_with(".googleapis.com"))
}

/// The signed JWT assertion, valid for an hour.
fn assertion(file: &KeyFile, audience: &str, unix_s: u64) -> Result<String, Box<Fault>> {
    let header = Header { alg: "RS256", typ: "JWT", kid: file.private_key_id.as_deref() };
    let claims = Claims {
        iss: &file.client_email,
        scope: SCOPE,
        aud: audience,
        iat: unix_s,
        exp: unix_s.saturating_add(LIVES_S),
    };
    let text = |value: Result<Vec<u8>, serde_json::Error>| {
        value.map(|json| URL_SAFE_NO_PAD.encode(json)).map_err(|_| Box::new(Fault::internal()))
    };
    let signed = format!("{}.{}", text(serde_json::to_vec(&header))?, text(serde_json::to_vec(&claims))?);
    let signature = rs256(&file.private_key, signed.as_bytes()).ok_or_else(|| {
        let message = "The private key in the file can't be read.";
        unusable(message, "Rotate the credential with the JSON file exactly as Google issued it.")
    })?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

fn rs256(pem: &str, text: &[u8]) -> Option<Vec<u8>> {
    let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).ok()?;
    let key = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).ok()?;
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text, &mut signature).ok()?;
    Some(signature)
}

pub(super) fn unusable(message: &'static str, fix: &'static str) -> Box<Fault> {
    let fault = Fault::new(FaultClass::UpstreamAuth, "credential_unusable", message);
    Box::new(fault.fix(fix).should_retry(false))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::rsa::{KeyPair, KeySize};
    use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
    use domain::Hosting;
    use serde_json::{Value, json};

    use super::*;
    use crate::ExchangeReach;

    const NOW: u64 = 1_790_000_000;

    fn pem(key: &KeyPair) -> String {
        let der = key.as_der().unwrap();
        let text = base64::engine::general_purpose::STANDARD.encode(AsRef::<[u8]>::as_ref(&*der));
        let lines: Vec<&str> =
            text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
    }

    fn file(pem: &str, token_uri: &str) -> Value {
        json!({
            "type": "service_account", "project_id": "tides", "private_key_id": "k1", "private_key": pem,
            "client_email": "robot@tides.iam.gserviceaccount.com", "token_uri": token_uri,
        })
    }

    fn grant_with(file: &Value, hosting: &Hosting, answers: &[Bytes]) -> Result<GrantStep, Box<Fault>> {
        let secret = Secret::from_text(file.to_string());
        grant(&Signer { secret: &secret, hosting, unix_s: NOW }, answers)
    }

    fn hosting(token_url: Option<&str>) -> Hosting {
        let token_url = token_url.map(str::to_owned);
        Hosting { auth: AuthKind::ServiceAccount, token_url, ..Hosting::default() }
    }

    #[test]
    fn what_a_service_account_says_is_signed_with_its_key() {
        let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let Ok(GrantStep::Request { outgoing, reach: door }) =
            grant_with(&file(&pem(&key), ENDPOINT), &hosting(None), &[])
        else {
            panic!("nothing was heard yet")
        };
        assert_eq!((outgoing.url.as_str(), door), (ENDPOINT, ExchangeReach::Cloud));
        let body = String::from_utf8(outgoing.body.concat()).unwrap();
        let assertion = body
            .strip_prefix("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=")
            .unwrap();
        let (signed, signature) = assertion.rsplit_once('.').unwrap();
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key().as_ref());
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        public.verify(signed.as_bytes(), &signature).unwrap();
        assert!(public.verify(b"something else", &signature).is_err());
        let (header, claims) = signed.split_once('.').unwrap();
        let read = |part| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        assert_eq!(read(header), json!({"alg": "RS256", "typ": "JWT", "kid": "k1"}));
        let expected = json!({
            "iss": "robot@tides.iam.gserviceaccount.com", "scope": SCOPE, "aud": ENDPOINT,
            "iat": NOW, "exp": NOW + 3_600,
        });
        assert_eq!(read(claims), expected);
    }

    #[test]
    fn a_token_signs_and_brings_the_project_of_its_file() {
        let answer = Bytes::from_static(br#"{"access_token":"t","expires_in":3599}"#);
        let outcome = grant_with(&file("", ENDPOINT), &hosting(None), std::slice::from_ref(&answer));
        let Ok(GrantStep::Granted(granted)) = outcome else { panic!("it was granted") };
        assert_eq!(granted.lives_s, 3_599);
        let mut outgoing = crate::compatible::list_models("https://h/v1/projects/-/locations/l");
        outgoing.headers.clear();
        sign(&mut outgoing, &granted.secret).unwrap();
        assert_eq!(outgoing.url, "https://h/v1/projects/tides/locations/l/models");
        let [(_, value)] = &*outgoing.headers else { panic!("not the one header") };
        assert_eq!(value.as_bytes(), b"Bearer t");
        // A machine's identity has no key file: its project comes from the `config`.
        let machine = Hosting { auth: AuthKind::ManagedIdentity, ..Hosting::default() };
        let Ok(GrantStep::Granted(granted)) = grant_with(&json!({}), &machine, &[answer]) else {
            panic!("granted")
        };
        let mut outgoing = crate::compatible::list_models("https://h/v1/projects/-/locations/l");
        let fault = sign(&mut outgoing, &granted.secret).unwrap_err();
        assert_eq!(
            (fault.code, fault.fix.as_deref()),
            ("credential_incomplete", Some("Give config.project."))
        );
    }

    #[test]
    fn a_machine_asks_inside_itself() {
        let machine = Hosting { auth: AuthKind::ManagedIdentity, ..Hosting::default() };
        let Ok(GrantStep::Request { outgoing, reach: door }) = grant_with(&json!({}), &machine, &[]) else {
            panic!("it asks")
        };
        assert_eq!((outgoing.url.as_str(), door), (MACHINE, ExchangeReach::Machine));
        let [(name, value)] = &*outgoing.headers else { panic!("not the one header") };
        assert_eq!((name.as_str(), value.as_bytes()), ("metadata-flavor", &b"Google"[..]));
        let key = Hosting::default();
        assert_eq!(grant_with(&json!({}), &key, &[]).err().unwrap().code, "credential_unusable");
    }

    #[test]
    fn a_file_leads_nobody_elsewhere() {
        for (token_uri, own, expected) in [
            (ENDPOINT, None, Some(ENDPOINT)),
            ("https://oauth2.us.googleapis.com/token", None, Some("https://oauth2.us.googleapis.com/token")),
            ("http://oauth2.googleapis.com/token", None, None),
            ("https://googleapis.com.evil.example/token", None, None),
            ("https://evilgoogleapis.com/token", None, None),
            ("https://x.googleapis.com:22/token", None, None),
            ("https://evil.example#@x.googleapis.com/token", None, None),
            ("https://u@x.googleapis.com/token", None, None),
            ("https://evil.example/x.googleapis.com", None, None),
            ("http://169.254.169.254/token", None, None),
            ("https://elsewhere.example/token", Some("https://another.example/token"), None),
            (
                "https://elsewhere.example/token",
                Some("https://elsewhere.example/token"),
                Some("https://elsewhere.example/token"),
            ),
            // Google's own endpoint, reached through an address of the owner's.
            (ENDPOINT, Some("https://private.example/token"), Some("https://private.example/token")),
        ] {
            assert_eq!(endpoint(token_uri, own).ok(), expected, "{token_uri} {own:?}");
        }
    }

    #[test]
    fn what_is_no_key_file_is_told_without_its_text() {
        for wrong in [
            json!({"type": "authorized_user", "client_email": "x", "private_key": "canary"}),
            json!({"type": "service_account", "private_key": "canary"}),
            file("canary", ENDPOINT),
            file("-----BEGIN PRIVATE KEY-----\nY2FuYXJ5\n-----END PRIVATE KEY-----\n", ENDPOINT),
        ] {
            let fault = grant_with(&wrong, &hosting(None), &[]).err().unwrap();
            assert_eq!(fault.code, "credential_unusable");
            assert!(!fault.to_string().contains("canary") && !fault.to_string().contains("Y2Fu"), "{fault}");
        }
    }

    #[test]
    fn a_name_is_one_part_of_an_address() {
        assert_eq!(segment("claude-opus-4-5@20251101"), "claude-opus-4-5@20251101");
        assert_eq!(segment("../a?b#c:d;e%2F"), "..%2Fa%3Fb%23c%3Ad%3Be%252F");
        assert_eq!(segment(".."), "%2E%2E");
    }
}
