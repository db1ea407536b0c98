//! The architecture's rules, enforced on the source text.

use std::fs;
use std::path::Path;

/// No I/O, no clock, no runtime in these; `config` has one function that reads files.
const PURE: &[&str] = &[
    "accounts",
    "assign",
    "bundle",
    "calendar",
    "cli/check/access",
    "cli/check/finding",
    "cli/check/kinds",
    "config",
    "device",
    "device_program",
    "engine_file",
    "fragment",
    "hold",
    "identity",
    "inventory",
    "labels",
    "metrics",
    "model",
    "plan",
    "port",
    "protocol",
    "rights",
    "runc",
    "script",
    "seccomp",
    "selector",
    "status",
    "timeline",
    "uevent",
];

/// The modules that may contain `unsafe`.
const UNSAFE: [&str; 7] = [
    "bind",
    "bpf",
    "descriptors",
    "localtime",
    "monitor",
    "notify",
    "pidfd",
];

fn source(module: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/{module}.rs"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The text of a module without its tests, which may use anything.
pub(crate) fn code(module: &str) -> String {
    let text = source(module);
    text.split("#[cfg(test)]").next().unwrap().to_owned()
}

/// Every module by its path below src without the ending, e.g. `cli/check`.
pub(crate) fn modules() -> Vec<String> {
    fn walk(directory: &Path, prefix: &str, found: &mut Vec<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            if path.is_dir() {
                walk(&path, &format!("{prefix}{name}/"), found);
            } else {
                found.push(format!("{prefix}{name}"));
            }
        }
    }
    let mut found = Vec::new();
    walk(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        "",
        &mut found,
    );
    assert!(found.len() > 20, "{found:?}");
    found
}

#[test]
fn pure_modules_do_no_io_and_have_no_clock() {
    let forbidden = [
        "tokio",
        "bollard",
        "udev::",
        "nix::",
        "libc::",
        "std::net",
        "std::process",
        "std::time",
        "std::env",
        "std::os",
        "tracing",
        "std::thread",
    ];
    for module in PURE {
        let text = code(module);
        for word in forbidden {
            assert!(!text.contains(word), "src/{module}.rs uses {word}");
        }
        // The loader of the configuration is the one exception, and it is in one function.
        if *module != "config" {
            assert!(!text.contains("std::fs"), "src/{module}.rs reads files");
        }
    }
    let config = code("config");
    let loader = config
        .split("pub fn load")
        .nth(1)
        .unwrap()
        .split("\npub fn ")
        .next()
        .unwrap();
    assert_eq!(
        config.matches("std::fs").count(),
        loader.matches("std::fs").count(),
        "src/config.rs reads files outside of load()"
    );
}

#[test]
fn udev_stays_in_monitor_and_bollard_in_docker() {
    for module in modules() {
        let text = code(&module);
        let uses = |krate: &str| text.contains(&format!("{krate}::"));
        assert!(
            !uses("udev") || module == "monitor",
            "src/{module}.rs uses udev"
        );
        assert!(
            !uses("bollard") || module.split('/').next() == Some("docker"),
            "src/{module}.rs uses bollard"
        );
    }
}

#[test]
fn unsafe_code_is_in_named_modules_and_each_block_says_why_it_is_safe() {
    for module in modules() {
        let text = source(&module);
        let blocks = text.matches("unsafe {").count();
        assert!(
            blocks == 0 || UNSAFE.contains(&module.as_str()),
            "src/{module}.rs is unsafe"
        );
        assert!(
            text.matches("// SAFETY:").count() >= blocks,
            "src/{module}.rs"
        );
    }
}

#[test]
fn no_module_is_called_after_nothing_in_particular() {
    for module in modules() {
        for word in ["util", "helper", "manager", "common", "misc"] {
            assert!(!module.contains(word), "src/{module}.rs");
        }
    }
}
