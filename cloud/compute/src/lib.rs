//! Batched modular matrix products
