//! Secret scalars, and sums of polynomials that they weight.

use blindsmith_ring::modulus::MAX_CHAIN;
use blindsmith_ring::sample::Stream;
use blindsmith_ring::{Eval, LANES, Poly, backend};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::Key;

/// Secret scalars, uniform in Z_q: what a product is projected with. A scalar is the same at all points, so a
/// projection commutes with transforms, folding and cropping.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Scalars(Vec<u64>);

impl Scalars {
    /// Fresh ones.
    pub fn random(count: usize) -> Self {
        Scalars::derive(&Key::random(), 0..count)
    }

    /// The scalars of these numbers under a key that serves nothing else.
    pub fn derive(key: &Key, numbers: impl IntoIterator<Item = usize>) -> Self {
        // Rejection shows how many candidates were refused, which says nothing of those that were not.
        let mut stream = Stream::new(*key.expose());
        let mut held = (usize::MAX, Poly::<Eval>::zero(LANES));
        let scalar = |number: usize| {
            if held.0 != number / LANES {
                held = (number / LANES, stream.uniform((number / LANES) as u64, LANES));
            }
            held.1.as_slice()[number % LANES]
        };
        Scalars(numbers.into_iter().map(scalar).collect())
    }

    pub(crate) fn from_bits(bits: Vec<u64>) -> Self {
        Scalars(bits)
    }

    /// Those of several operands, one after the other.
    pub fn join<'a>(parts: impl IntoIterator<Item = &'a Scalars>) -> Self {
        Scalars(parts.into_iter().flat_map(|part| part.0.iter().copied()).collect())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn as_slice(&self) -> &[u64] {
        &self.0
    }
}

/// The sum over k of scalars\[k\] polys\[k\].
///
/// # Panics
/// If there are more polynomials than scalars, or none.
pub fn combine(polys: &[Poly<Eval>], scalars: &Scalars) -> Poly<Eval> {
    let mut sum = Sum::new(polys[0].points());
    polys.iter().zip(&scalars.0[..polys.len()]).for_each(|(poly, s)| sum.scale(poly.as_slice(), &[*s]));
    sum.finish()
}

/// The sum over k of a\[k\] b\[k\].
///
/// # Panics
/// If they differ in number, or there are none.
pub fn contract(a: &[Poly<Eval>], b: &[Poly<Eval>]) -> Poly<Eval> {
    assert_eq!(a.len(), b.len());
    let mut sum = Sum::new(a[0].points());
    a.iter().zip(b).for_each(|(a, b)| sum.product(a.as_slice(), b.as_slice()));
    sum.finish()
}

/// A sum of products, unreduced until it is asked for.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Sum {
    lo: Vec<u64>,
    hi: Vec<u64>,
    terms: usize,
}

impl Sum {
    pub(crate) fn new(len: usize) -> Self {
        Sum { lo: vec![0; len], hi: vec![0; len], terms: 0 }
    }

    /// sum + the sum over k of scalars\[k\] a_k, with a_k the k-th piece of `a` of this sum's length.
    pub(crate) fn scale(&mut self, a: &[u64], scalars: &[u64]) {
        assert_eq!(a.len(), self.lo.len() * scalars.len());
        let (mut a, mut scalars) = (a, scalars);
        while !scalars.is_empty() {
            let count = scalars.len().min(self.room());
            let ((now, later), (first, rest)) = (scalars.split_at(count), a.split_at(count * self.lo.len()));
            backend::active().scale_accumulate(&mut self.lo, &mut self.hi, first, now);
            self.terms += count;
            (a, scalars) = (rest, later);
        }
    }

    /// sum + a b.
    pub(crate) fn product(&mut self, a: &[u64], b: &[u64]) {
        self.room();
        backend::active().mul_accumulate(&mut self.lo, &mut self.hi, a, b);
        self.terms += 1;
    }

    /// Terms that may be added, at least one: a full sum is reduced first.
    fn room(&mut self) -> usize {
        if self.terms == MAX_CHAIN {
            let mut reduced = vec![0; self.lo.len()];
            backend::active().reduce_pairs(&mut reduced, &self.lo, &self.hi);
            self.lo.copy_from_slice(&reduced);
            reduced.zeroize();
            self.hi.fill(0);
            // A residue is no larger than the low part of a product.
            self.terms = 1;
        }
        MAX_CHAIN - self.terms
    }

    /// The residues, into `out`; the sum is zero again.
    pub(crate) fn take(&mut self, out: &mut [u64]) {
        backend::active().reduce_pairs(out, &self.lo, &self.hi);
        self.lo.fill(0);
        self.hi.fill(0);
        self.terms = 0;
    }

    pub(crate) fn finish(mut self) -> Poly<Eval> {
        let mut out = Poly::zero(self.lo.len());
        self.take(out.as_mut_slice());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use blindsmith_ring::{Q, modulus};

    #[test]
    fn scalars_of_a_number_do_not_depend_on_the_others() {
        let key = Key::random();
        let all = Scalars::derive(&key, 0..40);
        assert!(all.0.iter().all(|s| *s < Q));
        assert_eq!(Scalars::derive(&key, [39, 3, 17, 3]).0, [all.0[39], all.0[3], all.0[17], all.0[3]]);
        assert_ne!(all.0, Scalars::random(40).0);
        let (a, b) = (Scalars::derive(&key, 0..5), Scalars::derive(&key, 5..40));
        assert_eq!(Scalars::join([&a, &b]).0, all.0);
    }

    #[test]
    fn sums_of_any_length_are_exact() {
        let mut sum = Sum::new(8);
        let (a, s) = ([Q - 1; 8], [Q - 1, Q - 2, 5]);
        let mut expected = 0;
        for round in 0..4000 {
            sum.scale(&a.repeat(3), &s);
            s.iter().for_each(|s| expected = modulus::add(expected, modulus::mul(Q - 1, *s)));
            if round % 3 == 0 {
                sum.product(&a, &[Q - 7; 8]);
                expected = modulus::add(expected, modulus::mul(Q - 1, Q - 7));
            }
        }
        let mut out = [0; 8];
        sum.take(&mut out);
        assert_eq!(out, [expected; 8]);
        sum.take(&mut out);
        assert_eq!(out, [0; 8]);
    }
}
