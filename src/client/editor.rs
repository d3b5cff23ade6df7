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

use super::screen::Screen;
use super::typed::COMMANDS;
use crate::protocol::username::Username;

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
    /// Ctrl-C, and whether there was anything typed for it to clear.
    Interrupt {
        /// There was.
        cleared: bool,
    },
    /// Ctrl-D on an empty line, or the terminal is gone.
    End,
}

/// How an accepted line is to look: the prompt and the text.
pub type Looks = (String, String);

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
    _silence: Option<Silence>,
}

/// Answers what rustyline asks.
struct Answering {
    chat: Rc<dyn Chat>,
    screen: Screen,
    /// How the prompt looks.
    prompt: RefCell<String>,
    /// How the line looks, once it has been accepted.
    looks: RefCell<Option<Looks>>,
    /// Nothing is typed.
    blank: Cell<bool>,
}

impl Editor {
    /// Takes the terminal over.
    pub fn new() -> io::Result<Editor> {
        let config = Config::builder()
            .completion_type(CompletionType::List)
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
            _silence: silence,
        })
    }

    /// Tells it whom to ask.
    pub fn set_chat(&mut self, chat: Rc<dyn Chat>) {
        self.rustyline.set_helper(Some(Answering {
            chat,
            screen: self.screen.clone(),
            prompt: RefCell::default(),
            looks: RefCell::default(),
            blank: Cell::new(true),
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
            answering.blank.set(true);
        }
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
                cleared: !self
                    .rustyline
                    .helper()
                    .is_some_and(|answering| answering.blank.get()),
            },
            Err(_) => Input::End,
        }
    }
}

/// Asks a question, before there is a chat. `None` if there is no answer.
pub fn ask(question: &str) -> io::Result<Option<String>> {
    let mut rustyline = rustyline::DefaultEditor::new().map_err(other)?;
    Ok(rustyline.readline(question).ok())
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
        let with_space = |display: String| Pair {
            replacement: format!("{display} "),
            display,
        };
        Ok((begin, whole.into_iter().map(with_space).collect()))
    }
}

impl Hinter for Answering {
    type Hint = String;

    /// There are no hints, but this is where rustyline tells each change of the line,
    /// the first of which is that it is being edited.
    fn hint(&self, line: &str, _: usize, _: &Context<'_>) -> Option<String> {
        self.blank.set(line.is_empty());
        self.screen.editing();
        None
    }
}

impl Highlighter for Answering {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, _: &'p str, _: bool) -> Cow<'b, str> {
        match &*self.looks.borrow() {
            Some((prompt, _)) => prompt.clone().into(),
            None => self.prompt.borrow().clone().into(),
        }
    }

    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        match &*self.looks.borrow() {
            Some((_, text)) => text.clone().into(),
            None => line.into(),
        }
    }

    /// Whether the line has to be painted anew, as when it is shown for the last time.
    fn highlight_char(&self, _: &str, _: usize, kind: CmdKind) -> bool {
        kind == CmdKind::ForcedRefresh
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

/// Keeps the terminal from echoing what is typed between two lines, until it is dropped.
///
/// rustyline gives the terminal back after each line as it was before, and the kernel
/// would echo what is typed or pasted until it takes it again.
struct Silence(Termios);

impl Silence {
    fn begin() -> io::Result<Silence> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes -= LocalModes::ECHO | LocalModes::ICANON;
        tcsetattr(io::stdin(), OptionalActions::Now, &silent)?;
        Ok(Silence(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}
