//! The lines of a data export for answers that are kept for a while: answers under idempotency keys, tasks, answers of
//! `/v1/responses` and `/v2/responses`, and the state of turns.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::ports::StoredAnswer;
use domain::{KeptName, ResponseId};
use evidence::exports::{KeptAfter, KeptRow, NamedResponse};
use serde_json::{Map, Value, json};
use sessions::{OpenedTurn, open_answer, open_turn, whole_response};

use crate::collections::{IDEMPOTENT_ANSWERS, PROVIDER_RESPONSES, RESPONSES, TURNS};
use crate::exporting::{Export, Stop, value_of};

impl Export<'_> {
    pub(crate) async fn add_kept(&mut self) -> Result<(), Stop> {
        self.add_answers().await?;
        self.add_turns().await?;
        self.add_named().await
    }

    fn kept_after(&self, after: Option<[u8; 32]>) -> KeptAfter {
        KeptAfter {
            workspace: self.row.workspace,
            project: self.row.project,
            now_unix_ms: self.handler.deps.world.clock.unix_ms(),
            after,
        }
    }

    async fn add_answers(&mut self) -> Result<(), Stop> {
        let mut after = None;
        loop {
            let rows = self.exports.kept_answers(self.kept_after(after)).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = Some(last.content.digest);
            for row in rows {
                // What does not open is a loss that its reader is told where it is looked for.
                if let Some(answer) = open_answer(&self.handler.deps.vault, &row.content, &row.sealed) {
                    self.add_line(IDEMPOTENT_ANSWERS, &line_of_answer(&row, &answer)).await?;
                }
            }
        }
    }

    async fn add_turns(&mut self) -> Result<(), Stop> {
        let mut after = None;
        loop {
            let rows = self.exports.kept_turns(self.kept_after(after)).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = Some(last.content.digest);
            for row in rows {
                if let Some(turn) = open_turn(&self.handler.deps.vault, &row.content, &row.sealed) {
                    self.add_turn(&row, turn).await?;
                }
            }
        }
    }

    async fn add_turn(&mut self, row: &KeptRow, turn: OpenedTurn) -> Result<(), Stop> {
        let id = *row.content.request.as_uuid();
        let (name, mut line) = match turn.name {
            None => (TURNS, line_of("turn", row, &turn.content)),
            Some(KeptName::OwnResponse) => (RESPONSES, line_of("response", row, &turn.content)),
            Some(KeptName::Response) => {
                let deps = &self.handler.deps;
                let whole =
                    whole_response(&deps.store, &deps.vault, &deps.world, &row.content, &turn.content)
                        .await?;
                let Some(whole) = whole else { return Ok(()) };
                (RESPONSES, line_of("response", row, &whole))
            }
            Some(KeptName::Mark(KeptName::ENDED)) => (RESPONSES, line_of("response", row, &turn.content)),
            // A part goes with its first one, and another mark holds no answer.
            Some(KeptName::ResponsePart(_) | KeptName::Mark(_) | KeptName::OwnMark(_)) => return Ok(()),
        };
        let id = match turn.name {
            Some(KeptName::OwnResponse) => Some(ResponseId::from_uuid(id).to_string()),
            _ => {
                let content = line.get("content");
                let found = ["/response/id", "/id"].iter().find_map(|path| content?.pointer(path)?.as_str());
                found.map(str::to_owned)
            }
        };
        line.insert("id".to_owned(), json!(id));
        self.add_line(name, &Value::Object(line)).await
    }

    async fn add_named(&mut self) -> Result<(), Stop> {
        let mut after = None;
        loop {
            let rows = self.exports.named_responses(self.kept_after(after)).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = Some(last.digest);
            for row in rows {
                self.add_line(PROVIDER_RESPONSES, &line_of_named(&row)).await?;
            }
        }
    }
}

fn line_of(object: &str, row: &KeptRow, bytes: &[u8]) -> Map<String, Value> {
    let (content, is_base64) = readable(bytes);
    let fields = [
        ("object", json!(object)),
        ("request_id", json!(row.content.request.to_string())),
        ("project_id", json!(row.content.project.to_string())),
        ("expires_at_unix_ms", json!(row.until_unix_ms)),
        ("content", content),
        ("is_base64", json!(is_base64)),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// JSON where it is JSON, a text where it is one, and else base64.
fn readable(bytes: &[u8]) -> (Value, bool) {
    match std::str::from_utf8(bytes) {
        Ok(_) => (value_of(bytes), false),
        Err(_) => (Value::String(STANDARD.encode(bytes)), true),
    }
}

fn line_of_answer(row: &KeptRow, answer: &StoredAnswer) -> Value {
    let mut line = line_of("idempotent_answer", row, &answer.body);
    let media_type = answer.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let media_type = media_type.map(|(_, value)| String::from_utf8_lossy(value).into_owned());
    line.insert("status".to_owned(), json!(answer.status));
    line.insert("media_type".to_owned(), json!(media_type));
    Value::Object(line)
}

fn line_of_named(row: &NamedResponse) -> Value {
    json!({
        "object": "provider_response",
        "id": row.provider_id,
        "request_id": row.request.to_string(),
        "project_id": row.project.to_string(),
        "model": row.model,
        "expires_at_unix_ms": row.until_unix_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_json_a_text_or_base64() {
        for (bytes, content, is_base64) in [
            (br#"{"a": 1}"#.as_slice(), json!({"a": 1}), false),
            (b"data: {}\n\n", json!("data: {}\n\n"), false),
            (&[0xff, 0x00], json!("/wA="), true),
        ] {
            assert_eq!(readable(bytes), (content, is_base64));
        }
    }
}
