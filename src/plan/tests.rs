use super::*;
use proptest::prelude::*;

const NODES: [&str; 3] = ["/dev/a", "/dev/b", "/dev/sub/c"];
const LINKS: [&str; 3] = [
    "/dev/serial/by-id/x",
    "/dev/serial/by-id/y",
    "/dev/serial/by-path/z",
];

fn path(text: &str) -> NodePath {
    text.parse().unwrap()
}

fn number(minor: u32) -> DevNum {
    DevNum { major: 188, minor }
}

/// Wanted lists as `assign` makes them: each path once, nodes before links.
fn wanted() -> impl Strategy<Value = Vec<ResolvedPort>> {
    let port = (
        0..4u32,
        prop_oneof![Just(0o660), Just(0o600)],
        0..2u32,
        any::<bool>(),
    );
    proptest::collection::vec(proptest::option::of(port), 3).prop_map(|ports| {
        let mut wanted = Vec::new();
        for (i, port) in ports.into_iter().enumerate() {
            let Some((minor, mode, gid, linked)) = port else {
                continue;
            };
            wanted.push(ResolvedPort {
                port: format!("p{i}"),
                node: path(NODES[i]),
                devnum: number(minor),
                mode: Mode(mode),
                uid: 0,
                gid,
                links: linked.then(|| path(LINKS[i])).into_iter().collect(),
            });
        }
        wanted
    })
}

/// Those of a wanted port, or others.
fn permissions() -> impl Strategy<Value = Permissions> {
    let mode = prop_oneof![Just(Mode(0o660)), Just(Mode(0o600)), Just(Mode(0o666))];
    (mode, 0..2u32).prop_map(|(mode, gid)| Permissions { uid: 0, gid, mode })
}

fn found() -> impl Strategy<Value = Found> {
    prop_oneof![
        4 => Just(Found::Nothing),
        3 => (0..4u32, permissions()).prop_map(|(minor, Permissions { uid, gid, mode })| {
            Found::Node { devnum: number(minor), mode, uid, gid }
        }),
        1 => Just(Found::EmptyFile),
        1 => prop_oneof!["../../a", "../../b", "elsewhere"].prop_map(|target| Found::Link { target }),
        1 => (0..4u32).prop_map(|minor| Found::Mount(Some(number(minor)))),
        1 => Just(Found::Mount(None)),
        1 => Just(Found::Other("a directory")),
    ]
}

fn actual() -> impl Strategy<Value = Actual> {
    let found = proptest::collection::vec(found(), 6);
    (found, any::<bool>()).prop_map(|(found, remapped)| {
        let paths = NODES.iter().chain(&LINKS).map(|p| path(p));
        Actual {
            remapped,
            ..fixtures::actual(paths.zip(found).collect())
        }
    })
}

/// A record may be of anything: of what is there, of what was there, of what never was.
fn record() -> impl Strategy<Value = Record> {
    let set = prop_oneof![Just(None), permissions().prop_map(Some)];
    let made = prop_oneof![
        (0..4u32, set).prop_map(|(minor, set)| Made::node(number(minor), set)),
        (0..4u32).prop_map(|minor| Made::Bound(number(minor))),
        prop_oneof!["../../a", "../../b"].prop_map(Made::Link),
    ];
    let entry = proptest::collection::btree_set(made, 0..3);
    proptest::collection::vec(entry, 6).prop_map(|made| {
        NODES
            .iter()
            .chain(&LINKS)
            .map(|p| path(p))
            .zip(made)
            .collect()
    })
}

fn perform(actual: &mut Actual, op: &Op) {
    let (path, found) = match op {
        Op::Sweep { path } => {
            actual.leftovers.remove(path);
            return;
        }
        Op::RemoveLink { path, .. } | Op::RemoveNode { path, .. } => (path, Found::Nothing),
        Op::MakeNode {
            path,
            devnum,
            bind: true,
            ..
        } => (path, Found::Mount(Some(*devnum))),
        Op::MakeNode {
            path,
            devnum,
            mode,
            uid,
            gid,
            ..
        } => (
            path,
            Found::Node {
                devnum: *devnum,
                mode: *mode,
                uid: *uid,
                gid: *gid,
            },
        ),
        Op::MakeLink { path, target, .. } => (
            path,
            Found::Link {
                target: target.clone(),
            },
        ),
    };
    let mut entries = actual.entries.clone();
    entries.insert(path.clone(), found);
    *actual = Actual {
        leftovers: std::mem::take(&mut actual.leftovers),
        remapped: actual.remapped,
        ..fixtures::actual(entries)
    };
}

