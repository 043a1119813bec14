//! Expressions in the Common Expression Language: parsed within bounds, with the names that they read.

use std::collections::BTreeSet;

use cel::common::ast::{EntryExpr, Expr, IdedExpr};
use cel::parser::PrattParser;

use crate::limits::{
    EXPRESSION_BYTES_MAX, EXPRESSION_DEPTH_MAX, EXPRESSION_NESTED_MAX, EXPRESSION_NODES_MAX,
};

/// The root by which a step can be named as well.
pub(crate) const STEPS: &str = "steps";

/// A parsed expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    pub(crate) root: IdedExpr,
    /// What it reads: `input`, a step, `item` and so on.
    names: BTreeSet<String>,
}

impl Expression {
    pub fn parse(source: &str) -> Result<Self, String> {
        if source.len() > EXPRESSION_BYTES_MAX {
            return Err(format!("An expression has at most {EXPRESSION_BYTES_MAX} bytes."));
        }
        let parser = PrattParser::default()
            .max_recursion_depth(EXPRESSION_NESTED_MAX)
            .max_expression_node_count(EXPRESSION_NODES_MAX)
            .error_reporting_limit(1);
        let root = parser.parse(source).map_err(|errors| {
            let text = errors.to_string();
            let line = text.lines().next().unwrap_or_default().trim().to_owned();
            format!("This isn't an expression: {line}")
        })?;
        check_depth(&root.expr)?;
        let mut names = BTreeSet::new();
        collect(&root.expr, &mut Vec::new(), &mut names)?;
        Ok(Self { root, names })
    }

    /// The names that it reads and does not declare itself.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }
}

/// The step that `steps.NAME` names.
pub(crate) fn step_of(expression: &Expr) -> Option<&str> {
    let Expr::Select(select) = expression else { return None };
    let is_steps = matches!(&select.operand.expr, Expr::Ident(name) if name == STEPS);
    is_steps.then_some(select.field.as_str())
}

/// The parts of a part.
fn parts(expression: &Expr) -> Vec<&Expr> {
    match expression {
        Expr::Select(select) => vec![&select.operand.expr],
        Expr::Call(call) => {
            call.target.as_deref().into_iter().chain(&call.args).map(|part| &part.expr).collect()
        }
        Expr::List(list) => list.elements.iter().map(|part| &part.expr).collect(),
        Expr::Map(map) => {
            let entries = map.entries.iter().filter_map(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => Some([&entry.key.expr, &entry.value.expr]),
                EntryExpr::StructField(_) => None,
            });
            entries.flatten().collect()
        }
        Expr::Comprehension(one) => {
            [&one.iter_range, &one.accu_init, &one.loop_cond, &one.loop_step, &one.result]
                .map(|part| &part.expr)
                .to_vec()
        }
        Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) | Expr::Unspecified => Vec::new(),
    }
}

/// A chain of operators is as deep as it is long, and what goes through it calls itself for each.
fn check_depth(root: &Expr) -> Result<(), String> {
    let mut level = vec![root];
    for _ in 0..EXPRESSION_DEPTH_MAX {
        level = level.into_iter().flat_map(parts).collect();
        if level.is_empty() {
            return Ok(());
        }
    }
    Err(format!(
        "An expression has at most {EXPRESSION_DEPTH_MAX} operators after each other. Split it over steps."
    ))
}

fn collect(expression: &Expr, locals: &mut Vec<String>, names: &mut BTreeSet<String>) -> Result<(), String> {
    if let Some(step) = step_of(expression) {
        names.insert(step.to_owned());
        return Ok(());
    }
    match expression {
        Expr::Ident(name) if locals.contains(name) => {}
        Expr::Ident(name) if name == STEPS => {
            return Err("Name the step: steps.NAME, or its name alone.".to_owned());
        }
        Expr::Ident(name) => {
            names.insert(name.clone());
        }
        Expr::Select(select) => collect(&select.operand.expr, locals, names)?,
        Expr::Call(call) => {
            for part in call.target.as_deref().into_iter().chain(&call.args) {
                collect(&part.expr, locals, names)?;
            }
        }
        Expr::List(list) => {
            for element in &list.elements {
                collect(&element.expr, locals, names)?;
            }
        }
        Expr::Map(map) => {
            for entry in &map.entries {
                if let EntryExpr::MapEntry(entry) = &entry.expr {
                    collect(&entry.key.expr, locals, names)?;
                    collect(&entry.value.expr, locals, names)?;
                }
            }
        }
        Expr::Comprehension(comprehension) => {
            collect(&comprehension.iter_range.expr, locals, names)?;
            collect(&comprehension.accu_init.expr, locals, names)?;
            let before = locals.len();
            locals.push(comprehension.iter_var.clone());
            locals.extend(comprehension.iter_var2.clone());
            locals.push(comprehension.accu_var.clone());
            for part in [&comprehension.loop_cond, &comprehension.loop_step, &comprehension.result] {
                collect(&part.expr, locals, names)?;
            }
            locals.truncate(before);
        }
        Expr::Struct(_) => return Err("An expression of a flow makes no messages.".to_owned()),
        Expr::Literal(_) | Expr::Unspecified => {}
    }
    Ok(())
}
