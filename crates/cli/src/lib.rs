//! The command line client: the commands that need nothing but a gateway's address and a key, and what all commands
//! print with.

#[macro_use]
pub mod printing;

pub mod api;
pub mod body;
pub mod collection;
pub mod commands;
mod contexts;
pub mod jq;
mod limits;
mod made;
mod named_file;
pub mod output;
mod people;
mod private_file;
pub mod progress;
pub mod shared;
