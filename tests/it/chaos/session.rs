//! A run of the random test: rounds of operations, each with the comparison after it.
#![allow(clippy::print_stdout)]

use std::collections::BTreeSet;
use std::time::Duration;

use nix::unistd::Group;
use ttyplugd::daemon::status::document::Status;

use crate::testbed::Port;

use super::history::{Done, History};
use super::look::{self, Log};
use super::machine::{Machine, tty};
use super::opens::{Open, judge, stick_at};
use super::operation::Generator;
use super::oracle::{Host, Must, must, nodes};
use super::patience;
use super::pulse::Pulse;
use super::report::{Report, keep_logs};
use super::round::{Step, carry_out, now};
use super::udevd::Udevd;
use super::world::{Container, Inject, Life, World};

/// Within which everything is as it must be after the last operation, in microseconds.
const SETTLES: u64 = 5_000_000;

/// The same after the engine or containerd was killed in the middle of a command: that one never ends,
/// and is given up after 10 s. The shim waits for up to 30 s for whom the engine has not told to read
/// its output (containerd, pkg/process/exec.go, `start`). So does each command after it, and the
/// engine's answer to who asks for the container.
const SETTLES_AFTER_KILL: u64 = 60_000_000;

/// How long it is looked further, to say whether it ever became right.
const GIVES_UP: u64 = 30_000_000;

pub(super) struct Session {
    machine: Machine,
    world: World,
    generator: Generator,
    host: Host,
    history: History,
    logs: Vec<Log>,
    /// The opens of each container's program that have ended since the last comparison.
    opens: Vec<Vec<Open>>,
    report: Report,
    udevd: Udevd,
    pulse: Pulse,
    /// When the engine or containerd was killed last.
    killed: Option<u64>,
}

impl Session {
    pub(super) fn new(seed: u64, without: &str) -> Self {
        println!("seed {seed}");
        let generator = Generator::new(seed, without);
        let world = World::new();
        let machine = Machine::new(&world);
        let containers = 0..world.containers.len();
        let log = |container| Log::new(&machine.opens(container));
        Self {
            logs: containers.clone().map(log).collect(),
            opens: containers.map(|_| Vec::new()).collect(),
            report: Report::default(),
            udevd: Udevd::listen(),
            pulse: Pulse::start(),
            killed: None,
            host: host(),
            history: History::default(),
            world,
            generator,
            machine,
        }
    }

    pub(super) fn operations(&self) -> u64 {
        self.report.operations
    }

    /// Some operations, and the comparison.
    pub(super) fn round(&mut self) {
        let steps = self.steps();
        let (mut done, mut wrong) = carry_out(&self.machine, &steps);
        for done in &mut done {
            if let Some((socket, times)) = done.operation.unplugs() {
                done.ended = self.udevd.removed(&tty(socket), times);
            }
        }
        self.history.add(done.clone());
        if wrong.is_empty() {
            let limit = self.limit(&done);
            wrong = self.settle(limit * patience());
        }
        wrong.extend(self.judge_opens());
        self.report.sample(&self.machine);
        if !wrong.is_empty() {
            self.fail(&done, wrong);
        }
    }

    /// Within which everything must be right after these operations.
    fn limit(&mut self, done: &[Done]) -> u64 {
        let kills = done.iter().filter(|done| done.operation.kills_engine());
        let killed = kills.map(|done| done.ended).max().or(self.killed);
        self.killed = killed;
        let lately = killed.is_some_and(|killed| now() < killed + SETTLES_AFTER_KILL);
        match lately && self.world.config.inject != Inject::Namespace {
            true => SETTLES_AFTER_KILL,
            false => SETTLES,
        }
    }

    /// The next operations. The world becomes as they leave it.
    fn steps(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        self.world.begin_round();
        for _ in 0..self.generator.length() {
            let operation = self.generator.next(&self.world);
            self.world.apply(&operation);
            println!("{:6} {operation}", self.report.count(&operation));
            let pause = self.generator.pause();
            steps.push(Step { pause, operation });
        }
        self.world.end_round();
        steps
    }

