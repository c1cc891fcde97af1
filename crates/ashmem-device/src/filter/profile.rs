//! The rules as a seccomp profile for container runtimes: the `linux.seccomp` object of the OCI runtime specification
//! (`config-linux.md`, "Seccomp"), which is also what Docker's and Podman's profile files look like.
//!
//! libseccomp says nothing of the order in which it tries overlapping rules of one call, and refuses two conditions for one argument
//! in a rule (runc and crun then make alternatives of them). So all rules here have one condition for an argument, and where a call
//! is let through by a rule of its own, that rule holds exactly where ours do not.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Abi, Condition, HIGH, rules};

/// What the agent is told with each container (`listenerMetadata`).
const METADATA: &str = "ashmem";

/// runc refuses a profile that has somebody look at it: it tells of its notifications with this call.
const NOT_IN_CONTAINERS: &str = "write";

const ALLOW: &str = "SCMP_ACT_ALLOW";
const LOG: &str = "SCMP_ACT_LOG";
const NOTIFY: &str = "SCMP_ACT_NOTIFY";

/// Why the rules cannot be added to a profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BaseError {
    /// It is something else.
    #[error("this is no seccomp profile: {0}")]
    NoProfile(&'static str),
    /// The kernel allows one listener.
    #[error("the profile has another agent look at system calls already")]
    Listening,
    /// Two conditions for one argument are more than libseccomp takes.
    #[error(
        "the profile decides {call} by its arguments, which cannot be joined with the rules of the device"
    )]
    Conditional {
        /// The system call.
        call: String,
    },
}

/// The profile that has the agent at `socket` look at the calls of the rules, and forbids nothing.
///
/// That is a weaker sandbox than container engines set up by default; see [`add_to`].
#[must_use]
pub fn profile(abis: &[Abi], socket: &Path) -> Value {
    let mut architectures: Vec<&str> = abis.iter().copied().map(name_of).collect();
    if abis.contains(&Abi::X86_64) {
        // An architecture that is not named is killed. Nobody looks at x32's calls.
        architectures.push("SCMP_ARCH_X32");
    }
    let syscalls: Vec<Value> =
        grouped(&looked_at(abis)).into_iter().flat_map(|group| notify(&Map::new(), &group)).collect();
    json!({
        "defaultAction": ALLOW,
        "architectures": architectures,
        "listenerPath": socket.to_string_lossy(),
        "listenerMetadata": METADATA,
        "syscalls": syscalls,
    })
}

/// The profile `base` with the rules added to it: the agent looks at calls that `base` lets through. It forbids what `base` forbids,
/// except that an agent may carry out what it looks at; ours has the kernel do it, or refuses.
///
/// # Errors
/// See [`BaseError`].
pub fn add_to(base: Value, abis: &[Abi], socket: &Path) -> Result<Value, BaseError> {
    let Value::Object(mut profile) = base else { return Err(BaseError::NoProfile("it is no object")) };
    let default = match profile.get("defaultAction") {
        Some(Value::String(action)) if action == NOTIFY => return Err(BaseError::Listening),
        Some(Value::String(action)) if !action.is_empty() => action.clone(),
        _ => return Err(BaseError::NoProfile("it has no defaultAction")),
    };
    if profile.get("listenerPath").is_some_and(|path| path.as_str() != Some("")) {
        return Err(BaseError::Listening);
    }
    let entries = match profile.remove("syscalls") {
        Some(Value::Array(entries)) => entries,
        None | Some(Value::Null) => Vec::new(),
        Some(_) => return Err(BaseError::NoProfile("its syscalls are no list")),
    };
    let ours = looked_at(abis);
    let mut unnamed = ours.clone();
    let mut syscalls = Vec::new();
    for entry in entries {
        let Value::Object(entry) = entry else {
            return Err(BaseError::NoProfile("its syscalls have something that is no object"));
        };
        let names = names(&entry);
        unnamed.retain(|name, _| !names.iter().any(|named| named == name));
        replace(entry, &names, &ours, &default, &mut syscalls)?;
    }
    if passes(&default) {
        syscalls.extend(grouped(&unnamed).into_iter().flat_map(|group| notify(&Map::new(), &group)));
    }
    profile.insert("syscalls".into(), Value::Array(syscalls));
    profile.insert("listenerPath".into(), json!(socket.to_string_lossy()));
    profile.insert("listenerMetadata".into(), json!(METADATA));
    Ok(Value::Object(profile))
}

