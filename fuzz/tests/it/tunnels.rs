//! Fuzzes the greetings of nodes that open tunnels.

use api::tunnels::read_hello;
use bolero::check;
use egress::{LineError, read_line};

use crate::material::fuzz;
use crate::pdf::RUNTIME;

#[test]
fn fuzz_tunnel_greeting() {
    fuzz("tunnel_greeting", check!(), |bytes| {
        let mut left = bytes;
        match RUNTIME.block_on(read_line(&mut left)) {
            Ok((line, rest)) => {
                assert_eq!([&line, b"\n".as_slice(), &rest, left].concat(), bytes);
                assert!(!line.contains(&b'\n'));
                let certified = read_hello(&line);
                assert_ne!(certified, Some(true), "no certificate of the corpus is signed");
                certified.is_some()
            }
            Err(LineError::Ended) => {
                assert!(!bytes.contains(&b'\n'));
                false
            }
            Err(LineError::TooLong) => false,
        }
    });
}
