//! Microsoft Entra access tokens: an application's client secret, a federated token, or the machine's managed
//! identity, each exchanged for a token for one service.

use bytes::Bytes;
use domain::{AuthKind, Fault};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::{federated_token, file, needed, no_such_kind, oauth};
use crate::{Classified, GrantStep, Signer, missing};

const DIRECTORY: &str = "https://login.microsoftonline.com";
const MACHINE: &str = "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01";
const METADATA: HeaderName = HeaderName::from_static("metadata");
const ASSERTION: &[u8] = b"urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// One request and its answer, for every kind of secret.
pub(crate) fn grant(signer: &Signer<'_>, service: &str, answers: &[Bytes]) -> Result<GrantStep, Box<Fault>> {
    let Some((secret, answers)) = federated_token(signer, answers) else { return file(signer, None) };
    if let Some(answer) = answers.last() {
        return oauth::read(answer);
    }
    let hosting = signer.hosting;
    let scope = format!("{service}/.default");
    let client: &[(&str, &[u8])] = match hosting.auth {
        AuthKind::OauthClient => &[("client_secret", secret)],
        AuthKind::WorkloadIdentity | AuthKind::WorkloadIdentityFile => {
            &[("client_assertion_type", ASSERTION), ("client_assertion", secret)]
        }
        AuthKind::ManagedIdentity => {
            // If the machine has several identities, this selects one.
            let one = hosting.client_id.as_deref().map(|id| format!("&client_id={id}")).unwrap_or_default();
            let url = format!("{MACHINE}&resource={service}{one}");
            return Ok(oauth::look(Method::GET, url, METADATA, HeaderValue::from_static("true")));
        }
        kind => return Err(no_such_kind(kind)),
    };
    let directory = hosting.token_url.as_deref().unwrap_or(DIRECTORY).trim_end_matches('/');
    let tenant = needed(hosting.tenant_id.as_ref(), "tenant_id")?;
    let client_id = needed(hosting.client_id.as_ref(), "client_id")?;
    let mut fields: Vec<(&str, &[u8])> = vec![
        ("grant_type", b"client_credentials"),
        ("client_id", client_id.as_bytes()),
        ("scope", scope.as_bytes()),
    ];
    fields.extend_from_slice(client);
    Ok(oauth::form(format!("{directory}/{tenant}/oauth2/v2.0/token"), &fields))
}

/// Classifies a refusal by the directory, and says how to fix it.
pub(crate) fn classify(status: u16, headers: &HeaderMap, body: &Bytes, provider: &str) -> Classified {
    let classified = oauth::classify(status, headers, body, provider);
    Classified { fix: missing::azure(None, &String::from_utf8_lossy(body)), ..classified }
}

#[cfg(test)]
mod tests {
    use domain::{Hosting, Secret};

    use super::*;
    use crate::{ExchangeReach, Granted};

    fn hosting(auth: AuthKind) -> Hosting {
        let some = |text: &str| Some(text.to_owned());
        Hosting { auth, tenant_id: some("t-1"), client_id: some("c-1"), ..Hosting::default() }
    }

    fn exchange_request(hosting: &Hosting) -> (String, String, ExchangeReach) {
        let secret = Secret::from_text("s&cret".to_owned());
        let signer = Signer { secret: &secret, hosting, unix_s: 0 };
        let Ok(GrantStep::Request { outgoing, reach: door }) = grant(&signer, "https://ai.azure.com", &[])
        else {
            panic!("nothing was heard yet")
        };
        (outgoing.url, String::from_utf8(outgoing.body.concat()).unwrap(), door)
    }

    #[test]
    fn an_application_proves_itself_by_its_secret() {
        let (url, body, door) = exchange_request(&hosting(AuthKind::OauthClient));
        assert_eq!(url, "https://login.microsoftonline.com/t-1/oauth2/v2.0/token");
        let expected = "grant_type=client_credentials&client_id=c-1&scope=https%3A%2F%2Fai.azure.com%2F.default\
                        &client_secret=s%26cret";
        assert_eq!((body.as_str(), door), (expected, ExchangeReach::Cloud));
        let own = Hosting {
            token_url: Some("https://login.example/".to_owned()),
            ..hosting(AuthKind::OauthClient)
        };
        assert_eq!(exchange_request(&own).0, "https://login.example/t-1/oauth2/v2.0/token");
    }

    #[test]
    fn a_machine_asks_inside_itself_for_the_identity_that_is_named() {
        let (url, body, door) = exchange_request(&hosting(AuthKind::ManagedIdentity));
        assert!(url.starts_with("http://169.254.169.254/metadata/identity/oauth2/token?"), "{url}");
        assert!(url.ends_with("&resource=https://ai.azure.com&client_id=c-1"), "{url}");
        assert_eq!((body.as_str(), door), ("", ExchangeReach::Machine));
    }

    #[test]
    fn what_lacks_a_field_says_which() {
        let lacking = Hosting { tenant_id: None, ..hosting(AuthKind::OauthClient) };
        let secret = Secret::from_text("s".to_owned());
        let signer = Signer { secret: &secret, hosting: &lacking, unix_s: 0 };
        let Err(fault) = grant(&signer, "https://x", &[]) else { panic!("it lacks its tenant") };
        assert_eq!(
            (fault.code, fault.fix.as_deref()),
            ("credential_incomplete", Some("Give config.tenant_id."))
        );
        let answer = Bytes::from_static(br#"{"access_token":"t","expires_in":60}"#);
        let granted = grant(&signer, "https://x", &[answer]);
        assert!(matches!(granted, Ok(GrantStep::Granted(Granted { lives_s: 60, .. }))));
    }
}
