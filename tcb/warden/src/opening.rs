//! Opening of a product while it arrives.

use blindsmith_keys::{Checked, Extras, Malformed, Opener};
use blindsmith_matrix::ProductShape;
use blindsmith_ring::{Eval, Poly};
use rayon::prelude::*;

use crate::accelerator::ProductError;
use crate::cloud::{CloudError, Sink};

/// A product being opened as it arrives.
pub(crate) struct Opening<'o, 'a, F> {
    shape: ProductShape,
    make: Option<F>,
    opener: Option<Opener<'a>>,
    /// Rows of the grid opened so far.
    opened: usize,
    out: &'o mut [f32],
    failure: Option<ProductError>,
}

impl<'o, 'a, F: FnOnce(Checked<Extras>) -> Opener<'a>> Opening<'o, 'a, F> {
    /// A product to be opened into `out`, which has its size; `make` makes its opener.
    pub(crate) fn new(shape: ProductShape, make: F, out: &'o mut [f32]) -> Self {
        Opening { shape, make: Some(make), opener: None, opened: 0, out, failure: None }
    }

    /// How it ended, given how its arrival ended.
    pub(crate) fn finish(self, done: Result<(), CloudError>) -> Result<(), ProductError> {
        if let Some(e) = self.failure {
            return Err(e);
        }
        done?;
        // What was not written would be an older product's values.
        if self.opened == self.shape.grid().0 { Ok(()) } else { Err(Malformed("rows are missing").into()) }
    }

    fn open(&mut self, first: usize, residues: &[u64]) -> Result<(), ProductError> {
        let opener = self.opener.as_ref().ok_or(ProductError::Order("rows before extras"))?;
        let body = Checked::rows(&self.shape, residues)?;
        if first != self.opened {
            return Err(Malformed("rows out of order").into());
        }
        let per_row = opener.rows_per_grid_row() * self.shape.size().1;
        let end = self.opened + body.count(&self.shape);
        if end > self.shape.grid().0 {
            return Err(Malformed("rows that do not exist").into());
        }
        let out = self.out.get_mut(first * per_row..).unwrap_or_default();
        let count = out.len().min(body.count(&self.shape) * per_row);
        open_rows(&self.shape, opener, first, &body, &mut out[..count])?;
        self.opened = end;
        Ok(())
    }

    /// Keeps the cause and tells the cloud's side to stop.
    fn keep(&mut self, done: Result<(), ProductError>) -> Result<(), CloudError> {
        done.map_err(|cause| {
            self.failure = Some(cause);
            CloudError::Refused("the warden refused a product".into())
        })
    }
}

impl<'a, F: FnOnce(Checked<Extras>) -> Opener<'a>> Sink for Opening<'_, 'a, F> {
    fn extras(&mut self, residues: &[u64]) -> Result<(), CloudError> {
        let checked = Checked::extras(&self.shape, residues).map_err(ProductError::from);
        let done = checked.and_then(|extras| {
            let make = self.make.take().ok_or(ProductError::Order("a product twice"))?;
            self.opener = Some(make(extras));
            Ok(())
        });
        self.keep(done)
    }

    fn rows(&mut self, first: usize, residues: &[u64]) -> Result<(), CloudError> {
        let done = self.open(first, residues);
        self.keep(done)
    }
}

fn open_rows(
    shape: &ProductShape,
    opener: &Opener<'_>,
    first: usize,
    body: &Checked<&[u64]>,
    out: &mut [f32],
) -> Result<(), ProductError> {
    let per_row = opener.rows_per_grid_row() * shape.size().1;
    // Every row is opened before the outcome is known, so that a failure does not show which one.
    out.par_chunks_mut(per_row)
        .enumerate()
        .map_init(
            || Poly::<Eval>::zero(shape.tile.degree()),
            |scratch, (i, out)| opener.open_row(first + i, &body.row(shape, i), scratch, out),
        )
        .reduce(|| Ok(()), |a, b| a.and(b))?;
    Ok(())
}
