//! The metrics, read as Prometheus reads them.

use std::collections::BTreeMap;
use std::time::Instant;

use nix::sys::signal::Signal;

use crate::testbed::{Testbed, until};

use super::super::hold::{LONG, NODE, Opening, held_port, unplugged, zwave};
use super::super::setup::setup;
use super::{blocked, get, more_ports};

/// The samples by name and labels. Text format 0.0.4 is read strictly: every family has its help
/// and its type, stands in one piece, has no sample twice, and its histograms add up.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let mut families: Vec<(String, String)> = Vec::new();
    let mut lines = text.lines();
    assert!(text.ends_with('\n'), "{text}");
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').expect("a help has a text");
            assert!(help.ends_with('.') && !help.contains('\\'), "{line}");
            let kind = lines.next().and_then(|line| line.strip_prefix("# TYPE "));
            let (of, kind) = kind
                .and_then(|kind| kind.split_once(' '))
                .expect("a type follows");
            assert_eq!(of, name);
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
            assert!(name.starts_with("ttyplugd_"), "{name}");
            assert!(families.iter().all(|(other, _)| other != name), "{name}");
            families.push((name.into(), kind.into()));
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect("a sample has a value");
        let value: f64 = value.parse().expect("it is a number");
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}').expect("labels end")),
            None => (series, ""),
        };
        for label in labels.split(',').filter(|label| !label.is_empty()) {
            let (key, value) = label.split_once("=\"").expect("a label has a value");
            let word = |c: char| c.is_ascii_lowercase() || c == '_';
            assert!(key.chars().all(word), "{line}");
            let value = value.strip_suffix('"').expect("a value is quoted");
            assert!(!value.contains(['"', '\\']), "{line}");
        }
        let (family, kind) = families.last().expect("a family has begun");
        let suffix = name
            .strip_prefix(family.as_str())
            .expect("it is of that family");
        match kind.as_str() {
            "histogram" => assert!(["_bucket", "_sum", "_count"].contains(&suffix), "{line}"),
            _ => assert_eq!(suffix, "", "{line}"),
        }
        assert!(samples.insert(series.to_owned(), value).is_none(), "{line}");
    }
    for (family, _) in families.iter().filter(|(_, kind)| kind == "histogram") {
        let prefix = format!("{family}_bucket{{le=\"");
        let buckets = text.lines().filter_map(|line| line.strip_prefix(&prefix));
        let buckets: Vec<(f64, f64)> = buckets
            .map(|line| line.split_once("\"} ").expect("a bucket has one label"))
            .map(|(bound, count)| {
                (
                    bound.parse().expect("a number"),
                    count.parse().expect("a number"),
                )
            })
            .collect();
        let rises = |pair: &[(f64, f64)]| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1;
        assert!(buckets.windows(2).all(rises), "{buckets:?}");
        let last = *buckets.last().expect("there are buckets");
        assert_eq!(last, (f64::INFINITY, samples[&format!("{family}_count")]));
        assert!(samples.contains_key(&format!("{family}_sum")), "{family}");
    }
    samples
}

/// Waits until the metrics have a value, and returns all of them.
#[track_caller]
fn counts(bed: &Testbed, series: &str, value: f64) -> BTreeMap<String, f64> {
    until(&format!("{series} is {value}"), || {
        let (head, text) = get(bed, "/metrics");
        let of_type = "content-type: text/plain; version=0.0.4";
        assert!(head.to_lowercase().contains(of_type), "{head}");
        let samples = samples(&text);
        if samples.get(series) == Some(&value) {
            return Ok(samples);
        }
        Err(text)
    })
}

#[test]
fn the_metrics_count_plugs_holds_and_failures() {
    let bed = Testbed::with_runtime(&[held_port(LONG), more_ports()].concat());
    let (bed, container, _daemon, port) = setup(bed, zwave());
    let opening = Opening::of(&container, NODE);
    bed.holds(&[NODE]);
    let is_held = Instant::now();
    let before = counts(&bed, "ttyplugd_held_opens", 1.0);
    assert_eq!(before["ttyplugd_plugs_total"], 0.0);
    assert_eq!(before["ttyplugd_holds_total{outcome=\"ready\"}"], 0.0);
    assert_eq!(before["ttyplugd_ports{state=\"waiting\"}"], 3.0);
    assert_eq!(before["ttyplugd_engine_up"], 1.0);
    let version = format!(
        "ttyplugd_build_info{{version=\"{}\"}}",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(before[&version], 1.0);

    let at_least = is_held.elapsed().as_secs_f64();
    port.plug();
    let opened = &opening.end()[0];
    opened.got(&port);
    let after = counts(&bed, "ttyplugd_holds_total{outcome=\"ready\"}", 1.0);
    assert_eq!(after["ttyplugd_plugs_total"], 1.0);
    assert_eq!(after["ttyplugd_unplugs_total"], 0.0);
    assert_eq!(after["ttyplugd_hold_seconds_count"], 1.0);
    // The program counts whole milliseconds, from before its open was seen until it had returned.
    let (held, at_most) = (after["ttyplugd_hold_seconds_sum"], opened.seconds() + 0.001);
    assert!(
        (at_least..=at_most).contains(&held),
        "{at_least} {held} {at_most}"
    );
    let after = counts(&bed, "ttyplugd_plug_to_ready_seconds_count", 1.0);
    let took = after["ttyplugd_plug_to_ready_seconds_sum"];
    assert!(took > 0.0 && took < 20.0, "{took}");
    assert_eq!(after["ttyplugd_ports{state=\"ready\"}"], 1.0);

    port.unplug();
    counts(&bed, "ttyplugd_unplugs_total", 1.0);
    container.sh("mkdir /dev/blocked && touch /dev/blocked/x");
    blocked().plug();
    let failed = counts(&bed, "ttyplugd_failures_total{cause=\"in_the_way\"}", 1.0);
    assert_eq!(failed["ttyplugd_ports{state=\"failed\"}"], 1.0);
}

#[test]
fn a_hold_is_counted_that_ended_while_the_daemon_was_away() {
    let (bed, container, daemon, _port) = unplugged("2s");
    // One that is given up by a program that is killed, and one that ends at its deadline.
    let killed = Opening::of(&container, NODE);
    bed.holds(&[NODE]);
    daemon.end(Signal::SIGKILL);
    container.sh("killall -KILL opens");
    drop(killed);
    bed.holds(&[]);
    Opening::of(&container, NODE).end()[0].is("ENOENT");
    bed.ttyplugd(&["check"]);

    let daemon = bed.daemon();
    let ended = counts(&bed, "ttyplugd_hold_seconds_count", 2.0);
    assert_eq!(ended["ttyplugd_holds_total{outcome=\"gone\"}"], 1.0);
    assert_eq!(ended["ttyplugd_holds_total{outcome=\"timeout\"}"], 1.0);
    let sum = ended["ttyplugd_hold_seconds_sum"];
    assert!((2.0..5.0).contains(&sum), "{sum}");
    // And not again.
    daemon.end(Signal::SIGTERM);
    let daemon = bed.daemon();
    container.docker(&["restart", "--time", "0"]);
    Opening::of(&container, NODE).end()[0].is("ENOENT");
    counts(&bed, "ttyplugd_hold_seconds_count", 1.0);
    daemon.stop();
}
