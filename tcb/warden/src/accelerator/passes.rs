//! The calls of the training loop: what is asked of the cloud, and when its answers are awaited.

use std::borrow::Cow;
use std::ops::Range;

use blindsmith_keys::{Contraction, ProductKind, ProjectionScalars};
use blindsmith_learn::{Accelerator, Block, Bounds, Left as Input, Matrix, Pass, product};
use blindsmith_matrix::{
    ADMITTED_ENTRY, ADMITTED_NORM, NoiseModel, Overflow, ProductShape, Scale, entry_scale, largest_scale,
};
use blindsmith_protocol::{Left, MAX_CONTRACTION, MAX_STRIPES, Offload, Projection as Kept};
use blindsmith_ring::modulus;

use super::collect::Unwanted;
use super::products::MaskPart;
use super::send::{Common, Message};
use super::{Encrypted, ProductError, RowKeys};
use crate::cloud::{Cloud, CloudError};
use crate::operands::{
    Body, Gradient, Layer, LeftOperand, Norms, RightOperand, SharedTerms, Started, Weights, measure,
};

/// Residues of a stripe of a gradient, about: what the warden holds of one at a time.
const STRIPE: usize = 1 << 23;

const NOT_ANNOUNCED: ProductError = ProductError::Order("a product that was not announced");
const NO_WEIGHTS: ProductError = ProductError::Order("a product before its weights");

