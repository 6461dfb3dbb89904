//! Products of encrypted matrices against float32 products of the same shape, interleaved in one run, so
//! that a busy machine slows both: `cargo run --release --example ratio [threads [filter]]`. With one thread
//! it is processor time that counts, because a busy machine interrupts longer runs more often.

use std::time::{Duration, Instant};

use blindsmith_compute::{Buffer, Operand, Orientation, Output, Product, Strip, backend};
use blindsmith_ring::backend as ring;
use blindsmith_ring::{LANES, Lanes, PACKED_BYTES_PER_LANES, Q};

const POINTS: usize = 2048;
const ROUNDS: usize = 15;

/// A layer's product: rows x inputs x outputs in tiles (m, n, p).
struct Case {
    name: &'static str,
    shape: [usize; 3],
    tile: [usize; 3],
    orientation: Orientation,
    output: Output,
    packed: bool,
    masks: bool,
}

/// Strips that own their residues, in huge pages.
struct Matrix {
    lanes: Buffer,
    packed: Vec<Vec<u8>>,
    length: usize,
}

impl Matrix {
    fn new(strips: usize, length: usize, packed: bool) -> Self {
        let mut x = 0x9e37_79b9_7f4a_7c15 ^ (strips * length) as u64;
        let mut next = || {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x % Q
        };
        let mut lanes = Buffer::zeroed(strips * POINTS / LANES * length).expect("memory");
        lanes.fill_with(|| Lanes(std::array::from_fn(|_| next())));
        let pack = |strip: &[Lanes]| {
            let mut bytes = vec![0; strip.len() * PACKED_BYTES_PER_LANES];
            ring::active().pack(&mut bytes, bytemuck::cast_slice(strip));
            bytes
        };
        let chunks = lanes.chunks_exact(POINTS / LANES * length);
        let packed = if packed { chunks.map(pack).collect() } else { Vec::new() };
        Matrix { lanes, packed, length }
    }

    fn strips(&self) -> Vec<Strip<'_>> {
        if self.packed.is_empty() {
            self.lanes.chunks_exact(POINTS / LANES * self.length).map(Strip::Lanes).collect()
        } else {
            self.packed.iter().map(|x| Strip::Packed(x)).collect()
        }
    }
}

fn operand<'a>(matrix: &Matrix, strips: &'a [Strip<'a>], masked: bool) -> Operand<'a> {
    let (mask, body) = strips.split_last().expect("strips");
    let made = if masked {
        Operand::new(POINTS, body, matrix.length).and_then(|x| x.with_mask(*mask))
    } else {
        Operand::new(POINTS, strips, matrix.length)
    };
    made.expect("an operand")
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

fn time(threads: usize, f: impl FnOnce()) -> f64 {
    let processor = || -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        time.try_into().expect("a time after the start")
    };
    let (start, start_processor) = (Instant::now(), processor());
    f();
    let (wall, processor) = (start.elapsed(), processor() - start_processor);
    if threads == 1 { processor.as_secs_f64() } else { wall.as_secs_f64() }
}

fn measure(case: &Case, threads: usize) {
    let [rows, inputs, outputs] = case.shape;
    let [m, n, p] = case.tile;
    let [r, k, c] = [rows.div_ceil(m), inputs.div_ceil(n), outputs.div_ceil(p)];
    let forward = case.orientation == Orientation::Forward;
    let input = case.orientation == Orientation::InputGradient;
    let (left_mask, right_mask) = (case.masks && (forward || input), case.masks && !input);
    // Left: rows x inputs (rows x outputs for the input gradient). Right: inputs x outputs, or rows x outputs.
    let left = Matrix::new(r + usize::from(left_mask), if input { c } else { k }, case.packed);
    let right = Matrix::new(c + usize::from(right_mask), if forward || input { k } else { r }, false);
    let (left_strips, right_strips) = (left.strips(), right.strips());
    let a = operand(&left, &left_strips, left_mask);
    let b = operand(&right, &right_strips, right_mask);
    let product = Product::new(case.orientation, a, b, case.output).expect("a product");
    let mut out = Buffer::zeroed(product.layout().len() / LANES).expect("memory");
    let out: &mut [u64] = bytemuck::cast_slice_mut(&mut out);

    let (x, w, mut z) = (vec![1f32; rows * inputs], vec![1f32; inputs * outputs], vec![0f32; rows * outputs]);
    let parallelism = if threads == 1 { gemm::Parallelism::None } else { gemm::Parallelism::Rayon(threads) };
    let mut plain = || {
        // SAFETY: row-major matrices of these sizes.
        unsafe {
            let (i, o) = (inputs as isize, outputs as isize);
            gemm::gemm(
                rows,
                outputs,
                inputs,
                z.as_mut_ptr(),
                1,
                o,
                false,
                x.as_ptr(),
                1,
                i,
                w.as_ptr(),
                1,
                o,
                0.0,
                1.0,
                false,
                false,
                false,
                parallelism,
            );
        }
    };
    let (mut encrypted_s, mut plain_s) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        plain_s.push(time(threads, &mut plain));
        encrypted_s.push(time(threads, || product.compute_on(chosen(), false, out).expect("a buffer")));
    }
    let (encrypted, plain) = (median(encrypted_s), median(plain_s));
    let gmacs = (rows * inputs * outputs) as f64 / encrypted / 1e9;
    println!(
        "{:44} {:8.3} ms, float32 {:7.3} ms, ratio {:6.2}, {gmacs:6.1} GMAC/s",
        case.name,
        encrypted * 1e3,
        plain * 1e3,
        encrypted / plain
    );
}

