//! Operands that the warden encrypts and sends, and stored rows as operands.

use std::sync::Arc;

use blindsmith_keys::{
    Contraction, Encryption, ProductKind, Projection, ProjectionScalars, Projections, Secrets, Share, Stripe,
    expand, metered,
};
use blindsmith_learn::Block;
use blindsmith_matrix::{Encoding, Masks, OperandShape, Side, View};
use blindsmith_protocol::{BlockRef, Id, Left, MAX_STRIPES, Projection as Kept};

use super::{Encodable, Encrypted, ProductError, RowKeys};
use crate::cloud::Cloud;
use crate::operands::{Body, LeftOperand, Magnitudes, MaskSet, OWN, RightOperand, StripKeys};

/// A matrix to be encrypted, and how.
pub(super) struct Message<'m> {
    pub product: ProductKind,
    pub layer: usize,
    pub values: Encodable<'m>,
    /// Rows and columns.
    pub size: (usize, usize),
    pub contraction: Contraction,
    /// n of the product.
    pub roots: u16,
}

/// Secrets and scalars that parts of a contraction have in common.
pub(super) struct Common {
    pub secrets: Arc<Secrets>,
    pub scalars: ProjectionScalars,
}

struct SentOperand {
    name: u32,
    shape: OperandShape,
    secrets: Arc<Secrets>,
    scalars: ProjectionScalars,
    projections: Projections,
}

