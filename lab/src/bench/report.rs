//! `blindsmith bench report`: the tables of BENCHMARKS.md.
//!
//! Each figure comes from a run of this program of its own, whose command stands above the table, so that
//! anyone can repeat a single one.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use clap::{Args, ValueEnum};
use serde_json::Value;

use blindsmith_client::Failure;

/// Measures and prints the tables as Markdown, or writes them into a file that has their markers. It takes
/// some minutes on an idle machine.
#[derive(Args)]
pub struct Report {
    /// The file in which to replace the tables: the text between `<!-- begin NAME -->` and `<!-- end NAME -->`.
    #[arg(long, value_name = "FILE")]
    into: Option<PathBuf>,
    /// Only these tables.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Section>,
    /// Threads of each process in the tables of steps.
    #[arg(long, value_name = "N", default_value_t = 2)]
    threads: usize,
    /// The widest network whose step is measured.
    #[arg(long, value_name = "UNITS", default_value_t = 4096)]
    widest: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Section {
    Product,
    Sizes,
    Backends,
    Step,
    Shares,
    Plan,
    Offloading,
    Upload,
    Predict,
}

impl Section {
    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |v| v.get_name().to_owned())
    }
}

/// The networks of the tables.
const NETWORKS: [&str; 3] = ["784,512,10", "784,128,10", "784,10"];

