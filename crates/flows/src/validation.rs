//! Checks documents and compiles them: by the published schema, then names, cycles, expressions and values.

use std::collections::HashMap;
use std::sync::LazyLock;

use jsonschema::Validator;
use schemas::{STORED_DEPTH_MAX, Schema, is_too_deep};
use serde_json::Value;

use crate::document::{
    Document, LeafDocument, MergeMode, OnError, Retry, StepDocument, StepKind, WaitDocument, schema,
};
use crate::expression::Expression;
use crate::limits::{ERRORS_MAX, PARALLEL_MAX};
use crate::template::Template;

/// Names that an expression has beside those of steps.
const INPUT: &str = "input";
const IN_ITERATION: [&str; 3] = ["item", "index", "previous"];
const OUTPUT: &str = "output";
const RESERVED: [&str; 12] =
    [INPUT, "steps", "item", "index", "previous", OUTPUT, "run", "true", "false", "null", "in", "as"];
const PARALLEL: u32 = 16;

static SCHEMA: LazyLock<Option<Validator>> = LazyLock::new(|| jsonschema::validator_for(&schema()).ok());

/// What is wrong at one place of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowError {
    pub pointer: String,
    pub message: String,
}

/// A flow that can run.
#[derive(Debug)]
pub struct Flow {
    pub name: String,
    pub input: Option<Schema>,
    pub budget_nano_usd: Option<i64>,
    pub fail_on_error: bool,
    pub parallel: u32,
    pub steps: Vec<Step>,
    /// `None`: the outputs of the steps that nothing needs.
    pub output: Option<Template>,
}

#[derive(Debug)]
pub struct Step {
    pub name: String,
    pub kind: String,
    /// Places of the steps that end before.
    pub needs: Vec<usize>,
    /// How many steps are before it at least: its layer in a drawing.
    pub depth: u32,
    pub when: Option<Expression>,
    pub retry: Retry,
    pub timeout_seconds: Option<u64>,
    /// What needs it goes on where it fails.
    pub continues: bool,
    pub output: Option<Schema>,
    pub action: Action,
    pub compensate: Option<Leaf>,
}

#[derive(Debug)]
pub enum Action {
    Leaf(Leaf),
    Gate(Expression),
    Branch(Vec<(String, Expression)>),
    Selector { cases: Vec<(Expression, Template)>, default: Template },
    Merge { is_first: bool },
    Map { over: Expression, parallel: u32, leaf: Leaf },
    Loop { limit: u32, until: Option<Expression>, leaf: Leaf },
    Wait(Wait),
    Approval { message: Template },
}

#[derive(Debug)]
pub enum Wait {
    Seconds(u64),
    UntilUnixMs(Expression),
    Event(String),
}

#[derive(Debug)]
pub enum Leaf {
    App { app: Template, input: Template },
    Tool { tool: String, input: Template },
    Http { method: String, url: Template, headers: Template, query: Template, body: Template },
    Expression(Expression),
    Constant(Value),
    Flow { flow: String, version: Option<u64>, input: Template },
}

impl Leaf {
    /// Whether it is made in place, and comes out the same each time.
    pub const fn is_pure(&self) -> bool {
        matches!(self, Self::Expression(_) | Self::Constant(_))
    }

    pub const fn kind(&self) -> &'static str {
        match self {
            Self::App { .. } => "app",
            Self::Tool { .. } => "tool",
            Self::Http { .. } => "http",
            Self::Expression(_) => "expression",
            Self::Constant(_) => "constant",
            Self::Flow { .. } => "flow",
        }
    }
}

impl Flow {
    pub fn place_of(&self, name: &str) -> Option<usize> {
        self.steps.iter().position(|step| step.name == name)
    }

    /// Checks what a run is given.
    pub fn check_input(&self, input: &Value) -> Result<(), Vec<FlowError>> {
        self.input.as_ref().map_or(Ok(()), |schema| check_value(schema, input))
    }
}

