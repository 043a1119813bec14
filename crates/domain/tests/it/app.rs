//! The tests of `domain::app`.

use domain::app::host_of;

#[test]
fn a_host_has_its_port_where_that_is_not_the_usual_one() {
    for (url, host) in [
        ("https://API.example/a/{b}", Some("api.example")),
        ("https://api.example:443", Some("api.example")),
        ("http://127.0.0.1:8080/x", Some("127.0.0.1:8080")),
        ("https://user@api.example/x", Some("api.example")),
        ("api.example", None),
        ("https:///x", None),
    ] {
        assert_eq!(host_of(url).as_deref(), host, "{url}");
    }
}
