//! The JSON kit from outside.

#[cfg(test)]
mod canonical;
#[cfg(test)]
mod json;
