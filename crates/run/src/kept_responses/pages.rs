//! Pages of lists, as the dialect has them.

use std::borrow::Cow;

use domain::Fault;
use serde_json::{Value, json};

use crate::limits::{LIST_PAGE_ITEMS, LIST_PAGE_ITEMS_MAX};
use runbody::refusal;

/// A page of a list, newest first unless asked otherwise.
pub(super) fn page(mut all: Vec<Value>, query: &str) -> Result<Value, Box<Fault>> {
    let (mut after, mut limit, mut is_oldest_first) = (None, LIST_PAGE_ITEMS, false);
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        match (name, value) {
            ("after", id) => after = Some(id),
            ("order", "asc") => is_oldest_first = true,
            ("order", "desc") => {}
            ("order", _) => return Err(wrong("order", "\"order\" is not \"asc\" or \"desc\".")),
            ("limit", number) => {
                limit = number
                    .parse()
                    .ok()
                    .filter(|limit| (1..=LIST_PAGE_ITEMS_MAX).contains(limit))
                    .ok_or_else(|| {
                        wrong("limit", format!("\"limit\" is not a number from 1 to {LIST_PAGE_ITEMS_MAX}."))
                    })?;
            }
            _ => {}
        }
    }
    if !is_oldest_first {
        all.reverse();
    }
    if let Some(after) = after {
        let at = all.iter().position(|item| item.get("id").is_some_and(|id| id == after));
        let at = at.ok_or_else(|| wrong("after", "\"after\" isn't the id of an item in this list."))?;
        all.drain(..=at);
    }
    let has_more = all.len() > limit;
    all.truncate(limit);
    Ok(list(&all, has_more))
}

/// Items as a list, or as a page of one.
pub(super) fn list(items: &[Value], has_more: bool) -> Value {
    let id = |item: Option<&Value>| item.and_then(|item| item.get("id")).cloned().unwrap_or_default();
    let (first_id, last_id) = (id(items.first()), id(items.last()));
    json!({"object": "list", "data": items, "first_id": first_id, "last_id": last_id, "has_more": has_more})
}

fn wrong(param: &'static str, message: impl Into<Cow<'static, str>>) -> Box<Fault> {
    refusal("invalid_value", message, "Correct it, or leave it out.", param)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_in_pages() {
        let all: Vec<Value> = (0..5).map(|number| json!({"id": format!("msg_{number}")})).collect();
        let read = |query: &str| {
            let page = page(all.clone(), query).unwrap();
            let ids: Vec<&str> =
                page["data"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect();
            (ids.join(" ").replace("msg_", ""), page["has_more"].as_bool().unwrap())
        };
        assert_eq!(read(""), ("4 3 2 1 0".to_owned(), false));
        assert_eq!(read("order=asc&limit=2"), ("0 1".to_owned(), true));
        assert_eq!(read("order=asc&limit=3&after=msg_1"), ("2 3 4".to_owned(), false));
        for wrong in ["order=up", "limit=0", "limit=x", "after=msg_9"] {
            assert_eq!(page(all.clone(), wrong).unwrap_err().code, "invalid_value", "{wrong}");
        }
    }
}
