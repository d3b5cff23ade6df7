//! The line being typed: rustyline, and what it has to know of a chat.
//!
//! Knows no connection. While it edits, others print above its line ([`Screen`]). When
//! a line is accepted, its prompt becomes the beginning of a message, so that one's own
//! messages stand among the others' in the same form.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{ColorMode, CompletionType, Config, Context, Helper};
use signal_hook::consts::{SIGHUP, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::screen::Screen;
use super::typed::COMMANDS;
use crate::limits::COMPLETIONS;
use crate::protocol::username::Username;
use crate::threads::spawn;

/// What an edited line came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Input {
    /// Enter was pressed.
    Lines {
        /// What was typed, or pasted: one line or more.
        text: String,
        /// It has been shown as [`Looks`] say.
        shown: bool,
    },
    /// Ctrl-C.
    Interrupt {
        /// Something had been typed, which it has cleared.
        cleared: bool,
    },
    /// Something that is not UTF-8: the line is lost.
    Garbled,
    /// Ctrl-D on an empty line, or the terminal is gone.
    End,
}

/// How an accepted line is to look.
pub struct Looks {
    /// What stands where the prompt was.
    pub prompt: String,
    /// What stands where the line was.
    pub text: String,
}

/// What the editor asks back while a line is being edited, on its own thread.
pub trait Chat {
    /// Who is here whose name begins so, whatever the case.
    fn online(&self, prefix: &str) -> Vec<Username>;

    /// Enter has been pressed: how the line is to look from now on, if other than it was
    /// typed.
    fn accepted(&self, line: &str) -> Option<Looks>;
}

/// The editor of the lines of a chat.
pub struct Editor {
    rustyline: rustyline::Editor<Answering, DefaultHistory>,
    screen: Screen,
    /// Dropped after rustyline has given the terminal back.
    silence: Option<Silence>,
}

/// Answers what rustyline asks.
struct Answering {
    chat: Rc<dyn Chat>,
    screen: Screen,
    /// How the prompt looks.
    prompt: RefCell<String>,
    /// How the line looks, once it has been accepted.
    looks: RefCell<Option<Looks>>,
    /// Something has been typed.
    touched: Cell<bool>,
    /// Since the last painting, the line or the cursor has changed.
    changed: Cell<bool>,
}

impl Editor {
    /// Takes the terminal over.
    pub fn new() -> io::Result<Editor> {
        let config = Config::builder()
            .completion_type(CompletionType::List)
            // With a second TAB for the list, nothing would be printed until then.
            .completion_show_all_if_ambiguous(true)
            // Whether there are colours is decided elsewhere; without this it would not
            // ask how an accepted line is to look.
            .color_mode(ColorMode::Forced)
            .build();
        let mut rustyline = rustyline::Editor::with_config(config).map_err(other)?;
        // There is none where the terminal cannot move its cursor (TERM=dumb), and then
        // the kernel edits the line.
        let printer = rustyline.create_external_printer().ok();
        let silence = printer.as_ref().map(|_| Silence::begin()).transpose()?;
        Ok(Editor {
            rustyline,
            screen: Screen::start(printer)?,
            silence,
        })
    }

    /// Tells it whom to ask.
    pub fn set_chat(&mut self, chat: Rc<dyn Chat>) {
        self.rustyline.set_helper(Some(Answering {
            chat,
            screen: self.screen.clone(),
            prompt: RefCell::default(),
            looks: RefCell::default(),
            touched: Cell::new(false),
            changed: Cell::new(false),
        }));
    }

    /// Where lines are printed.
    pub fn screen(&self) -> &Screen {
        &self.screen
    }

    /// Waits for a line. `prompt` is its width, `painted` how it looks.
    pub fn next(&mut self, prompt: &str, painted: String) -> Input {
        if let Some(answering) = self.rustyline.helper() {
            answering.prompt.replace(painted);
            answering.looks.replace(None);
            answering.touched.set(false);
        }
        // A prompt that cannot be painted anew would stand before what others say.
        let prompt = if self.silence.is_some() { prompt } else { "" };
        let line = self.rustyline.readline(prompt);
        self.screen.between_lines();
        match line {
            Ok(text) => {
                // It fails for a blank line, which is not worth remembering.
                let _ = self.rustyline.add_history_entry(&text);
                let shown = self
                    .rustyline
                    .helper()
                    .is_some_and(|answering| answering.looks.borrow().is_some());
                Input::Lines { text, shown }
            }
            Err(ReadlineError::Interrupted) => Input::Interrupt {
                cleared: self
                    .rustyline
                    .helper()
                    .is_some_and(|answering| answering.touched.get()),
            },
            // The window has been resized at a moment that rustyline does not expect.
            Err(ReadlineError::Signal(_)) => Input::Interrupt { cleared: true },
            Err(ReadlineError::Io(e)) if e.kind() == io::ErrorKind::InvalidData => Input::Garbled,
            Err(_) => Input::End,
        }
    }

