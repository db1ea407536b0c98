//! Placeholders of absent ports. They stand only where an open of them waits.

use crate::daemon::keepers::has_keeper;
use crate::daemon::state::State;
use crate::model::Hold;
use crate::model::inventory::ContainerId;
use crate::model::problem::{Failure, Problem};
use crate::plan::assign::WantedPort;

/// Those that may stand in a container, and why the others may not.
pub(super) fn placeholders(state: &State, id: &ContainerId) -> (Vec<WantedPort>, Vec<Problem>) {
    let all = state.assigned.placeholders(id);
    let is_supervised = !all.is_empty() && has_keeper(&state.store.run_dir, id);
    let all = all.iter().cloned();
    let (may_stand, refused): (Vec<_>, Vec<_>) =
        all.partition(|placeholder| is_supervised && placeholder.hold != Hold::Off);
    let refused = refused.iter().map(|placeholder| {
        Problem::lasting(Failure::Placeholder, NOT_HELD, FIX).of_port(&placeholder.port)
    });
    (may_stand, refused.collect())
}

const NOT_HELD: &str = "it gets no placeholder: its opens are not held in this container, and an \
                        open of a placeholder fails";
const FIX: &str = "create the container with the runtime ttyplug and with a hold, or remove \
                   `placeholder`";
