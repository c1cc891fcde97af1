//! The terminal: taken, drawn on, read from, and given back however the program ends.

use std::io::{self, stdin};
use std::process::exit;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyEvent};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::{DefaultTerminal, try_init, try_restore};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, kill_current_process_group};

use super::look::Look;
use super::model::{Map, Model, Wish};
use super::view;
use super::watch::{self, Wanted};
use crate::error::Error;
use crate::signals::Endings;

/// How long it takes at most until a new size of the screen is noticed.
const GLANCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// How long a screen that takes nothing more, as of a connection that hangs, can hold up the end.
const PATIENCE: Duration = Duration::from_secs(2);

/// What there is to react to.
enum News {
    Look(Result<Box<Look>, String>),
    Map(Map),
    Key(KeyEvent),
    /// The screen has another size, or something else happened to it.
    Resized,
    End,
    /// The keys cannot be read any more.
    Keys(io::Error),
    /// A thread has ended, which none does by itself.
    Over,
}

/// Shows everything until somebody wants it to end.
pub fn run(interval: Duration) -> Result<(), Error> {
    // Before there are threads: they inherit what is held back.
    let endings = Endings::hold_back().map_err(Error::Signals)?;
    let (news, incoming) = channel();
    let (wanted, wants) = channel();
    let mut screen = Screen::take().map_err(Error::Terminal)?;
    start(endings, interval, &news, wants).map_err(Error::Terminal)?;
    drop(news);
    let result = show(&mut screen, &incoming, &wanted).map_err(Error::Terminal);
    screen.give_back();
    result
}

fn start(
    endings: Endings,
    interval: Duration,
    news: &Sender<News>,
    wants: Receiver<Option<Wanted>>,
) -> io::Result<()> {
    let end = news.clone();
    thread::Builder::new().name("endings".to_owned()).spawn(move || {
        let _ = endings.wait();
        let _ = end.send(News::End);
        thread::sleep(PATIENCE);
        // Nobody takes what is drawn. The terminal's settings can be restored all the same.
        let _ = disable_raw_mode();
        exit(i32::from(crate::EXIT_TROUBLE));
    })?;
    spawn("keys", news, |news| {
        if let Err(error) = read_keys(&news) {
            let _ = news.send(News::Keys(error));
        }
    })?;
    spawn("looks", news, move |news| watch::looks(interval, |look| news.send(News::Look(look)).is_ok()))?;
    spawn("maps", news, move |news| watch::maps(interval, &wants, |map| news.send(News::Map(map)).is_ok()))
}

/// Starts a thread whose end, as by a panic, is told.
fn spawn(
    name: &str,
    news: &Sender<News>,
    work: impl FnOnce(Sender<News>) + Send + 'static,
) -> io::Result<()> {
    struct Farewell(Sender<News>);
    impl Drop for Farewell {
        fn drop(&mut self) {
            let _ = self.0.send(News::Over);
        }
    }
    let farewell = Farewell(news.clone());
    let news = news.clone();
    let work = move || {
        let _farewell = farewell;
        work(news);
    };
    thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}

/// Passes keys on, until nobody listens, or the terminal is gone. (That is found out first: reading would go on for ever.)
fn read_keys(news: &Sender<News>) -> io::Result<()> {
    let input = stdin();
    loop {
        let mut ready = [PollFd::new(&input, PollFlags::IN)];
        match poll(&mut ready, Some(&GLANCE)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        if ready[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        while event::poll(Duration::ZERO)? {
            let news_of_it = match event::read()? {
                Event::Key(key) => News::Key(key),
                Event::Resize(..) => News::Resized,
                _ => continue,
            };
            if news.send(news_of_it).is_err() {
                return Ok(());
            }
        }
    }
}

fn show(screen: &mut Screen, news: &Receiver<News>, wanted: &Sender<Option<Wanted>>) -> io::Result<()> {
    let mut model = Model::new();
    let mut asked = None;
    loop {
        screen.terminal.draw(|frame| view::draw(frame, &mut model))?;
        let Ok(first) = news.recv() else { return Ok(()) };
        // All that has come meanwhile is drawn at once.
        for item in std::iter::once(first).chain(news.try_iter()) {
            match item {
                News::Look(Ok(look)) => model.take(*look),
                News::Look(Err(trouble)) => model.fail(trouble),
                News::Map(map) => model.map = Some(map),
                News::Resized => {}
                News::End => return Ok(()),
                News::Keys(error) => return Err(error),
                News::Over => return Err(io::Error::other("a thread has ended")),
                News::Key(key) => match model.press(key) {
                    Wish::Quit => return Ok(()),
                    Wish::Suspend => screen.suspend()?,
                    Wish::Redraw => screen.terminal.clear()?,
                    Wish::Nothing => {}
                },
            }
        }
        let wish = model.selected().map(Wanted::of);
        if wish != asked {
            // That nobody listens any more is among the news then.
            let _ = wanted.send(wish.clone());
            asked = wish;
        }
    }
}

/// The terminal while it is drawn on. A panic gives it back as well, before it is told of.
struct Screen {
    terminal: DefaultTerminal,
    is_taken: bool,
}

impl Screen {
    fn take() -> io::Result<Screen> {
        match try_init() {
            Ok(terminal) => Ok(Screen { terminal, is_taken: true }),
            Err(error) => {
                // As far as it came.
                let _ = try_restore();
                Err(error)
            }
        }
    }

    /// Gives the terminal back and stops, as every program does at Ctrl-Z, until somebody wants it to go on.
    fn suspend(&mut self) -> io::Result<()> {
        try_restore()?;
        self.terminal.show_cursor()?;
        kill_current_process_group(Signal::TSTP)?;
        enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen)?;
        self.terminal.clear()
    }

    fn give_back(&mut self) {
        if std::mem::take(&mut self.is_taken) {
            // A terminal that is gone needs nothing.
            let _ = try_restore();
            let _ = self.terminal.show_cursor();
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.give_back();
    }
}
