//! Products are collected whole before one is accepted.

use blindsmith_keys::Received;

use super::ProductError;
use crate::cloud::{Cloud, CloudError, Copier, Sink, Ticket};

/// A product as it is handed over.
struct Arriving<'a> {
    product: Received<'a>,
    failure: Option<ProductError>,
}

impl Sink for Arriving<'_> {
    fn copied(&mut self, count: usize, copy: Copier<'_>) -> Result<(), CloudError> {
        self.product.take_copied(count, copy).unwrap_or_else(|cause| {
            // Keeps the cause and tells the cloud's side to stop.
            self.failure = Some(cause.into());
            Err(CloudError::Refused("the warden refused a product".into()))
        })
    }
}

/// Waits for a product.
pub(super) fn collect<'a, C: Cloud>(
    cloud: &C,
    ticket: Ticket,
    product: Received<'a>,
) -> Result<Received<'a>, ProductError> {
    let mut arriving = Arriving { product, failure: None };
    let done = cloud.collect(ticket, &mut arriving);
    match arriving.failure {
        Some(cause) => Err(cause),
        None => Ok(done.map(|()| arriving.product)?),
    }
}

/// A product that nobody wants any more.
pub(super) struct Unwanted;

impl Sink for Unwanted {
    fn copied(&mut self, _: usize, _: Copier<'_>) -> Result<(), CloudError> {
        Ok(())
    }
}
