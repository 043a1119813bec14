//! `tidegate api`: calls any path of the API with the key of the context, for what has no command of its own.

use std::io::Read;

use http::Method;
use serde_json::Value;

use crate::api::Api;
use crate::output::{self, Failure};
use crate::shared::Shared;

#[derive(Debug, clap::Args)]
pub struct Options {
    /// GET, POST, PATCH, PUT or DELETE.
    method: String,
    /// A path such as /v2/projects?limit=10.
    path: String,
    /// A JSON file to send; `-` reads standard input. A body is never an argument: it may hold a secret.
    #[arg(long, value_name = "FILE")]
    body: Option<String>,
}

pub fn run(shared: &Shared, options: &Options) -> Result<(), Failure> {
    let wrong = |message: String| Failure::new(output::USAGE, message);
    let method = Method::from_bytes(options.method.to_uppercase().as_bytes())
        .map_err(|_| wrong(format!("{} isn't a method.", options.method)))?;
    if !options.path.starts_with('/') {
        return Err(wrong(format!("{} isn't a path: it begins with /v2/ or /v1/.", options.path)));
    }
    let body = options.body.as_deref().map(read_body).transpose()?;
    let answer = Api::connect(shared)?.call(method, &options.path, body.as_ref())?;
    if answer.is_null() {
        shared.report("Done.");
    } else if shared.json {
        println!("{answer}");
    } else {
        println!("{}", serde_json::to_string_pretty(&answer).map_err(anyhow::Error::from)?);
    }
    Ok(())
}

fn read_body(file: &str) -> Result<Value, Failure> {
    let mut text = String::new();
    if file == "-" {
        std::io::stdin().read_to_string(&mut text)?;
    } else {
        text = std::fs::read_to_string(file).map_err(|error| output::unreadable(file, &error))?;
    }
    serde_json::from_str(&text).map_err(|error| {
        Failure::new(output::USAGE, format!("{file}:{}: this is not JSON: {error}.", error.line()))
    })
}
