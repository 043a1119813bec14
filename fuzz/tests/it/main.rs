//! The fuzz targets: whatever bytes arrive, a parser does not panic, and its results keep their promises.

#[cfg(test)]
mod a2a;
#[cfg(test)]
mod answer;
#[cfg(test)]
mod anthropic;
#[cfg(test)]
mod batches;
#[cfg(test)]
mod bills;
#[cfg(test)]
mod bodies;
#[cfg(test)]
mod chat;
#[cfg(test)]
mod converse;
#[cfg(test)]
mod dataplane;
#[cfg(test)]
mod event_stream;
#[cfg(test)]
mod filter;
#[cfg(test)]
mod flows;
#[cfg(test)]
mod gemini;
#[cfg(test)]
mod guardrails;
#[cfg(test)]
mod headers;
#[cfg(test)]
mod hooks;
#[cfg(test)]
mod journal;
#[cfg(test)]
mod json;
#[cfg(test)]
mod material;
#[cfg(test)]
mod mcp;
#[cfg(test)]
#[cfg(feature = "engine")]
mod models;
#[cfg(test)]
mod multipart;
#[cfg(test)]
mod oauth;
#[cfg(test)]
mod operations;
#[cfg(test)]
mod pdf;
#[cfg(test)]
#[cfg(feature = "peers")]
mod peers;
#[cfg(test)]
mod picker;
#[cfg(test)]
mod providers;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod responses;
#[cfg(test)]
mod signed;
#[cfg(test)]
mod sse;
#[cfg(test)]
mod tools;
#[cfg(test)]
mod tunnels;
#[cfg(test)]
mod websocket;
#[cfg(test)]
mod workers;
