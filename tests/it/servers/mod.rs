//! Several servers that are one chat: nodes, and the Redis through which they talk.
//!
//! Each test has a Redis of its own. If redis-server is not installed, the tests are skipped.

mod chatting;
mod demo;
mod lost_answers;
mod lost_data;
mod outages;
mod scripts;
mod stopped;
mod strangers;
mod under_load;

use crate::support::{Client, Redis, Server, has_tool, wait_for};

/// The data of a request that was not sent to the other servers.
const AWAY: &str = "The other servers cannot be reached now";

/// The data of a request that may have been carried out.
const MAYBE: &str = "The other servers cannot be reached now; the message may have arrived";

/// The nodes of one chat, and their Redis.
struct Chat {
    nodes: Vec<Server>,
    redis: Redis,
}

impl Chat {
    /// Starts this many nodes. Returns `None` if redis-server is not installed.
    #[track_caller]
    fn start(count: usize) -> Option<Chat> {
        has_tool("redis-server").then(|| {
            let redis = Redis::start(&[]);
            Chat::start_on(redis, count)
        })
    }

    /// Starts this many nodes on a Redis.
    #[track_caller]
    fn start_on(redis: Redis, count: usize) -> Chat {
        let mut nodes = Vec::new();
        nodes.resize_with(count, || Chat::start_node(&redis, &[]));
        Chat { nodes, redis }
    }

    #[track_caller]
    fn start_node(redis: &Redis, options: &[&str]) -> Server {
        Server::start_node(redis, &[&["--rate", "0"], options].concat(), |_| {})
    }

    #[track_caller]
    fn add_node(&mut self) {
        self.nodes.push(Chat::start_node(&self.redis, &[]));
    }

    #[track_caller]
    fn connect(&self, node: usize) -> Client {
        self.nodes[node].connect()
    }

    #[track_caller]
    fn log_in(&self, node: usize, name: &str) -> Client {
        self.nodes[node].log_in(name)
    }

    /// Logs in a client that watches presence.
    #[track_caller]
    fn watcher(&self, node: usize, name: &str) -> Client {
        let mut client = self.log_in(node, name);
        client.ask("Watch-presence on", "200 OK", "Watching presence");
        client
    }
}

/// Returns the name of a key of the chat.
fn key(name: &str) -> String {
    format!("chat:{{main}}:{name}")
}

/// Ends the lease of the node that has the session of this name, as if 15 s were over.
#[track_caller]
fn end_lease(redis: &Redis, name: &str) {
    let entry: String = redis.ask(&["HGET", &key("names"), name]);
    let (node, _) = entry.split_once(' ').expect("an entry");
    let changed: u32 = redis.ask(&["ZADD", &key("nodes"), "XX", "CH", "1", node]);
    assert_eq!(changed, 1);
}

/// Repeats a request until its response is this one. Skips messages to the client.
#[track_caller]
fn ask_until(client: &mut Client, request: &str, data: &str) {
    let ignored_before = std::mem::replace(&mut client.ignore_deliveries, true);
    wait_for(&format!("{data:?} to {request:?}"), || {
        client.send(request);
        client.next().data == data
    });
    client.ignore_deliveries = ignored_before;
}

/// Sends a request for the session of a token, and expects its response.
#[track_caller]
fn ask_as(client: &mut Client, token: &str, request: &str, status: &str, data: &str) {
    client.send_as(token, request);
    client.expect_with(token, status, data);
}

#[track_caller]
fn quit(mut client: Client) {
    client.ask("Quit", "200 OK", "Goodbye");
    client.expect_end();
}

/// Returns how many commands this Redis has refused because it is full.
fn refused_commands(redis: &Redis) -> u64 {
    let info: String = redis.ask(&["INFO", "errorstats"]);
    let counts = info
        .lines()
        .find_map(|line| line.strip_prefix("errorstat_OOM:count="));
    counts.map_or(0, |count| count.parse().expect("a number"))
}
