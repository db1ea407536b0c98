//! The udev rule and script that ttyplugd replaces.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::testbed::{Container, docker_host, test_dir};

use super::reload_rules;

/// The procedure that ttyplugd replaces, word for word but for the places of the script, of its log
/// and of the engine.
pub(crate) struct Script {
    rules: Vec<PathBuf>,
}

const RULE: &str = r#"ACTION=="add", SUBSYSTEM=="tty", RUN+="/usr/local/bin/docker_tty.sh 'added' '%E{DEVNAME}' '%M' '%m'"
ACTION=="remove", SUBSYSTEM=="tty", RUN+="/usr/local/bin/docker_tty.sh 'removed' '%E{DEVNAME}' '%M' '%m'"
"#;

const SCRIPT: &str = r#"#!/usr/bin/env bash

echo "Usb event: $1 $2 $3 $4" >> /tmp/docker_tty.log
if [ ! -z "$(docker ps -qf name=<container name>)" ]
then
if [ "$1" == "added" ]
    then
        docker exec -u 0 <container name> mknod $2 c $3 $4
        docker exec -u 0 <container name> chmod -R 777 $2
        echo "Adding $2 to docker" >> /tmp/docker_tty.log
    else
        docker exec -u 0 <container name> rm $2
        echo "Removing $2 from docker" >> /tmp/docker_tty.log
    fi
fi
"#;

impl Script {
    /// A rule and a script for each container, since a script serves the one that it names.
    pub(crate) fn install(containers: &[Container]) -> Self {
        let mut script = Self { rules: Vec::new() };
        for container in containers {
            let name = container.name();
            let path = test_dir().join(format!("docker_tty-{name}.sh"));
            let log = test_dir().join("docker_tty.log");
            let text = SCRIPT
                .replace("<container name>", name)
                .replace("/tmp/docker_tty.log", &log.display().to_string());
            write(&path, &text);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");

            // What a rule puts into a device's environment is there for the programs that it runs.
            let host = format!("ENV{{DOCKER_HOST}}=\"{}\"\n", docker_host());
            let rule = RULE.replace("/usr/local/bin/docker_tty.sh", &path.display().to_string());
            let path = format!("/run/udev/rules.d/99-ttyplugd-bench-{name}.rules");
            write(Path::new(&path), &(host + &rule));
            script.rules.push(path.into());
        }
        reload_rules();
        script
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        for rule in &self.rules {
            let _ = fs::remove_file(rule);
        }
        reload_rules();
    }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
