//! Fuzzes the requests of every operation in every wire format.

use bolero::check;
use bytes::Bytes;
use dialects::{decode_batch, decode_request, read_prefixes};
use domain::{Grammar, Operation};

use crate::material::fuzz;

#[test]
fn fuzz_operation() {
    fuzz("operation", check!(), |bytes| {
        let body = Bytes::copy_from_slice(bytes);
        let mut is_taken = false;
        for grammar in Grammar::ALL {
            let _ = (decode_batch(grammar, &body, None), read_prefixes(grammar, &body));
            for operation in Operation::ALL {
                match decode_request(grammar, *operation, &body, None) {
                    Ok(request) => is_taken |= !request.model.is_empty(),
                    Err(fault) => assert!(!fault.message.is_empty(), "{fault}"),
                }
            }
        }
        is_taken
    });
}
