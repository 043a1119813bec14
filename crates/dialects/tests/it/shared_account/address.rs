//! The tests of `dialects::shared_account::address`.

use dialects::is_public_address;

#[test]
fn only_public_addresses_outside_of_the_providers_own_store_are_fetched() {
    let is_own = |host: &str| host == "store.example.com" || host.ends_with(".store.example.com");
    for (address, is_public) in [
        ("https://example.com/a.png", true),
        ("HTTPS://Example.com:8443/a.png?x=1#y", true),
        ("https://example.com", true),
        ("https://example.com./a", true),
        ("https://store.example.com.evil.example/a", true),
        ("https://example.com/a b", false),
        ("https://xn--bcher-kva.example/a", true),
        ("https://example.com/\u{e4}.png", true),
        ("data:image/png;base64,AAAA", true),
        ("http://example.com/a.png", false),
        ("gs://operator-private/payroll.pdf", false),
        ("s3://operator-private/payroll.pdf", false),
        ("files/abc", false),
        ("file-abc", false),
        ("//example.com/a", false),
        ("https:example.com/a", false),
        ("https:/example.com/a", false),
        ("https://store.example.com/v1/files/a", false),
        ("https://STORE.example.com./v1/files/a", false),
        ("https://eu.store.example.com/a", false),
        ("https://me@store.example.com/a", false),
        ("https://example.com@store.example.com/a", false),
        ("https://example.com:x@store.example.com/a", false),
        ("https://store.example.com\\@example.com/a", false),
        ("https://store%2eexample.com/a", false),
        ("https://store\u{3002}example\u{3002}com/a", false),
        ("https://sto\tre.example.com/a", false),
        ("https://localhost/a", false),
        ("https://metadata/a", false),
        ("https://metadata.google.internal/a", false),
        ("https://127.0.0.1/a", false),
        ("https://0x7f.1/a", false),
        ("https://2130706433/a", false),
        ("https://[::1]/a", false),
        ("https:///a", false),
        ("https://example.com:/a", false),
        ("", false),
    ] {
        assert_eq!(is_public_address(address, &is_own), is_public, "{address}");
    }
}
