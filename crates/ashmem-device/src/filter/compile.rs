//! The rules as a program for seccomp.

use super::{Abi, Call, Condition, HIGH, rules};
use crate::filter::numbers::Number;
use crate::sys::Instruction;

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// Places in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

const ALLOW: Instruction =
    Instruction { code: RETURN, if_true: 0, if_false: 0, operand: libc::SECCOMP_RET_ALLOW };
const NOTIFY: Instruction =
    Instruction { code: RETURN, if_true: 0, if_false: 0, operand: libc::SECCOMP_RET_USER_NOTIF };

/// The program that has somebody look at the calls of the rules, from programs of the given interfaces, and lets everything else pass.
///
/// What is never looked at is decided by its number alone, so the kernel need not even run the program for it (Linux 5.11).
#[must_use]
pub fn compile(abis: &[Abi]) -> Vec<Instruction> {
    let mut program = vec![statement(LOAD, ARCHITECTURE)];
    for abi in abis {
        let mut body = vec![statement(LOAD, NUMBER)];
        // What programs do most comes first.
        let (often, others): (Vec<Number>, Vec<Number>) =
            abi.numbers().iter().partition(|row| matches!(row.call, Call::Read | Call::Write));
        for row in &often {
            let decision = decide(row);
            body.push(compare(EQUAL, row.number as u32, 0, decision.len() as u8));
            body.extend(decision);
        }
        body.extend(search(&others));
        program.push(compare(EQUAL, abi.audit(), 1, 0));
        program.push(statement(JUMP, body.len() as u32));
        program.extend(body);
    }
    program.push(ALLOW);
    program
}

/// Finds the number by bisection: a loaded number goes in, a decision comes out.
fn search(numbers: &[Number]) -> Vec<Instruction> {
    match numbers {
        [] => vec![ALLOW],
        [row] => {
            let mut body = vec![compare(EQUAL, row.number as u32, 1, 0), ALLOW];
            body.extend(decide(row));
            body
        }
        _ => {
            let (low, high) = numbers.split_at(numbers.len() / 2);
            let (low, middle) = (search(low), high[0].number as u32);
            let mut body = vec![compare(AT_LEAST, middle, 0, 1), statement(JUMP, low.len() as u32)];
            body.extend(low);
            body.extend(search(high));
            body
        }
    }
}

/// Looks at the arguments, once the call is known.
fn decide(row: &Number) -> Vec<Instruction> {
    let mut body = Vec::new();
    for rule in rules().into_iter().filter(|rule| rule.call == row.call) {
        if rule.conditions.is_empty() {
            return vec![NOTIFY];
        }
        let mut alternative = Vec::new();
        for condition in rule.conditions.iter().rev() {
            // What follows, up to the notification, is skipped where this does not hold.
            let rest = alternative.len() as u8 + 1;
            let mut check = match *condition {
                // A negative number is no descriptor.
                Condition::High(argument) => vec![
                    load(argument),
                    compare(AT_LEAST, 1 << 31, rest + 1, 0),
                    compare(AT_LEAST, HIGH, 0, rest),
                ],
                Condition::Masked { argument, mask, value } => {
                    vec![load(argument), statement(AND, mask), compare(EQUAL, value, 0, rest)]
                }
            };
            check.extend(alternative);
            alternative = check;
        }
        body.extend(alternative);
        body.push(NOTIFY);
    }
    body.push(ALLOW);
    body
}

/// The lower half of an argument.
fn load(argument: u8) -> Instruction {
    let half = if cfg!(target_endian = "little") { 0 } else { 4 };
    statement(LOAD, ARGUMENTS + 8 * u32::from(argument) + half)
}

fn statement(code: u16, operand: u32) -> Instruction {
    Instruction { code, if_true: 0, if_false: 0, operand }
}

fn compare(code: u16, operand: u32, if_true: u8, if_false: u8) -> Instruction {
    Instruction { code, if_true, if_false, operand }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Runs a program as the kernel would.
    fn run(program: &[Instruction], architecture: u32, number: i32, arguments: [u64; 6]) -> u32 {
        let (mut place, mut value) = (0, 0_u32);
        loop {
            let line = program[place];
            place += 1;
            let skip = |holds: bool| usize::from(if holds { line.if_true } else { line.if_false });
            match line.code {
                LOAD if line.operand == NUMBER => value = number as u32,
                LOAD if line.operand == ARCHITECTURE => value = architecture,
                LOAD => value = arguments[((line.operand - ARGUMENTS) / 8) as usize] as u32,
                AND => value &= line.operand,
                JUMP => place += line.operand as usize,
                EQUAL => place += skip(value == line.operand),
                AT_LEAST => place += skip(value >= line.operand),
                RETURN => return line.operand,
                code => panic!("unknown code {code}"),
            }
        }
    }

    fn holds(condition: Condition, arguments: [u64; 6]) -> bool {
        match condition {
            Condition::High(argument) => arguments[usize::from(argument)] as i32 >= HIGH as i32,
            Condition::Masked { argument, mask, value } => {
                arguments[usize::from(argument)] as u32 & mask == value
            }
        }
    }

    fn expected(abi: Abi, number: i32, arguments: [u64; 6]) -> u32 {
        let Some(row) = abi.call(number) else { return libc::SECCOMP_RET_ALLOW };
        let mut rules = rules().into_iter().filter(|rule| rule.call == row.call);
        let looked_at =
            rules.any(|rule| rule.conditions.iter().all(|&condition| holds(condition, arguments)));
        if looked_at { libc::SECCOMP_RET_USER_NOTIF } else { libc::SECCOMP_RET_ALLOW }
    }

    fn argument() -> impl Strategy<Value = u64> {
        prop_oneof![
            any::<u64>(),
            0_u64..2000,
            Just(u64::MAX),
            (0_u64..64).prop_map(|number| 0x7700 + number),
            (0_u64..16).prop_map(|number| 0x4008_7700 + number),
            Just(libc::F_GET_SEALS as u64),
            Just(libc::F_DUPFD_CLOEXEC as u64),
        ]
    }

    proptest! {
        #[test]
        fn the_program_says_what_the_rules_say(
            number in -1..500_i32,
            arguments in prop::array::uniform6(argument()),
        ) {
            for abis in [&[Abi::X86_64, Abi::I386], &[Abi::Aarch64, Abi::Arm]] {
                let program = compile(abis);
                for &abi in abis {
                    prop_assert_eq!(run(&program, abi.audit(), number, arguments), expected(abi, number, arguments));
                }
                prop_assert_eq!(run(&program, 0, number, arguments), libc::SECCOMP_RET_ALLOW);
            }
        }
    }

    #[test]
    fn programs_fit_the_kernel_s_limit() {
        assert!(compile(Abi::native()).len() < 4096);
    }
}
