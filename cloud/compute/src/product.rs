//! What is multiplied, in which orientation, and which part of the result is wanted.

use std::ops::Range;

use crate::backend::{self, Backend};
use crate::operand::Operand;

/// The three products of a layer. In each, strips of a left matrix are its block rows, strips of a right
/// matrix are its block columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Orientation {
    /// Z = X W: out\[r\]\[c\] = sum over k of a.strip\[r\]\[k\] b.strip\[c\]\[k\].
    Forward,
    /// G = X^T E: out\[i\]\[c\] = sum over b of a.strip\[b\]\[i\] b.strip\[c\]\[b\].
    WeightGradient,
    /// D = E W^T: out\[r\]\[i\] = sum over j of a.strip\[r\]\[j\] b.strip\[j\]\[i\].
    InputGradient,
}

/// Which part of each polynomial of the body is wanted. All sizes are powers of two up to N (but widths).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// All N points, in the order of the operands.
    Full,
    /// Each `n` neighbouring points added up: the N/n points of the projection to the subring of n-th
    /// powers, times n.
    FoldEval(usize),
    /// Every n-th coefficient times n: [`Output::FoldEval`] after an inverse transform of N/n points.
    Fold(usize),
    /// The first coefficients, so many.
    Window(usize),
    /// Coefficients b `stride` + i for i < `width`.
    Comb {
        /// Distance of the windows.
        stride: usize,
        /// Coefficients in each window, any number up to `stride`.
        width: usize,
    },
}

/// Why a product is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No such transform.
    #[error("{points} points: a power of two from 64 to 8192 is needed")]
    Points {
        /// Points asked for.
        points: usize,
    },
    /// Nothing to multiply.
    #[error("an operand of {strips} strips of {length} polynomials is empty")]
    Empty {
        /// Strips given.
        strips: usize,
        /// Polynomials in each.
        length: usize,
    },
    /// A strip is too short or too long.
    #[error(
        "strip {strip} has {found} bytes: {length} polynomials of {points} points need {unit} bytes for each 8 points"
    )]
    StripSize {
        /// Index of the strip; a mask counts as the one after the last.
        strip: usize,
        /// Bytes found.
        found: usize,
        /// Polynomials in a strip.
        length: usize,
        /// Points of a polynomial.
        points: usize,
        /// Bytes for eight residues in this form.
        unit: usize,
    },
    /// The operands are of different rings.
    #[error("the left operand has {left} points, the right one {right}: encrypt both at one N")]
    PointsDiffer {
        /// Points of the left operand.
        left: usize,
        /// Points of the right operand.
        right: usize,
    },
    /// The contracted sizes differ.
    #[error("{orientation:?} contracts {left} blocks of the left operand with {right} of the right one")]
    Contraction {
        /// The orientation.
        orientation: Orientation,
        /// Blocks of the left operand along the contraction.
        left: usize,
        /// Blocks of the right operand.
        right: usize,
    },
    /// A mask would have to be contracted.
    #[error("{orientation:?} has no place for a mask of the {side} operand")]
    Mask {
        /// The orientation.
        orientation: Orientation,
        /// "left" or "right".
        side: &'static str,
    },
    /// The output does not fit N.
    #[error("{output:?} of {points} points: sizes are powers of two from 1 to N, a width at most its stride")]
    Output {
        /// The output asked for.
        output: Output,
        /// N.
        points: usize,
    },
    /// The result does not fit the address space.
    #[error("a result of {rows} x {columns} polynomials is too large")]
    TooLarge {
        /// Block rows.
        rows: usize,
        /// Block columns.
        columns: usize,
    },
    /// The buffer for the result is of the wrong size.
    #[error("the result needs {expected} residues, the buffer has {found}")]
    OutputLength {
        /// Residues needed.
        expected: usize,
        /// Residues of the buffer.
        found: usize,
    },
}

/// Where the parts of a result lie in its buffer, in residues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Block rows of the body.
    pub rows: usize,
    /// Block columns of the body.
    pub columns: usize,
    /// Residues of a polynomial of the body.
    pub cell: usize,
    /// The body, `[rows][columns][cell]`.
    pub body: Range<usize>,
    /// Left operand times the right one's mask, `[rows][N]` points, empty without such a mask.
    pub column: Range<usize>,
    /// The left operand's mask times the right operand, `[columns][N]` points, empty without such a mask.
    pub row: Range<usize>,
    /// Mask times mask, N points, empty unless both are there.
    pub corner: Range<usize>,
}

impl Layout {
    /// Residues of the whole buffer.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.corner.end
    }
}

/// A product whose sizes have been checked.
#[derive(Debug, Clone)]
pub struct Product<'a> {
    pub(crate) orientation: Orientation,
    pub(crate) a: Operand<'a>,
    pub(crate) b: Operand<'a>,
    pub(crate) output: Output,
    pub(crate) layout: Layout,
}

