//! Lists of chats, which are sessions here.

use compat::answer::Answer;
use compat::call::{Call, Handled};
use serde_json::{Value, json};

use crate::page::{page, row};

const PATH: &str = "/v2/sessions";

/// The agent of a chat. Other sessions have none.
fn agent(session: &Value) -> Option<&str> {
    session.pointer("/metadata/agent").and_then(Value::as_str)
}

pub(crate) async fn list(call: &Call<'_>) -> Handled {
    let show = |session: &Value| {
        let own = json!({
            "name": session["name"], "description": "", "agent_id": agent(session)?, "children": [],
            "chat_messages": [], "updated_at": session["used_at"],
        });
        Some(row(call, session, own))
    };
    page(call, PATH, &[], show).await
}

pub(crate) async fn remove(call: &Call<'_>) -> Handled {
    let path = format!("{PATH}/{}", call.id("chat")?);
    if agent(&call.get(&path, &[]).await?).is_none() {
        return Err(api::failure::not_found("chat", call.id("chat")?).into());
    }
    call.delete(&path).await?;
    Ok(Answer::json(&Value::Null))
}
