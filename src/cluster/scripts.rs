//! The Lua scripts: each is one atomic step in Redis. They are in `lua/`, and each says there
//! what it does and returns.
//!
//! Does not know connections.

/// A script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Script {
    Join,
    Leave,
    Renew,
    Claim,
    Rename,
    Release,
    Route,
    Broadcast,
    Confirm,
    Whois,
    Ask,
    List,
}

/// The helpers that every script begins with.
const PRELUDE: &str = include_str!("lua/prelude.lua");

impl Script {
    /// All scripts, in the order of the enum.
    pub(super) const ALL: [Script; 12] = [
        Script::Join,
        Script::Leave,
        Script::Renew,
        Script::Claim,
        Script::Rename,
        Script::Release,
        Script::Route,
        Script::Broadcast,
        Script::Confirm,
        Script::Whois,
        Script::Ask,
        Script::List,
    ];

    /// Returns the whole source, as Redis gets it.
    pub(super) fn source(self) -> String {
        let body = match self {
            Script::Join => include_str!("lua/join.lua"),
            Script::Leave => include_str!("lua/leave.lua"),
            Script::Renew => include_str!("lua/renew.lua"),
            Script::Claim => include_str!("lua/claim.lua"),
            Script::Rename => include_str!("lua/rename.lua"),
            Script::Release => include_str!("lua/release.lua"),
            Script::Route => include_str!("lua/route.lua"),
            Script::Broadcast => include_str!("lua/broadcast.lua"),
            Script::Confirm => include_str!("lua/confirm.lua"),
            Script::Whois => include_str!("lua/whois.lua"),
            Script::Ask => include_str!("lua/ask.lua"),
            Script::List => include_str!("lua/list.lua"),
        };
        format!("{PRELUDE}{body}")
    }
}

/// A call of a script, without the node and its fence, which every call carries in front.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) script: Script,
    pub(super) arguments: Vec<Vec<u8>>,
}

impl Call {
    pub(super) fn new(script: Script) -> Call {
        Call {
            script,
            arguments: Vec::new(),
        }
    }

    /// Appends an argument.
    pub(super) fn arg(mut self, argument: impl AsRef<[u8]>) -> Call {
        self.arguments.push(argument.as_ref().to_vec());
        self
    }

    /// Appends a number.
    pub(super) fn number(self, number: impl ToString) -> Call {
        self.arg(number.to_string())
    }

    /// Appends several arguments.
    pub(super) fn args<A: AsRef<[u8]>>(self, arguments: impl IntoIterator<Item = A>) -> Call {
        arguments.into_iter().fold(self, Call::arg)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_listed_in_their_order() {
        for (index, script) in Script::ALL.into_iter().enumerate() {
            assert_eq!(script as usize, index);
        }
    }
}
