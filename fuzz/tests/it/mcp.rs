//! Fuzzes the messages of MCP: those of our server's clients, and those of servers that tools stand on.

use bolero::check;
use mcp::fixtures::{answer_to, place_of};
use serde_json::Value;
use tools::fixtures::read_message;

use crate::material::fuzz;

#[test]
fn fuzz_mcp_message() {
    fuzz("mcp_message", check!(), |bytes| {
        let Ok(sent) = serde_json::from_slice::<Value>(bytes) else { return false };
        let Some(answer) = answer_to(sent.clone()) else { return true };
        assert_eq!(answer["jsonrpc"], "2.0");
        if answer.get("result").is_some() {
            assert_eq!(
                (&answer["id"], &answer["result"]),
                (&sent["id"], sent.get("params").unwrap_or(&answer["result"]))
            );
            return true;
        }
        assert!(answer["error"]["code"].is_i64(), "{answer}");
        false
    });
}

#[test]
fn fuzz_mcp_event_id() {
    fuzz("mcp_event_id", check!(), |bytes| {
        let Some((stream, place)) = std::str::from_utf8(bytes).ok().and_then(place_of) else { return false };
        assert_eq!(place_of(&format!("{stream}-{place}")), Some((stream, place)));
        true
    });
}

#[test]
fn fuzz_mcp_server() {
    fuzz("mcp_server", check!(), |bytes| {
        let (is_answer, reply) = read_message(bytes, 7);
        let Some(reply) = reply else { return is_answer };
        assert!(!is_answer, "it is a request or an answer");
        let reply: Value = serde_json::from_str(&reply).expect("what is written is JSON");
        assert!(!reply["id"].is_null() && reply["jsonrpc"] == "2.0", "{reply}");
        true
    });
}
