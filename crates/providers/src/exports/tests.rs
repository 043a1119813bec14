//! Exports as they are read: samples of each format, and files that are broken in every way.

use std::path::PathBuf;

use super::plain::write;
use super::*;

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../golden/reconciliation")
}

fn read_all(
    provider: &str,
    format: Option<&str>,
    bytes: &[u8],
) -> Result<(Vec<Line>, ReadExport), ExportError> {
    let exports: Vec<_> = crate::exports(provider).iter().copied().chain([&PLAIN]).collect();
    let mut lines = Vec::new();
    let mut input = bytes;
    read(&exports, format, &mut input, &mut |line| lines.push(line)).map(|read| (lines, read))
}

/// The sample, its provider, and the format that it must be recognised as.
const SAMPLES: [(&str, &str, &str); 16] = [
    ("openai-usage.json", "openai", "openai-usage"),
    ("openai-costs.json", "openai", "openai-costs"),
    ("openai-usage.csv", "openai", "openai-usage-csv"),
    ("openai-costs.csv", "openai", "openai-costs-csv"),
    ("anthropic-usage.json", "anthropic", "anthropic-usage"),
    ("anthropic-costs.json", "anthropic", "anthropic-costs"),
    ("anthropic-usage.csv", "anthropic", "anthropic-usage-csv"),
    ("aws-cur2.csv", "aws_bedrock", "aws-cur2"),
    ("aws-cur2.csv", "bedrock_mantle", "aws-cur2"),
    ("aws-cur.csv", "aws_bedrock", "aws-cur"),
    ("bedrock-invocations.jsonl", "aws_bedrock", "bedrock-invocations"),
    ("google-billing.jsonl", "vertex_ai", "google-billing"),
    ("google-billing.jsonl", "gemini", "google-billing"),
    ("azure-costs.csv", "azure_openai", "azure-costs"),
    ("azure-costs-ea.csv", "azure_openai", "azure-costs-ea"),
    ("openrouter-activity.csv", "openrouter", "openrouter-activity"),
];

/// With `UPDATE_DOCS=1` the lines are written; what changes is looked at like code.
#[test]
fn each_sample_is_recognised_and_read_as_it_was() {
    for (sample, provider, format) in SAMPLES {
        let bytes = std::fs::read(directory().join(sample)).unwrap();
        let (lines, read) =
            read_all(provider, None, &bytes).unwrap_or_else(|error| panic!("{sample}: {error}"));
        assert_eq!(read.format, format, "{sample}");
        assert_eq!(read.lines, lines.len() as u64, "{sample}");
        let written = write(&lines);
        let expected = directory().join(format!("{sample}.{provider}.lines.csv"));
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&expected, &written).unwrap();
        }
        let expected = std::fs::read_to_string(&expected).unwrap_or_default();
        assert_eq!(written, expected, "{sample} as {provider}'s");
        // Tidegate's own format says all that was read.
        let (again, _) = read_all(provider, Some("tidegate"), written.as_bytes()).unwrap();
        assert_eq!(again, lines, "{sample}");
    }
}

#[test]
fn every_format_of_every_provider_has_a_sample() {
    let providers =
        ["anthropic", "aws_bedrock", "azure_openai", "gemini", "openai", "openrouter", "vertex_ai"];
    for provider in providers {
        for export in crate::exports(provider) {
            let has = SAMPLES.iter().any(|(_, of, format)| *of == provider && *format == export.name);
            assert!(has, "{provider}: {}", export.name);
            assert!(export.source.contains("verified"), "{}: says what is not verified", export.name);
        }
    }
}

#[test]
fn rows_of_something_else_are_counted_and_left_out() {
    let bytes = std::fs::read(directory().join("aws-cur2.csv")).unwrap();
    let (lines, read) = read_all("aws_bedrock", None, &bytes).unwrap();
    assert_eq!((lines.len(), read.skipped), (6, 3), "{lines:?}");
    let usage = std::fs::read(directory().join("openai-usage.json")).unwrap();
    let (_, read) = read_all("openai", None, &usage).unwrap();
    assert_eq!(read.covered, Some((1_793_491_200, 1_793_664_000)), "a day without usage is covered too");
}

