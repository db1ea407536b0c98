//! Counts events, and writes the counts for Prometheus. Pure: durations are milliseconds of the
//! caller's clock.
//!
//! The text has format 0.0.4 (prometheus.io, "Exposition formats"), and the names follow "Metric and
//! label naming". All values of labels are words of this program, and the names of engines that the
//! operator has configured: no container, no namespace and no device can add a series.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::daemon::status::document::{PortState, Status};
use crate::hold::held_opens::Reason;
use crate::hold::protocol::ReleasedOpen;
use crate::model::problem::Failure;

/// A counter, which begins at zero when the daemon starts. Prometheus expects such resets.
#[derive(Debug, Default)]
pub struct Counter(Cell<u64>);

impl Counter {
    pub fn add(&self, more: u64) {
        self.0.set(self.0.get().saturating_add(more));
    }
}

/// A histogram of durations.
#[derive(Debug)]
pub struct Histogram {
    /// The upper bounds in milliseconds, in ascending order.
    bounds: &'static [u64],
    /// One for each bound, and one for everything above.
    counts: Vec<Counter>,
    sum: Counter,
}

impl Histogram {
    fn new(bounds: &'static [u64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| Counter::default());
        Self {
            bounds,
            counts: counts.collect(),
            sum: Counter::default(),
        }
    }

    pub fn observe(&self, milliseconds: u64) {
        self.observe_many(milliseconds, 1);
    }

    fn observe_many(&self, milliseconds: u64, count: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < milliseconds);
        self.counts[bucket].add(count);
        self.sum.add(milliseconds.saturating_mul(count));
    }
}

/// In milliseconds: from less than a docker exec takes, to what only an operator's fix ends.
const READY_BOUNDS: [u64; 11] = [
    25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000,
];

/// In milliseconds: from less than a plug takes, to more than usual configured holds.
const HOLD_BOUNDS: [u64; 10] = [
    100, 500, 1_000, 5_000, 10_000, 30_000, 60_000, 300_000, 1_800_000, 3_600_000,
];

/// All counts.
#[derive(Debug)]
pub struct Metrics {
    pub plugs: Counter,
    pub unplugs: Counter,
    /// The time from a plug to a ready port in a running container.
    pub plug_to_ready: Histogram,
    /// Containers that were restarted, or signalled, because a port had come back.
    pub restarts: Counter,
    pub signals: Counter,
    pub resyncs: Counter,
    pub engine_reconnects: Counter,
    pub events_lost: Counter,
    pub keepers_replaced: Counter,
    failures: BTreeMap<Failure, Counter>,
    outcomes: BTreeMap<Reason, Counter>,
    held: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            plugs: Counter::default(),
            unplugs: Counter::default(),
            plug_to_ready: Histogram::new(&READY_BOUNDS),
            restarts: Counter::default(),
            signals: Counter::default(),
            resyncs: Counter::default(),
            engine_reconnects: Counter::default(),
            events_lost: Counter::default(),
            keepers_replaced: Counter::default(),
            failures: Failure::ALL
                .map(|failure| (failure, Counter::default()))
                .into(),
            outcomes: Reason::ALL
                .map(|reason| (reason, Counter::default()))
                .into(),
            held: Histogram::new(&HOLD_BOUNDS),
        }
    }
}

impl Metrics {
    /// A failure has begun.
    pub fn failed(&self, failure: Failure) {
        self.failures[&failure].add(1);
    }

    /// Held opens have ended.
    pub fn held(&self, ended: ReleasedOpen) {
        self.outcomes[&ended.reason].add(ended.count);
        self.held.observe_many(ended.waited_ms, ended.count);
    }

    /// The whole text; gauges are taken from `status`. `log_lines_dropped` is how many lines are
    /// missing in the journal.
    pub fn text(&self, status: &Status, log_lines_dropped: u64) -> String {
        let mut page = Page(String::new());
        page.gauges(status);
        self.write_ports(&mut page);
        self.write_failures_and_holds(&mut page);
        self.write_daemon(&mut page);
        let name = "log_lines_dropped_total";
        page.head(name, "counter", "Log lines that the journal did not take.");
        page.sample(name, &[], log_lines_dropped);
        page.0
    }

    fn write_ports(&self, page: &mut Page) {
        page.counter("plugs_total", "Serial devices plugged in.", &self.plugs);
        page.counter("unplugs_total", "Serial devices unplugged.", &self.unplugs);
        page.histogram(
            "plug_to_ready_seconds",
            "Time from a plug to the ready port in a running container.",
            &self.plug_to_ready,
        );
        let name = "on_plug_total";
        page.head(
            name,
            "counter",
            "Restarts of containers, and signals to them, because a port had come back.",
        );
        page.sample(name, &[("action", "restart")], self.restarts.0.get());
        page.sample(name, &[("action", "signal")], self.signals.0.get());
    }

