//! The SQL of flows.
