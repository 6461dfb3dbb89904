//! Products: collected whole before they are checked, and opened after that.

use blindsmith_keys::{Opener, Received};
use blindsmith_ring::{Eval, Poly};
use rayon::prelude::*;

use crate::accelerator::ProductError;
use crate::cloud::{Cloud, CloudError, Sink, Ticket};

/// A product as it is handed over.
struct Arriving {
    product: Received,
    failure: Option<ProductError>,
}

impl Arriving {
    /// Keeps the cause and tells the cloud's side to stop.
    fn keep(&mut self, done: Result<(), blindsmith_keys::Malformed>) -> Result<(), CloudError> {
        done.map_err(|cause| {
            self.failure = Some(cause.into());
            CloudError::Refused("the warden refused a product".into())
        })
    }
}

impl Sink for Arriving {
    fn extras(&mut self, residues: &[u64]) -> Result<(), CloudError> {
        let done = self.product.extras(residues);
        self.keep(done)
    }

    fn rows(&mut self, first: usize, residues: &[u64]) -> Result<(), CloudError> {
        let done = self.product.rows(first, residues);
        self.keep(done)
    }
}

/// Waits for a product.
pub(crate) fn collect<C: Cloud>(
    cloud: &C,
    ticket: Ticket,
    product: Received,
) -> Result<Received, ProductError> {
    let mut arriving = Arriving { product, failure: None };
    let done = cloud.collect(ticket, &mut arriving);
    match arriving.failure {
        Some(cause) => Err(cause),
        None => Ok(done.map(|()| arriving.product)?),
    }
}

/// Opens a product into `out`, which has its size.
pub(crate) fn open(opener: &Opener<'_>, out: &mut [f32]) -> Result<(), ProductError> {
    let shape = opener.shape();
    let per_row = opener.rows_per_grid_row() * shape.size().1;
    // Every row is opened before the outcome is known, so that a failure does not show which one.
    out.par_chunks_mut(per_row)
        .enumerate()
        .map_init(
            || Poly::<Eval>::zero(shape.tile.degree()),
            |scratch, (row, out)| opener.open_row(row, scratch, out),
        )
        .reduce(|| Ok(()), |a, b| a.and(b))?;
    Ok(())
}
