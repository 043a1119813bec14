//! What is known of each operation, in a folder each: how its request is read, what it may use at most, how its usage is
//! estimated and who books it, and how its answer is read. The stages see one trait.

mod ceiling;
mod spec;

use domain::Operation;

pub use spec::{
    AnsweredCall, Body, Booking, CallSize, ContentType, Facts, ModelLimits, OperationSpec, RequestSource,
    Subject, Unsupported,
};

/// Declares an operation's folder where its line does.
macro_rules! folder {
    (mod $folder:ident) => {
        mod $folder;
    };
    (in $folder:ident) => {};
}

macro_rules! registry {
    ($($(#[$doc:meta])* $variant:ident, $name:literal, $modality:ident, $place:tt $folder:ident
        $(, if $condition:meta)?;)*) => {
        $($(#[cfg($condition)])? folder!($place $folder);)*

        /// What is known of an operation.
        #[must_use]
        pub const fn of(operation: Operation) -> &'static dyn OperationSpec {
            match operation {
                $($(#[cfg($condition)])? Operation::$variant => &$folder::$variant,)*
            }
        }
    };
}

domain::for_each_operation!(registry);
