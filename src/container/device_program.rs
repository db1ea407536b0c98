//! The BPF program that is a container's device cgroup on cgroup v2, and how verdicts on single
//! devices are put in front of it. Pure.
//!
//! The kernel gives the program of a running container back as instructions. What is put in front
//! of them decides about single devices and falls through for every other one, so that all other
//! rights stay bit for bit what they were, whoever made them
//! (kernel, Documentation/admin-guide/cgroup-v2.rst, "Device controller").

use std::collections::BTreeMap;

use crate::model::DevNum;
use crate::model::device_access::Access;

/// One instruction, as the kernel reads it (kernel, include/uapi/linux/bpf.h, struct bpf_insn).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    code: u8,
    /// Destination and source, in one half each; see [`registers`].
    registers: u8,
    offset: i16,
    /// A number of 32 bits with a sign, which is extended to 64.
    immediate: u32,
}

/// What is decided about a device, whatever the rest of the program says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may be opened for reading and writing.
    Allow,
    /// It may not be opened for any of these.
    Deny(Access),
}

impl Verdict {
    /// To deny nothing is no verdict. The kernel would leave out what can never be reached in it, and
    /// it would not be known again (kernel, kernel/bpf/verifier.c, `opt_remove_dead_code`).
    pub fn deny(access: Access) -> Option<Self> {
        (!access.is_none()).then_some(Self::Deny(access))
    }
}

/// A program: first what is decided about single devices, then the engine's own instructions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    pub verdicts: BTreeMap<DevNum, Verdict>,
    rest: Vec<Instruction>,
}

/// A program that cannot be edited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    #[error("it has instructions that no container engine writes")]
    Instruction,
    #[error("a jump in it leads outside")]
    Jump,
}

// The codes of instructions (kernel, include/uapi/linux/bpf.h and bpf_common.h).
const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xbf;
const MOVE_VALUE: u8 = 0xb7;
const MOVE_32: u8 = 0xbc;
const AND_VALUE: u8 = 0x57;
const SHIFT_RIGHT_VALUE: u8 = 0x77;
const JUMP_IF_VALUE: u8 = 0x15;
const JUMP_UNLESS_VALUE: u8 = 0x55;
const EXIT: u8 = 0x95;
const CALL: u8 = 0x85;
const JUMP_FAR: u8 = 0x06;
const LOAD_DOUBLE: u8 = 0x18;

// struct bpf_cgroup_dev_ctx: where it has access and kind, major and minor number, and their bits.
const ACCESS: i16 = 0;
const MAJOR: i16 = 4;
const MINOR: i16 = 8;
const CHARACTER: u32 = 2;
const READ: u32 = 2;
const WRITE: u32 = 4;

/// How many instructions a verdict takes.
const BLOCK: i16 = 13;

/// Bit fields begin at the low end of a byte where the lowest byte of a number comes first.
const fn registers(destination: u8, source: u8) -> u8 {
    if cfg!(target_endian = "little") {
        source << 4 | destination
    } else {
        destination << 4 | source
    }
}

const fn instruction(code: u8, to: u8, from: u8, offset: i16, immediate: u32) -> Instruction {
    Instruction {
        code,
        registers: registers(to, from),
        offset,
        immediate,
    }
}

/// The instructions of a verdict. Registers 2 and 3 are free: a program begins with its context in
/// register 1 and may not read another before it has written it
/// (kernel, Documentation/bpf/verifier.rst).
fn block(devnum: DevNum, verdict: Verdict) -> [Instruction; BLOCK as usize] {
    let to_the_end = |from: i16| BLOCK - from - 1;
    // A node of it may be made or not as before: an access that is more than reading and writing is
    // not allowed here, one that is neither is not denied.
    let (access, jump, result) = match verdict {
        Verdict::Allow => (!bits(Access::BOTH), JUMP_UNLESS_VALUE, 1),
        Verdict::Deny(access) => (bits(access), JUMP_IF_VALUE, 0),
    };
    [
        instruction(LOAD_WORD, 3, 1, MAJOR, 0),
        instruction(JUMP_UNLESS_VALUE, 3, 0, to_the_end(1), devnum.major),
        instruction(LOAD_WORD, 3, 1, MINOR, 0),
        instruction(JUMP_UNLESS_VALUE, 3, 0, to_the_end(3), devnum.minor),
        instruction(LOAD_WORD, 2, 1, ACCESS, 0),
        instruction(MOVE, 3, 2, 0, 0),
        instruction(AND_VALUE, 3, 0, 0, 0xffff),
        instruction(JUMP_UNLESS_VALUE, 3, 0, to_the_end(7), CHARACTER),
        // The access is in the upper half.
        instruction(SHIFT_RIGHT_VALUE, 2, 0, 0, 16),
        instruction(AND_VALUE, 2, 0, 0, access),
        instruction(jump, 2, 0, to_the_end(10), 0),
        instruction(MOVE_VALUE, 0, 0, 0, result),
        instruction(EXIT, 0, 0, 0, 0),
    ]
}

