//! A refinery that does what it should not: every attack of the catalogue in docs/integrity.md that takes a whole
//! system, with real processes. The refinery behind the proxy is the real one; the proxy alters what passes.

mod history;
mod orders;
mod products;
mod proxy;
mod release;
mod schedule;
