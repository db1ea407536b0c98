//! The drop-in of Podman's configuration, containers.conf(5), that registers our runtime. Pure.
//!
//! The file is ours alone: Podman adds its runtimes to those of all other files.

use serde::Deserialize;

use crate::engine::daemon_json::RUNTIME;

/// Podman reads it after /etc/containers/containers.conf.
pub const DROP_IN: &str = "/etc/containers/containers.conf.d/50-ttyplugd.conf";

/// As much of it as we write.
#[derive(Deserialize)]
struct File {
    engine: Engine,
}

#[derive(Deserialize)]
struct Engine {
    runtimes: Runtimes,
}

#[derive(Deserialize)]
struct Runtimes {
    ttyplug: [String; 1],
}

/// The drop-in with this program.
pub fn drop_in(program: &str) -> String {
    // TOML has the quotes and escapes of JSON (TOML, "Basic strings").
    let program = serde_json::Value::from(program);
    format!(
        "# Made by \"ttyplugd runtime enable\", and removed by \"ttyplugd runtime disable\".\n\
         [engine.runtimes]\n\
         {RUNTIME} = [{program}]\n"
    )
}

/// Whether a text is such a drop-in, and nobody else has written in it.
pub fn is_ours(text: &str) -> bool {
    let file = toml::from_str::<File>(text);
    file.is_ok_and(|file| {
        let [program] = file.engine.runtimes.ttyplug;
        text == drop_in(&program)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drop_in_is_ours_as_long_as_it_is_unchanged() {
        for program in ["/usr/bin/ttyplug-runtime", "/opt/\"a\\b\"/ü\n"] {
            let text = drop_in(program);
            assert!(is_ours(&text), "{text}");
            for other in [
                format!("{text}\n[engine]\nruntime = \"ttyplug\"\n"),
                text.replace("Made", "made"),
                text.replace("[engine.runtimes]", "[engine]"),
                text.replace("ttyplug =", "other ="),
            ] {
                assert!(!is_ours(&other), "{other}");
            }
        }
        for other in ["", "[engine.runtimes]\nttyplug = []\n", "no TOML"] {
            assert!(!is_ours(other), "{other}");
        }
    }
}
