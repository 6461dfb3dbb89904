//! A cloud in this process, which multiplies by the definition unless it is told to lie.

use std::collections::HashMap;
use std::sync::Mutex;

use blindsmith_matrix::{MaskSeed, OperandShape, ProductShape, Section};
use blindsmith_protocol::{BlockRef, Left, Progress, Projection};
use blindsmith_warden::{Bytes, Cloud, CloudError, ProductRequest, Sink, Ticket};

use super::naive::Naive;
use super::upload;

/// What a product that would be right is changed to.
pub type Lie = fn(&ProductShape, &mut Vec<u64>);

enum Answer {
    Product(Vec<u64>),
    Bytes(Vec<u8>),
}

struct State {
    naive: Naive,
    requested: u64,
    answers: HashMap<u64, Answer>,
    products: Vec<ProductRequest>,
    accumulated: usize,
    /// Of the product of this number, and of kept projections.
    lie: Option<(usize, Lie)>,
    other_projections: bool,
}

impl State {
    fn answer(&mut self, answer: Answer) -> Ticket {
        self.answers.insert(self.requested, answer);
        self.requested += 1;
        Ticket(self.requested - 1)
    }
}

pub struct Local(Mutex<State>);

impl Local {
    pub fn new(naive: Naive) -> Self {
        Local(Mutex::new(State {
            naive,
            requested: 0,
            answers: HashMap::new(),
            products: vec![],
            accumulated: 0,
            lie: None,
            other_projections: false,
        }))
    }

    /// The product that is asked for after so many others is altered.
    pub fn lie(&self, after: usize, lie: Lie) {
        let mut state = self.0.lock().unwrap();
        state.lie = Some((state.products.len() + after, lie));
    }

    /// Kept projections are given in another order than asked for from now on.
    pub fn give_other_projections(&self) {
        self.0.lock().unwrap().other_projections = true;
    }

    /// The products that were asked for so far.
    pub fn products(&self) -> Vec<ProductRequest> {
        self.0.lock().unwrap().products.clone()
    }

    /// Products that were added to sums so far.
    pub fn accumulated(&self) -> usize {
        self.0.lock().unwrap().accumulated
    }

    /// What waits to be collected, operands that were not freed, open sums.
    pub fn left_over(&self) -> (usize, usize, usize) {
        let state = self.0.lock().unwrap();
        (state.answers.len(), state.naive.held(), state.naive.sums())
    }

    /// The uploads with what was kept of them.
    pub fn into_uploads(self) -> Vec<upload::Upload> {
        self.0.into_inner().unwrap().naive.uploads
    }
}

impl Cloud for Local {
    fn begin(&self, operand: u32, shape: &OperandShape, masks: MaskSeed) -> Result<(), CloudError> {
        self.0.lock().unwrap().naive.begin(operand, *shape, masks);
        Ok(())
    }

    fn rows(&self, operand: u32, first: usize, residues: &[u64]) -> Result<(), CloudError> {
        self.0.lock().unwrap().naive.rows(operand, first, residues);
        Ok(())
    }

    fn free(&self, operands: &[u32]) -> Result<(), CloudError> {
        self.0.lock().unwrap().naive.free(operands);
        Ok(())
    }

    fn request(&self, product: ProductRequest) -> Result<Ticket, CloudError> {
        let mut state = self.0.lock().unwrap();
        let ProductRequest { left, right, section, sum, residues } = &product;
        let (shape, mut found) = state.naive.multiply((left, *right), section, *sum);
        assert_eq!(found.len(), *residues);
        if let Some((_, lie)) = state.lie.filter(|(number, _)| *number == state.products.len()) {
            lie(&shape, &mut found);
        }
        state.products.push(product);
        Ok(state.answer(Answer::Product(found)))
    }

    fn accumulate(&self, slot: u32, left: Left, right: u32, section: Section) -> Result<(), CloudError> {
        let mut state = self.0.lock().unwrap();
        state.naive.accumulate(slot, (&left, right), &section);
        state.accumulated += 1;
        Ok(())
    }

    fn collect(&self, ticket: Ticket, to: &mut dyn Sink) -> Result<(), CloudError> {
        let answer = self.0.lock().unwrap().answers.remove(&ticket.0);
        let Some(Answer::Product(residues)) = answer else { panic!("no product {}", ticket.0) };
        // As it comes over a link: in pieces.
        residues.chunks(100_001).try_for_each(|piece| to.residues(piece))
    }

    fn read(&self, upload: u32, first: u32, count: u32, bytes: usize) -> Result<Ticket, CloudError> {
        let mut state = self.0.lock().unwrap();
        let Naive { spec, uploads, .. } = &state.naive;
        let found = uploads[upload as usize].read(spec, first, count).to_vec();
        assert_eq!(found.len(), bytes);
        Ok(state.answer(Answer::Bytes(found)))
    }

    fn keep(&self, block: BlockRef, sealed: &[u8]) -> Result<(), CloudError> {
        let upload = &mut self.0.lock().unwrap().naive.uploads[block.upload as usize];
        upload.kept.insert(block.block, sealed.to_vec());
        Ok(())
    }

    fn projections(
        &self,
        blocks: &[BlockRef],
        which: Projection,
        bytes: usize,
    ) -> Result<Ticket, CloudError> {
        let mut state = self.0.lock().unwrap();
        let mut blocks = blocks.to_vec();
        if state.other_projections {
            blocks.rotate_left(1);
        }
        let found = upload::projections(&state.naive.spec, &state.naive.uploads, &blocks, which);
        assert_eq!(found.len(), bytes);
        Ok(state.answer(Answer::Bytes(found)))
    }

    fn bytes(&self, ticket: Ticket) -> Result<Bytes, CloudError> {
        let answer = self.0.lock().unwrap().answers.remove(&ticket.0);
        let Some(Answer::Bytes(bytes)) = answer else { panic!("no bytes {}", ticket.0) };
        Ok(Bytes::Body(bytes))
    }

    fn labels(&self, blocks: &[BlockRef]) -> Result<Vec<u8>, CloudError> {
        let Naive { spec, uploads, .. } = &self.0.lock().unwrap().naive;
        Ok(upload::labels(spec, uploads, blocks))
    }

    fn progress(&self, _progress: Progress) -> Result<(), CloudError> {
        Ok(())
    }
}
