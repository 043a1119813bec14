//! Batches that no credential of the workspace's own takes, and who works through them then.

use std::sync::Arc;

use catalogue::Catalogue;
use domain::{Fault, FaultClass, Principal};
use plan::{has_no_credential, is_left_to_us};

use crate::fixture::{Fixture, account_id};
use crate::policy_oracle::files::explained;
use crate::policy_oracle::{Stored, stored_call};

/// Two that take batches of Anthropic's dialect, each of a model of its own.
const PROVIDERS: &str = r#"
[[provider]]
slug = "one"
display_name = "One"
base_url = "https://one.example/v1"
byok = true
available = true
batches = ["anthropic"]
[[provider]]
slug = "other"
display_name = "Other"
base_url = "https://other.example/v1"
byok = true
available = true
batches = ["anthropic"]
"#;
const MODELS: &str = r#"
revision = "1"
[[model]]
name = "acme/a"
[[model.offer]]
provider = "one"
upstream_model = "a"
source = "unverified"
[[model]]
name = "acme/b"
[[model.offer]]
provider = "other"
upstream_model = "b"
source = "unverified"
"#;

fn fault(fixture: &Fixture, models: [&'static str; 2]) -> Box<Fault> {
    let call = stored_call(Stored::Batch, Principal::Account(account_id(1)), models);
    explained(fixture, &call).fault.unwrap()
}

#[test]
fn what_no_own_credential_takes_is_left_to_the_gateway() {
    let on_account = fault(&Fixture::new().account(1, "anthropic"), ["anthropic/claude-haiku-4-5"; 2]);
    assert_eq!(on_account.code, "batch_needs_own_credential");
    let catalogue = Arc::new(Catalogue::of_texts(PROVIDERS, MODELS).unwrap());
    let two = Fixture { catalogue: Some(catalogue), ..Fixture::new() };
    let several = fault(&two.credential(1, "one").credential(2, "other"), ["acme/a", "acme/b"]);
    assert_eq!(several.code, "batch_of_several_credentials");
    assert!(is_left_to_us(&on_account) && is_left_to_us(&several));
    let no_storage = Fault::new(FaultClass::Unsupported, "batch_storage_not_set", "");
    assert!(!is_left_to_us(&no_storage));
    assert!(has_no_credential(&on_account) && !has_no_credential(&several));
}
