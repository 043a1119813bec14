//! Journeys through the built binary.
