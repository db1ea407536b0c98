//! Answers the runtime wrappers at `runtime.sock` in the run directory: which nodes and which access a
//! container is to be created with.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::config::settings::GrantPolicy;
use crate::daemon::line::next;
use crate::daemon::shared::Shared;
use crate::hold::protocol::{Created, Creating, NodeToMake, VERSION, line};
use crate::hold::run_dir::wrapper_socket;
use crate::model::inventory::ContainerId;
use crate::model::{Account, Hold, NodePath, Permissions};
use crate::plan::Made;
use crate::plan::assign::WantedPort;
use crate::store;
use crate::sys::socket::Listener;

/// How long a wrapper may take to send the id of its container.
const QUESTION_LIMIT: Duration = Duration::from_secs(1);

/// How long the daemon waits until it knows a container that is being created. The engine has sent
/// the `create` event before it started the wrapper, so the event is on its way.
const KNOWN_LIMIT: Duration = Duration::from_secs(2);

/// The same while the engine does not answer. It may be booting, and send no events yet.
const KNOWN_LIMIT_AT_BOOT: Duration = Duration::from_millis(300);

/// Answers wrappers as long as the daemon runs.
///
/// # Errors
/// It cannot listen at the socket.
pub fn serve(run_dir: &Path, shared: Rc<Shared>) -> anyhow::Result<()> {
    let path = wrapper_socket(run_dir);
    let listener =
        Listener::bind(&path).with_context(|| format!("cannot listen at {}", path.display()))?;
    tokio::task::spawn_local(async move {
        loop {
            let stream = listener.accept().await;
            let shared = shared.clone();
            tokio::task::spawn_local(async move {
                if let Err(error) = answer(stream, &shared).await {
                    tracing::debug!(%error, "a wrapper ended before it was answered");
                }
            });
        }
    });
    Ok(())
}

async fn answer(mut stream: UnixStream, shared: &Shared) -> io::Result<()> {
    let mut received = Vec::new();
    let question = timeout(QUESTION_LIMIT, next::<Creating>(&mut stream, &mut received));
    let id = ContainerId(question.await??.container);
    // Subscribed before anything changes.
    let mut assigned = shared.notifier.assigned();
    shared.state.borrow_mut().being_created(&id);
    shared.notifier.notify_stale();
    shared.notifier.notify_container(&id);
    let known = async {
        while shared.state.borrow().ports(&id).is_none() {
            if assigned.next().await.is_none() {
                break;
            }
        }
    };
    let limit = match shared.state.borrow().engine.connection() {
        Some(_) => KNOWN_LIMIT,
        None => KNOWN_LIMIT_AT_BOOT,
    };
    let _ = timeout(limit, known).await;
    match prepare(shared, &id) {
        Some(created) => stream.write_all(&line(&created)).await,
        // Not known in time: the wrapper uses the configuration alone, and the keeper gets the ports
        // later.
        None => Ok(()),
    }
}

/// The answer. The nodes that the wrapper will make, and the access that it grants, are put on
/// record first. `None` while the container's ports are unknown.
fn prepare(shared: &Shared, id: &ContainerId) -> Option<Created> {
    let state = &mut *shared.state.borrow_mut();
    let nodes = state.assigned.wants(id).iter();
    let nodes = nodes.map(|want| node_to_make(want, &want.node));
    let placeholders = state.assigned.placeholders(id).iter();
    let placeholders = placeholders.filter(|placeholder| placeholder.hold != Hold::Off);
    let mut created = Created {
        ttyplugd: VERSION,
        nodes: nodes.collect(),
        placeholders: placeholders.flat_map(placeholder_at_all_names).collect(),
        rights: state.settings.grant == GrantPolicy::Auto,
        ports: state.ports(id)?,
    };
    let records = &mut state.store.records;
    records.put_created(id, on_record(&created));
    let written = records.write(id);
    if written.is_err() {
        // A node that is not on record would never be removed. The daemon makes the nodes once the
        // container runs.
        created.nodes.clear();
        created.placeholders.clear();
        records.put_created(id, store::Created::default());
    }
    state.problems.report_records(&written);
    Some(created)
}

/// What the record has of an answer.
fn on_record(created: &Created) -> store::Created {
    let entry = |node: &NodeToMake| {
        let made = Made::node(node.number, permissions(node));
        (node.path.clone(), BTreeSet::from([made]))
    };
    let numbers = created.nodes.iter().map(|node| node.number);
    let all = created.nodes.iter().chain(&created.placeholders);
    store::Created {
        entries: all.map(entry).collect(),
        granted: numbers.filter(|_| created.rights).collect(),
    }
}

/// The runtime makes no links (OCI runtime-spec, config-linux.md, "Devices"), so at first there is a
/// node at every name.
fn placeholder_at_all_names(placeholder: &WantedPort) -> impl Iterator<Item = NodeToMake> {
    let paths = placeholder.paths();
    paths.map(|path| node_to_make(placeholder, path))
}

/// `None` where the wrapper looks up a name.
fn permissions(node: &NodeToMake) -> Option<Permissions> {
    let (Account::Number(uid), Account::Number(gid)) = (&node.owner, &node.group) else {
        return None;
    };
    Some(Permissions {
        uid: *uid,
        gid: *gid,
        mode: node.mode,
    })
}

fn node_to_make(want: &WantedPort, path: &NodePath) -> NodeToMake {
    NodeToMake {
        path: path.clone(),
        number: want.devnum,
        mode: want.mode,
        owner: want.owner.clone(),
        group: want.group.clone(),
    }
}
