//! The loop guard: a forwarded request names the nodes that forwarded it.

use domain::{Fault, FaultClass};
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use crate::limits::HOPS_MAX;

/// The ids of the nodes that forwarded a request, in their order, with commas between them.
pub(crate) const HOPS: HeaderName = HeaderName::from_static("x-hybrie-hops");

/// The name of a node on the requests that it forwards: random, so that it says nothing of the machine.
#[derive(Debug, Clone)]
pub(crate) struct Hops {
    own: String,
}

impl Hops {
    pub(crate) fn new(random: [u8; 10]) -> Self {
        let digits = random.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
        let own = digits.filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect();
        Self { own }
    }

    /// # Errors
    /// The request came back to this node, or as many nodes forwarded it as may.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), Box<Fault>> {
        let mut passed = 0;
        for id in ids(headers) {
            passed += 1;
            if id == self.own {
                return Err(looped("This request came back to the node that had forwarded it.".to_owned()));
            }
        }
        if passed > HOPS_MAX {
            let message = format!("{passed} nodes have forwarded this request, and {HOPS_MAX} may.");
            return Err(looped(message));
        }
        Ok(())
    }

    /// The header of the request when this node forwards it.
    pub(crate) fn next(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let mut all: Vec<&str> = ids(headers).collect();
        all.push(&self.own);
        HeaderValue::try_from(all.join(", ")).ok()
    }
}

fn ids(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(HOPS).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',').map(str::trim)).filter(|id| !id.is_empty())
}

pub(crate) fn looped(message: String) -> Box<Fault> {
    let fault = Fault::new(FaultClass::Upstream, "loop_detected", message).should_retry(false);
    Box::new(fault.fix("Correct the backends of these nodes: two of them must not forward to each other."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&'static str]) -> HeaderMap {
        lines.iter().map(|line| (HOPS, HeaderValue::from_static(line))).collect()
    }

    #[test]
    fn a_node_finds_itself_and_counts_the_others() {
        let hops = Hops::new([0xab, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(hops.own, "ab010203040506070809");
        let check = |lines: &[&'static str]| hops.check(&headers(lines)).map_err(|fault| fault.code);
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&["a, b", "c"]), Ok(()));
        assert_eq!(check(&["a, b", "c,d"]), Err("loop_detected"));
        assert_eq!(check(&["x, ab010203040506070809"]), Err("loop_detected"));
        assert_eq!(hops.next(&headers(&["a", "b"])).unwrap(), "a, b, ab010203040506070809");
        assert_eq!(hops.next(&HeaderMap::new()).unwrap(), "ab010203040506070809");
    }
}
