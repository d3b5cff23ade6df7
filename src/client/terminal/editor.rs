//! The line that the user types: rustyline, with completion, history and pastes for a chat.
//!
//! Does not know a connection. Other threads print above the line through the [`Printer`].
//! Their lines are painted together with the prompt, because rustyline clears exactly its own
//! rows before each painting.
//!
//! Invariant: *the editor erases rows only if it is certain that they belong to the line*.
//! Otherwise it paints the prompt again below, and the old rows stay. That is so after a change
//! of the window, and for characters about whose width terminals disagree. If rustyline paints
//! after a change of the window and before the terminal reports it, it can erase other rows.
//! The editor prints the lines of these rows again.

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
use super::keys::{CompletionKind, Ending, KeyHandler, Keys};
use super::layout::ShownLine;
use super::printer::Printer;
use super::tty::Tty;
use super::wrap::cells_of;
use crate::limits::{MAX_COMPLETIONS, MAX_RECENT_LINES, RESIZE_INTERVAL};
use crate::protocol::username::Username;

/// The result of editing a line.
#[derive(Debug, PartialEq, Eq)]
pub enum EditOutcome {
    /// The user pressed Enter. A short paste can have more than one line. The text stays on
    /// the screen until [`Editor::erase_line`].
    Line(String),
    /// A paste that is too long to be edited, and the typed text around it.
    Block(String),
    /// Ctrl-C.
    Interrupt {
        /// Whether the line was not empty, and was cleared.
        cleared: bool,
    },
    /// Input that is not UTF-8. The line is lost.
    NotUtf8,
    /// Ctrl-D on an empty line, or the terminal was closed, or
    /// [`end_editor`](Printer::end_editor) was called.
    End,
}

/// The text before the line.
#[derive(Clone, Debug)]
pub struct Prompt {
    /// The text without colours.
    pub plain: String,
    /// The same text with colours.
    pub painted: String,
}

/// The questions that the editor asks while the user edits a line.
///
/// It calls these functions on the editing thread.
pub trait EditorCallbacks {
    /// Returns the users whose name begins with this prefix, in upper or lower case.
    fn names_online(&self, prefix: &str) -> Vec<Username>;

    /// Returns the last user that sent a private message.
    fn last_private_sender(&self) -> Option<Username>;
}

/// The line editor of a conversation.
pub struct Editor {
    rustyline: rustyline::Editor<EditorHelper, DefaultHistory>,
    printer: Printer,
    keys: Arc<Keys>,
    /// The last line, while it is on the screen with nothing below it.
    shown: Option<ShownLine>,
    history_file: Option<PathBuf>,
    /// `None` if the kernel edits. It is declared last and so dropped last: rustyline restores
    /// its mode of the terminal before.
    tty: Option<Tty>,
}

/// The helper that rustyline calls while it edits and paints.
struct EditorHelper {
    callbacks: RefCell<Option<Rc<dyn EditorCallbacks>>>,
    printer: Printer,
    keys: Arc<Keys>,
    /// The prompt with colours.
    prompt: RefCell<String>,
    /// The present line and the position of its cursor.
    line: RefCell<(String, usize)>,
    /// The candidates that TAB found, until the next painting.
    listing: RefCell<Option<String>>,
    /// Whether a list is on the screen below the line.
    is_listing: Cell<bool>,
    search: RefCell<Option<Search>>,
    /// Whether the next completion replaces the whole line, and not a word of it.
    whole_line: Cell<bool>,
}

/// A search in the history that Ctrl-R can continue.
struct Search {
    query: String,
    found: String,
    index: usize,
}

/// The candidates that TAB found. They are shown after the line and are never part of it.
pub struct Listing(String);

