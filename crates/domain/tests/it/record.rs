//! The tests of `domain::record`.

use domain::limits::RECORD_REASON_BYTES_MAX;
use domain::record::Reason;
use domain::{BudgetId, Fault, FaultClass, Outcome, Refuser, UpstreamReport};

fn refused(class: FaultClass, message: &str) -> Fault {
    let (code, words) = (Some("invalid_value".into()), Some(message.to_owned()));
    let report =
        UpstreamReport { provider: "openai".into(), code, message: words, ..UpstreamReport::default() };
    let message = format!("openai found the request invalid: {message}.");
    Fault::new(class, "upstream_bad_request", message).upstream(report)
}

#[test]
fn a_reason_is_what_the_client_read_without_what_may_quote_its_request() {
    let long = "x".repeat(RECORD_REASON_BYTES_MAX - 1) + "é";
    let cases = [
        (Fault::new(FaultClass::BudgetReached, "quota_exceeded", "It is used up."), "It is used up."),
        (
            refused(FaultClass::UpstreamAuth, "Incorrect API key provided"),
            "openai found the request invalid: Incorrect API key provided.",
        ),
        (
            refused(FaultClass::BadRequest, "\"my secret text\" is too long"),
            "openai found the request invalid: invalid_value (its words are not kept, since they may quote the request).",
        ),
        (Fault::new(FaultClass::Internal, "internal_error", long.clone()), &long[..long.len() - 2]),
    ];
    for (fault, expected) in cases {
        assert_eq!(Reason::of(&fault).message, expected);
    }
}

#[test]
fn a_reason_names_who_refused_and_every_outcome_has_a_word() {
    let budget = BudgetId::new(1, [7; 10]);
    let fault = Fault::new(FaultClass::BudgetReached, "quota_exceeded", "Used up.")
        .param("max_tokens")
        .refused_by(Refuser::Budget(budget));
    let reason = Reason::of(&fault);
    let refuser = reason.refused_by.unwrap();
    assert_eq!((refuser.kind(), refuser.id()), ("budget", budget.to_string()));
    assert_eq!((reason.param.as_deref(), reason.fix), (Some("max_tokens"), None));
    let words: std::collections::BTreeSet<_> = Outcome::ALL.iter().map(|one| one.as_str()).collect();
    assert_eq!(words.len(), Outcome::ALL.len());
}
