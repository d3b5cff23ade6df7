//! A network between a node and its Redis that loses or delays bytes.
//!
//! The first node is behind a proxy, and the second one is not.

use super::{AWAY, Chat, MAYBE, ask_until, quit};
use crate::support::{Client, Mode, Proxy, Redis, Server, Way, has_tool};
use std::ops::Deref;
use std::thread;
use std::time::Duration;

/// A chat whose first node is behind a proxy. The client of its second node watches presence.
struct Divided {
    chat: Chat,
    proxy: Proxy,
    far: Client,
}

impl Deref for Divided {
    type Target = Chat;

    fn deref(&self) -> &Chat {
        &self.chat
    }
}

impl Divided {
    #[track_caller]
    fn start() -> Option<Divided> {
        has_tool("redis-server").then(|| {
            let redis = Redis::start(&[]);
            let proxy = Proxy::start(&redis);
            let node = Server::start_node_at(&proxy.url(), &["--rate", "0"], |_| {});
            let nodes = vec![node, Chat::start_node(&redis, &[])];
            let chat = Chat { nodes, redis };
            let far = chat.watcher(1, "far");
            Divided { chat, proxy, far }
        })
    }

    /// Logs in a client at the first node.
    #[track_caller]
    fn near(&mut self, name: &str) -> Client {
        let client = self.chat.log_in(0, name);
        self.far.expect_presence(&format!("joined {name}"));
        client
    }

    /// Sends a request whose outcome the client does not learn.
    #[track_caller]
    fn ask_in_vain(&self, client: &mut Client, way: Way, mode: Mode, request: &str) {
        self.proxy.set(way, mode);
        client.ask(request, "502 Bad Gateway", MAYBE);
        self.proxy.set(way, Mode::Pass);
    }

    /// Waits until the first node reaches the second one, which confirms. Then sends a broadcast.
    #[track_caller]
    fn recover(&mut self, near: &mut Client) {
        ask_until(near, "Private-message far again", "Delivered to far");
        near.ignore_deliveries = true;
        near.send("Broadcast-message last");
        let data = near.next().data;
        assert!(data.starts_with("Delivered to "), "{data}");
        near.ignore_deliveries = false;
    }
}

/// Counts the deliveries that end in this, up to the broadcast of [`Divided::recover`].
#[track_caller]
fn count_before_last(client: &mut Client, end: &str) -> usize {
    let mut count = 0;
    loop {
        let data = client.next().data;
        if data.ends_with(" last") {
            return count;
        }
        count += usize::from(data.ends_with(end));
    }
}

/// Runs a test for each kind of loss at the same time, each with a chat of its own.
fn for_each_loss(test: fn(Divided, Way, Mode)) {
    let losses = [
        (Way::Answers, Mode::Cut),
        (Way::Answers, Mode::Swallow),
        (Way::Requests, Mode::Swallow),
    ];
    thread::scope(|scope| {
        for (way, mode) in losses {
            scope.spawn(move || {
                if let Some(chat) = Divided::start() {
                    test(chat, way, mode);
                }
            });
        }
    });
}

#[test]
fn name_of_a_claim_without_an_answer_becomes_free() {
    for_each_loss(|mut chat, way, mode| {
        let (mut near, mut client) = (chat.near("near"), chat.connect(0));
        chat.ask_in_vain(&mut client, way, mode, "Set-name bob");
        let mut bob = chat.connect(1);
        ask_until(&mut bob, "Set-name bob", "You are bob");
        if way == Way::Answers {
            // The claim was carried out, and released afterwards.
            chat.far.expect_presence("joined bob");
            chat.far.expect_presence("left bob");
        }
        chat.far.expect_presence("joined bob");
        chat.recover(&mut near);
        assert_eq!(count_before_last(&mut chat.far, " bob"), 0);
        // The first connection has no session, and gets one.
        client.ask("List-names", "401 Unauthorized", "Set a name first");
        client.set_name("carol");
        chat.far.expect_presence("joined carol");
        near.ask("List-names", "200 OK", "4 online: bob carol far near");
    });
}

#[test]
fn private_message_without_an_answer_may_have_arrived() {
    for_each_loss(|mut chat, way, mode| {
        let mut near = chat.near("near");
        chat.ask_in_vain(&mut near, way, mode, "Private-message far maybe");
        chat.recover(&mut near);
        let arrived = count_before_last(&mut chat.far, " near maybe");
        assert_eq!(arrived, usize::from(way == Way::Answers), "{way:?}");
    });
}

#[test]
fn broadcast_without_an_answer_reaches_no_session_of_its_node() {
    for_each_loss(|mut chat, way, mode| {
        let (mut near, mut here) = (chat.near("near"), chat.near("here"));
        chat.ask_in_vain(&mut near, way, mode, "Broadcast-message maybe");
        chat.recover(&mut near);
        let arrived = count_before_last(&mut chat.far, " near maybe");
        assert_eq!(arrived, usize::from(way == Way::Answers), "{way:?}");
        assert_eq!(count_before_last(&mut here, " near maybe"), 0);
    });
}

