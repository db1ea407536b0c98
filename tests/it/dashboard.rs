//! examples/metrics: the dashboard and the alerts are about metrics, labels and values that the
//! program has, and the dashboard shows every metric.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use ttyplugd::daemon::metrics::Metrics;
use ttyplugd::daemon::status::document::Status;

use crate::papers::read;

/// What Prometheus itself sets.
const OF_THE_TARGET: &str = "instance";

/// The labels of a series.
type Labels = BTreeMap<String, String>;

/// Every series of the program, by the name of its metric. Each is there from the beginning.
fn series() -> BTreeMap<String, Vec<Labels>> {
    let status = Status {
        schema: 1,
        version: String::new(),
        engine: true,
        engine_error: None,
        engines: Vec::new(),
        state_error: None,
        config_error: None,
        reloads: None,
        ports: Vec::new(),
        held: Vec::new(),
    };
    let mut series = BTreeMap::<String, Vec<Labels>>::new();
    let text = Metrics::default().text(&status, 0);
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (sample, _value) = line.rsplit_once(' ').expect("a sample has a value");
        let of_it = selectors(sample).remove(0);
        series.entry(of_it.metric).or_default().push(of_it.labels);
    }
    series
}

/// A metric as an expression selects it: `ttyplugd_ports{state="ready",instance=~"$instance"}`.
#[derive(Debug)]
struct Selector {
    metric: String,
    /// Labels that have to have one value.
    labels: Labels,
    /// Labels that have to match a regular expression.
    patterns: BTreeSet<String>,
}

fn selectors(expression: &str) -> Vec<Selector> {
    let found = expression.split("ttyplugd_").skip(1);
    found.map(selector).collect()
}

fn selector(text: &str) -> Selector {
    let end = text.find(|c: char| !c.is_ascii_lowercase() && c != '_');
    let (name, rest) = text.split_at(end.unwrap_or(text.len()));
    let matchers = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
    let mut selector = Selector {
        metric: format!("ttyplugd_{name}"),
        labels: Labels::new(),
        patterns: BTreeSet::new(),
    };
    for matcher in matchers.into_iter().flat_map(|(all, _)| all.split(',')) {
        let (label, value) = matcher.split_once('=').expect("a matcher has a value");
        match value.strip_prefix('~') {
            Some(_) => drop(selector.patterns.insert(label.into())),
            None => drop(
                selector
                    .labels
                    .insert(label.into(), value.trim_matches('"').into()),
            ),
        }
    }
    selector
}

/// What is between `start` and `end`, wherever that is.
fn between<'a>(text: &'a str, start: &'a str, end: &'a str) -> impl Iterator<Item = &'a str> {
    let found = text.split(start).skip(1);
    found.map(move |rest| rest.split_once(end).expect("it ends").0)
}

/// The labels by which an expression groups.
fn grouped_by(expression: &str) -> BTreeSet<&str> {
    let lists = ["by (", "on ("].map(|word| between(expression, word, ")"));
    let labels = lists
        .into_iter()
        .flatten()
        .flat_map(|list| list.split(", "));
    labels.collect()
}

/// Everything that an expression names is there.
fn check(expression: &str) {
    let known = series();
    let selectors = selectors(expression);
    for selector in &selectors {
        let series = known.get(&selector.metric).into_iter().flatten();
        let has = |(label, value): (&String, &String)| {
            let mut series = series.clone();
            series.any(|labels| labels.get(label) == Some(value))
        };
        let is_label = |label: &String| {
            let mut series = series.clone();
            label == OF_THE_TARGET || series.any(|labels| labels.contains_key(label))
        };
        assert!(
            series.clone().next().is_some(),
            "{selector:?} is unknown: {expression}"
        );
        assert!(
            selector.labels.iter().all(has),
            "{selector:?}: {expression}"
        );
        assert!(
            selector.patterns.iter().all(is_label),
            "{selector:?}: {expression}"
        );
        for label in grouped_by(expression) {
            assert!(is_label(&label.to_owned()), "{label} in {expression}");
        }
    }
}

fn dashboard() -> Value {
    let text = read("examples/metrics/grafana-dashboard.json");
    serde_json::from_str(&text).expect("it is JSON")
}

fn targets(dashboard: &Value) -> impl Iterator<Item = &Value> {
    let panels = dashboard["panels"].as_array().expect("it has panels");
    let targets = panels.iter().map(|panel| panel["targets"].as_array());
    targets.flat_map(|targets| targets.expect("a panel has targets"))
}

