//! The edit of a cgroup's device program: a verdict decides about its device, and the engine's own
//! instructions about every other.
#![no_main]

use std::collections::BTreeMap;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use ttyplugd::container::device_program::{Instruction, Program, Verdict};
use ttyplugd::model::DevNum;
use ttyplugd::model::device_access::Access;
use ttyplugd_fuzz::bounded;

#[derive(Debug, Arbitrary)]
struct Input {
    /// Any instructions at all.
    raw: Vec<(u8, u8, i16, u32)>,
    rules: Vec<Rule>,
    verdicts: Vec<(u8, u8, u8)>,
    asked: Vec<(u8, u8, u8, u8)>,
}

/// A device rule of an engine; a number that is missing is any.
#[derive(Debug, Arbitrary)]
struct Rule {
    character: Option<bool>,
    major: Option<u8>,
    minor: Option<u8>,
    access: u8,
    allow: bool,
}

/// One access to a device (kernel, include/uapi/linux/bpf.h, struct bpf_cgroup_dev_ctx).
#[derive(Debug, Clone, Copy)]
struct Asked {
    kind: u32,
    access: u32,
    devnum: DevNum,
}

fuzz_target!(|input: Input| {
    let raw = input
        .raw
        .iter()
        .map(|&(code, registers, offset, immediate)| Instruction {
            code,
            registers,
            offset,
            immediate,
        });
    let raw: Vec<Instruction> = raw.collect();
    if let Ok(program) = bounded(|| Program::read(&raw)) {
        assert_eq!(Program::read(&program.instructions()), Ok(program));
    }

    let rules = &input.rules[..input.rules.len().min(32)];
    let mut program = Program::read(&compiled(rules)).expect("an engine writes such programs");
    assert!(program.verdicts.is_empty());
    let verdicts = input.verdicts.iter().filter_map(|&(major, minor, access)| {
        let verdict = match access & 3 {
            0 => Some(Verdict::Allow),
            bits => Verdict::deny(Access {
                read: bits & 1 != 0,
                write: bits & 2 != 0,
            }),
        };
        Some((number(major, minor), verdict?))
    });
    program.verdicts = verdicts.take(64).collect();
    assert_eq!(
        Program::read(&program.instructions()).as_ref(),
        Ok(&program)
    );
    let instructions = program.instructions();
    for &(kind, access, major, minor) in &input.asked {
        let asked = Asked {
            kind: u32::from(kind % 2) + 1,
            access: u32::from(access % 8),
            devnum: number(major, minor),
        };
        let expected = expected(&program.verdicts, rules, asked);
        assert_eq!(run(&instructions, asked), expected, "{asked:?}");
    }
});

/// Few numbers, so that some are the same.
fn number(major: u8, minor: u8) -> DevNum {
    DevNum {
        major: (major % 8).into(),
        minor: (minor % 4).into(),
    }
}

const MAKE: u32 = 1;
const READ: u32 = 2;
const WRITE: u32 = 4;

/// What the verdicts and the rules mean.
fn expected(verdicts: &BTreeMap<DevNum, Verdict>, rules: &[Rule], asked: Asked) -> bool {
    let is_character = asked.kind == 2;
    match verdicts.get(&asked.devnum).filter(|_| is_character) {
        Some(Verdict::Allow) if asked.access & MAKE == 0 => return true,
        Some(Verdict::Deny(denied))
            if denied.read && asked.access & READ != 0
                || denied.write && asked.access & WRITE != 0 =>
        {
            return false;
        }
        _ => {}
    }
    let rule = rules.iter().find(|rule| {
        let any = |own: Option<u8>, asked: u32| own.is_none_or(|own| u32::from(own) == asked);
        rule.character.is_none_or(|own| own == is_character)
            && asked.access & u32::from(rule.access % 8) == asked.access
            && any(rule.major, asked.devnum.major)
            && any(rule.minor, asked.devnum.minor)
    });
    rule.is_some_and(|rule| rule.allow)
}

fn instruction(code: u8, to: u8, from: u8, offset: i16, immediate: u32) -> Instruction {
    let registers = from << 4 | to;
    Instruction {
        code,
        registers,
        offset,
        immediate,
    }
}

/// The program that an engine makes of its rules.
fn compiled(rules: &[Rule]) -> Vec<Instruction> {
    let mut program = vec![
        instruction(0x61, 2, 1, 0, 0),      // r2 = access and kind
        instruction(0xbf, 3, 2, 0, 0),      // r3 = r2
        instruction(0x57, 2, 0, 0, 0xffff), // r2 = kind
        instruction(0x77, 3, 0, 0, 16),     // r3 = access
        instruction(0x61, 4, 1, 4, 0),      // r4 = major
        instruction(0x61, 5, 1, 8, 0),      // r5 = minor
    ];
    for rule in rules {
        let mut conditions = Vec::new();
        if let Some(character) = rule.character {
            conditions.push(instruction(0x55, 2, 0, 0, u32::from(character) + 1));
        }
        conditions.push(instruction(0xbf, 1, 3, 0, 0));
        conditions.push(instruction(0x57, 1, 0, 0, (rule.access % 8).into()));
        conditions.push(instruction(0x5d, 1, 3, 0, 0));
        for (register, number) in [(4, rule.major), (5, rule.minor)] {
            conditions.extend(number.map(|n| instruction(0x55, register, 0, 0, n.into())));
        }
        let length = i16::try_from(conditions.len()).expect("there are few");
        for (at, mut condition) in (0..).zip(conditions) {
            if matches!(condition.code, 0x55 | 0x5d) {
                condition.offset = length - at + 1;
            }
            program.push(condition);
        }
        program.push(instruction(0xb7, 0, 0, 0, rule.allow.into()));
        program.push(instruction(0x95, 0, 0, 0, 0));
    }
    program.push(instruction(0xb7, 0, 0, 0, 0));
    program.push(instruction(0x95, 0, 0, 0, 0));
    program
}

/// Runs a program as the kernel does (kernel,
/// Documentation/bpf/standardization/instruction-set.rst).
fn run(program: &[Instruction], asked: Asked) -> bool {
    let mut registers = [0u64; 16];
    let mut at = 0;
    loop {
        let i = program[at];
        at += 1;
        let (to, from) = (usize::from(i.registers & 15), usize::from(i.registers >> 4));
        let value = u64::from(i.immediate);
        let mut jump = |condition: bool| {
            if condition {
                at = at
                    .checked_add_signed(i.offset.into())
                    .expect("it leads ahead");
            }
        };
        match (i.code, i.offset) {
            (0x61, 0) => registers[to] = u64::from(asked.access << 16 | asked.kind),
            (0x61, 4) => registers[to] = asked.devnum.major.into(),
            (0x61, 8) => registers[to] = asked.devnum.minor.into(),
            (0xbf, _) => registers[to] = registers[from],
            (0xb7, _) => registers[to] = value,
            (0x57, _) => registers[to] &= value,
            (0x77, _) => registers[to] >>= value,
            (0x15, _) => jump(registers[to] == value),
            (0x55, _) => jump(registers[to] != value),
            (0x5d, _) => jump(registers[to] != registers[from]),
            (0x95, _) => return registers[0] != 0,
            _ => panic!("neither engine nor verdict has this: {i:?}"),
        }
    }
}
