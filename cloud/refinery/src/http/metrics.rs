//! Counters and gauges, as Prometheus reads them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of a service since it started. No project, key or name is in them.
#[derive(Default)]
pub(crate) struct Metrics {
    /// By method, route and status.
    requests: Mutex<BTreeMap<(&'static str, String, u16), u64>>,
    pub received_bytes: AtomicU64,
    pub sent_bytes: AtomicU64,
    pub uploads: AtomicU64,
    pub queries: AtomicU64,
}

/// What is there at a moment.
pub(crate) struct Gauges {
    pub connections: usize,
    pub bytes_in_flight: u64,
    pub nonces: usize,
    pub projects: usize,
    pub jobs: usize,
    pub warden: bool,
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
        let counted = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let figures = [
            ("received_bytes_total", "counter", "Bytes of bodies received.", counted(&self.received_bytes)),
            (
                "sent_bytes_total",
                "counter",
                "Bytes of models, answers and receipts sent.",
                counted(&self.sent_bytes),
            ),
            ("uploads_total", "counter", "Uploads stored.", counted(&self.uploads)),
            ("queries_total", "counter", "Queries answered.", counted(&self.queries)),
            ("connections", "gauge", "Open connections.", gauges.connections as u64),
            ("bytes_in_flight", "gauge", "Bytes reserved for bodies and answers.", gauges.bytes_in_flight),
            ("nonces", "gauge", "Nonces remembered.", gauges.nonces as u64),
            ("projects", "gauge", "Projects in the store.", gauges.projects as u64),
            ("jobs", "gauge", "Work that waits for the warden.", gauges.jobs as u64),
            ("warden_connected", "gauge", "1 while a warden is connected.", u64::from(gauges.warden)),
        ];
        for (name, kind, help, value) in figures {
            _ = write!(
                text,
                "# HELP blindsmith_{name} {help}\n# TYPE blindsmith_{name} {kind}\nblindsmith_{name} {value}\n"
            );
        }
        text
    }
}
