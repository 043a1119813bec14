//! The SDK matrix: every client wire format against every provider's, buffered and streamed, with the
//! official SDKs of two languages in front and the strict emulators behind.

/// An enum with all of its values, and a name of each.
macro_rules! named {
    ($(#[$about:meta])* $kind:ident, $name:ident: $($value:ident $text:literal,)+) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $kind {
            $($value,)+
        }

        impl $kind {
            pub const ALL: [Self; [$($text),+].len()] = [$(Self::$value),+];

            pub const fn $name(self) -> &'static str {
                match self {
                    $(Self::$value => $text,)+
                }
            }
        }
    };
}

mod bench;
mod cases;
mod driver;
mod page;
mod parties;
mod unsaid;
mod verdict;

use bench::Bench;
use driver::Language;
use parties::Seller;

/// Runs every cell of one column in one language; a failure lists all cells that differ.
async fn column(language: Language, seller: Seller) {
    let mut bench = Bench::start(language, seller).await;
    let mut wrong = Vec::new();
    for cell in parties::cells(seller).into_iter().filter(|cell| cell.client.is_driven_in(language)) {
        wrong.extend(bench.differences(&cell).await);
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

/// One test for each column, so that none takes long.
macro_rules! columns {
    ($language:ident, $driven:ident: $($name:ident $seller:ident),*) => {
        mod $language {
            use super::{Language, Seller, column};

            $(#[tokio::test]
            async fn $name() {
                column(Language::$driven, Seller::$seller).await;
            })*

            #[test]
            fn every_seller_has_its_column() {
                assert_eq!([$(Seller::$seller),*], Seller::ALL);
            }
        }
    };
}

columns!(python, Python:
    openai OpenAi, anthropic Anthropic, gemini Gemini, xai Xai, fireworks Fireworks, bedrock Bedrock, vertex Vertex,
    azure Azure, mistral Mistral, together Together, compatible Compatible);
columns!(node, Node:
    openai OpenAi, anthropic Anthropic, gemini Gemini, xai Xai, fireworks Fireworks, bedrock Bedrock, vertex Vertex,
    azure Azure, mistral Mistral, together Together, compatible Compatible);

#[tokio::test]
async fn what_a_target_cant_say_is_refused_or_named() {
    // One provider for each model that is requested by its own name.
    let sellers = [Seller::OpenAi, Seller::Anthropic, Seller::Gemini, Seller::Compatible];
    let gateway = bench::gateway(&sellers).await;
    let mut wrong = Vec::new();
    for saying in unsaid::SAYINGS {
        wrong.extend(saying.difference(&gateway).await);
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(gateway.emulator.violations(), []);
}
