//! The guide: pages for users, operators, teachers and contributors.
//!
//! README has the short form of each page. A page is a Markdown file in `src/guide`, so it can
//! be read in the repository too.
//!
//! | page | content |
//! |---|---|
//! | [`client`] | the client, at a terminal and in a script |
//! | [`by_hand`] | a conversation with netcat, and a session that is resumed |
//! | [`operating`] | running a server: options, limits, logs, exit codes, other machines |
//! | [`several_servers`] | running several servers that are one chat, on Redis |
//! | [`guarantees`] | the six guarantees, and the tests of each |
//! | [`patterns`] | problems of blocking I/O, and the function that solves each |
//! | [`benchmarks`] | the measurements, and how to repeat them |
//! | [`testing`] | how the programs are tested |
//! | [`dependencies`] | the packages, and the reason for each |
//!
//! The [`course`](crate::course) explains the code from its problems to their solutions.

// Each module first defines the links of its page for rustdoc. The page defines the same links
// for the repository, and the first definition counts.

pub mod client {
    //! [`operating`]: crate::guide::operating
    //! [`client::Connection`]: crate::client::Connection
    //!
    #![doc = include_str!("client.md")]
}

pub mod by_hand {
    //! [`operating`]: crate::guide::operating
    //! [`protocol`]: crate::protocol
    //!
    #![doc = include_str!("by_hand.md")]
}

pub mod operating {
    //! [`benchmarks`]: crate::guide::benchmarks
    //! [`limits`]: crate::limits
    //! [`course::resource_limits`]: crate::course::resource_limits
    //!
    #![doc = include_str!("operating.md")]
}

pub mod several_servers {
    //! [protocol]: crate::protocol
    //! [`cluster`]: crate::cluster
    //! [`servers.md`]: ../../../../../tests/load/results/servers.md
    //!
    #![doc = include_str!("several_servers.md")]
}

pub mod guarantees {
    //! [`protocol`]: crate::protocol
    //! [`testing`]: crate::guide::testing
    //!
    #![doc = include_str!("guarantees.md")]
}

pub mod patterns {
    //! [`course`]: crate::course
    //!
    #![doc = include_str!("patterns.md")]
}

pub mod benchmarks {
    //! [`cpu.svg`]: ../../../../../tests/load/results/cpu.svg
    //! [`cpu-deliveries.svg`]: ../../../../../tests/load/results/cpu-deliveries.svg
    //! [`latency.svg`]: ../../../../../tests/load/results/latency.svg
    //! [`latency-deliveries.svg`]: ../../../../../tests/load/results/latency-deliveries.svg
    //! [`results.md`]: ../../../../../tests/load/results/results.md
    //! [`course::thread_cost`]: crate::course::thread_cost
    //! [`course::event_loop`]: crate::course::event_loop
    //!
    #![doc = include_str!("benchmarks.md")]
}

pub mod testing {
    //! [`by_hand`]: crate::guide::by_hand
    //! [`guarantees`]: crate::guide::guarantees
    //! [`protocol`]: crate::protocol
    //!
    #![doc = include_str!("testing.md")]
}

pub mod dependencies {
    #![doc = include_str!("dependencies.md")]
}
