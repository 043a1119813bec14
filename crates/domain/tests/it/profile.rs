//! The tests of `domain::profile`.

use domain::{CredentialId, KeyId, PolicyId, Principal, SecretOwner, WebhookId};

#[test]
fn the_owner_of_a_secret_is_in_its_name() {
    let (webhook, policy, key) =
        (WebhookId::new(1, [1; 10]), PolicyId::new(1, [2; 10]), KeyId::new(1, [3; 10]));
    let credential = Principal::Credential(CredentialId::new(1, [4; 10]));
    for (name, owner, kind) in [
        (format!("{webhook}/7"), SecretOwner::Webhook(webhook), "webhook"),
        (policy.to_string(), SecretOwner::Policy(policy), "hook"),
        (key.to_string(), SecretOwner::AccessKey(key), "access_secret"),
        (credential.to_string(), credential.into(), ""),
    ] {
        assert_eq!((name.parse(), owner.kind()), (Ok(owner), kind), "{name}");
    }
    assert!("something else".parse::<SecretOwner>().is_err());
}