#[test]
fn rename_without_an_answer_is_the_same_at_all_nodes() {
    for_each_loss(|mut chat, way, mode| {
        let mut near = chat.near("near");
        chat.ask_in_vain(&mut near, way, mode, "Set-name bob");
        let granted = match way {
            Way::Answers => "You are already bob",
            Way::Requests => "You are bob",
        };
        ask_until(&mut near, "Set-name bob", granted);
        chat.far.expect_presence("renamed near bob");
        ask_until(&mut near, "List-names", "2 online: bob far");
        let mut other = chat.log_in(1, "near");
        other.ask("Set-name bob", "403 Forbidden", "bob is taken");
        other.ask("List-names", "200 OK", "3 online: bob far near");
    });
}

#[test]
fn release_without_an_answer_frees_the_name_once() {
    for_each_loss(|mut chat, way, mode| {
        let (mut near, mut bob) = (chat.near("near"), chat.near("bob"));
        chat.proxy.set(way, mode);
        bob.ask("Quit", "200 OK", "Goodbye");
        bob.expect_end();
        chat.proxy.set(way, Mode::Pass);
        let mut again = chat.connect(1);
        ask_until(&mut again, "Set-name bob", "You are bob");
        chat.far.expect_presence("left bob");
        chat.far.expect_presence("joined bob");
        chat.recover(&mut near);
        assert_eq!(count_before_last(&mut chat.far, " bob"), 0);
    });
}

#[test]
fn chat_works_over_a_slow_network() {
    let Some(mut chat) = Divided::start() else {
        return;
    };
    let mut near = chat.near("near");
    for way in [Way::Requests, Way::Answers] {
        chat.proxy.set(way, Mode::Delay(Duration::from_millis(150)));
    }
    near.ask("Private-message far one", "200 OK", "Delivered to far");
    chat.far.expect_delivery("private", "near", "one");
    chat.far
        .ask("Private-message near two", "200 OK", "Delivered to near");
    near.expect_delivery("private", "far", "two");
    near.ask("Broadcast-message three", "200 OK", "Delivered to 1");
    chat.far.expect_delivery("broadcast", "near", "three");
    near.ask("Set-name NEAR", "200 OK", "You are NEAR");
    chat.far.expect_presence("renamed near NEAR");
    near.ask("List-names", "200 OK", "2 online: far NEAR");
    let other = chat.near("other");
    quit(other);
    chat.far.expect_presence("left other");
    near.ask("Set-name far", "403 Forbidden", "far is taken");
    chat.far.barrier();
}

#[test]
fn requests_are_refused_while_redis_is_too_slow() {
    let Some(mut chat) = Divided::start() else {
        return;
    };
    let (mut near, mut here) = (chat.near("near"), chat.near("here"));
    for way in [Way::Requests, Way::Answers] {
        let slow = Mode::Delay(Duration::from_millis(1_500));
        chat.proxy.set(way, slow);
    }
    ask_until(&mut near, "List-names", AWAY);
    near.ask("Private-message here near", "200 OK", "Delivered to here");
    here.expect_delivery("private", "near", "near");
    near.ask("Private-message far hi", "502 Bad Gateway", AWAY);
    for way in [Way::Requests, Way::Answers] {
        chat.proxy.set(way, Mode::Pass);
    }
    chat.recover(&mut near);
    here.expect_delivery("broadcast", "near", "last");
}

#[test]
fn late_commands_of_a_dead_connection_change_nothing() {
    let Some(mut chat) = Divided::start() else {
        return;
    };
    let (mut near, mut here) = (chat.near("near"), chat.near("here"));
    let mut nameless = chat.connect(0);
    chat.proxy.set(Way::Requests, Mode::Hold);
    // They go into one pipeline, or into two of which the second is never sent.
    here.send("Private-message far late");
    near.send("Set-name late");
    nameless.send("Set-name late2");
    chat.proxy.wait_for_held("EVALSHA");
    chat.proxy.cut();
    chat.proxy.set(Way::Requests, Mode::Pass);
    for client in [&mut here, &mut near, &mut nameless] {
        let message = client.next();
        assert_eq!(message.status, "502 Bad Gateway", "{message:?}");
        assert!([AWAY, MAYBE].contains(&&*message.data), "{message:?}");
    }
    chat.recover(&mut near);
    let answers = chat.proxy.deliver_held();
    assert!(answers.contains("lost"), "{answers}");
    // The node keeps its connection, and nothing of them has taken effect.
    near.ask("List-names", "200 OK", "3 online: far here near");
    chat.recover(&mut near);
    assert_eq!(count_before_last(&mut chat.far, " here late"), 0);
    assert_eq!(count_before_last(&mut chat.far, "late"), 0);
    let losses = chat.nodes[0].count_log("lost the connection to Redis");
    assert_eq!(losses, 1);
}