/// Performs the operations of which `succeeds` says so, skipping what depends on a failed one.
fn perform_some(actual: &mut Actual, plan: &Plan, mut succeeds: impl FnMut(usize) -> bool) {
    let mut failed = false;
    for (i, op) in plan.ops.iter().enumerate() {
        failed &= !op.begins_port();
        if !failed && succeeds(i) {
            perform(actual, op);
        } else {
            failed = true;
        }
    }
}

/// A mount may be replaced only if it is ours.
fn ours_or_free(path: &NodePath, found: &Found, record: &Record) -> bool {
    match found {
        Found::Mount(_) => record[path].iter().any(|made| made.is(found)),
        Found::Other(_) => false,
        _ => true,
    }
}

proptest! {
    #[test]
    fn a_plan_converges_and_then_there_is_nothing_left_to_do(
        wanted in wanted(), mut actual in actual(), record in record(),
    ) {
        let first = plan(&wanted, &Record::new(), &actual, &record);
        perform_some(&mut actual, &first, |_| true);
        let second = plan(&wanted, &Record::new(), &actual, &first.record);
        prop_assert_eq!(&second.ops, &vec![]);
        // What is in the way of a link is told once its node is there.
        prop_assert!(first.blocked.iter().all(|blocked| second.blocked.contains(blocked)));
        prop_assert_eq!(pruned(&first.record, &actual), second.record);
    }

    #[test]
    fn stopping_anywhere_and_failing_anywhere_still_converges(
        wanted in wanted(), mut actual in actual(), record in record(),
        stop in 0..12usize, fail in proptest::collection::vec(any::<bool>(), 12),
    ) {
        let mut complete = actual.clone();
        let whole = plan(&wanted, &Record::new(), &actual, &record);
        perform_some(&mut complete, &whole, |_| true);

        // The record is on disk before the first operation, whatever happens to the rest.
        perform_some(&mut actual, &whole, |i| i < stop && !fail.get(i).unwrap_or(&false));
        let again = plan(&wanted, &Record::new(), &actual, &whole.record);
        perform_some(&mut actual, &again, |_| true);
        prop_assert_eq!(actual.entries, complete.entries);
    }

    #[test]
    fn only_what_is_assigned_or_recorded_is_ever_named(
        wanted in wanted(), actual in actual(), record in record(),
    ) {
        for op in plan(&wanted, &Record::new(), &actual, &record).ops {
            match op {
                Op::MakeNode { path, devnum, replaces, .. } => {
                    prop_assert!(wanted.iter().any(|w| w.node == path && w.devnum == devnum));
                    prop_assert!(ours_or_free(&path, &replaces, &record));
                }
                Op::MakeLink { path, replaces, .. } => {
                    prop_assert!(wanted.iter().any(|w| w.links.contains(&path)));
                    prop_assert!(ours_or_free(&path, &replaces, &record));
                }
                Op::RemoveNode { path, devnum, bound } => {
                    let made = if bound { Made::Bound(devnum) } else { Made::node(devnum, None) };
                    prop_assert!(record[&path].iter().any(|known| known.is_like(&made)));
                    prop_assert!(made.left(actual.at(&path)));
                }
                Op::RemoveLink { path, target } => {
                    prop_assert_eq!(actual.at(&path), &Found::Link { target: target.clone() });
                    prop_assert!(record[&path].contains(&Made::Link(target)));
                }
                Op::Sweep { .. } => prop_assert!(false, "nothing was left over"),
            }
        }
    }

    #[test]
    fn what_the_container_changes_of_a_node_is_left_until_its_settings_change(
        wanted in wanted(), changed in permissions(), mut actual in actual(), record in record(),
    ) {
        let first = plan(&wanted, &Record::new(), &actual, &record);
        perform_some(&mut actual, &first, |_| true);
        let record = pruned(&first.record, &actual);
        for found in actual.entries.values_mut() {
            if let Found::Node { mode, uid, gid, .. } = found {
                (*uid, *gid, *mode) = (changed.uid, changed.gid, changed.mode);
            }
        }
        let again = plan(&wanted, &Record::new(), &actual, &record);
        prop_assert_eq!(&again.ops, &vec![]);
        let later: Vec<_> = wanted.into_iter().map(|want| ResolvedPort { gid: 7, ..want }).collect();
        let set = plan(&later, &Record::new(), &actual, &again.record);
        let nodes = later.iter().filter(|want| matches!(actual.at(&want.node), Found::Node { .. }));
        let made = |op: &&Op| matches!(op, Op::MakeNode { gid: 7, .. });
        prop_assert_eq!(set.ops.iter().filter(made).count(), nodes.count());
    }

    #[test]
    fn no_number_of_ours_stays_that_is_no_longer_assigned(
        before in wanted(), after in wanted(), stop in 0..12usize,
    ) {
        let mut actual = Actual::default();
        let first = plan(&before, &Record::new(), &actual, &Record::new());
        perform_some(&mut actual, &first, |_| true);
        let second = plan(&after, &Record::new(), &actual, &first.record);
        // Removals come before everything that is made.
        let removals = second.ops.iter().filter(|op| matches!(op, Op::RemoveNode { .. } | Op::RemoveLink { .. })).count();
        perform_some(&mut actual, &second, |i| i < stop.max(removals));
        let third = plan(&after, &Record::new(), &actual, &second.record);
        perform_some(&mut actual, &third, |_| true);
        for (path, found) in &actual.entries {
            if let Found::Node { devnum, .. } | Found::Mount(Some(devnum)) = found {
                prop_assert!(after.iter().any(|w| w.node == *path && w.devnum == *devnum));
            }
        }
    }

    #[test]
    fn the_order_of_the_ports_does_not_matter(
        wanted in wanted(), actual in actual(), record in record(),
    ) {
        let mut reversed = wanted.clone();
        reversed.reverse();
        let (mut a, mut b) = (actual.clone(), actual.clone());
        perform_some(&mut a, &plan(&wanted, &Record::new(), &actual, &record), |_| true);
        perform_some(&mut b, &plan(&reversed, &Record::new(), &actual, &record), |_| true);
        prop_assert_eq!(a.entries, b.entries);
    }
}

