//! Generates `docs/errors.md`: the class table from the code, and the exceptions that the SDKs raised.

use std::fmt::Write;

use bytes::Bytes;
use conversation::request::Request;
use dialects::{AnswerPath, AnswerStream, render_blocked, render_error};
use domain::{Blame, Dialect, Fault, FaultClass, Grammar, Operation, TraceId};
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

Written by `UPDATE_DOCS=1 cargo test -p journeys --test it faults`, and compared by it otherwise.

What goes wrong has one class, and the class decides everything: whether the gateway asks again, what it learns of the
credential, and what the client reads in its own grammar. The tables are `status.rs` and `*/error.rs` in `dialects`
and `schedule.rs` and `miss.rs` in `execute`.

## Classes
";

const PARITY: &str = "
Each failure is scripted at a strict emulator of the provider. An official SDK meets it twice: alone, and through the
gateway with a credential of the workspace's own. `=` is the same exception, `~` another one for the reason below the
table, a dash is a failure that the provider does not have. Numbers are the SDK's own calls, alone and through the
gateway, where they differ: the gateway has asked again in its place, or no retry helps, and `x-should-retry: false`
says so. In no row was the provider asked more often than three times, or than the SDK alone asks it.
";

/// One judged row.
pub struct Judged {
    pub row: Row,
    pub verdict: Verdict,
}

/// Compares the generated page with the checked-in one, or writes it.
pub fn keep(faults: &[Scripted], outcomes: &Outcomes, judged: &[Judged]) {
    let made = format!("{HEAD}{}{}", classes(), parity(faults, outcomes, judged));
    let file = workspace().join("docs/errors.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    let differs = kept.lines().zip(made.lines()).find(|(kept, made)| kept != made);
    assert!(kept == made, "docs/errors.md is old, run with UPDATE_DOCS=1: {differs:?}");
}

fn classes() -> String {
    let mut page = String::from(
        "\n| class | whose doing | the gateway asks | the credential | chat, responses | responses, in a stream | messages | gemini | converse |\n|---|---|---|---|---|---|---|---|---|\n",
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
        "\nOf a request that is wrong, a client reads the provider's own shade (405, 410 to 418, 422 to 424, 428, 431, 451)\nand, in the grammars of OpenAI, its own type and code. A `retry-after` is sent up to 60 s; a longer one is told in the\ntext, with `x-should-retry: false`.\n",
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
        Remedy::None => "nobody again",
        Remedy::NextSeat => "the next credential",
        Remedy::SameSeat => "again, then the next",
    }
}

const fn health_effect(signal: HealthSignal) -> &'static str {
    match signal {
        HealthSignal::Nothing | HealthSignal::Neutral => "as before",
        HealthSignal::Unhealthy => "its breaker counts",
        HealthSignal::Cooldown => "rests as long as was named",
        HealthSignal::Park => "parked, probed now and then",
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
    let answer_path = AnswerPath {
        needs_normalising: false,
        operation: Operation::Chat,
        client: Grammar::Responses,
        upstream: Grammar::Chat,
        usage: true,
        as_array: false,
        model: "m".to_owned(),
        trace: TraceId::new(1, [0; 10]),
        created_unix_s: 0,
        constraints: conversation::constraints::AnswerConstraints::default(),
        prompt_bytes: 0,
        keeps_text: false,
        form: dialects::AnswerForm::default(),
        estimator: None,
        video: None,
        transcript: None,
        vectors: conversation::request::VectorForm::default(),
    };
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
    page.push_str("\n\n## Other exceptions, and why\n\n| failure | SDK | alone | through the gateway | why |\n|---|---|---|---|---|\n");
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
