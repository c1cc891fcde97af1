//! What a terminal shows, as far as ratatui writes to it.

/// Larger than any terminal of the tests.
const WIDTH: usize = 256;
const HEIGHT: usize = 128;

pub struct Screen {
    cells: Vec<Vec<char>>,
    row: usize,
    column: usize,
    /// What has come of a sequence.
    sequence: Option<String>,
}

impl Screen {
    pub fn new() -> Screen {
        Screen { cells: vec![vec![' '; WIDTH]; HEIGHT], row: 0, column: 0, sequence: None }
    }

    /// The lines, without the blanks at their ends.
    pub fn text(&self) -> String {
        let lines = self.cells.iter().map(|row| row.iter().collect::<String>().trim_end().to_owned());
        lines.collect::<Vec<_>>().join("\n")
    }

    pub fn write(&mut self, text: &str) {
        for c in text.chars() {
            match (&mut self.sequence, c) {
                (None, '\x1b') => self.sequence = Some(String::new()),
                (None, '\r') => self.column = 0,
                (None, '\n') => self.row = (self.row + 1).min(HEIGHT - 1),
                (None, c) => {
                    self.cells[self.row][self.column] = c;
                    self.column = (self.column + 1).min(WIDTH - 1);
                }
                (Some(sequence), '@'..='~') if sequence.starts_with('[') => {
                    let sequence = std::mem::take(sequence);
                    self.sequence = None;
                    self.obey(&sequence[1..], c);
                }
                (Some(sequence), c) => sequence.push(c),
            }
        }
    }

    fn obey(&mut self, parameters: &str, command: char) {
        let mut numbers = parameters.split(';').map(|number| number.parse::<usize>().unwrap_or(1));
        match command {
            'H' => {
                self.row = numbers.next().unwrap_or(1).clamp(1, HEIGHT) - 1;
                self.column = numbers.next().unwrap_or(1).clamp(1, WIDTH) - 1;
            }
            'J' => self.cells = Screen::new().cells,
            // Colours, modes, and which of two screens it is.
            'm' | 'h' | 'l' => {}
            other => panic!("{parameters}{other} is not known"),
        }
    }
}
