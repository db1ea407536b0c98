//! A container's device cgroup: the second gate between it and a device, beside the node.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use crate::container::bpf;
use crate::container::device_program::{Program, Verdict};
use crate::model::DevNum;
use crate::model::device_access::{Access, AccessChange, AccessChanges, DeviceRules, Origin};
use crate::model::inventory::ContainerId;
use crate::sys::cgroup::memberships;
use crate::sys::child;
use crate::sys::mountinfo::{Mount, host_mounts};

/// The control group that decides which devices a container may open.
///
/// It is opened once per start of the container: a group of the same name that a later start has is
/// never reached through these descriptors.
#[derive(Debug)]
pub struct DeviceGroup {
    place: Place,
    own: File,
    /// Open where it exists.
    inner: Option<File>,
}

/// Where a control group is.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    path: PathBuf,
    version: Version,
    /// The group in it that the first process is in or below, where there is one. crun makes one,
    /// and puts its program there (crun(1), run.oci.systemd.subgroup).
    inner: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// What systemd calls its programs (systemd, src/core/bpf-devices.c).
const SYSTEMD: &str = "sd_devices";

/// How long systemctl may take. The service manager itself gives up after 25 s (sd-bus,
/// `BUS_DEFAULT_TIMEOUT`).
const SYSTEMCTL_LIMIT: Duration = Duration::from_secs(30);

/// How often a program is put in the place of one that somebody else replaces at the same time.
const TRIES: usize = 8;

impl DeviceGroup {
    /// Finds the control group of a container whose first process is `pid`.
    ///
    /// # Errors
    /// The container is gone, or it has none.
    pub fn of(pid: i64, id: &ContainerId) -> anyhow::Result<Self> {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup"))
            .with_context(|| format!("container {id} is gone: no process {pid}"))?;
        let mounts = host_mounts().context("the host's mounts cannot be read")?;
        let place = Place::find(&groups, &mounts.own, id)
            .with_context(|| format!("container {id}: its device cgroup cannot be found"))?;
        let open = |path: &Path| {
            let file = File::open(path);
            file.with_context(|| format!("{} cannot be opened", path.display()))
        };
        Ok(Self {
            own: open(&place.path)?,
            inner: place.inner.as_deref().and_then(|inner| open(inner).ok()),
            place,
        })
    }

    /// Makes changes, and looks whether they are in force. Returns those that are and were not
    /// before, and what the kernel says where one cannot be made.
    pub fn change(&self, changes: &AccessChanges) -> (AccessChanges, anyhow::Result<()>) {
        let mut made = AccessChanges::new();
        let done = match self.place.version {
            Version::One => self.write_all(changes, &mut made),
            Version::Two => self.edit(changes, &mut made),
        };
        let path = self.place.path.display();
        let done = done.with_context(|| format!("the rights in {path} cannot be changed"));
        (made, done)
    }

    /// What may be opened now, where that can be read.
    ///
    /// # Errors
    /// The group is gone.
    pub fn in_force(&self) -> anyhow::Result<Option<DeviceRules>> {
        match self.place.version {
            Version::One => Ok(Some(self.list()?)),
            Version::Two => Ok(None),
        }
    }

    /// Version 1 has a list (kernel, Documentation/admin-guide/cgroup-v1/devices.rst).
    fn list(&self) -> anyhow::Result<DeviceRules> {
        let mut list = String::new();
        let read = self.file("devices.list", OFlag::O_RDONLY);
        read.and_then(|mut file| file.read_to_string(&mut list))
            .with_context(|| format!("{}/devices.list", self.place.path.display()))?;
        Ok(DeviceRules {
            rules: list.lines().map(str::to_owned).collect(),
            ..DeviceRules::default()
        })
    }

    fn file(&self, name: &str, flags: OFlag) -> io::Result<File> {
        let file = openat(&self.own, name, flags | OFlag::O_CLOEXEC, Mode::empty())?;
        Ok(File::from(file))
    }

    /// One that cannot be made keeps no other from being made.
    fn write_all(&self, changes: &AccessChanges, made: &mut AccessChanges) -> anyhow::Result<()> {
        let mut all = Ok(());
        for (devnum, change) in changes {
            match self.write(*devnum, *change) {
                Ok(true) => drop(made.insert(*devnum, *change)),
                Ok(false) => {}
                Err(error) => all = all.and(Err(error)),
            }
        }
        all
    }

