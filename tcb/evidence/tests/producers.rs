//! The protocols with kernel and Gramine, against fakes that behave as those do, and as they should not.

use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;

use blindsmith_evidence::*;

const DATA: [u8; 64] = [0x5a; 64];

/// A real quote or report, from the hardware that is named.
fn fixture(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../client/attest/tests/evidence");
    std::fs::read(format!("{folder}/{name}")).unwrap()
}

/// What hardware would have made of other report data; its signature does not hold, but nobody looks here.
fn on(template: &[u8], at: usize, data: &[u8]) -> Vec<u8> {
    [&template[..at], data, &template[at + 64..]].concat()
}

/// Where the report data of these lie, by the table of the fixtures.
const TDX: (&str, usize) = ("tdx/tdx-v4.quote", 568);
const SNP: (&str, usize) = ("snp/milan-v3.report", 0x50);
const SGX: (&str, usize) = ("sgx/sgx-v3.quote", 368);

#[test]
fn report_data_lie_where_hardware_puts_them() {
    for (tee, name, at) in [
        (TeeKind::Sgx, SGX.0, SGX.1),
        (TeeKind::Sgx, "sgx/sgx-v3-debug.quote", 368),
        (TeeKind::Tdx, TDX.0, TDX.1),
        (TeeKind::Tdx, "tdx/tdx-v4-debug.quote", 568),
        (TeeKind::Tdx, "tdx/tdx-v5-td15.quote", 574),
        (TeeKind::Tdx, "tdx/tdx-v5-td15ex.quote", 574),
        (TeeKind::Snp, "snp/milan-v2.report", 0x50),
        (TeeKind::Snp, SNP.0, SNP.1),
        (TeeKind::Snp, "snp/milan-v3-vlek.report", 0x50),
        (TeeKind::Snp, "snp/genoa-v3-azure.report", 0x50),
    ] {
        let bytes = fixture(name);
        assert_eq!(echoed(tee, &bytes).unwrap(), bytes[at..at + 64], "{name}");
        assert_eq!(echoed(tee, &on(&bytes, at, &DATA)), Some(DATA), "{name}");
        for other in TeeKind::ALL.into_iter().filter(|other| *other != tee) {
            assert_eq!(echoed(other, &bytes), None, "{name} is no report of {other}");
        }
        for len in 0..bytes.len().min(1300) {
            // Bytes behind the report are a signature, whose length is the appraiser's business.
            let cut = echoed(tee, &bytes[..len]);
            assert!(cut.is_none() || tee != TeeKind::Snp && len > at + 64, "{name} cut off at {len}");
        }
    }
    // Two of them say in ASCII what they were made for.
    assert!(echoed(TeeKind::Sgx, &fixture(SGX.0)).unwrap().starts_with(b"Hello, world!"));
    assert!(echoed(TeeKind::Snp, &fixture(SNP.0)).unwrap().starts_with(b"attest-test-fixture-2026"));
}

/// What is wrong with the kernel, or with its neighbours.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Defect {
    None,
    NoTsm,
    NoProvider,
    NamesTaken(usize),
    NotWritable,
    ShortWrite,
    CommitLost,
    SomebodyWritesToo,
    SomebodyWritesLate,
    StaleReport,
    NoReport,
    CutOff,
    LongReport,
    LongAuxblob,
    AuxblobFails,
    BinaryProvider,
    WordsForGeneration,
    LastGeneration,
    RemoveFails,
}

/// The kernel's files as `drivers/virt/coco/tsm` has them.
struct Fake {
    provider: &'static str,
    template: (&'static str, usize),
    defect: Defect,
    auxblob: Option<Vec<u8>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<String, Entry>,
    made: usize,
    taken: usize,
}

#[derive(Default)]
struct Entry {
    generation: u64,
    inblob: Vec<u8>,
    reads: usize,
}

fn errno(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

const ENOENT: i32 = 2;
const EIO: i32 = 5;
const ENXIO: i32 = 6;
const EACCES: i32 = 13;
const EEXIST: i32 = 17;
const EBUSY: i32 = 16;
const EINVAL: i32 = 22;

impl Fake {
    fn new(provider: &'static str, template: (&'static str, usize)) -> Self {
        Fake { provider, template, defect: Defect::None, auxblob: None, state: Mutex::default() }
    }

    fn with(defect: Defect) -> Self {
        Fake { defect, ..Fake::new("tdx_guest", TDX) }
    }

    /// How many entries were made, and how many are left.
    fn entries(&self) -> (usize, usize) {
        let state = self.state.lock().unwrap();
        (state.made, state.entries.len())
    }
}

impl Kernel for &Fake {
    fn make(&self, entry: &str) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        match self.defect {
            Defect::NoTsm => return Err(errno(ENOENT)),
            Defect::NoProvider => return Err(errno(ENXIO)),
            Defect::NamesTaken(most) if state.taken < most => {
                state.taken += 1;
                return Err(errno(EEXIST));
            }
            _ => {}
        }
        if state.entries.contains_key(entry) {
            return Err(errno(EEXIST));
        }
        state.made += 1;
        let generation = if self.defect == Defect::LastGeneration { u64::MAX } else { 0 };
        state.entries.insert(entry.into(), Entry { generation, ..Entry::default() });
        Ok(())
    }

