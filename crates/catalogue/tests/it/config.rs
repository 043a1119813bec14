//! Addresses that are filled with what a credential says.

use catalogue::Catalogue;
use domain::Hosting;

use crate::ONE_PROVIDER;

/// The provider's address with what its credential says, or what that lacks.
fn fill(address: &str, hosting: &Hosting) -> Result<String, String> {
    let catalogue = Catalogue::of_texts(ONE_PROVIDER, "revision = \"r1\"").unwrap();
    let mut facts = catalogue.provider("alpha").unwrap().clone();
    facts.base_url = Some(address.to_owned());
    facts.address(hosting).map(Into::into).map_err(|lacking| lacking.unwrap().to_owned())
}

#[test]
fn an_address_is_filled_with_what_is_said() {
    let hosting = Hosting { region: Some("eu-1".to_owned()), ..Hosting::default() };
    assert_eq!(fill("https://api.example/v1", &hosting).as_deref(), Ok("https://api.example/v1"));
    assert_eq!(fill("https://x-{region}.example", &hosting).as_deref(), Ok("https://x-eu-1.example"));
    assert_eq!(fill("https://{location}-x.example", &hosting).as_deref(), Ok("https://eu-1-x.example"));
    assert_eq!(fill("https://{resource}.example", &hosting), Err("resource".to_owned()));
    for elsewhere in ["evil.example/", "a.b", "a@b", "a:1", "a?b", "a#b"] {
        let hosting = Hosting { resource: Some(elsewhere.to_owned()), ..Hosting::default() };
        assert_eq!(fill("https://{resource}.example", &hosting), Err("resource".to_owned()), "{elsewhere}");
    }
}
