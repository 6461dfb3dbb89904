//! Polynomials whose representation is their type.

use std::marker::PhantomData;

use zeroize::Zeroize;

use crate::backend;
use crate::lanes::{Lanes, zeroed_lanes};
use crate::table::Table;

mod sealed {
    pub trait Sealed {}
}

/// A representation of a polynomial.
pub trait Domain: sealed::Sealed {}

/// Coefficients, in natural order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coeff {}
/// The mixed form: for each of n roots, in bit-reversed order, the polynomial modulo t^m = root, m = N/n.
/// The conversions take n, a power of two from 1 to N; the caller says the same n on the way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mixed {}
/// Values at the odd powers of the root of unity, in bit-reversed order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eval {}

impl sealed::Sealed for Coeff {}
impl sealed::Sealed for Mixed {}
impl sealed::Sealed for Eval {}
impl Domain for Coeff {}
impl Domain for Mixed {}
impl Domain for Eval {}

/// A polynomial of R_q in the representation `D`: a power of two, at least 8, canonical residues,
/// aligned to 64 bytes. It may hold a secret, so it has neither `Debug` nor `Clone` and is wiped when
/// dropped.
pub struct Poly<D: Domain> {
    values: Vec<Lanes>,
    domain: PhantomData<D>,
}

impl<D: Domain> Poly<D> {
    /// The zero polynomial with `points` coefficients.
    ///
    /// # Panics
    /// If `points` is not a power of two from 8 to [`crate::MAX_POINTS`].
    pub fn zero(points: usize) -> Self {
        assert!(points.is_power_of_two() && (8..=crate::table::MAX_POINTS).contains(&points));
        Poly { values: zeroed_lanes(points / crate::lanes::LANES), domain: PhantomData }
    }

    /// The residues.
    pub fn as_slice(&self) -> &[u64] {
        bytemuck::cast_slice(&self.values)
    }

    /// The residues, to be overwritten with canonical ones.
    pub fn as_mut_slice(&mut self) -> &mut [u64] {
        bytemuck::cast_slice_mut(&mut self.values)
    }

    /// The number of coefficients N.
    pub fn points(&self) -> usize {
        self.values.len() * crate::lanes::LANES
    }

    /// The same buffer, zeroed, for another use: hot loops allocate nothing.
    pub fn recycle<E: Domain>(mut self) -> Poly<E> {
        self.as_mut_slice().fill(0);
        self.relabelled()
    }

    /// The same residues, now in the representation `E`.
    fn relabelled<E: Domain>(mut self) -> Poly<E> {
        Poly { values: std::mem::take(&mut self.values), domain: PhantomData }
    }
}

impl Poly<Coeff> {
    /// The forward transform, in place.
    pub fn into_eval(mut self) -> Poly<Eval> {
        backend::active().forward(Table::of(self.points()), self.as_mut_slice());
        self.relabelled()
    }

    /// The first stages of the forward transform, to the mixed form with `roots` roots, in place.
    ///
    /// # Panics
    /// If `roots` is not a power of two from 1 to N: it comes from checked parameters.
    pub fn into_mixed(mut self, roots: usize) -> Poly<Mixed> {
        backend::active().forward_mixed(Table::of(self.points()), self.as_mut_slice(), roots);
        self.relabelled()
    }
}

impl Poly<Mixed> {
    /// The last stages of the inverse transform, in place.
    ///
    /// # Panics
    /// As [`Poly::<Coeff>::into_mixed`].
    pub fn into_coeff(mut self, roots: usize) -> Poly<Coeff> {
        backend::active().inverse_mixed(Table::of(self.points()), self.as_mut_slice(), roots);
        self.relabelled()
    }
}

impl Poly<Eval> {
    /// The first stages of the inverse transform, to the mixed form with `roots` roots, in place.
    ///
    /// # Panics
    /// As [`Poly::<Coeff>::into_mixed`].
    pub fn into_mixed(mut self, roots: usize) -> Poly<Mixed> {
        backend::active().eval_to_mixed(Table::of(self.points()), self.as_mut_slice(), roots);
        self.relabelled()
    }
}

impl<D: Domain> Drop for Poly<D> {
    fn drop(&mut self) {
        bytemuck::cast_slice_mut::<Lanes, u64>(&mut self.values).zeroize();
    }
}
