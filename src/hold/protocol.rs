//! The messages of daemon, wrapper and keeper: one JSON object a line, over unix sockets in the run
//! directory. Pure.
//!
//! A keeper lives as long as its container and so outlives upgrades of the daemon. Fields may be
//! added; a reader ignores those that it does not know. [`VERSION`] changes only when a field
//! changes its meaning, and then the daemon still speaks the older versions.

use serde::{Deserialize, Serialize};

use crate::hold::ContainerPorts;
use crate::hold::description::Description;
use crate::hold::held_opens::Reason;
use crate::model::start::FirstProcess;
use crate::model::{Account, DevNum, Mode, NodePath};

pub const VERSION: u32 = 1;

/// The longest line that is read; a longer one ends the connection.
pub const LONGEST_LINE: usize = 1 << 20;

/// From the daemon or the wrapper to a keeper.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToKeeper {
    pub ttyplugd: u32,
    /// All ports of the container, in place of those of earlier messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<ContainerPorts>,
    /// The wrapper guessed the ports without the daemon: until the daemon confirms them they hold
    /// for no longer than the default.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub provisional: bool,
    /// The container is about to be stopped: nothing is held any longer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub let_all_go: bool,
    /// The sender wants to be told of held opens from now on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub follow: bool,
    /// The sender understands changes: it is told all held opens once, and then what is different.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub changes: bool,
    /// The sender counts released opens: they are remembered for it while it is not connected.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub counts: bool,
    /// The sender keeps copies of the keeper's descriptors, and wants to be sent them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub copies: bool,
    /// The keeper is to end, since another one takes over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retire: bool,
}

/// From a keeper to those who follow it: at first, and whenever something changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FromKeeper {
    pub ttyplugd: u32,
    pub container: String,
    /// `held` are those that are new since the last message, not all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub changes: bool,
    /// In place of what the same thread was said to wait for.
    pub held: Vec<HeldOpen>,
    /// The threads that do not wait any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ended: Vec<u32>,
    /// Those released since the last message to somebody who counts them: each is told once.
    #[serde(default)]
    pub released: Vec<ReleasedOpen>,
    /// The descriptors that come with the message, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub descriptors: Vec<Descriptor>,
    /// The file of its program, see [`program`](crate::sys::program). A keeper that does not say
    /// cannot be replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// Of the container, once the runtime has told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<FirstProcess>,
}

/// A descriptor of a keeper, without which no other can take over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Descriptor {
    /// At which runtimes and the daemon connect.
    Socket,
    /// The file in which it writes down what it knows.
    State,
    /// The listener with this number.
    Listener(u64),
}

/// From the daemon to a keeper that takes over from another one, at its standard input. The
/// descriptors come with it: the socket, the state file, and then the listeners.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    pub ttyplugd: u32,
    /// Their numbers.
    pub listeners: Vec<u64>,
    /// The first message. The keeper follows it before it accepts any listener.
    pub first: ToKeeper,
}

/// An open that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldOpen {
    /// The thread, in the host's numbers, and its name.
    pub tid: u32,
    pub command: String,
    /// The process that the thread belongs to.
    #[serde(default)]
    pub pid: Option<u32>,
    /// That process has no other thread.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub only_thread: bool,
    pub path: String,
    /// For how long it has waited, and for how long it will at most, in milliseconds.
    pub waited_ms: u64,
    pub left_ms: Option<u64>,
}

/// Opens that have waited for the same time, and have ended for the same reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleasedOpen {
    pub waited_ms: u64,
    pub reason: Reason,
    /// A keeper that does not know of it names each.
    #[serde(default = "one")]
    pub count: u64,
}

fn one() -> u64 {
    1
}

/// From the wrapper to the daemon, when a container is being created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Creating {
    pub ttyplugd: u32,
    pub container: String,
    /// For the case that no engine knows the container. Older wrappers do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Description>,
}

