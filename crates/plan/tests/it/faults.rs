//! The errors that a client gets when nothing serves.

use std::sync::Arc;

use board::Availability;
use catalogue::Catalogue;
use domain::{Fault, FaultClass, Principal, RouteScope};
use snapshot::{CredentialState, NodeState};

use crate::fixture::{Fixture, NOW_US, credential_id, spec};

fn check_mentions(fault: &Fault, parts: &[&str]) {
    let text = fault.to_string();
    for part in parts {
        assert!(text.contains(part), "«{part}» in: {text}");
    }
}

#[test]
fn nothing_serves_names_the_commands_that_would_change_it() {
    let fault = Fixture::new().ask("openai/gpt-4o").fault.unwrap();
    assert_eq!((fault.class, fault.code), (FaultClass::NotFound, "model_not_served"));
    check_mentions(&fault, &["serves the model openai/gpt-4o", "`tidegate credential add openai`"]);
    check_mentions(&fault, &["`tidegate nodes add`", "`tidegate account add openai`"]);
    check_mentions(&fault, &["`tidegate plan openai/gpt-4o`"]);
    let fault = Fixture::new().ask("meta-llama/Llama-3.3-70B-Instruct").fault.unwrap();
    check_mentions(&fault, &["credential add together_ai", "credential add nebius"]);
}

#[test]
fn a_provider_that_has_no_code_yet_says_so_and_is_no_advice() {
    let providers = "[[provider]]\nslug = \"later\"\ndisplay_name = \"Later\"\nbase_url = \"https://later.example\"\nbyok = true\nmanaged = true\n";
    let catalogue = Arc::new(Catalogue::of_texts(providers, "revision = \"1\"").unwrap());
    for model in ["later/flux", "later:flux"] {
        let mut fixture = Fixture::new().credential(1, "later").account(1, "later");
        fixture.catalogue = Some(Arc::clone(&catalogue));
        let fault = fixture.ask(model).fault.unwrap();
        assert_eq!(fault.code, "model_not_served", "{model}");
        check_mentions(&fault, &["is not in this build yet"]);
        assert!(!fault.to_string().contains("credential add"), "{fault}");
    }
}

#[test]
fn those_who_would_serve_but_can_not_are_named_with_their_reason() {
    let fixture = Fixture::new()
        .credential_with(1, "openai", |entry| entry.state = CredentialState::Disabled)
        .credential_with(2, "openai", |entry| entry.expires_unix_ms = Some(5));
    let named = ["credential \"c1\" is switched off", "credential \"c2\" has expired"];
    check_mentions(&fixture.ask("gpt-4o").fault.unwrap(), &named);
    let routed = fixture.route(3, spec(RouteScope::default())).ask("gpt-4o").fault.unwrap();
    check_mentions(&routed, &["under route rte_"]);
}

#[test]
fn an_operators_names_stay_the_operators() {
    let fixture = Fixture::new().account_with(1, "openai", |entry| entry.disabled = true);
    let answer = fixture.ask("gpt-4o");
    assert!(!format!("{answer:?}").contains("pool 1"), "{answer:?}");
}

#[test]
fn the_first_reset_is_told_when_everybody_was_told_to_wait() {
    let at = |seconds: u64| Availability::RetryAt { us: NOW_US + seconds * 1_000_000 };
    let fixture = Fixture::own(2)
        .account(1, "openai")
        .standing(Principal::Credential(credential_id(1)), at(40))
        .standing(Principal::Credential(credential_id(2)), at(7));
    let answer = fixture.ask("gpt-4o");
    let fault = answer.fault.unwrap();
    assert_eq!((fault.class, fault.code), (FaultClass::RateLimit, "rate_limit_exceeded"));
    assert_eq!((fault.retry_after_ms, fault.should_retry), (Some(7_000), None));
    assert!(answer.attempts.is_empty());

    let fixture = Fixture::own(1).standing(Principal::Credential(credential_id(1)), at(600));
    let fault = fixture.ask("gpt-4o").fault.unwrap();
    assert_eq!((fault.retry_after_ms, fault.should_retry), (Some(600_000), Some(false)));
}

#[test]
fn a_node_that_is_away_is_no_reason_to_leave_the_hardware() {
    let away = |fixture: Fixture| {
        fixture.node_with(1, &["openai/gpt-4o", "llama"], |node| node.state = NodeState::Unreachable)
    };
    for model in ["openai/gpt-4o", "llama"] {
        let fault = away(Fixture::new().account(1, "openai")).ask(model).fault.unwrap();
        assert_eq!((fault.class, fault.code), (FaultClass::Overloaded, "node_unreachable"), "{model}");
        check_mentions(&fault, &["node \"n1\""]);
    }
}

#[test]
fn a_model_of_another_kind_is_told_apart() {
    let answer = Fixture::own(1).ask("text-embedding-3-small");
    let fault = answer.fault.unwrap();
    assert_eq!((fault.class, fault.code), (FaultClass::Unsupported, "model_modality"));
    assert!(answer.attempts.is_empty());
}

#[test]
fn a_node_that_takes_nothing_new_is_let_serve_again() {
    for state in [NodeState::Cordoned, NodeState::Draining] {
        let fixture = Fixture::new().node_with(1, &["llama"], |node| node.state = state);
        let fault = fixture.ask("llama").fault.unwrap();
        assert_eq!(fault.code, "model_not_served");
        let command =
            "Run `tidegate nodes uncordon n1` or `tidegate nodes add` with another node that serves it";
        check_mentions(&fault, &["node \"n1\"", command]);
    }
}
