//! Writes events and faults as the golden exchanges have them.

use conversation::answer::StreamFault;
use domain::{Event, PartKind};

pub fn describe_fault(fault: &StreamFault) -> String {
    match fault.clone().report() {
        Err(word) => word.to_owned(),
        Ok((report, class)) => {
            let code = report.code.as_deref().unwrap_or_default();
            format!("{} {code}: {}", class.as_str(), report.message.as_deref().unwrap_or_default())
        }
    }
}

pub fn render_events(events: &[Event]) -> Vec<String> {
    events.iter().map(render_event).collect()
}

fn render_event(event: &Event) -> String {
    let optional = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    match event {
        Event::Start { id, model, .. } => format!("start {} {}", optional(id), optional(model)),
        Event::Begin { choice, part, kind } => format!("begin {choice}.{part} {}", render_kind(kind)),
        Event::Delta { choice, part, text } => format!("delta {choice}.{part} {text}"),
        Event::Signature { choice, part, value } => format!("signature {choice}.{part} {value}"),
        Event::Citation { choice, part, json } => format!("citation {choice}.{part} {}", json.0),
        Event::Logprobs { choice, tokens } => format!("logprobs {choice} {}", tokens.0),
        Event::End { choice, part } => format!("end {choice}.{part}"),
        Event::Finish { choice, finish } => {
            let why = finish.explanation.as_ref().map_or_else(String::new, |why| format!(": {why}"));
            format!("finish {choice} {:?} {}{why}", finish.reason, optional(&finish.raw))
        }
        Event::Usage(usage) => {
            let (short, long) = (usage.cache_write, usage.cache_write_long);
            let written = if short + long > 0 { format!(" written {short}+{long}") } else { String::new() };
            format!(
                "usage {}+{} {}+{}{written}",
                usage.input, usage.cached_read, usage.output, usage.reasoning
            )
        }
        Event::Done => "done".to_owned(),
    }
}

fn render_kind(kind: &PartKind) -> String {
    match kind {
        PartKind::Text => "text".to_owned(),
        PartKind::Thought { is_summary, .. } => (if *is_summary { "summary" } else { "thought" }).to_owned(),
        PartKind::Redacted => "redacted".to_owned(),
        PartKind::Refusal => "refusal".to_owned(),
        PartKind::Call { id, name, .. } => format!("call {id} {name}"),
        PartKind::Image { media_type, base64 } => format!("image {media_type} {base64}"),
        PartKind::Foreign { kind, json } => format!("{kind} {}", json.0),
    }
}
