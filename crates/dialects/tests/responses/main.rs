//! The Responses format from outside: golden exchanges, and streams cut at every place.

#![expect(clippy::result_large_err, reason = "a fault ends a test as it ends a stream")]

#[cfg(test)]
#[path = "../shared/cases.rs"]
mod cases;
#[cfg(test)]
mod golden;
#[cfg(test)]
#[path = "../shared/golden_exchanges.rs"]
mod golden_exchanges;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod streams;
