//! What can happen, and a random sequence of it, which depends on the seed alone. Pure.

use std::fmt;

use crate::testbed::Random;

use super::world::{Config, Inject, Life, NAMES, OWN, SOCKETS, STICKS, Stick, World};

/// One thing that happens. Containers are named by their number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operation {
    Plug {
        socket: usize,
        stick: Stick,
    },
    Unplug {
        socket: usize,
    },
    /// Out and in again, so often, without a pause.
    Blink {
        socket: usize,
        times: u64,
    },
    Start(usize),
    Stop(usize),
    Kill(usize),
    Restart(usize),
    Pause(usize),
    Unpause(usize),
    /// Two containers swap their names.
    Swap(usize, usize),
    Rename(usize, &'static str),
    /// `docker update`
    Update(usize, u64),
    /// `docker exec` of a command that does nothing.
    Exec(usize),
    /// Removed, created again and started.
    Recreate(usize),
    /// A process of the container does this at a path.
    Mess(usize, Mess, &'static str),
    /// Its containerd-shim is killed, and containerd ends the container.
    KillShim(usize),
    KillKeeper(usize),
    /// SIGKILL, and started again after these milliseconds.
    KillDaemon {
        down: u64,
    },
    /// SIGTERM, and started again.
    StopDaemon {
        down: u64,
    },
    /// The programs are replaced as dpkg does it, by those of the other build, and the daemon is
    /// restarted.
    Upgrade,
    Reload(Config),
    /// SIGKILL, while containers live on.
    KillEngine {
        down: u64,
    },
    KillContainerd {
        down: u64,
    },
    /// There is no room in the state directory.
    FillDisk,
    MendDisk,
    /// journald reads nothing any more, and its queue is full.
    StopJournal,
    ContinueJournal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mess {
    Remove,
    /// Another device takes the place of what is there.
    OtherNode,
    EmptyFile,
    Move,
    /// /dev/serial is removed with all that is in it.
    RemoveLinks,
}

/// What an operation works on. Two that have none in common happen at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Object {
    Sockets,
    Container(usize),
    Names,
    Daemon,
    Disk,
    Journal,
}

impl Operation {
    pub(super) fn objects(&self) -> Vec<Object> {
        match *self {
            Self::Plug { .. } | Self::Unplug { .. } | Self::Blink { .. } => vec![Object::Sockets],
            Self::Swap(a, b) => vec![Object::Names, Object::Container(a), Object::Container(b)],
            Self::Rename(c, _) | Self::Recreate(c) => vec![Object::Names, Object::Container(c)],
            Self::KillDaemon { .. } | Self::StopDaemon { .. } | Self::Upgrade | Self::Reload(_) => {
                vec![Object::Daemon]
            }
            // What a client gets whose engine dies in the middle of a call is the engine's.
            Self::KillEngine { .. } | Self::KillContainerd { .. } => (0..super::world::KINDS.len())
                .map(Object::Container)
                .collect(),
            // Who is killed with the daemon is found by the next one in systemd's descriptor store, and
            // there is no systemd here.
            Self::KillKeeper(c) => vec![Object::Container(c), Object::Daemon],
            Self::FillDisk | Self::MendDisk => vec![Object::Disk],
            Self::StopJournal | Self::ContinueJournal => vec![Object::Journal],
            _ => self
                .container()
                .map(Object::Container)
                .into_iter()
                .collect(),
        }
    }

    /// Whether commands that are being executed are lost.
    pub(super) fn kills_engine(&self) -> bool {
        matches!(self, Self::KillEngine { .. } | Self::KillContainerd { .. })
    }

    /// The socket that it empties, and how often.
    pub(super) fn unplugs(&self) -> Option<(usize, u64)> {
        match *self {
            Self::Unplug { socket } => Some((socket, 1)),
            Self::Blink { socket, times } => Some((socket, times)),
            _ => None,
        }
    }

    /// The one container that it is about.
    pub(super) fn container(&self) -> Option<usize> {
        match *self {
            Self::Start(c)
            | Self::Stop(c)
            | Self::Kill(c)
            | Self::Restart(c)
            | Self::Pause(c)
            | Self::Unpause(c)
            | Self::Rename(c, _)
            | Self::Update(c, _)
            | Self::Exec(c)
            | Self::Recreate(c)
            | Self::Mess(c, ..)
            | Self::KillShim(c)
            | Self::KillKeeper(c) => Some(c),
            _ => None,
        }
    }

    /// The first word of what is printed.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Plug { .. } => "plug",
            Self::Unplug { .. } => "unplug",
            Self::Blink { .. } => "blink",
            Self::Start(_) => "start",
            Self::Stop(_) => "stop",
            Self::Kill(_) => "kill",
            Self::Restart(_) => "restart",
            Self::Pause(_) => "pause",
            Self::Unpause(_) => "unpause",
            Self::Swap(..) => "swap",
            Self::Rename(..) => "rename",
            Self::Update(..) => "update",
            Self::Exec(_) => "exec",
            Self::Recreate(_) => "recreate",
            Self::Mess(..) => "mess",
            Self::KillShim(_) => "kill-shim",
            Self::KillKeeper(_) => "kill-keeper",
            Self::KillDaemon { .. } => "kill-daemon",
            Self::StopDaemon { .. } => "stop-daemon",
            Self::Upgrade => "upgrade",
            Self::Reload(_) => "reload",
            Self::KillEngine { .. } => "kill-engine",
            Self::KillContainerd { .. } => "kill-containerd",
            Self::FillDisk => "fill-disk",
            Self::MendDisk => "mend-disk",
            Self::StopJournal => "stop-journal",
            Self::ContinueJournal => "continue-journal",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        match self {
            Self::Plug { socket, stick } => write!(f, " {} into {socket}", stick.serial()),
            Self::Unplug { socket } => write!(f, " {socket}"),
            Self::Blink { socket, times } => write!(f, " {socket} {times} times"),
            Self::Swap(a, b) => write!(f, " {a} {b}"),
            Self::Rename(c, name) => write!(f, " {c} {name}"),
            Self::Mess(c, mess, path) => write!(f, " {c} {mess:?} {path}"),
            Self::Update(c, shares) => write!(f, " {c} --cpu-shares {shares}"),
            Self::Reload(config) => write!(f, " {:?}, edited: {}", config.inject, config.edited),
            Self::KillDaemon { down }
            | Self::StopDaemon { down }
            | Self::KillEngine { down }
            | Self::KillContainerd { down } => write!(f, " for {down} ms"),
            _ => match self.container() {
                Some(container) => write!(f, " {container}"),
                None => Ok(()),
            },
        }
    }
}

