//! Products are asked for, awaited, checked, and opened.

use blindsmith_keys::{
    Check, Checked, MaskTerms, Opener, OutOfRange, Projection, RowStrip, Scalars, Secrets, contract,
};
use blindsmith_learn::Matrix;
use blindsmith_matrix::{ProductShape, Scale};
use blindsmith_protocol::Left;
use std::ops::Range;
use std::sync::Arc;

use super::collect::collect;
use super::{Encrypted, ProductError, RowKeys};
use crate::cloud::{Cloud, ProductRequest, Ticket};
use crate::lock::lock;
use crate::operands::{Body, Gradient, LeftOperand, RightOperand, SharedTerms, Started, StripKeys};

/// The product that has the part P of some rows, and its terms.
pub(super) struct MaskPart<'a> {
    pub product: &'a Checked,
    pub terms: &'a MaskTerms,
}

/// What opens one product besides its own residues.
pub(super) struct Opening<'a> {
    /// The product that has the part P of these columns.
    pub of_left_masks: &'a Checked,
    pub terms: &'a MaskTerms,
    /// The product that has the part Q of these rows.
    pub of_right_masks: &'a Checked,
    pub strips: &'a [StripKeys],
    pub secrets: &'a [Arc<Secrets>],
    pub right: &'a Secrets,
    /// The strip of the right operand in which the product's columns begin.
    pub first: usize,
    pub scales: [Scale; 2],
}

impl Opening<'_> {
    /// Opens a product into the columns from `at` on of rows of `stride` values.
    fn open(&self, product: &Checked, out: &mut [f32], stride: usize, at: usize) -> Result<(), OutOfRange> {
        let strip = |s: &StripKeys| RowStrip {
            rows: s.rows,
            secrets: s.secrets.iter().map(|(set, i, s)| (*set, self.secrets[*i].reference(*s))).collect(),
        };
        let strips: Vec<RowStrip<'_>> = self.strips.iter().map(strip).collect();
        let Opening { of_left_masks, terms, of_right_masks, right, first, scales, .. } = *self;
        let strips = &strips;
        Opener { product, of_left_masks, terms, of_right_masks, strips, right, first, scales }
            .open(out, stride, at)
    }
}

/// Memory of opened products that is kept: of a product's first stripe, and of the one at hand.
const KEPT: usize = 2;