    /// What it has is left alone: a wider rule has the right in it, and one of the definition's for
    /// this very device is put together with ours.
    fn write(&self, devnum: DevNum, change: AccessChange) -> anyhow::Result<bool> {
        let (file, access) = match change {
            AccessChange::Grant if self.list()?.allow(devnum) => return Ok(false),
            AccessChange::Grant => ("devices.allow", Access::BOTH),
            AccessChange::Revoke(grant) => {
                let taken = own(&self.list()?, devnum).without(grant.defined);
                if taken.is_none() {
                    return Ok(false);
                }
                ("devices.deny", taken)
            }
        };
        let rule = format!("c {devnum} {access}");
        self.file(file, OFlag::O_WRONLY)?
            .write_all(rule.as_bytes())?;
        let list = self.list()?;
        let is_done = match change {
            AccessChange::Grant => list.allow(devnum),
            AccessChange::Revoke(grant) => own(&list, devnum).without(grant.defined).is_none(),
        };
        anyhow::ensure!(is_done, "the kernel took {rule:?} and lists it otherwise");
        Ok(true)
    }

    /// Version 2 has programs, all of which have to agree.
    fn edit(&self, changes: &AccessChanges, made: &mut AccessChanges) -> anyhow::Result<()> {
        let groups: Vec<&File> = std::iter::once(&self.own).chain(&self.inner).collect();
        for _ in 0..TRIES {
            if edit_once(&groups, changes, made)? {
                return Ok(());
            }
        }
        anyhow::bail!("somebody else keeps changing them")
    }

    /// Has the service manager know of rights that were granted in a group of its own, which it
    /// would take back when it reads its units again: it puts its own list in force then
    /// (systemd.resource-control(5), DeviceAllow=).
    ///
    /// # Errors
    /// It does not take them.
    pub fn tell_systemd(&self, granted: impl Iterator<Item = DevNum>) -> anyhow::Result<()> {
        let Some(unit) = self.unit() else {
            return Ok(());
        };
        let allow = granted.map(|devnum| format!("DeviceAllow=/dev/char/{devnum} rw"));
        let allow: Vec<_> = allow.collect();
        if allow.is_empty() {
            return Ok(());
        }
        let mut command = Command::new("systemctl");
        command
            .args(["set-property", "--runtime", "--", unit])
            .args(allow)
            .stdin(Stdio::null());
        let done = child::output(&mut command, SYSTEMCTL_LIMIT).context("systemctl")?;
        let said = String::from_utf8_lossy(&done.stderr);
        anyhow::ensure!(
            done.status.success(),
            "systemctl set-property {unit}: {}",
            said.trim()
        );
        Ok(())
    }

    /// The unit that it belongs to, where the engine asked the service manager for one.
    pub fn unit(&self) -> Option<&str> {
        let name = self.place.path.file_name()?.to_str()?;
        name.ends_with(".scope").then_some(name)
    }
}

impl Place {
    fn find(groups: &str, mounts: &[Mount], id: &ContainerId) -> Option<Self> {
        let below = |kind: &str, option: &str, path: &str| {
            let is_it = |m: &&Mount| m.kind == kind && m.has_option(option);
            let mount = mounts.iter().find(is_it)?;
            let path = path.strip_prefix(mount.root.trim_end_matches('/'))?;
            Some(Path::new(&mount.point).join(path.trim_start_matches('/')))
        };
        // Where version 1 has the controller, version 2 decides nothing.
        if let Some(its) = memberships(groups).find(|its| its.has_controller("devices")) {
            let path = below("cgroup", "devices", its.container(&id.0)?)?;
            return Some(Self {
                path,
                version: Version::One,
                inner: None,
            });
        }
        let its = memberships(groups).find(|its| its.is_v2())?;
        let own = its.container(&id.0)?;
        let path = below("cgroup2", "", own)?;
        let inner = its.path[own.len()..].split('/').nth(1);
        Some(Self {
            inner: inner.map(|name| path.join(name)),
            path,
            version: Version::Two,
        })
    }
}

/// What the rule for one device and no other says.
fn own(list: &DeviceRules, devnum: DevNum) -> Access {
    let start = format!("c {devnum} ");
    let access = list.rules.iter().find_map(|rule| rule.strip_prefix(&start));
    access.map(Access::from).unwrap_or_default()
}