impl Report {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let mut text = match &self.into {
            Some(path) => Some(std::fs::read_to_string(path).map_err(|e| Failure::project(path, e))?),
            None => None,
        };
        for section in Section::value_variants() {
            if !self.only.is_empty() && !self.only.contains(section) {
                continue;
            }
            eprintln!("measuring: {}", section.name());
            let table = self.measure(*section)?;
            match (&mut text, &self.into) {
                (Some(text), Some(path)) => {
                    *text = replace(text, &section.name(), &table).map_err(|e| Failure::project(path, e))?;
                    std::fs::write(path, text).map_err(|e| Failure::project(path, e))?;
                }
                _ => println!("{table}"),
            }
        }
        Ok(())
    }

    fn measure(&self, section: Section) -> Result<String, Failure> {
        match section {
            Section::Product => product(),
            Section::Sizes => sizes(self.threads),
            Section::Backends => backends(),
            Section::Step => self.step(),
            Section::Shares => self.shares(),
            Section::Plan => self.plan(),
            Section::Offloading => self.offloading(),
            Section::Upload => upload(),
            Section::Predict => self.predict(),
        }
    }

    fn step(&self) -> Result<String, Failure> {
        let mut table = Table::new(&[
            "layers",
            "in the clear",
            "encrypted",
            "slowdown",
            "cloud",
            "warden",
            "cores: clear",
            "cloud",
            "warden",
            "of it checks",
            "traffic",
            "warden's peak",
        ]);
        let command =
            |layers: &str| format!("bench step --rows 1024 --layers {layers} --threads {}", self.threads);
        for layers in NETWORKS {
            let m = run(&command(layers), None)?;
            table.row([
                layers.to_owned(),
                ms(&m, "plaintext_ms"),
                ms(&m, "encrypted_ms"),
                format!("{:.1}", number(&m, "slowdown")),
                ms(&m, "cloud_ms"),
                ms(&m, "warden_ms"),
                ms(&m, "plaintext_cpu_ms"),
                ms(&m, "cloud_cpu_ms"),
                ms(&m, "warden_cpu_ms"),
                format!(
                    "{}, {:.0} %",
                    ms(&m, "check_ms"),
                    100.0 * number(&m, "check_ms") / number(&m, "warden_cpu_ms")
                ),
                format!("{:.1} MB", number(&m, "traffic_bytes") * 1e-6),
                format!("{:.0} MiB", number(&m, "warden_peak_bytes") / 1_048_576.0),
            ]);
        }
        Ok(format!("`blindsmith {}`\n\n{table}", command("WIDTHS")))
    }

    /// Where the core time goes, by the planner's counts times the costs measured here.
    fn shares(&self) -> Result<String, Failure> {
        let mut table = Table::new(&["part", NETWORKS[0], NETWORKS[1], NETWORKS[2]]);
        let command = |layers: &str| {
            format!("plan --rows 1024 --batch-rows 1024 --layers {layers} --threads {}", self.threads)
        };
        let plans = NETWORKS.map(|layers| run(&command(layers), None));
        let plans = plans.into_iter().collect::<Result<Vec<_>, _>>()?;
        let parts = plans[0]["parts_core_ms"].as_object().cloned().unwrap_or_default();
        for part in parts.keys() {
            let cell = |plan: &Value| {
                let all: f64 = plan["parts_core_ms"]
                    .as_object()
                    .into_iter()
                    .flatten()
                    .filter_map(|p| p.1.as_f64())
                    .sum();
                let own = number(&plan["parts_core_ms"], part);
                format!("{own:.2} ms, {:.0} %", 100.0 * own / all)
            };
            table.row([part.clone(), cell(&plans[0]), cell(&plans[1]), cell(&plans[2])]);
        }
        Ok(format!("`blindsmith {}`, core time of both sides\n\n{table}", command("WIDTHS")))
    }

    /// Predictions beside measurements.
    fn plan(&self) -> Result<String, Failure> {
        let mut table = Table::new(&[
            "rows, layers",
            "step predicted",
            "measured",
            "ratio",
            "cloud's cores",
            "measured",
            "warden's cores",
            "measured",
        ]);
        let threads = self.threads;
        let mut cases: Vec<(usize, String, &str)> = NETWORKS.map(|n| (1024, n.to_owned(), "")).to_vec();
        cases.push((4096, format!("{0},{0},10", self.widest.min(4096)), "--rounds 1 --steps 1"));
        for (rows, layers, more) in cases {
            let plan =
                format!("plan --rows {rows} --batch-rows {rows} --layers {layers} --threads {threads}");
            let before = run(&plan, None)?;
            let m =
                run(&format!("bench step --rows {rows} --layers {layers} --threads {threads} {more}"), None)?;
            let after = run(&plan, None)?;
            let predicted = |field: &str| (number(&before, field) + number(&after, field)) / 2.0;
            let (step, encrypted) = (predicted("step_ms"), number(&m, "encrypted_ms"));
            table.row([
                format!("{rows}, {layers}"),
                format!("{step:.1} ms"),
                format!("{encrypted:.1} ms"),
                format!("{:.2}", step / encrypted),
                format!("{:.1} ms", predicted("cloud_core_ms")),
                ms(&m, "cloud_cpu_ms"),
                format!("{:.1} ms", predicted("warden_core_ms")),
                ms(&m, "warden_cpu_ms"),
            ]);
        }
        let command = format!("plan --rows ROWS --batch-rows ROWS --layers WIDTHS --threads {threads}");
        Ok(format!("`blindsmith {command}` before and after each measurement, averaged\n\n{table}"))
    }

    /// Where the warden's work falls below the step in the clear, by the plans for both kinds of cloud.
    fn offloading(&self) -> Result<String, Failure> {
        let titles =
            ["width", "plan for", "n", "in the clear", "warden", "ratio", "cloud", "step", "slowdown"];
        let mut table = Table::new(&titles);
        let network = |width: usize, cloud: &str| {
            format!(
                "bench step --rows 4096 --layers {width},{width},10 --cloud {cloud} --threads {}",
                self.threads
            )
        };
        let mut found = String::new();
        for cloud in ["cpu", "gpu"] {
            let mut points = Vec::new();
            for width in [512, 1024, 2048, 4096, 8192].into_iter().filter(|width| *width <= self.widest) {
                let rounds = if width <= 1024 { "--rounds 3" } else { "--rounds 3 --steps 2" };
                let m = run(&format!("{} {rounds}", network(width, cloud)), None)?;
                let (plain, warden) = (number(&m, "plaintext_cpu_ms"), number(&m, "warden_cpu_ms"));
                points.push((width as f64, warden / plain));
                table.row([
                    width.to_string(),
                    cloud.to_owned(),
                    m["n"][0].to_string(),
                    format!("{plain:.0} ms"),
                    format!("{warden:.0} ms"),
                    format!("{:.2}", warden / plain),
                    format!("{:.0} ms", number(&m, "cloud_cpu_ms")),
                    format!("{:.0} ms", number(&m, "encrypted_ms")),
                    format!("{:.1}", number(&m, "slowdown")),
                ]);
            }
            found += &match crossing(&points) {
                Some(width) => format!(
                    "With the plan for {cloud} the warden's core time falls below that of the step in the clear at a \
                     width of about {width:.0}.\n"
                ),
                None => format!(
                    "With the plan for {cloud} the warden's core time crosses that of the step in the clear at none of \
                     these widths.\n"
                ),
            };
        }
        let command = network(0, "CLOUD").replace("0,0", "WIDTH,WIDTH");
        Ok(format!("`blindsmith {command}`, core times but for the step\n\n{table}\n{found}"))
    }

    fn predict(&self) -> Result<String, Failure> {
        let mut table = Table::new(&["layers", "one row", "1024 rows", "rows a second"]);
        let command =
            |layers: &str| format!("bench predict --rows 1024 --layers {layers} --threads {}", self.threads);
        for layers in NETWORKS {
            let m = run(&command(layers), None)?;
            let rate = format!("{:.0}", number(&m, "rows_per_second"));
            table.row([layers.to_owned(), ms(&m, "latency_ms"), ms(&m, "query_ms"), rate]);
        }
        Ok(format!("`blindsmith {}`\n\n{table}", command("WIDTHS")))
    }
}