impl<C: Cloud, K: RowKeys> Encrypted<'_, C, K> {
    /// The shape of a section of a product.
    pub(super) fn product_shape(
        left: &LeftOperand,
        right: &RightOperand,
        stripe: usize,
        left_masks: bool,
        right_masks: bool,
    ) -> ProductShape {
        ProductShape {
            left: left.encoding,
            right: right.shape.encoding,
            rows: left.rows(),
            columns: right.stripes[stripe].len(),
            mask_sets: if left_masks { left.mask_scalars.len() } else { 0 },
            right_masks,
        }
    }

    /// Asks for one stripe of a product.
    pub(super) fn ask(
        &self,
        left: Left,
        shape: &ProductShape,
        right: &RightOperand,
        stripe: usize,
        sum: Option<u32>,
    ) -> Result<Ticket, ProductError> {
        let section = right.section(stripe, shape.mask_sets > 0, shape.right_masks);
        let (right, residues) = (right.name, shape.residues());
        Ok(self.cloud.request(ProductRequest { left, right, section, sum, residues })?)
    }

    /// Names the instruction that was answered wrongly; never a value.
    pub(super) fn fault(
        &self,
        what: &str,
        ticket: Ticket,
    ) -> impl Fn(ProductError) -> ProductError + use<C, K> {
        let instruction = format!("{what}, step {}, answer {}", self.context.step, ticket.0);
        move |error| match error {
            ProductError::Malformed(_) | ProductError::Wrong(_) | ProductError::Projections => {
                ProductError::Fault(format!("{error}: {instruction}"))
            }
            other => other,
        }
    }

    /// Waits for kept projections of stored rows; one for each block, in order.
    pub(super) fn projections(
        &self,
        ticket: Ticket,
        blocks: &[blindsmith_learn::Block],
        which: blindsmith_protocol::Projection,
    ) -> Result<Vec<Projection>, ProductError> {
        let mut sealed = self.cloud.bytes(ticket)?;
        let opened = self.rows.projections(blocks, which, sealed.as_mut_slice());
        opened.ok_or(ProductError::Projections).map_err(self.fault("projections of stored rows", ticket))
    }

    /// Waits for the projection of a left operand's body.
    pub(super) fn take_body(&self, left: &mut LeftOperand) -> Result<(), ProductError> {
        if let Body::Asked(ticket, blocks, which) = &left.body {
            let mut sum = Projection::zero(left.padded);
            for part in self.projections(*ticket, blocks, *which)? {
                sum.add(&part);
            }
            left.body = Body::There(sum);
        }
        Ok(())
    }

    /// What a stripe of a product must add up to.
    pub(super) fn expected(
        left: &LeftOperand,
        right: &RightOperand,
        stripe: usize,
        left_masks: bool,
        right_masks: bool,
    ) -> Result<u64, ProductError> {
        let Body::There(body) = &left.body else {
            return Err(ProductError::Order("a product before its projections"));
        };
        let mut lefts = vec![body];
        lefts.extend(left.masks.as_ref().filter(|_| left_masks));
        let mut rights = vec![&right.projections.stripes[stripe]];
        rights.extend(Some(&right.projections.masks).filter(|_| right_masks));
        Ok(contract(&lefts, &rights))
    }

    /// Waits for a product and checks it.
    pub(super) fn checked(
        &self,
        ticket: Ticket,
        shape: ProductShape,
        check: Check<'_>,
        what: &str,
    ) -> Result<Checked, ProductError> {
        let memory = lock(&self.memory).products.pop().unwrap_or_default();
        let product = collect(self.cloud, ticket, check.receive(shape, memory));
        let done = product.and_then(|product| Ok(product.verify()??));
        done.map_err(self.fault(what, ticket))
    }

    /// The terms of masks for some columns, see [`MaskTerms::new`].
    fn terms(&self, of_masks: &Checked, columns: usize, right: &RightOperand, first: usize) -> MaskTerms {
        let memory = std::mem::take(&mut lock(&self.memory).terms);
        MaskTerms::into(memory, of_masks, columns, (&right.secrets, first))
    }

    /// Waits for a product of rows, checks it, and keeps the terms of its masks if it has them.
    pub(super) fn finish_rows(
        &self,
        started: &mut Started,
        right: &RightOperand,
        what: &str,
    ) -> Result<(Checked, Option<MaskTerms>), ProductError> {
        self.take_body(&mut started.left)?;
        let Started { ticket, shape, stripe, left, left_masks, .. } = started;
        let expected = Self::expected(left, right, *stripe, *left_masks, true)?;
        let masks: Vec<&Scalars> = left.mask_scalars.iter().map(|s| &**s).collect();
        let check = Check {
            rows: &left.scalars,
            left_masks: if *left_masks { &masks } else { &[] },
            columns: &right.scalars.body,
            stripe: right.stripes[*stripe].clone(),
            right_masks: &right.scalars.masks,
            expected,
        };
        let product = self.checked(*ticket, *shape, check, what)?;
        let terms = left_masks.then(|| self.terms(&product, shape.columns, right, 0));
        Ok((product, terms))
    }

    /// Opens a product of rows into the rows `rows` of `out`, with the terms of its own masks or of earlier ones.
    pub(super) fn open_rows(
        &mut self,
        product: &Checked,
        started: &Started,
        right: &RightOperand,
        masks: MaskPart<'_>,
        out: &mut Matrix,
    ) -> Result<(), ProductError> {
        let (rows, cols): (Range<usize>, usize) = (started.rows.clone(), out.cols());
        let left = &started.left;
        let opening = Opening {
            of_left_masks: masks.product,
            terms: masks.terms,
            of_right_masks: product,
            strips: &left.strips,
            secrets: &left.secrets,
            right: &right.secrets,
            first: 0,
            scales: [left.scale, right.scale],
        };
        let done = opening.open(product, out.values_mut(rows), cols, 0);
        self.opened(done, out)
    }

    /// Keeps the memory of a product that was opened.
    pub(super) fn reuse(&self, product: Option<Checked>) {
        let mut kept = lock(&self.memory);
        kept.products.extend(product.map(Checked::into_memory));
        // The largest ones serve most.
        kept.products.sort_by_key(Vec::len);
        let surplus = kept.products.len().saturating_sub(KEPT);
        kept.products.drain(..surplus);
    }

    /// Keeps the memory of what rows had in common.
    pub(super) fn reuse_shared(&self, SharedTerms { product, terms, .. }: SharedTerms) {
        self.reuse(Some(product));
        self.reuse_terms(terms);
    }

    /// Keeps the memory of terms that are not needed any more.
    pub(super) fn reuse_terms(&self, terms: MaskTerms) {
        lock(&self.memory).terms = terms.into_memory();
    }

    /// Waits for a gradient, stripe by stripe, checks and opens it.
    pub(super) fn finish_gradient(
        &mut self,
        gradient: &Gradient,
        layer: usize,
        out: &mut Matrix,
    ) -> Result<(), ProductError> {
        if gradient.tickets.len() != gradient.right.stripes.len() {
            return Err(ProductError::Order("a gradient before its last micro-batch"));
        }
        let Gradient { tickets, left, right, expected, shapes } = gradient;
        let what = format!("weight gradient of layer {layer}");
        let masks: Vec<&Scalars> = left.mask_scalars.iter().map(|s| &**s).collect();
        let (cols, strip) = (out.cols(), right.shape.encoding.strip());
        let strips = left.strips();
        let (mut first, mut result) = (None::<Checked>, Ok(()));
        for (i, ticket) in tickets.iter().enumerate() {
            let stripe = right.stripes[i].clone();
            let check = Check {
                rows: &left.scalars,
                left_masks: &masks,
                columns: &right.scalars.body,
                stripe: stripe.clone(),
                right_masks: &right.scalars.masks,
                expected: expected[i],
            };
            let product = self.checked(*ticket, shapes[i], check, &what)?;
            let of_masks = first.as_ref().unwrap_or(&product);
            let terms = self.terms(of_masks, stripe.len(), right, stripe.start / strip);
            let opening = Opening {
                of_left_masks: &product,
                terms: &terms,
                of_right_masks: of_masks,
                strips: &strips,
                secrets: &left.secrets,
                right: &right.secrets,
                first: stripe.start / strip,
                scales: [left.scale, right.scale],
            };
            result = result.and(opening.open(&product, out.as_mut_slice(), cols, stripe.start));
            self.reuse_terms(terms);
            // The first has what all stripes need.
            let done = match first {
                None => first.replace(product),
                Some(_) => Some(product),
            };
            self.reuse(done);
        }
        self.reuse(first);
        self.opened(result, out)
    }
}
