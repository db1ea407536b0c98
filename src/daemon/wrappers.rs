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
use crate::model::inventory::{ContainerId, EngineName};
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

/// The same of Podman's, whose service is started by our connection, beside the containers of units
/// (podman-system-service(1)). It is less than a wrapper waits for us.
const KNOWN_LIMIT_OF_PODMAN: Duration = Duration::from_secs(4);

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
    let question = question.await??;
    // Not known in time: the wrapper uses the configuration alone, and the keeper gets the ports later.
    let Some(id) = known(shared, question).await else {
        return Ok(());
    };
    match prepare(shared, &id) {
        Some(created) => stream.write_all(&line(&created)).await,
        None => Ok(()),
    }
}

/// Waits until the container that is being created is known, and its ports.
async fn known(shared: &Shared, question: Creating) -> Option<ContainerId> {
    // Subscribed before anything changes.
    let mut assigned = shared.notifier.assigned();
    let told = match &question.description {
        Some(description) => description.id(),
        None => ContainerId::of_docker(question.container),
    };
    let identify = || shared.state.borrow().identify(&told);
    let mut found = identify();
    if let Some(id) = &found {
        begin(shared, id);
    }
    let is_told = is_told(shared, &told, found.as_ref());
    if let Some(description) = question.description.filter(|_| is_told) {
        shared.state.borrow().told.create(description);
    }
    let limit = match is_told || answers(shared, found.as_ref()) {
        _ if awaits_podman(shared, &told) => KNOWN_LIMIT_OF_PODMAN,
        true => KNOWN_LIMIT,
        false => KNOWN_LIMIT_AT_BOOT,
    };
    let known = async {
        let has_ports = |id: &ContainerId| shared.state.borrow().ports(id).is_some();
        while !found.as_ref().is_some_and(has_ports) && assigned.next().await.is_some() {
            found = found.take().or_else(identify);
        }
    };
    let _ = timeout(limit, known).await;
    found
}

/// Whether nothing is known of a container but what its wrapper tells. An engine that is followed has
/// announced its own before it has started the wrapper.
fn is_told(shared: &Shared, told: &ContainerId, found: Option<&ContainerId>) -> bool {
    let state = shared.state.borrow();
    match found {
        Some(id) => state.only_told.contains(id),
        None => state.engines.is_left_to_wrappers(&told.engine),
    }
}

/// Whether the engine of a container answers, or any where that is not known.
fn answers(shared: &Shared, found: Option<&ContainerId>) -> bool {
    let state = shared.state.borrow();
    match found {
        Some(id) => state.engines.get(&id.engine).is_some(),
        None => state.engines.any_answers(),
    }
}

/// Whether it is one of Podman's, whose service is being started.
fn awaits_podman(shared: &Shared, told: &ContainerId) -> bool {
    told.engine == EngineName::PODMAN && shared.state.borrow().engines.awaits_podman()
}

/// A container that was known before is being created.
fn begin(shared: &Shared, id: &ContainerId) {
    shared.state.borrow_mut().being_created(id);
    shared.notifier.notify_stale();
    shared.notifier.notify_container(id);
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
        supervised: state.only_told.contains(id) && state.assigned.by_container.contains_key(id),
        ports: state.ports(id)?,
    };
    if id.engine.keeps_bundles() {
        // What is put into config.json would be a part of the next start's definition.
        created.nodes.clear();
        created.placeholders.clear();
        created.rights = false;
    }
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