#[test]
fn a_number_change_at_a_fixed_name_is_one_replacement() {
    let want = ResolvedPort {
        port: "zwave".into(),
        node: path("/dev/zwave"),
        devnum: number(1),
        mode: Mode(0o660),
        uid: 0,
        gid: 20,
        links: vec![],
    };
    let old = Found::Node {
        devnum: number(0),
        mode: Mode(0o660),
        uid: 0,
        gid: 20,
    };
    let actual = Actual {
        entries: BTreeMap::from([(path("/dev/zwave"), old)]),
        leftovers: BTreeSet::from(["/dev/.ttyplugd.7".into()]),
        ..Actual::default()
    };
    let record = Record::from([(
        path("/dev/zwave"),
        BTreeSet::from([Made::node(number(0), None)]),
    )]);
    let plan = plan(&[want], &Record::new(), &actual, &record);
    let lines: Vec<_> = plan.ops.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "sweep /dev/.ttyplugd.7",
            "make-node /dev/zwave 188:1 0:20 0660 instead of a node 188:0 0:20 0660",
        ]
    );
    // Both numbers are ours until the container has been seen again.
    assert_eq!(plan.record[&path("/dev/zwave")].len(), 2);
}

#[test]
fn what_may_stay_stays_while_its_number_is_right() {
    let found = |minor| Found::Node {
        devnum: number(minor),
        mode: Mode(0o660),
        uid: 0,
        gid: 20,
    };
    let record = Record::from([
        (
            path("/dev/a"),
            BTreeSet::from([Made::node(number(0), None)]),
        ),
        (
            path("/dev/b"),
            BTreeSet::from([Made::node(number(1), None)]),
        ),
    ]);
    let actual = Actual {
        entries: BTreeMap::from([(path("/dev/a"), found(0)), (path("/dev/b"), found(1))]),
        ..Actual::default()
    };
    let keep = Record::from([
        (
            path("/dev/a"),
            BTreeSet::from([Made::node(number(0), None)]),
        ),
        (
            path("/dev/b"),
            BTreeSet::from([Made::node(number(9), None)]),
        ),
    ]);
    let plan = plan(&[], &keep, &actual, &record);
    let lines: Vec<_> = plan.ops.iter().map(ToString::to_string).collect();
    assert_eq!(lines, ["remove-node /dev/b 188:1"]);
    assert_eq!(plan.record, record);
}

