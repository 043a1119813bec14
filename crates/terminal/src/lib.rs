//! What a terminal shows beside plain text: colours, and plots of block characters.

mod limits;
pub mod paint;
pub mod plot;
