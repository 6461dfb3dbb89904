//! Inverse transforms of which few coefficients are wanted, block of points by block of points.
//!
//! A block of P neighbouring points holds f modulo X^P - z for one z: with f = sum over b of X^(bP) f_b,
//! that is sum over b of z^b f_b. The block's own inverse transform of P points, times powers of a "twist"
//! t with t^P = -z, gives its coefficients; the first P coefficients of f are the mean over all blocks, and
//! those of all f_b an inverse transform of N/P points over the blocks. So no polynomial need be gathered
//! before most of it has been dropped. (The decomposition of Cooley and Tukey, applied to X^N + 1.)

use std::sync::OnceLock;

use blindsmith_ring::{MAX_POINTS, Q, Table, backend, modulus};

/// The factors of block after block, P each: t^-i, times P/N if `mean`.
pub(super) fn twists(points: usize, block: usize, mean: bool) -> &'static [u64] {
    const SIZES: usize = MAX_POINTS.ilog2() as usize + 1;
    static TWISTS: [[[OnceLock<Vec<u64>>; 2]; SIZES]; SIZES] =
        [const { [const { [const { OnceLock::new() }; 2] }; SIZES] }; SIZES];
    let entry = &TWISTS[points.ilog2() as usize][block.ilog2() as usize][usize::from(mean)];
    entry.get_or_init(|| {
        let blocks = points / block;
        let psi = modulus::pow(modulus::GENERATOR, (Q - 1) / (2 * points as u64));
        let first = if mean { modulus::inv(blocks as u64) } else { 1 };
        (0..blocks)
            .flat_map(|b| {
                let reversed = if blocks == 1 { 0 } else { b.reverse_bits() >> (64 - blocks.ilog2()) };
                // t = psi^(2 brv(b) + 1 - N/P), a power below N in size either way.
                let t_inverse = modulus::pow(psi, (2 * points + blocks - 1 - 2 * reversed) as u64);
                std::iter::successors(Some(first), move |&x| Some(modulus::mul(x, t_inverse))).take(block)
            })
            .collect()
    })
}

/// The coefficients of each block of `block` points, in place, twisted; `first` is the first block's index.
pub(super) fn invert_blocks(
    points: usize,
    block: usize,
    first: usize,
    values: &mut [u64],
    scratch: &mut [u64],
) {
    let ring = backend::active();
    for (index, values) in (first..).zip(values.chunks_exact_mut(block)) {
        ring.inverse(Table::of(block), values);
        if block < points {
            let scratch = &mut scratch[..block];
            scratch.copy_from_slice(values);
            ring.mul(values, scratch, &twists(points, block, false)[index * block..][..block]);
        }
    }
}

/// What blocks of `block` points give to the first coefficients, in the first block's place.
pub(super) fn window_of_blocks(
    points: usize,
    block: usize,
    first: usize,
    values: &mut [u64],
    sums: [&mut [u64]; 2],
) {
    let ring = backend::active();
    let [lo, hi] = sums.map(|sum| &mut sum[..block]);
    lo.fill(0);
    hi.fill(0);
    for (index, values) in (first..).zip(values.chunks_exact_mut(block)) {
        ring.inverse(Table::of(block), values);
        ring.mul_accumulate(lo, hi, values, &twists(points, block, true)[index * block..][..block]);
    }
    ring.reduce_pairs(&mut values[..block], lo, hi);
}