/// The columns of [`product_row`].
const PRODUCT: [&str; 9] = [
    "rows x inputs x outputs",
    "n",
    "encrypted",
    "float32",
    "slowdown",
    "G multiply-adds/s",
    "float32",
    "with masks",
    "G multiply-adds/s",
];

fn product() -> Result<String, Failure> {
    let mut table = Table::new(&PRODUCT);
    for (inputs, outputs) in [(784, 512), (784, 128), (784, 10), (512, 10)] {
        let m =
            run(&format!("bench gemm --rows 1024 --inputs {inputs} --outputs {outputs} --threads 1"), None)?;
        product_row(&mut table, &m, format!("1024 x {inputs} x {outputs}"));
    }
    Ok(format!("`blindsmith bench gemm --rows 1024 --inputs N --outputs N --threads 1`\n\n{table}"))
}

fn product_row(table: &mut Table, m: &Value, name: String) {
    table.row([
        name,
        m["n"].to_string(),
        ms(m, "encrypted_ms"),
        ms(m, "plaintext_ms"),
        format!("{:.2}", number(m, "slowdown")),
        format!("{:.1}", number(m, "gmacs")),
        format!("{:.1}", number(m, "plaintext_gmacs")),
        ms(m, "augmented_ms"),
        format!("{:.1}", number(m, "augmented_gmacs")),
    ]);
}

fn sizes(threads: usize) -> Result<String, Failure> {
    let mut table = Table::new(&PRODUCT);
    let mut points = Vec::new();
    let shapes: [[usize; 3]; 5] =
        [[512, 256, 256], [1024, 512, 512], [2048, 1024, 1024], [4096, 2048, 2048], [8192, 4096, 4096]];
    for [rows, inputs, outputs] in shapes {
        let command = format!(
            "bench gemm --rows {rows} --inputs {inputs} --outputs {outputs} --threads {threads} --seconds 3"
        );
        let m = run(&command, None)?;
        points.push(((rows * inputs * outputs) as f64, number(&m, "encrypted_ms")));
        product_row(&mut table, &m, format!("{rows} x {inputs} x {outputs}"));
    }
    let exponent = slope(&points);
    Ok(format!(
        "`blindsmith bench gemm --rows N --inputs N --outputs N --threads {threads} --seconds 3`\n\n{table}\nExponent of time over rows x inputs x outputs: {exponent:.3}.\n"
    ))
}

fn backends() -> Result<String, Failure> {
    let mut table = Table::new(&[
        "backend",
        "product 1024 x 784 x 512",
        "G multiply-adds/s",
        "product 1024 x 784 x 10",
        "upload of a row",
    ]);
    for backend in blindsmith_compute::backend::available() {
        let name = Some(backend.name());
        let wide = run("bench gemm --rows 1024 --inputs 784 --outputs 512 --threads 1", name)?;
        let narrow = run("bench gemm --rows 1024 --inputs 784 --outputs 10 --threads 1", name)?;
        let upload = run("bench upload --rows 2000 --inputs 784 --rounds 3", name)?;
        table.row([
            backend.name().to_owned(),
            ms(&wide, "encrypted_ms"),
            format!("{:.1}", number(&wide, "gmacs")),
            ms(&narrow, "encrypted_ms"),
            format!("{:.1} us", number(&upload, "us_per_row")),
        ]);
    }
    Ok(format!(
        "`BLINDSMITH_COMPUTE=NAME BLINDSMITH_BACKEND=NAME blindsmith bench ...` (`avx512` for the transforms beside `amx`)\n\n{table}"
    ))
}

fn upload() -> Result<String, Failure> {
    let mut table = Table::new(&[
        "outputs of the first layer",
        "n of Z, G",
        "core time of a row",
        "bytes of a row",
        "times float32",
    ]);
    for outputs in [512, 128, 10] {
        let m = run(&format!("bench upload --rows 10000 --inputs 784 --outputs {outputs}"), None)?;
        table.row([
            outputs.to_string(),
            format!("{}, {}", m["row_form"][0], m["column_form"][0]),
            format!("{:.1} us", number(&m, "us_per_row")),
            format!("{:.0}", number(&m, "bytes_per_row")),
            format!("{:.1}", number(&m, "storage_factor")),
        ]);
    }
    Ok(format!("`blindsmith bench upload --rows 10000 --inputs 784 --outputs N`\n\n{table}"))
}