fn bits(access: Access) -> u32 {
    let read = if access.read { READ } else { 0 };
    let write = if access.write { WRITE } else { 0 };
    read | write
}

/// The verdict that `instructions` begin with.
fn first_verdict(instructions: &[Instruction]) -> Option<(DevNum, Verdict)> {
    let begin = instructions.get(..BLOCK as usize)?;
    let devnum = DevNum {
        major: begin[1].immediate,
        minor: begin[3].immediate,
    };
    let denied = ["rw", "r", "w"].map(|letters| Verdict::Deny(letters.into()));
    let mut verdicts = [Verdict::Allow].into_iter().chain(denied);
    let is_it = |verdict: &Verdict| block(devnum, *verdict) == begin;
    Some((devnum, verdicts.find(is_it)?))
}

impl Program {
    /// Takes apart what the kernel has given back.
    ///
    /// # Errors
    /// It is no program of a container engine.
    pub fn read(instructions: &[Instruction]) -> Result<Self, Unknown> {
        let mut rest = as_loaded(instructions)?;
        let mut verdicts = BTreeMap::new();
        while let Some((devnum, verdict)) = first_verdict(&rest) {
            // The first one of a device is the one that decides.
            verdicts.entry(devnum).or_insert(verdict);
            rest.drain(..BLOCK as usize);
        }
        Ok(Self { verdicts, rest })
    }

    /// The instructions to load.
    pub fn instructions(&self) -> Vec<Instruction> {
        let verdicts = self.verdicts.iter();
        let blocks = verdicts.flat_map(|(devnum, verdict)| block(*devnum, *verdict));
        blocks.chain(self.rest.iter().copied()).collect()
    }
}

/// A move that the kernel has put in for processors of 32 bits, and takes from nobody
/// (kernel, kernel/bpf/verifier.c, `opt_subreg_zext_lo32_rnd_hi32`; include/linux/filter.h,
/// `insn_is_zext`).
fn is_put_in(instruction: &Instruction) -> bool {
    instruction.code == MOVE_32 && instruction.immediate == 1
}

/// Whether an instruction goes on elsewhere.
fn is_jump(instruction: &Instruction) -> bool {
    // BPF_JMP and BPF_JMP32, but for what ends the program.
    matches!(instruction.code & 0x07, 0x05 | 0x06) && instruction.code != EXIT
}

