//! A workspace's configuration as a document: read, compared with the live objects, applied, and exported with its data.

#[macro_use(print, println, eprint, eprintln)]
extern crate cli;

pub mod apply;
mod changes;
mod document;
pub mod export;
pub mod kinds;
mod live;
mod parts;
