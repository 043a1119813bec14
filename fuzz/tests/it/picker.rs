//! Fuzzes the messages of Envoy's external processing, and what the picker reads of prompts and of servers' load.

use bolero::check;
use picker::fixtures::{answers, ends_of_prompt};
use placement::metrics::LoadSource;

use crate::material::fuzz;

#[test]
fn fuzz_ext_proc() {
    fuzz("ext_proc", check!(), |bytes| {
        let (answered, status) = answers([bytes]);
        for size in [1, 5, 64] {
            assert_eq!(answers(bytes.chunks(size)), (answered.clone(), status), "however it arrives");
        }
        let written: usize = answered.iter().map(Vec::len).sum();
        assert!(written <= 2 * bytes.len() + 1_000, "{written} bytes for {}", bytes.len());
        !answered.is_empty()
    });
}

#[test]
fn fuzz_picked_prompt() {
    fuzz("picked_prompt", check!(), |bytes| {
        let ends = ends_of_prompt(bytes);
        assert!(ends.is_sorted_by_key(|(_, end)| *end));
        assert!(ends.iter().all(|(_, end)| *end <= bytes.len() as u64));
        !ends.is_empty()
    });
}

#[test]
fn fuzz_server_load() {
    fuzz("server_load", check!(), |bytes| {
        let loads = LoadSource::ALL.map(|source| source.read(bytes));
        assert!(loads.iter().flatten().all(|load| load.kv_permille.is_none_or(|part| part <= 1_000)));
        loads.iter().any(Option::is_some)
    });
}
