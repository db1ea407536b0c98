//! Opens that are made to keep the keeper busy.

use std::fs;

use super::{LONG, Opening, holding, setup, zwave};
use crate::testbed::keeper::Keeper;

/// How often each path is opened.
const TIMES: &str = "200";

/// How much more processor time than the program an open may cost the keeper: 20 times as much, and
/// more in a build that is not optimized, as the program always is.
const MOST: f64 = if cfg!(debug_assertions) { 30.0 } else { 20.0 };

/// Directories and links of which much can be made in a path. Only root may search them: for any
/// other user the kernel ends its walk at the first, and the keeper cannot know.
const SCENE: &str = "
    mkdir /secret && cd /secret && chmod 700 .
    mkdir -p a/b && ln -s . here && ln -s loop loop
    deep=.; for i in $(seq 120); do deep=$deep/d; done; mkdir -p $deep && ln -s $deep deep
    dots=; for i in $(seq 2000); do dots=$dots./; done
    up=; for i in $(seq 800); do up=${up}a/../; done
    for name in plain dots up here both; do ln -s /dev/no-port $name-0; done
    for i in $(seq 40); do
        last=$((i-1))
        ln -s plain-$last plain-$i
        ln -s ${dots}dots-$last dots-$i
        ln -s ${up}up-$last up-$i
        ln -s here/here/here/here-$last here-$i
        ln -s /secret/both-$last /mnt/both-$i && ln -s /mnt/both-$i both-$i
    done
";

const LINKS: [&str; 7] = [
    "plain-40",
    "dots-40",
    "up-40",
    "here-40",
    "both-40",
    "loop",
    "deep/m/m/m",
];

/// The beginning of a path, what comes in it again and again, and its end.
const PATTERNS: [(&str, &str, &str); 17] = [
    ("/dev/", "", "no-port"),
    ("/dev/", "m/", "no-port"),
    ("/dev/", "m/../", "no-port"),
    ("/dev/", "pts/../", "no-port"),
    ("/secret/", "a/../", "plain-0"),
    ("/secret/", "a/b/../../", "plain-0"),
    ("/secret/", "./", "plain-0"),
    ("/secret/", "/", "plain-0"),
    ("/secret/", "m/", "plain-0"),
    ("/secret/", "m/../", "plain-0"),
    ("/secret/", "here/", "plain-0"),
    ("/secret/", "here/../secret/", "plain-0"),
    ("/secret/", "deep/../", "plain-0"),
    ("", "../", "dev/no-port"),
    ("", "tmp/../", "dev/no-port"),
    ("/proc/self/cwd/", "proc/self/cwd/", "dev/no-port"),
    ("/proc/self/root/", "proc/self/root/", "dev/no-port"),
];

fn paths() -> Vec<String> {
    let links = LINKS.map(|name| format!("/secret/{name}"));
    // Some that are followed to their end or as far as that goes, and the longest that there are.
    let patterns = [100, 250, 1000, 4095].into_iter().flat_map(|length| {
        PATTERNS.map(|(begin, again, end)| {
            let left = length - begin.len() - end.len();
            let times = left.checked_div(again.len()).unwrap_or(0);
            [begin, &again.repeat(times), end].concat()
        })
    });
    links.into_iter().chain(patterns).collect()
}

#[test]
fn no_path_costs_the_keeper_much_more_than_the_program_that_opens_it() {
    let recipe = zwave().with(&["--tmpfs", "/mnt"]);
    let (bed, container, _daemon, _port) = setup(holding(LONG), recipe);
    container.sh(SCENE);
    let keeper = bed.keeper();
    let paths = paths();
    for user in ["0", "1000"] {
        let words = [
            &["cost", user, TIMES],
            &paths.iter().map(String::as_str).collect::<Vec<_>>()[..],
        ];
        let mut opening = Opening::start(&container, &words.concat());
        for (number, path) in paths.iter().enumerate() {
            let before = processor_time(&keeper);
            opening.nudge();
            let program = opening.says(number + 1)[number].milliseconds as f64;
            let ratio = (processor_time(&keeper) - before) / program;
            let path = &path[..path.len().min(60)];
            assert!(
                ratio <= MOST,
                "{ratio:.1} × {program} µs for {TIMES} × {path}"
            );
        }
    }
}

/// How many microseconds the keeper was on a processor (proc(5), /proc/PID/schedstat).
fn processor_time(keeper: &Keeper) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{}/schedstat", keeper.pid())).expect("it runs");
    let time = stat
        .split(' ')
        .next()
        .and_then(|time| time.parse::<f64>().ok());
    time.unwrap_or_else(|| panic!("{stat}")) / 1000.0
}
