//! What a person can do: the buttons and the text field of the Android client, as commands.

use std::io::{self, BufRead, IsTerminal, Write};

use super::client::{Client, TEXT};
use super::{Result, printable, say};

const HELP: &str = "read, write [VALUE], clear, send [TEXT], quit";

/// Does what standard input says. What fails there is said, and the next command may do better.
pub fn run() -> Result<()> {
    let mut client = Client::new()?;
    let mut field = String::new();
    let input = io::stdin();
    let is_terminal = input.is_terminal();
    if is_terminal {
        say(HELP);
    }
    let mut failures = 0;
    let mut line = String::new();
    loop {
        if is_terminal {
            let mut output = io::stdout();
            write!(output, "[{}] ", printable(&field)).and_then(|()| output.flush())?;
        }
        line.clear();
        let is_over = input.lock().read_line(&mut line)? == 0;
        if is_over && is_terminal {
            say("");
        }
        if is_over || line.trim() == "quit" {
            break;
        }
        if let Err(error) = command(&mut client, &mut field, line.trim()) {
            say(&format!("client: {error}"));
            failures += 1;
        }
    }
    if !is_terminal && failures > 0 {
        return Err(format!("{failures} commands failed").into());
    }
    Ok(())
}

/// `field` is the text field: what was read last, or is to be written.
fn command(client: &mut Client, field: &mut String, line: &str) -> Result<()> {
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    match word {
        "" => {}
        "read" => {
            *field = client.read()?.to_string();
            say(field);
        }
        "write" => {
            if !rest.is_empty() {
                rest.clone_into(field);
            }
            let value = field.parse();
            client.write(value.map_err(|_| format!("{field:?} is not an integer of 32 bits"))?)?;
        }
        "clear" => field.clear(),
        "send" => say(&client.send(if rest.is_empty() { TEXT } else { rest })?),
        _ => return Err(HELP.into()),
    }
    Ok(())
}
