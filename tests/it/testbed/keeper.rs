//! Hold keepers, seen from outside: as processes, and by what they answer at their sockets.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Keeper {
    pid: i32,
    pub(crate) container: String,
    pub(crate) socket: PathBuf,
}

impl Keeper {
    /// All that were started with this run directory.
    pub(crate) fn all(run_dir: &Path) -> Vec<Self> {
        let processes = fs::read_dir("/proc").expect("there is a /proc").flatten();
        let mut found: Vec<_> = processes
            .filter_map(|process| Self::of_process(&process.path(), run_dir))
            .collect();
        found.sort_by_key(|keeper| keeper.pid);
        found
    }

    fn of_process(process: &Path, run_dir: &Path) -> Option<Self> {
        let pid = process.file_name()?.to_str()?.parse().ok()?;
        let line = fs::read(process.join("cmdline")).ok()?;
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        let [_, b"--run-dir", directory, b"keeper", container, socket, ..] = words[..] else {
            return None;
        };
        (directory == run_dir.as_os_str().as_bytes() && container != b"start").then(|| Self {
            pid,
            container: String::from_utf8_lossy(container).into(),
            socket: PathBuf::from(std::ffi::OsStr::from_bytes(socket)),
        })
    }

    /// The open calls that it holds: which thread's, and what it opens.
    pub(crate) fn held(&self) -> Result<Vec<(i32, String)>, String> {
        let answer = self.ask().map_err(|error| format!("{self:?}: {error}"))?;
        let answer: serde_json::Value =
            serde_json::from_str(&answer).map_err(|error| format!("{error}: {answer}"))?;
        assert_eq!(answer["container"], self.container.as_str(), "{answer}");
        let held = answer["held"].as_array().ok_or("it names none")?;
        let each = held.iter().map(|held| {
            let tid = held["tid"].as_i64().and_then(|tid| tid.try_into().ok());
            let path = held["path"].as_str().map(String::from);
            tid.zip(path)
                .ok_or_else(|| format!("what is held? {answer}"))
        });
        each.collect()
    }

    /// Asks as the daemon does, in the words of version 1, for the first line of the answer.
    fn ask(&self) -> std::io::Result<String> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"{\"ttyplugd\":1,\"follow\":true}\n")?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(line)
    }

    /// The first line of its answer.
    pub(crate) fn answer(&self) -> String {
        self.ask().expect("it answers")
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    pub(crate) fn session(&self) -> i32 {
        let pid = Pid::from_raw(self.pid);
        nix::unistd::getsid(Some(pid)).expect("it runs").as_raw()
    }

    /// Its control groups.
    pub(crate) fn groups(&self) -> String {
        fs::read_to_string(format!("/proc/{}/cgroup", self.pid)).expect("it runs")
    }

    pub(crate) fn program(&self) -> PathBuf {
        fs::read_link(format!("/proc/{}/exe", self.pid)).expect("it runs")
    }

    pub(crate) fn open_files(&self) -> Vec<PathBuf> {
        let open = fs::read_dir(format!("/proc/{}/fd", self.pid)).expect("it runs");
        let names = open.flatten().map(|fd| fs::read_link(fd.path()));
        names.filter_map(Result::ok).collect()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid), signal).expect("it runs");
    }

    pub(crate) fn descriptors(&self) -> usize {
        self.open_files().len()
    }

    /// The time that it has run, of which the kernel counts hundredths of a second (proc(5), stat).
    pub(crate) fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).expect("it runs");
        let fields = stat.rsplit(')').next().expect("its name is in brackets");
        let fields = fields.split_whitespace().skip(11).take(2);
        let ticks = fields.map(|field| field.parse::<u64>().expect("it is a number"));
        Duration::from_millis(10 * ticks.sum::<u64>())
    }

    /// A line of /proc/PID/status, in kB.
    pub(crate) fn memory(&self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let number =
            line.and_then(|line| line.trim_matches([':', ' ', '\t', 'k', 'B']).parse().ok());
        number.unwrap_or_else(|| panic!("no {key} in {status}"))
    }
}

impl super::Testbed {
    fn run_dir(&self) -> PathBuf {
        self.file("run")
    }

    pub(crate) fn keepers(&self) -> Vec<Keeper> {
        Keeper::all(&self.run_dir())
    }

    /// The keeper of the only container that has one.
    pub(crate) fn keeper(&self) -> Keeper {
        let keepers = self.keepers();
        let [keeper] = &keepers[..] else {
            panic!("not one keeper: {keepers:?}\n{}", self.runtime_log());
        };
        keeper.clone()
    }

    /// Waits until exactly these paths are held, in any container, each as often as it is named.
    /// Returns the threads that wait.
    #[track_caller]
    pub(crate) fn holds(&self, paths: &[&str]) -> Vec<i32> {
        super::until(&format!("{paths:?} are held"), || {
            let mut held = Vec::new();
            for keeper in self.keepers() {
                held.extend(keeper.held()?);
            }
            let mut found: Vec<_> = held.iter().map(|(_, path)| path.as_str()).collect();
            found.sort_unstable();
            if found == paths {
                return Ok(held.iter().map(|(tid, _)| *tid).collect());
            }
            Err(format!("held are {found:?}\n{}", self.runtime_log()))
        })
    }

    /// Waits until no keeper runs any more, and sees that none has left anything behind.
    #[track_caller]
    pub(crate) fn has_no_keeper(&self) {
        super::until("no keeper runs and has left anything behind", || {
            let keepers = self.keepers();
            let left = fs::read_dir(self.run_dir().join("k")).into_iter().flatten();
            let left: Vec<_> = left.flatten().map(|file| file.file_name()).collect();
            if keepers.is_empty() && left.is_empty() {
                return Ok(());
            }
            Err(format!("{keepers:?} {left:?}\n{}", self.runtime_log()))
        });
    }

    /// The log of wrappers and keepers, which is in the journal on a machine that has one.
    pub(crate) fn runtime_log(&self) -> String {
        if !Path::new("/run/systemd/journal/socket").exists() {
            return fs::read_to_string(self.run_dir().join("runtime.log")).unwrap_or_default();
        }
        let since = format!("--since=@{}", self.begun);
        let shown = "--output-fields=MESSAGE,CONTAINER_ID,CONTAINER_PATH,REASON";
        let arguments = ["-t", "ttyplug-runtime", &since, "-o", "verbose", shown];
        super::run("journalctl", &arguments)
    }
}