impl Editor {
    /// Makes the editor, and takes over the terminal.
    pub fn new() -> io::Result<Editor> {
        Tty::block_resizes()?;
        let config = Config::builder()
            // `Circular` would wait for keys in a loop that prints no waiting lines.
            .completion_type(CompletionType::List)
            // `Style` decides about colours. Without this, rustyline calls `highlight_prompt`,
            // which prints the waiting lines, only on a terminal with colours.
            .color_mode(ColorMode::Forced)
            .build();
        let mut rustyline = rustyline::Editor::with_config(config).map_err(other)?;
        // This fails if the terminal cannot move its cursor (TERM=dumb). Then the kernel edits
        // the line.
        let printer = rustyline.create_external_printer().ok();
        let tty = printer.as_ref().map(|_| Tty::take_over()).transpose()?;
        let printer = Printer::start(printer)?;
        Tty::watch_resizes(printer.clone())?;
        let keys = Keys::new(printer.clone());
        let handler = Box::new(KeyHandler(Arc::clone(&keys)));
        rustyline.bind_sequence(Event::Any, EventHandler::Conditional(handler));
        rustyline.set_helper(Some(EditorHelper {
            callbacks: RefCell::default(),
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

    /// Sets the callbacks, which the editor needs for names.
    pub fn set_callbacks(&mut self, callbacks: Rc<dyn EditorCallbacks>) {
        if let Some(helper) = self.rustyline.helper() {
            helper.callbacks.replace(Some(callbacks));
        }
    }

    /// Returns the printer for lines above the edited line.
    pub fn printer(&self) -> &Printer {
        &self.printer
    }

    /// Returns the terminal, or `None` if the kernel edits.
    pub fn tty(&self) -> Option<&Tty> {
        self.tty.as_ref()
    }

    /// Lets the user edit a line that begins with `initial_text`. Blocks until it ends.
    pub fn read_line(&mut self, prompt: &Prompt, initial_text: String) -> EditOutcome {
        let (mut text, mut cursor) = (initial_text.clone(), initial_text.len());
        loop {
            if let Some(tty) = &self.tty {
                tty.set_quiet();
            }
            let columns = self.printer.columns();
            self.begin(prompt);
            // If the kernel edits, new lines are printed below the prompt, and it cannot be
            // painted again. It would look like a part of a message.
            let plain = if self.tty.is_some() {
                &*prompt.plain
            } else {
                ""
            };
            if self.tty.is_none() {
                self.printer.wait_for_input();
            }
            if self.printer.must_end() {
                return EditOutcome::End;
            }
            let line = (self.rustyline).readline_with_initial(plain, text.split_at(cursor));
            self.printer.hold();
            let changed = self.printer.take_repaint();
            let ending = self.keys.take_ending();
            let edited = self.edited();
            self.shown = Some(ShownLine {
                prompt_columns: cells_of(plain),
                text: line.as_ref().unwrap_or(&edited.0).clone(),
                columns,
            });
            match (line, ending) {
                (Ok(line), None) => return EditOutcome::Line(line),
                (Ok(_), Some(Ending::Interrupt { cleared })) => {
                    return EditOutcome::Interrupt { cleared };
                }
                (Ok(_), Some(Ending::End)) => return EditOutcome::End,
                (Ok(line), Some(Ending::Block { text, cursor })) => {
                    self.erase_line();
                    let (before, after) = line.split_at(cursor);
                    return EditOutcome::Block(format!("{before}{text}{after}"));
                }
                (Ok(line), Some(Ending::Suspend { cursor: at })) => {
                    self.erase_line();
                    if let Some(tty) = &self.tty {
                        tty.suspend();
                    }
                    (text, cursor) = (line, at);
                }
                (Err(ReadlineError::Interrupted), _) if self.printer.must_end() => {
                    return EditOutcome::End;
                }
                (Err(ReadlineError::Interrupted), _) if changed.is_some() => {
                    self.wait_for_size();
                    self.restore_after(changed);
                    (text, cursor) = edited;
                }
                // A signal that `Printer::request_repaint` has not sent.
                (Err(ReadlineError::Interrupted | ReadlineError::Signal(_)), _) => {
                    let cleared = !edited.0.is_empty();
                    return EditOutcome::Interrupt { cleared };
                }
                (Err(ReadlineError::Io(e)), _) if e.kind() == io::ErrorKind::InvalidData => {
                    return EditOutcome::NotUtf8;
                }
                (Err(_), _) => return EditOutcome::End,
            }
        }
    }

    /// Adds a line to the history, and to the history file if there is one.
    pub fn remember(&mut self, line: &str) -> io::Result<()> {
        let is_new = self.rustyline.add_history_entry(line).map_err(other)?;
        match &self.history_file {
            Some(file) if is_new => self.rustyline.append_history(file).map_err(other),
            _ => Ok(()),
        }
    }

    /// Reads the lines of earlier runs from a file, and adds later lines to it.
    ///
    /// Changes the mode of the file, so that only its owner can read it.
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

    /// Erases the last line, if its rows are certain. Returns whether it did.
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

    /// Erases the last line after a change of the window, if that is safe.
    ///
    /// It is safe if the line takes one row in the old window and in the new one. Prints the
    /// lines again that rustyline may have erased before it knew about the change.
    fn restore_after(&mut self, changed: Option<Instant>) {
        let Some(shown) = self.shown.take() else {
            return;
        };
        let columns = self.printer.columns();
        let taken = |columns: usize| shown.prompt_columns + cells_of(&shown.text) < columns;
        let is_one_row = taken(columns) && taken(shown.columns) && !shown.text.contains('\n');
        let is_listing = self
            .rustyline
            .helper()
            .is_some_and(|it| it.is_listing.get());
        self.erase_rows((is_one_row && !is_listing).then_some(1));
        let rows = shown.rows(shown.columns).unwrap_or(MAX_RECENT_LINES);
        let lost = rows.saturating_sub(shown.min_rows(columns));
        let again = match changed {
            Some(reported) if lost > 0 => self.printer.possibly_erased(reported, lost),
            _ => Vec::new(),
        };
        if !again.is_empty() {
            let heading = "      (the window has changed, the last lines are repeated)";
            self.printer
                .print_now(&format!("{heading}\n{}", again.join("\n")));
        }
    }

    /// Erases this number of rows above the cursor. `None` erases nothing.
    fn erase_rows(&self, taken: Option<usize>) -> bool {
        if let Some(taken) = taken {
            self.printer.write(&format!("\x1B[{taken}A\r\x1B[J"));
        }
        taken.is_some()
    }

    /// Waits until the size of the window stays the same for [`RESIZE_INTERVAL`].
    fn wait_for_size(&self) {
        let mut last_size = self.printer.size();
        loop {
            thread::sleep(RESIZE_INTERVAL);
            let size = self.printer.size();
            if std::mem::replace(&mut last_size, size) == size {
                return;
            }
        }
    }

    /// Resets the state before the editing of a line.
    fn begin(&mut self, prompt: &Prompt) {
        self.printer.begin_editing();
        self.shown = None;
        self.keys.begin(cells_of(&prompt.plain));
        if let Some(helper) = self.rustyline.helper() {
            helper.prompt.replace(prompt.painted.clone());
            helper.line.take();
            helper.is_listing.set(false);
            helper.search.take();
        }
    }

    /// Returns the line and its cursor at the last painting.
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
    fn callbacks(&self) -> Option<Rc<dyn EditorCallbacks>> {
        self.callbacks.borrow().clone()
    }

    /// Completes a command at the start of the line, or else a name.
    ///
    /// If there are several candidates, completes their common prefix, and lists them below
    /// the line. Returns where the completed word begins, and its replacement.
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
        let candidates: Vec<String> = match is_command {
            true => COMMANDS
                .iter()
                .filter(|command| command.word.starts_with(&word.to_ascii_lowercase()))
                .map(|command| command.word.to_owned())
                .collect(),
            false => {
                let names = self.callbacks()?.names_online(word);
                names.iter().map(Username::to_string).collect()
            }
        };
        match &*candidates {
            [] => None,
            [only] if command::is_reply(only) => {
                self.expand_reply().or(Some((0, format!("{only} "))))
            }
            [only] => Some((begin, format!("{only} "))),
            several => {
                let listing = listing(several, self.printer.columns());
                self.listing.replace(Some(listing));
                Some((begin, common_prefix(several).unwrap_or(word).to_owned()))
            }
        }
    }

    /// Replaces `/reply` by `/msg NAME`, so that the user sees a recipient that cannot change.
    fn expand_reply(&self) -> Option<(usize, String)> {
        let name = self.callbacks()?.last_private_sender()?;
        Some((0, format!("/msg {name} ")))
    }

    /// Finds the newest line of the history that contains `line`.
    ///
    /// If `line` is the last one found, continues with older lines.
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

/// Returns the list below the line: candidates in columns, or only their number.
fn listing(names: &[String], columns: usize) -> String {
    if names.len() > MAX_COMPLETIONS {
        return format!("\n{} names match", names.len());
    }
    let width = names.iter().map(String::len).max().unwrap_or(0) + 2;
    let in_a_row = ((columns - 1) / width).max(1);
    let rows = names.chunks(in_a_row).map(|row| {
        let row: String = row.iter().map(|name| format!("{name:<width$}")).collect();
        format!("\n{}", row.trim_end())
    });
    rows.collect()
}

/// Returns the common prefix of the candidates, in upper or lower case.
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

    /// Returns at most one candidate, which rustyline puts into the line.
    fn complete(
        &self,
        line: &str,
        cursor: usize,
        context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let kind = self.keys.take_completion_kind();
        self.whole_line.set(kind == CompletionKind::History);
        let (begin, replacement) = match kind {
            CompletionKind::Word => self.complete_word(&line[..cursor]),
            CompletionKind::Reply => self.expand_reply().or(Some((0, format!("{line} ")))),
            CompletionKind::History => self.search(line, context.history()).map(|found| (0, found)),
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

    /// Notes the line and takes the list.
    ///
    /// rustyline calls this before each painting, except after a wake-up. From then on the
    /// printer may wake the editor.
    fn hint(&self, line: &str, cursor: usize, _: &Context<'_>) -> Option<Listing> {
        self.line.replace((line.to_owned(), cursor));
        self.printer.set_editing();
        let listing = self.listing.take();
        self.is_listing.set(listing.is_some());
        listing.map(Listing)
    }
}

impl Highlighter for EditorHelper {
    /// Puts the waiting lines before the prompt.
    ///
    /// This is the first step of each painting, after rustyline has cleared its rows.
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(
        &'s self,
        prompt: &'p str,
        is_own_prompt: bool,
    ) -> Cow<'b, str> {
        let queued = self.printer.take_queued();
        // rustyline shows another prompt while the user types a repeat count.
        let painted = self.prompt.borrow();
        Cow::Owned(queued + if is_own_prompt { &painted } else { prompt })
    }

    /// Returns true: every change of the line or the cursor paints the waiting lines.
    fn highlight_char(&self, line: &str, cursor: usize, _: CmdKind) -> bool {
        self.line.replace((line.to_owned(), cursor));
        true
    }
}

impl Validator for EditorHelper {
    /// Accepts every line. Its editing ends, so other lines wait from now on.
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
        let many = vec!["member".to_owned(); MAX_COMPLETIONS + 1];
        assert_eq!(listing(&many, 80), "\n21 names match");
    }
}