    /// Waits until everything is as it must be. Returns what is not in the end.
    fn settle(&mut self, limit: u64) -> Vec<String> {
        if self.world.is_spoilt() {
            // What a container has done in its own /dev is seen when it is looked at again.
            self.machine.reload();
        }
        let begun = now();
        loop {
            let wrong = self.differences(begun);
            let took = now() - begun;
            if wrong.is_empty() && took <= limit {
                self.history.settle(now());
                let status = self.machine.status();
                let is_written = |status: Status| status.state_error.is_none();
                self.world.settle(status.is_ok_and(is_written));
                self.report.settled(took);
                return wrong;
            }
            if wrong.is_empty() {
                return vec![format!("it became right after {} ms", took / 1000)];
            }
            if took > limit + GIVES_UP {
                return wrong;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// How what is seen differs from what must be. What costs more to look at is looked at when the
    /// rest is right.
    fn differences(&mut self, begun: u64) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut seen = Vec::new();
        for (number, container) in self.world.containers.iter().enumerate() {
            match self.runs(number, container) {
                Ok(None) => {}
                Ok(Some(pid)) => {
                    let must = must(&self.world, self.host, container);
                    let differences = must.differences(&look::entries(pid));
                    wrong.extend(of_container(number, container, differences));
                    seen.push((number, pid, must));
                }
                Err(error) => wrong.extend(of_container(number, container, vec![error])),
            }
        }
        for (number, pid, must) in seen {
            if wrong.is_empty() {
                let container = &self.world.containers[number];
                let mut differences = self.wrong_rights(container, pid, &must);
                differences.extend(self.stuck(number, &must, begun));
                let container = &self.world.containers[number];
                wrong.extend(of_container(number, container, differences));
            }
        }
        if wrong.is_empty() {
            wrong.extend(self.wrong_status());
        }
        wrong
    }

    /// What the daemon says of the running containers' ports and is not so. Which opens wait goes by it.
    fn wrong_status(&self) -> Vec<String> {
        let status = match self.machine.status() {
            Ok(status) => status,
            Err(error) => return vec![error],
        };
        let mut wrong = Vec::new();
        for (number, container) in self.world.containers.iter().enumerate() {
            let id = self.machine.id(number);
            let its = status.ports.iter().filter(|port| port.container_id == id);
            let said = its.map(|port| {
                (
                    port.container.clone(),
                    port.node.clone().unwrap_or_default(),
                )
            });
            let said: BTreeSet<_> = said.collect();
            let nodes = nodes(&self.world, self.host, container).into_iter();
            let must: BTreeSet<_> = nodes
                .map(|node| (container.name.to_owned(), node))
                .collect();
            if container.life != Life::Stopped && said != must {
                let what = format!("its ports must be {must:?} and status has {said:?}");
                wrong.extend(of_container(number, container, vec![what]));
            }
        }
        wrong
    }

    /// The first process of a container, if it runs, which the engine says as the world does.
    fn runs(&self, number: usize, container: &Container) -> Result<Option<i64>, String> {
        let state = &self.machine.inspect(number)?["State"];
        let life = match (state["Running"].as_bool(), state["Paused"].as_bool()) {
            (Some(true), Some(true)) => Life::Paused,
            (Some(true), _) => Life::Running,
            _ => Life::Stopped,
        };
        if life != container.life {
            return Err(format!("it must be {:?} and is {state}", container.life));
        }
        Ok(state["Pid"].as_i64().filter(|_| life != Life::Stopped))
    }

    fn wrong_rights(&self, container: &Container, pid: i64, must: &Must) -> Vec<String> {
        if container.life == Life::Paused && look::has_one_tree() {
            return Vec::new();
        }
        match look::rights(pid, self.host) {
            Ok(rights) => must.wrong_rights(&rights),
            Err(error) => vec![error],
        }
    }

    /// Ports that the program of a container has not opened since it must have them.
    fn stuck(&mut self, number: usize, must: &Must, begun: u64) -> Vec<String> {
        self.opens[number].extend(self.logs[number].more());
        let container = &self.world.containers[number];
        if container.life != Life::Running || must.free {
            return Vec::new();
        }
        let is_opened = |path: &str| {
            let mut opens = self.opens[number].iter().rev();
            opens.any(|open| open.path == path && open.is_ok() && open.ended > begun)
        };
        let paths = container.kind.opens.iter().filter(|path| {
            let stick = stick_at(&self.world, container, path);
            stick.is_some_and(|stick| self.world.socket_of(stick).is_some())
        });
        paths
            .filter(|path| !is_opened(path))
            .map(|path| {
                let last = self.opens[number].iter().rev();
                let last = last.clone().find(|open| open.path == *path);
                format!("its program does not get {path}; it has got {last:?}")
            })
            .collect()
    }

    /// What is wrong with the opens that have ended.
    fn judge_opens(&mut self) -> Vec<String> {
        for (opens, log) in self.opens.iter_mut().zip(&mut self.logs) {
            opens.extend(log.more());
        }
        let standstills = self.pulse.standstills();
        self.report.stood_still(&standstills);
        self.history.stand_still(standstills);
        let mut wrong = Vec::new();
        for (number, opens) in self.opens.iter_mut().enumerate() {
            for open in opens.drain(..) {
                let verdict = judge(&self.world, &self.history, self.host, number, &open);
                self.report.open(&open, &verdict);
                if let Some(what) = verdict.wrong(patience()) {
                    let container = &self.world.containers[number];
                    let what = format!("{what}: {open:?}");
                    wrong.extend(of_container(number, container, vec![what]));
                }
            }
        }
        wrong
    }

    fn fail(&self, done: &[Done], mut wrong: Vec<String>) -> ! {
        wrong.sort_by_key(String::len);
        self.report.print();
        keep_logs();
        let done: String = done.iter().map(line).collect();
        panic!(
            "it differs, the smallest difference first:\n  {}\nplugged in: {:?}, {:?}\nthe last \
             operations, from and to in seconds of the monotonic clock:\n{done}",
            wrong.join("\n  "),
            self.world.sockets,
            self.world.config
        );
    }

    /// Nothing of ours is left when the last container has gone.
    pub(super) fn end(self) {
        let left = self.machine.left_behind();
        self.report.print();
        keep_logs();
        assert!(left.is_empty(), "left behind: {left:#?}");
    }
}

fn line(done: &Done) -> String {
    let [begun, ended] = [done.begun, done.ended].map(|time| time as f64 / 1e6);
    format!("  {begun:.3} {ended:.3} {}\n", done.operation)
}

fn host() -> Host {
    let group = Group::from_name("dialout").expect("/etc/group can be read");
    Host {
        first: Port::new(60).minor(),
        group: group.expect("udev's group is there").gid.as_raw(),
    }
}

fn of_container(number: usize, container: &Container, wrong: Vec<String>) -> Vec<String> {
    let name = container.name;
    let wrong = wrong.into_iter();
    wrong
        .map(|wrong| format!("container {number} ({name}): {wrong}"))
        .collect()
}