impl<'a> Product<'a> {
    /// Checks that `a` and `b` can be multiplied so.
    ///
    /// # Errors
    /// Names what does not fit.
    pub fn new(
        orientation: Orientation,
        a: Operand<'a>,
        b: Operand<'a>,
        output: Output,
    ) -> Result<Self, Error> {
        let (left, right) = match orientation {
            Orientation::Forward => (a.length, b.length),
            Orientation::WeightGradient => (a.strips.len(), b.length),
            Orientation::InputGradient => (a.length, b.strips.len()),
        };
        if a.points != b.points {
            return Err(Error::PointsDiffer { left: a.points, right: b.points });
        }
        if left != right {
            return Err(Error::Contraction { orientation, left, right });
        }
        if a.mask.is_some() && orientation == Orientation::WeightGradient {
            return Err(Error::Mask { orientation, side: "left" });
        }
        if b.mask.is_some() && orientation == Orientation::InputGradient {
            return Err(Error::Mask { orientation, side: "right" });
        }
        let layout = layout(orientation, &a, &b, output)?;
        Ok(Product { orientation, a, b, output, layout })
    }

    /// The orientation.
    pub fn orientation(&self) -> Orientation {
        self.orientation
    }

    /// The left and the right operand.
    pub fn operands(&self) -> [&Operand<'a>; 2] {
        [&self.a, &self.b]
    }

    /// The part of the result that is wanted.
    pub fn output(&self) -> Output {
        self.output
    }

    /// The parts of the result.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Multiplies on the active backend, with all cores of the current rayon pool, into `out`; with
    /// `accumulate`, adds to the residues (canonical ones) that are there.
    ///
    /// # Errors
    /// [`Error::OutputLength`] unless `out` is of the length of the layout.
    pub fn compute(&self, accumulate: bool, out: &mut [u64]) -> Result<(), Error> {
        self.compute_on(backend::active(), accumulate, out)
    }

    /// [`Product::compute`] on a chosen backend.
    ///
    /// # Errors
    /// As [`Product::compute`].
    pub fn compute_on(&self, backend: &dyn Backend, accumulate: bool, out: &mut [u64]) -> Result<(), Error> {
        if out.len() != self.layout.len() {
            return Err(Error::OutputLength { expected: self.layout.len(), found: out.len() });
        }
        backend.multiply(self, accumulate, out);
        Ok(())
    }
}

/// [`Product::compute`] in one call.
///
/// # Errors
/// Names what does not fit.
pub fn product(
    orientation: Orientation,
    a: Operand<'_>,
    b: Operand<'_>,
    output: Output,
    accumulate: bool,
    out: &mut [u64],
) -> Result<(), Error> {
    Product::new(orientation, a, b, output)?.compute(accumulate, out)
}

/// The residues that [`product`] writes.
///
/// # Errors
/// Names what does not fit.
pub fn output_len(
    orientation: Orientation,
    a: Operand<'_>,
    b: Operand<'_>,
    output: Output,
) -> Result<usize, Error> {
    Ok(Product::new(orientation, a, b, output)?.layout.len())
}

fn layout(orientation: Orientation, a: &Operand, b: &Operand, output: Output) -> Result<Layout, Error> {
    let points = a.points;
    let rows = if orientation == Orientation::WeightGradient { a.length } else { a.strips.len() };
    let columns = if orientation == Orientation::InputGradient { b.length } else { b.strips.len() };
    let cell = cell(points, output).ok_or(Error::Output { output, points })?;
    let too_large = || Error::TooLarge { rows, columns };
    let residues = |polynomials: usize, each: usize| polynomials.checked_mul(each).ok_or_else(too_large);
    let body = residues(rows, residues(columns, cell)?)?;
    let column = residues(if b.mask.is_some() { rows } else { 0 }, points)?;
    let row = residues(if a.mask.is_some() { columns } else { 0 }, points)?;
    let corner = if a.mask.is_some() && b.mask.is_some() { points } else { 0 };
    let mut end = 0usize;
    let mut next = |len: usize| {
        let start = end;
        end = end.checked_add(len).filter(|&end| end <= isize::MAX as usize / 8).ok_or_else(too_large)?;
        Ok(start..end)
    };
    let (body, column, row, corner) = (next(body)?, next(column)?, next(row)?, next(corner)?);
    Ok(Layout { rows, columns, cell, body, column, row, corner })
}

/// Residues of one polynomial of the body, none if the output does not fit.
fn cell(points: usize, output: Output) -> Option<usize> {
    let fits = |n: usize| n.is_power_of_two() && n <= points;
    match output {
        Output::Full => Some(points),
        Output::Fold(n) | Output::FoldEval(n) => fits(n).then(|| points / n),
        Output::Window(w) => fits(w).then_some(w),
        Output::Comb { stride, width } => {
            (fits(stride) && (1..=stride).contains(&width)).then(|| points / stride * width)
        }
    }
}
