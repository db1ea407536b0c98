//! Seccomp profiles of the operator's.

use serde_json::{Value, json};

use crate::bed::Bed;

use super::{held_port, says, stick, zwave};

#[test]
fn a_profile_with_rules_of_its_own_for_opens_is_left_as_it_is() {
    let o_path = 0o10_000_000;
    let bit =
        json!([{ "index": 2, "value": o_path, "valueTwo": o_path, "op": "SCMP_CMP_MASKED_EQ" }]);
    for rule in [
        json!({ "names": ["openat"], "action": "SCMP_ACT_ERRNO", "args": bit }),
        json!({ "names": ["open", "openat"], "action": "SCMP_ACT_LOG" }),
        json!({ "names": ["openat"], "action": "SCMP_ACT_ALLOW", "args": bit }),
        json!({ "names": ["open"], "action": "SCMP_ACT_ERRNO" }),
    ] {
        let bed = Bed::with_runtime(&held_port("60s"));
        let _daemon = bed.daemon();
        let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule.clone()] });
        let container = with_profile(&bed, &profile)
            .command(&["opens", "once", "/dev/zwave"])
            .start();
        let opened = &says(&container, 1)[0];
        assert_eq!(opened.result, "ENOENT", "{rule}: {opened:?}");
        assert!(opened.was_quick(), "{rule}: {opened:?}");
        assert_eq!(bed.keepers(), [], "{rule}");
        let log = bed.runtime_log();
        assert_eq!(
            log.matches("has a rule of its own").count(),
            1,
            "{rule}: {log}"
        );
    }
}

#[test]
fn a_profile_of_the_operators_that_allows_opens_goes_on_denying_what_it_denies() {
    let bed = Bed::with_runtime(&held_port("60s"));
    let _daemon = bed.daemon();
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["link", "linkat"], "action": "SCMP_ACT_ERRNO" }],
    });
    let script = "ln /etc/passwd /etc/linked || opens once /dev/zwave";
    let container = with_profile(&bed, &profile)
        .command(&["sh", "-c", script])
        .start();
    bed.holds(&["/dev/zwave"]);
    let port = stick(63);
    port.plug();
    says(&container, 1)[0].got(&port);
}

#[test]
fn a_container_without_seccomp_is_held_too() {
    let bed = Bed::with_runtime(&held_port("60s"));
    let _daemon = bed.daemon();
    let container = zwave()
        .with(&["--security-opt", "seccomp=unconfined"])
        .command(&["opens", "once", "/dev/zwave"])
        .start();
    bed.holds(&["/dev/zwave"]);
    let port = stick(63);
    port.plug();
    says(&container, 1)[0].got(&port);
}

fn with_profile(bed: &Bed, profile: &Value) -> crate::bed::Recipe {
    let file = bed.file("profile.json");
    std::fs::write(&file, profile.to_string()).expect("a file can be written");
    zwave().with(&["--security-opt", &format!("seccomp={}", file.display())])
}
