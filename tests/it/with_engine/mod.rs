//! What the daemon does on a real machine: every test plugs, starts and breaks real things.

mod announce;
mod applications;
mod boot;
mod burst;
mod check;
mod containers;
mod crash;
mod engine;
mod examples;
mod foreign;
mod grants;
mod hold;
mod hostile;
mod in_the_way;
mod journal;
mod labels;
mod namespace;
mod operator;
mod papers;
mod plug;
mod refused;
mod reload;
mod report;
mod runtime;

/// One port for one container under a fixed name.
const ZWAVE: &str = r#"
[[port]]
name = "zwave"
match = { vendor = "0658", serial = "Z1" }
containers = ["zwave"]
node = "/dev/zwave"
"#;

/// One port by its serial number for any of the containers.
fn port_for(containers: &str, node: &str, more: &str) -> String {
    format!(
        "[[port]]\nname = \"zwave\"\nmatch = {{ serial = \"Z1\" }}\n\
         containers = [{containers}]\nnode = {node:?}\n{more}\n"
    )
}
