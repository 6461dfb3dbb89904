//! Every backend of this processor through the one suite, and what is refused.

use blindsmith_compute::{Error, Operand, Orientation, Output, Product, Strip, backend, check, conformance};
use blindsmith_ring::{Lanes, Q, zeroed_lanes};

#[test]
fn every_backend_gives_the_oracles_bits() {
    for backend in backend::available() {
        conformance::run(*backend);
    }
}
