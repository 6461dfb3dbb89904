//! Encryption, products as a refinery computes them, checks, opening, admission.

mod admission;
mod contributor;
mod integrity;
mod pair;
mod products;
mod stored;