/// The daemon's answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    pub ttyplugd: u32,
    /// Nodes of the ports that are there now.
    pub nodes: Vec<NodeToMake>,
    /// Nodes that stand for the others, if opens are held: they have the number of no device.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub placeholders: Vec<NodeToMake>,
    /// Whether the container is granted access to them.
    pub rights: bool,
    /// The container has a keeper even if nothing is held: nobody else tells when it has ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub supervised: bool,
    pub ports: ContainerPorts,
}

/// A node of the container's config.json.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeToMake {
    pub path: NodePath,
    pub number: DevNum,
    pub mode: Mode,
    pub owner: Account,
    pub group: Account,
}

/// A message as a line.
pub fn line<T: Serialize>(message: &T) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Takes the first complete line out of `received`; `None` if there is none yet.
///
/// # Errors
/// The line is too long or does not parse.
pub fn take<T: for<'de> Deserialize<'de>>(received: &mut Vec<u8>) -> Result<Option<T>, String> {
    let Some(end) = received.iter().position(|byte| *byte == b'\n') else {
        if received.len() > LONGEST_LINE {
            return Err("the line is too long".into());
        }
        return Ok(None);
    };
    let line: Vec<u8> = received.drain(..=end).collect();
    serde_json::from_slice(&line)
        .map(Some)
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_lines_and_unknown_fields_are_ignored() {
        let message = ToKeeper {
            ttyplugd: VERSION,
            follow: true,
            ..ToKeeper::default()
        };
        let mut received = line(&message);
        assert_eq!(received, b"{\"ttyplugd\":1,\"follow\":true}\n");
        received.extend(b"{\"ttyplugd\":2,\"news\":[1],\"let_all_go\":true}\n{\"tty");
        assert_eq!(take(&mut received), Ok(Some(message)));
        let second: ToKeeper = take(&mut received).unwrap().unwrap();
        assert!(second.let_all_go);
        assert_eq!(take::<ToKeeper>(&mut received), Ok(None));
        assert_eq!(received, b"{\"tty");
        assert!(take::<ToKeeper>(&mut b"nonsense\n".to_vec()).is_err());
        assert!(take::<ToKeeper>(&mut vec![b' '; LONGEST_LINE + 1]).is_err());
    }

    /// Keepers of every version live on when the daemon is upgraded, and when it is downgraded.
    #[test]
    fn keepers_of_other_versions_are_understood() {
        let older = r#"{"ttyplugd":1,"container":"c","held":[{"tid":7,"command":"a","path":"/dev/x",
            "waited_ms":1,"left_ms":null}],"released":[{"tid":7,"path":"/dev/x","waited_ms":5,
            "reason":"let-go"}]}"#;
        let heard: FromKeeper = serde_json::from_str(older).unwrap();
        assert_eq!(heard.held[0].pid, None);
        assert!(!heard.changes);
        let released = ReleasedOpen {
            waited_ms: 5,
            reason: Reason::LetGo,
            count: 1,
        };
        assert_eq!(heard.released, [released]);
        let later = r#"{"ttyplugd":1,"container":"c","held":[],"released":[{"waited_ms":5,
            "reason":"moon"}],"more":{}}"#;
        let heard: FromKeeper = serde_json::from_str(later).unwrap();
        assert_eq!(heard.released[0].reason, Reason::Gone);
    }

    /// A container may be created while the package is upgraded.
    #[test]
    fn wrappers_and_daemons_of_other_versions_are_understood() {
        let older = r#"{"ttyplugd":1,"nodes":[{"path":"/dev/zwave","number":"188:0","mode":"0660","owner":"0","group":"dialout"}],"rights":true,"ports":{"ports":[],"every":false}}"#;
        let created: Created = serde_json::from_str(older).unwrap();
        let node = NodeToMake {
            path: "/dev/zwave".parse().unwrap(),
            number: "188:0".parse().unwrap(),
            mode: Mode(0o660),
            owner: Account::Number(0),
            group: Account::Name("dialout".into()),
        };
        assert_eq!(created.nodes, [node]);
        assert_eq!(line(&created), format!("{older}\n").as_bytes());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(mut bytes: Vec<u8>) {
            let _ = take::<ToKeeper>(&mut bytes);
            let _ = take::<FromKeeper>(&mut bytes);
        }
    }
}
