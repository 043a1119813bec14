//! The options of every command: where the gateway is, with which key, and how rows are printed.

use clap::Args;
use clap::builder::FalseyValueParser;

use crate::contexts::Contexts;
use crate::output::{Failure, Form};

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Shared {
    /// Prints JSON: one object, or one object per line for lists and streams.
    #[arg(long, global = true)]
    pub json: bool,
    /// Filters the JSON output with a jq expression, such as '.id'; a list is filtered row by row.
    #[arg(long, global = true, value_name = "FILTER", conflicts_with = "output")]
    pub jq: Option<String>,
    /// The format of rows.
    #[arg(long, global = true, value_enum, value_name = "FORMAT", conflicts_with = "json")]
    pub output: Option<Form>,
    /// The gateway's address; by default http://127.0.0.1:8787.
    #[arg(long, global = true, env = "TIDEGATE_URL")]
    pub url: Option<String>,
    /// The gateway to use, by the name that `tidegate context list` shows.
    #[arg(long, global = true, env = "TIDEGATE_CONTEXT")]
    pub context: Option<String>,
    /// Never prompts; a missing input is an error. The variable takes 1 or 0.
    #[arg(long, global = true, env = "TIDEGATE_NO_INPUT", value_parser = FalseyValueParser::new())]
    pub no_input: bool,
    /// Skips confirmation prompts.
    #[arg(long, short, global = true)]
    pub yes: bool,
    /// Checks a change and shows its result, but changes nothing.
    #[arg(long, global = true)]
    pub dry_run: bool,
}

/// Where the command line looks for a gateway unless an option or variable names another.
pub const USUAL_URL: &str = "http://127.0.0.1:8787";

impl Shared {
    /// How rows are printed.
    pub fn form(&self) -> Form {
        if self.json { Form::Json } else { self.output.unwrap_or(Form::Table) }
    }

    /// Whether anything names a gateway: an option, the environment, or `tidegate login`.
    pub fn names_a_gateway(&self) -> bool {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_signed_in = || {
            let contexts = Contexts::read();
            contexts.is_ok_and(|contexts| {
                matches!(contexts.choose(self.context.as_deref()), Ok(Some(_)) | Err(_))
            })
        };
        self.url.is_some() || is_set("TIDEGATE_API_KEY") || is_signed_in()
    }

    /// The gateway's address, and the key to use there. A key is only sent where it belongs: the
    /// environment's key to the address given with it, a context's key to that context's gateway.
    ///
    /// # Errors
    /// The contexts can't be read, or the named one does not exist.
    pub fn gateway(&self) -> Result<(String, Option<String>), Failure> {
        // SDKs are given the address with the version, and commands add the whole path.
        let bare = |url: &str| {
            let url = url.trim_end_matches('/');
            url.strip_suffix("/v1").unwrap_or(url).to_owned()
        };
        let given = self.url.as_deref().map(bare);
        let key = std::env::var("TIDEGATE_API_KEY").ok().filter(|key| !key.is_empty());
        if let (Some(key), None) = (key, &self.context) {
            return Ok((given.unwrap_or_else(|| USUAL_URL.to_owned()), Some(key)));
        }
        let contexts = Contexts::read()?;
        let chosen = contexts.choose(self.context.as_deref())?.map(|(_, context)| context.clone());
        Ok(match (given, chosen) {
            (None, Some(context)) => (context.url, Some(context.api_key)),
            (Some(given), Some(context)) if given == context.url => (given, Some(context.api_key)),
            (Some(given), _) => (given, None),
            (None, None) => (USUAL_URL.to_owned(), None),
        })
    }

    /// The address of the gateway to sign in to. The context need not exist: signing in creates it.
    ///
    /// # Errors
    /// The contexts can't be read.
    pub fn address(&self) -> Result<String, Failure> {
        if let Some(given) = &self.url {
            return Ok(given.trim_end_matches('/').to_owned());
        }
        let contexts = Contexts::read()?;
        let known = self.context.as_ref().and_then(|name| contexts.contexts.get(name));
        Ok(known.map_or_else(|| USUAL_URL.to_owned(), |context| context.url.clone()))
    }

    /// Reports success; under `--json` as JSON, for programs that read lines.
    pub fn report(&self, sentence: &str) {
        if self.json {
            println!("{}", serde_json::json!({"ok": true}));
        } else if self.dry_run {
            println!("Dry run, nothing was changed. Without --dry-run: {sentence}");
        } else {
            println!("{sentence}");
        }
    }
}
