//! Reports of Linux guests by configfs-tsm (kernel 6.7 or later): Intel TDX and AMD SEV-SNP.
//!
//! The kernel's interface (Documentation/ABI/testing/configfs-tsm-report): `mkdir` makes an entry with files in it. 64
//! bytes are written to `inblob`; the write counts when the file is closed, and its error is lost there. `outblob`
//! then is the report, made when it is read. `generation` counts writes, so that a report that others meddled with shows.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::envelope::{answers, system};
use crate::{AttestError, Attester, MAX_AUXBLOB, MAX_REPORT, REPORT_DATA, Report, TeeKind};

/// Where reports are asked for.
const ROOT: &str = "/sys/kernel/config/tsm/report";
/// Longest text attribute, in bytes.
const MAX_TEXT: usize = 64;
/// Names that are tried for an entry.
const MOST_NAMES: usize = 8;
/// ENXIO: what the kernel answers where nobody makes reports.
const NO_SUCH_DEVICE: i32 = 6;

/// The kernel's files: a seam, so that the protocol can be tested where there is no such hardware.
pub trait Kernel: Send + Sync {
    /// Makes an entry: one `mkdir`.
    ///
    /// # Errors
    /// The system's.
    fn make(&self, entry: &str) -> io::Result<()>;

    /// Reads an attribute of an entry to its end, but no more than `most` bytes.
    ///
    /// # Errors
    /// The system's.
    fn read(&self, entry: &str, attribute: &str, most: usize) -> io::Result<Vec<u8>>;

    /// Opens an attribute write-only, writes once, and closes it.
    ///
    /// # Errors
    /// The system's, and one if not all bytes were taken. An error of the close is not seen.
    fn write(&self, entry: &str, attribute: &str, bytes: &[u8]) -> io::Result<()>;

    /// Removes an entry: one `rmdir`.
    ///
    /// # Errors
    /// The system's.
    fn remove(&self, entry: &str) -> io::Result<()>;
}

/// The running kernel's files.
#[derive(Debug, Clone)]
pub struct ConfigFs {
    root: PathBuf,
}

impl ConfigFs {
    /// Where the kernel has them, `/sys/kernel/config/tsm/report`.
    pub fn system() -> Self {
        Self::at(ROOT)
    }

    /// In another place, such as a bind mount of a container.
    pub fn at(root: impl AsRef<Path>) -> Self {
        ConfigFs { root: root.as_ref().to_owned() }
    }
}

impl Kernel for ConfigFs {
    fn make(&self, entry: &str) -> io::Result<()> {
        fs::create_dir(self.root.join(entry))
    }

    fn read(&self, entry: &str, attribute: &str, most: usize) -> io::Result<Vec<u8>> {
        read_most(&self.root.join(entry).join(attribute), most)
    }

    fn write(&self, entry: &str, attribute: &str, bytes: &[u8]) -> io::Result<()> {
        write_once(&self.root.join(entry).join(attribute), bytes)
    }

    fn remove(&self, entry: &str) -> io::Result<()> {
        fs::remove_dir(self.root.join(entry))
    }
}