#[test]
fn the_empty_file_below_a_mount_that_was_being_made_goes_and_any_other_stays() {
    let actual = Actual {
        entries: BTreeMap::from([
            (path("/dev/a"), Found::EmptyFile),
            (path("/dev/b"), Found::EmptyFile),
        ]),
        remapped: true,
        ..Actual::default()
    };
    let record = Record::from([
        (path("/dev/a"), BTreeSet::from([Made::Bound(number(0))])),
        (
            path("/dev/b"),
            BTreeSet::from([Made::node(number(1), None)]),
        ),
    ]);
    let plan = plan(&[], &Record::new(), &actual, &record);
    let lines: Vec<_> = plan.ops.iter().map(ToString::to_string).collect();
    assert_eq!(lines, ["unbind-node /dev/a 188:0"]);
    assert!(pruned(&record, &actual).contains_key(&path("/dev/a")));
}

#[test]
fn a_node_on_record_has_its_number_and_what_was_set() {
    let set = Some(Permissions {
        uid: 0,
        gid: 20,
        mode: Mode(0o660),
    });
    for (text, made) in [
        (
            r#"{"node":"188:1","set":"0:20 0660"}"#,
            Made::node(number(1), set),
        ),
        // As versions wrote it that did not record what they set.
        (r#"{"node":"188:1"}"#, Made::node(number(1), None)),
    ] {
        assert_eq!(serde_json::from_str::<Made>(text).unwrap(), made);
        assert_eq!(serde_json::to_string(&made).unwrap(), text);
    }
    for damaged in [
        "{}",
        r#"{"set":"0:20 0660"}"#,
        r#"{"node":"188:1","set":"0 0660"}"#,
        r#"{"node":"188:1","set":"0:20 rw"}"#,
    ] {
        assert!(serde_json::from_str::<Made>(damaged).is_err(), "{damaged}");
    }
}

/// Whose instructions tests/instructions.sh counts: eight ports appear, are there, and go.
#[test]
fn many_ports_are_planned() {
    let port = |n| ResolvedPort {
        port: format!("p{n}"),
        node: path(&format!("/dev/p{n}")),
        devnum: number(n),
        mode: Mode(0o660),
        uid: 0,
        gid: 20,
        links: ["by-id", "by-path"]
            .map(|directory| path(&format!("/dev/serial/{directory}/{n}")))
            .into(),
    };
    let wanted: Vec<ResolvedPort> = (0..8).map(port).collect();
    let paths = wanted.iter().flat_map(|w| w.links.iter().chain([&w.node]));
    let nothing = fixtures::actual(paths.map(|p| (p.clone(), Found::Nothing)).collect());
    let appear = plan(&wanted, &Record::new(), &nothing, &Record::new());
    assert_eq!(appear.ops.len(), 24);
    let mut there = nothing;
    perform_some(&mut there, &appear, |_| true);
    let stay = plan(&wanted, &Record::new(), &there, &appear.record);
    assert_eq!(stay.ops, []);
    let go = plan(&[], &Record::new(), &there, &appear.record);
    assert_eq!(go.ops.len(), 24);
}
