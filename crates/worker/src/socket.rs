//! The UDP socket and the other calls into the operating system: the only unsafe code of the engine.
//!
//! Datagrams are read and sent in batches (recvmmsg, sendmmsg). Each carries the kernel's time of
//! receipt (SO_TIMESTAMPNS), because the time from there to here is up to some ms under load and would
//! otherwise end up in the journal and in the congestion feedback.

use std::io;
use std::mem::{MaybeUninit, size_of, zeroed};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use isotape_sfu::Datagram;

use crate::error::Error;

/// Datagrams of one system call.
const BATCH: usize = 64;
/// A datagram larger than this is cut by the kernel and dropped by us; WebRTC stays below 1,500.
pub const DATAGRAM_BYTES: usize = 1500;
/// Shorter ones are neither RTP nor STUN nor DTLS (RFC 3550: the RTP header has 12 bytes).
pub const DATAGRAM_MIN_BYTES: usize = 12;
const BUFFER_BYTES: usize = 1536;
/// Room for a timespec and an overflow count.
const CONTROL_BYTES: usize = 128;

/// What the kernel dropped or could not send, and what we drop for its size.
#[derive(Debug, Default, Clone, Copy)]
pub struct SocketCounters {
    pub datagrams_received: u64,
    pub datagrams_sent: u64,
    /// The socket's receive buffer was full (SO_RXQ_OVFL).
    pub kernel_overflows: u64,
    pub wrong_size: u64,
    pub send_errors: u64,
}

/// A datagram as it lies in the batch.
pub struct Received<'a> {
    pub source: SocketAddr,
    /// Wall clock, ns; none if the kernel gave no stamp.
    pub stamp_unix_ns: Option<u64>,
    pub contents: &'a [u8],
}

pub struct MediaSocket {
    socket: UdpSocket,
    buffers: Box<[[u8; BUFFER_BYTES]; BATCH]>,
    controls: Box<[[u64; CONTROL_BYTES / 8]; BATCH]>,
    names: Box<[libc::sockaddr_storage; BATCH]>,
    last_overflows: u32,
    pub counters: SocketCounters,
}