impl<C: Cloud, K: RowKeys> Encrypted<'_, C, K> {
    fn shape(&self, message: &Message<'_>, side: Side) -> Result<OperandShape, ProductError> {
        let (contraction, width) = match message.contraction {
            Contraction::Rows => message.size,
            Contraction::Columns => (message.size.1, message.size.0),
        };
        let encoding = Encoding::fit(self.spec.security, message.roots.into(), width);
        // The specification was checked when the project was made.
        let encoding = encoding.map_err(|_| ProductError::Order("a product without an encoding"))?;
        Ok(OperandShape { side, encoding, contraction, width })
    }

    /// Encrypts an operand on all cores and sends it.
    fn send(
        &mut self,
        message: &Message<'_>,
        side: Side,
        common: Option<Common>,
        stripes: &[Stripe],
    ) -> Result<SentOperand, ProductError> {
        let shape = self.shape(message, side)?;
        let name = self.name_operand();
        let (share, scalars) = match common {
            Some(Common { secrets, scalars }) => (Share::Secrets(secrets), scalars),
            None => (Share::Nothing, metered(|| ProjectionScalars::random(&shape))),
        };
        let context = blindsmith_keys::Context {
            layer: message.layer as u32,
            part: name,
            product: message.product,
            ..self.context
        };
        let view = View::new(&message.values.values, message.size.0, message.size.1);
        let of = ((view, message.contraction), (shape, message.values.scale));
        let encryption = Encryption::operand(self.key, &context, of.0, of.1, self.freshness, share);
        self.cloud.begin(name, &shape, encryption.mask_seed())?;
        let write = |first, rows: &[u64]| self.cloud.rows(name, first, rows);
        let projections = encryption.pieces(&scalars, stripes, write)?;
        Ok(SentOperand { name, shape, secrets: encryption.secrets(), scalars, projections })
    }

    /// Sends a right operand, of which products with so many rows and mask sets are asked for stripe by stripe.
    pub(super) fn send_right(
        &mut self,
        message: Message<'_>,
        common: Option<Common>,
        stripe_width: usize,
    ) -> Result<RightOperand, ProductError> {
        let shape = self.shape(&message, Side::Right)?;
        // Whole strips, and no more stripes than there may be.
        let strip = shape.encoding.strip();
        let least = shape.width.div_ceil(MAX_STRIPES).next_multiple_of(strip);
        let stripe = least.max(stripe_width / strip * strip);
        let starts = (0..shape.width).step_by(stripe);
        let stripes: Vec<Stripe> = starts.map(|start| start..shape.width.min(start + stripe)).collect();
        let sent = self.send(&message, Side::Right, common, &stripes)?;
        let SentOperand { name, shape, secrets, scalars, projections } = sent;
        let Encodable { scale, entries, .. } = message.values;
        Ok(RightOperand { name, shape, scale, entries, secrets, scalars, stripes, projections })
    }

    /// Sends a left operand.
    pub(super) fn send_left(
        &mut self,
        message: Message<'_>,
        common: Option<Common>,
    ) -> Result<LeftOperand, ProductError> {
        let width = self.shape(&message, Side::Left)?.width;
        let sent = self.send(&message, Side::Left, common, std::slice::from_ref(&(0..width)))?;
        let SentOperand { name, shape, secrets, scalars, projections } = sent;
        let Projections { mut stripes, masks } = projections;
        let strip = shape.encoding.strip();
        let rows = |s: usize| strip.min(width - s * strip);
        Ok(LeftOperand {
            name: Left::Operand(name),
            encoding: shape.encoding,
            padded: shape.padded(),
            scale: message.values.scale,
            entries: message.values.entries,
            scalars: scalars.body,
            sets: vec![OWN],
            mask_scalars: vec![scalars.masks],
            body: Body::There(stripes.pop().unwrap_or_default()),
            masks: Some(masks),
            secrets: vec![secrets],
            strips: (0..shape.strips())
                .map(|s| StripKeys { rows: rows(s), secrets: vec![(0, 0, s)] })
                .collect(),
        })
    }

    /// The row form of stored rows; their projections are on their way. Eras have one mask set each.
    pub(super) fn stored_rows(&mut self, blocks: &[Block]) -> Result<LeftOperand, ProductError> {
        let eras = distinct(blocks.iter().map(|b| self.rows.era(b)));
        eras.iter().for_each(|era| self.prepare_era(*era));
        let names = names_of(blocks);
        let ticket = self.ask_projections(blocks, Kept::Rows)?;
        let encoding = self.spec.row_form;
        let padded = self.spec.row_shape(1).padded();
        let mut masks = Projection::zero(padded);
        let mut mask_scalars = Vec::new();
        for era in &eras {
            let (scalars, projection) = &self.eras[era];
            masks.add(projection);
            mask_scalars.push(scalars.clone());
        }
        let mut strips = Vec::new();
        for (i, block) in blocks.iter().enumerate() {
            let era = self.rows.era(block);
            let set = eras.iter().position(|e| *e == era).unwrap_or(0);
            let rows = block.rows as usize;
            for (s, start) in (0..rows).step_by(encoding.strip()).enumerate() {
                strips
                    .push(StripKeys { rows: encoding.strip().min(rows - start), secrets: vec![(set, i, s)] });
            }
        }
        Ok(LeftOperand {
            name: Left::Rows(names),
            encoding,
            padded,
            scale: self.spec.feature_scale,
            entries: Magnitudes { largest: 1.0, rms: self.input_rms },
            scalars: metered(|| self.rows.row_scalars(blocks)).into(),
            sets: eras.iter().map(|era| (Id::default(), *era)).collect(),
            mask_scalars,
            body: Body::Asked(ticket, blocks.to_vec(), Kept::Rows),
            masks: Some(masks),
            secrets: self.rows.row_secrets(blocks).into_iter().map(Arc::new).collect(),
            strips,
        })
    }

    /// Expands the masks of an era once, for their projection.
    fn prepare_era(&mut self, era: u32) {
        if self.eras.contains_key(&era) {
            return;
        }
        let (shape, encoding) = (self.spec.row_shape(1), self.spec.row_form);
        let scalars = self.rows.era_scalars(era);
        let mut masks = Masks::zero(shape.places(), encoding.dimension());
        expand(self.spec.row_mask(era), 0, &mut masks);
        let projection = metered(|| Projection::of_masks(&masks, encoding, &scalars));
        self.eras.insert(era, (scalars.into(), projection));
    }

    /// The column form of the stored rows that come next: their projections were fetched with the row form's, in order.
    pub(super) fn stored_columns(&mut self, blocks: &[Block]) -> LeftOperand {
        let owners: Vec<MaskSet> = distinct(blocks.iter().map(|b| self.rows.owner(b)));
        let shape = self.spec.column_shape(1);
        let (strip, sets) = (shape.encoding.strip(), owners.len());
        let padded = blocks.iter().map(|b| self.spec.column_shape(b.rows).padded()).sum();
        let rows = blocks.iter().map(|b| b.rows as usize).sum::<usize>();
        // What fills up a group is zero.
        let rms = self.input_rms * (rows as f64 / padded as f64).sqrt();
        let strips = (0..shape.strips()).map(|s| StripKeys {
            rows: strip.min(shape.width - s * strip),
            secrets: (0..sets).map(|set| (set, set, s)).collect(),
        });
        LeftOperand {
            name: Left::Columns(names_of(blocks)),
            encoding: shape.encoding,
            padded,
            scale: self.spec.feature_scale,
            entries: Magnitudes { largest: 1.0, rms },
            scalars: self.rows.inputs(),
            mask_scalars: owners.iter().map(|owner| self.rows.column_scalars(owner)).collect(),
            sets: owners.clone(),
            body: Body::There(self.columns.take(padded)),
            masks: None,
            secrets: owners.iter().map(|owner| self.rows.column_secrets(owner)).collect(),
            strips: strips.collect(),
        }
    }

    /// Asks for kept projections, so that they are on their way before the product, which takes longer.
    pub(super) fn ask_projections(
        &self,
        blocks: &[Block],
        which: Kept,
    ) -> Result<crate::cloud::Ticket, ProductError> {
        let bytes = |b: &Block| match which {
            Kept::Rows => self.spec.kept_row_bytes(),
            Kept::Columns => self.spec.kept_column_bytes(b.rows),
        };
        Ok(self.cloud.projections(&names_of(blocks), which, blocks.iter().map(bytes).sum())?)
    }
}

fn names_of(blocks: &[Block]) -> Vec<BlockRef> {
    blocks.iter().map(|b| BlockRef { upload: b.upload, block: b.index }).collect()
}

/// Each value once, in the order of its first appearance.
pub(super) fn distinct<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut found = Vec::new();
    for value in values {
        if !found.contains(&value) {
            found.push(value);
        }
    }
    found
}
