//! Which items of a conversation belong together, which of them stay whatever becomes of the rest, and in which order the
//! others are left out.

use std::collections::HashMap;

use json::members::Members;

/// How the message begins that stands for what was summarised.
pub const SUMMARY: &str = "Summary of the earlier part of this conversation:\n\n";

/// Whose an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// Rules for the model: never left out.
    Rule,
    /// What stands for an earlier part of the conversation, which is not left out either.
    Standing,
    User,
    Model,
    /// What a tool gave, or what a client decided about a call.
    Result,
}

struct Item {
    side: Side,
    /// The call that it makes or answers.
    call: Option<String>,
}

/// One step of the model, and the results of its calls: nothing of it stays alone.
struct Step {
    items: Vec<usize>,
    /// Nothing but the model's own items so far.
    is_open: bool,
}

/// What a user wrote, and the steps that followed.
#[derive(Default)]
struct Turn {
    lead: Vec<usize>,
    steps: Vec<usize>,
}

fn read(item: &str) -> Item {
    let Some(members) = Members::of_answer(item.as_bytes()) else {
        return Item { side: Side::Model, call: None };
    };
    let text = |name: &str| members.find_text(name).map(std::borrow::Cow::into_owned);
    let kind = text("type").unwrap_or_else(|| "message".to_owned());
    let side = match (kind.as_str(), text("role").as_deref()) {
        ("message", Some("system" | "developer")) => Side::Rule,
        ("compaction", _) => Side::Standing,
        ("message", Some("assistant")) => Side::Model,
        ("message", _) if is_summary(&members) => Side::Standing,
        ("message", _) => Side::User,
        ("mcp_approval_response", _) => Side::Result,
        (kind, _) if kind.ends_with("_output") => Side::Result,
        _ => Side::Model,
    };
    let call = match side {
        Side::Result => text("call_id").or_else(|| text("approval_request_id")),
        Side::Model => text("call_id").or_else(|| text("id")),
        Side::Rule | Side::Standing | Side::User => None,
    };
    Item { side, call }
}

/// Whether a message is a summary that was opened.
pub fn is_summary(message: &Members<'_>) -> bool {
    message.find_text("content").is_some_and(|text| text.starts_with(SUMMARY))
}

/// The items that always stay: rules, the newest input with the calls that it answers, and the last message of a user's,
/// which the newest steps are about.
pub fn newest(items: &[String]) -> Vec<bool> {
    let read: Vec<Item> = items.iter().map(|item| read(item)).collect();
    let (_, steps) = arranged(&read);
    stays(&read, &steps)
}

/// Whether an item is a rule for the model.
pub fn is_rule(item: &str) -> bool {
    read(item).side == Side::Rule
}

/// Whether an item is a rule for the model, or a message of a user's.
pub fn is_kept_as_written(item: &str) -> bool {
    matches!(read(item).side, Side::Rule | Side::User)
}

fn stays(items: &[Item], steps: &[Step]) -> Vec<bool> {
    let newest = items.iter().rposition(|item| item.side == Side::Model).map_or(0, |last| last + 1);
    // Without anything new, the model's own last item goes on.
    let newest = newest.min(items.len().saturating_sub(1));
    let last = items.iter().rposition(|item| item.side == Side::User);
    let before = |last: usize| items.iter().take(last).rposition(|item| item.side != Side::User);
    let lead = last.map(|last| before(last).map_or(0, |other| other + 1)..=last);
    let is_pinned = |(at, item): (usize, &Item)| {
        let is_standing = matches!(item.side, Side::Rule | Side::Standing);
        at >= newest || is_standing || lead.as_ref().is_some_and(|lead| lead.contains(&at))
    };
    let mut stays: Vec<bool> = items.iter().enumerate().map(is_pinned).collect();
    for step in steps {
        if step.items.iter().any(|at| stays.get(*at) == Some(&true)) {
            for at in &step.items {
                if let Some(stays) = stays.get_mut(*at) {
                    *stays = true;
                }
            }
        }
    }
    stays
}

/// The turns of a conversation, and the steps of all of them.
fn arranged(items: &[Item]) -> (Vec<Turn>, Vec<Step>) {
    let (mut turns, mut steps): (Vec<Turn>, Vec<Step>) = (vec![Turn::default()], Vec::new());
    let mut calls: HashMap<&str, usize> = HashMap::new();
    for (at, item) in items.iter().enumerate() {
        let known = item.call.as_deref().and_then(|call| calls.get(call)).copied();
        let open =
            steps.len().checked_sub(1).filter(|last| steps.get(*last).is_some_and(|step| step.is_open));
        let step = match item.side {
            Side::Rule | Side::Standing => continue,
            Side::User => {
                if let Some(last) = steps.last_mut() {
                    last.is_open = false;
                }
                if turns.last().is_some_and(|turn| !turn.steps.is_empty()) {
                    turns.push(Turn::default());
                }
                if let Some(turn) = turns.last_mut() {
                    turn.lead.push(at);
                }
                continue;
            }
            Side::Model => open,
            Side::Result => known,
        };
        let step = step.unwrap_or_else(|| {
            steps.push(Step { items: Vec::new(), is_open: true });
            if let Some(turn) = turns.last_mut() {
                turn.steps.push(steps.len() - 1);
            }
            steps.len() - 1
        });
        if let Some(step) = steps.get_mut(step) {
            step.items.push(at);
        }
        match (item.side, steps.last_mut()) {
            (Side::Result, Some(last)) => last.is_open = false,
            _ => {
                if let Some(call) = &item.call {
                    calls.insert(call, step);
                }
            }
        }
    }
    (turns, steps)
}

