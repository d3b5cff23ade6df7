use crate::resource_limits::FULL;
use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// Keeps a descriptor that it can do without, and gives it up for the next client when there
/// is no other. Whether that one is served tells whether it can be had again.
pub(crate) fn accept_all(listener: &TcpListener, serve: fn(TcpStream)) -> io::Result<Infallible> {
    let mut reserve = Some(reserve()?);
    loop {
        match listener.accept() {
            Ok((socket, _)) => {
                reserve = reserve.or_else(|| self::reserve().ok());
                if reserve.is_some() {
                    // Without a thread the socket is dropped.
                    let _ = thread::Builder::new().spawn(move || serve(socket));
                } else {
                    refuse(&socket);
                    drop(socket);
                    reserve = self::reserve().ok();
                }
            }
            // Without one to give up, it is something else that is lacking.
            Err(_) if reserve.take().is_none() => thread::sleep(Duration::from_millis(10)),
            Err(_) => {}
        }
    }
}

fn reserve() -> io::Result<File> {
    File::open("/dev/null")
}

/// Says so, and takes what the client has sent by now, or the close would be a reset.
fn refuse(mut socket: &TcpStream) {
    let _ = socket.set_read_timeout(Some(Duration::from_millis(1)));
    let _ = socket.write_all(format!("{FULL}\n").as_bytes());
    let _ = socket.shutdown(Shutdown::Write);
    let _ = socket.read(&mut [0; 4096]);
}