fn chosen() -> &'static dyn backend::Backend {
    let name = std::env::var("BLINDSMITH_BACKEND").unwrap_or_default();
    *backend::available().iter().find(|b| b.name() == name).unwrap_or(&backend::available()[0])
}

fn main() {
    let filter = std::env::args().nth(2).unwrap_or_default();
    let threads = std::env::args().nth(1).and_then(|x| x.parse().ok()).unwrap_or(1);
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().expect("the first pool");
    println!("{} on {threads} thread(s), transforms by {}", chosen().name(), ring::active().name());
    use Orientation::{Forward, InputGradient, WeightGradient};
    let wide = [1024, 784, 512];
    let tile = [16, 16, 8];
    let case = |name, orientation, output| Case {
        name,
        shape: wide,
        tile,
        orientation,
        output,
        packed: false,
        masks: false,
    };
    let ten = Case { shape: [1024, 784, 10], tile: [32, 32, 2], ..case("", Forward, Output::FoldEval(32)) };
    for case in [
        case("Z 1024x784x512, points folded", Forward, Output::FoldEval(16)),
        case("Z, fold", Forward, Output::Fold(16)),
        Case { masks: true, ..case("Z, fold, masks", Forward, Output::Fold(16)) },
        Case { packed: true, masks: true, ..case("Z, fold, masks, packed X", Forward, Output::Fold(16)) },
        case("G, full", WeightGradient, Output::Full),
        case("G, window", WeightGradient, Output::Window(128)),
        Case {
            masks: true,
            packed: true,
            ..case("G, window, mask, packed X", WeightGradient, Output::Window(128))
        },
        case("D, comb", InputGradient, Output::Comb { stride: 128, width: 16 }),
        Case { name: "Z 1024x784x10, points folded", ..ten },
        Case { name: "Z 1024x784x10, fold, masks", output: Output::Fold(32), masks: true, ..ten },
        Case {
            name: "Z 1024x784x10, fold, masks, packed X",
            output: Output::Fold(32),
            masks: true,
            packed: true,
            ..ten
        },
        Case {
            name: "G 1024x784x10, window, mask",
            orientation: WeightGradient,
            output: Output::Window(64),
            masks: true,
            ..ten
        },
    ] {
        if case.name.contains(&filter) {
            measure(&case, threads);
        }
    }
}
