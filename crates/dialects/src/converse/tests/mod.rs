//! The grammar as an upstream speaks it.
