//! What contributors send is well formed, or named and refused.

use blindsmith_keys::{
    Admission, AdmittedBlock, Encryption, Freshness, Key, Scalars, Secret, UploadContext, UploadKey, combine,
};
use blindsmith_matrix::{MaskSeed, Scale, Tile, View};
use blindsmith_ring::sample::Stream;
use blindsmith_ring::{
    Coeff, Eval, LANES, Lanes, PACKED_BYTES_PER_LANES, Poly, backend, modulus, zeroed_lanes,
};

use super::pair::{data, tile};

const INPUTS: usize = 21;
const ROWS: usize = 13;

/// An upload of a contributor who knows everything that it may know.
struct Upload {
    key: UploadKey,
    masks: Vec<Poly<Eval>>,
    blocks: Vec<Vec<u8>>,
}

fn context() -> UploadContext {
    let tile = Tile::new(4, 8, 8).unwrap();
    UploadContext {
        project: [3; 32],
        mask: MaskSeed([4; 32]),
        tile,
        inputs: INPUTS,
        scale: Scale::from_log2(20),
    }
}

impl Upload {
    fn new() -> Self {
        let (context, rows) = (context(), data(5, ROWS * INPUTS));
        let masks = || context.mask.expand(3, context.tile.degree());
        let (view, seed) = (View::new(&rows, ROWS, INPUTS), Key::random());
        let (key, encryption) = UploadKey::encrypt(&seed, context, view, b"", masks(), Freshness::Fresh);
        let blocks = (0..encryption.shape().strips()).map(|b| packed(&encryption, b)).collect();
        Upload { key, masks: masks(), blocks }
    }

    /// The verdict on each block, and the projections of all of them as one group.
    fn admit(&self, key: &UploadKey) -> (Vec<AdmittedBlock>, Vec<Poly<Eval>>, Scalars, Scalars) {
        let (inputs, rows) = (Scalars::random(3), Key::random());
        let scalars = Scalars::derive(&rows, 0..self.blocks.len());
        let admission = Admission::new(key, ROWS, &self.masks, &inputs, (rows, Key::random()));
        let mut reading = admission.reading();
        let each = |(b, bytes): (usize, &Vec<u8>)| admission.block(b, bytes, &mut reading).unwrap();
        let blocks = self.blocks.iter().enumerate().map(each).collect();
        let group = admission.group(&mut reading);
        (blocks, group, inputs, scalars)
    }

    fn good(&self) -> Vec<bool> {
        self.admit(&self.key).0.iter().map(|block| block.good).collect()
    }

    /// Adds a polynomial to what tile `k` of block `b` encrypts: who knows the secret can add anything.
    fn add(&mut self, b: usize, k: usize, change: impl FnOnce(&mut [u64])) {
        let mut tiles = unpacked(&self.blocks[b], 3);
        let mut poly = Poly::<Coeff>::zero(tiles[0].points());
        change(poly.as_mut_slice());
        tiles[k].add_assign(&poly.into_eval());
        self.blocks[b] = repacked(&tiles);
    }
}

fn packed(encryption: &Encryption<'_>, block: usize) -> Vec<u8> {
    let mut out = vec![0; encryption.strip_lanes() * PACKED_BYTES_PER_LANES];
    encryption.packed_strip(block, &mut encryption.scratch(), &mut out);
    out
}

fn unpacked(bytes: &[u8], len: usize) -> Vec<Poly<Eval>> {
    let mut lanes: Vec<Lanes> = zeroed_lanes(bytes.len() / PACKED_BYTES_PER_LANES);
    assert!(backend::active().unpack(bytemuck::cast_slice_mut(&mut lanes), bytes));
    (0..len).map(|k| tile(&lanes, len, k, lanes.len() / len * LANES)).collect()
}

fn repacked(tiles: &[Poly<Eval>]) -> Vec<u8> {
    let groups = tiles[0].lanes().len();
    let lanes: Vec<Lanes> = (0..groups).flat_map(|g| tiles.iter().map(move |t| t.lanes()[g])).collect();
    let mut bytes = vec![0; lanes.len() * PACKED_BYTES_PER_LANES];
    backend::active().pack(&mut bytes, bytemuck::cast_slice(&lanes));
    bytes
}