    fn read(&self, entry: &str, attribute: &str, most: usize) -> io::Result<Vec<u8>> {
        let mut state = self.state.lock().unwrap();
        let entry = state.entries.get_mut(entry).ok_or_else(|| errno(ENOENT))?;
        let bytes = match attribute {
            "provider" if self.defect == Defect::BinaryProvider => vec![0xff],
            "provider" => format!("{}\n", self.provider).into(),
            "generation" if self.defect == Defect::WordsForGeneration => b"first\n".to_vec(),
            "generation" => format!("{}\n", entry.generation).into(),
            "outblob" => {
                if entry.inblob.is_empty() {
                    return Err(errno(EINVAL));
                }
                entry.reads += 1;
                let report = on(&fixture(self.template.0), self.template.1, &entry.inblob);
                match self.defect {
                    Defect::StaleReport => fixture(self.template.0),
                    Defect::NoReport => return Err(errno(EIO)),
                    Defect::CutOff => report[..600].to_vec(),
                    Defect::LongReport => vec![0; MAX_REPORT + 1],
                    Defect::SomebodyWritesLate => {
                        entry.generation += 1;
                        report
                    }
                    _ => report,
                }
            }
            "auxblob" => match self.defect {
                Defect::LongAuxblob => vec![0; MAX_AUXBLOB + 1],
                Defect::AuxblobFails => return Err(errno(EIO)),
                _ => self.auxblob.clone().ok_or_else(|| errno(ENOENT))?,
            },
            other => panic!("{other} is not to be read"),
        };
        Ok(bytes.into_iter().take(most).collect())
    }

    fn write(&self, entry: &str, attribute: &str, bytes: &[u8]) -> io::Result<()> {
        assert_eq!(attribute, "inblob", "the only one that is to be written");
        let mut state = self.state.lock().unwrap();
        let entry = state.entries.get_mut(entry).ok_or_else(|| errno(ENOENT))?;
        assert_eq!(bytes.len(), 64);
        match self.defect {
            Defect::NotWritable => return Err(errno(EACCES)),
            Defect::ShortWrite => return Err(io::ErrorKind::WriteZero.into()),
            // The close fails, and nobody is told.
            Defect::CommitLost => return Ok(()),
            Defect::SomebodyWritesToo => entry.generation += 1,
            _ => {}
        }
        entry.generation += 1;
        entry.inblob = bytes.to_vec();
        Ok(())
    }

    fn remove(&self, entry: &str) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        if self.defect == Defect::RemoveFails {
            return Err(errno(EBUSY));
        }
        state.entries.remove(entry).map(drop).ok_or_else(|| errno(ENOENT))
    }
}

#[test]
fn guests_of_both_kinds_get_reports() {
    for (provider, template, tee) in [
        ("tdx_guest", TDX, TeeKind::Tdx),
        ("tdx_guest", ("tdx/tdx-v5-td15.quote", 574), TeeKind::Tdx),
        ("sev_guest", SNP, TeeKind::Snp),
    ] {
        for auxblob in [None, Some(vec![]), Some(vec![1; MAX_AUXBLOB])] {
            let kernel = Fake { auxblob: auxblob.clone(), ..Fake::new(provider, template) };
            let attester = ConfigFsTsm::new(&kernel, tee).unwrap();
            for _ in 0..3 {
                let report = attester.report(&DATA).unwrap();
                assert_eq!(report.report, on(&fixture(template.0), template.1, &DATA));
                assert_eq!(report.auxblob, auxblob.clone().unwrap_or_default());
            }
            assert_eq!(kernel.entries(), (3, 0), "an entry a report, none left");
        }
    }
}

#[test]
fn names_that_are_taken_are_not_used() {
    let kernel = Fake::with(Defect::NamesTaken(3));
    ConfigFsTsm::new(&kernel, TeeKind::Tdx).unwrap().report(&DATA).unwrap();
    assert_eq!(kernel.entries(), (1, 0));
}

