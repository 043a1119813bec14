//! The wire of the node from outside.

#[cfg(test)]
mod runtime;
#[cfg(test)]
mod vectors;
