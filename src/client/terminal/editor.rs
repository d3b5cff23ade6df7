//! The line being typed: rustyline, and what it has to know of a chat.
//!
//! Does not know a connection. Others print above its line through the [`Printer`]: their
//! lines are painted together with the prompt, because rustyline clears its own rows before
//! each painting and nothing else.
//!
//! Invariant: *rows are erased only where the line certainly is*. After a change of the
//! window, or with characters of which terminals do not agree, the prompt is painted anew
//! below, and the old rows stay. rustyline itself erases rows of others when it paints
//! between a change of the window and its notice: these lines are shown again.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fs::{OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::{Hint, Hinter};
use rustyline::history::{DefaultHistory, History, SearchDirection};
use rustyline::line_buffer::LineBuffer;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{
    Changeset, ColorMode, CompletionType, Config, Context, Event, EventHandler, Helper,
};

use super::command::{self, COMMANDS};
use super::keys::{Ending, Handler, Keys, Wish};
use super::layout::Shown;
use super::printer::Printer;
use super::tty::Tty;
use super::wrap::cells_of;
use crate::limits::{MAX_COMPLETIONS, MAX_RECENT_LINES, RESIZE_INTERVAL};
use crate::protocol::username::Username;

/// What an edited line came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Input {
    /// Enter was pressed: one line, or a few that were pasted. It stays on the screen until
    /// [`Editor::erase_line`].
    Line(String),
    /// A paste that is too long to be edited, with what was typed around it.
    Block(String),
    /// Ctrl-C.
    Interrupt {
        /// Something had been typed, which it has cleared.
        cleared: bool,
    },
    /// Something that is not UTF-8: the line is lost.
    NotUtf8,
    /// Ctrl-D on an empty line, or the terminal is gone.
    End,
}

/// The text before the line.
#[derive(Clone, Debug)]
pub struct Prompt {
    /// Its characters.
    pub plain: String,
    /// How they look.
    pub painted: String,
}

/// What the editor asks while a line is being edited, on its own thread.
pub trait EditorCallbacks {
    /// The users whose name begins so, whatever the case.
    fn online(&self, prefix: &str) -> Vec<Username>;

    /// The user that wrote privately last.
    fn last_private(&self) -> Option<Username>;
}

/// The editor of the lines of a chat.
pub struct Editor {
    rustyline: rustyline::Editor<EditorHelper, DefaultHistory>,
    printer: Printer,
    keys: Arc<Keys>,
    /// The last line, as long as it is on the screen and nothing below it.
    shown: Option<Shown>,
    history_file: Option<PathBuf>,
    /// Dropped after rustyline has given the terminal back. `None` where the kernel edits.
    tty: Option<Tty>,
}

/// Answers what rustyline asks.
struct EditorHelper {
    chat: RefCell<Option<Rc<dyn EditorCallbacks>>>,
    printer: Printer,
    keys: Arc<Keys>,
    /// How the prompt looks.
    prompt: RefCell<String>,
    /// The line and its cursor, as they are now.
    line: RefCell<(String, usize)>,
    /// What TAB found, until the next key.
    listing: RefCell<Option<String>>,
    /// A list is shown below the line.
    is_listing: Cell<bool>,
    search: RefCell<Option<Search>>,
    /// The next completion replaces the line, and not a word of it.
    whole_line: Cell<bool>,
}

/// A search in the history that can go on.
struct Search {
    query: String,
    found: String,
    index: usize,
}

/// What TAB found: shown behind the line, and never a part of it.
pub struct Listing(String);

impl Editor {
    /// Takes the terminal over.
    pub fn new() -> io::Result<Editor> {
        Tty::block_resizes()?;
        let config = Config::builder()
            // In a circle of completions nothing would be printed.
            .completion_type(CompletionType::List)
            // Whether there are colours is decided elsewhere; without this it would not
            // ask how the prompt is to look.
            .color_mode(ColorMode::Forced)
            .build();
        let mut rustyline = rustyline::Editor::with_config(config).map_err(other)?;
        // There is none where the terminal cannot move its cursor (TERM=dumb), and then
        // the kernel edits the line.
        let printer = rustyline.create_external_printer().ok();
        let tty = printer.as_ref().map(|_| Tty::take_over()).transpose()?;
        let printer = Printer::start(printer)?;
        Tty::watch_resizes(printer.clone())?;
        let keys = Keys::new(printer.clone());
        let handler = Box::new(Handler(Arc::clone(&keys)));
        rustyline.bind_sequence(Event::Any, EventHandler::Conditional(handler));
        rustyline.set_helper(Some(EditorHelper {
            chat: RefCell::default(),
            printer: printer.clone(),
            keys: Arc::clone(&keys),
            prompt: RefCell::default(),
            line: RefCell::default(),
            listing: RefCell::default(),
            is_listing: Cell::new(false),
            search: RefCell::default(),
            whole_line: Cell::new(false),
        }));
        Ok(Editor {
            rustyline,
            printer,
            keys,
            shown: None,
            history_file: None,
            tty,
        })
    }

