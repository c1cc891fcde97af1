//! Values on the command line.

use std::str::FromStr;

use content_provider::Value;

/// A value as it is written there.
#[derive(Clone, Debug)]
pub struct Argument(pub Value);

impl FromStr for Argument {
    type Err = String;

    fn from_str(text: &str) -> Result<Argument, String> {
        Ok(Argument(if text == "null:" {
            Value::Null
        } else if let Some(text) = text.strip_prefix("text:") {
            Value::from(text)
        } else if let Some(digits) = text.strip_prefix("hex:") {
            Value::Blob(bytes(digits).ok_or("hex: takes an even number of hexadecimal digits")?)
        } else if let Ok(integer) = text.parse::<i64>() {
            Value::Integer(integer)
        } else if let (true, Ok(real)) = (text.contains(|c: char| c.is_ascii_digit()), text.parse::<f64>()) {
            Value::Real(real)
        } else {
            Value::from(text)
        }))
    }
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> = digits.chars().map(|digit| digit.to_digit(16)).collect::<Option<_>>()?;
    let pairs = digits.chunks_exact(2);
    let even = pairs.remainder().is_empty();
    even.then(|| pairs.map(|pair| (pair[0] << 4 | pair[1]) as u8).collect())
}

/// COLUMN=VALUE.
#[derive(Clone, Debug)]
pub struct Assignment(pub String, pub Value);

impl FromStr for Assignment {
    type Err = String;

    fn from_str(text: &str) -> Result<Assignment, String> {
        let (column, value) = text.split_once('=').ok_or("a column, =, and a value")?;
        Ok(Assignment(column.to_owned(), value.parse::<Argument>()?.0))
    }
}

/// COLUMN, or COLUMN:desc.
#[derive(Clone, Debug)]
pub struct Direction {
    pub column: String,
    pub descending: bool,
}

impl FromStr for Direction {
    type Err = String;

    fn from_str(text: &str) -> Result<Direction, String> {
        let descending = text.strip_suffix(":desc");
        let column = descending.or_else(|| text.strip_suffix(":asc")).unwrap_or(text);
        Ok(Direction { column: column.to_owned(), descending: descending.is_some() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_of_the_type_they_look_like() {
        for (text, value) in [
            ("42", Value::Integer(42)),
            ("-1.5", Value::Real(-1.5)),
            ("1e3", Value::Real(1000.0)),
            ("inf", Value::from("inf")),
            ("Ada", Value::from("Ada")),
            ("", Value::from("")),
            ("text:42", Value::from("42")),
            ("null:", Value::Null),
            ("hex:00fF", Value::Blob(vec![0, 255])),
            ("hex:", Value::Blob(vec![])),
        ] {
            assert_eq!(text.parse::<Argument>().unwrap().0, value, "{text}");
        }
        assert!("hex:0".parse::<Argument>().is_err() && "hex:0g".parse::<Argument>().is_err());
        let assignment: Assignment = "a=b=c".parse().unwrap();
        assert_eq!((assignment.0.as_str(), assignment.1), ("a", Value::from("b=c")));
        assert!("a".parse::<Assignment>().is_err());
    }
}
