//! The customer's own machines: those that the client pairs, and the peers of its runtime.

use api::failure::{invalid, not_found};
use serde_json::{Value, json};

use crate::accounts::check_workspace;
use crate::limits::EVENTS_MAX;
use compat::answer::{Answer, Refusal};
use compat::call::{Call, Handled};

const PATH: &str = "/v2/byoc/nodes";

/// The client states a runtime's address without the path of its API.
fn base_url(address: &str) -> String {
    let address = address.trim_end_matches('/');
    if address.ends_with("/v1") { address.to_owned() } else { format!("{address}/v1") }
}

async fn find(call: &Call<'_>, name: &str) -> Result<Option<Value>, Refusal> {
    let listed = call.rows(PATH, &[], EVENTS_MAX, |row| row["name"] == name).await?;
    Ok(listed.rows.into_iter().next())
}

/// Adds a paired machine as a node under its peer id, or moves it to its new address.
pub(crate) async fn register(call: &Call<'_>) -> Handled {
    let name = call.needed("peer_id")?;
    check_workspace(call)?;
    let capabilities = call.body.get("capabilities").cloned().unwrap_or_default();
    let address = capabilities.get("decision_runtime_url").and_then(Value::as_str);
    let address = address.ok_or_else(|| {
        let field = "capabilities.decision_runtime_url";
        invalid(
            field,
            "The address of the runtime is missing.",
            "Send the address where the gateway reaches it.",
        )
    })?;
    let node = json!({
        "name": name, "base_url": base_url(address),
        "metadata": {
            "hostname": call.body.get("hostname"), "memory_gb": call.body.get("total_memory_gb"),
            "compute_backend": capabilities.get("compute_backend"),
        },
    });
    let renamed = |refusal: Refusal| {
        refusal.renamed("base_url", "capabilities.decision_runtime_url").renamed("name", "peer_id")
    };
    let view = match find(call, name).await? {
        Some(known) => {
            let path = format!("{PATH}/{}", known["id"].as_str().unwrap_or_default());
            call.ask(http::Method::PATCH, &path, &[], Some(&node)).await.map_err(renamed)?
        }
        None => call.post(PATH, &node).await.map_err(renamed)?,
    };
    Ok(Answer::created(&show_device(&view)))
}

fn show_device(row: &Value) -> Value {
    json!({
        "peer_id": row["name"], "id": row["id"], "status": row["status"], "models": row["models"],
        "last_seen_at": row["last_seen_at"], "last_error": row["last_error"],
    })
}

/// The gateway itself looks whether a node is there, so a heartbeat only learns whether the machine is still paired.
pub(crate) async fn beat(call: &Call<'_>) -> Handled {
    let name = call.id("device")?;
    let found = find(call, name).await?.ok_or_else(|| not_found("device", name))?;
    Ok(Answer::json(&show_device(&found)))
}

fn show_peer(row: &Value) -> Value {
    json!({
        "id": row["id"], "name": row["name"], "grpc_peer": null, "realtime_peer_url": row["base_url"],
        "reachable": row["status"] == "ready", "registered": row["created_at"], "status": row["status"],
        "models": row["models"], "last_error": row["last_error"],
    })
}

pub(crate) async fn list(call: &Call<'_>) -> Handled {
    let listed = call.rows(PATH, &[], EVENTS_MAX, |_| true).await?;
    let peers: Vec<_> = listed.rows.iter().map(show_peer).collect();
    Ok(Answer::json(&json!({"peers": peers, "has_more": listed.has_more})))
}

pub(crate) async fn add(call: &Call<'_>) -> Handled {
    let Some(address) = call.text("realtime_peer_url")? else {
        let what = "Nodes are called over HTTP: give the node's address as the realtime URL, such as http://10.0.0.5:8080.";
        return Err(Refusal::instead("grpc_peer", what));
    };
    let name = call.text("name")?.unwrap_or(address);
    let node = json!({"name": name, "base_url": base_url(address)});
    let added =
        call.post(PATH, &node).await.map_err(|refusal| refusal.renamed("base_url", "realtime_peer_url"))?;
    Ok(Answer::created(&json!({"peer": show_peer(&added)})))
}

pub(crate) async fn remove(call: &Call<'_>) -> Handled {
    let id = call.id("node")?;
    call.delete(&format!("{PATH}/{id}")).await?;
    Ok(Answer::json(&json!({"id": id, "removed": true})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gets_the_path_of_its_api_once() {
        for address in ["http://10.0.0.5:8080", "http://10.0.0.5:8080/", "http://10.0.0.5:8080/v1"] {
            assert_eq!(base_url(address), "http://10.0.0.5:8080/v1");
        }
    }
}
