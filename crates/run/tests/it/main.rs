//! Runs over real sockets: a core built by hand, an emulator upstream, a server with documents.

#[cfg(test)]
mod bench;
#[cfg(test)]
mod documents;
#[cfg(test)]
mod runs;
