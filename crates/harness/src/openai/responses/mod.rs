//! An emulator of `/v1/responses`: items in and out, stored responses, encrypted reasoning.

pub(crate) mod answer;
pub(crate) mod fields;
pub(crate) mod items;
pub(crate) mod order;
pub(crate) mod request;
pub(crate) mod seal;
pub(crate) mod service;
pub(crate) mod store;
pub(crate) mod stream;
