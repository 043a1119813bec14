//! A fake Tidegate runtime for tests of the layers in front of one: it accepts every request, and has nothing
//! behind it.

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Runs as long as the test's async runtime lives.
pub struct PlayedRuntime {
    pub base_url: String,
}

impl PlayedRuntime {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream));
            }
        });
        Self { base_url }
    }

    /// Whether a route of `/v2` acts on a runtime.
    pub fn serves(pattern: &str) -> bool {
        ["/v2/adapters", "/v2/train/", "/v2/workers"].iter().any(|start| pattern.starts_with(start))
    }

    /// A body that such a route takes, for this node.
    pub fn body(pattern: &str, node: &str) -> Value {
        match pattern {
            "/v2/adapters" => json!({"node": node, "id": "law-1"}),
            _ if pattern.contains("{id}") => json!({"node": node}),
            _ => json!({"node": node, "data": "{}"}),
        }
    }
}

/// Answers one request and closes the connection.
async fn answer(stream: TcpStream) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let (mut first, mut line, mut length) = (String::new(), String::new(), 0);
    stream.read_line(&mut first).await.ok()?;
    while stream.read_line(&mut line).await.ok()? > 2 {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        line.clear();
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?, words.next()?);
    let reply = reply_to(method, path, &serde_json::from_slice(&body).unwrap_or_default());
    let (status, reply) = reply
        .map_or(("404 Not Found", json!({"error": {"message": "No.", "code": "unknown_path"}})), |reply| {
            ("200 OK", reply)
        });
    let reply = reply.to_string();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        reply.len()
    );
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.write_all(reply.as_bytes()).await.ok()
}

fn reply_to(method: &str, path: &str, body: &Value) -> Option<Value> {
    let adapter = json!({"id": "law-1", "status": "loaded", "rank": 8, "bytes": 9});
    let outlook = json!({
        "texts": 1, "held_out_texts": 0, "tokens": 9, "learned_tokens": 3, "longest_text_tokens": 9, "steps": 1,
        "parameters": 7, "memory_bytes": 5,
    });
    let job = json!({
        "id": "ftjob-1", "status": "queued", "model": "played", "adapter": "law", "created_at": 1, "outlook": outlook,
    });
    Some(match (method, path) {
        ("GET", "/v1/models") => json!({"data": [{"id": "played", "execution_modes": ["local"]}]}),
        ("GET", "/v1/capabilities") => json!({"runtime": "played", "version": "0", "topology": "local"}),
        ("POST", "/v1/adapters" | "/v1/adapters/law-1/load") => adapter,
        // As a runtime of another version might report it.
        ("POST", "/v1/adapters/law-2/load") => json!({"adapter": "law-2"}),
        ("POST", "/v1/adapters/law-1/unload") => json!({"id": "law-1", "unloaded": true}),
        ("POST", "/v1/train/sft") if body["preview"] == true => {
            json!({"model": "played", "outlook": outlook})
        }
        ("POST", "/v1/train/sft" | "/v1/train/jobs/law-1/pause" | "/v1/train/jobs/law-1/resume")
        | ("DELETE", "/v1/train/jobs/law-1") => job,
        ("DELETE", "/v1/compute/workers/law-1") => {
            json!({"id": "law-1", "provider": "exec", "status": "running", "created_at": 1})
        }
        _ => return None,
    })
}
