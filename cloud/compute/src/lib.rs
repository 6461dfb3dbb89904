//! The cloud's one operation: the product of two matrices of polynomials, which is an independent matrix
//! product modulo q = 2^50 - 2^14 + 1 at each of N evaluation points.
//!
//! An [`Operand`] is a list of [`Strip`]s in the order in which uploads are stored, so a batch is
//! multiplied where it lies. Its mask, if it has one, stands beside it and is multiplied at full length in
//! the same pass, while [`Output`] says which part of the body is wanted: all of it, folded into a subring,
//! or some coefficients only.
//!
//! Two ideas make it fast. Points are independent, so eight of them fill a vector and each group of eight
//! is a small matrix product that stays in the cache. And residues commute, so Winograd's inner product
//! (IEEE Trans. Comput. C-17, 1968) trades half of the multiplications for additions:
//! x1 y1 + x2 y2 = (x1 + y2)(x2 + y1) - x1 x2 - y1 y2, of which the last two terms belong to a row and a
//! column. Sums of two residues of 50 bits still fit the 52 bits that the multiplier takes.
//!
//! ```
//! use blindsmith_compute::{Operand, Orientation, Output, Product, Strip};
//! use blindsmith_ring::{Lanes, modulus, zeroed_lanes};
//!
//! // One row of two polynomials times one column of two, at 64 points (8 groups of 8).
//! let points = 64;
//! let mut left = zeroed_lanes(8 * 2);
//! let mut right = zeroed_lanes(8 * 2);
//! for group in 0..8 {
//!     (left[2 * group], left[2 * group + 1]) = (Lanes([3; 8]), Lanes([5; 8]));
//!     (right[2 * group], right[2 * group + 1]) = (Lanes([7; 8]), Lanes([11; 8]));
//! }
//! let (left, right) = ([Strip::Lanes(&left)], [Strip::Lanes(&right)]);
//! let a = Operand::new(points, &left, 2)?;
//! let b = Operand::new(points, &right, 2)?;
//! let product = Product::new(Orientation::Forward, a, b, Output::Full)?;
//! let mut out = vec![0; product.layout().len()];
//! product.compute(false, &mut out)?;
//! assert!(out.iter().all(|&z| z == 3 * 7 + 5 * 11));
//! // Once more, on top of what is there.
//! product.compute(true, &mut out)?;
//! assert_eq!(out[0], modulus::add(76, 76));
//! # Ok::<(), blindsmith_compute::Error>(())
//! ```

pub mod backend;
mod buffer;
#[doc(hidden)]
pub mod conformance;
mod cpu;
mod operand;
mod product;

pub use buffer::Buffer;
pub use operand::{Operand, Strip, check};
pub use product::{Error, Layout, Orientation, Output, Product, output_len, product};