impl MediaSocket {
    pub fn bind(address: SocketAddr, receive_buffer_bytes: usize) -> Result<Self, Error> {
        let what = || format!("socket {address}");
        let socket = UdpSocket::bind(address).map_err(Error::system(what()))?;
        socket
            .set_nonblocking(true)
            .map_err(Error::system(what()))?;
        for (option, value) in [(libc::SO_TIMESTAMPNS, 1), (libc::SO_RXQ_OVFL, 1)] {
            set_option(socket.as_raw_fd(), option, value).map_err(Error::system(what()))?;
        }
        let size = libc::c_int::try_from(receive_buffer_bytes).unwrap_or(libc::c_int::MAX);
        set_buffer_sizes(socket.as_raw_fd(), size).map_err(Error::system(what()))?;
        // SAFETY: all-zero bytes are a valid sockaddr_storage.
        let names = Box::new([unsafe { zeroed() }; BATCH]);
        let (buffers, controls) = (
            Box::new([[0; BUFFER_BYTES]; BATCH]),
            Box::new([[0; CONTROL_BYTES / 8]; BATCH]),
        );
        Ok(Self {
            socket,
            buffers,
            controls,
            names,
            last_overflows: 0,
            counters: SocketCounters::default(),
        })
    }

    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Reads one batch and hands out each datagram; returns how many there were.
    pub fn receive(&mut self, mut each: impl FnMut(Received<'_>)) -> usize {
        // SAFETY: all-zero bytes are valid for both types.
        let mut vectors: [libc::iovec; BATCH] = unsafe { zeroed() };
        // SAFETY: as above.
        let mut messages: [libc::mmsghdr; BATCH] = unsafe { zeroed() };
        for index in 0..BATCH {
            vectors[index].iov_base = self.buffers[index].as_mut_ptr().cast();
            vectors[index].iov_len = BUFFER_BYTES;
            let header = &mut messages[index].msg_hdr;
            header.msg_name = (&raw mut self.names[index]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_iov = &raw mut vectors[index];
            header.msg_iovlen = 1;
            header.msg_control = self.controls[index].as_mut_ptr().cast();
            header.msg_controllen = CONTROL_BYTES as _;
        }
        let descriptor = self.socket.as_raw_fd();
        // SAFETY: every pointer above points to memory that lives until this call returns, with its length.
        let count = unsafe {
            libc::recvmmsg(
                descriptor,
                messages.as_mut_ptr(),
                BATCH as _,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        // An error is EAGAIN, or an ICMP answer to something we sent; both mean: nothing here.
        let count = usize::try_from(count).unwrap_or(0);
        for (index, message) in messages[..count].iter().enumerate() {
            self.hand_out(index, message, &mut each);
        }
        self.counters.datagrams_received += count as u64;
        count
    }

    fn hand_out(
        &mut self,
        index: usize,
        message: &libc::mmsghdr,
        each: &mut impl FnMut(Received<'_>),
    ) {
        let control = read_control(&message.msg_hdr);
        if let Some(overflows) = control.overflows {
            self.counters.kernel_overflows +=
                u64::from(overflows.wrapping_sub(self.last_overflows));
            self.last_overflows = overflows;
        }
        let length = message.msg_len as usize;
        let is_cut = message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        let Some(source) = read_address(&self.names[index]) else {
            return;
        };
        if is_cut || !(DATAGRAM_MIN_BYTES..=DATAGRAM_BYTES).contains(&length) {
            self.counters.wrong_size += 1;
            return;
        }
        let contents = &self.buffers[index][..length];
        each(Received {
            source,
            stamp_unix_ns: control.stamp_unix_ns,
            contents,
        });
    }

    /// Sends all; what the kernel does not take at once is dropped and counted, as UDP would.
    pub fn send(&mut self, datagrams: &mut Vec<Datagram>) {
        for batch in datagrams.chunks_mut(BATCH) {
            self.send_batch(batch);
        }
        datagrams.clear();
    }

    fn send_batch(&mut self, batch: &mut [Datagram]) {
        // SAFETY: all-zero bytes are valid for these types.
        let mut vectors: [libc::iovec; BATCH] = unsafe { zeroed() };
        // SAFETY: as above.
        let mut messages: [libc::mmsghdr; BATCH] = unsafe { zeroed() };
        for (index, datagram) in batch.iter_mut().enumerate() {
            let length = write_address(datagram.destination.address, &mut self.names[index]);
            vectors[index].iov_base = datagram.contents.as_mut_ptr().cast();
            vectors[index].iov_len = datagram.contents.len();
            let header = &mut messages[index].msg_hdr;
            header.msg_name = (&raw mut self.names[index]).cast();
            header.msg_namelen = length;
            header.msg_iov = &raw mut vectors[index];
            header.msg_iovlen = 1;
        }
        let mut sent = 0;
        while sent < batch.len() {
            let rest = &mut messages[sent..batch.len()];
            // SAFETY: the messages point to the batch's contents and to our names, which outlive the call.
            let count = unsafe {
                libc::sendmmsg(
                    self.socket.as_raw_fd(),
                    rest.as_mut_ptr(),
                    rest.len() as _,
                    0,
                )
            };
            match usize::try_from(count) {
                Ok(count) if count > 0 => {
                    self.counters.datagrams_sent += count as u64;
                    sent += count;
                }
                // The first of the rest cannot be sent now; go on behind it.
                _ => {
                    self.counters.send_errors += 1;
                    sent += 1;
                }
            }
        }
    }
}

impl AsRawFd for MediaSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

#[derive(Default)]
struct Control {
    stamp_unix_ns: Option<u64>,
    overflows: Option<u32>,
}

fn read_control(header: &libc::msghdr) -> Control {
    let mut control = Control::default();
    // SAFETY: the kernel filled `msg_control` and set its length; the CMSG macros walk within it, and
    // the data of these two types is a timespec and a u32, perhaps unaligned.
    unsafe {
        let mut entry = libc::CMSG_FIRSTHDR(header);
        while !entry.is_null() {
            let data = libc::CMSG_DATA(entry);
            match ((*entry).cmsg_level, (*entry).cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                    let stamp: libc::timespec = data.cast::<libc::timespec>().read_unaligned();
                    control.stamp_unix_ns =
                        Some(stamp.tv_sec as u64 * 1_000_000_000 + stamp.tv_nsec as u64);
                }
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                    control.overflows = Some(data.cast::<u32>().read_unaligned())
                }
                _ => {}
            }
            entry = libc::CMSG_NXTHDR(header, entry);
        }
    }
    control
}

fn read_address(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let family = libc::c_int::from(name.ss_family);
    let name = &raw const *name;
    match family {
        libc::AF_INET => {
            // SAFETY: the family says that the storage holds a sockaddr_in.
            let v4 = unsafe { &*name.cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddr::from((ip, u16::from_be(v4.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that the storage holds a sockaddr_in6.
            let v6 = unsafe { &*name.cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr).to_canonical();
            Some(SocketAddr::from((ip, u16::from_be(v6.sin6_port))))
        }
        _ => None,
    }
}

fn write_address(address: SocketAddr, name: &mut libc::sockaddr_storage) -> libc::socklen_t {
    // SAFETY: all-zero bytes are a valid sockaddr_storage, which is large and aligned enough for both.
    unsafe {
        *name = zeroed();
        match address {
            SocketAddr::V4(v4) => {
                let out = &mut *(&raw mut *name).cast::<libc::sockaddr_in>();
                out.sin_family = libc::AF_INET as libc::sa_family_t;
                out.sin_port = v4.port().to_be();
                out.sin_addr.s_addr = u32::from(*v4.ip()).to_be();
                size_of::<libc::sockaddr_in>() as libc::socklen_t
            }
            SocketAddr::V6(v6) => {
                let out = &mut *(&raw mut *name).cast::<libc::sockaddr_in6>();
                out.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                out.sin6_port = v6.port().to_be();
                out.sin6_addr.s6_addr = v6.ip().octets();
                out.sin6_scope_id = v6.scope_id();
                size_of::<libc::sockaddr_in6>() as libc::socklen_t
            }
        }
    }
}

/// With CAP_NET_ADMIN the buffers get the size; without it the kernel grants at most net.core.rmem_max,
/// by default 160 full datagrams, which is no error but shows in `kernel_overflows`.
fn set_buffer_sizes(descriptor: RawFd, size: libc::c_int) -> io::Result<()> {
    for (forced, usual) in [
        (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF),
        (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF),
    ] {
        set_option(descriptor, forced, size).or_else(|_| set_option(descriptor, usual, size))?;
    }
    Ok(())
}

/// Sets a number at the level of the socket.
pub fn set_option(descriptor: RawFd, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the value lives through the call and has the length given.
    let outcome = unsafe {
        libc::setsockopt(
            descriptor,
            libc::SOL_SOCKET,
            option,
            (&raw const value).cast(),
            length,
        )
    };
    if outcome == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// An eventfd: readable from `signal` until `clear`.
pub struct EventFd(OwnedFd);

impl EventFd {
    pub fn new() -> Result<Self, Error> {
        // SAFETY: no pointers; a descriptor that is returned is ours alone.
        let descriptor = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if descriptor < 0 {
            return Err(Error::system("eventfd")(io::Error::last_os_error()));
        }
        // SAFETY: as above.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(descriptor) }))
    }

    /// Cannot fail in a way that matters: a full counter is readable all the same.
    pub fn signal(&self) {
        let one: u64 = 1;
        // SAFETY: eight bytes of a living integer.
        unsafe { libc::write(self.0.as_raw_fd(), (&raw const one).cast(), 8) };
    }

    pub fn clear(&self) {
        let mut count = MaybeUninit::<u64>::uninit();
        // SAFETY: eight bytes of room.
        unsafe { libc::read(self.0.as_raw_fd(), count.as_mut_ptr().cast(), 8) };
    }
}

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// A descriptor to wait for.
#[derive(Debug)]
pub struct Watch {
    descriptor: RawFd,
    /// Whether to wait until it can be written to, too.
    pub writing: bool,
    is_ready: bool,
}

impl Watch {
    pub fn reading(descriptor: RawFd) -> Self {
        Self {
            descriptor,
            writing: false,
            is_ready: false,
        }
    }

    /// Whether it became ready, or failed, since it was last asked.
    pub fn take_ready(&mut self) -> bool {
        std::mem::take(&mut self.is_ready)
    }
}

/// Sleeps until one is ready or the time is over.
pub fn wait(watches: &mut [&mut Watch], timeout: Duration) {
    let entry = |watch: &&mut Watch| libc::pollfd {
        fd: watch.descriptor,
        events: libc::POLLIN | if watch.writing { libc::POLLOUT } else { 0 },
        revents: 0,
    };
    let mut entries: Vec<_> = watches.iter().map(entry).collect();
    let timeout = libc::timespec {
        tv_sec: timeout.as_secs() as _,
        tv_nsec: timeout.subsec_nanos() as _,
    };
    // SAFETY: the entries and the timeout live through the call; an interruption just returns early.
    unsafe {
        libc::ppoll(
            entries.as_mut_ptr(),
            entries.len() as _,
            &raw const timeout,
            std::ptr::null(),
        )
    };
    for (watch, entry) in watches.iter_mut().zip(entries) {
        watch.is_ready |= entry.revents != 0;
    }
}

/// Makes everything written to the file system of `descriptor` durable (syncfs reports errors since Linux 5.8).
pub fn sync_file_system(descriptor: RawFd) -> io::Result<()> {
    // SAFETY: no pointers.
    if unsafe { libc::syncfs(descriptor) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isotape_sfu::Tuple;
    use std::time::{SystemTime, UNIX_EPOCH};

    fn socket() -> MediaSocket {
        MediaSocket::bind("127.0.0.1:0".parse().unwrap(), 1 << 20).unwrap()
    }

    fn receive_all(socket: &mut MediaSocket) -> Vec<(SocketAddr, Option<u64>, Vec<u8>)> {
        let mut all = Vec::new();
        while socket.receive(|datagram| {
            all.push((
                datagram.source,
                datagram.stamp_unix_ns,
                datagram.contents.to_vec(),
            ))
        }) > 0
        {}
        all
    }

    #[test]
    fn a_batch_arrives_whole_and_stamped_by_the_kernel() {
        let (mut from, mut to) = (socket(), socket());
        let destination = to.local_address().unwrap();
        let mut batch: Vec<_> = (0..100u8)
            .map(|n| Datagram {
                destination: Tuple::udp(destination),
                contents: vec![n; 20 + n as usize],
            })
            .collect();
        from.send(&mut batch);
        let received = receive_all(&mut to);
        assert_eq!(received.len(), 100);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_nanos() as u64;
        for (n, (source, stamp, contents)) in received.into_iter().enumerate() {
            assert_eq!(source, from.local_address().unwrap());
            assert!(now - stamp.expect("SO_TIMESTAMPNS is on") < 1_000_000_000);
            assert_eq!(contents, vec![n as u8; 20 + n]);
        }
    }

    #[test]
    fn a_stamp_tells_when_it_came_and_not_when_it_was_read() {
        let (mut from, mut to) = (socket(), socket());
        let destination = to.local_address().unwrap();
        let apart = std::time::Duration::from_millis(20);
        let mut is_seen_apart = || {
            for _ in 0..2 {
                let contents = vec![0; DATAGRAM_MIN_BYTES];
                from.send(&mut vec![Datagram {
                    destination: Tuple::udp(destination),
                    contents,
                }]);
                std::thread::sleep(apart);
            }
            let stamps: Vec<_> = receive_all(&mut to)
                .into_iter()
                .map(|(_, stamp, _)| stamp.unwrap())
                .collect();
            stamps[1].saturating_sub(stamps[0]) >= apart.as_nanos() as u64
        };
        // Linux begins to stamp a moment after it was asked to, and until then stamps what is read.
        assert!((0..10).any(|_| is_seen_apart()));
    }

    #[test]
    fn datagrams_of_no_honest_size_are_counted_and_dropped() {
        let (mut from, mut to) = (socket(), socket());
        let destination = to.local_address().unwrap();
        let sizes = [
            DATAGRAM_MIN_BYTES - 1,
            DATAGRAM_MIN_BYTES,
            DATAGRAM_BYTES,
            DATAGRAM_BYTES + 1,
            9_000,
        ];
        from.send(
            &mut sizes
                .iter()
                .map(|size| Datagram {
                    destination: Tuple::udp(destination),
                    contents: vec![0; *size],
                })
                .collect(),
        );
        assert_eq!(receive_all(&mut to).len(), 2);
        assert_eq!(to.counters.wrong_size, 3);
    }
}