/// How often each comes, in thousandths or so. What cannot happen in the world as it is comes never.
const WEIGHTS: [(&str, u64); 27] = [
    ("plug", 300),
    ("unplug", 260),
    ("blink", 4),
    ("start", 60),
    ("stop", 12),
    ("kill", 20),
    ("restart", 20),
    ("pause", 30),
    ("unpause", 60),
    ("swap", 16),
    ("rename", 16),
    ("update", 16),
    ("exec", 20),
    ("recreate", 8),
    ("mess", 24),
    ("kill-shim", 4),
    ("kill-keeper", 12),
    ("kill-daemon", 12),
    ("stop-daemon", 6),
    ("upgrade", 4),
    ("reload", 12),
    ("kill-engine", 4),
    ("kill-containerd", 3),
    ("fill-disk", 6),
    ("mend-disk", 12),
    ("stop-journal", 6),
    ("continue-journal", 12),
];

/// Random operations, each of which is possible after those before it.
#[derive(Debug)]
pub(super) struct Generator {
    random: Random,
    /// Words of operations that are left out.
    without: Vec<String>,
}

impl Generator {
    pub(super) fn new(seed: u64, without: &str) -> Self {
        let without: Vec<String> = without.split_whitespace().map(String::from).collect();
        for word in &without {
            let known = WEIGHTS.iter().any(|(known, _)| known == word);
            assert!(known, "there is no operation {word:?}");
        }
        Self {
            random: Random::new(seed),
            without,
        }
    }

    /// How many happen before everything is compared.
    pub(super) fn length(&mut self) -> u64 {
        1 + self.random.below(40)
    }

    /// The milliseconds before an operation.
    pub(super) fn pause(&mut self) -> u64 {
        match self.random.below(4) {
            0 => 0,
            1 => self.random.below(5),
            _ => self.random.below(40),
        }
    }

    pub(super) fn next(&mut self, world: &World) -> Operation {
        loop {
            let word = self.word();
            let Some(operation) = self.operation(word, world) else {
                continue;
            };
            return operation;
        }
    }