#[test]
fn a_kernel_that_does_otherwise_is_refused_and_no_entry_stays() {
    for (defect, words) in [
        (Defect::NoTsm, "is configfs mounted"),
        (Defect::NoProvider, "no provider"),
        (Defect::NamesTaken(8), "8 names"),
        (Defect::NotWritable, "user needs to read and write"),
        (Defect::ShortWrite, "writing inblob"),
        (Defect::CommitLost, "generation 0, not at 1"),
        (Defect::SomebodyWritesToo, "generation 2, not at 1"),
        (Defect::SomebodyWritesLate, "generation 2, not at 1"),
        (Defect::StaleReport, "other data"),
        (Defect::NoReport, "reading outblob"),
        (Defect::CutOff, "the report is not what"),
        (Defect::LongReport, "outblob has more than 32768"),
        (Defect::LongAuxblob, "auxblob has more than 28672"),
        (Defect::AuxblobFails, "reading auxblob"),
        (Defect::BinaryProvider, "provider is not what"),
        (Defect::WordsForGeneration, "generation is not what"),
        (Defect::LastGeneration, "generation is not what"),
    ] {
        let kernel = Fake::with(defect);
        let error = ConfigFsTsm::new(&kernel, TeeKind::Tdx).unwrap().report(&DATA).unwrap_err();
        assert!(error.to_string().contains(words), "{defect:?}: {error}");
        assert_eq!(kernel.entries().1, 0, "{defect:?}: the entry is removed");
    }
}

#[test]
fn an_entry_that_stays_is_told() {
    let kernel = Fake::with(Defect::RemoveFails);
    let error = ConfigFsTsm::new(&kernel, TeeKind::Tdx).unwrap().report(&DATA).unwrap_err();
    assert!(error.to_string().starts_with("rmdir"), "{error}");
}

#[test]
fn providers_of_another_kind_are_refused() {
    for (provider, tee) in [
        ("arm_cca_guest", TeeKind::Tdx),
        ("", TeeKind::Tdx),
        ("sev_guest", TeeKind::Tdx),
        ("tdx_guest", TeeKind::Snp),
    ] {
        let kernel = Fake::new(provider, TDX);
        let error = ConfigFsTsm::new(&kernel, tee).unwrap().report(&DATA).unwrap_err();
        assert!(matches!(&error, AttestError::Provider { found, .. } if found == provider), "{error}");
        assert_eq!(kernel.entries(), (1, 0));
    }
    for tee in [TeeKind::Simulated, TeeKind::Sgx] {
        assert!(ConfigFsTsm::new(&Fake::new("tdx_guest", TDX), tee).is_err(), "{tee}");
    }
}

#[test]
fn a_machine_without_the_interface_says_so() {
    let error = ConfigFsTsm::new(ConfigFs::at("/proc/self/no-such-folder"), TeeKind::Snp).unwrap();
    let error = error.report(&DATA).unwrap_err().to_string();
    assert!(error.starts_with("mkdir") && error.contains("configfs"), "{error}");
}

