//! Teams, which are workspaces here, and who is in them.

use compat::answer::{Answer, Refusal};
use compat::call::{Call, Handled};
use http::Method;
use serde_json::{Value, json};

use crate::limits::MEMBERS_MAX;
use crate::page::row;

const MEMBERS: &str = "/v2/members";

fn team(workspace: &Value) -> Value {
    json!({
        "id": workspace["id"], "created_at": workspace["created_at"], "updated_at": workspace["created_at"],
        "type": "team", "username": workspace["name"], "avatar_url": "", "setup_completed": true,
    })
}

/// The caller's workspaces, as `/v2/me` knows them.
fn teams(call: &Call<'_>) -> Vec<Value> {
    call.me["workspaces"].as_array().into_iter().flatten().map(team).collect()
}

/// That the path's team is the workspace that the call is about.
fn is_own(call: &Call<'_>) -> Result<(), Refusal> {
    let id = call.id("team")?;
    if id == call.workspace() { Ok(()) } else { Err(api::failure::not_found("team", id).into()) }
}

/// Who calls: a person, or a key, which stands for its workspace.
pub(crate) async fn me(call: &Call<'_>) -> Handled {
    let (member, key) = (&call.me["member"], &call.me["key"]);
    let who = if member.is_null() { key } else { member };
    let role = call.me["role"].as_str().unwrap_or("member");
    let own = json!({
        "default_team_id": call.workspace(), "role": role, "email": member["email"].as_str().unwrap_or_default(),
        "name": who["name"], "full_name": who["name"], "avatar_url": "", "totp_enabled": false,
    });
    let team = teams(call).into_iter().find(|team| team["id"] == call.workspace());
    Ok(Answer::json(&json!({"user": row(call, who, own), "team": team})))
}

pub(crate) async fn list(call: &Call<'_>) -> Handled {
    Ok(Answer::json(&json!(teams(call))))
}

pub(crate) async fn read(call: &Call<'_>) -> Handled {
    is_own(call)?;
    let found = call.get(&format!("/v2/workspaces/{}", call.workspace()), &[]).await?;
    Ok(Answer::json(&team(&found)))
}

fn member(call: &Call<'_>, ours: &Value) -> Value {
    let id = &ours["id"];
    json!({
        "id": id, "user_id": id, "team_id": call.workspace(), "role": ours["role"],
        "user": {"id": id, "email": ours["email"], "name": ours["name"], "avatar_url": ""},
    })
}

fn invite(call: &Call<'_>, ours: &Value) -> Value {
    json!({
        "id": ours["id"], "team_id": call.workspace(), "email": ours["email"], "role": ours["role"],
        "status": "pending", "created_at": ours["created_at"], "expires_at": ours["invite_expires_at"],
        "invite_link": ours["invite_link"],
    })
}

async fn people(
    call: &Call<'_>,
    has_joined: bool,
    show: fn(&Call<'_>, &Value) -> Value,
) -> Result<Answer, Refusal> {
    is_own(call)?;
    let keep = |ours: &Value| ours["joined_at"].is_string() == has_joined;
    let found = call.rows(MEMBERS, &[], MEMBERS_MAX, keep).await?;
    Ok(Answer::json(&found.rows.iter().map(|ours| show(call, ours)).collect()))
}

pub(crate) async fn members(call: &Call<'_>) -> Handled {
    people(call, true, member).await
}

pub(crate) async fn invites(call: &Call<'_>) -> Handled {
    people(call, false, invite).await
}

/// Everybody is invited: the link is for them to set a password.
pub(crate) async fn add(call: &Call<'_>) -> Handled {
    is_own(call)?;
    let role = call.text("role")?.unwrap_or("member");
    let made = call.post(MEMBERS, &json!({"email": call.needed("email")?, "role": ours(role)})).await?;
    Ok(Answer::json(&invite(call, &made)))
}

/// The platform has owners, admins and members.
fn ours(role: &str) -> &str {
    if role == "member" { "developer" } else { role }
}

pub(crate) async fn change_role(call: &Call<'_>) -> Handled {
    is_own(call)?;
    let path = format!("{MEMBERS}/{}", call.parameter(1, "member")?);
    let role = ours(call.needed("role")?);
    let changed = call.ask(Method::PATCH, &path, &[], Some(&json!({"role": role}))).await?;
    Ok(Answer::json(&member(call, &changed)))
}

pub(crate) async fn remove(call: &Call<'_>) -> Handled {
    is_own(call)?;
    call.delete(&format!("{MEMBERS}/{}", call.parameter(1, "member")?)).await?;
    Ok(Answer::json(&Value::Null))
}
