//! The books: the journal that every exchange is written to, the tab that closes exactly once, and price arithmetic.

pub mod billing;
pub mod drain;
pub mod entry;
pub mod frame;
pub mod invoice;
pub mod journal;
pub mod price;
pub mod recover;
pub mod settings;
pub mod shared;
#[cfg(feature = "simulation")]
pub mod simulation;
pub mod sink;
pub mod tab;
pub mod tariff;
pub mod verify;

pub use billing::{BillingSnapshot, ModeTotals, UsageRow, billing_snapshot};
pub use drain::{DrainError, DrainStep, Drainer};
pub use invoice::{Invoice, InvoiceLine, LineKind};
pub use journal::{Booked, Journal};
pub use price::{charge, estimate};
pub use recover::{RecoveryError, RecoveryReport, recover};
pub use settings::{Durability, JournalSettings};
pub use shared::JournalShared;
pub use sink::{DrainBatch, JournalPosition, RecordSink, SettledRecords, SinkError};
pub use tab::{AttemptEnd, Begun, Closing, Intent, Opening, Tab};
pub use tariff::{Fee, Tariff};
