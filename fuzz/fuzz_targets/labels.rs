//! A container's labels, one a line.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use ttyplugd::config::labels::{compose_service, own_labels, port_requests};
use ttyplugd::config::settings::LabelPolicy;
use ttyplugd_fuzz::{bounded, pairs};

fuzz_target!(|text: &str| {
    // Those after an empty line are the image's.
    let (container, image) = text.split_once("\n\n").unwrap_or((text, ""));
    let labels = |text: &str| -> BTreeMap<String, String> {
        let labels = pairs(text).map(|(key, value)| (key.to_owned(), value.to_owned()));
        labels.collect()
    };
    let (container, image) = (labels(container), labels(image));
    let own = own_labels(&container, &image);
    let _ = compose_service(&container, &own);
    match bounded(|| port_requests(&own, LabelPolicy::Container, &[])) {
        Ok(requests) => {
            let by_label = |label: &str| own.contains_key(label);
            assert!(!requests.every_port || by_label("ttyplugd.enable"));
            // No port of the configuration is defined here.
            assert!(requests.used.is_empty());
            for port in &requests.own {
                assert!(by_label(&format!("ttyplugd.port.{}.match", port.name)));
            }
        }
        Err(error) => assert!(error.label.starts_with("ttyplugd."), "{error}"),
    }
    let off = port_requests(&own, LabelPolicy::Off, &[]).expect("they are not read");
    assert!(!off.every_port && off.own.is_empty());
});
