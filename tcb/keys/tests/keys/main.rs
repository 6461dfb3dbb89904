//! Encryption, products, their checks and their opening.

mod admission;
mod integrity;
mod pair;
mod products;
