//! The books: the journal (write-ahead log) that every exchange is written to, the tab that closes exactly
//! once, budgets with their leases, prices and invoices.

pub mod allowances;
pub mod billing;
pub mod damage;
pub mod delta;
pub mod drain;
pub mod entry;
pub mod frame;
pub mod invoice;
pub mod journal;
pub mod lease;
pub mod lease_client;
mod limits;
pub mod local_budget;
mod mark;
mod meter;
pub mod price;
pub mod recover;
mod refusal;
pub mod reservation;
pub mod settings;
mod settled_counts;
pub mod shared;
#[cfg(feature = "simulation")]
pub mod simulation;
pub mod sink;
pub mod tab;
pub mod tariff;
pub mod verify;

pub use allowances::{CoreAllowances, LimitState};
pub use billing::{ModeTotals, UsageRow};
pub use damage::{JournalDamage, damage_dir, damage_notes};
pub use drain::{DrainError, DrainStep, Drainer};
pub use invoice::{Invoice, InvoiceLine, LineKind};
pub use journal::{Journal, PendingWrite};
pub use lease_client::{LeaseAnswer, LeaseCall, LeaseCentre, LeaseClient, Renewal};
pub use price::{charge, estimate};
pub use recover::{RecoveryError, RecoveryReport, recover};
pub use refusal::over_budget;
pub use reservation::{Bounds, Ceiling, Refused, Reservation, ReservationHandover, would_refuse};
pub use settings::{Durability, JournalSettings};
pub use settled_counts::{BUCKETS_MS, Labels, SettledBatch, SettledCounts, SettledSums, TOKEN_KINDS, Times};
pub use shared::JournalShared;
pub use sink::{DrainBatch, JournalPosition, RecordSink, SettledRecords, SinkError};
pub use tab::{AttemptEnd, Closing, CommitmentDraw, Intent, Opening, StartedAttempt, Tab, least_reserved};
pub use tariff::{Fee, Tariff};
