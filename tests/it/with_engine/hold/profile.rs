//! Seccomp profiles of the operator's.

use serde_json::{Value, json};

use crate::testbed::{Recipe, Testbed};

use super::{LONG, NODE, holding, opener, says, setup};

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
        let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule.clone()] });
        let bed = holding(LONG);
        let recipe = with_profile(&bed, &profile);
        let (bed, container, _daemon, _port) = setup(bed, recipe);
        let opened = says(&container, 1);
        assert_eq!(bed.keepers(), [], "{rule}");
        opened[0].is("ENOENT").at_once();
        let log = bed.runtime_log();
        let warnings = log.matches("already has a special rule").count();
        assert_eq!(warnings, 1, "{rule}: {log}");
    }
}

#[test]
fn a_profile_of_the_operators_that_allows_opens_goes_on_denying_what_it_denies() {
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["link", "linkat"], "action": "SCMP_ACT_ERRNO" }],
    });
    let bed = holding(LONG);
    let script = "ln /etc/passwd /etc/linked || opens once /dev/zwave";
    let recipe = with_profile(&bed, &profile).command(&["sh", "-c", script]);
    let (bed, container, _daemon, port) = setup(bed, recipe);
    bed.holds(&[NODE]);
    port.plug();
    says(&container, 1)[0].got(&port);
}

#[test]
fn a_container_without_seccomp_is_held_too() {
    let recipe = opener().with(&["--security-opt", "seccomp=unconfined"]);
    let (bed, container, _daemon, port) = setup(holding(LONG), recipe);
    bed.holds(&[NODE]);
    port.plug();
    says(&container, 1)[0].got(&port);
}

/// Its program opens the port once.
pub(super) fn with_profile(bed: &Testbed, profile: &Value) -> Recipe {
    let file = bed.file("profile.json");
    std::fs::write(&file, profile.to_string()).expect("a file can be written");
    opener().with(&["--security-opt", &format!("seccomp={}", file.display())])
}
