//! A mountinfo file, in which a container chooses the mount points, and the maps of its users.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ttyplugd::container::rootfs::Users;
use ttyplugd::sys::mountinfo::{mount_with_id, parse_mountinfo};
use ttyplugd_fuzz::bounded;

fuzz_target!(|text: &str| {
    let mounts = bounded(|| parse_mountinfo(text));
    assert!(mounts.len() <= text.lines().count());
    for mount in mounts.iter().take(16) {
        let first = mounts.iter().find(|other| other.id == mount.id);
        if let Some(found) = bounded(|| mount_with_id(text, mount.id)) {
            assert_eq!(Some(&found), first);
        }
        assert!(mount.has_option(""));
    }
    users(text);
});

/// The same text as a map: an id leads where the first line that has it says.
fn users(text: &str) {
    let users = Users::parse(text, text);
    for line in text.lines().take(16) {
        let numbers: Vec<u32> = line
            .split_whitespace()
            .map_while(|n| n.parse().ok())
            .collect();
        let &[inside, outside, count, ..] = &numbers[..] else {
            continue;
        };
        for id in [
            inside,
            inside.wrapping_add(count.wrapping_sub(1)),
            inside.wrapping_add(count),
        ] {
            let Some((uid, gid)) = users.on_host(id, id) else {
                continue;
            };
            assert_eq!(uid, gid);
            let is_first = text.lines().next() == Some(line);
            if is_first && id >= inside && u64::from(id) < u64::from(inside) + u64::from(count) {
                assert_eq!(u64::from(uid), u64::from(outside) + u64::from(id - inside));
            }
        }
    }
}
