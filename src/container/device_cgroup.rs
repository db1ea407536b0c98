//! Grants and revokes access to devices in a container's device cgroup. To open a device, a container
//! needs this access as well as a node.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use crate::container::bpf::{self, Attached};
use crate::container::device_program::{Program, Verdict};
use crate::container::rootfs::proc_path;
use crate::model::DevNum;
use crate::model::device_access::{Access, AccessChange, AccessChanges, DeviceRules, Origin};
use crate::model::inventory::ContainerId;
use crate::sys::cgroup::memberships;
use crate::sys::child;
use crate::sys::mountinfo::{Mount, host_mounts};

/// The control group that decides which devices a container may open.
///
/// It is opened once per start of the container. These descriptors never reach a group of the same
/// name that belongs to a later start.
#[derive(Debug)]
pub struct DeviceGroup {
    path: GroupPath,
    outer: File,
    /// `None` if there is none, or it could not be opened.
    inner: Option<File>,
}

/// The directories of a container's control group.
#[derive(Debug, PartialEq, Eq)]
struct GroupPath {
    outer: PathBuf,
    version: Version,
    /// The group in `outer` that the first process is in or below, if there is one. crun makes one
    /// and attaches its device program there (crun(1), run.oci.systemd.subgroup).
    inner: Option<PathBuf>,
}

/// The version of the control groups that has the device controller (cgroups(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// The name of systemd's own device programs (systemd, src/core/bpf-devices.c).
const SYSTEMD: &str = "sd_devices";

/// The directory of crun's pinned programs (crun, src/libcrun/ebpf.h, `CRUN_BPF_DIR`).
const CRUN_PINS: &str = "/sys/fs/bpf/crun";

/// How long systemctl may take. It gives up by itself after 25 s without an answer (systemd,
/// src/libsystemd/sd-bus/bus-internal.h, `BUS_DEFAULT_TIMEOUT`).
const SYSTEMCTL_LIMIT: Duration = Duration::from_secs(30);

/// Most lists of devices fit in it. The file reports no size, and would be read in small pieces.
const USUAL_LIST: usize = 1024;

/// How many groups and processes of a container are looked at. The container can make many.
const MOST_GROUPS: usize = 256;
const MOST_PROCESSES: usize = 4096;

/// How often an edit is tried while the engine or systemd replaces the same programs.
const TRIES: usize = 8;

impl DeviceGroup {
    /// Opens the control group of the container whose first process is `pid`.
    ///
    /// # Errors
    /// The container has ended, or its group cannot be found.
    pub fn open(pid: i64, id: &ContainerId) -> anyhow::Result<Self> {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup"))
            .with_context(|| format!("container {id} has ended: no process {pid}"))?;
        let mounts = host_mounts().context("cannot read the host's mounts")?;
        let path = GroupPath::find(&groups, &mounts.own, id)
            .with_context(|| format!("cannot find the device cgroup of container {id}"))?;
        let open = |path: &Path| {
            let file = File::open(path);
            file.with_context(|| format!("cannot open {}", path.display()))
        };
        Ok(Self {
            outer: open(&path.outer)?,
            inner: path.inner.as_deref().and_then(|inner| open(inner).ok()),
            path,
        })
    }

    /// Changes access, and verifies it. Returns the changes that are in force now and were not before,
    /// and the first error.
    pub fn change(&self, changes: &AccessChanges) -> (AccessChanges, anyhow::Result<()>) {
        let mut made = AccessChanges::new();
        let done = match self.path.version {
            Version::One => self.write_all(changes, &mut made),
            Version::Two => self.edit(changes, &mut made),
        };
        let path = self.path.outer.display();
        let done = done.with_context(|| format!("cannot change the device access rules in {path}"));
        (made, done)
    }

    /// The rules in force; `None` under version 2, whose programs cannot be read as rules.
    ///
    /// # Errors
    /// The group was removed.
    pub fn in_force(&self) -> anyhow::Result<Option<DeviceRules>> {
        match self.path.version {
            Version::One => Ok(Some(self.list()?)),
            Version::Two => Ok(None),
        }
    }

    /// Reads the rules of version 1 (kernel, Documentation/admin-guide/cgroup-v1/devices.rst).
    fn list(&self) -> anyhow::Result<DeviceRules> {
        let mut list = String::with_capacity(USUAL_LIST);
        let read = self.file("devices.list", OFlag::O_RDONLY);
        read.and_then(|mut file| file.read_to_string(&mut list))
            .with_context(|| format!("cannot read {}/devices.list", self.path.outer.display()))?;
        Ok(DeviceRules {
            rules: list.lines().map(str::to_owned).collect(),
            ..DeviceRules::default()
        })
    }