impl<C: Cloud, K: RowKeys> Encrypted<'_, C, K> {
    fn is_training(&self) -> bool {
        self.pass.0 > 0
    }

    /// What admitted rows are at most along a contraction of so many entries in groups of n, over a bound of one:
    /// an entry, and a norm over the root of the number of entries.
    fn admitted_entry(&self, contraction: usize, roots: usize) -> f64 {
        ADMITTED_ENTRY * (contraction.div_ceil(roots) as f64).sqrt()
    }

    /// The largest magnitude of an encoded entry of a left operand.
    fn encoded_left(&self, layer: usize, left: &LeftOperand, contraction: usize) -> f64 {
        let admitted = match layer {
            0 => self.admitted_entry(contraction, left.encoding.roots()),
            _ => 1.0,
        };
        admitted * left.entries.largest * left.scale.factor()
    }

    fn encrypt_weights(&mut self, layer: usize, weights: &Matrix) -> Result<Weights, ProductError> {
        let Some(Offload { forward, input, .. }) = self.offload(layer) else {
            return Err(ProductError::Order("weights of a layer that is not offloaded"));
        };
        let values = weights.as_slice();
        let entries = measure(values);
        let columns = Norms::of_columns(values, weights.cols());
        let padded = weights.rows().next_multiple_of(forward.into());
        let scale = match layer {
            0 => {
                let norm = ADMITTED_NORM * (weights.rows() as f64).sqrt() * columns.euclidean;
                let sum = self.admitted_entry(weights.rows(), forward.into()) * columns.sum;
                largest_scale(self.spec.feature_scale, norm.min(sum), entries.largest, padded)
            }
            _ => entry_scale(entries.largest),
        };
        let message = |values, contraction, product, roots| Message {
            product,
            layer,
            values,
            size: weights.shape(),
            contraction,
            roots,
        };
        let encodable = self.encodable(values, entries, scale)?;
        let forward = message(encodable, Contraction::Rows, ProductKind::Forward, forward);
        let forward = self.send_right(forward, None, usize::MAX)?;
        let mut transposed = None;
        if layer > 0 && self.is_training() {
            let encodable = self.encodable(values, entries, entry_scale(entries.largest))?;
            let message = message(encodable, Contraction::Columns, ProductKind::InputGradient, input);
            transposed = Some(self.send_right(message, None, usize::MAX)?);
        }
        let rows = Norms::of_rows(values, weights.cols());
        Ok(Weights { forward, terms: None, asked: None, input: transposed, columns, rows })
    }

    /// A part of a layer's left operand for Z.
    fn forward_left(
        &mut self,
        layer: usize,
        left: Input<'_>,
        rows: Range<usize>,
    ) -> Result<LeftOperand, ProductError> {
        let hidden = match left {
            Input::Rows(batch) => {
                let blocks: Vec<Block> = batch.blocks_of(rows).collect();
                if self.is_training() {
                    // On their way as well.
                    let ticket = self.ask_projections(&blocks, Kept::Columns)?;
                    self.layers[0].columns.push_back((ticket, blocks.clone()));
                }
                return self.stored_rows(&blocks);
            }
            Input::Hidden(hidden) => hidden,
        };
        let Some(Offload { forward, .. }) = self.offload(layer) else { return Err(NO_WEIGHTS) };
        let values = hidden.values_of(rows.clone());
        let weights = self.layers[layer].weights.as_ref().ok_or(NO_WEIGHTS)?;
        let (entries, of_rows) = (measure(values), Norms::of_rows(values, hidden.cols()));
        let bound =
            (entries.largest * weights.columns.sum).min(of_rows.euclidean * weights.columns.euclidean);
        let padded = hidden.cols().next_multiple_of(forward.into());
        let scale = largest_scale(weights.forward.scale, bound, entries.largest, padded);
        let values = self.encodable(values, entries, scale)?;
        let size = (rows.len(), hidden.cols());
        let (product, contraction) = (ProductKind::Forward, Contraction::Columns);
        self.send_left(Message { product, layer, values, size, contraction, roots: forward }, None)
    }

    /// Takes what a pass that ended early left behind, for its memory to be used again.
    fn discard(&mut self) -> Result<(), ProductError> {
        let mut products = Vec::new();
        for layer in &mut self.layers {
            for started in layer.forward.drain(..).chain(layer.input.drain(..)) {
                if let Body::Asked(ticket, ..) = started.left.body {
                    self.cloud.bytes(ticket)?;
                }
                products.push(started.ticket);
            }
            for (ticket, _) in layer.columns.drain(..) {
                self.cloud.bytes(ticket)?;
            }
            products.extend(layer.gradients.drain(..).flat_map(|gradient| gradient.tickets));
        }
        for ticket in products {
            match self.cloud.collect(ticket, &mut Unwanted) {
                // What the refinery could not compute is of no use either.
                Ok(()) | Err(CloudError::Refused(_)) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Waits for what was asked for with a part of stored rows: the projections of their column forms.
    fn fetch_columns(&mut self) -> Result<(), ProductError> {
        if let Some((ticket, blocks)) = self.layers[0].columns.pop_front() {
            for part in self.projections(ticket, &blocks, Kept::Columns)? {
                self.columns.append(&part);
            }
        }
        Ok(())
    }

    /// The left operand of a weight gradient.
    fn gradient_left(
        &mut self,
        layer: usize,
        left: Input<'_>,
        blocks: &[Block],
        bounds: Option<Bounds>,
    ) -> Result<LeftOperand, ProductError> {
        let hidden = match left {
            Input::Rows(_) => return Ok(self.stored_columns(blocks)),
            Input::Hidden(hidden) => hidden,
        };
        let Some(Offload { gradient, .. }) = self.offload(layer) else { return Err(NO_WEIGHTS) };
        let entries = measure(hidden.as_slice());
        // What holds for every micro-batch, so that they add up.
        let largest = bounds.map_or(entries.largest, |b| f64::from(b.left));
        let values = self.encodable(hidden.as_slice(), entries, entry_scale(largest))?;
        let open = self.layers[layer].gradients.last().filter(|sum| sum.tickets.is_empty());
        let common = open.and_then(|sum| {
            let secrets = sum.left.secrets.first()?.clone();
            let masks = sum.left.mask_scalars.first()?.clone();
            Some(Common { secrets, scalars: ProjectionScalars { body: sum.left.scalars.clone(), masks } })
        });
        let (product, contraction) = (ProductKind::WeightGradient, Contraction::Rows);
        let size = hidden.shape();
        self.send_left(Message { product, layer, values, size, contraction, roots: gradient }, common)
    }

    /// The scale of the error for a weight gradient with this left operand.
    fn error_scale(
        &self,
        layer: usize,
        left: &LeftOperand,
        error: &Matrix,
        bounds: Option<Bounds>,
    ) -> Result<Scale, Overflow> {
        let rows = error.rows().max(bounds.map_or(0, |_| self.pass.1)) as f64;
        let columns = match bounds {
            Some(bounds) => {
                let error = f64::from(bounds.error);
                Norms { sum: error * rows, euclidean: error * rows.sqrt() }
            }
            None => Norms::of_columns(error.as_slice(), error.cols()),
        };
        let largest = match bounds {
            Some(bounds) => f64::from(bounds.error),
            None => measure(error.as_slice()).largest,
        };
        let bound = match layer {
            0 => {
                let entry = self.admitted_entry(self.spec.block_rows(), left.encoding.roots());
                (ADMITTED_NORM * rows.sqrt() * columns.euclidean).min(entry * columns.sum)
            }
            _ => {
                let entry = bounds.map_or(left.entries.largest, |b| f64::from(b.left));
                entry * columns.sum
            }
        };
        // The same for everything that is added up. Rows that fill up a group are zeros on both sides: of the noise they
        // have the square alone, which takes no room.
        largest_scale(left.scale, bound, largest, self.pass.1)
    }

    /// Asks for a gradient, or has it added to an open sum; the stripes' expectations add up.
    fn ask_gradient(
        &mut self,
        layer: usize,
        left: LeftOperand,
        right: RightOperand,
        last: bool,
    ) -> Result<(), ProductError> {
        let open = self.layers[layer].gradients.pop_if(|sum| sum.tickets.is_empty());
        let count = right.stripes.len();
        let (mut expected, mut shapes, mut tickets) = (Vec::new(), Vec::new(), Vec::new());
        for stripe in 0..count {
            expected.push(Self::expected(&left, &right, stripe, true, stripe == 0)?);
            shapes.push(Self::product_shape(&left, &right, stripe, true, stripe == 0));
        }
        let mut whole = left.gradient();
        if let Some(sum) = &open {
            whole = sum.left.with(whole);
            expected.iter_mut().zip(&sum.expected).for_each(|(e, before)| *e = modulus::add(*e, *before));
        }
        for (stripe, shape) in shapes.iter().enumerate() {
            let slot = (layer * MAX_STRIPES + stripe) as u32;
            let section = right.section(stripe, true, stripe == 0);
            if last {
                let sum = open.is_some().then_some(slot);
                // Of all owners in the sum.
                let shape = ProductShape { mask_sets: whole.owners.len(), ..*shape };
                tickets.push(self.ask(left.name.clone(), &shape, &right, stripe, sum)?);
            } else {
                self.cloud.accumulate(slot, left.name.clone(), right.name, section)?;
            }
        }
        let mut done = vec![right.name];
        if let Left::Operand(name) = left.name {
            done.push(name);
        }
        self.cloud.free(&done)?;
        shapes.iter_mut().for_each(|shape| shape.mask_sets = whole.owners.len());
        self.layers[layer].gradients.push(Gradient { tickets, left: whole, right, expected, shapes });
        Ok(())
    }

    /// Blocks of stored rows in as many parts as a product's contraction makes necessary: a block of few rows takes a whole place.
    fn within_contraction<'b>(&self, blocks: &'b [Block]) -> Vec<&'b [Block]> {
        let rows_of = |block: &Block| self.spec.column_shape(block.rows).padded();
        let mut padded = blocks.first().map_or(0, rows_of);
        let whole = |_: &Block, next: &Block| {
            let (rows, before) = (rows_of(next), padded);
            padded = if before + rows > MAX_CONTRACTION { rows } else { before + rows };
            padded > rows
        };
        blocks.chunk_by(whole).collect()
    }

    /// Encrypts the error of some rows and asks for their gradient.
    fn add_part(
        &mut self,
        left: Input<'_>,
        blocks: &[Block],
        part: GradientPart<'_>,
    ) -> Result<(), ProductError> {
        let GradientPart { layer, gradient, error, rows, bounds, last } = part;
        let left = self.gradient_left(layer, left, blocks, bounds)?;
        let aligned = self.aligned_error(&left, blocks, error, rows);
        let scale = self.error_scale(layer, &left, error, bounds);
        let values = self.encodable(&aligned, measure(&aligned), scale)?;
        let right_max = values.entries.largest * values.scale.factor();
        let left_max = self.encoded_left(layer, &left, self.spec.block_rows());
        self.fits(bounds.map_or(0, |_| self.pass.1).max(left.padded), left_max, right_max)?;

        let size = (aligned.len() / error.cols().max(1), error.cols());
        let open = self.layers[layer].gradients.last().filter(|sum| sum.tickets.is_empty());
        let common = open
            .map(|sum| Common { secrets: sum.right.secrets.clone(), scalars: sum.right.scalars.shared() });
        let (product, contraction) = (ProductKind::WeightGradient, Contraction::Rows);
        let message = Message { product, layer, values, size, contraction, roots: gradient };
        let residues = left.rows() + left.sets.len() * left.encoding.dimension();
        // Those of a sum are the same in all of its micro-batches.
        let stripe_width = open.map_or(STRIPE / residues.max(1), |sum| sum.right.stripe_width());
        let right = self.send_right(message, common, stripe_width)?;

        let encoded = (left.entries.rms * left.scale.factor(), right.entries.rms * right.scale.factor());
        let noise = NoiseModel { padded: left.padded }.std(encoded.0, encoded.1);
        let noise = noise / (left.scale.factor() * right.scale.factor());
        self.layers[layer].variance += noise * noise;
        // Opened when it is needed: meanwhile the cloud multiplies and the warden goes on.
        self.ask_gradient(layer, left, right, last)
    }

    /// The error as the right operand of a gradient: filled up with zeros where a block of stored rows ends within a group.
    fn aligned_error<'m>(
        &self,
        left: &LeftOperand,
        blocks: &[Block],
        error: &'m Matrix,
        rows: Range<usize>,
    ) -> Cow<'m, [f32]> {
        let roots = left.encoding.roots();
        if blocks.iter().all(|b| (b.rows as usize).is_multiple_of(roots)) {
            return Cow::Borrowed(error.values_of(rows));
        }
        let mut aligned = Vec::with_capacity(left.padded * error.cols());
        let mut first = rows.start;
        for block in blocks {
            let rows = block.rows as usize;
            aligned.extend_from_slice(error.values_of(first..first + rows));
            aligned.resize(aligned.len() + (rows.next_multiple_of(roots) - rows) * error.cols(), 0.0);
            first += rows;
        }
        Cow::Owned(aligned)
    }
}

