//! Reports through Linux's configfs-tsm (6.7 or later; `Documentation/ABI/testing/configfs-tsm-report`): quotes of TDX
//! guests, reports of SEV-SNP guests.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::attester::{AttestError, Attester, MAX_REPORT, Report, check_echo, io};
use crate::claims::Tee;

/// Where the kernel has the reports.
pub const REPORTS: &str = "/sys/kernel/config/tsm/report";

/// Names that are tried before it is given up.
const TRIES: usize = 4;
/// Where an SNP report has its report data.
const SNP_DATA: usize = 0x50;
/// Where the body of a TD report has them.
const TD_DATA: usize = 520;
/// A quote's header.
const HEADER: usize = 48;

/// The seam to the kernel: entries that are made, whose attributes are read and written, and that are removed.
pub trait Kernel: Send + Sync {
    /// Makes an entry.
    fn make(&self, entry: &str) -> io::Result<()>;
    /// Reads an attribute, at most `most` bytes and one more.
    fn read(&self, entry: &str, attribute: &str, most: usize) -> io::Result<Vec<u8>>;
    /// Opens an attribute for writing, writes once, closes.
    fn write(&self, entry: &str, attribute: &str, bytes: &[u8]) -> io::Result<()>;
    /// Removes an entry.
    fn remove(&self, entry: &str) -> io::Result<()>;
}

/// The kernel's own directory.
pub struct Configfs(PathBuf);

impl Configfs {
    /// [`REPORTS`].
    pub fn new() -> Self {
        Configfs(Path::new(REPORTS).into())
    }
}

impl Default for Configfs {
    fn default() -> Self {
        Configfs::new()
    }
}

impl Kernel for Configfs {
    fn make(&self, entry: &str) -> io::Result<()> {
        fs::create_dir(self.0.join(entry))
    }

    fn read(&self, entry: &str, attribute: &str, most: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(self.0.join(entry).join(attribute))?.take(most as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn write(&self, entry: &str, attribute: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = File::options().write(true).open(self.0.join(entry).join(attribute))?;
        match file.write(bytes)? {
            written if written == bytes.len() => Ok(()),
            written => Err(io::Error::other(format!("{written} of {} bytes were taken", bytes.len()))),
        }
        // The kernel takes the bytes when the file is closed, and an error of that is lost: what is read later tells.
    }

    fn remove(&self, entry: &str) -> io::Result<()> {
        fs::remove_dir(self.0.join(entry))
    }
}

/// Reports of the virtual machine that this program runs in.
pub struct Tsm<K> {
    kernel: K,
    tee: Tee,
}

/// Removes an entry however it ends.
struct Entry<'a, K: Kernel>(&'a K, String);

impl<K: Kernel> Drop for Entry<'_, K> {
    fn drop(&mut self) {
        // It holds no secret; the kernel forgets it with the machine.
        _ = self.0.remove(&self.1);
    }
}

impl<K: Kernel> Tsm<K> {
    /// Reports of this kind; `None` if it is neither TDX nor SEV-SNP.
    pub fn new(kernel: K, tee: Tee) -> Option<Self> {
        matches!(tee, Tee::Tdx | Tee::Snp).then_some(Tsm { kernel, tee })
    }

    fn provider(&self) -> &'static str {
        if self.tee == Tee::Tdx { "tdx_guest" } else { "sev_guest" }
    }

    /// An entry of our own.
    fn entry(&self) -> Result<Entry<'_, K>, AttestError> {
        let mut tries = 0;
        loop {
            let mut random = [0; 16];
            getrandom::fill(&mut random).map_err(|e| io("random bytes")(io::Error::other(e.to_string())))?;
            let name = format!("blindsmith-{:032x}", u128::from_le_bytes(random));
            tries += 1;
            match self.kernel.make(&name) {
                Ok(()) => return Ok(Entry(&self.kernel, name)),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && tries < TRIES => {}
                Err(e) => return Err(io(format!("{REPORTS}/{name}"))(e)),
            }
        }
    }
}

/// An attribute that is a number.
fn number(bytes: &[u8]) -> Result<u64, AttestError> {
    let text = std::str::from_utf8(bytes).ok().map(str::trim);
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| AttestError::Malformed("the kernel's generation is no number".into()))
}

impl<K: Kernel> Attester for Tsm<K> {
    fn tee(&self) -> Tee {
        self.tee
    }