#[test]
fn attributes_are_read_up_to_a_limit_and_written_at_once() {
    let root = std::env::temp_dir().join(format!("blindsmith-evidence-{}", std::process::id()));
    std::fs::create_dir_all(&root).unwrap();
    let kernel = ConfigFs::at(&root);
    kernel.make("entry").unwrap();
    assert_eq!(kernel.make("entry").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    let missing = kernel.write("entry", "inblob", &DATA).unwrap_err();
    assert_eq!(missing.kind(), io::ErrorKind::NotFound, "the kernel makes the attributes, nobody else");
    std::fs::write(root.join("entry/inblob"), b"").unwrap();
    kernel.write("entry", "inblob", &DATA).unwrap();
    assert_eq!(kernel.read("entry", "inblob", 65).unwrap(), DATA);
    assert_eq!(kernel.read("entry", "inblob", 3).unwrap(), DATA[..3]);
    std::fs::remove_file(root.join("entry/inblob")).unwrap();
    kernel.remove("entry").unwrap();
    std::fs::remove_dir(&root).unwrap();
}

/// Gramine's files, and what may be wrong with them.
struct FakeGramine {
    kind: &'static str,
    report_data: Mutex<Vec<u8>>,
    answer: fn(&[u8]) -> io::Result<Vec<u8>>,
}

fn quote(report_data: &[u8]) -> Vec<u8> {
    on(&fixture(SGX.0), SGX.1, report_data)
}

impl AttestationFiles for &FakeGramine {
    fn read(&self, file: &str, most: usize) -> io::Result<Vec<u8>> {
        let bytes = match file {
            "attestation_type" => self.kind.into(),
            "quote" => {
                let report_data = self.report_data.lock().unwrap().clone();
                // Another request would change it now, if they were not taken in turn.
                std::thread::yield_now();
                (self.answer)(&report_data)?
            }
            other => panic!("{other} is not to be read"),
        };
        Ok(bytes.into_iter().take(most).collect())
    }

    fn write(&self, file: &str, bytes: &[u8]) -> io::Result<()> {
        assert_eq!((file, bytes.len()), ("user_report_data", 64));
        *self.report_data.lock().unwrap() = bytes.to_vec();
        Ok(())
    }
}

fn gramine(kind: &'static str, answer: fn(&[u8]) -> io::Result<Vec<u8>>) -> FakeGramine {
    FakeGramine { kind, report_data: Mutex::default(), answer }
}

#[test]
fn enclaves_get_quotes() {
    for kind in ["dcap", "dcap\n"] {
        let files = gramine(kind, |data| Ok(quote(data)));
        let report = Gramine::new(&files).report(&DATA).unwrap();
        assert_eq!((report.report, report.auxblob), (quote(&DATA), vec![]));
    }
}

#[test]
fn requests_to_gramine_take_turns() {
    let files = gramine("dcap", |data| Ok(quote(data)));
    let attester = Gramine::new(&files);
    std::thread::scope(|scope| {
        for byte in 0..4 {
            let attester = &attester;
            scope.spawn(move || {
                for _ in 0..50 {
                    attester.report(&[byte; 64]).unwrap();
                }
            });
        }
    });
}

#[test]
fn a_gramine_that_does_otherwise_is_refused() {
    type Answer = fn(&[u8]) -> io::Result<Vec<u8>>;
    let right: Answer = |data| Ok(quote(data));
    let cases: [(&str, &str, Answer, &str); 9] = [
        ("no attestation", "none", right, "type is \"none\""),
        ("another attestation", "epid", right, "type is \"epid\""),
        ("an empty type", "", right, "type is \"\""),
        ("a stale quote", "dcap", |_| Ok(fixture(SGX.0)), "other data"),
        ("a quote cut off", "dcap", |data| Ok(quote(data)[..400].to_vec()), "the report is not"),
        ("a quote of a TD", "dcap", |data| Ok(on(&fixture(TDX.0), TDX.1, data)), "the report is not"),
        ("no quote", "dcap", |_| Ok(vec![]), "the report is not"),
        ("an endless quote", "dcap", |_| Ok(vec![0; 1 << 20]), "more than 32768"),
        ("a failing quoting enclave", "dcap", |_| Err(errno(EACCES)), "reading /dev/attestation/quote"),
    ];
    for (defect, kind, answer, words) in cases {
        let files = gramine(kind, answer);
        let error = Gramine::new(&files).report(&DATA).expect_err(defect);
        assert!(error.to_string().contains(words), "{defect}: {error}");
    }
}

#[test]
fn outside_of_gramine_there_is_no_quote() {
    let error = Gramine::new(DevAttestation::system()).report(&DATA).unwrap_err();
    assert!(error.to_string().contains("attestation_type"), "{error}");
}

/// The first report is right, later ones are about something else.
#[derive(Default)]
struct Forgetful(Mutex<usize>);

impl Attester for Forgetful {
    fn tee(&self) -> TeeKind {
        TeeKind::Snp
    }

    fn report(&self, data: &[u8; 64]) -> Result<Report, AttestError> {
        let mut asked = self.0.lock().unwrap();
        *asked += 1;
        let data = if *asked == 1 { *data } else { [0; 64] };
        Ok(Report { report: on(&fixture(SNP.0), SNP.1, &data), auxblob: vec![] })
    }
}

#[test]
fn evidence_is_not_made_of_a_report_on_something_else() {
    let claims = Claims {
        tee: TeeKind::Snp,
        suite: Suite::X25519,
        key: vec![1; 32],
        receipts: blindsmith_identity::PublicKey([2; 32]),
        nonce: [3; 32],
        policy: [4; 32],
        parameters: [5; 32],
        build: String::new(),
    };
    let attester = Forgetful::default();
    let evidence = attest(&attester, &claims).unwrap();
    assert_eq!(echoed(TeeKind::Snp, &evidence.report), Some(report_data(&claims.encode().unwrap())));
    assert!(matches!(attest(&attester, &claims), Err(AttestError::Stale)));
}
