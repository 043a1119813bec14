//! Fuzzes the filter language: text that people type into the console, a URL or a command line.

use bolero::check;
use filter::Filter;

use crate::material::seeded;

const FILTERS: &[&str] = &[
    "status:error model:gpt-4o* cost>0.01 since:24h",
    "-key:\"my \\\"laptop\\\"\" latency:>=1.5s input<10k",
    "outcome:completed profile:byok project:prj_1 until:2026-11-20T08:00:00Z ttft:250ms",
    "tag:\"é*\"* status:4xx -status=404 provider_cost:$0.000000001",
];

#[test]
fn fuzz_filter() {
    seeded(FILTERS, check!(), |input, ()| {
        let text = String::from_utf8_lossy(input).into_owned();
        match Filter::parse(&text) {
            Ok(filter) => {
                assert_eq!(Filter::parse(&filter.to_string()).expect("what we write is read"), filter)
            }
            Err(error) => {
                assert!(error.at <= text.chars().count() && !error.fix.is_empty(), "{error:?}");
                assert_eq!(error.render_in(&text).lines().count(), 2);
            }
        }
    });
}