    fn report(&self, data: &[u8; 64]) -> Result<Report, AttestError> {
        let entry = self.entry()?;
        let read = |attribute: &str, most| {
            let bytes =
                self.kernel.read(&entry.1, attribute, most).map_err(io(format!("{REPORTS}: {attribute}")))?;
            match bytes.len() > most {
                true => Err(AttestError::Malformed(format!("{attribute} has more than {most} bytes"))),
                false => Ok(bytes),
            }
        };
        let provider = String::from_utf8_lossy(&read("provider", 64)?).trim().to_owned();
        if provider != self.provider() {
            return Err(AttestError::Provider { expected: self.provider(), found: provider });
        }
        let before = number(&read("generation", 64)?)?;
        self.kernel.write(&entry.1, "inblob", data).map_err(io(format!("{REPORTS}: inblob")))?;
        let report = read("outblob", MAX_REPORT)?;
        let auxiliary = match read("auxblob", MAX_REPORT) {
            // Some providers have none: its file is not there then, or empty.
            Err(AttestError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Vec::new(),
            auxiliary => auxiliary?,
        };
        if number(&read("generation", 64)?)? != before.wrapping_add(1) {
            return Err(AttestError::Race);
        }
        let at = match (self.tee, report.first_chunk::<2>()) {
            (Tee::Snp, _) => SNP_DATA,
            (_, Some([4, 0])) => HEADER + TD_DATA,
            // Version 5 says the kind and the length of the body before it.
            (_, Some([5, 0])) => HEADER + 6 + TD_DATA,
            _ => return Err(AttestError::Malformed("a quote of another version than 4 or 5".into())),
        };
        check_echo(&report, at, data)?;
        Ok(Report { report, auxiliary })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct State {
        entries: BTreeMap<String, Made>,
        made: usize,
        removed: usize,
    }

    #[derive(Default)]
    struct Made {
        generation: u64,
        inblob: Option<Vec<u8>>,
    }

    /// What the kernel does, with a defect.
    #[derive(Default)]
    struct Fake {
        provider: &'static str,
        /// The first entries are there already.
        taken: usize,
        /// Somebody else writes in between.
        race: bool,
        /// What was written is lost when the file is closed.
        lost: bool,
        /// Another report comes back.
        stale: bool,
        oversize: bool,
        auxiliary: bool,
        /// Auxiliary data are there, and cannot be read.
        broken: bool,
        version: u8,
        state: Mutex<State>,
    }

    impl Kernel for &Fake {
        fn make(&self, entry: &str) -> io::Result<()> {
            let mut state = self.state.lock().unwrap();
            state.made += 1;
            if state.made <= self.taken || state.entries.contains_key(entry) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            state.entries.insert(entry.into(), Made::default());
            Ok(())
        }

        fn read(&self, entry: &str, attribute: &str, most: usize) -> io::Result<Vec<u8>> {
            let mut state = self.state.lock().unwrap();
            let made = state.entries.get_mut(entry).ok_or(io::ErrorKind::NotFound)?;
            let bytes = match attribute {
                "provider" => format!("{}\n", self.provider).into_bytes(),
                "generation" => format!("{}\n", made.generation).into_bytes(),
                "outblob" => {
                    let data = made.inblob.clone().ok_or(io::ErrorKind::InvalidInput)?;
                    let data = if self.stale { vec![9; 64] } else { data };
                    let at = match self.version {
                        0 => SNP_DATA,
                        4 => HEADER + TD_DATA,
                        _ => HEADER + 6 + TD_DATA,
                    };
                    let mut report = vec![self.version, 0];
                    report.resize(at, 7);
                    report.extend(data);
                    report.resize(if self.oversize { MAX_REPORT + 9 } else { 1184 }, 8);
                    if self.race {
                        made.generation += 1;
                    }
                    report
                }
                "auxblob" if self.broken => return Err(io::ErrorKind::PermissionDenied.into()),
                "auxblob" if self.auxiliary => vec![1; 100],
                _ => return Err(io::ErrorKind::NotFound.into()),
            };
            Ok(bytes.into_iter().take(most + 1).collect())
        }

        fn write(&self, entry: &str, attribute: &str, bytes: &[u8]) -> io::Result<()> {
            assert_eq!((attribute, bytes.len()), ("inblob", 64));
            let mut state = self.state.lock().unwrap();
            let made = state.entries.get_mut(entry).ok_or(io::ErrorKind::NotFound)?;
            if self.lost {
                made.inblob.get_or_insert_with(|| vec![0; 64]);
                return Ok(());
            }
            (made.inblob, made.generation) = (Some(bytes.to_vec()), made.generation + 1);
            Ok(())
        }

        fn remove(&self, entry: &str) -> io::Result<()> {
            let mut state = self.state.lock().unwrap();
            state.removed += 1;
            state.entries.remove(entry).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
        }
    }

    fn snp() -> Fake {
        Fake { provider: "sev_guest", ..Fake::default() }
    }

    fn tdx() -> Fake {
        Fake { provider: "tdx_guest", version: 4, ..Fake::default() }
    }

    /// Asks, and sees that nothing is left behind.
    fn ask(fake: &Fake, tee: Tee) -> Result<Report, AttestError> {
        let done = Tsm::new(fake, tee).unwrap().report(&[5; 64]);
        let state = fake.state.lock().unwrap();
        assert!(state.entries.is_empty(), "an entry was left");
        done
    }

    #[test]
    fn a_report_holds_what_was_written() {
        let report = ask(&snp(), Tee::Snp).unwrap();
        assert_eq!(report.report[SNP_DATA..SNP_DATA + 64], [5; 64]);
        assert!(report.auxiliary.is_empty(), "a provider without auxiliary data");
        assert_eq!(ask(&Fake { auxiliary: true, ..snp() }, Tee::Snp).unwrap().auxiliary.len(), 100);
        for version in [4, 5] {
            ask(&Fake { version, ..tdx() }, Tee::Tdx).unwrap();
        }
        assert!(Tsm::new(&snp(), Tee::Sgx).is_none() && Tsm::new(&snp(), Tee::Simulated).is_none());
    }

    #[test]
    fn an_entry_that_is_there_is_not_used() {
        let fake = Fake { taken: 2, ..snp() };
        ask(&fake, Tee::Snp).unwrap();
        assert_eq!(fake.state.lock().unwrap().made, 3);
        let fake = Fake { taken: 100, ..snp() };
        assert!(matches!(ask(&fake, Tee::Snp), Err(AttestError::Io { .. })));
        assert_eq!(fake.state.lock().unwrap().removed, 0, "those of others stay");
    }

    #[test]
    fn other_providers_are_refused() {
        for provider in ["arm_cca_guest", "tdx_guest", ""] {
            let refused = ask(&Fake { provider, ..snp() }, Tee::Snp);
            assert!(matches!(refused, Err(AttestError::Provider { .. })), "{provider}");
        }
        assert!(matches!(ask(&snp(), Tee::Tdx), Err(AttestError::Provider { .. })));
    }

    #[test]
    fn defects_are_refused() {
        assert!(matches!(ask(&Fake { race: true, ..snp() }, Tee::Snp), Err(AttestError::Race)));
        assert!(matches!(ask(&Fake { lost: true, ..snp() }, Tee::Snp), Err(AttestError::Race)));
        let broken = ask(&Fake { broken: true, ..snp() }, Tee::Snp).unwrap_err().to_string();
        assert!(broken.contains("auxblob"), "what cannot be read is not taken for missing: {broken}");
        assert!(matches!(ask(&Fake { stale: true, ..snp() }, Tee::Snp), Err(AttestError::Echo)));
        assert!(matches!(ask(&Fake { stale: true, ..tdx() }, Tee::Tdx), Err(AttestError::Echo)));
        assert!(matches!(ask(&Fake { oversize: true, ..snp() }, Tee::Snp), Err(AttestError::Malformed(_))));
        assert!(matches!(ask(&Fake { version: 3, ..tdx() }, Tee::Tdx), Err(AttestError::Malformed(_))));
    }

    #[test]
    fn without_the_interface_its_directory_is_named() {
        let nowhere = Tsm::new(Configfs("/nowhere".into()), Tee::Tdx).unwrap();
        assert!(nowhere.report(&[0; 64]).unwrap_err().to_string().contains(REPORTS));
    }
    /// An ordinary directory shows what is done with the files, not what a kernel makes of it.
    #[test]
    fn an_attribute_is_written_once_and_closed_and_never_made() {
        let dir = std::env::temp_dir().join(format!("blindsmith-tsm-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let kernel = Configfs(dir.clone());
        kernel.make("e").unwrap();
        assert_eq!(kernel.make("e").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        // In configfs the kernel makes the attributes.
        assert_eq!(kernel.write("e", "inblob", &[5; 64]).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(fs::read_dir(dir.join("e")).unwrap().count(), 0);

        let inblob = dir.join("e/inblob");
        assert!(std::process::Command::new("mkfifo").arg(&inblob).status().unwrap().success());
        let reader = std::thread::spawn(move || {
            let (mut pipe, mut bytes) = (File::open(inblob).unwrap(), [0; 128]);
            let first = pipe.read(&mut bytes).unwrap();
            // The end comes with the close.
            (bytes[..first].to_vec(), pipe.read(&mut bytes).unwrap())
        });
        kernel.write("e", "inblob", &[5; 64]).unwrap();
        assert_eq!(reader.join().unwrap(), (vec![5; 64], 0));

        fs::write(dir.join("e/outblob"), [7; 100]).unwrap();
        assert_eq!(kernel.read("e", "outblob", 200).unwrap(), [7; 100]);
        assert_eq!(
            kernel.read("e", "outblob", 60).unwrap().len(),
            61,
            "one more than the limit, and no more"
        );
        fs::remove_file(dir.join("e/inblob")).unwrap();
        fs::remove_file(dir.join("e/outblob")).unwrap();
        kernel.remove("e").unwrap();
        assert!(!dir.join("e").exists());
        fs::remove_dir_all(&dir).unwrap();
    }
}
