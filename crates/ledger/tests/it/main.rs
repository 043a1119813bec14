//! The books under crashes, full disks, failing stores and every other way in which they could lose or
//! duplicate a record.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "what the tests share fails as loudly as the tests do"
)]

mod background;
mod crash;
mod damage;
mod disk;
mod drain;
mod leases;
mod money;
mod recover;
mod support;
mod tab;