/// The text of a refusal.
fn refusal(provider: &str, bytes: &[u8]) -> String {
    match read_all(provider, None, bytes) {
        Ok((lines, read)) => panic!("{read:?} was read as {lines:?}: {}", String::from_utf8_lossy(bytes)),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_broken_file_is_refused_with_the_line_and_the_column() {
    let plain = |rows: &str| format!("from,until,model,measure,quantity,cost_usd\n{rows}");
    let day = "1793491200,1793577600,gpt-4o-mini";
    for (text, expected) in [
        (plain(&format!("{day},input,999999999999999999999999,\n")), "line 2, column \"quantity\": \"999999999999999999999999\" isn't a number"),
        (plain(&format!("{day},input,1,1e15\n")), "line 2, column \"cost_usd\": \"1e15\" isn't an amount below a billion dollars"),
        (plain(&format!("{day},input,12.x,\n")), "line 2, column \"quantity\""),
        (plain(&format!("{day},input,1,\n{day},inputs,1,\n")), "line 3, column \"measure\": \"inputs\" isn't a measure. Known: input,"),
        (plain("noon,1793577600,gpt-4o-mini,input,1,\n"), "line 2, column \"from\": \"noon\" isn't a date or time"),
        (plain("1793577600,1793491200,gpt-4o-mini,input,1,\n"), "line 2, column \"until\": It is before"),
        (plain(&format!("{day},input\n")), "line 2: The row has 4 cells, and the header 6"),
        ("from,until,measure,from\n".to_owned(), "line 1: The column \"from\" is there twice"),
        ("date,tokens\n2026-11-01,5\n".to_owned(), "line 1: This isn't a known format. Known formats: openai-usage, "),
        (String::new(), "The file is empty"),
        (" \r\n ".to_owned(), "The file is empty"),
        ("{\"object\": \"page\", \"data\": [".to_owned(), "line 1 column 28: This is not JSON in UTF-8"),
        ("[1, 2]".to_owned(), "line 1: This isn't a known format"),
        (
            "{\"object\": \"page\", \"data\": [{\"start_time\": 1793491200, \"end_time\": 1793577600, \"results\": \
             [{\"object\": \"organization.costs.result\", \"amount\": {\"value\": 1, \"currency\": \"eur\"}}]}]}"
                .to_owned(),
            "document 1, data[0], results[0], amount, currency: The amount is in eur, and prices are in USD",
        ),
        (
            "{\"object\": \"page\", \"data\": [{\"start_time\": 1793491200, \"end_time\": 1793577600, \"results\": \
             [{\"object\": \"x\", \"input_tokens\": \"many\"}]}]}"
                .to_owned(),
            "document 1, data[0], results[0], input_tokens: \"many\" isn't a number",
        ),
    ] {
        let refused = refusal("openai", text.as_bytes());
        assert!(refused.contains(expected), "{text}\n{refused}\n{expected}");
    }
}

#[test]
fn bytes_that_are_no_text_are_refused_and_their_cell_is_named() {
    let refused = refusal("openai", b"from,until,measure,quantity\n1793491200,1793577600,inp\xFFut,1\n");
    assert!(refused.contains("line 2, cell 3: The cell is not UTF-8"), "{refused}");
    let refused = refusal("openai", b"\x1F\x8B\x08\x00rest");
    assert!(refused.contains("compressed with gzip"), "{refused}");
}

#[test]
fn what_stands_twice_is_refused_where_each_row_is_a_group() {
    let header = "start_time,end_time,model,input_tokens,output_tokens\n";
    let row = "1793491200,1793577600,gpt-4o-mini,1,2\n";
    let refused = refusal("openai", format!("{header}{row}{row}").as_bytes());
    assert!(refused.contains("line 3: It repeats line 2"), "{refused}");
    let page = std::fs::read(directory().join("openai-usage.json")).unwrap();
    let twice = [page.as_slice(), page.as_slice()].concat();
    let refused = refusal("openai", &twice);
    assert!(refused.contains("document 2, data[0], results[0]: It repeats"), "{refused}");
    // Two rows of a report may well be alike: they are of different resources.
    let report = std::fs::read_to_string(directory().join("azure-costs.csv")).unwrap();
    let row = report.lines().nth(1).unwrap();
    assert_eq!(read_all("azure_openai", None, format!("{report}{row}\n").as_bytes()).unwrap().1.lines, 4);
}

#[test]
fn a_format_can_be_named_and_one_that_is_not_there_is_refused() {
    let usage = std::fs::read(directory().join("openai-usage.csv")).unwrap();
    assert_eq!(read_all("openai", Some("openai-usage-csv"), &usage).unwrap().1.format, "openai-usage-csv");
    let refused = read_all("openai", Some("tidegate"), &usage).unwrap_err().to_string();
    assert!(refused.contains("line 1: The column \"from\" of tidegate is missing"), "{refused}");
    let refused = read_all("openai", Some("excel"), &usage).unwrap_err().to_string();
    assert!(refused.contains("There is no format \"excel\". Known here: openai-usage,"), "{refused}");
}
