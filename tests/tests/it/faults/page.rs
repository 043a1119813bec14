//! Generates `docs/errors.md`: the classes and codes from the tables, and the exceptions that the SDKs raised.

use std::fmt::Write;

use bytes::Bytes;
use conversation::request::Request;
use dialects::{AnswerPath, AnswerStream, render_blocked, render_error};
use domain::{Blame, Dialect, Fault, FaultClass, Grammar, TraceId, fault_page};
use execute::schedule::{Remedy, remedy};
use execute::{HealthSignal, health_signal};
use serde_json::Value;

use super::drive::SDKS;
use super::scripted::Scripted;
use super::stage::{Outcomes, Row};
use super::verdict::{Calls, Raised, Verdict};
use crate::command::workspace;

const HEAD: &str = "\
# Errors

Written by `UPDATE_DOCS=1 cargo test -p journeys --test it faults`, and compared by it otherwise. The codes are written
and compared by the tests of `domain`, too.

Every failure has one class. The class decides whether the gateway retries, what it learns about the credential, and
which error the client gets in its own dialect. The tables are `status.rs` and `*/error.rs` in `dialects`, and
`schedule.rs` and `failure.rs` in `execute`.

## Classes
";

const CODES: &str = "
## Codes

Programs match on the code. It is in `error.code` (chat, responses, realtime), in capitals in `error.details[].reason`
(gemini), in `code` of a problem document (`/v2`, `/v1/run`), and in `error_code` of a request's record. Errors of
messages and converse have a type alone. If a provider refuses a request as wrong and sends a code of its own, chat and
responses pass that one on. In a stream of responses the code is that of the class, from the table above.

";

const PARITY: &str = "
Each failure is scripted at a strict emulator of the provider. An official SDK meets it twice: directly, and through
the gateway with a credential of the workspace's own. `=` is the same exception, `~` is another one, for a reason that
the last table gives, and a dash is a failure that the provider does not have. Two numbers are the SDK's calls, directly
and through the gateway, where they differ: the gateway retried in its place, or no retry helps, and
`x-should-retry: false` says so. The provider never got more than three calls, or more than the SDK makes directly if
that is more than three.
";

/// One judged row.
pub struct Judged {
    pub row: Row,
    pub verdict: Verdict,
}

/// Compares the generated page with the checked-in one, or writes it.
pub fn keep(faults: &[Scripted], outcomes: &Outcomes, judged: &[Judged]) {
    let made = format!("{}{}", tables(), parity(faults, outcomes, judged));
    let file = workspace().join("docs/errors.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    let differs = kept.lines().zip(made.lines()).find(|(kept, made)| kept != made);
    assert!(kept == made, "docs/errors.md is old, run with UPDATE_DOCS=1: {differs:?}");
}

/// The part of the page that needs no SDK.
fn tables() -> String {
    format!("{HEAD}{}{CODES}{}", classes(), fault_page::page_table())
}

fn classes() -> String {
    let mut page = String::from(
        "\n| class | at fault | the gateway retries | the credential | chat, responses | responses, in a stream | messages | gemini | converse |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    for class in FaultClass::ALL {
        writeln!(
            page,
            "| `{}` | {} | {} | {} | {} | `{}` | {} | {} | {} |",
            class.as_str(),
            blamed_party(class.blame()),
            retry_policy(remedy(class)),
            health_effect(health_signal(class)),
            status_and_code(class, Dialect::Chat, "/error/type"),
            in_stream(class),
            status_and_code(class, Dialect::Anthropic, "/error/type"),
            status_and_code(class, Dialect::Gemini, "/error/status"),
            thrown(class),
        )
        .unwrap();
    }
    page.push_str(
        "\nIf a provider refuses a request as wrong, the client gets the provider's own status (405, 406, 410 to 418, 422 to 424,\n428, 431, 451) and, in the dialects of OpenAI, its type and code. A `retry-after` is sent up to 60 s; a longer wait is\nnamed in the message, with `x-should-retry: false`.\n",
    );
    page
}

const fn blamed_party(blame: Blame) -> &'static str {
    match blame {
        Blame::Client => "client",
        Blame::Credential => "credential",
        Blame::Policy => "policy",
        Blame::Budget => "budget",
        Blame::Upstream => "provider",
        Blame::Us => "gateway",
    }
}

const fn retry_policy(remedy: Remedy) -> &'static str {
    match remedy {
        Remedy::None => "no",
        Remedy::NextSeat => "with the next credential",
        Remedy::SameSeat => "with the same credential, then the next",
    }
}

const fn health_effect(signal: HealthSignal) -> &'static str {
    match signal {
        HealthSignal::Nothing | HealthSignal::Neutral => "unchanged",
        HealthSignal::Unhealthy => "counted by its circuit breaker",
        HealthSignal::Cooldown => "rests as long as the provider says",
        HealthSignal::Park => "parked, and probed from time to time",
    }
}

fn fault(class: FaultClass) -> Fault {
    Fault::new(class, "code", "Text.")
}

