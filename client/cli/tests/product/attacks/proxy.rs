//! Between warden and refinery, with both of their sides in its hands.

use std::io::BufReader;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use blindsmith_protocol::{FromWarden, MAX_BODY, ToWarden, read_body, read_head, write_frame};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A frame on its way.
#[derive(Clone)]
pub enum Frame {
    ToWarden(ToWarden, Vec<u8>),
    FromWarden(FromWarden, Vec<u8>),
}

/// What becomes of each frame: the frames that go on in its place.
pub type Attack = Box<dyn FnMut(Frame) -> Vec<Frame> + Send>;

/// The attack that is under way, if one is.
#[derive(Clone, Default)]
pub struct Proxy(Arc<Mutex<Option<Attack>>>);

impl Proxy {
    /// Listens for wardens and leads each to the refinery.
    pub fn listen(at: &Path, refinery: &Path) -> Self {
        let (proxy, refinery) = (Proxy::default(), refinery.to_owned());
        let (listener, serving) = (UnixListener::bind(at).unwrap(), proxy.clone());
        std::thread::spawn(move || {
            for warden in listener.incoming() {
                let Ok(warden) = warden else { return };
                let Ok(refinery) = UnixStream::connect(&refinery) else { continue };
                let pass_to = |frame| match frame {
                    Frame::ToWarden(message, body) => (message, body),
                    Frame::FromWarden(..) => panic!("a frame in the wrong direction"),
                };
                let pass_from = |frame| match frame {
                    Frame::FromWarden(message, body) => (message, body),
                    Frame::ToWarden(..) => panic!("a frame in the wrong direction"),
                };
                let pair = (warden.try_clone().unwrap(), refinery.try_clone().unwrap());
                let one = serving.clone();
                std::thread::spawn(move || one.pass(pair.1, pair.0, Frame::ToWarden, pass_to));
                let other = serving.clone();
                std::thread::spawn(move || other.pass(warden, refinery, Frame::FromWarden, pass_from));
            }
        });
        proxy
    }

    fn lock(&self) -> MutexGuard<'_, Option<Attack>> {
        self.0.lock().unwrap()
    }

    /// Begins an attack.
    pub fn attack(&self, attack: impl FnMut(Frame) -> Vec<Frame> + Send + 'static) {
        *self.lock() = Some(Box::new(attack));
    }

    /// Ends it.
    pub fn cease(&self) {
        *self.lock() = None;
    }

    fn pass<M: Serialize + DeserializeOwned>(
        &self,
        from: UnixStream,
        mut to: UnixStream,
        wrap: impl Fn(M, Vec<u8>) -> Frame,
        unwrap: impl Fn(Frame) -> (M, Vec<u8>),
    ) {
        let mut reader = BufReader::new(from.try_clone().unwrap());
        while let Ok((message, len)) = read_head::<M>(&mut reader) {
            let Ok(body) = read_body(&mut reader, len, MAX_BODY) else { break };
            let frame = wrap(message, body);
            let frames = match &mut *self.lock() {
                Some(attack) => attack(frame),
                None => vec![frame],
            };
            let sent = frames.into_iter().map(&unwrap).try_for_each(|(m, b)| write_frame(&mut to, &m, &[&b]));
            if sent.is_err() {
                break;
            }
        }
        _ = from.shutdown(Shutdown::Both);
        _ = to.shutdown(Shutdown::Both);
    }
}
