//! Fuzzes the readers of providers' exports of usage and costs.

use bolero::check;
use reconciliation::{Line, read_export, write_plain};

use crate::material::fuzz;

const PROVIDERS: [&str; 8] = [
    "openai",
    "anthropic",
    "aws_bedrock",
    "bedrock_mantle",
    "azure_openai",
    "gemini",
    "vertex_ai",
    "openrouter",
];

fn lines_of(provider: &str, format: Option<&str>, mut bytes: &[u8]) -> Option<Vec<Line>> {
    let mut lines = Vec::new();
    let read = read_export(provider, format, &mut bytes, &mut |line| lines.push(line));
    match read {
        Ok(read) => {
            assert_eq!(read.lines, lines.len() as u64);
            Some(lines)
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            None
        }
    }
}

#[test]
fn fuzz_provider_bill() {
    fuzz("provider_bill", check!(), |bytes| {
        let mut is_taken = false;
        for provider in PROVIDERS {
            let Some(lines) = lines_of(provider, None, bytes) else { continue };
            is_taken = true;
            if lines.is_empty() {
                continue;
            }
            let plain = write_plain(&lines);
            // Lines that are alike are refused, as those of a file that was put together twice.
            if let Some(again) = lines_of(provider, Some("tidegate"), plain.as_bytes()) {
                assert_eq!(write_plain(&again), plain, "what is written is read alike");
            }
        }
        is_taken
    });
}
