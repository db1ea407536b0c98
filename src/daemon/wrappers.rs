//! Tells the wrappers what to prepare: `runtime.sock` in the run directory.

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
use crate::plan::assign::WantedPort;
use crate::sys::logging::kind;
use crate::sys::socket::Listener;

/// How long a wrapper may take to say which container it creates.
const QUESTION_LIMIT: Duration = Duration::from_secs(1);

/// How long a container that is being created may take to become known. Its `create` event has
/// come before the runtime was started, and is on its way through the engine's event stream.
const KNOWN_LIMIT: Duration = Duration::from_millis(300);

/// Answers wrappers as long as the daemon runs.
///
/// # Errors
/// The socket cannot be made.
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
    let _ = timeout(KNOWN_LIMIT, known).await;
    match prepare(shared, &id) {
        Some(created) => stream.write_all(&line(&created)).await,
        // Not known in time: the wrapper goes by the configuration, and its keeper hears more later.
        None => Ok(()),
    }
}

/// What a container is to be created with; what it is granted by that is on record.
fn prepare(shared: &Shared, id: &ContainerId) -> Option<Created> {
    let state = &mut *shared.state.borrow_mut();
    let nodes = state.assigned.wants(id).iter().map(node_to_make);
    let mut created = Created {
        ttyplugd: VERSION,
        nodes: nodes.collect(),
        rights: state.settings.grant == GrantPolicy::Auto,
        ports: state.ports(id)?,
    };
    if created.rights {
        let numbers = created.nodes.iter().map(|node| node.number).collect();
        if let Err(error) = state.store.remember_wrapper_grants(id, numbers) {
            tracing::warn!(message_id = kind::STATE_NOT_KEPT, "{error:#}");
            // What is not written down would never be revoked. Its ports come when it runs.
            created.nodes.clear();
        }
    }
    Some(created)
}

fn node_to_make(want: &WantedPort) -> NodeToMake {
    NodeToMake {
        path: want.node.clone(),
        number: want.devnum,
        mode: want.mode,
        owner: want.owner.clone(),
        group: want.group.clone(),
    }
}
