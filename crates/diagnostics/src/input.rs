//! The document that a report's evidence digest is over, and what of a signed report can be computed again from itself.

use serde_json::{Map, Value, json};

use crate::score::{Band, Part};
use crate::trace::Trace;

/// What the score was computed from: the traces by arrival and id. The same traces make the same document, in whatever order they came.
pub fn input_document(traces: &[Trace]) -> Map<String, Value> {
    let mut sorted: Vec<&Trace> = traces.iter().collect();
    sorted.sort_by_key(|trace| (trace.arrival_ms, &trace.id));
    let mut document = Map::new();
    document.insert("object".to_owned(), "diagnostics_input".into());
    document.insert("version".to_owned(), 1.into());
    document.insert("traces".to_owned(), sorted.into_iter().map(form).collect());
    document
}

fn form(trace: &Trace) -> Value {
    json!({
        "trace_id": trace.id,
        "privacy_mode": trace.privacy.as_str(),
        "prefix_family_id": trace.family,
        "schedule": {
            "arrival_offset_ms": trace.arrival_ms,
            "session_id": trace.session,
            "branch_id": trace.branch,
            "concurrency_group": trace.concurrency_group,
        },
        "observed": {
            "resolved_target": trace.target,
            "ttft_ms": trace.ttft_ms,
            "latency_ms": trace.latency_ms,
            "input_tokens": trace.input_tokens,
            "candidate_reuse_tokens": trace.candidate_tokens,
            "realized_reused_tokens": trace.realized_tokens,
            "output_tokens": trace.output_tokens,
            "attempt_count": trace.attempts,
        },
    })
}

/// What a report's own numbers come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recomputed {
    pub points: u64,
    pub band: Band,
}

/// Computes a report's score again from the ratios in it; `None` if they are not in their form, or a part does not have the points of
/// its ratio.
pub fn recompute(report: &Map<String, Value>) -> Option<Recomputed> {
    let score = report.get("score")?;
    let parts = score.get("parts")?.as_array()?;
    let mut points = 0;
    if parts.len() != Part::ALL.len() {
        return None;
    }
    for (expected, part) in Part::ALL.into_iter().zip(parts) {
        let number = |name: &str| part.get(name).and_then(Value::as_u64);
        let is_it = part.get("part").and_then(Value::as_str) == Some(expected.as_str());
        let of_ratio = expected.points(number("numerator")?, number("denominator")?);
        if !is_it || number("points")? != of_ratio {
            return None;
        }
        points += of_ratio;
    }
    let found = Recomputed { points, band: Band::of(points) };
    let is_same = score.get("points")?.as_u64() == Some(found.points)
        && score.get("band")?.as_str() == Some(found.band.as_str());
    is_same.then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(points: u64) -> Map<String, Value> {
        let part = |part: Part| json!({"part": part.as_str(), "numerator": 1, "denominator": 1, "points": part.points_max()});
        let parts: Vec<_> = Part::ALL.into_iter().map(part).collect();
        let score = json!({"points": points, "band": "strong", "parts": parts});
        [("score".to_owned(), score)].into_iter().collect()
    }

    #[test]
    fn a_score_is_computed_again_from_its_ratios() {
        assert_eq!(recompute(&report(100)), Some(Recomputed { points: 100, band: Band::Strong }));
        assert_eq!(recompute(&report(99)), None);
        let mut other = report(100);
        other["score"]["parts"][2]["numerator"] = json!(0);
        assert_eq!(recompute(&other), None);
        other = report(100);
        other["score"]["parts"].as_array_mut().unwrap().pop();
        assert_eq!(recompute(&other), None);
        assert_eq!(recompute(&Map::new()), None);
    }

    #[test]
    fn the_same_traces_are_the_same_input() {
        let trace = |id: &str, arrival_ms| Trace { id: id.into(), arrival_ms, ..Trace::default() };
        let one = input_document(&[trace("a", 2), trace("b", 1)]);
        assert_eq!(one, input_document(&[trace("b", 1), trace("a", 2)]));
        assert_ne!(one, input_document(&[trace("b", 1), trace("a", 3)]));
        assert_eq!(one["traces"][0]["trace_id"], "b");
    }
}