/// What is left out first, and what next: the steps of the oldest turn, with the last of them what the user wrote, then those
/// of the turn after it. Each is the places of items that are left out together.
pub fn oldest_first(items: &[String]) -> Vec<Vec<usize>> {
    let read: Vec<Item> = items.iter().map(|item| read(item)).collect();
    let (turns, steps) = arranged(&read);
    let stays = stays(&read, &steps);
    let is_free = |places: &[usize]| places.iter().all(|at| stays.get(*at) == Some(&false));
    let mut order = Vec::new();
    for turn in turns {
        let all: Vec<&[usize]> =
            turn.steps.iter().filter_map(|step| Some(steps.get(*step)?.items.as_slice())).collect();
        let mut free: Vec<Vec<usize>> =
            all.iter().filter(|step| is_free(step)).map(|step| step.to_vec()).collect();
        // A question goes with the last of what answered it.
        if !turn.lead.is_empty() && is_free(&turn.lead) && free.len() == all.len() {
            match free.last_mut() {
                Some(last) => last.extend(turn.lead),
                None => free.push(turn.lead),
            }
        }
        order.extend(free);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each letter is an item: a user's message, an assistant's, rules, thoughts, a call and its result by number.
    fn items(words: &str) -> Vec<String> {
        let item = |word: &str| {
            let number = word.get(1..).unwrap_or_default();
            match &word[..1] {
                "u" => r#"{"role":"user","content":"x"}"#.to_owned(),
                "a" => r#"{"type":"message","role":"assistant","content":"x"}"#.to_owned(),
                "d" => r#"{"role":"developer","content":"x"}"#.to_owned(),
                "t" => r#"{"type":"reasoning","summary":[]}"#.to_owned(),
                "c" => format!(r#"{{"type":"function_call","call_id":"{number}"}}"#),
                "o" => format!(r#"{{"type":"function_call_output","call_id":"{number}"}}"#),
                "q" => format!(r#"{{"type":"mcp_approval_request","id":"{number}"}}"#),
                "y" => format!(r#"{{"type":"mcp_approval_response","approval_request_id":"{number}"}}"#),
                _ => r#"{"type":"compaction","encrypted_content":"x"}"#.to_owned(),
            }
        };
        words.split(' ').map(item).collect()
    }

    #[test]
    fn the_oldest_goes_first_and_what_belongs_together_goes_together() {
        for (words, order) in [
            ("u", ""),
            ("u a u a u", "1+0 3+2"),
            ("d u a d u a u", "2+1 5+4"),
            // A call without its result, or the reverse, is no conversation.
            ("u t c1 c2 o1 o2 a u", "1+2+3+4+5 6+0"),
            ("u c1 o1 c2 o2 a u", "1+2 3+4 5+0"),
            ("u c1 u o1 a u", "1+3+0 4+2"),
            ("u q1 y1 a u", "1+2 3+0"),
            // The newest input answers a call, and is about what the user wrote.
            ("u a u c1 o1 c2 o2", "1+0 3+4"),
            ("u c1 o1", ""),
            ("u c1 o1 c2 o2 c3 c4 o3 o4", "1+2 3+4"),
            ("u c1 a u o1", ""),
            // Several messages of a user's are one turn; what is new may be several.
            ("u u a u u", "2+0+1"),
            ("a u a u", "0 2+1"),
            ("o9 u a u", "0 2+1"),
            // What stands for an earlier part stays.
            ("z u a u", "2+1"),
            // Without anything new, the model goes on with its own last item.
            ("u a u a", "1+0"),
        ] {
            let found: Vec<String> = oldest_first(&items(words))
                .iter()
                .map(|step| step.iter().map(usize::to_string).collect::<Vec<_>>().join("+"))
                .collect();
            assert_eq!(found.join(" "), order, "{words}");
        }
    }

    #[test]
    fn what_is_no_item_is_left_where_it_is_as_the_model_s() {
        let odd = ["7".to_owned(), "{".to_owned(), r#"{"role":"user","content":"x"}"#.to_owned()];
        assert_eq!(oldest_first(&odd), [[0, 1]]);
        assert!(oldest_first(&[]).is_empty() && newest(&[]).is_empty());
    }
}
