//! The JSON kit from outside.

#[cfg(test)]
mod json;
