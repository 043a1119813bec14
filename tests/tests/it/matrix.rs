//! The matrix: every client's dialect against every provider's grammar, buffered and streamed, with the official SDKs of
//! two languages in front and the strict emulators behind.

mod bench;
mod cases;
mod driver;
mod page;
mod parties;
mod unsaid;
mod verdict;

use bench::Bench;
use driver::Language;

/// Every cell of one language; a failure lists all cells that differ.
async fn every_cell(language: Language) {
    let mut bench = Bench::start(language).await;
    let mut wrong = Vec::new();
    for cell in parties::cells().into_iter().filter(|cell| cell.client.is_driven_in(language)) {
        wrong.extend(bench.differences(&cell).await);
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn python() {
    every_cell(Language::Python).await;
}

#[tokio::test]
async fn node() {
    every_cell(Language::Node).await;
}

#[tokio::test]
async fn what_a_target_cant_say_is_refused_or_named() {
    let gateway = bench::gateway().await;
    let mut wrong = Vec::new();
    for saying in unsaid::SAYINGS {
        wrong.extend(saying.difference(&gateway).await);
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(gateway.emulator.violations(), []);
}
