//! The fuzz targets: whatever bytes arrive, a parser does not panic, and its results keep their promises.

#[cfg(test)]
mod answer;
#[cfg(test)]
mod anthropic;
#[cfg(test)]
mod chat;
#[cfg(test)]
mod converse;
#[cfg(test)]
mod event_stream;
#[cfg(test)]
mod filter;
#[cfg(test)]
mod gemini;
#[cfg(test)]
mod headers;
#[cfg(test)]
mod journal;
#[cfg(test)]
mod json;
#[cfg(test)]
mod material;
#[cfg(test)]
mod models;
#[cfg(test)]
mod multipart;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod responses;
#[cfg(test)]
mod sse;
mod websocket;