/// Up to `most` bytes of a file. Its length says nothing: files of the kernel have none.
pub(crate) fn read_most(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// One `write` of all bytes: such files take a request whole or not at all.
pub(crate) fn write_once(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let written = OpenOptions::new().write(true).open(path)?.write(bytes)?;
    if written == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Makes quotes of a TDX guest, or reports of an SEV-SNP guest.
pub struct ConfigFsTsm<K> {
    kernel: K,
    tee: TeeKind,
    provider: &'static str,
}

impl<K: Kernel> ConfigFsTsm<K> {
    /// For a guest of this kind. Nothing is asked of the kernel yet.
    ///
    /// # Errors
    /// For kinds without reports by this interface.
    pub fn new(kernel: K, tee: TeeKind) -> Result<Self, AttestError> {
        let provider = match tee {
            TeeKind::Tdx => "tdx_guest",
            TeeKind::Snp => "sev_guest",
            TeeKind::Sgx | TeeKind::Simulated => {
                return Err(AttestError::Unsupported { tee, producer: "configfs-tsm" });
            }
        };
        Ok(ConfigFsTsm { kernel, tee, provider })
    }

    /// An entry of a name that nobody else has.
    fn enter(&self) -> Result<Entry<'_, K>, AttestError> {
        for _ in 0..MOST_NAMES {
            // By chance, not by number: containers share the kernel's entries but not their process numbers.
            let random =
                getrandom::u64().map_err(|e| system("random name")(io::Error::other(e.to_string())))?;
            let name = format!("blindsmith-{random:016x}");
            match self.kernel.make(&name) {
                Ok(()) => return Ok(Entry { kernel: &self.kernel, name, removed: false }),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) if e.raw_os_error() == Some(NO_SUCH_DEVICE) => return Err(AttestError::NoProvider),
                Err(e) => return Err(system(format!("mkdir {ROOT}/{name}"))(e)),
            }
        }
        Err(AttestError::Names(MOST_NAMES))
    }

    fn ask(&self, entry: &Entry<'_, K>, report_data: &[u8; REPORT_DATA]) -> Result<Report, AttestError> {
        let found = entry.text("provider")?;
        if found != self.provider {
            return Err(AttestError::Provider { tee: self.tee, expected: self.provider, found });
        }
        let before = entry.generation()?;
        let expected = before.checked_add(1).ok_or(AttestError::Malformed("the generation"))?;
        let same = |found: u64| match found == expected {
            true => Ok(()),
            false => Err(AttestError::Generation { expected, found }),
        };
        self.kernel.write(&entry.name, "inblob", report_data).map_err(system("writing inblob"))?;
        // The commit's error was lost: only the generation shows whether there is something to report on.
        same(entry.generation()?)?;
        let report = entry.blob("outblob", MAX_REPORT)?;
        let auxblob = match entry.blob("auxblob", MAX_AUXBLOB) {
            // Providers without any have no such file.
            Err(AttestError::System { source, .. }) if source.kind() == io::ErrorKind::NotFound => Vec::new(),
            auxblob => auxblob?,
        };
        // Nobody wrote since.
        same(entry.generation()?)?;
        answers(self.tee, &report, report_data)?;
        Ok(Report { report, auxblob })
    }
}

impl<K: Kernel> Attester for ConfigFsTsm<K> {
    fn tee(&self) -> TeeKind {
        self.tee
    }

    fn report(&self, report_data: &[u8; REPORT_DATA]) -> Result<Report, AttestError> {
        let entry = self.enter()?;
        let report = self.ask(&entry, report_data)?;
        // An entry that stays would be one more at every request: that is an error, though the report is good.
        entry.remove()?;
        Ok(report)
    }
}

/// An entry, removed when dropped.
struct Entry<'a, K: Kernel> {
    kernel: &'a K,
    name: String,
    removed: bool,
}

impl<K: Kernel> Entry<'_, K> {
    /// A binary attribute, within its limit.
    fn blob(&self, attribute: &'static str, limit: usize) -> Result<Vec<u8>, AttestError> {
        let bytes = self.kernel.read(&self.name, attribute, limit + 1);
        let bytes = bytes.map_err(system(format!("reading {attribute}")))?;
        if bytes.len() > limit {
            return Err(AttestError::Oversize { what: attribute, limit });
        }
        Ok(bytes)
    }

    /// A line.
    fn text(&self, attribute: &'static str) -> Result<String, AttestError> {
        let bytes = self.blob(attribute, MAX_TEXT)?;
        let text = str::from_utf8(&bytes).map_err(|_| AttestError::Malformed(attribute))?;
        Ok(text.trim_end_matches('\n').to_owned())
    }

    fn generation(&self) -> Result<u64, AttestError> {
        self.text("generation")?.parse().map_err(|_| AttestError::Malformed("the generation"))
    }

    fn remove(mut self) -> Result<(), AttestError> {
        self.removed = true;
        self.kernel.remove(&self.name).map_err(system(format!("rmdir {ROOT}/{}", self.name)))
    }
}

impl<K: Kernel> Drop for Entry<'_, K> {
    fn drop(&mut self) {
        if !self.removed {
            // There is an error to tell already.
            _ = self.kernel.remove(&self.name);
        }
    }
}
