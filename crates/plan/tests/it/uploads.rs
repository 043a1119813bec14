//! Who stores a file that names no model.

use std::sync::Arc;

use catalogue::Catalogue;
use domain::Principal;

use crate::fixture::{Fixture, credential_id};
use crate::policy_oracle::files::{Asked, call_for, explained};

const PROVIDERS: &str = r#"
[[provider]]
slug = "one"
display_name = "One"
base_url = "https://one.example/v1"
byok = true
available = true
files = true
[[provider]]
slug = "other"
display_name = "Other"
base_url = "https://other.example/v1"
byok = true
available = true
files = true
"#;

/// The seat that would store a file of a project with these credentials, or the code of the refusal.
fn keeper(providers: &[&str], named: Option<&'static str>) -> Result<String, &'static str> {
    let catalogue = Arc::new(Catalogue::of_texts(PROVIDERS, "revision = \"1\"").unwrap());
    let fixture = Fixture { catalogue: Some(catalogue), ..Fixture::new() };
    let numbered = providers.iter().zip(1..);
    let fixture = numbered.fold(fixture, |fixture, (provider, number)| fixture.credential(number, provider));
    let upload = Asked::Upload { model: None, provider: named };
    let answer = explained(&fixture, &call_for(upload, "user_data", Principal::Credential(credential_id(1))));
    match (answer.attempts.first(), answer.fault) {
        (Some(attempt), _) => Ok(attempt.provider.clone()),
        (None, fault) => Err(fault.unwrap().code),
    }
}

#[test]
fn a_file_that_several_could_keep_is_kept_by_whom_its_sender_names() {
    let both = ["one", "other"];
    for (providers, named, expected) in [
        (&both[..], None, Err("provider_unclear")),
        (&both, Some("other"), Ok("other")),
        (&both, Some("nobody"), Err("files_not_kept")),
        (&["other"], None, Ok("other")),
        (&["other"], Some("one"), Err("model_not_served")),
        (&[], None, Err("model_not_served")),
    ] {
        assert_eq!(keeper(providers, named), expected.map(str::to_owned), "{providers:?} {named:?}");
    }
}
