//! A refinery that has a project's uploads and answers a warden over a link: rightly, but for what a test changes.

use std::collections::HashMap;

use blindsmith_identity::PublicKey;
use blindsmith_matrix::ProductShape;
use blindsmith_protocol::{
    AdmittedUpload, FromWarden, Instruction, Left, MAX_PIECE, Outcome, Place, Role, ToWarden,
};

use super::naive::Naive;
use super::owner::Owner;
use super::refinery::{Refinery, identity};
use super::upload::{self, Upload};

/// A released project and its uploads: one for validation, so that nothing of the others is held out by chance.
pub struct Playing {
    pub refinery: Refinery,
    pub owner: Owner,
    pub given: Vec<AdmittedUpload>,
    /// What verifies receipts.
    pub receipts: PublicKey,
    pub naive: Naive,
    /// Where operands lie in shared memory, and how many residues they have: not yet read.
    laid: HashMap<u32, (u64, usize)>,
}

/// What instructions leave to be answered.
pub enum Due {
    /// A product, as it should be.
    Product(ProductShape, Vec<u64>),
    /// Labels, as they should be.
    Labels(Vec<u8>),
    /// It was carried out.
    Nothing,
}

impl Playing {
    pub fn new(share: bool) -> Self {
        Playing::with(Owner::new(), share, |_| vec![])
    }

    /// The same with uploads for training beside the usual one.
    pub fn with(owner: Owner, share: bool, more: impl Fn(&Owner) -> Vec<Upload>) -> Self {
        let mut refinery = Refinery::linked(identity(), share);
        let (_, receipts, _) = owner.hand_over_keyed(&mut refinery);
        let uploads = [owner.upload(Role::Validation), owner.upload(Role::Training)];
        let (mut stored, mut given) = (vec![], vec![]);
        for upload in uploads.into_iter().chain(more(&owner)) {
            let (upload, admitted) = owner.admitted_of(&mut refinery, upload);
            stored.push(upload);
            given.push(admitted);
        }
        let naive = Naive::new(&owner.spec, stored);
        Playing { refinery, owner, given, receipts, naive, laid: HashMap::new() }
    }

    /// Begins the first round.
    pub fn begin(&mut self) {
        self.refinery.send(&self.owner.round(1, &self.given), &[]);
    }

