//! A program on the model, line by line beside a trace of it.

use ashmem_device::model::Flavour;

use crate::kernel::Kernel;
use crate::language::Operation;
use crate::operations::perform;

/// Lines of all traces, of which these were compared.
#[derive(Default)]
pub struct Count {
    pub operations: usize,
    pub compared: usize,
    pub remarks: usize,
}

/// Performs a program on the model and compares with a trace; a list of differences.
pub fn replay(program: &str, trace: &str, flavour: Flavour, count: &mut Count) -> Vec<String> {
    let mut differences = Vec::new();
    let mut kernel = Kernel::new(flavour);
    let mut recorded = trace.lines().skip(1).peekable();
    let mut number = 0;
    for line in program.lines().filter(|line| !line.is_empty()) {
        let expected = recorded.next().expect("the trace is shorter than its program");
        if line.starts_with('#') {
            assert_eq!(line, expected);
            continue;
        }
        number += 1;
        count.operations += 1;
        let remark = recorded.next_if(|line| line.starts_with("#~"));
        let printed = perform(&mut kernel, &Operation::parse(line));
        let head = format!("{number:04} {line}  => ");
        assert!(expected.starts_with(&head), "{expected} belongs to another program");
        if let Some(text) = printed.text {
            count.compared += 1;
            if expected[head.len()..] != text {
                differences.push(format!("{expected} | {text}"));
            }
        }
        if let Some(text) = printed.remark {
            count.remarks += 1;
            if remark != Some(text.as_str()) {
                differences.push(format!("{remark:?} | {text}"));
            }
        }
    }
    assert_eq!(recorded.next(), Some(format!("# end {number} ops").as_str()));
    differences
}
