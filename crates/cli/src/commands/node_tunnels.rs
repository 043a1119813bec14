//! How the tunnel of a node is written for people.

use serde_json::{Value, json};

use crate::output::Form;
use crate::shared::Shared;

/// A node, or a page of nodes, whose tunnels are in words; programs get them as they are.
pub fn in_words(shared: &Shared, mut view: Value) -> Value {
    if shared.form() != Form::Table {
        return view;
    }
    if let Some(rows) = view.get_mut("data").and_then(Value::as_array_mut) {
        rows.iter_mut().for_each(put_words);
    } else {
        put_words(&mut view);
    }
    view
}

fn put_words(node: &mut Value) {
    let Some(tunnel) = node.get_mut("tunnel").filter(|tunnel| tunnel.is_object()) else { return };
    let since = tunnel.get("since").and_then(Value::as_str).unwrap_or_default();
    let us = tunnel.get("round_trip_us").and_then(Value::as_u64).unwrap_or(0);
    *tunnel = json!(format!("since {since}, round trip {}.{} ms", us / 1_000, us % 1_000 / 100));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_is_a_time_and_a_round_trip() {
        let mut node = json!({"tunnel": {"since": "2026-11-27T10:00:00Z", "round_trip_us": 1_480}});
        put_words(&mut node);
        assert_eq!(node["tunnel"], "since 2026-11-27T10:00:00Z, round trip 1.4 ms");
        let mut without = json!({"tunnel": null});
        put_words(&mut without);
        assert_eq!(without["tunnel"], Value::Null);
    }
}
