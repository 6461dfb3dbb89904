//! Counters and gauges, as Prometheus reads them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::state::RoundCounts;
use crate::store::Standing;

/// Counts of a service since it started. No project, key or name is in them.
#[derive(Default)]
pub(crate) struct Metrics {
    /// By method, route and status.
    requests: Mutex<BTreeMap<(&'static str, String, u16), u64>>,
    pub received_bytes: AtomicU64,
    pub sent_bytes: AtomicU64,
    pub uploads: AtomicU64,
    pub queries: AtomicU64,
    pub refused_connections: AtomicU64,
}

/// What is there at a moment.
pub(crate) struct Gauges {
    pub connections: usize,
    pub bytes_in_flight: u64,
    pub nonces: usize,
    pub projects: usize,
    pub jobs: usize,
    pub due: usize,
    pub unread: usize,
    pub waiting: usize,
    pub warden: bool,
    pub rounds: RoundCounts,
    /// The database's standing, and the object store's if there is one.
    pub store: (Standing, Option<Standing>),
    /// None where the system does not say.
    pub free_bytes: Option<u64>,
}

impl Metrics {
    /// Counts an answer.
    pub fn count(&self, method: &'static str, route: &str, status: u16) {
        let mut requests = self.requests.lock().unwrap_or_else(|e| e.into_inner());
        *requests.entry((method, route.to_owned(), status)).or_default() += 1;
    }

    /// Prometheus' text format.
    pub fn text(&self, gauges: &Gauges) -> String {
        let mut text = String::from(
            "# HELP blindsmith_http_requests_total Requests answered.\n\
             # TYPE blindsmith_http_requests_total counter\n",
        );
        let requests = self.requests.lock().unwrap_or_else(|e| e.into_inner());
        for ((method, route, status), count) in requests.iter() {
            _ = writeln!(
                text,
                "blindsmith_http_requests_total{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}} {count}"
            );
        }
        drop(requests);
        write_rounds(&mut text, &gauges.rounds);
        let figures = self.figures(gauges).into_iter();
        for Figure { name, kind, help, value } in figures.chain(store_figures(gauges)) {
            _ = write!(
                text,
                "# HELP blindsmith_{name} {help}\n# TYPE blindsmith_{name} {kind}\nblindsmith_{name} {value}\n"
            );
        }
        text
    }

    fn figures(&self, gauges: &Gauges) -> Vec<Figure> {
        let counted = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        vec![
            counter("received_bytes_total", "Bytes of bodies received.", counted(&self.received_bytes)),
            counter(
                "sent_bytes_total",
                "Bytes of models, answers and receipts sent.",
                counted(&self.sent_bytes),
            ),
            counter("uploads_total", "Uploads stored.", counted(&self.uploads)),
            counter("queries_total", "Queries answered.", counted(&self.queries)),
            counter(
                "refused_connections_total",
                "Connections closed because their address had all that it may.",
                counted(&self.refused_connections),
            ),
            gauge("connections", "Open connections.", gauges.connections as u64),
            gauge("bytes_in_flight", "Bytes reserved for bodies and answers.", gauges.bytes_in_flight),
            gauge("nonces", "Nonces remembered.", gauges.nonces as u64),
            gauge("projects", "Projects in the store.", gauges.projects as u64),
            gauge("jobs", "What somebody asked for that waits for the warden.", gauges.jobs as u64),
            gauge("rounds_due", "Projects whose next round would start by itself.", gauges.due as u64),
            gauge("uploads_unread", "Uploads that no warden has read.", gauges.unread as u64),
            gauge(
                "uploads_waiting",
                "Uploads to train on that the last round was not given.",
                gauges.waiting as u64,
            ),
            gauge(
                "last_round_time_seconds",
                "When the last round was stored, 0 if none was.",
                gauges.rounds.last,
            ),
            gauge("warden_connected", "1 while a warden is connected.", u64::from(gauges.warden)),
        ]
    }
}

/// A number with a name.
struct Figure {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    value: u64,
}

fn counter(name: &'static str, help: &'static str, value: u64) -> Figure {
    Figure { name, kind: "counter", help, value }
}

fn gauge(name: &'static str, help: &'static str, value: u64) -> Figure {
    Figure { name, kind: "gauge", help, value }
}

fn write_rounds(text: &mut String, RoundCounts { decisions, seconds, .. }: &RoundCounts) {
    text.push_str(
        "# HELP blindsmith_rounds_total Rounds stored, by what became of them.\n\
         # TYPE blindsmith_rounds_total counter\n",
    );
    for (decision, count) in decisions {
        _ = writeln!(text, "blindsmith_rounds_total{{decision=\"{decision}\"}} {count}");
    }
    _ = write!(
        text,
        "# HELP blindsmith_round_seconds_total Seconds that they took.\n\
         # TYPE blindsmith_round_seconds_total counter\nblindsmith_round_seconds_total {seconds:.3}\n"
    );
}

fn store_figures(gauges: &Gauges) -> impl Iterator<Item = Figure> {
    let free = gauges.free_bytes.map(|bytes| {
        gauge("store_free_bytes", "Bytes free on the file system of the store's directory.", bytes)
    });
    let (database, objects) = &gauges.store;
    let up = |standing: &Standing| u64::from(!matches!(standing, Standing::Unreachable(_)));
    let store = vec![
        gauge("store_database_reachable", "1 while the database answers.", up(database)),
        gauge(
            "store_lock_held",
            "1 while this is the one refinery that writes.",
            u64::from(*database == Standing::Good),
        ),
    ];
    let objects = objects
        .as_ref()
        .map(|objects| gauge("store_objects_reachable", "1 while the object store answers.", up(objects)));
    store.into_iter().chain(objects).chain(free)
}