    fn write_failures_and_holds(&self, page: &mut Page) {
        page.head("failures_total", "counter", "Failures by cause.");
        for (failure, counter) in &self.failures {
            let cause = [("cause", failure.word())];
            page.sample("failures_total", &cause, counter.0.get());
        }
        page.head(
            "holds_total",
            "counter",
            "Held opens that have ended, by outcome.",
        );
        for (reason, counter) in &self.outcomes {
            let outcome = [("outcome", reason.word())];
            page.sample("holds_total", &outcome, counter.0.get());
        }
        page.histogram("hold_seconds", "How long opens were held.", &self.held);
    }

    fn write_daemon(&self, page: &mut Page) {
        page.counter(
            "resyncs_total",
            "Times that all devices and containers were looked at again.",
            &self.resyncs,
        );
        page.counter(
            "engine_reconnects_total",
            "Reconnections to the engine.",
            &self.engine_reconnects,
        );
        page.counter(
            "events_lost_total",
            "Losses of uevents; after each, all devices are looked at again.",
            &self.events_lost,
        );
        page.counter(
            "keepers_replaced_total",
            "Keepers that have taken over from one that was killed or upgraded.",
            &self.keepers_replaced,
        );
    }
}

/// The text. Writing to a string cannot fail.
struct Page(String);