#[test]
fn honest_blocks_are_admitted_and_projected() {
    for _ in 0..20 {
        let upload = Upload::new();
        let (blocks, group, inputs, scalars) = upload.admit(&upload.key);
        assert!(blocks.iter().all(|block| block.good));
        let tiles: Vec<Vec<Poly<Eval>>> = upload.blocks.iter().map(|b| unpacked(b, 3)).collect();
        for (block, tiles) in blocks.iter().zip(&tiles) {
            assert!(block.along.as_slice() == combine(tiles, &inputs).as_slice());
        }
        for (k, found) in group.iter().enumerate() {
            let column: Vec<Poly<Eval>> = upload.blocks.iter().map(|b| unpacked(b, 3).remove(k)).collect();
            assert!(found.as_slice() == combine(&column, &scalars).as_slice());
        }
    }
}

/// The same block with something in it that no honest contributor encrypts: named, and it alone.
#[test]
fn attack_ill_formed_tiles_of_a_contributor_are_named() {
    let uniform = |poly: &mut [u64]| {
        poly.copy_from_slice(Stream::new([9; 32]).uniform(0, poly.len()).as_slice());
    };
    // Where a row has an entry, and where none has one: the tile of 4 x 8 of its 256 coefficients.
    let used = context().tile.rows(1, 2).index;
    let unused =
        (0..256).find(|at| (0..4).all(|b| (0..8).all(|i| context().tile.rows(b, i).index != *at))).unwrap();
    // The last block has one row: the others of it are padding.
    let padding = context().tile.rows(3, 0).index;
    type Change<'a> = (&'a str, usize, Box<dyn Fn(&mut [u64]) + 'a>);
    let cases: [Change; 5] = [
        ("a uniform tile", 1, Box::new(uniform)),
        ("an oversized entry", 0, Box::new(|p| p[used] = 1 << 30)),
        ("an oversized negative entry", 0, Box::new(|p| p[used] = modulus::from_signed(-(1 << 30)))),
        ("something where rows have no entry", 2, Box::new(|p| p[unused] = 1 << 12)),
        ("something in padding", 3, Box::new(|p| p[padding] = 1 << 16)),
    ];
    for (name, block, change) in cases {
        let mut escaped = 0;
        for k in [0, 1, 2].repeat(10) {
            let mut upload = Upload::new();
            upload.add(block, k, |poly| change(poly));
            let good = upload.good();
            let others = good.iter().enumerate().filter(|(b, _)| *b != block).all(|(_, good)| *good);
            assert!(others, "{name}: other blocks are refused");
            escaped += usize::from(good[block]);
        }
        // Each of the thirty escapes with probability 2^-24.
        assert!(escaped == 0, "{name} was admitted");
    }
}

/// A thief's header over a victim's ciphertext: under the thief's secrets it is nonsense.
#[test]
fn attack_a_victims_ciphertext_under_another_name_is_refused() {
    let (victim, thief) = (Upload::new(), Upload::new());
    let (blocks, ..) = victim.admit(&thief.key);
    assert!(blocks.iter().all(|block| !block.good));
    // Nor in part: one block of the victim's among the thief's own.
    let mut mixed = thief;
    mixed.blocks[1] = victim.blocks[1].clone();
    assert_eq!(mixed.good(), [true, false, true, true]);
    // Nor one of its own in another place.
    let mut moved = Upload::new();
    moved.blocks.swap(0, 2);
    assert_eq!(moved.good(), [false, true, false, true]);
    let _: Option<Secret> = None;
}

#[test]
fn blocks_of_another_size_or_with_impossible_residues_are_refused() {
    let upload = Upload::new();
    let inputs = Scalars::random(3);
    let admission = Admission::new(&upload.key, ROWS, &upload.masks, &inputs, (Key::random(), Key::random()));
    let mut reading = admission.reading();
    let block = &upload.blocks[0];
    for bytes in [&block[..0], &block[1..], &[block.as_slice(), &[0]].concat(), &vec![0xff; block.len()]] {
        assert!(admission.block(0, bytes, &mut reading).is_err());
    }
    assert!(admission.block(0, block, &mut reading).unwrap().good);
}
