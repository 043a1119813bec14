//! Tokens of vendors' subscriptions: the access token in a sealed secret, and the request that renews it (RFC 6749,
//! section 6).

use bytes::Bytes;
use domain::{Fault, FaultClass, Hosting, Secret};
use http::HeaderMap;
use serde::{Deserialize, Serialize};

use super::{needed, oauth};
use crate::{Classified, GrantStep, Granted, Granting, Outgoing, Signer};

/// An access token with what renews it, as it is sealed.
#[derive(Serialize, Deserialize)]
pub struct SubscriptionTokens {
    pub access_token: String,
    pub refresh_token: String,
    pub expires_unix_ms: u64,
}

impl SubscriptionTokens {
    /// # Errors
    /// The secret is of another kind.
    pub fn read(secret: &Secret) -> Result<Self, Box<Fault>> {
        serde_json::from_slice(secret.expose()).map_err(|_| {
            let message = "The subscription's secret holds no tokens.";
            let fault = Fault::new(FaultClass::UpstreamAuth, "credential_unusable", message);
            Box::new(
                fault.fix("Rotate it with the tokens exactly as the vendor issued them.").should_retry(false),
            )
        })
    }

    /// The secret that is sealed.
    pub fn to_secret(&self) -> Secret {
        Secret::new(serde_json::to_vec(self).unwrap_or_default())
    }

    /// The request that renews them, at the token address of its owner.
    ///
    /// # Errors
    /// The `config` names no `token_url`.
    pub fn renewal(&self, hosting: &Hosting) -> Result<Outgoing, Box<Fault>> {
        let url = needed(hosting.token_url.as_ref(), "token_url")?;
        let mut fields: Vec<(&str, &[u8])> =
            vec![("grant_type", b"refresh_token"), ("refresh_token", self.refresh_token.as_bytes())];
        if let Some(client) = &hosting.client_id {
            fields.push(("client_id", client.as_bytes()));
        }
        Ok(oauth::form_to(url.to_owned(), &fields))
    }

    /// The tokens after a renewal. A server that sends no refresh token leaves the old one in force.
    ///
    /// # Errors
    /// The answer holds no token.
    pub fn renewed(self, answer: &[u8], now_unix_ms: u64) -> Result<Self, Box<Fault>> {
        #[derive(Deserialize)]
        struct Next {
            refresh_token: Option<String>,
        }
        let GrantStep::Granted(Granted { secret, lives_s }) = oauth::read(answer)? else {
            return Err(Box::new(Fault::internal()));
        };
        let next = serde_json::from_slice::<Next>(answer).ok().and_then(|next| next.refresh_token);
        Ok(Self {
            access_token: secret.expose_text().unwrap_or_default().to_owned(),
            refresh_token: next.filter(|token| !token.is_empty()).unwrap_or(self.refresh_token),
            expires_unix_ms: now_unix_ms.saturating_add(lives_s.saturating_mul(1_000)),
        })
    }
}

/// The exchange within a request: the sealed access token, while it lives. Renewing it is the work of one gateway
/// alone, because a refresh token is often good for one use.
pub(crate) struct SealedAccess;

impl Granting for SealedAccess {
    fn grant(&self, _: &str, signer: &Signer<'_>, _: &[Bytes]) -> Result<GrantStep, Box<Fault>> {
        let tokens = SubscriptionTokens::read(signer.secret)?;
        let lives_s = (tokens.expires_unix_ms / 1_000).saturating_sub(signer.unix_s);
        if lives_s == 0 {
            let message = "The subscription's access token has expired.";
            let fault = Fault::new(FaultClass::UpstreamAuth, "subscription_expired", message);
            let fix =
                "It is renewed automatically; if this persists, rotate the subscription with new tokens.";
            return Err(Box::new(fault.fix(fix).should_retry(false)));
        }
        Ok(GrantStep::Granted(Granted { secret: Secret::from_text(tokens.access_token), lives_s }))
    }

    fn classify_grant(&self, status: u16, headers: &HeaderMap, body: &Bytes, provider: &str) -> Classified {
        oauth::classify(status, headers, body, provider)
    }
}

#[cfg(test)]
mod tests {
    use domain::AuthKind;

    use super::*;

    fn tokens() -> SubscriptionTokens {
        SubscriptionTokens {
            access_token: "at-1".to_owned(),
            refresh_token: "rt-1".to_owned(),
            expires_unix_ms: 60_000,
        }
    }

    #[test]
    fn a_sealed_access_token_signs_while_it_lives() {
        let secret = tokens().to_secret();
        let hosting = Hosting { auth: AuthKind::SubscriptionOauth, ..Hosting::default() };
        let at = |unix_s| SealedAccess.grant("", &Signer { secret: &secret, hosting: &hosting, unix_s }, &[]);
        let Ok(GrantStep::Granted(granted)) = at(20) else { panic!("it lives") };
        assert_eq!((granted.secret.expose(), granted.lives_s), (&b"at-1"[..], 40));
        assert_eq!(at(60).err().map(|fault| fault.code), Some("subscription_expired"));
        let other = Secret::from_text("sk-plain".to_owned());
        let wrong = SealedAccess.grant("", &Signer { secret: &other, hosting: &hosting, unix_s: 0 }, &[]);
        assert_eq!(wrong.err().map(|fault| fault.code), Some("credential_unusable"));
    }

    #[test]
    fn a_renewal_keeps_the_refresh_token_unless_it_brings_another() {
        let hosting = Hosting {
            token_url: Some("https://vendor.example/token".to_owned()),
            client_id: Some("c-1".to_owned()),
            ..Hosting::default()
        };
        let outgoing = tokens().renewal(&hosting).expect("an address");
        assert_eq!(outgoing.url, "https://vendor.example/token");
        assert_eq!(outgoing.body.concat(), b"grant_type=refresh_token&refresh_token=rt-1&client_id=c-1");
        assert!(tokens().renewal(&Hosting::default()).is_err());
        for (answer, refresh) in [
            (r#"{"access_token":"at-2","expires_in":30}"#, "rt-1"),
            (r#"{"access_token":"at-2","expires_in":30,"refresh_token":"rt-2"}"#, "rt-2"),
        ] {
            let next = tokens().renewed(answer.as_bytes(), 1_000).expect("renewed");
            assert_eq!(
                (&*next.access_token, &*next.refresh_token, next.expires_unix_ms),
                ("at-2", refresh, 31_000)
            );
        }
        assert!(tokens().renewed(b"{}", 0).is_err());
    }
}
