//! The books: the journal (write-ahead log) that every exchange is written to, the tab that closes exactly
//! once, budgets with their leases, prices and invoices.

pub mod allowances;
pub mod billing;
pub mod clerk;
pub mod delta;
pub mod drain;
pub mod entry;
pub mod frame;
pub mod hold;
pub mod invoice;
pub mod journal;
pub mod lease;
mod meter;
pub mod pool;
pub mod price;
pub mod recover;
mod refusal;
pub mod settings;
pub mod shared;
#[cfg(feature = "simulation")]
pub mod simulation;
pub mod sink;
pub mod tab;
pub mod tariff;
pub mod verify;

pub use allowances::{Allowances, CoreAllowances};
pub use billing::{ModeTotals, UsageRow};
pub use clerk::{Clerk, LeaseAnswer, LeaseCall, LeaseCentre, Renewal};
pub use drain::{DrainError, DrainStep, Drainer};
pub use hold::{Bounds, Ceiling, Hold, Refused};
pub use invoice::{Invoice, InvoiceLine, LineKind};
pub use journal::{Booked, Journal};
pub use price::{charge, estimate};
pub use recover::{RecoveryError, RecoveryReport, recover};
pub use settings::{Durability, JournalSettings};
pub use shared::JournalShared;
pub use sink::{DrainBatch, JournalPosition, RecordSink, SettledRecords, SinkError};
pub use tab::{AttemptEnd, Begun, Closing, Intent, Opening, Tab};
pub use tariff::{Fee, Tariff};
