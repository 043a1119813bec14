//! Which peers are in a block of addresses.

use admit::is_within;
use snapshot::IpNet;

#[test]
fn blocks_hold_what_they_say() {
    for (peer, network, prefix_bits, within) in [
        ("10.1.2.3", "10.0.0.0", 8, true),
        ("11.1.2.3", "10.0.0.0", 8, false),
        ("10.1.2.3", "10.1.2.3", 32, true),
        ("10.1.2.4", "10.1.2.3", 32, false),
        ("203.0.113.9", "0.0.0.0", 0, true),
        ("::ffff:10.1.2.3", "10.0.0.0", 8, true),
        ("10.1.2.3", "::ffff:10.1.2.0", 120, true),
        ("2001:db8::1", "2001:db8::", 32, true),
        ("2001:db9::1", "2001:db8::", 32, false),
        ("2001:db9::1", "::", 0, true),
        ("2001:db8::1", "0.0.0.0", 0, false),
        ("10.1.2.3", "::", 0, false),
    ] {
        let block = IpNet { address: network.parse().unwrap(), prefix_bits };
        assert_eq!(is_within(peer.parse().unwrap(), &block), within, "{peer} in {network}/{prefix_bits}");
    }
}
