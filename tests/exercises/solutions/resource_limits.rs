use crate::resource_limits::FULL;
use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// Keeps a spare descriptor. If no other is left, it closes the spare one to accept the next
/// client. That client is served only if the spare descriptor can be opened again.
pub(crate) fn accept_all(listener: &TcpListener, serve: fn(TcpStream)) -> io::Result<Infallible> {
    let mut reserve = Some(reserve()?);
    loop {
        match listener.accept() {
            Ok((socket, _)) => {
                reserve = reserve.or_else(|| self::reserve().ok());
                if reserve.is_some() {
                    // If there is no thread, the socket is dropped.
                    let _ = thread::Builder::new().spawn(move || serve(socket));
                } else {
                    refuse(&socket);
                    drop(socket);
                    reserve = self::reserve().ok();
                }
            }
            // Without a spare descriptor, it pauses before the next try.
            Err(_) if reserve.take().is_none() => thread::sleep(Duration::from_millis(10)),
            Err(_) => {}
        }
    }
}

fn reserve() -> io::Result<File> {
    File::open("/dev/null")
}

/// Refuses a client. It also reads what the client has sent by now, because a close with unread
/// input would be a reset.
fn refuse(mut socket: &TcpStream) {
    let _ = socket.set_read_timeout(Some(Duration::from_millis(1)));
    let _ = socket.write_all(format!("{FULL}\n").as_bytes());
    let _ = socket.shutdown(Shutdown::Write);
    let _ = socket.read(&mut [0; 4096]);
}
