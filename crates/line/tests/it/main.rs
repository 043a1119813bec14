//! The pipeline over real sockets: what the client reads, what the upstream sees, and what is booked.

#[cfg(test)]
mod bench;
#[cfg(test)]
mod clocks;
#[cfg(test)]
mod failover;
#[cfg(test)]
mod guesses;
#[cfg(test)]
mod plain;
#[cfg(test)]
mod realtime;
#[cfg(test)]
mod stored;
#[cfg(test)]
mod streams;