impl Page {
    fn gauges(&mut self, status: &Status) {
        let states = states(status, None);
        self.head(
            "build_info",
            "gauge",
            "The version of the daemon; always 1.",
        );
        self.sample("build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
        self.head("engine_up", "gauge", "Whether the engine answers.");
        for engine in &status.engines {
            let name = [("engine", &*engine.name)];
            self.sample("engine_up", &name, u64::from(engine.answers));
        }
        if status.engines.is_empty() {
            let up = status.engine && status.engine_error.is_none();
            self.sample("engine_up", &[], u64::from(up));
        }
        let help = "Whether the state for the next boot cannot be written.";
        self.head("state_unwritten", "gauge", help);
        self.sample(
            "state_unwritten",
            &[],
            u64::from(status.state_error.is_some()),
        );
        self.head("ports", "gauge", "Ports in running containers, by state.");
        for (state, number) in states {
            self.sample("ports", &[("state", state)], number as u64);
        }
        self.ports_of_others(status);
        self.head("held_opens", "gauge", "Opens that wait for their port now.");
        self.sample("held_opens", &[], status.held.len() as u64);
    }

    /// The ports of containers of other engines than Docker.
    fn ports_of_others(&mut self, status: &Status) {
        let ports = status.ports.iter();
        let engines = ports.filter_map(|port| port.engine.as_deref().map(kind_of_engine));
        for engine in engines.collect::<BTreeSet<_>>() {
            for (state, number) in states(status, Some(engine)) {
                let labels = [("state", state), ("engine", engine)];
                self.sample("ports", &labels, number as u64);
            }
        }
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP ttyplugd_{name} {help}");
        let _ = writeln!(self.0, "# TYPE ttyplugd_{name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
            .collect();
        let labels = match &labels[..] {
            [] => String::new(),
            labels => format!("{{{}}}", labels.join(",")),
        };
        let _ = writeln!(self.0, "ttyplugd_{name}{labels} {value}");
    }

    fn counter(&mut self, name: &str, help: &str, counter: &Counter) {
        self.head(name, "counter", help);
        self.sample(name, &[], counter.0.get());
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.head(name, "histogram", help);
        let bounds = histogram.bounds.iter().map(|bound| seconds(*bound));
        let bounds = bounds.chain(["+Inf".to_owned()]);
        // Buckets are cumulative: each counts everything up to its bound.
        let mut count = 0;
        for (bound, of_bucket) in bounds.zip(&histogram.counts) {
            count += of_bucket.0.get();
            self.sample(&format!("{name}_bucket"), &[("le", &bound)], count);
        }
        self.sample(&format!("{name}_sum"), &[], seconds(histogram.sum.0.get()));
        self.sample(&format!("{name}_count"), &[], count);
    }
}

/// An engine without its namespace, or the directory of a runtime: `containerd`, `oci`. Others are called
/// after their socket.
fn kind_of_engine(engine: &str) -> &str {
    match engine.split_once('/') {
        Some((kind, _)) if !kind.is_empty() => kind,
        _ => engine,
    }
}

/// How many ports of the running containers of a kind of engine are in each state.
fn states(status: &Status, engine: Option<&str>) -> [(&'static str, usize); 3] {
    let in_state = |state| {
        let ports = status.ports.iter().filter(|port| !port.stopped);
        let its = ports.filter(|port| port.engine.as_deref().map(kind_of_engine) == engine);
        its.filter(|port| port.state == state).count()
    };
    [
        ("ready", in_state(PortState::Ready)),
        ("waiting", in_state(PortState::Waiting)),
        ("failed", in_state(PortState::Failed)),
    ]
}

/// The name of an engine may be any path.
fn escaped(value: &str) -> String {
    let value = value.replace('\\', r"\\").replace('"', "\\\"");
    value.replace('\n', r"\n")
}

/// A time in seconds, the base unit of Prometheus.
fn seconds(milliseconds: u64) -> String {
    let text = format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::status::document::PortStatus;

    fn empty() -> Status {
        Status {
            schema: 1,
            version: "0".into(),
            engine: true,
            engine_error: None,
            engines: Vec::new(),
            state_error: None,
            config_error: None,
            reloads: Some(0),
            ports: Vec::new(),
            held: Vec::new(),
        }
    }

    fn port(state: PortState, stopped: bool) -> PortStatus {
        PortStatus {
            notes: Vec::new(),
            port: "zwave".into(),
            container: "app".into(),
            container_id: "1".repeat(64),
            engine: None,
            stopped,
            node: None,
            device: None,
            state,
            since: None,
            cause: None,
            fix: None,
            holding: false,
            bound: false,
        }
    }

    fn ended(reason: Reason, waited_ms: u64) -> ReleasedOpen {
        ReleasedOpen {
            waited_ms,
            reason,
            count: 1,
        }
    }

    fn has(text: &str, line: &str) {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }

    #[test]
    fn a_histogram_has_everything_up_to_a_bound_in_its_bucket() {
        let metrics = Metrics::default();
        for milliseconds in [0, 100, 101, 60_000, 5_000_000] {
            metrics.held(ended(Reason::Ready, milliseconds));
        }
        let text = metrics.text(&empty(), 0);
        for (bound, count) in [("0.1", 2), ("0.5", 3), ("30", 3), ("60", 4), ("3600", 4)] {
            let line = format!("ttyplugd_hold_seconds_bucket{{le=\"{bound}\"}} {count}");
            has(&text, &line);
        }
        has(&text, "ttyplugd_hold_seconds_bucket{le=\"+Inf\"} 5");
        has(&text, "ttyplugd_hold_seconds_count 5");
        has(&text, "ttyplugd_hold_seconds_sum 5060.201");
        for (milliseconds, text) in [(0, "0"), (25, "0.025"), (2500, "2.5"), (60_000, "60")] {
            assert_eq!(seconds(milliseconds), text);
        }
    }

    #[test]
    fn ports_of_stopped_containers_are_in_no_state() {
        let mut status = empty();
        status.ports = vec![
            port(PortState::Waiting, false),
            port(PortState::Waiting, true),
            port(PortState::Failed, true),
        ];
        let text = Metrics::default().text(&status, 0);
        has(&text, "ttyplugd_ports{state=\"waiting\"} 1");
        has(&text, "ttyplugd_ports{state=\"failed\"} 0");
    }

    #[test]
    fn every_kind_has_its_own_series_from_the_beginning() {
        let metrics = Metrics::default();
        metrics.failed(Failure::Definition);
        metrics.failed(Failure::Disk);
        metrics.held(ReleasedOpen {
            count: 7,
            ..ended(Reason::Gone, 1)
        });
        metrics.held(ended(Reason::LetGo, 1));
        let text = metrics.text(&empty(), 0);
        has(&text, "ttyplugd_failures_total{cause=\"definition\"} 1");
        has(&text, "ttyplugd_failures_total{cause=\"disk\"} 1");
        has(&text, "ttyplugd_failures_total{cause=\"exec\"} 0");
        has(&text, "ttyplugd_holds_total{outcome=\"gone\"} 7");
        has(&text, "ttyplugd_holds_total{outcome=\"let_go\"} 1");
        has(&text, "ttyplugd_holds_total{outcome=\"ready\"} 0");
        has(&text, "ttyplugd_engine_up 1");
        has(&text, "ttyplugd_ports{state=\"failed\"} 0");
    }

    #[test]
    fn no_namespace_adds_a_series() {
        let metrics = Metrics::default();
        let engines = [
            "containerd/a",
            "containerd/b",
            "oci/run/x",
            "/run/x.sock",
            "podman",
        ];
        let status = Status {
            ports: engines
                .map(|engine| PortStatus {
                    engine: Some(engine.into()),
                    ..port(PortState::Ready, false)
                })
                .into(),
            ..empty()
        };
        let text = metrics.text(&status, 0);
        for (engine, ready) in [
            ("containerd", 2),
            ("oci", 1),
            ("/run/x.sock", 1),
            ("podman", 1),
        ] {
            let labels = format!("state=\"ready\",engine=\"{engine}\"");
            has(&text, &format!("ttyplugd_ports{{{labels}}} {ready}"));
        }
        assert_eq!(text.matches("state=\"ready\"").count(), 5);
    }
}