    /// Tells it whom to ask.
    pub fn set_chat(&mut self, chat: Rc<dyn EditorCallbacks>) {
        if let Some(helper) = self.rustyline.helper() {
            helper.chat.replace(Some(chat));
        }
    }

    /// Where lines are printed.
    pub fn printer(&self) -> &Printer {
        &self.printer
    }

    /// The terminal, unless the kernel edits.
    pub fn tty(&self) -> Option<&Tty> {
        self.tty.as_ref()
    }

    /// Waits for a line, of which the beginning may have been written already.
    pub fn next(&mut self, prompt: &Prompt, begun: String) -> Input {
        let (mut text, mut cursor) = (begun.clone(), begun.len());
        loop {
            if let Some(tty) = &self.tty {
                tty.quiet();
            }
            let columns = self.printer.columns();
            self.begin(prompt);
            // A prompt that cannot be painted anew would be taken for a part of the messages.
            let plain = if self.tty.is_some() {
                &*prompt.plain
            } else {
                ""
            };
            let line = (self.rustyline).readline_with_initial(plain, text.split_at(cursor));
            self.printer.hold();
            let changed = self.printer.take_repaint();
            let ending = self.keys.take_ending();
            let edited = self.edited();
            self.shown = Some(Shown {
                prompt: cells_of(plain),
                text: line.as_ref().unwrap_or(&edited.0).clone(),
                columns,
            });
            match (line, ending) {
                (Ok(line), None) => return Input::Line(line),
                (Ok(_), Some(Ending::Interrupt { cleared })) => {
                    return Input::Interrupt { cleared };
                }
                (Ok(_), Some(Ending::End)) => return Input::End,
                (Ok(line), Some(Ending::Block { text, cursor })) => {
                    self.erase_line();
                    let (before, after) = line.split_at(cursor);
                    return Input::Block(format!("{before}{text}{after}"));
                }
                (Ok(line), Some(Ending::Suspend { cursor: at })) => {
                    self.erase_line();
                    if let Some(tty) = &self.tty {
                        tty.suspend();
                    }
                    (text, cursor) = (line, at);
                }
                (Err(ReadlineError::Interrupted), _) if changed.is_some() => {
                    self.wait_for_size();
                    self.restore_after(changed);
                    (text, cursor) = edited;
                }
                // A signal that came from elsewhere.
                (Err(ReadlineError::Interrupted | ReadlineError::Signal(_)), _) => {
                    let cleared = !edited.0.is_empty();
                    return Input::Interrupt { cleared };
                }
                (Err(ReadlineError::Io(e)), _) if e.kind() == io::ErrorKind::InvalidData => {
                    return Input::NotUtf8;
                }
                (Err(_), _) => return Input::End,
            }
        }
    }

    /// Remembers a line for the arrow keys, and in the file, if there is one.
    pub fn remember(&mut self, line: &str) -> io::Result<()> {
        let is_new = self.rustyline.add_history_entry(line).map_err(other)?;
        match &self.history_file {
            Some(file) if is_new => self.rustyline.append_history(file).map_err(other),
            _ => Ok(()),
        }
    }

    /// Reads the lines of earlier runs, and keeps those of this one in the same file, which
    /// from now on only its owner can read.
    pub fn keep_history(&mut self, file: &Path) -> io::Result<()> {
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(file)?
            .set_permissions(Permissions::from_mode(0o600))?;
        self.rustyline.load_history(file).map_err(other)?;
        self.history_file = Some(file.to_owned());
        Ok(())
    }

    /// Erases the last line, if it is certain where it is.
    pub fn erase_line(&mut self) -> bool {
        let Some(shown) = self.shown.take() else {
            return false;
        };
        let (columns, rows) = self.printer.size();
        let taken = shown
            .rows(columns)
            .filter(|taken| self.tty.is_some() && columns == shown.columns && *taken < rows);
        self.erase_rows(taken)
    }

