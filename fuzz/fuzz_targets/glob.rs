//! The globs of labels and of the configuration, against what a device says of itself. The first
//! line has the globs, as a label does, and the others the properties.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ttyplugd::model::device::Device;
use ttyplugd::model::selector::{ContainerMatch, DeviceMatch};
use ttyplugd_fuzz::{bounded, pairs};

const NODE: [(&[u8], &[u8]); 4] = [
    (b"DEVPATH", b"/devices/ttyACM0"),
    (b"DEVNAME", b"/dev/ttyACM0"),
    (b"MAJOR", b"166"),
    (b"MINOR", b"0"),
];

fuzz_target!(|text: &str| {
    let (globs, properties) = text.split_once('\n').unwrap_or((text, ""));
    let of_device = pairs(properties).map(|(key, value)| (key.as_bytes(), value.as_bytes()));
    let device = Device::from_properties(of_device.chain(NODE), None, 0);
    if let (Ok(globs), Some(device)) = (globs.parse::<DeviceMatch>(), device) {
        bounded(|| globs.matches(&device));
        let again: DeviceMatch = globs.to_string().parse().expect("it was parsed before");
        assert_eq!(again, globs);
    }
    if let Ok(container) = globs.parse::<ContainerMatch>() {
        let service = properties.split_once('/');
        let service = service.map(|(project, name)| (project.to_owned(), name.to_owned()));
        bounded(|| container.matches(properties, service.as_ref(), &Default::default()));
    }
});
