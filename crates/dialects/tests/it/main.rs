//! The dialects from outside: requests, streams and errors as clients and upstreams see them.

#![expect(clippy::result_large_err, reason = "a fault ends a test as it ends a stream")]

#[cfg(test)]
mod anthropic;
#[cfg(test)]
mod compatible;
#[cfg(test)]
mod encode;
#[cfg(test)]
mod errors;
#[cfg(test)]
mod golden;
#[cfg(test)]
#[path = "../shared/golden_exchanges.rs"]
mod golden_exchanges;
#[cfg(test)]
mod request;
#[cfg(test)]
mod stream;
#[cfg(test)]
mod translated;
