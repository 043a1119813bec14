//! Which rows a purge is about: tables with the columns `workspace`, `project` and `request`.

use domain::purge::{PurgeScope, Purged};

use crate::connection::Connection;
use crate::error::StoreError;
use crate::fields::{ColumnId, Fields};
use crate::holding;
use crate::statement::{Row, Statement, compose};
use crate::writing::Writing;

/// How many requests one statement names.
const REQUESTS_AT_ONCE: usize = 200;

/// The statements that together cover a scope, each `head` before its condition and `tail` after it.
fn scoped(head: &str, scope: &PurgeScope, tail: &str) -> Vec<Statement> {
    let of = |more: &str| {
        let text = format!("{head} WHERE workspace = $1 AND request < $2{more}{tail}");
        compose(text).bind(scope.workspace.bytes()).bind(scope.before.bytes())
    };
    match &scope.what {
        Purged::Everything => vec![of("")],
        Purged::Project(project) => vec![of(" AND project = $3").bind(project.bytes())],
        Purged::From(first) => vec![of(" AND request >= $3").bind(first.bytes())],
        Purged::Requests(requests) => requests
            .chunks(REQUESTS_AT_ONCE)
            .map(|some| {
                let named: Vec<_> = (3..some.len() + 3).map(|at| format!("${at}")).collect();
                let statement = of(&format!(" AND request IN ({})", named.join(", ")));
                some.iter().fold(statement, |statement, request| statement.bind(request.bytes()))
            })
            .collect(),
        // Their own places know what they hold.
        Purged::Session(_) | Purged::Artifacts(_) => Vec::new(),
    }
}

/// Returns how many rows were deleted. What a legal hold covers stays.
pub async fn purge(writing: &mut Writing, scope: PurgeScope, table: &'static str) -> Result<u64, StoreError> {
    let (mut gone, unless_held) = (0, format!(" AND NOT {}", holding::held(table)));
    for statement in scoped(&format!("DELETE FROM {table}"), &scope, &unless_held) {
        gone += statement.run(writing.connection()).await?;
    }
    Ok(gone)
}

/// How many rows are left.
pub async fn remaining(
    connection: &mut Connection,
    scope: PurgeScope,
    table: &'static str,
) -> Result<u64, StoreError> {
    let mut left = 0;
    for row in rows(connection, &scope, &format!("SELECT COUNT(*) AS found FROM {table}"), "").await? {
        left += Fields::new(table, &row).number("found")?;
    }
    Ok(left)
}

/// The rows of a query in a scope: `head` up to its condition, and `tail` after it.
pub async fn rows(
    connection: &mut Connection,
    scope: &PurgeScope,
    head: &str,
    tail: &str,
) -> Result<Vec<Row>, StoreError> {
    let mut found = Vec::new();
    for statement in scoped(head, scope, tail) {
        found.extend(statement.rows(connection).await?);
    }
    Ok(found)
}
