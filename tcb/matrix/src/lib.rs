//! Encrypted matrices as public material: parameters, tiles and their index algebra, masks, scales and
//! the noise they leave, and the plan that chooses tiles. Nothing here holds or needs a secret.
//!
//! A matrix is cut into tiles, each tile becomes one polynomial, and a product of polynomials computes
//! the product of two tiles (polynomial encodings of matrix products: Cheetah, USENIX Security 2022).

mod mask;
mod parameters;
pub mod plan;
mod product;
mod scale;
mod shape;
mod tile;

pub use mask::{MaskSeed, mask_strip};
pub use parameters::{Security, SecurityError};
pub use product::{ProductKind, ProductShape};
pub use scale::{NoiseModel, Overflow, SIGMA, Scale, entry_scale, largest_scale};
pub use shape::{Form, Shape, View};
pub use tile::{Position, Tile, TileError};