    /// The same after a change of the window: a line of one row is where it was, if it has
    /// one row in either window. Lines that the editor has erased before it knew are shown
    /// again.
    fn restore_after(&mut self, changed: Option<Instant>) {
        let Some(shown) = self.shown.take() else {
            return;
        };
        let columns = self.printer.columns();
        let taken = |columns: usize| shown.prompt + cells_of(&shown.text) < columns;
        let is_one_row = taken(columns) && taken(shown.columns) && !shown.text.contains('\n');
        let is_listing = self
            .rustyline
            .helper()
            .is_some_and(|it| it.is_listing.get());
        self.erase_rows((is_one_row && !is_listing).then_some(1));
        let rows = shown.rows(shown.columns).unwrap_or(MAX_RECENT_LINES);
        let lost = rows.saturating_sub(shown.least_rows(columns));
        let again = match changed {
            Some(told) if lost > 0 => self.printer.perhaps_erased(told, lost),
            _ => Vec::new(),
        };
        if !again.is_empty() {
            let why = "      (the window has changed: the last lines again)";
            self.printer
                .print_now(&format!("{why}\n{}", again.join("\n")));
        }
    }

    fn erase_rows(&self, taken: Option<usize>) -> bool {
        if let Some(taken) = taken {
            self.printer.write(&format!("\x1B[{taken}A\r\x1B[J"));
        }
        taken.is_some()
    }

    /// Waits until a window that is being dragged has its size.
    fn wait_for_size(&self) {
        let mut before = self.printer.size();
        loop {
            thread::sleep(RESIZE_INTERVAL);
            let size = self.printer.size();
            if std::mem::replace(&mut before, size) == size {
                return;
            }
        }
    }

    fn begin(&mut self, prompt: &Prompt) {
        self.printer.begin();
        self.shown = None;
        self.keys.begin(cells_of(&prompt.plain));
        if let Some(helper) = self.rustyline.helper() {
            helper.prompt.replace(prompt.painted.clone());
            helper.line.take();
            helper.is_listing.set(false);
            helper.search.take();
        }
    }

    fn edited(&self) -> (String, usize) {
        let helper = self.rustyline.helper();
        helper.map_or_else(Default::default, |helper| helper.line.borrow().clone())
    }
}

fn other(e: ReadlineError) -> io::Error {
    match e {
        ReadlineError::Io(e) => e,
        e => io::Error::other(e),
    }
}

impl EditorHelper {
    fn chat(&self) -> Option<Rc<dyn EditorCallbacks>> {
        self.chat.borrow().clone()
    }

    /// A command, where a line begins with a slash; else a name. Of
    /// several, what they have in common, and a list of them below the line.
    fn complete_word(&self, line: &str) -> Option<(usize, String)> {
        let is_command = line.starts_with('/') && !line.contains([' ', '\n']);
        let begin = match is_command {
            true => 0,
            false => line
                .char_indices()
                .rfind(|(_, c)| !Username::may_contain(*c))
                .map_or(0, |(at, c)| at + c.len_utf8()),
        };
        let word = &line[begin..];
        let whole: Vec<String> = match is_command {
            true => COMMANDS
                .iter()
                .filter(|command| command.word.starts_with(&word.to_ascii_lowercase()))
                .map(|command| command.word.to_owned())
                .collect(),
            false => {
                let names = self.chat()?.online(word);
                names.iter().map(Username::to_string).collect()
            }
        };
        match &*whole {
            [] => None,
            [only] if command::is_reply(only) => self.addressee().or(Some((0, format!("{only} ")))),
            [only] => Some((begin, format!("{only} "))),
            several => {
                let listing = listing(several, self.printer.columns());
                self.listing.replace(Some(listing));
                Some((begin, common_prefix(several).unwrap_or(word).to_owned()))
            }
        }
    }

    /// The addressee in the place of `/reply`, so that it is seen and stays the same.
    fn addressee(&self) -> Option<(usize, String)> {
        let name = self.chat()?.last_private()?;
        Some((0, format!("/msg {name} ")))
    }

