//! examples/metrics, as they are, with Debian's Prometheus and node exporter.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::dashboard::expressions;
use crate::papers::read;
use crate::testbed::{Process, Testbed, run, until};

use super::super::hold::{LONG, NODE, Opening, held_port, zwave};
use super::super::setup::setup;

/// The example's machine, a second one of which does not exist here.
const EXPORTER: &str = "127.0.0.1:9100";
const PROMETHEUS: &str = "127.0.0.1:9090";

/// The two programs, which end with the value.
struct Prometheus {
    /// What the timer of the example starts.
    commands: Vec<String>,
    _programs: [Process; 2],
}

impl Prometheus {
    fn start(bed: &Testbed) -> Self {
        let directory = bed.file("prometheus");
        fs::create_dir(&directory).expect("the test directory can be written to");
        let files = directory.display();
        let exporter = Process::start(Command::new("prometheus-node-exporter").args([
            "--log.level=error".into(),
            "--collector.disable-defaults".into(),
            "--collector.textfile".into(),
            format!("--collector.textfile.directory={files}"),
            format!("--web.listen-address={EXPORTER}"),
        ]));
        let config = configure(&directory);
        let prometheus = Process::start(Command::new("prometheus").args([
            "--log.level=error".into(),
            format!("--config.file={}", config.display()),
            format!("--storage.tsdb.path={files}/data"),
            format!("--web.listen-address={PROMETHEUS}"),
        ]));
        Self {
            commands: commands(bed, &directory),
            _programs: [exporter, prometheus],
        }
    }

    /// The answer of the HTTP API, after the daemon's metrics were written once more.
    fn get(&self, what: &str, data: &str) -> Result<Value, String> {
        for command in &self.commands {
            run("sh", &["-c", command]);
        }
        let url = format!("http://{PROMETHEUS}/api/v1/{what}");
        let curl = ["--silent", "--max-time", "5", "--noproxy", "*", "--get"];
        let output = Command::new("curl")
            .args(curl)
            .args(["--data-urlencode", data, &url])
            .output()
            .expect("curl runs");
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        let document: Value = serde_json::from_str(&answer).map_err(|_| answer.clone())?;
        match document["status"] == "success" {
            true => Ok(document["data"].clone()),
            false => Err(answer),
        }
    }

    /// The values of an expression, one for each series.
    fn values(&self, expression: &str) -> Result<Vec<f64>, String> {
        let data = self.get("query", &format!("query={expression}"))?;
        let series = data["result"].as_array().expect("a vector has series");
        let values = series.iter().map(|series| &series["value"][1]);
        let values = values.map(|value| value.as_str().and_then(|text| text.parse().ok()));
        values.collect::<Option<_>>().ok_or(data.to_string())
    }

    #[track_caller]
    fn has(&self, expression: &str, wanted: f64) {
        until(&format!("{expression} is {wanted}"), || {
            let values = self.values(expression)?;
            let is = values == [wanted];
            is.then_some(()).ok_or(format!("{values:?}"))
        });
    }
}

/// The example's configuration for this machine. A test has no time for a scrape a minute.
fn configure(directory: &Path) -> PathBuf {
    let example = read("examples/metrics/prometheus.yml");
    let machines = "[\"pi-kitchen:9100\", \"pi-cellar:9100\"]";
    assert!(example.contains(machines), "{example}");
    let example = example.replace(machines, &format!("[\"{EXPORTER}\"]"));
    let global = "global: { scrape_interval: 1s, evaluation_interval: 1s }\n";
    let file = directory.join("prometheus.yml");
    fs::write(&file, format!("{global}{example}")).expect("a file can be written");
    let alerts = directory.join("alerts.yml");
    fs::write(alerts, read("examples/metrics/alerts.yml")).expect("a file can be written");
    file
}

/// The commands of the example's service, with this test's socket and directory.
fn commands(bed: &Testbed, directory: &Path) -> Vec<String> {
    let service = read("examples/metrics/ttyplugd-metrics.service");
    let commands = service
        .lines()
        .filter_map(|line| line.strip_prefix("ExecStart="));
    let (socket, directory) = (bed.file("run/api.sock"), directory.to_string_lossy());
    let ours = |command: &str| {
        let command = command.replace("/run/ttyplugd/api.sock", &socket.to_string_lossy());
        command.replace("${DIRECTORY}", &directory)
    };
    let commands: Vec<_> = commands.map(ours).collect();
    assert_eq!(commands.len(), 2, "{service}");
    commands
}

/// As Grafana asks it, for all machines.
fn asked(expression: &str) -> String {
    let all = expression.replace("$instance", ".*");
    all.replace("$__rate_interval", "10m")
}

#[test]
fn a_plug_and_a_hold_are_on_the_dashboard_by_way_of_prometheus() {
    let (bed, container, _daemon, port) = setup(Testbed::with_runtime(&held_port(LONG)), zwave());
    let prometheus = Prometheus::start(&bed);
    let opening = Opening::of(&container, NODE);
    prometheus.has("ttyplugd_held_opens", 1.0);
    prometheus.has("ttyplugd_ports{state=\"waiting\"}", 1.0);
    // Before the counters grow they were scraped once: an increase is seen from there on.
    port.plug();
    opening.end()[0].got(&port);
    prometheus.has("ttyplugd_holds_total{outcome=\"ready\"}", 1.0);
    prometheus.has("ttyplugd_plug_to_ready_seconds_count", 1.0);

    for expression in expressions().iter().map(|expression| asked(expression)) {
        let grows = [
            "_plugs_total",
            "plug_to_ready",
            "hold_seconds",
            "holds_total",
            "\"ready\"",
        ];
        let grows = grows.iter().any(|name| expression.contains(name));
        let enough = |values: &[f64]| match grows {
            true => values.iter().any(|value| *value > 0.0),
            false => !values.is_empty(),
        };
        until(&expression, || {
            let values = prometheus.values(&expression)?;
            enough(&values).then_some(()).ok_or(format!("{values:?}"))
        });
    }
}

#[test]
fn prometheus_evaluates_the_alerts() {
    let (bed, _container, _daemon, _port) = setup(Testbed::with_config(&held_port(LONG)), zwave());
    let prometheus = Prometheus::start(&bed);
    let state = |alert: &str| {
        let data = prometheus.get("rules", "type=alert")?;
        let rules = data["groups"][0]["rules"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        assert!(rules.iter().all(|rule| rule["health"] != "err"), "{data}");
        let rule = rules.iter().find(|rule| rule["name"] == alert);
        let state = rule.map(|rule| rule["state"].clone());
        state.ok_or_else(|| data.to_string())
    };
    until("a port that waits is about to fire", || {
        let state = state("SerialPortUnplugged")?;
        (state == "pending").then_some(()).ok_or(state.to_string())
    });
    assert_eq!(state("TtyplugdDown"), Ok("inactive".into()));
    assert_eq!(state("SerialPortFailed"), Ok("inactive".into()));
}
