//! The cloud's one operation: the product of two masked matrices and of their public masks, modulo
//! q = 2^50 - 2^14 + 1.
//!
//! A matrix of ciphertexts is a plain matrix of residues, and so is a list of masks. [`Product`] names the
//! operands where they lie and says what comes out: matrix times matrix, masks times matrix, matrix times
//! masks, and masks times masks. The last three are independent small products, one for each root of
//! z^n = -1, and are computed in the same call.
//!
//! [`backend`] chooses the device that computes. All devices give the same bits.
//!
//! ```
//! use blindsmith_compute::{Left, Names, Product, Row};
//!
//! // (2 x 1) times (1 x 3), without masks.
//! let (x, y, w) = ([3], [5], [7, 11, 13]);
//! let rows = [Row::Plain(&x), Row::Plain(&y)];
//! let product = Product {
//!     roots: 1,
//!     rows: 2,
//!     left: Left::Rows(&rows),
//!     left_masks: &[],
//!     right: &[Row::Plain(&w)],
//!     columns: 0..3,
//!     right_masks: None,
//!     names: Names::default(),
//! };
//! let mut out = vec![0; product.residues()];
//! product.multiply(false, &mut out)?;
//! assert_eq!(out, [21, 33, 39, 35, 55, 65]);
//! // Once more, on top of what is there.
//! product.multiply(true, &mut out)?;
//! assert_eq!(out[0], 42);
//! # Ok::<(), blindsmith_compute::Error>(())
//! ```

pub mod backend;
#[doc(hidden)]
pub mod conformance;
mod cpu;
mod product;
mod row;

pub use product::{Error, Layout, Left, MaskSet, Name, Names, Product};
pub use row::{Row, check};