/// Rows of a batch whose gradient is asked for at a time.
struct GradientPart<'m> {
    layer: usize,
    /// n of the product.
    gradient: u16,
    /// Of all rows of the micro-batch.
    error: &'m Matrix,
    rows: Range<usize>,
    bounds: Option<Bounds>,
    /// Whether the sum is complete with it.
    last: bool,
}

impl<C: Cloud, K: RowKeys> Accelerator for Encrypted<'_, C, K> {
    type Error = ProductError;

    fn begin(&mut self, pass: Pass) -> Result<(), ProductError> {
        self.discard()?;
        let (mut old, mut finished) = (Vec::new(), Vec::new());
        for layer in &mut self.layers {
            let Layer { weights, ahead, .. } = std::mem::take(layer);
            if let Some(mut weights) = weights {
                finished.extend(weights.terms.take());
                old.push(weights.forward.name);
                old.extend(weights.input.map(|input| input.name));
            }
            layer.weights = ahead;
        }
        finished.into_iter().for_each(|terms| self.reuse_shared(terms));
        if !old.is_empty() {
            self.cloud.free(&old)?;
        }
        self.columns = Default::default();
        self.context.step += 1;
        self.pass = match pass {
            Pass::Inference => (0, 0),
            Pass::Training { micro_batches, rows } => (micro_batches, rows),
        };
        Ok(())
    }

    fn load_weights(&mut self, layer: usize, weights: &Matrix) -> Result<(), ProductError> {
        match self.offload(layer) {
            Some(_) => self.layers[layer].weights = Some(self.encrypt_weights(layer, weights)?),
            None => self.layers[layer].plain = Some(weights.clone()),
        }
        Ok(())
    }

    fn load_ahead(&mut self, layer: usize, weights: &Matrix) -> Result<(), ProductError> {
        // Weights that stay here are there when they are needed.
        if self.offload(layer).is_some() {
            self.layers[layer].ahead = Some(self.encrypt_weights(layer, weights)?);
        }
        Ok(())
    }

    fn loaded_ahead(&self, layer: usize) -> bool {
        self.layers[layer].weights.is_some()
    }

    fn start_forward(
        &mut self,
        layer: usize,
        left: Input<'_>,
        rows: Range<usize>,
    ) -> Result<(), ProductError> {
        if self.offload(layer).is_none() {
            return Ok(());
        }
        let left = self.forward_left(layer, left, rows.clone())?;
        let right = &self.layers[layer].weights.as_ref().ok_or(NO_WEIGHTS)?.forward;
        let right_max = right.entries.largest * right.scale.factor();
        let left_max = self.encoded_left(layer, &left, right.shape.contraction);
        self.fits(left.padded, left_max, right_max)?;
        // Taken while this is borrowed.
        let mut weights = self.layers[layer].weights.take().ok_or(NO_WEIGHTS)?;
        let right = &weights.forward;
        let left_masks = match &left.name {
            Left::Rows(_) => {
                let covered =
                    weights.asked.as_ref().is_some_and(|asked| left.sets.iter().all(|s| asked.contains(s)));
                if !covered {
                    weights.asked = Some(left.sets.clone());
                }
                !covered
            }
            _ => true,
        };
        let shape = Self::product_shape(&left, right, 0, left_masks, true);
        let ticket = self.ask(left.name.clone(), &shape, right, 0, None)?;
        if let Left::Operand(name) = left.name {
            self.cloud.free(&[name])?;
        }
        let state = &mut self.layers[layer];
        state.weights = Some(weights);
        state.forward.push_back(Started { ticket, shape, stripe: 0, rows, left, left_masks });
        Ok(())
    }

    fn forward(
        &mut self,
        layer: usize,
        left: Input<'_>,
        rows: Range<usize>,
        out: &mut Matrix,
    ) -> Result<(), ProductError> {
        if self.offload(layer).is_none() {
            let Input::Hidden(hidden) = left else { return Err(NO_WEIGHTS) };
            let weights = self.layers[layer].plain.as_ref().ok_or(NO_WEIGHTS)?;
            product::multiply(hidden, weights, rows, out);
            return Ok(());
        }
        let started = self.layers[layer].forward.pop_front().filter(|started| started.rows == rows);
        let mut started = started.ok_or(NOT_ANNOUNCED)?;
        if layer == 0 {
            self.fetch_columns()?;
        }
        let mut weights = self.layers[layer].weights.take().ok_or(NO_WEIGHTS)?;
        let what = format!("forward product of layer {layer}");
        let (product, terms) = self.finish_rows(&mut started, &weights.forward, &what)?;
        match terms {
            Some(terms) => {
                let masks = MaskPart { product: &product, terms: &terms };
                self.open_rows(&product, &started, &weights.forward, masks, out)?;
                let shared = SharedTerms { sets: started.left.sets, product, terms };
                // Those of stored rows serve further rows; a hidden layer's are of one product alone.
                let stored = matches!(started.left.name, Left::Rows(_));
                let done = if stored { weights.terms.replace(shared) } else { Some(shared) };
                done.into_iter().for_each(|shared| self.reuse_shared(shared));
            }
            None => {
                let shared = weights.terms.as_ref().ok_or(NOT_ANNOUNCED)?;
                started.left.stand_under(&shared.sets).ok_or(NOT_ANNOUNCED)?;
                let masks = MaskPart { product: &shared.product, terms: &shared.terms };
                self.open_rows(&product, &started, &weights.forward, masks, out)?;
                self.reuse(Some(product));
            }
        }
        self.layers[layer].weights = Some(weights);
        Ok(())
    }

    fn add_gradient(
        &mut self,
        layer: usize,
        left: Input<'_>,
        error: &Matrix,
        bounds: Option<Bounds>,
    ) -> Result<(), ProductError> {
        let Some(Offload { gradient, .. }) = self.offload(layer) else {
            let Input::Hidden(hidden) = left else { return Err(NO_WEIGHTS) };
            let sum = &mut self.layers[layer].sum;
            if sum.shape() != (hidden.cols(), error.cols()) {
                *sum = Matrix::zeros(hidden.cols(), error.cols());
            }
            product::add_transposed_left(hidden, error, sum);
            return Ok(());
        };
        let bounds = bounds.filter(|_| self.pass.0 > 1);
        let last = bounds.is_none() || self.layers[layer].micro_batches + 1 == self.pass.0;
        let part = |rows: Range<usize>, last| GradientPart { layer, gradient, error, rows, bounds, last };
        match left {
            Input::Hidden(_) => self.add_part(left, &[], part(0..error.rows(), last))?,
            Input::Rows(batch) => {
                let parts = self.within_contraction(batch.blocks());
                let mut first = 0;
                for (i, blocks) in parts.iter().enumerate() {
                    let end = first + blocks.iter().map(|b| b.rows as usize).sum::<usize>();
                    self.add_part(left, blocks, part(first..end, last && i + 1 == parts.len()))?;
                    first = end;
                }
            }
        }
        self.layers[layer].micro_batches += 1;
        Ok(())
    }

    fn start_input_gradient(
        &mut self,
        layer: usize,
        error: &Matrix,
        rows: Range<usize>,
    ) -> Result<(), ProductError> {
        let Some(Offload { input, .. }) = self.offload(layer) else { return Ok(()) };
        let weights = self.layers[layer].weights.as_ref().ok_or(NO_WEIGHTS)?;
        let right = weights.input.as_ref().ok_or(NO_WEIGHTS)?;
        let values = error.values_of(rows.clone());
        let (entries, norms) = (measure(values), Norms::of_rows(values, error.cols()));
        let bound = (norms.sum * right.entries.largest).min(norms.euclidean * weights.rows.euclidean);
        let padded = right.shape.padded();
        let scale = largest_scale(right.scale, bound, entries.largest, padded);
        let right_max = right.entries.largest * right.scale.factor();
        let values = self.encodable(values, entries, scale)?;
        self.fits(padded, values.entries.largest * values.scale.factor(), right_max)?;
        let (size, contraction) = ((rows.len(), error.cols()), Contraction::Columns);
        let product = ProductKind::InputGradient;
        let left =
            self.send_left(Message { product, layer, values, size, contraction, roots: input }, None)?;
        // Taken while this is borrowed.
        let weights = self.layers[layer].weights.take().ok_or(NO_WEIGHTS)?;
        let right = weights.input.as_ref().ok_or(NO_WEIGHTS)?;
        let shape = Self::product_shape(&left, right, 0, true, true);
        let ticket = self.ask(left.name.clone(), &shape, right, 0, None)?;
        if let Left::Operand(name) = left.name {
            self.cloud.free(&[name])?;
        }
        let state = &mut self.layers[layer];
        state.weights = Some(weights);
        state.input.push_back(Started { ticket, shape, stripe: 0, rows, left, left_masks: true });
        Ok(())
    }

    fn input_gradient(
        &mut self,
        layer: usize,
        error: &Matrix,
        rows: Range<usize>,
        out: &mut Matrix,
    ) -> Result<(), ProductError> {
        if self.offload(layer).is_none() {
            let weights = self.layers[layer].plain.as_ref().ok_or(NO_WEIGHTS)?;
            product::transposed_right(error, weights, rows, out);
            return Ok(());
        }
        let started = self.layers[layer].input.pop_front().filter(|started| started.rows == rows);
        let mut started = started.ok_or(NOT_ANNOUNCED)?;
        let weights = self.layers[layer].weights.take().ok_or(NO_WEIGHTS)?;
        let right = weights.input.as_ref().ok_or(NO_WEIGHTS)?;
        let what = format!("input gradient of layer {layer}");
        let (product, terms) = self.finish_rows(&mut started, right, &what)?;
        let terms = terms.ok_or(NOT_ANNOUNCED)?;
        let masks = MaskPart { product: &product, terms: &terms };
        self.open_rows(&product, &started, right, masks, out)?;
        self.reuse(Some(product));
        self.reuse_terms(terms);
        self.layers[layer].weights = Some(weights);
        Ok(())
    }

    fn take_gradient(&mut self, layer: usize, out: &mut Matrix) -> Result<(), ProductError> {
        if self.offload(layer).is_none() {
            *out = std::mem::take(&mut self.layers[layer].sum);
            return Ok(());
        }
        // The pass had its products with these weights.
        if let Some(terms) = self.layers[layer].weights.as_mut().and_then(|weights| weights.terms.take()) {
            self.reuse_shared(terms);
        }
        let mut part = Matrix::default();
        let gradients = std::mem::take(&mut self.layers[layer].gradients);
        for (i, gradient) in gradients.iter().enumerate() {
            let to = if i == 0 { &mut *out } else { &mut part };
            to.reshape(gradient.left.rows.iter().sum(), gradient.right.shape.width);
            self.finish_gradient(gradient, layer, to)?;
            if i > 0 {
                out.as_mut_slice().iter_mut().zip(part.as_slice()).for_each(|(s, g)| *s += g);
            }
        }
        Ok(())
    }

    fn gradient_noise(&self, layer: usize) -> f32 {
        self.layers[layer].variance.sqrt() as f32
    }
}
