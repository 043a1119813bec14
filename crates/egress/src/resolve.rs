//! Name resolution as an argument: the system's resolver, or one that a test flips between two answers.

use std::io;
use std::net::IpAddr;

use domain::ports::PortFuture;

/// Called once for each new connection, which then goes to an address of exactly this answer.
pub trait Resolver: Send + Sync {
    fn resolve<'a>(&'a self, host: &'a str) -> PortFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// The operating system's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str) -> PortFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            let mut addresses: Vec<IpAddr> = Vec::new();
            for address in found {
                if !addresses.contains(&address.ip()) {
                    addresses.push(address.ip());
                }
            }
            Ok(addresses)
        })
    }
}