/// Returns whether all programs say now what they should; another look tells. What is new in one of
/// them is added to `made`.
fn edit_once(
    groups: &[&File],
    changes: &AccessChanges,
    made: &mut AccessChanges,
) -> anyhow::Result<bool> {
    let attached = groups
        .iter()
        .map(|group| Ok((*group, bpf::attached(group)?)));
    let attached: Vec<_> = attached.collect::<io::Result<_>>()?;
    let mut programs = Vec::new();
    for (group, attached) in &attached {
        for id in &attached.ids {
            match bpf::by_id(*id) {
                Ok(program) => {
                    let is_systemds = bpf::name(&program)? == SYSTEMD;
                    programs.push((is_systemds, program, *group, attached));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
    }
    // systemd takes its own away by what it is, so that one that was edited would stay for ever. It
    // knows what was granted (`tell_systemd`), and what another one denies is denied.
    let only_systemd = programs.iter().all(|(is_systemds, ..)| *is_systemds);
    let edited = programs
        .iter()
        .filter(|(is_systemds, ..)| only_systemd || !is_systemds);
    let mut settled = true;
    for (_, old, group, attached) in edited {
        let mut program = Program::read(&bpf::instructions(old)?)?;
        let before = program.verdicts.clone();
        for (devnum, change) in changes {
            let verdict = verdict(*change, only_systemd);
            if verdict.as_ref() != program.verdicts.get(devnum) {
                made.insert(*devnum, *change);
            }
            match verdict {
                Some(verdict) => program.verdicts.insert(*devnum, verdict),
                None => program.verdicts.remove(devnum),
            };
        }
        if program.verdicts == before {
            continue;
        }
        settled = false;
        let new = bpf::load(&program.instructions()).context("the kernel refuses the program")?;
        match bpf::replace(*group, attached, old, &new) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => done.context("the program cannot be replaced")?,
        }
    }
    Ok(settled)
}

/// What a program is to say of a device before all else.
fn verdict(change: AccessChange, is_systemds: bool) -> Option<Verdict> {
    match change {
        AccessChange::Grant => Some(Verdict::Allow),
        // To take the verdict out again would not do: a container that was created while the port was
        // there has the right in the rest of its program as well, and systemd was told of it.
        AccessChange::Revoke(grant) if grant.origin == Origin::Wrapper || is_systemds => {
            Verdict::deny(grant.added())
        }
        AccessChange::Revoke(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::device_access::Grant;
    use crate::sys::mountinfo::parse_mountinfo;

    const MOUNTS: &str = "\
        30 24 0:26 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices\n\
        31 24 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    fn find(groups: &str) -> Option<(String, Version)> {
        let id = ContainerId("c0ffee".into());
        let group = Place::find(groups, &parse_mountinfo(MOUNTS), &id)?;
        let path = group.inner.unwrap_or(group.path);
        Some((path.to_str().unwrap().to_owned(), group.version))
    }

    #[test]
    fn the_containers_own_group_is_found_whatever_it_has_made_below() {
        let path = |path: &str, version| Some((path.to_owned(), version));
        assert_eq!(
            find("9:devices:/docker/c0ffee/below\n0::/docker/c0ffee\n"),
            path("/sys/fs/cgroup/devices/docker/c0ffee", Version::One)
        );
        assert_eq!(
            find("0::/system.slice/docker-c0ffee.scope/container/below\n"),
            path(
                "/sys/fs/cgroup/unified/system.slice/docker-c0ffee.scope/container",
                Version::Two
            )
        );
        assert_eq!(
            find("0::/docker/c0ffee\n"),
            path("/sys/fs/cgroup/unified/docker/c0ffee", Version::Two)
        );
        assert_eq!(find("9:devices:/docker/other\n0::/docker/c0ffee\n"), None);
        assert_eq!(find(""), None);
    }

    #[test]
    fn what_is_taken_back_is_what_the_rest_of_the_program_would_give() {
        let revoked = |defined: &str, origin| {
            let grant = Grant {
                defined: defined.into(),
                origin,
                known_to_systemd: true,
            };
            verdict(AccessChange::Revoke(grant), false)
        };
        assert_eq!(revoked("r", Origin::Daemon), None);
        assert_eq!(
            revoked("r", Origin::Wrapper),
            Some(Verdict::Deny("w".into()))
        );
        assert_eq!(revoked("rw", Origin::Wrapper), None);
        let grant = Grant::by(Origin::Daemon);
        let systemds = verdict(AccessChange::Revoke(grant), true);
        assert_eq!(systemds, Some(Verdict::Deny("rw".into())));
    }
}