fn status_and_code(class: FaultClass, dialect: Dialect, word: &str) -> String {
    let (fault, trace) = (fault(class), TraceId::new(1, [0; 10]));
    let blocked = render_blocked(&fault, dialect, &Request::default(), trace);
    let word = if blocked.is_some() { "/promptFeedback/blockReason" } else { word };
    let answer = blocked.unwrap_or_else(|| render_error(&fault, dialect, trace));
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    format!("{} `{}`", answer.status, body.pointer(word).and_then(Value::as_str).unwrap())
}

/// The status and error type from which Converse SDKs choose an exception.
fn thrown(class: FaultClass) -> String {
    let answer = render_error(&fault(class), Dialect::Converse, TraceId::new(1, [0; 10]));
    let kind = answer.headers.iter().find(|(name, _)| name == "x-amzn-errortype").unwrap();
    format!("{} `{}`", answer.status, kind.1.to_str().unwrap())
}

/// The error code in `response.failed`.
fn in_stream(class: FaultClass) -> String {
    let answer_path =
        AnswerPath::chat(Grammar::Responses, Grammar::Chat).with_labels("m", TraceId::new(1, [0; 10]), 0);
    let event: Bytes = AnswerStream::new(answer_path).error_event(&fault(class), TraceId::new(1, [0; 10]));
    let text = String::from_utf8(event.to_vec()).unwrap();
    let failed = text.lines().rev().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let failed: Value = serde_json::from_str(failed).unwrap();
    failed.pointer("/response/error/code").and_then(Value::as_str).unwrap().to_owned()
}

fn parity(faults: &[Scripted], outcomes: &Outcomes, judged: &[Judged]) -> String {
    let of = |row: Row| judged.iter().find(|judged| judged.row == row).map(|judged| judged.verdict);
    let mut page = String::from("\n## The same exceptions\n");
    page.push_str(PARITY);
    page.push_str(&shares(faults, judged));
    page.push_str("\n| failure | class |");
    SDKS.iter().for_each(|sdk| write!(page, " {} |", sdk.name()).unwrap());
    page.push_str("\n|---|---|");
    SDKS.iter().for_each(|_| page.push_str("---|"));
    for (at, scripted) in faults.iter().enumerate() {
        write!(page, "\n| {} | `{}` |", scripted.name, scripted.class.as_str()).unwrap();
        for sdk in SDKS {
            let row = Row { sdk, vendor: sdk.grammar, fault: at };
            let cell = of(row).map_or("-".to_owned(), |verdict| cell(verdict, row, outcomes));
            write!(page, " {cell} |").unwrap();
        }
    }
    page.push_str("\n\n## Other exceptions, and why\n\n| failure | SDK | directly | through the gateway | why |\n|---|---|---|---|---|\n");
    for Judged { row, verdict } in judged {
        let why = match verdict.raised {
            Raised::Same => continue,
            Raised::OfClass(why) => why,
            Raised::Different => "none",
        };
        let raised = |exception: &Option<String>| exception.clone().unwrap_or_else(|| "nothing".to_owned());
        let (direct, through) = (&outcomes.direct[row], &outcomes.through[row]);
        let (alone, behind) = (raised(&direct.report.raised), raised(&through.report.raised));
        let name = faults[row.fault].name;
        writeln!(page, "| {name} | {} | `{alone}` | `{behind}` | {why} |", row.sdk.name()).unwrap();
    }
    page
}

fn cell(verdict: Verdict, row: Row, outcomes: &Outcomes) -> String {
    let raised = match verdict.raised {
        Raised::Same => "=",
        Raised::OfClass(_) => "~",
        Raised::Different => "**!**",
    };
    let (alone, behind) = (outcomes.direct[&row].calls, outcomes.through[&row].calls);
    match verdict.calls {
        Calls::Same => raised.to_owned(),
        Calls::Fewer => format!("{raised} {alone}→{behind}"),
        Calls::Different => format!("{raised} **{alone}→{behind}**"),
    }
}

fn shares(faults: &[Scripted], judged: &[Judged]) -> String {
    let all: Vec<Verdict> = judged.iter().map(|one| one.verdict).collect();
    let reported = judged.iter().filter(|one| faults[one.row.fault].is_readable());
    let reported: Vec<Verdict> = reported.map(|one| one.verdict).collect();
    let mut page = String::from(
        "\n| rows | number | same exception | that of the class | another | as often | less often | more often |\n|---|---|---|---|---|---|---|---|\n",
    );
    for (name, rows) in [("the provider says what is wrong", reported), ("all", all)] {
        let count = |holds: &dyn Fn(&Verdict) -> bool| rows.iter().filter(|one| holds(one)).count();
        writeln!(
            page,
            "| {name} | {} | {} | {} | {} | {} | {} | {} |",
            rows.len(),
            count(&|one| one.raised == Raised::Same),
            count(&|one| matches!(one.raised, Raised::OfClass(_))),
            count(&|one| one.raised == Raised::Different),
            count(&|one| one.calls == Calls::Same),
            count(&|one| one.calls == Calls::Fewer),
            count(&|one| one.calls == Calls::Different),
        )
        .unwrap();
    }
    page
}

#[test]
fn the_tables_are_up_to_date() {
    let kept = std::fs::read_to_string(workspace().join("docs/errors.md")).unwrap();
    let is_updating = std::env::var_os("UPDATE_DOCS").is_some();
    assert!(is_updating || kept.starts_with(&tables()), "docs/errors.md is old, run with UPDATE_DOCS=1");
}
