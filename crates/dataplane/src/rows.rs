//! Rows of any table as they cross, and the statements that read and write them.

use database::connection::Connection;
use database::error::StoreError;
use database::fields::ColumnId;
use database::statement::{Row, Statement, Value, compose, sql};
use domain::WorkspaceId;
use uuid::Uuid;

use crate::tables::TableSpec;
use crate::wire::{Cell, WireRow, base64, from_base64};

/// The values of a row's key.
pub(crate) type Key = Vec<Option<Cell>>;

fn cell(value: Value) -> Result<Option<Cell>, StoreError> {
    Ok(match value {
        Value::Number(number) => number.map(Cell::Number),
        Value::Text(text) => text.map(Cell::Text),
        Value::Bytes(bytes) => bytes.map(|bytes| Cell::Bytes { base64: base64(&bytes) }),
        Value::Numbers(_) | Value::Digests(_) => {
            return Err(StoreError::corrupt("row", "a column can't hold a list"));
        }
    })
}

fn wire(row: &Row) -> Result<WireRow, StoreError> {
    let named = |(name, value): (String, Option<Value>)| Ok((name, value.map_or(Ok(None), cell)?));
    row.values()?.into_iter().map(named).collect()
}

pub(crate) async fn read(
    connection: &mut Connection,
    table: &TableSpec,
    workspace: WorkspaceId,
) -> Result<Vec<WireRow>, StoreError> {
    let rows = sql(table.rows).bind(workspace.bytes()).rows(connection).await?;
    rows.iter().map(wire).collect()
}

pub(crate) fn key_of(table: &TableSpec, row: &WireRow) -> Key {
    table.key.iter().map(|name| row.get(*name).cloned().flatten()).collect()
}

pub(crate) fn bytes_of(row: &WireRow, name: &str) -> Option<Vec<u8>> {
    match row.get(name)? {
        Some(Cell::Bytes { base64 }) => from_base64(base64, "a column").ok(),
        _ => None,
    }
}

pub(crate) fn number_of(row: &WireRow, name: &str) -> Option<i64> {
    match row.get(name)? {
        Some(Cell::Number(number)) => Some(*number),
        _ => None,
    }
}

pub(crate) fn text_of<'r>(row: &'r WireRow, name: &str) -> Option<&'r str> {
    match row.get(name)? {
        Some(Cell::Text(text)) => Some(text),
        _ => None,
    }
}

pub(crate) fn id_of(row: &WireRow) -> Option<Uuid> {
    Uuid::from_slice(&bytes_of(row, "id")?).ok()
}

pub(crate) fn bytes_cell(bytes: &[u8]) -> Option<Cell> {
    Some(Cell::Bytes { base64: base64(bytes) })
}

fn bound(statement: Statement, cell: &Cell) -> Result<Statement, StoreError> {
    Ok(match cell {
        Cell::Number(number) => statement.bind(*number),
        Cell::Text(text) => statement.bind(text),
        Cell::Bytes { base64 } => statement
            .bind(from_base64(base64, "a column").map_err(|error| StoreError::corrupt("row", error))?),
    })
}

/// A name that stands in the text of a statement.
fn checked(name: &str) -> Result<&str, StoreError> {
    let is_name =
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if is_name { Ok(name) } else { Err(StoreError::corrupt("row", "a column's name is none")) }
}

/// Inserts a row, or makes the one with its key like it, but for what a data plane finds out by itself.
pub(crate) fn put(table: &TableSpec, row: &WireRow) -> Result<Statement, StoreError> {
    let (mut names, mut places, mut changes, mut values) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (name, value) in row {
        let name = checked(name)?;
        // NULL has no type on its way to the database, so it is not bound: a new row has it by default.
        if let Some(value) = value {
            values.push(value);
            names.push(name);
            places.push(format!("${}", values.len()));
        }
        if !table.key.contains(&name) && !table.own.contains(&name) {
            let new = if value.is_some() { format!("excluded.{name}") } else { "NULL".to_owned() };
            changes.push(format!("{name} = {new}"));
        }
    }
    let end =
        if changes.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", changes.join(", ")) };
    let text = format!(
        "INSERT INTO {} ({}) VALUES ({}) ON CONFLICT ({}) DO {end}",
        table.name,
        names.join(", "),
        places.join(", "),
        table.key.join(", "),
    );
    values.into_iter().try_fold(compose(text), bound)
}

fn where_key(table: &TableSpec, first: usize) -> String {
    let parts: Vec<_> =
        table.key.iter().enumerate().map(|(at, name)| format!("{name} = ${}", at + first)).collect();
    parts.join(" AND ")
}

fn bind_key(statement: Statement, key: &Key) -> Result<Statement, StoreError> {
    key.iter().try_fold(statement, |statement, cell| {
        let cell = cell.as_ref().ok_or_else(|| StoreError::corrupt("row", "a part of a key is missing"))?;
        bound(statement, cell)
    })
}

pub(crate) fn delete(table: &TableSpec, key: &Key) -> Result<Statement, StoreError> {
    bind_key(compose(format!("DELETE FROM {} WHERE {}", table.name, where_key(table, 1))), key)
}

/// Sets what no two rows share to something that no row has, so that rows may exchange it.
pub(crate) fn set_aside(
    table: &TableSpec,
    unique: &str,
    key: &Key,
    name: &str,
) -> Result<Statement, StoreError> {
    let text = format!("UPDATE {} SET {} = $1 WHERE {}", table.name, checked(unique)?, where_key(table, 2));
    bind_key(compose(text).bind(name), key)
}
