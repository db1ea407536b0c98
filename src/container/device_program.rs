//! Edits the BPF program that decides under cgroup v2 which devices a container may open. Pure.
//!
//! The kernel returns the program of a running container as instructions. ttyplugd puts verdicts on
//! single devices in front of them. For every other device these fall through to the unchanged
//! instructions of the engine (kernel, Documentation/admin-guide/cgroup-v2.rst, "Device
//! controller").

use std::collections::BTreeMap;

use crate::model::DevNum;
use crate::model::device_access::Access;

/// One BPF instruction (kernel, include/uapi/linux/bpf.h, struct bpf_insn).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    pub code: u8,
    /// The numbers of the destination and the source register, four bits each; see [`registers`].
    pub registers: u8,
    pub offset: i16,
    /// A signed number of 32 bits. The kernel extends it to 64.
    pub immediate: u32,
}

/// The decision about one device. The rest of the program is not asked then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The device may be opened for reading, writing or both.
    Allow,
    /// The device may not be opened for any of these.
    Deny(Access),
}

impl Verdict {
    /// `None` for no access. The kernel would remove the unreachable instructions of such a verdict,
    /// and it could not be recognised any more (kernel, kernel/bpf/verifier.c,
    /// `opt_remove_dead_code`).
    pub fn deny(access: Access) -> Option<Self> {
        (!access.is_none()).then_some(Self::Deny(access))
    }
}

/// A device program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// They come first.
    pub verdicts: BTreeMap<DevNum, Verdict>,
    /// The instructions of the engine.
    rest: Vec<Instruction>,
}

/// Why a program cannot be edited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    #[error("the device program has instructions that no container engine writes")]
    Instruction,
    #[error("the device program has a jump that leads out of it")]
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

// The offsets and bits of struct bpf_cgroup_dev_ctx (kernel, include/uapi/linux/bpf.h). The lower
// half of the first word is the kind of device, the upper half the access.
const ACCESS: i16 = 0;
const MAJOR: i16 = 4;
const MINOR: i16 = 8;
const CHARACTER: u32 = 2;
const READ: u32 = 2;
const WRITE: u32 = 4;

/// How many instructions a verdict has.
const BLOCK: i16 = 13;

/// A C compiler puts the first bit field of struct bpf_insn, the destination, into the low bits on a
/// little-endian machine and into the high bits on a big-endian one.
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

/// The instructions of a verdict. They may overwrite registers 2 and 3: a program begins with its
/// context in register 1, and may read no other register before it has written it (kernel,
/// Documentation/bpf/verifier.rst).
fn block(devnum: DevNum, verdict: Verdict) -> [Instruction; BLOCK as usize] {
    let to_the_end = |from: i16| BLOCK - from - 1;
    // Whether a node may be made (BPF_DEVCG_ACC_MKNOD) is left to the rest of the program: an access
    // with that bit is not allowed here, and that bit is not denied.
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

/// The verdict with which `instructions` begin.
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
    /// Splits the instructions that the kernel has returned into verdicts and the rest.
    ///
    /// # Errors
    /// The program is not one of a container engine.
    pub fn read(instructions: &[Instruction]) -> Result<Self, Unknown> {
        let mut rest = as_loaded(instructions)?;
        let mut verdicts = BTreeMap::new();
        while let Some((devnum, verdict)) = first_verdict(&rest) {
            // The first verdict on a device decides.
            verdicts.entry(devnum).or_insert(verdict);
            rest.drain(..BLOCK as usize);
        }
        Ok(Self { verdicts, rest })
    }

    /// Whether the two differ in nothing but verdicts.
    pub fn is_edit_of(&self, other: &Self) -> bool {
        self.rest == other.rest
    }

    /// The instructions to load.
    pub fn instructions(&self) -> Vec<Instruction> {
        let verdicts = self.verdicts.iter();
        let blocks = verdicts.flat_map(|(devnum, verdict)| block(*devnum, *verdict));
        blocks.chain(self.rest.iter().copied()).collect()
    }
}

/// Whether this is a move that the verifier inserts for 32-bit processors, and refuses in a program
/// to load (kernel, kernel/bpf/verifier.c, `opt_subreg_zext_lo32_rnd_hi32`;
/// include/linux/filter.h, `insn_is_zext`).
fn is_inserted(instruction: &Instruction) -> bool {
    instruction.code == MOVE_32 && instruction.immediate == 1
}

/// Whether an instruction jumps.
fn is_jump(instruction: &Instruction) -> bool {
    // The classes BPF_JMP and BPF_JMP32 without BPF_EXIT.
    matches!(instruction.code & 0x07, 0x05 | 0x06) && instruction.code != EXIT
}

/// The instructions as they were loaded, without those that the verifier has inserted.
fn as_loaded(instructions: &[Instruction]) -> Result<Vec<Instruction>, Unknown> {
    let known = |i: &Instruction| ![CALL, JUMP_FAR, LOAD_DOUBLE].contains(&i.code);
    if !instructions.iter().all(known) {
        return Err(Unknown::Instruction);
    }
    // The new index of each instruction, and of the end.
    let mut indexes = Vec::with_capacity(instructions.len() + 1);
    let mut next = 0i32;
    for instruction in instructions {
        indexes.push(next);
        next += i32::from(!is_inserted(instruction));
    }
    indexes.push(next);
    let mut loaded = Vec::with_capacity(instructions.len());
    for (index, instruction) in instructions.iter().enumerate() {
        if is_inserted(instruction) {
            continue;
        }
        let mut instruction = *instruction;
        if is_jump(&instruction) {
            let target = (index + 1).checked_add_signed(instruction.offset.into());
            let target = target.and_then(|target| indexes.get(target));
            let target = target.filter(|target| **target < next);
            let offset = target.ok_or(Unknown::Jump)? - indexes[index] - 1;
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

    /// Interprets a program, and returns its answer.
    fn run(program: &[Instruction], kind: u64, access: u64, devnum: DevNum) -> u64 {
        let mut registers = [0u64; 11];
        let mut at = 0;
        // It ends, since no jump leads back.
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
        fn verdicts_are_recognised_and_removed(verdicts in verdicts()) {
            let mut program = Program::read(&engines()).unwrap();
            program.verdicts = verdicts;
            let mut again = Program::read(&program.instructions()).unwrap();
            prop_assert_eq!(&again, &program);
            again.verdicts.clear();
            prop_assert_eq!(again.instructions(), engines());
        }

        #[test]
        fn inserted_instructions_are_removed(
            verdicts in verdicts(), asked in devnum(), access in 1..8u64,
        ) {
            let mut program = Program::read(&engines()).unwrap();
            program.verdicts = verdicts;
            // One after every load, as for a 32-bit processor; the jumps keep their targets.
            let plain = program.instructions();
            let mut indexes = vec![0i32];
            for i in &plain {
                let length = if i.code == LOAD_WORD { 2 } else { 1 };
                indexes.push(indexes.last().unwrap() + length);
            }
            let mut with = Vec::new();
            for (index, i) in plain.iter().enumerate() {
                let mut i = *i;
                if is_jump(&i) {
                    let target = (index + 1).checked_add_signed(i.offset.into()).unwrap();
                    i.offset = i16::try_from(indexes[target] - indexes[index] - 1).unwrap();
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
        let jump = |offset| instruction(JUMP_IF_VALUE, 0, 0, offset, 0);
        let inserted = instruction(MOVE_32, 1, 1, 0, 1);
        for program in [vec![jump(7), exit], vec![jump(1), exit, inserted]] {
            assert_eq!(Program::read(&program), Err(Unknown::Jump));
        }
    }
}
