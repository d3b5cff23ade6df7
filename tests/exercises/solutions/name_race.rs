use crate::name_race::{Client, Lock, Registry};
use std::collections::HashMap;

/// Two maps under one lock. Each method uses one section, so the maps refer to each other one to
/// one whenever the lock is free.
#[derive(Default)]
pub(crate) struct Names(Lock<State>);

#[derive(Default)]
struct State {
    /// The client of each name, in lower case.
    owners: HashMap<String, Client>,
    /// The name of each client, as the client spells it.
    names: HashMap<Client, String>,
}

impl State {
    fn is_free_for(&self, client: Client, key: &str) -> bool {
        self.owners.get(key).is_none_or(|owner| *owner == client)
    }

    fn set(&mut self, client: Client, name: &str) {
        self.remove(client);
        self.owners.insert(name.to_ascii_lowercase(), client);
        self.names.insert(client, name.to_owned());
    }

    fn remove(&mut self, client: Client) {
        if let Some(name) = self.names.remove(&client) {
            self.owners.remove(&name.to_ascii_lowercase());
        }
    }
}

impl Registry for Names {
    fn claim(&self, client: Client, name: &str) -> bool {
        self.0.write(|state| {
            let may = !state.names.contains_key(&client)
                && state.is_free_for(client, &name.to_ascii_lowercase());
            if may {
                state.set(client, name);
            }
            may
        })
    }

    fn rename(&self, client: Client, name: &str) -> bool {
        self.0.write(|state| {
            let may = state.names.contains_key(&client)
                && state.is_free_for(client, &name.to_ascii_lowercase());
            if may {
                state.set(client, name);
            }
            may
        })
    }

    fn leave(&self, client: Client) {
        self.0.write(|state| state.remove(client));
    }

    fn all(&self) -> Vec<(Client, String)> {
        let pair = |(client, name): (&Client, &String)| (*client, name.clone());
        self.0.read(|state| state.names.iter().map(pair).collect())
    }
}
