//! Matrices of polynomials as they lie in memory or in a file.

use blindsmith_ring::{LANES, Lanes, MAX_POINTS, PACKED_BYTES_PER_LANES, PIECE, backend};

use crate::Error;

/// The fewest points of a product: one cache line of groups.
pub const MIN_POINTS: usize = 64;

/// One block row of a left matrix or one block column of a right matrix: `length` polynomials, interleaved as
/// `[group of eight points][polynomial]`, eight residues each, all of them or piece by piece.
#[derive(Debug, Clone, Copy)]
pub enum Strip<'a> {
    /// Eight residues in 64 bytes.
    Lanes(&'a [Lanes]),
    /// The same for each [`PIECE`] polynomials, the last piece of fewer: piece after piece.
    Pieces(&'a [Lanes]),
    /// Eight residues in 50 bytes, as [`backend::Backend::pack`] writes them.
    Packed(&'a [u8]),
}

impl Strip<'_> {
    /// Bytes that this strip takes.
    fn bytes(&self) -> usize {
        match self {
            Strip::Lanes(lanes) | Strip::Pieces(lanes) => size_of_val(*lanes),
            Strip::Packed(bytes) => bytes.len(),
        }
    }

    /// Bytes that eight residues take.
    fn unit(&self) -> usize {
        match self {
            Strip::Lanes(_) | Strip::Pieces(_) => size_of::<Lanes>(),
            Strip::Packed(_) => PACKED_BYTES_PER_LANES,
        }
    }
}

/// Where in a strip in pieces polynomial `k` of `length` lies, in group `group` of `groups`, and how many follow
/// it there.
pub(crate) fn in_pieces(k: usize, length: usize, group: usize, groups: usize) -> (usize, usize) {
    let first = k / PIECE * PIECE;
    let width = PIECE.min(length - first);
    (first * groups + group * width + k - first, width - (k - first))
}

/// True if every residue of the strip is below q: the admission of what comes from outside. The product of
/// an operand that was not checked is defined all the same (residues count modulo 2^50), just useless.
#[must_use]
pub fn check(strip: &Strip<'_>) -> bool {
    let ring = backend::active();
    match strip {
        Strip::Lanes(lanes) | Strip::Pieces(lanes) => ring.is_canonical(bytemuck::cast_slice(lanes)),
        Strip::Packed(bytes) => {
            let mut residues = [Lanes::default(); 64];
            bytes.chunks(64 * PACKED_BYTES_PER_LANES).all(|chunk| {
                let out = &mut residues[..chunk.len() / PACKED_BYTES_PER_LANES];
                let whole = &chunk[..out.len() * PACKED_BYTES_PER_LANES];
                whole.len() == chunk.len() && ring.unpack(bytemuck::cast_slice_mut(out), whole)
            })
        }
    }
}

/// A matrix of polynomials: equal strips, and perhaps a mask.
#[derive(Debug, Clone, Copy)]
pub struct Operand<'a> {
    pub(crate) points: usize,
    pub(crate) strips: &'a [Strip<'a>],
    pub(crate) length: usize,
    pub(crate) mask: Option<Strip<'a>>,
}

impl<'a> Operand<'a> {
    /// The matrix of `strips`, each of `length` polynomials of `points` points.
    ///
    /// # Errors
    /// [`Error::Points`] unless `points` is a power of two from 64 to 8192, [`Error::Empty`] without strips
    /// or polynomials, [`Error::StripSize`] for a strip of another size.
    pub fn new(points: usize, strips: &'a [Strip<'a>], length: usize) -> Result<Self, Error> {
        if !points.is_power_of_two() || !(MIN_POINTS..=MAX_POINTS).contains(&points) {
            return Err(Error::Points { points });
        }
        if strips.is_empty() || length == 0 {
            return Err(Error::Empty { strips: strips.len(), length });
        }
        let operand = Operand { points, strips, length, mask: None };
        strips.iter().enumerate().try_for_each(|(i, strip)| operand.check_size(i, strip))?;
        Ok(operand)
    }

    /// The same matrix with its mask: one more block row of a left matrix, one more block column of a right
    /// one, whose products are always given at full length.
    ///
    /// # Errors
    /// [`Error::StripSize`] if it is not of the size of the strips (it counts as the strip after the last).
    pub fn with_mask(self, mask: Strip<'a>) -> Result<Self, Error> {
        self.check_size(self.strips.len(), &mask)?;
        Ok(Operand { mask: Some(mask), ..self })
    }

    /// The number of points N.
    pub fn points(&self) -> usize {
        self.points
    }

    /// The strips.
    pub fn strips(&self) -> &'a [Strip<'a>] {
        self.strips
    }

    /// The number of polynomials in a strip.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The mask.
    pub fn mask(&self) -> Option<Strip<'a>> {
        self.mask
    }

    fn check_size(&self, index: usize, strip: &Strip<'_>) -> Result<(), Error> {
        let expected =
            (self.points / LANES).checked_mul(self.length).and_then(|n| n.checked_mul(strip.unit()));
        if expected == Some(strip.bytes()) {
            return Ok(());
        }
        Err(Error::StripSize {
            strip: index,
            found: strip.bytes(),
            length: self.length,
            points: self.points,
            unit: strip.unit(),
        })
    }
}