fn text(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
}

/// The expressions of the dashboard.
pub(crate) fn expressions() -> Vec<String> {
    let dashboard = dashboard();
    let expressions = targets(&dashboard).map(|target| text(&target["expr"]).to_owned());
    expressions.collect()
}

#[test]
fn the_dashboard_is_about_metrics_and_labels_that_there_are() {
    for expression in expressions() {
        assert!(!selectors(&expression).is_empty(), "{expression}");
        check(&expression);
        let chosen = "instance=~\"$instance\"";
        assert_eq!(
            expression.matches(chosen).count(),
            selectors(&expression).len(),
            "the machine that is chosen: {expression}"
        );
    }
}

#[test]
fn a_legend_of_the_dashboard_names_what_its_expression_groups_by() {
    let dashboard = dashboard();
    let mut number = 0;
    for target in targets(&dashboard) {
        let expression = text(&target["expr"]);
        let legend = target["legendFormat"].as_str().unwrap_or_default();
        for label in between(legend, "{{", "}}") {
            assert!(grouped_by(expression).contains(label), "{target}");
            number += 1;
        }
    }
    assert!(number >= 5, "{number}");
}

/// The metric of a histogram's series.
fn family(name: &str) -> &str {
    let suffixes = ["_bucket", "_sum", "_count"];
    let found = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix));
    found.unwrap_or(name)
}

fn families() -> BTreeSet<String> {
    let known = series();
    let families: BTreeSet<_> = known.keys().map(|name| family(name).to_owned()).collect();
    assert!(families.len() >= 15, "{families:?}");
    families
}

#[test]
fn the_manual_page_has_every_metric() {
    let page = read("man/ttyplugd.8");
    for metric in families() {
        assert!(page.contains(&metric), "{metric} is not in man/ttyplugd.8");
    }
}

#[test]
fn the_dashboard_shows_every_metric() {
    let expressions = expressions();
    let shown = expressions
        .iter()
        .flat_map(|expression| selectors(expression));
    let shown: BTreeSet<_> = shown
        .map(|selector| family(&selector.metric).to_owned())
        .collect();
    assert_eq!(shown, families());
}

#[test]
fn the_dashboard_asks_for_the_data_source_and_the_machine() {
    let dashboard = dashboard();
    let variables = dashboard["templating"]["list"]
        .as_array()
        .expect("it has variables");
    let names: Vec<_> = variables
        .iter()
        .map(|variable| text(&variable["name"]))
        .collect();
    assert_eq!(names, ["datasource", "instance"]);
    let query = text(&variables[1]["query"]["query"]);
    assert_eq!(query, "label_values(ttyplugd_build_info, instance)");
    let panels = dashboard["panels"].as_array().expect("it has panels");
    for of in panels.iter().chain([&variables[1]]) {
        assert_eq!(of["datasource"]["uid"], "${datasource}", "{of}");
    }
}

/// Grafana's dashboards have 24 columns. A panel that overlaps another one is moved by it.
#[test]
fn the_panels_of_the_dashboard_are_beside_each_other() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().expect("it has panels");
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64()), "{panel}");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| {
            panel["gridPos"][key]
                .as_u64()
                .expect("a place has four numbers")
        });
        assert!(x + w <= 24, "{panel}");
        for place in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(place), "{panel}");
        }
    }
}

#[test]
fn the_alerts_are_about_metrics_and_labels_that_there_are() {
    let alerts = read("examples/metrics/alerts.yml");
    let expressions: Vec<_> = between(&alerts, "expr: ", "\n").collect();
    assert!(expressions.len() >= 6, "{expressions:?}");
    for expression in expressions {
        assert!(expression.contains("ttyplugd_"), "{expression}");
        check(expression);
    }
}

#[test]
fn every_alert_is_tested_when_it_fires_and_when_it_does_not() {
    let alerts = read("examples/metrics/alerts.yml");
    let tests = read("examples/metrics/alerts_test.yml");
    for alert in between(&alerts, "alert: ", "\n") {
        assert!(
            tests.contains(&format!("alertname: {alert} }}\n")),
            "{alert} is never silent"
        );
        let fires = format!("alertname: {alert}\n        exp_alerts:\n");
        assert!(tests.contains(&fires), "{alert} never fires");
    }
}
