//! The access file of a server: loaded at the start and again on SIGHUP.
//!
//! Does not know the users of the tokens.
//!
//! Invariant: *no token and no line of the file reaches the log.*

use std::env;
use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use log::{error, info, warn};

use crate::access_file::{self, AccessFileError};
use crate::sessions::Sessions;

/// The file of `--access-file`, and the sessions that it opens.
pub struct AccessFile {
    path: PathBuf,
    sessions: Arc<Sessions>,
}

impl AccessFile {
    /// Loads the file. An error changes nothing.
    pub(super) fn load(
        path: PathBuf,
        sessions: Arc<Sessions>,
    ) -> Result<AccessFile, AccessFileError> {
        let file = AccessFile { path, sessions };
        file.replace_tokens()?;
        Ok(file)
    }

    /// Loads the file again. An error is logged and changes nothing.
    ///
    /// A pipe is an error: its tokens have been read. The open of a FIFO would block the thread
    /// `signals`, and then no SIGTERM would end the server.
    pub fn reload(&self) {
        if fs::metadata(&self.path).is_ok_and(|it| it.file_type().is_fifo()) {
            let path = self.path.display();
            return error!("access file not loaded, tokens unchanged: {path}: is a pipe");
        }
        if let Err(e) = self.replace_tokens() {
            error!("access file not loaded, tokens unchanged: {e}");
        }
    }

    fn replace_tokens(&self) -> Result<(), AccessFileError> {
        let tokens = access_file::read(&self.path)?;
        warn_if_others_can_read(&self.path);
        let count = self.sessions.access.replace(tokens);
        let plural = if count == 1 { "" } else { "s" };
        info!(
            "loaded access file {}: {count} access token{plural}",
            self.path.display()
        );
        Ok(())
    }
}

/// Logs a warning if the group or others can read the file.
///
/// Not below the folder that systemd makes for `LoadCredential`: its files are readable for the
/// service alone, whatever their mode says.
fn warn_if_others_can_read(path: &Path) {
    // Every path starts with an empty one.
    let credentials = env::var_os("CREDENTIALS_DIRECTORY").filter(|folder| !folder.is_empty());
    if credentials.is_some_and(|folder| path.starts_with(folder)) {
        return;
    }
    if let Ok(metadata) = fs::metadata(path)
        && metadata.permissions().mode() & 0o044 != 0
    {
        let mode = metadata.permissions().mode() & 0o777;
        let path = path.display();
        warn!("access file {path} can be read by other users: mode {mode:o}, expected 600");
    }
}
