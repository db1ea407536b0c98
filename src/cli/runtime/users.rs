//! The containers that use the runtime, which keep it registered.

use anyhow::ensure;

use crate::cli::output::printable;
use crate::engine::daemon_json::PROGRAM;
use crate::engine::runtimes::User;

/// There may be some only if `force` is set.
pub(super) fn require_none(users: &[User], force: bool) -> anyhow::Result<()> {
    ensure!(
        force || users.is_empty(),
        "{PROGRAM} stays registered: these containers use it, and would never start again \
         without it:\n{}Recreate them with another runtime or remove them, and try again; or use \
         --force",
        list(users)
    );
    Ok(())
}

/// What the operator is told of them afterwards.
pub(super) fn left_behind(users: &[User]) -> String {
    match users {
        [] => String::new(),
        _ => format!(
            "\nThese containers will never start again without it:\n{}",
            list(users)
        ),
    }
}

/// One a line.
fn list(users: &[User]) -> String {
    let line = |user: &User| format!("  {}\n", printable(&user.to_string()));
    users.iter().map(line).collect()
}