/// Checks a value by a schema.
fn check_value(schema: &Schema, value: &Value) -> Result<(), Vec<FlowError>> {
    let errors: Vec<_> = match schema.errors(value, ERRORS_MAX) {
        Ok(errors) => errors.iter().map(of_schema).collect(),
        Err(error) => {
            vec![FlowError { pointer: String::new(), message: format!("It was not checked: {error}.") }]
        }
    };
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

fn of_schema(error: &jsonschema::ValidationError<'_>) -> FlowError {
    // The value itself can be long, and people know it.
    FlowError { pointer: error.instance_path().to_string(), message: error.masked().to_string() }
}

impl Step {
    /// Whether what it made fits its schema.
    ///
    /// # Errors
    /// The first place that does not.
    pub fn check_output(&self, output: &Value) -> Result<(), FlowError> {
        let Some(schema) = &self.output else { return Ok(()) };
        check_value(schema, output).map_err(|errors| {
            let unknown = FlowError { pointer: String::new(), message: "It does not fit.".to_owned() };
            errors.into_iter().next().unwrap_or(unknown)
        })
    }
}

/// Checks a document and compiles it.
///
/// # Errors
/// Each place with what is wrong there, up to a hundred.
pub fn compile(document: &Value) -> Result<Flow, Vec<FlowError>> {
    if is_too_deep(document) {
        let message = format!("It is nested more than {STORED_DEPTH_MAX} levels deep.");
        return Err(vec![FlowError { pointer: String::new(), message }]);
    }
    if let Some(validator) = SCHEMA.as_ref() {
        // Its work is bounded by the document's size.
        let errors: Vec<_> =
            validator.iter_errors(document).take(ERRORS_MAX).map(|error| of_schema(&error)).collect();
        if !errors.is_empty() {
            return Err(errors);
        }
    }
    let read: Document = serde_json::from_value(document.clone())
        .map_err(|error| vec![FlowError { pointer: String::new(), message: error.to_string() }])?;
    let mut compiler = Compiler { places: HashMap::new(), errors: Vec::new() };
    for (place, name) in read.steps.keys().enumerate() {
        if RESERVED.contains(&name.as_str()) {
            compiler.wrong(format!("/steps/{name}"), "This name has another meaning in expressions.");
        }
        compiler.places.insert(name.clone(), place);
    }
    let mut steps = Vec::with_capacity(read.steps.len());
    for (name, step) in &read.steps {
        steps.extend(compiler.step(name, step));
    }
    let output = match &read.output {
        Value::Null => None,
        value => {
            let template = compiler.template(value, "/output");
            let mut names = Vec::new();
            template.names(&mut names);
            compiler.needs_of(&names, &[], "/output");
            Some(template)
        }
    };
    let input = read.input.as_ref().and_then(|schema| compiler.schema(schema, "/input"));
    if compiler.errors.is_empty() {
        layer(&mut steps, &mut compiler.errors);
    }
    compiler.errors.truncate(ERRORS_MAX);
    if !compiler.errors.is_empty() {
        return Err(compiler.errors);
    }
    Ok(Flow {
        name: read.name,
        input,
        budget_nano_usd: read.budget_nano_usd,
        fail_on_error: read.fail_on_error.unwrap_or(true),
        parallel: read.parallel.unwrap_or(PARALLEL).min(PARALLEL_MAX),
        steps,
        output,
    })
}

/// Finds the layer of each step; steps that need each other have none.
fn layer(steps: &mut [Step], errors: &mut Vec<FlowError>) {
    let mut dependants = vec![Vec::new(); steps.len()];
    let mut open: Vec<usize> = steps.iter().map(|step| step.needs.len()).collect();
    for (place, step) in steps.iter().enumerate() {
        for need in &step.needs {
            if let Some(dependants) = dependants.get_mut(*need) {
                dependants.push(place);
            }
        }
    }
    let mut ready: Vec<usize> = (0..steps.len()).filter(|place| open.get(*place) == Some(&0)).collect();
    while let Some(place) = ready.pop() {
        let depth = steps.get(place).map_or(0, |step| step.depth) + 1;
        for dependant in dependants.get(place).into_iter().flatten() {
            if let Some(step) = steps.get_mut(*dependant) {
                step.depth = step.depth.max(depth);
            }
            if let Some(open) = open.get_mut(*dependant) {
                *open = open.saturating_sub(1);
                if *open == 0 {
                    ready.push(*dependant);
                }
            }
        }
    }
    for (step, open) in steps.iter().zip(open).filter(|(_, open)| *open > 0).take(ERRORS_MAX) {
        let message = format!("The step needs itself, by {open} of the steps that it needs.");
        errors.push(FlowError { pointer: format!("/steps/{}", step.name), message });
    }
}

struct Compiler {
    places: HashMap<String, usize>,
    errors: Vec<FlowError>,
}

impl Compiler {
    fn wrong(&mut self, pointer: impl Into<String>, message: impl Into<String>) {
        self.errors.push(FlowError { pointer: pointer.into(), message: message.into() });
    }

    fn expression(&mut self, source: &str, pointer: &str) -> Option<Expression> {
        Expression::parse(source).map_err(|message| self.wrong(pointer, message)).ok()
    }

    fn template(&mut self, value: &Value, pointer: &str) -> Template {
        Template::parse(value, pointer).unwrap_or_else(|errors| {
            for (pointer, message) in errors {
                self.wrong(pointer, message);
            }
            Template::Literal(Value::Null)
        })
    }

    fn schema(&mut self, schema: &Value, pointer: &str) -> Option<Schema> {
        let made = Schema::compile(schema);
        made.map_err(|error| self.wrong(pointer, format!("This isn't a JSON Schema: {error}"))).ok()
    }

    /// The steps that some names stand for.
    fn needs_of(&mut self, names: &[&str], known: &[&str], pointer: &str) -> Vec<usize> {
        let mut needs = Vec::new();
        for name in names {
            match self.places.get(*name) {
                Some(place) => needs.push(*place),
                None if *name == INPUT || known.contains(name) => {}
                None => self
                    .wrong(pointer, format!("There is no step \"{name}\", and nothing else has this name.")),
            }
        }
        needs
    }

    fn step(&mut self, name: &str, document: &Value) -> Option<Step> {
        let pointer = format!("/steps/{name}");
        let read: StepDocument = match serde_json::from_value(document.clone()) {
            Ok(read) => read,
            Err(error) => {
                self.wrong(pointer, error.to_string());
                return None;
            }
        };
        let mut needs = Vec::new();
        for need in &read.needs {
            match self.places.get(need) {
                Some(place) => needs.push(*place),
                None => self.wrong(format!("{pointer}/needs"), format!("There is no step \"{need}\".")),
            }
        }
        let when = read.when.as_deref().and_then(|source| {
            let at = format!("{pointer}/when");
            let expression = self.expression(source, &at)?;
            let names: Vec<_> = expression.names().collect();
            needs.extend(self.needs_of(&names, &[], &at));
            Some(expression)
        });
        let action = self.action(read.kind, &pointer, &mut needs)?;
        let compensate = match read.compensate {
            // It runs after the others have ended, and can read what its own step made.
            Some(leaf) => {
                let place = self.places.get(name).copied();
                let mut reads = Vec::new();
                let leaf = self.leaf(leaf, &[OUTPUT], &format!("{pointer}/compensate"), &mut reads)?;
                needs.extend(reads.into_iter().filter(|read| Some(*read) != place));
                Some(leaf)
            }
            None => None,
        };
        needs.sort_unstable();
        needs.dedup();
        Some(Step {
            name: name.to_owned(),
            kind: document.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned(),
            needs,
            depth: 0,
            when,
            retry: read.retry,
            timeout_seconds: read.timeout_seconds,
            continues: read.on_error == OnError::Continue,
            output: read.output.as_ref().and_then(|schema| self.schema(schema, &format!("{pointer}/output"))),
            action,
            compensate,
        })
    }

    fn action(&mut self, kind: StepKind, pointer: &str, needs: &mut Vec<usize>) -> Option<Action> {
        Some(match kind {
            StepKind::Leaf(leaf) => Action::Leaf(self.leaf(leaf, &[], pointer, needs)?),
            StepKind::Gate { condition } => {
                Action::Gate(self.needing(&condition, &[], &format!("{pointer}/condition"), needs)?)
            }
            StepKind::Branch { cases } => {
                let mut compiled = Vec::new();
                for (name, source) in cases {
                    let at = format!("{pointer}/cases/{name}");
                    let source = source.as_str().unwrap_or_default();
                    compiled.push((name, self.needing(source, &[], &at, needs)?));
                }
                Action::Branch(compiled)
            }
            StepKind::Selector { cases, default } => {
                let mut compiled = Vec::new();
                for (place, case) in cases.iter().enumerate() {
                    let at = format!("{pointer}/cases/{place}");
                    let when = self.needing(&case.when, &[], &format!("{at}/when"), needs)?;
                    compiled.push((when, self.filling(&case.value, &[], &format!("{at}/value"), needs)));
                }
                let default = self.filling(&default, &[], &format!("{pointer}/default"), needs);
                Action::Selector { cases: compiled, default }
            }
            StepKind::Merge { mode } => Action::Merge { is_first: mode == MergeMode::First },
            StepKind::Map { over, parallel, step } => {
                let over = self.needing(&over, &[], &format!("{pointer}/over"), needs)?;
                let leaf = self.leaf(step, &IN_ITERATION, &format!("{pointer}/step"), needs)?;
                Action::Map { over, parallel: parallel.unwrap_or(PARALLEL).min(PARALLEL_MAX), leaf }
            }
            StepKind::Loop { limit, until, step } => {
                let leaf = self.leaf(step, &IN_ITERATION, &format!("{pointer}/step"), needs)?;
                let until = match until {
                    Some(source) => {
                        let known = ["index", "previous", OUTPUT];
                        Some(self.needing(&source, &known, &format!("{pointer}/until"), needs)?)
                    }
                    None => None,
                };
                Action::Loop { limit, until, leaf }
            }
            StepKind::Wait(wait) => Action::Wait(self.wait(wait, pointer, needs)?),
            StepKind::Approval { message } => Action::Approval {
                message: self.filling(&message, &[], &format!("{pointer}/message"), needs),
            },
        })
    }

    fn wait(&mut self, wait: WaitDocument, pointer: &str, needs: &mut Vec<usize>) -> Option<Wait> {
        match wait {
            WaitDocument { event: Some(event), .. } => Some(Wait::Event(event)),
            WaitDocument { seconds: Some(seconds), .. } => Some(Wait::Seconds(seconds)),
            WaitDocument { until_unix_ms, .. } => {
                let source = until_unix_ms.unwrap_or_default();
                let at = format!("{pointer}/until_unix_ms");
                Some(Wait::UntilUnixMs(self.needing(&source, &[], &at, needs)?))
            }
        }
    }

    fn needing(
        &mut self,
        source: &str,
        known: &[&str],
        pointer: &str,
        needs: &mut Vec<usize>,
    ) -> Option<Expression> {
        let expression = self.expression(source, pointer)?;
        let names: Vec<_> = expression.names().collect();
        needs.extend(self.needs_of(&names, known, pointer));
        Some(expression)
    }

    fn filling(&mut self, value: &Value, known: &[&str], pointer: &str, needs: &mut Vec<usize>) -> Template {
        let template = self.template(value, pointer);
        let mut names = Vec::new();
        template.names(&mut names);
        needs.extend(self.needs_of(&names, known, pointer));
        template
    }

    fn leaf(
        &mut self,
        leaf: LeafDocument,
        known: &[&str],
        pointer: &str,
        needs: &mut Vec<usize>,
    ) -> Option<Leaf> {
        let at = |field: &str| format!("{pointer}/{field}");
        Some(match leaf {
            LeafDocument::App { app, input } => Leaf::App {
                app: self.filling(&Value::from(app), known, &at("app"), needs),
                input: self.filling(&input, known, &at(INPUT), needs),
            },
            LeafDocument::Model { model, input } => Leaf::App {
                app: self.filling(&Value::from(model), known, &at("model"), needs),
                input: self.filling(&input, known, &at(INPUT), needs),
            },
            LeafDocument::Tool { tool, input } => {
                Leaf::Tool { tool, input: self.filling(&input, known, &at(INPUT), needs) }
            }
            LeafDocument::Http { url, method, headers, query, body } => Leaf::Http {
                method: method.unwrap_or_else(|| "GET".to_owned()),
                url: self.filling(&Value::from(url), known, &at("url"), needs),
                headers: self.filling(&headers, known, &at("headers"), needs),
                query: self.filling(&query, known, &at("query"), needs),
                body: self.filling(&body, known, &at("body"), needs),
            },
            LeafDocument::Expression { expression } => {
                Leaf::Expression(self.needing(&expression, known, &at("expression"), needs)?)
            }
            LeafDocument::Constant { value } => Leaf::Constant(value),
            LeafDocument::Flow { flow, version, input } => {
                Leaf::Flow { flow, version, input: self.filling(&input, known, &at(INPUT), needs) }
            }
        })
    }
}
