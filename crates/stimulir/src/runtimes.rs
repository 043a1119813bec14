//! What the runtimes of a workspace's nodes have: models, adapters and training jobs.

use api::failure::not_found;
use serde_json::{Map, Value, json};

use compat::answer::{Answer, Refusal};
use compat::call::{Call, Handled};

const ADAPTERS: &str = "/v2/adapters";
const JOBS: &str = "/v2/train/jobs";

pub(crate) async fn models(call: &Call<'_>) -> Handled {
    let listed = call.get("/v2/models", &[]).await?;
    Ok(Answer::json(&json!({"object": "list", "data": listed["data"]})))
}

/// The client's form of an adapter, which may be on several nodes.
fn show_adapters(rows: &[Value]) -> Vec<Value> {
    let mut view: Map<String, Value> = Map::new();
    for row in rows {
        let id = row["id"].as_str().unwrap_or_default();
        let adapter = view.entry(id.to_owned()).or_insert_with(|| {
            json!({
                "id": id, "spec": {"id": id, "version": row["generation"], "rank": row["rank"]},
                "backends": {},
            })
        });
        if let Some(backends) = adapter.get_mut("backends").and_then(Value::as_object_mut) {
            let state = json!({"state": row["status"], "pinned": row["pinned"], "error": row["error"]});
            backends.insert(row["node"].as_str().unwrap_or_default().to_owned(), state);
        }
    }
    view.into_iter().map(|(_, adapter)| adapter).collect()
}

async fn known(call: &Call<'_>) -> Result<(Vec<Value>, Value), Refusal> {
    let listed = call.get(ADAPTERS, &[]).await?;
    let rows = listed["data"].as_array().cloned().unwrap_or_default();
    Ok((show_adapters(&rows), listed["away"].clone()))
}

pub(crate) async fn adapters(call: &Call<'_>) -> Handled {
    let (adapters, away) = known(call).await?;
    Ok(Answer::json(&json!({"adapters": adapters, "away": away})))
}

pub(crate) async fn adapter(call: &Call<'_>) -> Handled {
    let id = call.id("adapter")?;
    let found = known(call).await?.0.into_iter().find(|adapter| adapter["id"] == id);
    Ok(Answer::json(&found.ok_or_else(|| not_found("adapter", id))?))
}

async fn act(call: &Call<'_>, verb: &str) -> Result<Answer, Refusal> {
    let id = call.id("adapter")?;
    let mut body = json!({});
    for field in ["node", "wait", "pinned"] {
        if let Some(value) = call.body.get(field) {
            body[field] = value.clone();
        }
    }
    let done = call.post(&format!("{ADAPTERS}/{id}/{verb}"), &body).await?;
    Ok(Answer::json(&done))
}

pub(crate) async fn load(call: &Call<'_>) -> Handled {
    act(call, "load").await
}

pub(crate) async fn unload(call: &Call<'_>) -> Handled {
    act(call, "unload").await
}

fn show_job(row: &Value) -> Value {
    json!({
        "id": row["id"], "job_id": row["id"], "kind": "sft-peft-lora", "family": row["model"],
        "status": row["status"], "adapter_manifest_id": row["result"], "adapter": row["adapter"],
        "execution_mode": "byoc", "node": row["node"], "progress": {"latest": row["progress"]},
        "created_at": row["created_at"], "started_at": row["started_at"], "finished_at": row["ended_at"],
        "error": row["error"],
    })
}

pub(crate) async fn jobs(call: &Call<'_>) -> Handled {
    let listed = call.get(JOBS, &[]).await?;
    let jobs: Vec<_> = listed["data"].as_array().into_iter().flatten().map(show_job).collect();
    Ok(Answer::json(&json!({"jobs": jobs, "away": listed["away"]})))
}

pub(crate) async fn job(call: &Call<'_>) -> Handled {
    let path = format!("{JOBS}/{}", call.id("training job")?);
    Ok(Answer::json(&show_job(&call.get(&path, &[]).await?)))
}

pub(crate) async fn cancel(call: &Call<'_>) -> Handled {
    let path = format!("{JOBS}/{}/cancel", call.id("training job")?);
    Ok(Answer::json(&show_job(&call.post(&path, &json!({})).await?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_on_two_nodes_is_one_with_two_backends() {
        let row = |node: &str, status: &str| json!({"id": "law", "node": node, "status": status, "rank": 8});
        let view = show_adapters(&[row("a", "loaded"), row("b", "registered")]);
        assert_eq!(view.len(), 1);
        assert_eq!(view[0]["backends"]["b"]["state"], "registered");
        assert_eq!(view[0]["spec"]["rank"], 8);
    }
}
