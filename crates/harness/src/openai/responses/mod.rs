//! `/v1/responses` as the real provider serves it: items in and out, stored answers, sealed reasoning.

pub(crate) mod answer;
pub(crate) mod fields;
pub(crate) mod items;
pub(crate) mod order;
pub(crate) mod request;
pub(crate) mod seal;
pub(crate) mod service;
pub(crate) mod store;
pub(crate) mod stream;
