//! The calls of the training loop: what is asked of the cloud, and when its answers are awaited.

use super::*;

impl<C: Cloud, K: RowKeys> Accelerator for Encrypted<'_, C, K> {
    type Error = ProductError;

    fn part_rows(&self) -> usize {
        // Sizes of tiles are powers of two: the largest is a multiple of all.
        self.spec.layers.iter().map(|l| l.tile.m()).max().unwrap_or(1)
    }

    fn begin(&mut self, pass: Pass) -> Result<(), ProductError> {
        let mut old = Vec::new();
        for layer in &mut self.layers {
            let Layer { weights, ahead, left, .. } = std::mem::take(layer);
            old.extend(weights.map(|w| w.operand));
            if let Some(LeftOperand { name: Left::Operands(operands), .. }) = left {
                old.extend(operands);
            }
            layer.weights = ahead;
        }
        if !old.is_empty() {
            self.cloud.free(&old)?;
        }
        self.context.step += 1;
        self.pass = match pass {
            Pass::Inference => (0, 0),
            Pass::Training { micro_batches, rows } => (micro_batches, rows),
        };
        Ok(())
    }

    fn load_weights(&mut self, layer: usize, weights: &Matrix) -> Result<(), ProductError> {
        let weights = self.encrypt_weights(layer, weights)?;
        self.layers[layer].weights = Some(weights);
        Ok(())
    }

    fn load_ahead(&mut self, layer: usize, weights: &Matrix) -> Result<(), ProductError> {
        let weights = self.encrypt_weights(layer, weights)?;
        self.layers[layer].ahead = Some(weights);
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
        self.add_left(layer, left, rows)?;
        let (weights, left) = (self.weights(layer)?, self.left(layer)?);
        let index = left.parts.len() - 1;
        let part = &left.parts[index];
        let shape = self.shape(ProductKind::Forward, layer, part.rows.len());
        let largest = [part.entry * part.scale.factor(), weights.entry * weights.scale.factor()];
        self.fits(&shape, largest[0], largest[1])?;
        let (weights, left) = (self.weights(layer)?, self.left(layer)?);
        let part = &left.parts[index];
        let name = match &left.name {
            Left::Blocks(blocks) => Left::Blocks(blocks[part.blocks.clone()].to_vec()),
            Left::Operands(operands) => Left::Operand(operands[index]),
            Left::Operand(operand) => Left::Operand(*operand),
        };
        let ticket = self.request(&shape, layer, name, weights.operand, false)?;
        self.layers[layer].forward.push_back(Started { ticket, part: index });
        Ok(())
    }

    fn forward(
        &mut self,
        layer: usize,
        _left: Input<'_>,
        rows: Range<usize>,
        out: &mut Matrix,
    ) -> Result<(), ProductError> {
        const UNASKED: ProductError = ProductError::Order("a product that was not announced");
        let Started { ticket, part } = self.layers[layer].forward.pop_front().ok_or(UNASKED)?;
        self.fetch(layer, part)?;
        let (weights, left) = (self.weights(layer)?, self.left(layer)?);
        let part = left.parts.get(part).filter(|part| part.rows == rows).ok_or(UNASKED)?;
        let shape = self.shape(ProductKind::Forward, layer, rows.len());
        let PartChecks::There { rows: scalars, across, .. } = &part.checks else { return Err(UNASKED) };
        let (_, masks) = self.inputs(layer)?;
        let checks = &weights.checks;
        let of_weights = (&checks.outputs, &checks.across[..], &weights.masks[..]);
        let check = Check::forward((scalars, across, masks), of_weights);
        let product = self.checked((ticket, layer), shape, check)?;
        let (secrets, scales) = (&left.secrets[part.blocks.clone()], [part.scale, weights.scale]);
        let opener = Opener::forward(product, secrets, &weights.secrets, scales);
        let mut spoiled = self.spoiled;
        let done = self.open(&mut spoiled, opener, out.values_mut(rows));
        self.spoiled = spoiled;
        done
    }

    fn add_gradient(
        &mut self,
        layer: usize,
        _left: Input<'_>,
        error: &Matrix,
        bounds: Option<Bounds>,
    ) -> Result<(), ProductError> {
        let bounds = bounds.filter(|_| self.pass.0 > 1);
        let (base, scale) = self.gradient_scales(layer, error, bounds)?;
        let split = bounds.is_some() || self.left(layer)?.parts.len() > 1;
        if split {
            self.rescale(layer, error, base)?;
        }
        let scaled = std::mem::take(&mut self.scaled);
        let error = if split { &scaled } else { error };
        let (rows, cols) = error.shape();
        let values = self.encodable(error.as_slice(), measure(error.as_slice()), scale)?;
        let Encodable { values, scale, entry, rms } = values;
        let (scales, view) = ([base, scale], View::new(&values, rows, cols));
        let name = (self.name_operand(), layer);
        // In place while it is borrowed.
        let (left, mut sums) =
            (self.layers[layer].left.take(), std::mem::take(&mut self.layers[layer].gradients));
        let mut left = left.ok_or(ProductError::Order("a gradient before its product"))?;
        let projections = Self::along(&mut left)?;
        let shape = self.shape(ProductKind::WeightGradient, layer, rows);
        let encoded = |part: &LeftPart| part.entry * part.scale.factor();
        let whole = ProductShape { rows: shape.rows.max(bounds.map_or(0, |_| self.pass.1)), ..shape };
        let largest = left.parts.iter().map(encoded).fold(0.0, f64::max);
        self.fits(&whole, largest, entry * scales[1].factor())?;

        let open = sums.last_mut().filter(|sum| sum.ticket.is_none());
        let share = open.as_ref().map_or(Share::Nothing, |sum| Share::Secrets(&sum.secrets));
        let taken = Taken { cross: Some(&left.secrets), across: None, along: Along::Times(&projections) };
        let sent = self.send(name, shape.right(), scales[1], view, taken, share)?;
        let state = &self.layers[layer];
        let last = bounds.is_none() || state.micro_batches + 1 == self.pass.0;
        let ticket = if last {
            Some(self.request(&shape, layer, left.name.clone(), sent.operand, open.is_some())?)
        } else {
            self.cloud.accumulate(layer as u32, left.name.clone(), sent.operand)?;
            None
        };
        self.cloud.free(&[sent.operand])?;
        match open {
            Some(sum) => {
                sum.ticket = ticket;
                sum.cross.iter_mut().zip(&sent.cross).for_each(|(sum, y)| sum.add_assign(y));
                let Expected { scalars, body, extras } = &mut sum.checks;
                metered(|| {
                    body.add_assign(&combine(&sent.along, scalars));
                    extras.add_assign(&contract(&projections, &sent.masks));
                });
            }
            None => {
                let Sent { secrets, cross, along, masks, .. } = sent;
                let checks = metered(|| {
                    let scalars = Scalars::random(secrets.len());
                    let body = combine(&along, &scalars);
                    Expected { scalars, body, extras: contract(&projections, &masks) }
                });
                sums.push(Gradient { ticket, shape, secrets, cross, scales, checks });
            }
        }

        let square = |part: &LeftPart| {
            let encoded = part.rms * part.scale.factor();
            part.rows.len() as f64 * encoded * encoded
        };
        let left_rms = (left.parts.iter().map(square).sum::<f64>() / shape.rows as f64).sqrt();
        let model = NoiseModel::of(&shape.left(), &shape.right());
        let noise = model.std(left_rms, rms * scales[1].factor()) / (scales[0].factor() * scales[1].factor());
        let state = &mut self.layers[layer];
        state.variance += noise * noise;
        state.micro_batches += 1;
        // Opened when it is needed: meanwhile the cloud multiplies and the warden goes on.
        (state.left, state.gradients) = (Some(left), sums);
        self.scaled = scaled;
        Ok(())
    }

    fn start_input_gradient(
        &mut self,
        layer: usize,
        error: &Matrix,
        rows: Range<usize>,
    ) -> Result<(), ProductError> {
        let name = (self.name_operand(), layer);
        let weights = self.weights(layer)?;
        let values = error.values_of(rows.clone());
        let measured = measure(values);
        let bound = largest_row_sum(values, error.cols()) * weights.entry;
        let scale = largest_scale(weights.scale, bound, measured.0);
        let encoded = weights.entry * weights.scale.factor();
        let Encodable { values, scale, entry, .. } = self.encodable(values, measured, scale)?;
        let view = View::new(&values, rows.len(), error.cols());
        let shape = self.shape(ProductKind::InputGradient, layer, rows.len());
        self.fits(&shape, entry * scale.factor(), encoded)?;
        let weights = self.weights(layer)?;
        let checks = &weights.checks;
        let (cross, along) = (Some(&weights.secrets[..]), Along::Times(&checks.along));
        let sent =
            self.send(name, shape.left(), scale, view, Taken { cross, across: None, along }, Share::Nothing)?;
        let checks = metered(|| {
            let scalars = Scalars::random(sent.along.len());
            let body = combine(&sent.along, &scalars);
            Expected { scalars, body, extras: contract(&sent.masks, &checks.along) }
        });
        let left = Left::Operand(sent.operand);
        let ticket = self.request(&shape, layer, left, weights.operand, false)?;
        self.cloud.free(&[sent.operand])?;
        let scales = [scale, weights.scale];
        self.layers[layer].input.push_back(StartedInput { ticket, rows, shape, sent, scales, checks });
        Ok(())
    }

    fn input_gradient(
        &mut self,
        layer: usize,
        _error: &Matrix,
        rows: Range<usize>,
        out: &mut Matrix,
    ) -> Result<(), ProductError> {
        let started = self.layers[layer].input.pop_front().filter(|started| started.rows == rows);
        let StartedInput { ticket, shape, sent, scales, checks, .. } =
            started.ok_or(ProductError::Order("a product that was not announced"))?;
        let weights = self.weights(layer)?;
        let Expected { scalars, body, extras } = checks;
        let check = Check { rows: &scalars, cols: &weights.checks.inputs, body, extras };
        let product = self.checked((ticket, layer), shape, check)?;
        let opener = Opener::input_gradient(product, &weights.masks, &sent.secrets, &sent.cross, scales);
        let mut spoiled = self.spoiled;
        let done = self.open(&mut spoiled, opener, out.values_mut(rows));
        self.spoiled = spoiled;
        done
    }

    fn take_gradient(&mut self, layer: usize, out: &mut Matrix) -> Result<(), ProductError> {
        let mut part = Matrix::default();
        let gradients = std::mem::take(&mut self.layers[layer].gradients);
        let mut spoiled = self.spoiled;
        let (inputs, masks) = self.inputs(layer)?;
        for (i, gradient) in gradients.into_iter().enumerate() {
            let Gradient { ticket, shape, secrets, cross, scales, checks } = gradient;
            let ticket = ticket.ok_or(ProductError::Order("a gradient before its last micro-batch"))?;
            let Expected { scalars, body, extras } = checks;
            let check = Check { rows: inputs, cols: &scalars, body, extras };
            let product = self.checked((ticket, layer), shape, check)?;
            let opener = Opener::weight_gradient(product, masks, &secrets, &cross, scales);
            let (rows, cols) = shape.size();
            let to = if i == 0 { &mut *out } else { &mut part };
            to.reshape(rows, cols);
            self.open(&mut spoiled, opener, to.as_mut_slice())?;
            if i > 0 {
                out.as_mut_slice().iter_mut().zip(part.as_slice()).for_each(|(s, g)| *s += g);
            }
        }
        self.spoiled = spoiled;
        Ok(())
    }

    fn gradient_noise(&self, layer: usize) -> f32 {
        self.layers[layer].variance.sqrt() as f32
    }
}
