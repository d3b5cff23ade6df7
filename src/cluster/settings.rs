//! Where the Redis is, and which chat on it.
//!
//! Does not know connections.
//!
//! Invariant: *formatting [`Settings`] shows no URL, which may hold a password.*

use std::fmt;

use crate::limits::MAX_CHAT_NAME;

/// The Redis and the name of the chat. All servers with the same settings are one chat.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    url: String,
    chat: String,
}

/// The reason why settings are not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadSettings {
    /// The URL is none of a Redis.
    Url,
    /// The name has a wrong length or wrong characters.
    Chat,
}

impl Settings {
    /// Checks a URL (`redis://`, `rediss://` or `unix://`) and the name of a chat.
    pub fn new(url: &str, chat: &str) -> Result<Settings, BadSettings> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if !(1..=MAX_CHAT_NAME).contains(&chat.len()) || !chat.chars().all(is_allowed) {
            return Err(BadSettings::Chat);
        }
        redis::Client::open(url).map_err(|_| BadSettings::Url)?;
        Ok(Settings {
            url: url.to_owned(),
            chat: chat.to_owned(),
        })
    }

    /// Returns the client of the `redis` crate, which only holds the URL.
    pub(super) fn client(&self) -> redis::RedisResult<redis::Client> {
        redis::Client::open(self.url.as_str())
    }

    /// Returns what all keys of the chat begin with. The braces put them into one hash slot.
    pub(super) fn prefix(&self) -> String {
        format!("chat:{{{}}}:", self.chat)
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("chat", &self.chat)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_and_name_of_the_chat_are_checked() {
        let long = "x".repeat(33);
        for (url, chat, expected) in [
            ("redis://127.0.0.1/", "main", None),
            ("unix:///run/redis.sock", "A_-9", None),
            ("redis://:secret@h:7000/1", &long[1..], None),
            ("127.0.0.1:6379", "main", Some(BadSettings::Url)),
            ("http://127.0.0.1/", "main", Some(BadSettings::Url)),
            ("", "main", Some(BadSettings::Url)),
            ("redis://127.0.0.1/", "", Some(BadSettings::Chat)),
            ("redis://127.0.0.1/", &long, Some(BadSettings::Chat)),
            ("redis://127.0.0.1/", "a:b", Some(BadSettings::Chat)),
            ("redis://127.0.0.1/", "ä", Some(BadSettings::Chat)),
        ] {
            assert_eq!(Settings::new(url, chat).err(), expected, "{url} {chat}");
        }
    }

    #[test]
    fn debug_output_hides_the_url() {
        let settings = Settings::new("redis://:secret@h/", "main").unwrap();
        let shown = format!("{settings:?}");
        assert!(
            shown.contains("main") && !shown.contains("secret"),
            "{shown}"
        );
    }
}
