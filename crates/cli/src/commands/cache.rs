//! `tidegate cache evaluate`: how often the semantic response cache would take one question for another with a given
//! embedding model, measured on pairs of sentences that are kept with the program.

mod evaluation;

use serde_json::{Value, json};

use crate::api::Api;
use crate::output::{self, Failure, Form};
use crate::shared::Shared;
use evaluation::{Figures, Pair, Vectors, figures, kinds_at, pairs};

/// Texts that one request embeds.
const TEXTS_AT_ONCE: usize = 16;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Measures hits and false hits of an embedding model on a built-in set of sentence pairs: at each similarity, how many
    /// paraphrases would get the same answer, and how many different questions would, too.
    Evaluate {
        /// The embedding model, as in `semantic.model` of a project. Its requests are billed as usual.
        #[arg(long)]
        model: String,
        /// The lowest similarity of a hit, in basis points; may be repeated.
        #[arg(long, value_name = "BPS", default_values_t = [9_900, 9_700, 9_500, 9_300, 9_000, 8_500, 8_000, 7_000])]
        bound: Vec<u16>,
    },
}

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let Command::Evaluate { model, bound } = command;
    let api = Api::connect_open(shared)?;
    let pairs = pairs();
    let mut vectors = Vectors::default();
    for texts in vectors.missing(&pairs).chunks(TEXTS_AT_ONCE) {
        let answer = api.post("/v1/embeddings", &json!({"model": model, "input": texts}))?;
        vectors.add(texts, &answer).ok_or_else(|| {
            let message =
                format!("The answer of {model} has not one vector for each text. Is it an embedding model?");
            Failure::new(output::FAILED, message)
        })?;
    }
    let measured: Vec<_> = bound.iter().map(|bound| figures(&pairs, &vectors, *bound)).collect();
    match shared.form() {
        Form::Table => print(&pairs, &vectors, &measured),
        _ => output::rows(shared, &measured.iter().map(row).collect::<Vec<_>>(), &COLUMNS, ""),
    }
    Ok(())
}

const COLUMNS: [&str; 8] = [
    "min_similarity_bps",
    "paraphrases",
    "hits",
    "hits_guarded",
    "near_misses",
    "false_hits",
    "false_hits_guarded",
    "false_hits_by_kind_guarded",
];

fn row(of: &Figures) -> Value {
    let kinds: Vec<_> = of.false_by_kind.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    json!({
        "min_similarity_bps": of.bound,
        "paraphrases": of.paraphrases,
        "hits": of.hits,
        "hits_guarded": of.hits_guarded,
        "near_misses": of.lookalikes,
        "false_hits": of.false_hits,
        "false_hits_guarded": of.false_hits_guarded,
        "false_hits_by_kind_guarded": kinds,
    })
}

/// A count with its share of the whole in tenths of a percent.
fn share(part: usize, whole: usize) -> String {
    let tenths = (part * 1_000 + whole / 2).checked_div(whole).unwrap_or(0);
    format!("{part} ({}.{} %)", tenths / 10, tenths % 10)
}

fn print(pairs: &[Pair], vectors: &Vectors, measured: &[Figures]) {
    let (paraphrases, near) = measured.first().map_or((0, 0), |first| (first.paraphrases, first.lookalikes));
    println!(
        "{paraphrases} paraphrases, which may share an answer, and {near} near misses, which may not.\n"
    );
    let line = |of: &Figures| {
        vec![
            of.bound.to_string(),
            share(of.hits, of.paraphrases),
            share(of.false_hits, of.lookalikes),
            share(of.hits_guarded, of.paraphrases),
            share(of.false_hits_guarded, of.lookalikes),
        ]
    };
    let head = ["bound", "hits", "false hits", "hits, guarded", "false hits, guarded"];
    output::table(&head, &measured.iter().map(line).collect::<Vec<_>>());
    println!();
    let kinds = kinds_at(pairs, vectors);
    let line = |of: &evaluation::Kind| {
        vec![of.name.to_owned(), of.pairs.to_string(), share(of.guarded, of.pairs), of.median_bps.to_string()]
    };
    let head = ["kind", "pairs", "refused by the guard", "median similarity"];
    output::table(&head, &kinds.iter().map(line).collect::<Vec<_>>());
}
