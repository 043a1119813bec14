//! Lists as files: JSON lines, and CSV that spreadsheets can't mistake for formulas.

use serde_json::Value;

/// One object per line.
pub fn json_lines(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

/// A header line from the first row's fields, then a line for each row.
pub fn csv(rows: &[Value]) -> String {
    let Some(first) = rows.first().and_then(Value::as_object) else { return String::new() };
    let mut text = line(first.keys().map(|name| cell(&Value::from(name.as_str()))));
    for row in rows {
        text.push_str(&line(first.keys().map(|name| row.get(name).map_or(String::new(), cell))));
    }
    text
}

fn line(cells: impl Iterator<Item = String>) -> String {
    let mut line = cells.collect::<Vec<_>>().join(",");
    line.push_str("\r\n");
    line
}

/// A cell that begins like a formula is marked as text: names that users choose must not run as code in a
/// spreadsheet.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) if text.starts_with(['=', '+', '-', '@', '\t', '\r']) => format!("'{text}"),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn cells_are_quoted_and_formulas_defused() {
        let rows = [json!({"a": "x,y", "b": "=1+1", "c": 3}), json!({"a": "say \"hi\"", "b": null, "c": -1})];
        assert_eq!(csv(&rows), "a,b,c\r\n\"x,y\",'=1+1,3\r\n\"say \"\"hi\"\"\",,-1\r\n");
        assert_eq!(json_lines(&rows).lines().count(), 2);
        assert_eq!(csv(&[]), "");
    }
}