/// The instructions as they were loaded, without what the kernel has put in.
fn as_loaded(instructions: &[Instruction]) -> Result<Vec<Instruction>, Unknown> {
    let known = |i: &Instruction| ![CALL, JUMP_FAR, LOAD_DOUBLE].contains(&i.code);
    if !instructions.iter().all(known) {
        return Err(Unknown::Instruction);
    }
    // The new place of each instruction, and of the end.
    let mut places = Vec::with_capacity(instructions.len() + 1);
    let mut place = 0i32;
    for instruction in instructions {
        places.push(place);
        place += i32::from(!is_put_in(instruction));
    }
    places.push(place);
    let mut loaded = Vec::with_capacity(instructions.len());
    for (index, instruction) in instructions.iter().enumerate() {
        if is_put_in(instruction) {
            continue;
        }
        let mut instruction = *instruction;
        if is_jump(&instruction) {
            let target = (index + 1).checked_add_signed(instruction.offset.into());
            let target = target.filter(|target| *target < instructions.len());
            let target = places[target.ok_or(Unknown::Jump)?];
            let offset = target - places[index] - 1;
            instruction.offset = i16::try_from(offset).map_err(|_| Unknown::Jump)?;
        }
        loaded.push(instruction);
    }
    Ok(loaded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a program says, by an interpreter of the few instructions that are in use.
    fn run(program: &[Instruction], kind: u64, access: u64, devnum: DevNum) -> u64 {
        let mut registers = [0u64; 11];
        let mut at = 0;
        // No jump leads back, so that it ends.
        loop {
            let i = program[at];
            at += 1;
            let (to, from) = if cfg!(target_endian = "little") {
                (i.registers & 15, i.registers >> 4)
            } else {
                (i.registers >> 4, i.registers & 15)
            };
            let (to, from) = (usize::from(to), usize::from(from));
            let signed = i32::from_ne_bytes(i.immediate.to_ne_bytes());
            let value = u64::from_ne_bytes(i64::from(signed).to_ne_bytes());
            let mut jump = |condition: bool| {
                if condition {
                    at = at.checked_add_signed(i.offset.into()).unwrap();
                }
            };
            match i.code {
                LOAD_WORD => {
                    registers[to] = match i.offset {
                        ACCESS => access << 16 | kind,
                        MAJOR => devnum.major.into(),
                        MINOR => devnum.minor.into(),
                        offset => panic!("no field at {offset}"),
                    };
                }
                MOVE => registers[to] = registers[from],
                MOVE_32 => registers[to] = registers[from] & 0xffff_ffff,
                MOVE_VALUE => registers[to] = value,
                AND_VALUE => registers[to] &= value,
                SHIFT_RIGHT_VALUE => registers[to] >>= value,
                JUMP_IF_VALUE => jump(registers[to] == value),
                JUMP_UNLESS_VALUE => jump(registers[to] != value),
                EXIT => return registers[0],
                code => panic!("no such instruction: {code:#x}"),
            }
        }
    }

    /// A program of an engine that allows the devices of one major number.
    fn engines() -> Vec<Instruction> {
        vec![
            instruction(LOAD_WORD, 2, 1, MAJOR, 0),
            instruction(JUMP_UNLESS_VALUE, 2, 0, 2, 188),
            instruction(MOVE_VALUE, 0, 0, 0, 1),
            instruction(EXIT, 0, 0, 0, 0),
            instruction(MOVE_VALUE, 0, 0, 0, 0),
            instruction(EXIT, 0, 0, 0, 0),
        ]
    }

    fn devnum() -> impl Strategy<Value = DevNum> {
        let numbers = (prop_oneof![Just(188), Just(166), 0..4096u32], 0..4u32);
        numbers.prop_map(|(major, minor)| DevNum { major, minor })
    }

    fn verdicts() -> impl Strategy<Value = BTreeMap<DevNum, Verdict>> {
        let verdict = prop_oneof![
            Just(Verdict::Allow),
            "r|w|rw".prop_map(|letters| Verdict::Deny(letters.as_str().into())),
        ];
        proptest::collection::btree_map(devnum(), verdict, 0..6)
    }

    proptest! {
        #[test]
        fn a_verdict_decides_about_its_device_and_about_no_other(
            verdicts in verdicts(), asked in devnum(), kind in 1..3u64, access in 1..8u64,
        ) {
            let mut program = Program::read(&engines()).unwrap();
            let before = run(&engines(), kind, access, asked);
            program.verdicts = verdicts;
            let after = run(&program.instructions(), kind, access, asked);
            let expected = match program.verdicts.get(&asked) {
                Some(Verdict::Allow) if kind == 2 && access & 1 == 0 => 1,
                Some(Verdict::Deny(denied)) if kind == 2 && access & u64::from(bits(*denied)) != 0 => 0,
                _ => before,
            };
            prop_assert_eq!(after, expected);
        }

        #[test]
        fn what_was_put_in_front_is_found_again_and_taken_away(verdicts in verdicts()) {
            let mut program = Program::read(&engines()).unwrap();
            program.verdicts = verdicts;
            let mut again = Program::read(&program.instructions()).unwrap();
            prop_assert_eq!(&again, &program);
            again.verdicts.clear();
            prop_assert_eq!(again.instructions(), engines());
        }

        #[test]
        fn what_the_kernel_puts_in_is_taken_out(
            verdicts in verdicts(), asked in devnum(), access in 1..8u64,
        ) {
            let mut program = Program::read(&engines()).unwrap();
            program.verdicts = verdicts;
            // After every load, as for a processor of 32 bits; jumps lead where they did.
            let plain = program.instructions();
            let mut places = vec![0i32];
            for i in &plain {
                let length = if i.code == LOAD_WORD { 2 } else { 1 };
                places.push(places.last().unwrap() + length);
            }
            let mut with = Vec::new();
            for (index, i) in plain.iter().enumerate() {
                let mut i = *i;
                if is_jump(&i) {
                    let target = (index + 1).checked_add_signed(i.offset.into()).unwrap();
                    i.offset = i16::try_from(places[target] - places[index] - 1).unwrap();
                }
                with.push(i);
                if i.code == LOAD_WORD {
                    let to = i.registers & 15;
                    with.push(instruction(MOVE_32, to, to, 0, 1));
                }
            }
            prop_assert_eq!(run(&with, 2, access, asked), run(&plain, 2, access, asked));
            prop_assert_eq!(Program::read(&with).unwrap(), program);
        }

        #[test]
        fn no_instructions_make_the_reader_panic(
            bytes in proptest::collection::vec((any::<u8>(), any::<u8>(), any::<i16>(), any::<u32>()), 0..60),
        ) {
            let program: Vec<_> = bytes
                .into_iter()
                .map(|(code, registers, offset, immediate)| Instruction { code, registers, offset, immediate })
                .collect();
            let _ = Program::read(&program);
        }
    }

    #[test]
    fn a_program_that_calls_or_jumps_outside_is_left_alone() {
        let exit = instruction(EXIT, 0, 0, 0, 0);
        for code in [CALL, JUMP_FAR, LOAD_DOUBLE] {
            let program = [instruction(code, 0, 0, 0, 0), exit];
            assert_eq!(Program::read(&program), Err(Unknown::Instruction));
        }
        let program = [instruction(JUMP_IF_VALUE, 0, 0, 7, 0), exit];
        assert_eq!(Program::read(&program), Err(Unknown::Jump));
    }
}
