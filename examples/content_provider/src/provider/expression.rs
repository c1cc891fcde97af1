//! Which texts are taken for the expression of a selection.
//!
//! The text becomes a part of a statement, between parentheses. So it must be one expression that ends where it ends: parentheses are
//! balanced and nothing is a comment, a quoted text, or another statement. That values are bound and never part of the text is a
//! rule for whoever writes the client: what cannot be written cannot be injected either.

use super::failure::{Failure, Result};
use crate::Refusal;

/// Words that would begin a query inside of the expression.
const FORBIDDEN: [&str; 3] = ["SELECT", "WITH", "VALUES"];
/// Characters that are operators, or separate.
const PUNCTUATION: &str = "=<>!+-*/%|&~.,";

/// Checks an expression, and counts its `?`.
pub(super) fn check(text: &str) -> Result<usize> {
    let refuse = |reason: &str| Err(Failure::new(Refusal::Selection, reason));
    let mut characters = text.chars().peekable();
    let (mut depth, mut parameters, mut tokens) = (0u32, 0, 0u32);
    while let Some(character) = characters.next() {
        if !matches!(character, ' ' | '\t' | '\n' | '\r') {
            tokens += 1;
        }
        match character {
            ' ' | '\t' | '\n' | '\r' => {}
            '(' => depth += 1,
            ')' => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return refuse("there is a ) without a ("),
            },
            '?' => {
                parameters += 1;
                if characters.next_if(char::is_ascii_digit).is_some() {
                    return refuse("parameters have no numbers");
                }
            }
            '"' => loop {
                // A doubled quote in the name ends one and begins another, which comes to the same.
                match characters.next() {
                    Some('"') => break,
                    Some('\0') | None => return refuse("a quoted name does not end"),
                    Some(_) => {}
                }
            },
            '\'' => return refuse("texts are not written, but bound: ? and an argument"),
            '-' | '/' if characters.peek() == Some(if character == '-' { &'-' } else { &'*' }) => {
                return refuse("there are no comments");
            }
            _ if PUNCTUATION.contains(character) => {}
            _ if character.is_ascii_digit() => {
                return refuse("numbers are not written, but bound: ? and an argument");
            }
            // SQLite takes it for a space.
            '\u{feff}' => return refuse("it has a byte order mark"),
            _ if is_word(character) => {
                let mut word = String::from(character);
                while let Some(next) = characters.next_if(|next| is_word(*next)) {
                    word.push(next);
                }
                if FORBIDDEN.iter().any(|forbidden| word.eq_ignore_ascii_case(forbidden)) {
                    return refuse("there are no queries in it");
                }
                if characters.peek() == Some(&'\'') {
                    return refuse("blobs are not written, but bound: ? and an argument");
                }
            }
            _ => return refuse("it has a character that expressions have not"),
        }
    }
    if depth > 0 {
        return refuse("there is a ( without a )");
    }
    if tokens == 0 {
        return refuse("it is empty");
    }
    Ok(parameters)
}

/// What SQLite takes for a part of a name. All bytes of other characters than ASCII are.
fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_' || !character.is_ascii()
}

/// A name as SQL has it, whatever is in it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rusqlite::Connection;

    use super::*;

    #[test]
    fn expressions_are_taken() {
        for (text, parameters) in [
            ("id = ?", 1),
            ("age >= ? AND (name LIKE ? OR name IS NULL)", 2),
            ("\"first name\" = ? COLLATE NOCASE", 1),
            ("id IN (?,?,?)", 3),
            ("a - b > -?", 1),
            ("a -\n-b", 0),
            ("größe<>?", 1),
            ("\"a\"\"b\" NOTNULL", 0),
            ("t.id / ? = ? * x2", 2),
            ("abs(a) BETWEEN ? AND ?", 2),
        ] {
            assert_eq!(check(text), Ok(parameters), "{text}");
        }
    }

    #[test]
    fn others_are_refused() {
        for text in [
            "",
            " \n",
            "id = 1",
            "name = 'x'",
            "x'00'",
            "X'00' = a",
            "a = ?1",
            "a = :name",
            "a = @name",
            "a = $name",
            "1) OR (1",
            "(a",
            "a)",
            "a; DROP TABLE t",
            "a -- b",
            "a /* b */",
            "a = (SELECT b)",
            "a IN (vAlues (?))",
            "a IN (WITH x AS (y) z)",
            "[a]",
            "`a`",
            "\"a",
            "a\0",
            "a \u{b} b",
            "#a",
            "\u{feff}SELECT",
            "a = \u{feff}1",
            "{a}",
            "a\\b",
            "0x1f",
            ".5",
        ] {
            assert_eq!(check(text).unwrap_err().refusal, Refusal::Selection, "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

        /// What is taken, and is SQL, stays between its parentheses: it is one statement, which writes nothing, with as many
        /// parameters, and `AND` binds weaker than all that is in it.
        #[test]
        fn what_is_taken_is_one_expression(
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    "a", "b", "?", "(", ")", "=", "-", "-", "/", "*", "OR", "AND", "\"a\"", "\"", "'", ";", ",", " ", "\n", "1",
                    "IN", "SELECT", "FROM", "t", "UNION", "NOT", "NULL", "DELETE", "--", "/*", "LIKE", "ORDER", "BY", "LIMIT",
                ]),
                1..12,
            ),
        ) {
            let text = parts.join(" ");
            let Ok(parameters) = check(&text) else { return Ok(()) };
            let connection = Connection::open_in_memory().unwrap();
            connection.execute_batch("CREATE TABLE t (a, b); INSERT INTO t VALUES (1, 2), (NULL, 0)").unwrap();
            let Ok(mut statement) = connection.prepare(&format!("SELECT a FROM t WHERE ({text}) AND NULL")) else {
                return Ok(());
            };
            prop_assert!(statement.readonly());
            prop_assert_eq!(statement.parameter_count(), parameters);
            let none = vec![rusqlite::types::Null; parameters];
            let mut rows = statement.query(rusqlite::params_from_iter(none)).unwrap();
            // Whatever the expression says, AND NULL leaves no row.
            if let Ok(row) = rows.next() {
                prop_assert!(row.is_none(), "{}", text);
            }
        }
    }
}
