//! Opens that are made to keep the keeper busy.

use std::fs;
use std::time::Duration;

use super::{LONG, NODE, unplugged};
use crate::testbed::keeper::Keeper;

/// How often each path is opened, so that what else the keeper does in that time hardly counts.
const TIMES: &str = "300";

/// How much more processor time than the program an open may cost the keeper.
const MOST: u32 = 20;

/// Directories and links of which much can be made in 4,095 bytes, which nobody but root may search.
const SCENE: &str = "
    mkdir -p /hostile/a/b && cd /hostile && ln -s . here && ln -s loop loop && ln -s $NODE port
    deep=.; for i in $(seq 120); do deep=$deep/d; done; mkdir -p $deep && ln -s $deep deep
    ln -s $NODE link0; for i in $(seq 39); do ln -s link$((i-1)) link$i; done
    dots=; for i in $(seq 2000); do dots=$dots./; done
    ln -s $NODE long0; for i in $(seq 39); do ln -s ${dots}long$((i-1)) long$i; done
    up=; for i in $(seq 800); do up=${up}a/../; done
    ln -s $NODE up0; for i in $(seq 39); do ln -s ${up}up$((i-1)) up$i; done
    mkdir /secret && chmod 700 /secret && mv /hostile /secret && ln -s /secret/hostile /hostile
";

fn paths() -> Vec<(&'static str, String)> {
    let below = |part: &str, name: &str| {
        let times = (4095 - "/hostile/".len() - name.len()) / part.len();
        format!("/hostile/{}{name}", part.repeat(times))
    };
    vec![
        ("no port", "/dev/no-port".into()),
        ("null", "/dev/null".into()),
        ("a file", "/etc/passwd".into()),
        ("up and down", below("a/../", "port")),
        ("deeper up and down", below("a/b/../../", "port")),
        (
            "up and down in /dev",
            format!("/dev/{}x", "pts/../".repeat(580)),
        ),
        ("dots", below("./", "port")),
        ("slashes", below("/", "port")),
        ("missing directories", below("m/", "port")),
        (
            "missing directories in /dev",
            format!("/dev/{}x", "m/".repeat(2000)),
        ),
        ("missing, and up", below("m/../", "port")),
        ("many links", "/hostile/link39".into()),
        ("many long links", "/hostile/long39".into()),
        ("many links that go up and down", "/hostile/up39".into()),
        ("a loop", "/hostile/loop".into()),
        (
            "a directory that is linked in itself",
            below("here/", "port"),
        ),
        ("the same, missing", below("here/", "m/m/m/m")),
        ("a deep directory", "/hostile/deep/m/m/m/m".into()),
        (
            "names of 255 bytes",
            below(&format!("{}/", "n".repeat(255)), "port"),
        ),
        (
            "a process's own directory",
            "/proc/self/cwd/".repeat(270) + "port",
        ),
        (
            "a process's own root",
            format!("{}/dev/zwave", "/proc/self/root".repeat(270)),
        ),
        ("relative", format!("{}dev/no-port", "../".repeat(1300))),
        ("relative and missing", "m/".repeat(2000) + "x"),
    ]
}

/// The container's user may not even enter the directory, and the kernel ends its own walk there.
#[test]
fn no_path_costs_the_keeper_much_more_than_the_program_that_opens_it() {
    let (bed, container, _daemon, _port) = unplugged(LONG);
    container.sh(&format!("NODE={NODE}; {SCENE}"));
    let keeper = bed.keeper();
    let mut most = 0.0;
    for user in ["0", "1000"] {
        for (what, path) in paths() {
            // Once more in warm caches.
            let [_, (program, keeper)] = [(); 2].map(|()| cost(&container, user, &path, &keeper));
            let ratio = keeper.as_secs_f64() / program.as_secs_f64();
            println!(
                "user {user}, {what}: {program:?} of the program's, {keeper:?} of the keeper's: {ratio:.1}"
            );
            most = f64::max(most, ratio);
        }
    }
    assert!(most <= f64::from(MOST), "{most}");
}

fn cost(
    container: &crate::testbed::Container,
    user: &str,
    path: &str,
    keeper: &Keeper,
) -> (Duration, Duration) {
    let before = processor_time(keeper);
    let said = crate::testbed::run(
        "docker",
        &[
            "exec",
            "-u",
            user,
            container.name(),
            "opens",
            "cost",
            path,
            TIMES,
        ],
    );
    let own = said
        .trim()
        .rsplit(' ')
        .next()
        .and_then(|n| n.parse().ok())
        .expect(&said);
    (Duration::from_micros(own), processor_time(keeper) - before)
}

/// proc(5), /proc/PID/schedstat: nanoseconds on a processor.
fn processor_time(keeper: &Keeper) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/schedstat", keeper.pid())).expect("it runs");
    let time = stat.split(' ').next().and_then(|time| time.parse().ok());
    Duration::from_nanos(time.expect(&stat))
}
