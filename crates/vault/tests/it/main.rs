//! The vault from outside: what opens, what does not, and what is never shown.

mod keys;
mod master;
mod seals;
mod support;
