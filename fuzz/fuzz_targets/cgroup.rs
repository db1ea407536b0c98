//! The control groups of a process, and the device rules of one. The first line has the container's
//! id, and the others are both files.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ttyplugd::model::DevNum;
use ttyplugd::model::device_access::{Access, DeviceRules};
use ttyplugd::sys::cgroup::{is_in_container, memberships};
use ttyplugd_fuzz::bounded;

fuzz_target!(|text: &str| {
    let (id, file) = text.split_once('\n').unwrap_or((text, ""));
    let mut is_in = false;
    for its in bounded(|| memberships(file).collect::<Vec<_>>()) {
        let Some(own) = its.container("", id) else {
            continue;
        };
        is_in = true;
        assert!(its.path.starts_with(own));
        let rest = &its.path[own.len()..];
        assert!(rest.is_empty() || rest.starts_with('/'));
        let name = own.rsplit('/').next().unwrap_or_default();
        assert!(
            name.trim_end_matches(".scope")
                .ends_with(id.trim_end_matches(".scope"))
        );
    }
    assert_eq!(is_in, is_in_container(file, "", id));
    rules(file);
});

/// All rules together give what each of them gives.
fn rules(list: &str) {
    let of = |rules: Vec<String>| DeviceRules {
        rules,
        ..DeviceRules::default()
    };
    let all = of(list.lines().map(str::to_owned).collect());
    for devnum in [(188, 0), (4, 64), (0, 0), (u32::MAX, u32::MAX)] {
        let (major, minor) = devnum;
        let devnum = DevNum { major, minor };
        let single = list.lines().map(|rule| of(vec![rule.to_owned()]));
        let single: Vec<DeviceRules> = single.collect();
        let gives = |is: fn(Access) -> bool| single.iter().any(|rule| is(rule.access(devnum)));
        let access = bounded(|| all.access(devnum));
        assert_eq!(access.read, gives(|access| access.read));
        assert_eq!(access.write, gives(|access| access.write));
        assert_eq!(
            all.allow(devnum),
            single.iter().any(|rule| rule.allow(devnum))
        );
    }
}
