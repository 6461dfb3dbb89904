//! What memcheck and the program under it wrote, as reports.

/// A jump or an address that depends on a secret.
#[derive(Debug, PartialEq, Eq)]
pub struct Report {
    /// The case that ran.
    pub case: String,
    /// What memcheck calls it.
    pub kind: String,
    /// Path and line of the innermost frame outside of Rust's own library.
    pub at: Option<(String, usize)>,
}

/// The cases that ran, in order, and what was found.
pub fn read(output: &str) -> (Vec<String>, Vec<Report>) {
    let (mut cases, mut reports) = (Vec::new(), Vec::<Report>::new());
    // What valgrind said last: what the frames that follow, if any, are of.
    let mut said = "";
    for line in output.lines() {
        if let Some(case) = line.strip_prefix("case ") {
            cases.push(case.to_owned());
        }
        let Some(text) = said_by_valgrind(line) else { continue };
        if text.starts_with("   at 0x") {
            let case = cases.last().cloned().unwrap_or_default();
            reports.push(Report { case, kind: said.to_owned(), at: place(text) });
        } else if text.starts_with("   by 0x")
            && let Some(report) = reports.last_mut()
        {
            report.at = report.at.take().or_else(|| place(text));
        } else {
            said = text;
        }
    }
    (cases, reports)
}

/// What follows `==process== `.
fn said_by_valgrind(line: &str) -> Option<&str> {
    let (process, text) = line.strip_prefix("==")?.split_once("== ")?;
    process.bytes().all(|b| b.is_ascii_digit()).then_some(text)
}

/// Path and line of a frame, unless it is one of Rust's library or has none.
fn place(frame: &str) -> Option<(String, usize)> {
    let (_, place) = frame.strip_suffix(')')?.rsplit_once('(')?;
    let (path, line) = place.rsplit_once(':')?;
    let ours = !path.contains("/rustc/") && !path.contains("/rustlib/");
    ours.then_some((path.to_owned(), line.parse().ok()?))
}

#[test]
fn reports_are_read() {
    let output = "\
==12== Memcheck, a memory error detector
case first
case second
==12== Conditional jump or move depends on uninitialised value(s)
==12==    at 0x13: position<u64> (/rustc/59/library/core/src/slice/iter.rs:384)
==12==    by 0x13: <a::B as c::D>::f (/src/f.rs:17)
==12==    by 0x14: main (/src/main.rs:30)
==12== 
==12== Use of uninitialised value of size 8
==12==    at 0x15: memcpy (in /usr/lib/libc.so)
==12== ERROR SUMMARY: 2 errors from 2 contexts (suppressed: 0 from 0)
";
    let (cases, reports) = read(output);
    assert_eq!(cases, ["first", "second"]);
    let report = |kind: &str, at| Report { case: "second".into(), kind: kind.into(), at };
    let expected = [
        report("Conditional jump or move depends on uninitialised value(s)", Some(("/src/f.rs".into(), 17))),
        report("Use of uninitialised value of size 8", None),
    ];
    assert_eq!(reports, expected);
}