    /// The processes in the group and in those below it (cgroups(7), cgroup.procs). `None` if there are
    /// more groups or processes than can be looked at.
    ///
    /// # Errors
    /// The group was removed.
    pub fn processes(&self) -> io::Result<Option<Vec<u32>>> {
        let mut groups = vec![proc_path(&self.outer)];
        let mut processes = processes_in(&groups[0])?;
        let mut next = 0;
        while let Some(group) = groups.get(next) {
            let entries = fs::read_dir(group).into_iter().flatten().flatten();
            let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            let below: Vec<PathBuf> = below.map(|entry| entry.path()).collect();
            for group in &below {
                processes.extend(processes_in(group).unwrap_or_default());
            }
            groups.extend(below);
            if groups.len() > MOST_GROUPS || processes.len() > MOST_PROCESSES {
                return Ok(None);
            }
            next += 1;
        }
        Ok(Some(processes))
    }

    fn file(&self, name: &str, flags: OFlag) -> io::Result<File> {
        let file = openat(&self.outer, name, flags | OFlag::O_CLOEXEC, Mode::empty())?;
        Ok(File::from(file))
    }

    /// Makes all changes under version 1. After an error it goes on with the next one.
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

    /// Makes one change under version 1, and verifies it. Returns `false` if it was in force already.
    ///
    /// A rule of the container's definition that covers the device is never changed. If it names this
    /// one device, the kernel merges it with ours (kernel, security/device_cgroup.c,
    /// `dev_exception_add`).
    fn write(&self, devnum: DevNum, change: AccessChange) -> anyhow::Result<bool> {
        let (file, access) = match change {
            AccessChange::Grant if self.list()?.allow(devnum) => return Ok(false),
            AccessChange::Grant => ("devices.allow", Access::BOTH),
            AccessChange::Revoke(grant) => {
                let added = access_by_own_rule(&self.list()?, devnum).without(grant.defined);
                if added.is_none() {
                    return Ok(false);
                }
                ("devices.deny", added)
            }
        };
        let rule = format!("c {devnum} {access}");
        self.file(file, OFlag::O_WRONLY)?
            .write_all(rule.as_bytes())?;
        let list = self.list()?;
        let is_done = match change {
            AccessChange::Grant => list.allow(devnum),
            AccessChange::Revoke(grant) => access_by_own_rule(&list, devnum)
                .without(grant.defined)
                .is_none(),
        };
        anyhow::ensure!(
            is_done,
            "the kernel accepted {rule:?} but lists something else"
        );
        Ok(true)
    }

    /// Makes all changes under version 2, where every attached program has to allow an access (kernel,
    /// Documentation/admin-guide/cgroup-v2.rst, "Device controller").
    fn edit(&self, changes: &AccessChanges, made: &mut AccessChanges) -> anyhow::Result<()> {
        let groups: Vec<&File> = std::iter::once(&self.outer).chain(&self.inner).collect();
        for _ in 0..TRIES {
            if edit_once(&groups, changes, made)? {
                return Ok(());
            }
        }
        anyhow::bail!("the engine or systemd changes them at the same time")
    }

    /// Adds granted devices to systemd's list for the container. At a daemon-reload systemd puts that
    /// list in force, and would revoke what is not in it (systemd.resource-control(5), DeviceAllow=).
    /// Does nothing if systemd has no list for it: a first entry would deny all other devices.
    ///
    /// # Errors
    /// systemctl fails or takes too long.
    pub fn tell_systemd(&self, granted: impl Iterator<Item = DevNum>) -> anyhow::Result<()> {
        let allow = granted.map(|devnum| format!("DeviceAllow=/dev/char/{devnum} rw"));
        let allow: Vec<_> = allow.collect();
        let Some(unit) = self.unit().filter(|_| !allow.is_empty()) else {
            return Ok(());
        };
        let properties = ["show", "--property=DevicePolicy,DeviceAllow", "--", unit];
        if has_device_list(&systemctl(properties)?) {
            let fixed = ["set-property", "--runtime", "--", unit];
            systemctl(fixed.into_iter().chain(allow.iter().map(String::as_str)))?;
        }
        Ok(())
    }

    /// Pins the edited program where crun 1.23 and newer have pinned theirs: at a daemon-reload systemd
    /// attaches the program that is pinned there (systemd.resource-control(5), BPFProgram=; crun,
    /// src/libcrun/cgroup-systemd.c, `add_bpf_program`). Does nothing if there is none.
    ///
    /// # Errors
    /// The edited program is not found, or cannot be pinned.
    pub fn pin(&self) -> anyhow::Result<()> {
        let unit = self.unit().filter(|_| self.path.version == Version::Two);
        let Some(path) = unit.map(pin_path) else {
            return Ok(());
        };
        match bpf::pinned(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            pinned => pin_edited(&self.outer, &pinned?, &path),
        }
        .with_context(|| format!("cannot replace {}", path.display()))
    }