    /// The newest line of the history that contains this, or the next older one.
    fn search(&self, line: &str, history: &dyn History) -> Option<String> {
        let mut search = self.search.borrow_mut();
        let (query, end) = match &*search {
            Some(search) if search.found == line => (search.query.clone(), search.index),
            _ => (line.to_lowercase(), history.len()),
        };
        for index in (0..end).rev() {
            let entry = history.get(index, SearchDirection::Reverse).ok()??.entry;
            if entry.to_lowercase().contains(&query) && entry != line {
                let found = entry.into_owned();
                *search = Some(Search {
                    query,
                    found: found.clone(),
                    index,
                });
                return Some(found);
            }
        }
        None
    }
}

/// What TAB shows below the line: names in columns, or how many there are.
fn listing(names: &[String], columns: usize) -> String {
    if names.len() > MAX_COMPLETIONS {
        return format!("\n{} names begin so", names.len());
    }
    let width = names.iter().map(String::len).max().unwrap_or(0) + 2;
    let in_a_row = ((columns - 1) / width).max(1);
    let rows = names.chunks(in_a_row).map(|row| {
        let row: String = row.iter().map(|name| format!("{name:<width$}")).collect();
        format!("\n{}", row.trim_end())
    });
    rows.collect()
}

/// What they have in common, whatever the case.
fn common_prefix(candidates: &[String]) -> Option<&str> {
    let first = candidates.first()?;
    let length = candidates.iter().map(|candidate| {
        let pairs = candidate.bytes().zip(first.bytes());
        pairs.take_while(|(a, b)| a.eq_ignore_ascii_case(b)).count()
    });
    Some(&first[..length.min()?])
}

impl Completer for EditorHelper {
    type Candidate = Pair;

    /// Gives one candidate at most, which rustyline puts into the line.
    fn complete(
        &self,
        line: &str,
        cursor: usize,
        context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let wish = self.keys.take_wish();
        self.whole_line.set(wish == Wish::Search);
        let (begin, replacement) = match wish {
            Wish::Complete => self.complete_word(&line[..cursor]),
            Wish::Addressee => self.addressee().or(Some((0, format!("{line} ")))),
            Wish::Search => self.search(line, context.history()).map(|found| (0, found)),
        }
        .map_or((0, None), |(begin, found)| (begin, Some(found)));
        let pair = |replacement| Pair {
            display: String::new(),
            replacement,
        };
        Ok((begin, replacement.map(pair).into_iter().collect()))
    }

    fn update(&self, line: &mut LineBuffer, begin: usize, found: &str, changes: &mut Changeset) {
        let end = match self.whole_line.get() {
            true => line.len(),
            false => line.pos(),
        };
        line.replace(begin..end, found, changes);
    }
}

impl Hint for Listing {
    fn display(&self) -> &str {
        &self.0
    }

    fn completion(&self) -> Option<&str> {
        None
    }
}

impl Hinter for EditorHelper {
    type Hint = Listing;

    /// Asked before each painting but that of a wake-up: the line is being edited.
    fn hint(&self, line: &str, cursor: usize, _: &Context<'_>) -> Option<Listing> {
        self.line.replace((line.to_owned(), cursor));
        self.printer.editing();
        let listing = self.listing.take();
        self.is_listing.set(listing.is_some());
        listing.map(Listing)
    }
}

impl Highlighter for EditorHelper {
    /// The first step of each painting, after rustyline has cleared its rows.
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(
        &'s self,
        prompt: &'p str,
        is_ours: bool,
    ) -> Cow<'b, str> {
        let queued = self.printer.take_queued();
        // That of a repeated key is not ours.
        let painted = self.prompt.borrow();
        Cow::Owned(queued + if is_ours { &painted } else { prompt })
    }

    /// Asked at each change, of the cursor too: whether the line has to be painted anew. It
    /// has, so that lines that wait are never late.
    fn highlight_char(&self, line: &str, cursor: usize, _: CmdKind) -> bool {
        self.line.replace((line.to_owned(), cursor));
        true
    }
}

impl Validator for EditorHelper {
    /// Every line is accepted. From now on it ends.
    fn validate(&self, _: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        self.printer.hold();
        Ok(ValidationResult::Valid(None))
    }
}

impl Helper for EditorHelper {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completion_list_has_columns_or_a_count() {
        let names = ["carol", "carola"].map(str::to_owned);
        assert_eq!(listing(&names, 80), "\ncarol   carola");
        assert_eq!(listing(&names, 10), "\ncarol\ncarola");
        let crowd = vec!["member".to_owned(); MAX_COMPLETIONS + 1];
        assert_eq!(listing(&crowd, 80), "\n21 names begin so");
    }
}