/// An entry of the base, without what we look at, and rules for that in its place.
fn replace(
    mut entry: Map<String, Value>,
    names: &[String],
    ours: &Calls,
    default: &str,
    syscalls: &mut Vec<Value>,
) -> Result<(), BaseError> {
    let action = entry.get("action").and_then(Value::as_str).unwrap_or_default().to_owned();
    if action == NOTIFY {
        return Err(BaseError::Listening);
    }
    let (looked_at, others): (Vec<&str>, Vec<&str>) =
        names.iter().map(String::as_str).partition(|name| ours.contains_key(name));
    if let Some(call) = looked_at.first() {
        let unconditional =
            entry.get("args").is_none_or(|args| args.as_array().map_or(args.is_null(), Vec::is_empty));
        if !unconditional {
            return Err(BaseError::Conditional { call: (*call).to_owned() });
        }
    }
    if looked_at.is_empty() || !passes(&action) {
        syscalls.push(Value::Object(entry));
        return Ok(());
    }
    if !others.is_empty() {
        let mut rest = entry.clone();
        rest.remove("name");
        rest.insert("names".into(), json!(others));
        syscalls.push(Value::Object(rest));
    }
    // What remains says when the entry counts (`includes`, `excludes`).
    entry.retain(|key, _| !["name", "names", "args", "action", "comment"].contains(&key.as_str()));
    let calls = ours.iter().filter(|(name, _)| looked_at.contains(name));
    let calls: Calls = calls.map(|(name, alternatives)| (*name, alternatives.clone())).collect();
    for group in grouped(&calls) {
        // These first: the other way round, libseccomp 2.5.4 loses rules with two arguments on 32-bit architectures. Runtimes leave
        // out those that say what the default is.
        if action != default {
            let rest = complement(&group.alternatives);
            syscalls.extend(rest.into_iter().map(|args| rule(&entry, &group.names, &action, args)));
        }
        syscalls.extend(notify(&entry, &group));
    }
    Ok(())
}

/// Names as libseccomp has them, with the conditions under which a call is looked at: each list is enough.
type Calls = BTreeMap<&'static str, Vec<Vec<Condition>>>;

/// Calls that are looked at under the same conditions.
struct Group {
    names: Vec<&'static str>,
    alternatives: Vec<Vec<Condition>>,
}

/// A profile goes by names. `mmap` is another call on i386, an old one; there it is what it is on x86-64.
fn looked_at(abis: &[Abi]) -> Calls {
    let rules = rules();
    let mut calls = Calls::new();
    for row in abis.iter().flat_map(|abi| abi.numbers()).filter(|row| row.name != NOT_IN_CONTAINERS) {
        calls.entry(row.name).or_insert_with(|| {
            let rules = rules.iter().filter(|rule| rule.call == row.call);
            rules.map(|rule| rule.conditions.clone()).collect()
        });
    }
    calls
}

fn grouped(calls: &Calls) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (name, alternatives) in calls {
        match groups.iter_mut().find(|group| group.alternatives == *alternatives) {
            Some(group) => group.names.push(name),
            None => groups.push(Group { names: vec![name], alternatives: alternatives.clone() }),
        }
    }
    groups
}

fn notify(template: &Map<String, Value>, group: &Group) -> Vec<Value> {
    let alternatives = group.alternatives.iter();
    let args = alternatives.map(|conditions| conditions.iter().map(|&condition| holds(condition)).collect());
    args.map(|args| rule(template, &group.names, NOTIFY, args)).collect()
}

fn rule(template: &Map<String, Value>, names: &[&str], action: &str, args: Vec<Value>) -> Value {
    let mut rule = template.clone();
    if action == NOTIFY {
        // Belongs to the action that was.
        rule.retain(|key, _| key != "errnoRet" && key != "errno");
    }
    rule.insert("names".into(), json!(names));
    rule.insert("action".into(), json!(action));
    if !args.is_empty() {
        rule.insert("args".into(), Value::Array(args));
    }
    Value::Object(rule)
}