/// Runs this program; the JSON object that it prints.
fn run(arguments: &str, backend: Option<&str>) -> Result<Value, Failure> {
    eprintln!("  {arguments}");
    let other = |e: std::io::Error| Failure::Other(e.to_string());
    let mut command = Command::new(std::env::current_exe().map_err(other)?);
    command.args(arguments.split_whitespace()).arg("--json").stdin(Stdio::null()).stderr(Stdio::inherit());
    if let Some(backend) = backend {
        // The device that multiplies; transforms have no AMX.
        command.env("BLINDSMITH_COMPUTE", backend);
        if blindsmith_ring::backend::available().iter().any(|b| b.name() == backend) {
            command.env("BLINDSMITH_BACKEND", backend);
        }
    }
    let output = command.output().map_err(other)?;
    if !output.status.success() {
        return Err(Failure::Other(format!("blindsmith {arguments} failed ({})", output.status)));
    }
    serde_json::from_slice(&output.stdout).map_err(|e| Failure::Other(e.to_string()))
}

fn number(value: &Value, field: &str) -> f64 {
    value[field].as_f64().unwrap_or(f64::NAN)
}

fn ms(value: &Value, field: &str) -> String {
    let ms = number(value, field);
    if ms < 10.0 { format!("{ms:.2} ms") } else { format!("{ms:.1} ms") }
}

/// The text with a new table between its markers.
fn replace(text: &str, name: &str, table: &str) -> Result<String, String> {
    let (begin, end) = (format!("<!-- begin {name} -->"), format!("<!-- end {name} -->"));
    let missing = || format!("it has no lines {begin} and {end}");
    let (before, rest) = text.split_once(&begin).ok_or_else(missing)?;
    let (_, after) = rest.split_once(&end).ok_or_else(missing)?;
    Ok(format!("{before}{begin}\n{}\n{end}{after}", table.trim_end()))
}

/// Slope of log y over log x by least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let n = logs.len() as f64;
    let mean = logs.iter().fold((0.0, 0.0), |m, p| (m.0 + p.0 / n, m.1 + p.1 / n));
    let sums = logs
        .iter()
        .fold((0.0, 0.0), |s, p| (s.0 + (p.0 - mean.0) * (p.1 - mean.1), s.1 + (p.0 - mean.0).powi(2)));
    sums.0 / sums.1
}

/// Where a ratio falls below 1, between two points by their logarithms.
fn crossing(points: &[(f64, f64)]) -> Option<f64> {
    let (a, b) = points.windows(2).map(|w| (w[0], w[1])).find(|(a, b)| a.1 >= 1.0 && b.1 < 1.0)?;
    let share = a.1.ln() / (a.1.ln() - b.1.ln());
    Some((a.0.ln() + share * (b.0.ln() - a.0.ln())).exp())
}

/// A Markdown table.
struct Table(String);

impl Table {
    fn new<const N: usize>(titles: &[&str; N]) -> Self {
        let mut table = Table(String::new());
        table.row(titles.map(str::to_owned));
        table.row([(); N].map(|()| "---".to_owned()));
        table
    }

    fn row<const N: usize>(&mut self, cells: [String; N]) {
        // Writing to a string does not fail.
        _ = writeln!(self.0, "| {} |", cells.join(" | "));
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_replace_what_is_between_their_markers() {
        let text = "a\n<!-- begin step -->\nold\n<!-- end step -->\nb\n";
        let new = replace(text, "step", "| new |\n").unwrap();
        assert_eq!(new, "a\n<!-- begin step -->\n| new |\n<!-- end step -->\nb\n");
        assert_eq!(replace(&new, "step", "old").unwrap(), text);
        assert!(replace(text, "plan", "x").is_err());
    }

    #[test]
    fn slopes_and_crossings() {
        let cubic: Vec<_> = [1.0f64, 2.0, 5.0].map(|x| (x, 7.0 * x.powi(3))).to_vec();
        assert!((slope(&cubic) - 3.0).abs() < 1e-9);
        let ratio = |w: f64| (w, 1000.0 / w);
        assert!((crossing(&[ratio(500.0), ratio(700.0), ratio(1300.0)]).unwrap() - 1000.0).abs() < 1e-6);
        assert_eq!(crossing(&[ratio(500.0), ratio(900.0)]), None);
    }
}
