//! One connection to Redis that calls scripts.
//!
//! It is a bare connection: after any error it is dropped. A client that reconnects by itself
//! would skip `join`, and after a timeout the crate would go on and take the late answer for the
//! next one.
//!
//! Does not know what a script does.
//!
//! Invariant: *every call carries the node and the fence of this connection.*

use redis::{Connection, ErrorKind, Pipeline, RedisError, RedisResult, Value};

use super::scripts::{Call, Script};
use super::settings::Settings;
use super::waiting::NodeId;
use crate::limits::REDIS_TIMEOUT;

/// A connection with the scripts loaded.
pub(super) struct Link {
    connection: Connection,
    /// The hashes of the scripts, in the order of [`Script::ALL`].
    hashes: Vec<String>,
    prefix: String,
    node: NodeId,
    /// The number that `join` has given to this connection.
    pub(super) fence: u64,
}

/// Opens a connection whose reads and writes have timeouts.
pub(super) fn connect(settings: &Settings, read: std::time::Duration) -> RedisResult<Connection> {
    let connection = settings
        .client()?
        .get_connection_with_timeout(REDIS_TIMEOUT)?;
    connection.set_read_timeout(Some(read))?;
    connection.set_write_timeout(Some(REDIS_TIMEOUT))?;
    Ok(connection)
}

/// Sends all commands of a pipeline, and returns their answers. The error of one command is its own
/// answer. Any other error means that the connection is broken.
///
/// `Pipeline::query` would wait for each answer behind the first one that does not arrive, every
/// time until the timeout.
pub(super) fn query_all(
    connection: &mut Connection,
    pipeline: &Pipeline,
) -> RedisResult<Vec<RedisResult<Value>>> {
    connection.send_packed_command(&pipeline.get_packed_pipeline())?;
    let answers = (0..pipeline.len()).map(|_| connection.recv_response());
    answers
        .map(|answer| answer.map(Value::extract_error))
        .collect()
}

impl Link {
    /// Connects, and loads the scripts.
    pub(super) fn open(settings: &Settings, node: &NodeId) -> RedisResult<Link> {
        let mut connection = connect(settings, REDIS_TIMEOUT)?;
        let mut load = redis::pipe();
        for script in Script::ALL {
            load.cmd("SCRIPT").arg("LOAD").arg(script.source());
        }
        let hashes = query_all(&mut connection, &load)?.into_iter();
        let hashes = hashes.map(|hash| Ok(redis::from_redis_value(hash?)?));
        Ok(Link {
            hashes: hashes.collect::<RedisResult<_>>()?,
            connection,
            prefix: settings.prefix(),
            node: node.clone(),
            fence: 0,
        })
    }

    /// Calls all of these scripts in one pipeline. An error means that the connection is broken.
    /// The error of one script is its own result.
    pub(super) fn call_all<'a>(
        &mut self,
        calls: impl Iterator<Item = &'a Call>,
    ) -> RedisResult<Vec<RedisResult<Answer>>> {
        let mut pipeline = redis::pipe();
        for call in calls {
            pipeline
                .cmd("EVALSHA")
                .arg(&self.hashes[call.script as usize])
                .arg(1)
                .arg(&self.prefix)
                .arg(self.node.as_str())
                .arg(self.fence)
                .arg(&call.arguments);
        }
        let results = query_all(&mut self.connection, &pipeline)?.into_iter();
        Ok(results
            .map(|result| result.and_then(Answer::parse))
            .collect())
    }

    /// Calls one script.
    pub(super) fn call(&mut self, call: &Call) -> RedisResult<Answer> {
        let results = self.call_all(std::iter::once(call))?;
        results
            .into_iter()
            .next()
            .unwrap_or_else(|| Err(not_understood()))
    }
}

/// What a script returns: an array of texts and numbers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer(Vec<String>);

impl Answer {
    fn parse(value: Value) -> RedisResult<Answer> {
        let Value::Array(items) = value else {
            return Err(not_understood());
        };
        let texts = items.into_iter().map(|item| match item {
            Value::Int(number) => Ok(number.to_string()),
            // A stranger can write other bytes. They are no name and no node.
            Value::BulkString(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            _ => Err(not_understood()),
        });
        texts.collect::<RedisResult<_>>().map(Answer)
    }

    /// Returns the first item: the outcome.
    pub(super) fn outcome(&self) -> &str {
        self.text(0)
    }

    /// Returns an item, or an empty text if the answer is shorter.
    pub(super) fn text(&self, index: usize) -> &str {
        self.0.get(index).map_or("", String::as_str)
    }

    /// Returns an item that is a number. Zero for any other text.
    pub(super) fn number(&self, index: usize) -> u64 {
        self.text(index).parse().unwrap_or(0)
    }

    /// Returns the items from this one on.
    pub(super) fn rest(&self, start: usize) -> &[String] {
        self.0.get(start..).unwrap_or_default()
    }
}

/// The error for what no script returns.
fn not_understood() -> RedisError {
    (ErrorKind::UnexpectedReturnType, "not an answer of a script").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_has_texts_and_numbers() {
        let bulk = |text: &str| Value::BulkString(text.into());
        let answer = Answer::parse(Value::Array(vec![bulk("sent"), Value::Int(3), bulk("b")]));
        let answer = answer.unwrap();
        assert_eq!((answer.outcome(), answer.number(1)), ("sent", 3));
        assert_eq!((answer.text(2), answer.text(3)), ("b", ""));
        assert_eq!(answer.rest(2), ["b"]);
        assert!(answer.rest(4).is_empty());
        for bad in [Value::Nil, Value::Okay, Value::Array(vec![Value::Nil])] {
            assert!(Answer::parse(bad).is_err());
        }
    }
}