    /// The systemd unit of the group; `None` if the engine manages its groups itself.
    pub fn unit(&self) -> Option<&str> {
        let name = self.path.outer.file_name()?.to_str()?;
        name.ends_with(".scope").then_some(name)
    }
}

impl GroupPath {
    fn find(groups: &str, mounts: &[Mount], id: &ContainerId) -> Option<Self> {
        let parent = id.engine.control_group();
        // A controller is in one version at a time (cgroups(7)).
        if let Some(its) = memberships(groups).find(|its| its.has_controller("devices")) {
            return Some(Self {
                outer: its.directory(its.container(&parent, &id.id)?, mounts)?,
                version: Version::One,
                inner: None,
            });
        }
        let its = memberships(groups).find(|its| its.is_v2())?;
        let own = its.container(&parent, &id.id)?;
        let outer = its.directory(own, mounts)?;
        let inner = its.path[own.len()..].split('/').nth(1);
        Some(Self {
            inner: inner.map(|name| outer.join(name)),
            outer,
            version: Version::Two,
        })
    }
}

/// The access by the rule that names exactly this device.
fn access_by_own_rule(list: &DeviceRules, devnum: DevNum) -> Access {
    let start = format!("c {devnum} ");
    let access = list.rules.iter().find_map(|rule| rule.strip_prefix(&start));
    access.map(Access::from).unwrap_or_default()
}

/// Runs systemctl(1), and returns what it prints.
fn systemctl<'a>(arguments: impl IntoIterator<Item = &'a str>) -> anyhow::Result<String> {
    let mut command = Command::new("systemctl");
    command.args(arguments).stdin(Stdio::null());
    let done = child::output(&mut command, SYSTEMCTL_LIMIT).context("systemctl")?;
    let said = String::from_utf8_lossy(&done.stderr);
    anyhow::ensure!(done.status.success(), "systemctl: {}", said.trim());
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// Whether a unit with these properties may open only the devices of a list: by its policy, or with
/// the policy `auto` once there is an entry (systemd.resource-control(5), DevicePolicy=).
fn has_device_list(properties: &str) -> bool {
    let mut properties = properties.lines().filter_map(|line| line.split_once('='));
    properties.any(|(name, value)| match name {
        "DevicePolicy" => value == "strict" || value == "closed",
        _ => !value.is_empty(),
    })
}

/// Where crun pins the program of a unit (crun, src/libcrun/cgroup-systemd.c,
/// `bpfprog_path_from_scope`).
fn pin_path(unit: &str) -> PathBuf {
    Path::new(CRUN_PINS).join(unit.replace('.', "_"))
}

/// Pins the attached program that is an edit of `pinned` in its place, unless that is attached itself.
fn pin_edited(group: &File, pinned: &OwnedFd, path: &Path) -> anyhow::Result<()> {
    if bpf::attached(group)?.ids.contains(&bpf::id(pinned)?) {
        return Ok(());
    }
    let original = Program::read(&bpf::instructions(pinned)?)?;
    for program in device_programs(&[group])?.into_iter().flatten() {
        if Program::read(&bpf::instructions(&program.fd)?)?.is_edit_of(&original) {
            return Ok(replace_pin(&program.fd, path)?);
        }
    }
    anyhow::bail!("no attached program is an edit of it")
}

/// Replaces a pinned program, atomically: under another name first, which no unit has.
fn replace_pin(program: &OwnedFd, path: &Path) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push("-ttyplugd");
    // One is left if the daemon was killed in between.
    let _ = fs::remove_file(&new);
    bpf::pin(program, Path::new(&new))?;
    fs::rename(&new, path)
}

/// A device program, and the group to which it is attached.
struct DeviceProgram<'a> {
    fd: OwnedFd,
    group: &'a File,
    attached: Rc<Attached>,
    /// systemd has made it.
    is_systemds: bool,
}

/// Edits every program. Returns whether nothing was left to edit; only another call can tell that an
/// edit is in force. New changes are added to `made`.
fn edit_once(
    groups: &[&File],
    changes: &AccessChanges,
    made: &mut AccessChanges,
) -> anyhow::Result<bool> {
    let Some(programs) = device_programs(groups)? else {
        return Ok(false);
    };
    // systemd replaces its own program when it reloads, and would leave an edited one attached for
    // ever. Beside other programs it need not be edited: it allows what it was told of
    // (`tell_systemd`), and one program that denies is enough.
    let only_systemd = programs.iter().all(|program| program.is_systemds);
    let edited = programs
        .iter()
        .filter(|program| only_systemd || !program.is_systemds);
    let mut is_settled = true;
    for program in edited {
        is_settled &= !program.edit(changes, only_systemd, made)?;
    }
    Ok(is_settled)
}