/// A condition in libseccomp's terms. It compares 64 bits: a negative descriptor is high here, and whoever looks at it lets it fail.
fn holds(condition: Condition) -> Value {
    match condition {
        Condition::High(argument) => {
            json!({ "index": argument, "op": "SCMP_CMP_GE", "value": HIGH, "valueTwo": 0 })
        }
        Condition::Masked { argument, mask, value } => masked(argument, mask, value),
    }
}

fn masked(argument: u8, mask: u32, value: u32) -> Value {
    json!({ "index": argument, "op": "SCMP_CMP_MASKED_EQ", "value": mask, "valueTwo": value })
}

/// What can be asked of an argument and has two answers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Question {
    High(u8),
    Bit(u8, u32),
}

type Answers = BTreeMap<Question, bool>;

/// The arguments of rules that hold exactly where none of the alternatives does.
fn complement(alternatives: &[Vec<Condition>]) -> Vec<Vec<Value>> {
    let alternatives = alternatives.iter().map(|conditions| {
        let answers = conditions.iter().flat_map(|&condition| match condition {
            Condition::High(argument) => vec![(Question::High(argument), true)],
            Condition::Masked { argument, mask, value } => {
                let bits = (0..u32::BITS).filter(|bit| mask & (1 << bit) != 0);
                bits.map(|bit| (Question::Bit(argument, bit), value & (1 << bit) != 0)).collect()
            }
        });
        answers.collect()
    });
    let mut found = Vec::new();
    exclude(&alternatives.collect::<Vec<Answers>>(), &mut Answers::new(), &mut found);
    found.iter().map(arguments).collect()
}

/// Answers one question both ways, the one on which most depends, until it is clear whether an alternative holds.
fn exclude(alternatives: &[Answers], given: &mut Answers, found: &mut Vec<Answers>) {
    if alternatives.iter().any(Answers::is_empty) {
        return;
    }
    let mut counts: BTreeMap<Question, usize> = BTreeMap::new();
    alternatives
        .iter()
        .flat_map(Answers::keys)
        .for_each(|&question| *counts.entry(question).or_default() += 1);
    let Some((&question, _)) = counts.iter().max_by_key(|(_, count)| **count) else {
        found.push(given.clone());
        return;
    };
    for answer in [false, true] {
        let remaining =
            alternatives.iter().filter(|wanted| wanted.get(&question).is_none_or(|is| *is == answer));
        let mut remaining: Vec<Answers> = remaining.cloned().collect();
        for wanted in &mut remaining {
            wanted.remove(&question);
        }
        given.insert(question, answer);
        exclude(&remaining, given, found);
        given.remove(&question);
    }
}

fn arguments(answers: &Answers) -> Vec<Value> {
    let mut bits: BTreeMap<u8, (u32, u32)> = BTreeMap::new();
    let mut arguments = Vec::new();
    for (question, &answer) in answers {
        match *question {
            Question::High(argument) if answer => arguments.push(holds(Condition::High(argument))),
            Question::High(argument) => {
                arguments
                    .push(json!({ "index": argument, "op": "SCMP_CMP_LT", "value": HIGH, "valueTwo": 0 }));
            }
            Question::Bit(argument, bit) => {
                let (mask, value) = bits.entry(argument).or_default();
                *mask |= 1 << bit;
                *value |= u32::from(answer) << bit;
            }
        }
    }
    arguments.extend(bits.into_iter().map(|(argument, (mask, value))| masked(argument, mask, value)));
    arguments
}

fn passes(action: &str) -> bool {
    action == ALLOW || action == LOG
}

