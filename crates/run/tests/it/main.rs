//! Runs over real sockets: a manually built core, an upstream emulator, and a server of documents.

#[cfg(test)]
mod bench;
#[cfg(test)]
mod documents;
#[cfg(test)]
mod runs;
