//! What udev says of a tty, of which a USB device chooses its part.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ttyplugd::model::device::Device;
use ttyplugd::model::match_key::MatchKey;
use ttyplugd_fuzz::bounded;

/// A property a line, as in udev's database and messages.
fn properties(data: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let lines = data.split(|byte| *byte == b'\n' || *byte == 0);
    lines.filter_map(|line| {
        let equals = line.iter().position(|byte| *byte == b'=')?;
        Some((&line[..equals], &line[equals + 1..]))
    })
}

fuzz_target!(|data: &[u8]| {
    let driver = Some("cdc_acm".to_owned());
    let device = bounded(|| Device::from_properties(properties(data), driver, 20));
    let Some(device) = device else {
        return;
    };
    for path in device.links.iter().chain([&device.node]) {
        assert!(path.as_str().starts_with("/dev/"));
        assert!(!path.as_str().split('/').any(|name| name == ".."));
        assert!(!path.as_str().contains(char::is_control));
    }
    for key in MatchKey::ALL {
        bounded(|| device.values(*key).len());
    }
    assert!(!(device.is_offered() && device.is_ignored()));
    let _ = (device.is_serial(), device.by_path_order());
});
