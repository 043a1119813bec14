//! Which headers authenticate whom.

use std::sync::Arc;

use admit::{Caller, Needs, identify, system};
use domain::{Fault, FaultClass};
use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::fixture::{
    ADMIN, INFERENCE, NOW_UNIX_MS, OPERATOR, Plain, READ, key_id, project_id, side_call, snapshot,
    snapshot_by, text, workspace_id,
};

fn headers(pairs: &[(&'static str, String)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn ask(pairs: &[(&'static str, String)], peer: &str, needs: Needs) -> Result<Caller, Box<Fault>> {
    identify(snapshot(), &headers(pairs), peer.parse().unwrap(), needs, NOW_UNIX_MS)
}

fn bearer(number: u8) -> (&'static str, String) {
    ("authorization", format!("Bearer {}", text(number)))
}

fn own(number: u8) -> (&'static str, String) {
    ("x-api-key", text(number))
}

#[test]
fn a_key_is_found_where_sdks_put_it() {
    for (pairs, number) in [
        (vec![bearer(1)], 1),
        (vec![("authorization", format!("bearer   {}", text(1)))], 1),
        (vec![own(1)], 1),
        (vec![bearer(1), own(9)], 1),
        (vec![("authorization", "Bearer sk-of-a-proxy".to_owned()), own(9)], 9),
        (vec![("authorization", "Basic dXNlcjpwYXNz".to_owned()), own(9)], 9),
        (vec![("x-api-key", "sk-of-a-proxy".to_owned()), bearer(1)], 1),
    ] {
        let caller = ask(&pairs, "192.0.2.1", Needs::Inference).unwrap();
        assert_eq!(caller.key().unwrap().id, key_id(number), "{pairs:?}");
        assert_eq!(caller.project().id, project_id(1));
        assert_eq!(caller.snapshot().version(), 3);
    }
}

/// The time of a lookup reveals nothing about how close a guess is: any text in a key's form is hashed once,
/// with a pepper that the attacker lacks, and a key found by half of the hash is compared in constant time.
#[test]
fn every_guess_costs_the_same_look_up() {
    let hash = Arc::new(Plain::default());
    let snapshot = snapshot_by(&hash);
    hash.take_calls();
    let good = text(1);
    // Equal up to the last significant character, up to the first, and not at all.
    let near = |kept: usize| {
        let turned = good.chars().enumerate().map(|(index, letter)| match letter {
            _ if index < kept => letter,
            'A' => 'B',
            _ => 'A',
        });
        turned.collect::<String>()
    };
    let guesses = [near(good.len() - 1), near(20), near(9), text(200), text(5), text(6), text(7)];
    for presented in [good.clone()].into_iter().chain(guesses) {
        let headers = headers(&[("authorization", format!("Bearer {presented}"))]);
        let peer = "192.0.2.1".parse().unwrap();
        let identified = identify(snapshot.clone(), &headers, peer, Needs::Inference, NOW_UNIX_MS);
        assert_eq!(identified.is_ok(), presented == good);
        assert_eq!(hash.take_calls(), 1, "a key that ends so: {}", &presented[40..]);
    }
}

#[test]
fn who_is_not_let_in_reads_why_and_never_their_own_secret() {
    let mistyped = format!("Bearer {}x", text(1).strip_suffix(char::is_alphanumeric).unwrap());
    let unknown = ("authorization", format!("Bearer {}", text(200)));
    let foreign = ("authorization", "Bearer sk-canary".to_owned());
    for (pairs, code, expected) in [
        (vec![], "missing_api_key", "Bearer tg_"),
        (vec![("authorization", String::new())], "missing_api_key", "Bearer tg_"),
        (vec![("authorization", "Bearer ".to_owned())], "invalid_api_key", "Bearer KEY"),
        (vec![("authorization", "Basic dXNlcjpwYXNz".to_owned())], "invalid_api_key", "Bearer KEY"),
        (vec![("authorization", text(1))], "invalid_api_key", "Bearer KEY"),
        (vec![foreign], "invalid_api_key", "tidegate credential add"),
        (vec![("authorization", mistyped)], "invalid_api_key", "checksum"),
        (vec![unknown], "invalid_api_key", "unknown"),
        (vec![bearer(1), bearer(1)], "invalid_api_key", "more than once"),
        (vec![own(1), own(2)], "invalid_api_key", "more than once"),
        (vec![bearer(5)], "expired_api_key", "expired"),
        (vec![bearer(6)], "revoked_api_key", "revoked"),
        (vec![bearer(8)], "invalid_api_key", "unknown"),
    ] {
        let fault = ask(&pairs, "192.0.2.1", Needs::Inference).unwrap_err();
        assert_eq!((fault.class, fault.code), (FaultClass::Unauthenticated, code), "{pairs:?}");
        let text = fault.to_string();
        assert!(fault.fix.is_some() && text.contains(expected), "{pairs:?}: {text}");
        for (_, value) in &pairs {
            let secret = value.rsplit(' ').next().unwrap_or_default();
            assert!(secret.is_empty() || !text.contains(secret), "{text}");
        }
    }
}

#[test]
fn a_header_that_is_no_text_is_no_key() {
    let mut headers = HeaderMap::new();
    headers.append("authorization", HeaderValue::from_bytes(b"Bearer \xff\xfe").unwrap());
    let fault = identify(snapshot(), &headers, "192.0.2.1".parse().unwrap(), Needs::Read, 0).unwrap_err();
    assert_eq!(fault.code, "invalid_api_key");
}

#[test]
fn each_path_needs_its_scope() {
    use Needs::{Admin, Inference, Operator, Read};
    for (number, scopes, allowed) in [
        (1, INFERENCE, vec![Inference]),
        (2, READ, vec![Read]),
        (3, ADMIN, vec![Read, Admin]),
        (4, OPERATOR, vec![Read, Operator]),
    ] {
        for needs in [Inference, Read, Admin, Operator] {
            let asked = ask(&[bearer(number)], "192.0.2.1", needs);
            assert_eq!(asked.is_ok(), allowed.contains(&needs), "{scopes:?} for {needs:?}");
            match asked {
                Ok(caller) => assert_eq!(caller.key().unwrap().scopes, scopes),
                Err(fault) => {
                    assert_eq!((fault.class, fault.code), (FaultClass::Forbidden, "insufficient_scope"));
                }
            }
        }
    }
}

#[test]
fn an_allowlist_looks_at_the_connection_and_at_no_header() {
    assert!(ask(&[bearer(7)], "10.3.4.5", Needs::Inference).is_ok());
    assert!(ask(&[bearer(7)], "::ffff:10.3.4.5", Needs::Inference).is_ok());
    for header in ["x-forwarded-for", "x-real-ip", "forwarded"] {
        let pairs = [bearer(7), (header, "10.3.4.5".to_owned())];
        let fault = ask(&pairs, "192.0.2.1", Needs::Inference).unwrap_err();
        assert_eq!((fault.class, fault.code), (FaultClass::Forbidden, "ip_not_allowed"));
        assert!(fault.to_string().contains("192.0.2.1"), "{fault}");
    }
}

#[test]
fn the_environment_is_the_keys_else_the_projects() {
    assert_eq!(&**ask(&[bearer(9)], "192.0.2.1", Needs::Inference).unwrap().environment(), "staging");
    let own = system(snapshot(), workspace_id(), project_id(1), side_call()).unwrap();
    assert!(own.key().is_none());
    assert_eq!((&**own.environment(), own.workspace().id), ("production", workspace_id()));
    assert!(system(snapshot(), workspace_id(), project_id(2), side_call()).is_none());
}
