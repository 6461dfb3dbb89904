//! The refinery's side of a link, played by a test.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::Duration;

use blindsmith_evidence::{Claims, Simulated};
use blindsmith_identity::{AttestRequest, Purpose, SigningKey, sign_request};
use blindsmith_keys::{Key, Suite};
use blindsmith_protocol::{
    Blob, FrameError, FromWarden, Id, Instruction, Lane, MAX_BODY, Outcome, ToWarden, read_body, read_head,
    write_frame,
};
use blindsmith_shared::{Arena, Range, Region};
use blindsmith_warden::{Appraiser, Identity, MemoryCounters, Projects, Tee, serve};

/// What simulated wardens of tests say that their program is.
pub const PROGRAM: [u8; 32] = [7; 32];

/// A warden that may be served again and again, by a refinery after another.
pub fn identity() -> &'static Identity {
    identity_of(&Key::random())
}

/// A warden that seals under this key, and has counted nothing.
pub fn identity_of(sealing: &Key) -> &'static Identity {
    let (own, other) = UnixStream::pair().unwrap();
    std::thread::spawn(move || blindsmith_appraiser::serve(other));
    identity_with(sealing, Appraiser::ready(own).unwrap())
}

/// One that has this appraiser.
pub fn identity_with(sealing: &Key, appraiser: Appraiser) -> &'static Identity {
    let counters = Box::new(MemoryCounters::default());
    let attester = Simulated::new(SigningKey::from_seed(Key::random().expose()), PROGRAM);
    let mut identity = Identity::new(Box::new(attester), sealing.duplicate(), counters).unwrap();
    identity.appraiser = appraiser;
    Box::leak(Box::new(identity))
}

/// Asks for evidence, for somebody's query.
pub fn attest(nonce: [u8; 32]) -> ToWarden {
    let (asker, purpose) = (SigningKey::from_seed(&[1; 32]), Purpose::Query);
    let kem = Suite::X25519.number();
    let request = AttestRequest { project: Id([2; 32]), nonce, policy: [3; 32], kem, purpose };
    ToWarden::Attest { asker: asker.verifying().into(), request: Blob(sign_request(&request, &asker)) }
}

pub struct Refinery {
    stream: UnixStream,
    pub shared: Option<Shared>,
    warden: JoinHandle<Result<(), FrameError>>,
}

/// The two regions of a link: operands, which the warden writes, and products.
pub struct Shared {
    pub operands: Region,
    products: Region,
    arena: Arena,
    /// What was named to the warden stays where it is.
    named: Vec<Range>,
}

impl Shared {
    /// Lays residues, filled up to whole groups of eight, where the warden reads them: the first one's index.
    pub fn lay(&mut self, residues: &[u64]) -> u64 {
        let mut whole = residues.to_vec();
        whole.resize(residues.len().next_multiple_of(8), 0);
        let range = self.arena.take(whole.len() / 8).unwrap();
        self.products.write(&range, 0, &whole).unwrap();
        self.named.push(range);
        8 * self.named.last().unwrap().start() as u64
    }
}

impl Refinery {
    /// A link to this warden, which has said hello.
    pub fn of(identity: &'static Identity) -> Self {
        Refinery::linked(identity, false)
    }

    /// The same with shared memory if `share`.
    pub fn linked(identity: &'static Identity, share: bool) -> Self {
        let (mut stream, other) = UnixStream::pair().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let warden =
            std::thread::spawn(move || serve(identity, &Projects::default(), Lane::Rounds, other, share));
        // The regions come with the first byte.
        let mut first = [0];
        let (_, regions) = blindsmith_shared::receive(&stream, &mut first).unwrap();
        let (hello, body) = read_head(&mut (&first[..]).chain(&mut stream)).unwrap();
        let FromWarden::Hello { tee, shared, .. } = hello else { panic!("{hello:?} where hello is due") };
        assert_eq!(
            (tee.as_str(), shared, body, regions.len()),
            ("simulated", share, 0, 2 * usize::from(share))
        );
        let mut regions = regions.into_iter().map(|region| Region::map(region).unwrap());
        let shared = regions.next().zip(regions.next()).map(|(operands, products)| Shared {
            arena: Arena::new(products.len()),
            operands,
            products,
            named: vec![],
        });
        Refinery { stream, shared, warden }
    }

    pub fn send(&mut self, message: &ToWarden, body: &[u8]) {
        write_frame(&mut self.stream, message, &[body]).unwrap();
    }

    /// Whether the warden still took it.
    pub fn try_send(&mut self, message: &ToWarden, body: &[u8]) -> bool {
        write_frame(&mut self.stream, message, &[body]).is_ok()
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub fn receive(&mut self) -> (FromWarden, Vec<u8>) {
        let (message, body) = read_head(&mut self.stream).unwrap();
        (message, read_body(&mut self.stream, body, MAX_BODY).unwrap())
    }

    /// A command that is answered at once.
    pub fn command(&mut self, command: &ToWarden, body: &[u8]) -> (Outcome, Vec<u8>) {
        self.send(command, body);
        match self.receive() {
            (FromWarden::Finished(outcome), body) => (outcome, body),
            other => panic!("{other:?} where an outcome is due"),
        }
    }

    /// Why a command was refused.
    pub fn refusal(&mut self, command: &ToWarden, body: &[u8]) -> String {
        match self.command(command, body) {
            (Outcome::Refused { message }, _) => message,
            other => panic!("{other:?} where a refusal is due"),
        }
    }

    /// Answers instructions and their bodies by `answer` until the command that was sent is finished.
    pub fn follow(&mut self, mut answer: impl FnMut(&mut Self, Instruction, Vec<u8>)) -> Outcome {
        loop {
            match self.receive() {
                (FromWarden::Finished(outcome), _) => return outcome,
                (FromWarden::Progress(_), _) => {}
                (FromWarden::Do(instruction), body) => answer(self, instruction, body),
                other => panic!("{other:?} where an instruction is due"),
            }
        }
    }

    /// Still there: evidence for a fresh nonce.
    pub fn assert_serves(&mut self) {
        self.send(&attest([9; 32]), &[]);
        let (FromWarden::Evidence(evidence), _) = self.receive() else { panic!("evidence is due") };
        let claims = Claims::decode(&evidence.claims.0).unwrap();
        assert_eq!((claims.tee, claims.nonce), (Tee::Simulated, [9; 32]));
    }

    /// Closes the link; what the warden said to it.
    pub fn close(self) -> Result<(), FrameError> {
        _ = self.stream.shutdown(std::net::Shutdown::Write);
        let ended = self.warden.join();
        ended.expect("the warden panicked")
    }

    /// The warden ended the link by itself, saying these words.
    pub fn assert_ended(self, words: &str) {
        let error = self.warden.join().expect("the warden panicked").unwrap_err().to_string();
        assert!(error.contains(words), "{words:?} is not in: {error}");
    }
}