    /// Carries an instruction out, but for what is to be answered with products or labels.
    pub fn carry_out(&mut self, instruction: Instruction, body: &[u8]) -> Due {
        match instruction {
            Instruction::Begin { operand, shape, masks, at } => {
                self.naive.begin(operand, shape, masks);
                if let Some(at) = at {
                    self.laid.insert(operand, (at, shape.residues()));
                }
            }
            Instruction::Rows { operand, first } => {
                let residues: Vec<u64> =
                    body.as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b)).collect();
                self.naive.rows(operand, first as usize, &residues);
            }
            Instruction::Free { operands } => self.naive.free(&operands),
            Instruction::Multiply { left, right, section, sum, .. } => {
                self.fetch(&left, right);
                let (shape, residues) = self.naive.multiply((&left, right), &section, sum);
                return Due::Product(shape, residues);
            }
            Instruction::Accumulate { slot, left, right, section } => {
                self.fetch(&left, right);
                self.naive.accumulate(slot, (&left, right), &section);
            }
            Instruction::Labels { blocks } => {
                return Due::Labels(upload::labels(&self.owner.spec, &self.naive.uploads, &blocks));
            }
            Instruction::Projections { blocks, which, .. } => {
                let found = upload::projections(&self.owner.spec, &self.naive.uploads, &blocks, which);
                self.send_bytes(&found);
            }
            Instruction::Read { upload, first, count, .. } => {
                let found = self.naive.uploads[upload as usize].read(&self.owner.spec, first, count).to_vec();
                self.send_bytes(&found);
            }
            Instruction::Keep { block } => {
                let kept = &mut self.naive.uploads[block.upload as usize].kept;
                kept.insert(block.block, body.to_vec());
            }
        }
        Due::Nothing
    }

    /// Operands of shared memory, once they are named.
    fn fetch(&mut self, left: &Left, right: u32) {
        let names = match left {
            Left::Operand(name) => vec![*name, right],
            _ => vec![right],
        };
        for name in names {
            let Some((at, len)) = self.laid.remove(&name) else { continue };
            let mut residues = vec![0; len];
            self.refinery.shared.as_ref().unwrap().operands.read(at as usize, &mut residues).unwrap();
            self.naive.rows(name, 0, &residues);
        }
    }

    fn send_bytes(&mut self, bytes: &[u8]) {
        let len = bytes.len() as u64;
        match &mut self.refinery.shared {
            Some(shared) => {
                let mut whole = bytes.to_vec();
                whole.resize(bytes.len().next_multiple_of(8), 0);
                let words: Vec<u64> =
                    whole.as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b)).collect();
                let place = Place { start: shared.lay(&words), len: words.len() as u64 };
                self.refinery.send(&ToWarden::Bytes { place: Some(place), len }, &[]);
            }
            None => self.refinery.send(&ToWarden::Bytes { place: None, len }, bytes),
        }
    }

    /// Sends a product: whole in shared memory, or in frames.
    pub fn send_product(&mut self, residues: &[u64]) {
        let (shared, count) = (self.refinery.shared.as_mut(), residues.len() as u64);
        if let Some(shared) = shared {
            let place = Some(Place { start: shared.lay(residues), len: count });
            return self.refinery.send(&ToWarden::Product { residues: count, place }, &[]);
        }
        self.refinery.send(&ToWarden::Product { residues: count, place: None }, &[]);
        for piece in residues.chunks(MAX_PIECE / 8) {
            let bytes: Vec<u8> = piece.iter().flat_map(|r| r.to_le_bytes()).collect();
            self.refinery.send(&ToWarden::Residues { count: piece.len() as u64 }, &bytes);
        }
    }

    /// The instruction that comes next, or how the command ended.
    pub fn next(&mut self) -> Result<(Instruction, Vec<u8>), (Outcome, Vec<u8>)> {
        loop {
            match self.refinery.receive() {
                (FromWarden::Do(instruction), body) => return Ok((instruction, body)),
                (FromWarden::Finished(outcome), body) => return Err((outcome, body)),
                (FromWarden::Progress(_), _) => {}
                other => panic!("{other:?} where an instruction is due"),
            }
        }
    }

    /// Goes on until the command ends, products as `answer` says.
    pub fn follow(
        &mut self,
        mut answer: impl FnMut(&mut Self, ProductShape, Vec<u64>),
    ) -> (Outcome, Vec<u8>) {
        loop {
            match self.next() {
                Err(ended) => return ended,
                Ok((instruction, body)) => match self.carry_out(instruction, &body) {
                    Due::Product(shape, residues) => answer(self, shape, residues),
                    Due::Labels(labels) => self.refinery.send(&ToWarden::Labels, &labels),
                    Due::Nothing => {}
                },
            }
        }
    }

    /// The same with right products.
    pub fn follow_rightly(&mut self) -> (Outcome, Vec<u8>) {
        self.follow(|playing, _, residues| playing.send_product(&residues))
    }

    /// Forgets the operands of a command that ended.
    pub fn forget(&mut self) {
        self.naive = Naive::new(&self.owner.spec, std::mem::take(&mut self.naive.uploads));
        self.laid.clear();
    }

    /// Runs the round, every product by `answer`: it is refused in these words, and the warden goes on.
    pub fn assert_refused(&mut self, words: &str, answer: impl FnMut(&mut Self, ProductShape, Vec<u64>)) {
        self.begin();
        match self.follow(answer).0 {
            Outcome::Fault { instruction: message, .. } | Outcome::Refused { message } => {
                assert!(message.contains(words), "{words:?} is not in: {message}");
            }
            other => panic!("{other:?} where a refusal is due"),
        }
        self.forget();
        self.refinery.assert_serves();
    }
}
