//! The file of one port, as `add` writes it. Pure.

use std::path::PathBuf;

use crate::cli::snippet::Snippet;
use crate::config::parse;
use crate::model::port::Port;

/// The text for a port that has a node, and is one container's.
pub(in crate::cli) fn text(port: &Port) -> Option<String> {
    let [container] = port.containers.as_slice() else {
        return None;
    };
    let snippet = Snippet {
        name: port.name.as_str(),
        device: &port.device,
        container: &container.to_string(),
        node: port.node.path.as_ref()?.as_str(),
    };
    Some(format!(
        "# Written by ttyplugd add. To remove it: ttyplugd remove {}\n{snippet}",
        port.name
    ))
}

/// The port of a text, if `add` has written it, and nobody has changed it since.
pub(in crate::cli) fn recognised(written: &str) -> Option<Port> {
    let settings = parse(&[(PathBuf::new(), written.to_owned())]).ok()?;
    let [port] = settings.ports.as_slice() else {
        return None;
    };
    (text(port)? == written).then(|| port.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fixtures::settings;

    const WRITTEN: &str = "# Written by ttyplugd add. To remove it: ttyplugd remove zwave\n\
        [[port]]\nname = \"zwave\"\nmatch = { vendor = \"0658\", serial = \"a\\\"b\\u009B[*]\" }\n\
        containers = [\"home/zwave-js\"]\nnode = \"/dev/zwave\"\n";

    #[test]
    fn what_add_has_written_is_recognised_until_somebody_changes_it() {
        assert_eq!(recognised(WRITTEN).unwrap(), settings(WRITTEN).ports[0]);
        for changed in [
            format!("{WRITTEN}mode = \"0600\"\n"),
            format!("{WRITTEN}\n"),
            format!("{WRITTEN}# mine\n"),
            format!("labels = \"off\"\n{WRITTEN}"),
            format!("{WRITTEN}[[port]]\nname = \"a\"\nmatch = {{ vendor = \"1\" }}\n"),
            WRITTEN.replace("\"home/zwave-js\"", "\"home/zwave-js\", \"b\""),
            WRITTEN.replace("# Written", "# Copied"),
            WRITTEN.replace("\n", "\r\n"),
            WRITTEN.replace("[[port]]\n", ""),
            String::new(),
        ] {
            assert_eq!(recognised(&changed), None, "{changed}");
        }
    }
}
