//! Embedding responses (`:embedContent`, `:batchEmbedContents`), read and written.

use conversation::answer::StreamFault;
use conversation::embed::{Vector, Vectors};
use json::{Cursor, JsonError, Kind, Value};

use super::failure::upstream_error;
use super::names::{camel, each};
use super::reader::UsageCounters;

/// Reads the response of either operation.
pub fn read_vectors(body: &[u8]) -> Result<Vectors<'_>, StreamFault> {
    let mut cursor = Cursor::new(body)?;
    if cursor.kind()? != Kind::Object {
        return Err(StreamFault::Broken("not_an_object"));
    }
    let mut answer = Vectors { vectors: Vec::new(), usage: None };
    let mut registers = UsageCounters::default();
    let mut is_error = false;
    cursor.object(|cursor, member| {
        match &*camel(&member.key.decode()) {
            "embedding" | "embeddings" => {
                each(cursor, |cursor, _| {
                    answer.vectors.push(read_vector(cursor)?);
                    Ok::<(), StreamFault>(())
                })?;
            }
            "usageMetadata" => registers.read(cursor.skip()?.of(body))?,
            "error" => is_error |= cursor.value()?.is_something(body),
            _ => drop(cursor.skip()?),
        }
        Ok::<(), StreamFault>(())
    })?;
    cursor.end()?;
    if is_error {
        return Err(upstream_error(body));
    }
    answer.usage = registers.usage(true);
    Ok(answer)
}

fn read_vector<'a>(cursor: &mut Cursor<'a>) -> Result<Vector<'a>, StreamFault> {
    let bytes = cursor.bytes();
    let mut vector = None;
    cursor.object(|cursor, member| {
        let value = cursor.value()?;
        if let (true, Value::Array(span)) = (member.key.is("values"), value) {
            vector = std::str::from_utf8(span.of(bytes)).ok().map(Vector::Numbers);
        }
        Ok::<(), JsonError>(())
    })?;
    vector.ok_or(StreamFault::Broken("no_vector"))
}

/// Writes the response in the requested form. Usage is optional in Gemini, so an estimate is left out.
pub fn write_vectors(answer: &Vectors<'_>, is_batch: bool) -> Result<Vec<u8>, StreamFault> {
    let wanted = if is_batch { answer.vectors.len() } else { 1 };
    let mut values = Vec::with_capacity(wanted);
    for vector in answer.vectors.iter().take(wanted) {
        values.push(format!(r#"{{"values":{}}}"#, vector.numbers()?));
    }
    let values = values.join(",");
    let mut out =
        if is_batch { format!(r#"{{"embeddings":[{values}]"#) } else { format!(r#"{{"embedding":{values}"#) };
    if let Some(usage) = answer.usage {
        out.push_str(&format!(r#","usageMetadata":{{"promptTokenCount":{}}}"#, usage.prompt_total()));
    }
    out.push('}');
    Ok(out.into_bytes())
}