fn names(entry: &Map<String, Value>) -> Vec<String> {
    let listed = entry.get("names").and_then(Value::as_array).into_iter().flatten();
    // Docker's older profiles have one name an entry.
    let names = listed.chain(entry.get("name")).filter_map(Value::as_str);
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn name_of(abi: Abi) -> &'static str {
    match abi {
        Abi::X86_64 => "SCMP_ARCH_X86_64",
        Abi::I386 => "SCMP_ARCH_X86",
        Abi::Aarch64 => "SCMP_ARCH_AARCH64",
        Abi::Arm => "SCMP_ARCH_ARM",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::filter::Call;

    const MACHINES: [(&str, [Abi; 2]); 2] =
        [("x86_64", [Abi::X86_64, Abi::I386]), ("aarch64", [Abi::Aarch64, Abi::Arm])];

    fn socket() -> &'static Path {
        Path::new("/run/ashmem/seccomp-agent.sock")
    }

    #[test]
    fn the_shipped_profiles_are_these() {
        for (machine, abis) in MACHINES {
            let path = format!("{}/../../contrib/seccomp/ashmem.{machine}.json", env!("CARGO_MANIFEST_DIR"));
            let made = format!("{:#}\n", profile(&abis, socket()));
            if std::env::var_os("WRITE_PROFILES").is_some() {
                std::fs::write(&path, &made).expect("written");
            }
            let shipped = std::fs::read_to_string(&path).expect("a shipped profile");
            assert!(
                shipped == made,
                "{path} is not what is made of the rules: test again with WRITE_PROFILES=1"
            );
        }
    }

    /// Whether a rule holds, as libseccomp has it.
    fn matches(rule: &Value, arguments: [u64; 6]) -> bool {
        let number = |value: &Value| value.as_u64().expect("a number");
        rule["args"].as_array().into_iter().flatten().all(|arg| {
            let (value, two) = (number(&arg["value"]), number(&arg["valueTwo"]));
            let argument = arguments[number(&arg["index"]) as usize];
            match arg["op"].as_str().expect("an operator") {
                "SCMP_CMP_GE" => argument >= value,
                "SCMP_CMP_LT" => argument < value,
                "SCMP_CMP_MASKED_EQ" => argument & value == two,
                op => panic!("{op}"),
            }
        })
    }

    /// The actions of all rules that hold.
    fn actions(profile: &Value, name: &str, arguments: [u64; 6]) -> Vec<String> {
        let rules = profile["syscalls"].as_array().expect("rules").iter();
        let rules =
            rules.filter(|rule| names(rule.as_object().expect("a rule")).iter().any(|has| has == name));
        let matching = rules.filter(|rule| matches(rule, arguments));
        let mut actions: Vec<String> =
            matching.map(|rule| rule["action"].as_str().expect("an action").to_owned()).collect();
        actions.dedup();
        actions
    }

    /// An ordinary caller's argument, or any.
    fn argument() -> impl Strategy<Value = u64> {
        prop_oneof![
            any::<u64>(),
            0_u64..2000,
            Just(u64::MAX),
            (0_u64..64).prop_map(|number| 0x7700 + number),
            prop::sample::select(vec![libc::F_ADD_SEALS, libc::F_GET_SEALS, libc::F_DUPFD_CLOEXEC])
                .prop_map(|command| command as u64),
        ]
    }

    fn allowing_base() -> Value {
        let names: Vec<&str> = looked_at(&MACHINES[0].1).keys().copied().chain(["close", "write"]).collect();
        json!({
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
            "archMap": [{ "architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"] }],
            "syscalls": [{ "names": names, "action": "SCMP_ACT_ALLOW", "args": [], "includes": { "caps": ["CAP_X"] } }],
        })
    }

    proptest! {
        #[test]
        fn exactly_one_rule_decides_and_it_is_the_right_one(
            place in any::<prop::sample::Index>(),
            arguments in prop::array::uniform6(argument()),
        ) {
            let abis = &MACHINES[0].1;
            let calls: Vec<_> = looked_at(abis).into_iter().collect();
            let (name, alternatives) = &calls[place.index(calls.len())];
            let looks = alternatives.iter().any(|conditions| conditions.iter().all(|&condition| match condition {
                Condition::High(argument) => arguments[usize::from(argument)] >= u64::from(HIGH),
                Condition::Masked { argument, mask, value } => arguments[usize::from(argument)] as u32 & mask == value,
            }));
            let merged = add_to(allowing_base(), abis, socket()).expect("a profile");
            let expected = if looks { NOTIFY } else { ALLOW };
            prop_assert_eq!(actions(&merged, name, arguments), vec![expected], "{}", name);
            let alone = profile(abis, socket());
            prop_assert_eq!(!actions(&alone, name, arguments).is_empty(), looks, "{}", name);
        }
    }

    #[test]
    fn rules_have_one_condition_for_an_argument() {
        for (_, abis) in MACHINES {
            for profile in
                [profile(&abis, socket()), add_to(allowing_base(), &abis, socket()).expect("a profile")]
            {
                for rule in profile["syscalls"].as_array().expect("rules") {
                    let args = rule["args"].as_array().into_iter().flatten();
                    let mut indices: Vec<u64> =
                        args.map(|arg| arg["index"].as_u64().expect("a number")).collect();
                    indices.sort_unstable();
                    assert!(indices.windows(2).all(|pair| pair[0] != pair[1]), "{rule}");
                }
            }
        }
    }

    #[test]
    fn a_base_keeps_what_it_has() {
        let merged = add_to(allowing_base(), &MACHINES[0].1, socket()).expect("a profile");
        assert_eq!(merged["defaultErrnoRet"], 38);
        assert_eq!(merged["listenerPath"], "/run/ashmem/seccomp-agent.sock");
        assert_eq!(actions(&merged, "close", [0; 6]), [ALLOW]);
        assert_eq!(actions(&merged, "write", [1000; 6]), [ALLOW], "runc refuses more");
        assert_eq!(actions(&merged, "openat", [0; 6]), [NOTIFY]);
        let rules = merged["syscalls"].as_array().expect("rules");
        assert!(rules.iter().all(|rule| rule["includes"]["caps"][0] == "CAP_X"));
    }

    #[test]
    fn what_a_base_forbids_stays_forbidden() {
        let base = json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
            { "names": ["read"], "action": "SCMP_ACT_ALLOW" },
            { "names": ["openat"], "action": "SCMP_ACT_KILL" },
        ]});
        let merged = add_to(base, &MACHINES[0].1, socket()).expect("a profile");
        assert_eq!(actions(&merged, "openat", [0; 6]), ["SCMP_ACT_KILL"]);
        assert!(actions(&merged, "ioctl", [1000; 6]).is_empty());
        assert_eq!(actions(&merged, "read", [1000; 6]), [NOTIFY]);
        assert_eq!(actions(&merged, "read", [1; 6]), [ALLOW]);
        // Where everything passes that is not named, what is named by nobody is looked at.
        let base = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            { "name": "openat", "action": "SCMP_ACT_ERRNO", "errnoRet": 1 },
            { "name": "fstat", "action": "SCMP_ACT_LOG", "args": null },
        ]});
        let merged = add_to(base, &MACHINES[0].1, socket()).expect("a profile");
        assert_eq!(actions(&merged, "openat", [0; 6]), ["SCMP_ACT_ERRNO"]);
        assert_eq!(actions(&merged, "fstat", [0; 6]), [NOTIFY]);
        assert_eq!(actions(&merged, "ioctl", [1000; 6]), [NOTIFY]);
    }

    #[test]
    fn bases_that_cannot_be_added_to() {
        let rule = |rule: Value| json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule] });
        let args = json!([{ "index": 1, "op": "SCMP_CMP_EQ", "value": 0x5412 }]);
        for (base, expected) in [
            (json!({ "defaultAction": NOTIFY }), BaseError::Listening),
            (json!({ "defaultAction": ALLOW, "listenerPath": "/x" }), BaseError::Listening),
            (rule(json!({ "names": ["mkdir"], "action": NOTIFY })), BaseError::Listening),
            (
                rule(json!({ "names": ["ioctl"], "action": "SCMP_ACT_ERRNO", "args": args })),
                BaseError::Conditional { call: "ioctl".into() },
            ),
        ] {
            assert_eq!(add_to(base, &MACHINES[0].1, socket()), Err(expected));
        }
        for base in [json!([]), json!({}), json!({ "defaultAction": ALLOW, "syscalls": 1 }), rule(json!(1))] {
            assert!(matches!(add_to(base, &MACHINES[0].1, socket()), Err(BaseError::NoProfile(_))));
        }
    }

    #[test]
    fn runc_takes_it() {
        for (_, abis) in MACHINES {
            let profile = profile(&abis, socket()).to_string();
            assert!(!profile.contains("\"write\"") && profile.contains("\"read\""));
        }
        assert!(
            Abi::X86_64.numbers().iter().any(|row| row.call == Call::Write && row.name == NOT_IN_CONTAINERS)
        );
    }
}