    /// Asks a question, before there is a chat. `None` if there is no answer.
    pub fn ask(&mut self, question: &str) -> Option<String> {
        let answer = self.rustyline.readline(question);
        self.screen.between_lines();
        answer.ok()
    }
}

fn other(e: ReadlineError) -> io::Error {
    match e {
        ReadlineError::Io(e) => e,
        e => io::Error::other(e),
    }
}

impl Completer for Answering {
    type Candidate = Pair;

    /// A command, where a line begins with a slash; else a name, wherever it stands.
    fn complete(
        &self,
        line: &str,
        cursor: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let line = &line[..cursor];
        let begin = line.rfind([' ', '\t', '\n']).map_or(0, |space| space + 1);
        let word = &line[begin..];
        let whole: Vec<String> = match word.strip_prefix('/') {
            Some(_) if begin == 0 => COMMANDS
                .iter()
                .filter(|row| row.word.starts_with(word))
                .map(|row| row.word.to_owned())
                .collect(),
            _ => self
                .chat
                .online(word)
                .iter()
                .map(Username::to_string)
                .collect(),
        };
        let mut candidates: Vec<Pair> = whole
            .into_iter()
            .map(|display| Pair {
                replacement: format!("{display} "),
                display,
            })
            .collect();
        if candidates.len() > COMPLETIONS {
            let display = String::new();
            let replacement = common_prefix(&candidates).unwrap_or(word).to_owned();
            candidates = vec![Pair {
                display,
                replacement,
            }];
        }
        Ok((begin, candidates))
    }
}

/// What they have in common, whatever the case.
fn common_prefix(candidates: &[Pair]) -> Option<&str> {
    let first = &candidates.first()?.display;
    let length = candidates.iter().map(|candidate| {
        let pairs = candidate.display.bytes().zip(first.bytes());
        pairs.take_while(|(a, b)| a.eq_ignore_ascii_case(b)).count()
    });
    Some(&first[..length.min()?])
}

impl Hinter for Answering {
    type Hint = String;

    /// There are no hints, but this is where rustyline tells each change of the line,
    /// the first of which is that it is being edited.
    fn hint(&self, line: &str, _: usize, _: &Context<'_>) -> Option<String> {
        self.touched.set(self.touched.get() || !line.is_empty());
        self.changed.set(true);
        self.screen.editing();
        None
    }
}

impl Highlighter for Answering {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(
        &'s self,
        prompt: &'p str,
        is_ours: bool,
    ) -> Cow<'b, str> {
        // That of a search in the history is not.
        if !is_ours {
            return prompt.into();
        }
        match &*self.looks.borrow() {
            Some(looks) => looks.prompt.clone().into(),
            None => self.prompt.borrow().clone().into(),
        }
    }

    /// The last step of each painting. One that paints a line in which nothing has
    /// changed has printed something above it: that is all that rustyline tells.
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        if !self.changed.take() {
            self.screen.painted();
        }
        match &*self.looks.borrow() {
            Some(looks) => looks.text.clone().into(),
            None => line.into(),
        }
    }

    /// Asked at each change: whether the line has to be painted anew. It has, so that a
    /// change and its painting come in pairs.
    fn highlight_char(&self, _: &str, _: usize, _: CmdKind) -> bool {
        self.changed.set(true);
        true
    }
}

impl Validator for Answering {
    /// Every line is accepted. This is the last that is heard of it while it is still
    /// being edited; the empty message makes rustyline paint it once more.
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        self.screen.between_lines();
        self.looks.replace(self.chat.accepted(context.input()));
        Ok(ValidationResult::Valid(Some(String::new())))
    }
}

impl Helper for Answering {}

/// Keeps the terminal from taking part between two lines, until it is dropped.
///
/// rustyline gives the terminal back after each line as it was before. Until it takes it
/// again, the kernel would echo what is typed or pasted, and make a signal of Ctrl-C,
/// which would kill us; so it waits for the next line as any key does.
struct Silence(Termios);

impl Silence {
    fn begin() -> io::Result<Silence> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        tcsetattr(io::stdin(), OptionalActions::Now, &silent)?;
        restore_when_killed(before.clone())?;
        Ok(Silence(before))
    }
}

/// Starts the thread `signals`, which gives the terminal back when somebody kills us, and
/// ends with the process.
fn restore_when_killed(before: Termios) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGHUP])?;
    spawn("signals", move || {
        if let Some(signal) = signals.forever().next() {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
            let _ = emulate_default_handler(signal);
        }
    })?;
    Ok(())
}

impl Drop for Silence {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}