/// The programs of all groups; `None` if one has just been replaced.
fn device_programs<'a>(groups: &[&'a File]) -> anyhow::Result<Option<Vec<DeviceProgram<'a>>>> {
    let mut programs = Vec::new();
    for group in groups.iter().copied() {
        let attached = Rc::new(bpf::attached(group)?);
        for id in &attached.ids {
            let fd = match bpf::by_id(*id) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                program => program?,
            };
            programs.push(DeviceProgram {
                is_systemds: bpf::name(&fd)? == SYSTEMD,
                fd,
                group,
                attached: attached.clone(),
            });
        }
    }
    Ok(Some(programs))
}

impl DeviceProgram<'_> {
    /// Replaces it by one with the verdicts of `changes`. Returns whether that was needed.
    fn edit(
        &self,
        changes: &AccessChanges,
        only_systemd: bool,
        made: &mut AccessChanges,
    ) -> anyhow::Result<bool> {
        let mut program = Program::read(&bpf::instructions(&self.fd)?)?;
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
            return Ok(false);
        }
        let new = bpf::load(&program.instructions()).context("the kernel refuses the program")?;
        match bpf::replace(self.group, &self.attached, &self.fd, &new) {
            // It was replaced meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => done.context("cannot replace the program")?,
        }
        Ok(true)
    }
}

/// The verdict that a change puts in front of a program; `None` removes ours.
fn verdict(change: AccessChange, is_systemds: bool) -> Option<Verdict> {
    match change {
        AccessChange::Grant => Some(Verdict::Allow),
        // Removing our verdict is not enough here: the rest of the program allows the device too,
        // since the container was created with it, or since systemd was told of it.
        AccessChange::Revoke(grant) if grant.origin == Origin::Wrapper || is_systemds => {
            Verdict::deny(grant.added())
        }
        AccessChange::Revoke(_) => None,
    }
}

fn processes_in(group: &Path) -> io::Result<Vec<u32>> {
    let text = fs::read_to_string(group.join("cgroup.procs"))?;
    Ok(text.lines().filter_map(|pid| pid.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::device_access::Grant;
    use crate::model::inventory::EngineName;
    use crate::sys::mountinfo::parse_mountinfo;

    const MOUNTS: &str = "\
        30 24 0:26 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices\n\
        31 24 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    fn find(groups: &str) -> Option<(String, Version)> {
        let id = ContainerId::of_docker("c0ffee".into());
        let group = GroupPath::find(groups, &parse_mountinfo(MOUNTS), &id)?;
        let path = group.inner.unwrap_or(group.outer);
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

    /// By `ctr -n team-a run ... a`, and with a namespace of the same name as the container.
    #[test]
    fn the_group_of_a_namespace_is_not_that_of_a_container_in_it() {
        for (namespace, id) in [("team-a", "a"), ("libpod-a", "a"), ("a", "a")] {
            let id = ContainerId::new(
                EngineName::new(format!("containerd/{namespace}")),
                id.into(),
            );
            let find = |groups: &str| GroupPath::find(groups, &parse_mountinfo(MOUNTS), &id);
            let group = find(&format!("9:devices:/{namespace}/a/below\n")).unwrap();
            let expected = format!("/sys/fs/cgroup/devices/{namespace}/a");
            assert_eq!(group.outer, Path::new(&expected));
            assert_eq!(find(&format!("0::/{namespace}/b\n")), None);
        }
    }

    #[test]
    fn systemd_has_a_list_by_policy_or_by_an_entry() {
        for (properties, expected) in [
            ("DevicePolicy=strict\nDeviceAllow=char-pts rwm\n", true),
            ("DevicePolicy=closed\nDeviceAllow=\n", true),
            ("DevicePolicy=auto\nDeviceAllow=/dev/fuse rw\n", true),
            ("DevicePolicy=auto\nDeviceAllow=\n", false),
            ("DevicePolicy=auto\n", false),
            ("", false),
        ] {
            assert_eq!(has_device_list(properties), expected, "{properties}");
        }
    }

    #[test]
    fn a_pinned_program_is_named_after_its_unit() {
        assert_eq!(
            pin_path("docker-c0ffee.scope"),
            Path::new("/sys/fs/bpf/crun/docker-c0ffee_scope")
        );
    }

    #[test]
    fn revoking_denies_what_the_rest_of_the_program_would_allow() {
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
