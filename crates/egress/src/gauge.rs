//! Counts open connections.

use std::cell::Cell;
use std::rc::Rc;

/// How many connections are open; they count themselves.
#[derive(Default)]
pub(crate) struct Gauge(Cell<usize>);

pub(crate) struct Counted(Rc<Gauge>);

impl Gauge {
    pub(crate) fn count(self: &Rc<Self>) -> Counted {
        self.0.set(self.0.get() + 1);
        Counted(Rc::clone(self))
    }

    pub(crate) const fn open(&self) -> usize {
        self.0.get()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.set(self.0.0.get().saturating_sub(1));
    }
}
