//! Traces that are uploaded: their form, checked so that a report never holds more than counts, times and names.

use std::collections::BTreeSet;

use api::failure::invalid;
use catalogue::Catalogue;
use diagnostics::{Privacy, Trace};
use domain::{Fault, Rates};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::limits::{TRACE_NAME_BYTES_MAX, TRACE_NUMBER_MAX, TRACES_UPLOADED_MAX};

/// One request of a workload, without its content.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DiagnosticsTrace")]
pub(super) struct TraceForm {
    /// Unique within the upload.
    trace_id: String,
    /// How it was recorded.
    #[schemars(extend("enum" = ["metadata", "tokenized", "encrypted_full_fidelity", "synthetic"]))]
    privacy_mode: Option<String>,
    /// Requests of one family begin with the same prefix.
    prefix_family_id: Option<String>,
    schedule: ScheduleForm,
    observed: ObservedForm,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DiagnosticsSchedule")]
struct ScheduleForm {
    /// When it came, since the first.
    arrival_offset_ms: u64,
    session_id: Option<String>,
    branch_id: Option<String>,
    concurrency_group: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DiagnosticsObservation")]
struct ObservedForm {
    /// The model that served it, as `publisher/model` or `provider:publisher/model`; with a known one, findings have money.
    resolved_target: Option<String>,
    /// Of streams alone.
    ttft_ms: Option<u64>,
    latency_ms: u64,
    input_tokens: u64,
    /// The part of the input that was sent before.
    #[serde(default)]
    candidate_reuse_tokens: u64,
    /// The part of the candidate that came from a cache.
    #[serde(default)]
    realized_reused_tokens: u64,
    #[serde(default)]
    output_tokens: u64,
    #[serde(default = "one")]
    attempt_count: u64,
}

const fn one() -> u64 {
    1
}

/// The traces of an upload, with the prices of a catalogue.
///
/// # Errors
/// 400 for what can't be.
pub(super) fn read(forms: Vec<TraceForm>, catalogue: &Catalogue) -> Result<Vec<Trace>, Box<Fault>> {
    if forms.is_empty() || forms.len() > TRACES_UPLOADED_MAX {
        let message = format!("traces has {} traces.", forms.len());
        return Err(invalid(
            "traces",
            message,
            format!("Send 1 to {TRACES_UPLOADED_MAX}; of more, a sample."),
        ));
    }
    let mut ids = BTreeSet::new();
    let mut traces = Vec::with_capacity(forms.len());
    for (at, form) in forms.into_iter().enumerate() {
        let trace = read_one(at, form, catalogue)?;
        if !ids.insert(trace.id.clone()) {
            let message = format!("Two traces have the id {}.", trace.id);
            return Err(invalid(format!("traces[{at}].trace_id"), message, "Give each its own."));
        }
        traces.push(trace);
    }
    Ok(traces)
}

fn read_one(at: usize, form: TraceForm, catalogue: &Catalogue) -> Result<Trace, Box<Fault>> {
    let TraceForm { trace_id, privacy_mode, prefix_family_id, schedule, observed } = form;
    let field = |name: &str| format!("traces[{at}].{name}");
    check_numbers(&field, &schedule, &observed)?;
    let privacy = match privacy_mode {
        None => Privacy::default(),
        Some(word) => Privacy::from_name(&word).ok_or_else(|| {
            let known: Vec<_> = Privacy::ALL.iter().map(|privacy| privacy.as_str()).collect();
            invalid(field("privacy_mode"), "It isn't a privacy mode.", format!("Use {}.", known.join(", ")))
        })?,
    };
    let target = checked(&field("observed.resolved_target"), observed.resolved_target)?.unwrap_or_default();
    Ok(Trace {
        id: checked(&field("trace_id"), Some(trace_id))?.unwrap_or_default(),
        privacy,
        family: checked(&field("prefix_family_id"), prefix_family_id)?,
        session: checked(&field("schedule.session_id"), schedule.session_id)?,
        branch: checked(&field("schedule.branch_id"), schedule.branch_id)?,
        concurrency_group: checked(&field("schedule.concurrency_group"), schedule.concurrency_group)?,
        arrival_ms: schedule.arrival_offset_ms,
        rates: rates(catalogue, &target, observed.input_tokens),
        target,
        ttft_ms: observed.ttft_ms,
        latency_ms: observed.latency_ms,
        input_tokens: observed.input_tokens,
        candidate_tokens: observed.candidate_reuse_tokens,
        realized_tokens: observed.realized_reused_tokens,
        output_tokens: observed.output_tokens,
        attempts: observed.attempt_count,
        markup_bps: 0,
        booked: None,
    })
}

fn check_numbers(
    field: &dyn Fn(&str) -> String,
    schedule: &ScheduleForm,
    observed: &ObservedForm,
) -> Result<(), Box<Fault>> {
    let numbers = [
        ("schedule.arrival_offset_ms", schedule.arrival_offset_ms),
        ("observed.ttft_ms", observed.ttft_ms.unwrap_or(0)),
        ("observed.latency_ms", observed.latency_ms),
        ("observed.input_tokens", observed.input_tokens),
        ("observed.output_tokens", observed.output_tokens),
        ("observed.attempt_count", observed.attempt_count),
    ];
    if let Some((name, _)) = numbers.into_iter().find(|(_, number)| *number > TRACE_NUMBER_MAX) {
        return Err(invalid(
            field(name),
            "It is too large to be true.",
            format!("Give at most {TRACE_NUMBER_MAX}."),
        ));
    }
    let parts = [
        (
            "observed.candidate_reuse_tokens",
            observed.candidate_reuse_tokens,
            observed.input_tokens,
            "input_tokens",
        ),
        (
            "observed.realized_reused_tokens",
            observed.realized_reused_tokens,
            observed.candidate_reuse_tokens,
            "candidate_reuse_tokens",
        ),
    ];
    match parts.into_iter().find(|(_, part, whole, _)| part > whole) {
        None => Ok(()),
        Some((name, _, _, whole)) => Err(invalid(
            field(name),
            format!("It is more than {whole}, of which it is a part."),
            "Correct the counts.",
        )),
    }
}

/// A name that no sentence fits in.
fn checked(field: &str, name: Option<String>) -> Result<Option<String>, Box<Fault>> {
    let is_name = |name: &String| {
        (1..=TRACE_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
    };
    match name {
        Some(name) if !is_name(&name) => Err(invalid(
            field,
            "It isn't an id.",
            format!("Give 1 to {TRACE_NAME_BYTES_MAX} letters, digits and signs without spaces."),
        )),
        name => Ok(name),
    }
}

/// The list price of a target: at the seller that it names, else at the first that has one.
fn rates(catalogue: &Catalogue, target: &str, input_tokens: u64) -> Option<Rates> {
    let pinned = target.split_once(':').filter(|(seller, _)| catalogue.provider(seller).is_some());
    let (seller, model) = pinned.map_or((None, target), |(seller, model)| (Some(seller), model));
    let model = catalogue.model(model)?;
    let slug = seller.and_then(|seller| catalogue.provider(seller)).map(|facts| facts.slug.as_str());
    let mut offers = model.offers.iter().filter(|offer| slug.is_none_or(|slug| slug == offer.provider));
    offers.find_map(|offer| offer.rates_for(input_tokens))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn trace(change: impl FnOnce(&mut Value)) -> Value {
        let mut trace = json!({
            "trace_id": "t1", "privacy_mode": "metadata", "prefix_family_id": "f1",
            "schedule": {"arrival_offset_ms": 5, "session_id": "s1", "branch_id": "b1", "concurrency_group": "g1"},
            "observed": {
                "resolved_target": "openai/gpt-4o", "ttft_ms": 10, "latency_ms": 20, "input_tokens": 100,
                "candidate_reuse_tokens": 50, "realized_reused_tokens": 20, "output_tokens": 7, "attempt_count": 2,
            },
        });
        change(&mut trace);
        trace
    }

    fn read_all(traces: &[Value]) -> Result<Vec<Trace>, Box<Fault>> {
        let forms = traces.iter().map(|trace| serde_json::from_value(trace.clone()).unwrap()).collect();
        read(forms, &Catalogue::embedded().unwrap())
    }

    #[test]
    fn a_trace_is_read_with_the_price_of_its_model() {
        let catalogue = Catalogue::embedded().unwrap();
        let [one] = read_all(&[trace(|_| ())]).unwrap().try_into().unwrap();
        let expected = catalogue.model("openai/gpt-4o").unwrap().offer("openai").unwrap().rates;
        assert_eq!((one.rates, one.attempts, one.branch.as_deref()), (expected, 2, Some("b1")));
        let pinned = trace(|trace| trace["observed"]["resolved_target"] = json!("openai:openai/gpt-4o"));
        assert_eq!(read_all(&[pinned]).unwrap()[0].rates, expected);
        let unknown = trace(|trace| trace["observed"]["resolved_target"] = json!("local/own"));
        assert_eq!(read_all(&[unknown]).unwrap()[0].rates, None);
    }

    #[test]
    fn what_can_not_be_is_refused_at_its_field() {
        let set = |path: &str, value: Value| trace(|trace| *trace.pointer_mut(path).unwrap() = value);
        for (path, value, field) in [
            ("/trace_id", json!("please summarise this letter"), "traces[0].trace_id"),
            ("/trace_id", json!(""), "traces[0].trace_id"),
            ("/prefix_family_id", json!("é"), "traces[0].prefix_family_id"),
            ("/privacy_mode", json!("open"), "traces[0].privacy_mode"),
            ("/schedule/session_id", json!("x".repeat(129)), "traces[0].schedule.session_id"),
            ("/schedule/arrival_offset_ms", json!(u64::MAX), "traces[0].schedule.arrival_offset_ms"),
            ("/observed/candidate_reuse_tokens", json!(101), "traces[0].observed.candidate_reuse_tokens"),
            ("/observed/realized_reused_tokens", json!(51), "traces[0].observed.realized_reused_tokens"),
        ] {
            let fault = read_all(&[set(path, value)]).unwrap_err();
            assert_eq!(fault.param.as_deref(), Some(field));
        }
        assert_eq!(read_all(&[]).unwrap_err().param.as_deref(), Some("traces"));
        let twice = read_all(&[trace(|_| ()), trace(|_| ())]).unwrap_err();
        assert_eq!(twice.param.as_deref(), Some("traces[1].trace_id"));
    }
}