    fn word(&mut self) -> &'static str {
        let all: u64 = WEIGHTS.iter().map(|(_, weight)| weight).sum();
        let mut at = self.random.below(all);
        loop {
            for (word, weight) in WEIGHTS {
                if at < weight && !self.without.iter().any(|without| without == word) {
                    return word;
                }
                at = at.saturating_sub(weight);
            }
            at = self.random.below(all);
        }
    }

    fn operation(&mut self, word: &str, world: &World) -> Option<Operation> {
        let operation = match word {
            "plug" => self.plug(world)?,
            "unplug" => Operation::Unplug {
                socket: self.socket(world, true)?,
            },
            "blink" => Operation::Blink {
                socket: self.socket(world, true)?,
                times: 100 + self.random.below(300),
            },
            "swap" => self.swap(world)?,
            "rename" => self.rename(world)?,
            "start" => Operation::Start(self.container(world, Life::Stopped)?),
            "unpause" => Operation::Unpause(self.container(world, Life::Paused)?),
            "mess" => self.mess(world)?,
            "update" => {
                let container = self.container(world, Life::Running)?;
                Operation::Update(container, 100 + self.random.below(1000))
            }
            "reload" => Operation::Reload(self.config()),
            "kill-daemon" => Operation::KillDaemon { down: self.down() },
            "stop-daemon" => Operation::StopDaemon { down: self.down() },
            "upgrade" => Operation::Upgrade,
            "kill-engine" => Operation::KillEngine { down: self.down() },
            "kill-containerd" => Operation::KillContainerd { down: self.down() },
            "fill-disk" if !world.disk_full => Operation::FillDisk,
            "mend-disk" if world.disk_full => Operation::MendDisk,
            "stop-journal" if !world.journal_stopped => Operation::StopJournal,
            "continue-journal" if world.journal_stopped => Operation::ContinueJournal,
            _ => {
                let container = self.container(world, Life::Running)?;
                match word {
                    "stop" => Operation::Stop(container),
                    "kill" => Operation::Kill(container),
                    "restart" => Operation::Restart(container),
                    "pause" => Operation::Pause(container),
                    "exec" => Operation::Exec(container),
                    "recreate" => Operation::Recreate(container),
                    "kill-shim" => Operation::KillShim(container),
                    "kill-keeper" => Operation::KillKeeper(container),
                    _ => return None,
                }
            }
        };
        Some(operation)
    }

    fn plug(&mut self, world: &World) -> Option<Operation> {
        let absent = (0..STICKS).map(Stick);
        let absent: Vec<_> = absent.filter(|s| world.socket_of(*s).is_none()).collect();
        Some(Operation::Plug {
            socket: self.socket(world, false)?,
            stick: self.random.of(&absent)?,
        })
    }

    fn socket(&mut self, world: &World, occupied: bool) -> Option<usize> {
        let sockets = 0..SOCKETS;
        let sockets: Vec<_> = sockets
            .filter(|socket| world.sockets[*socket].is_some() == occupied)
            .collect();
        self.random.of(&sockets)
    }

    fn container(&mut self, world: &World, life: Life) -> Option<usize> {
        let containers = 0..world.containers.len();
        let containers: Vec<_> = containers
            .filter(|container| world.containers[*container].life == life)
            .collect();
        self.random.of(&containers)
    }

    fn swap(&mut self, world: &World) -> Option<Operation> {
        let containers: Vec<_> = (0..world.containers.len()).collect();
        let (a, b) = (self.random.of(&containers)?, self.random.of(&containers)?);
        (a != b).then_some(Operation::Swap(a, b))
    }

    fn rename(&mut self, world: &World) -> Option<Operation> {
        let container = self.random.below(world.containers.len() as u64);
        let container = usize::try_from(container).ok()?;
        let created = world.containers.iter().map(|container| container.kind.name);
        let names: Vec<_> = created.chain(NAMES).collect();
        let name = self.random.of(&names)?;
        let is_free = world
            .containers
            .iter()
            .all(|container| container.name != name);
        is_free.then_some(Operation::Rename(container, name))
    }

    fn mess(&mut self, world: &World) -> Option<Operation> {
        let kinds = [
            Mess::Remove,
            Mess::OtherNode,
            Mess::EmptyFile,
            Mess::Move,
            Mess::RemoveLinks,
        ];
        let container = self.container(world, Life::Running)?;
        let ports = world.config.ports().iter().map(|port| port.node);
        let paths: Vec<_> = ports.chain([OWN]).collect();
        let mess = self.random.of(&kinds)?;
        let path = self.random.of(&paths)?;
        Some(Operation::Mess(container, mess, path))
    }

    fn config(&mut self) -> Config {
        let ways = [Inject::Auto, Inject::Namespace, Inject::Exec];
        Config {
            inject: self.random.of(&ways).expect("there are some"),
            edited: self.random.below(2) == 1,
        }
    }

    fn down(&mut self) -> u64 {
        self.random.below(300)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(seed: u64) -> Vec<Operation> {
        let (mut world, mut generator) = (World::new(), Generator::new(seed, ""));
        let mut operations = Vec::new();
        for _ in 0..2000 {
            let operation = generator.next(&world);
            world.apply(&operation);
            operations.push(operation);
        }
        operations
    }

    #[test]
    fn a_seed_gives_the_same_operations_again_and_another_seed_gives_others() {
        assert_eq!(sequence(1), sequence(1));
        assert_ne!(sequence(1), sequence(2));
    }

    #[test]
    fn every_operation_comes_unless_it_is_left_out() {
        let operations = sequence(7);
        for (word, _) in WEIGHTS {
            let mut words = operations.iter().map(Operation::word);
            assert!(words.any(|other| other == word), "{word}");
        }
        let mut generator = Generator::new(7, "plug mess");
        let world = World::new();
        for _ in 0..1000 {
            let word = generator.next(&world).word();
            assert!(word != "plug" && word != "mess");
        }
    }

    #[test]
    fn operations_on_different_objects_can_be_done_in_either_order() {
        let mut world = World::new();
        let mut generator = Generator::new(3, "");
        for _ in 0..5000 {
            let first = generator.next(&world);
            let second = generator.next(&world);
            let apart = |object| !second.objects().contains(object);
            if first.objects().iter().all(apart) {
                let (mut one, mut other) = (world.clone(), world.clone());
                one.apply(&first);
                one.apply(&second);
                other.apply(&second);
                other.apply(&first);
                assert_eq!(
                    format!("{one:?}"),
                    format!("{other:?}"),
                    "{first}, {second}"
                );
            }
            world.apply(&first);
        }
    }
}
