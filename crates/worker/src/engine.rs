//! Starts and stops the two threads, and is what Python holds.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use isotape_sfu::{Config, Sfu, VideoCodec};
use serde::Deserialize;
use serde_json::json;

use crate::clock::SessionClock;
use crate::command::Request;
use crate::error::Error;
use crate::events::EventQueue;
use crate::intake::{BATCHES, Intake, WAITING_BYTES};
use crate::shard::{Metrics, Shard};
use crate::socket::{EventFd, MediaSocket};
use crate::tcp::TcpMedia;
use crate::writer::{JournalThread, Setup, WriterCounters};

/// Commands that may wait for the shard; more mean that it is stuck.
const COMMANDS: usize = 4096;
/// How many free ports are looked at; TCP has taken one of them with a chance of some per cent at most.
const PORT_TRIES: u32 = 16;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineConfig {
    /// Address and port of the media socket; port 0 takes any.
    pub bind: SocketAddr,
    /// The addresses that clients are told. Behind NAT: the public one alone.
    pub announce: Vec<IpAddr>,
    /// Whether the port's number is open for TCP as well, for clients whose network lets no UDP through.
    #[serde(default = "default_tcp")]
    pub tcp: bool,
    /// The folder below which the journals lie; must exist.
    pub journal_root: PathBuf,
    /// In the order of preference.
    #[serde(default = "default_video_codecs")]
    pub video_codecs: Vec<VideoCodec>,
    /// How much a power cut may cost.
    #[serde(default = "default_sync_interval_ms")]
    pub sync_interval_ms: u64,
    /// Without CAP_NET_ADMIN the kernel grants at most net.core.rmem_max.
    #[serde(default = "default_receive_buffer_bytes")]
    pub receive_buffer_bytes: usize,
}

impl EngineConfig {
    fn media_plane(&self, port: u16) -> Config {
        Config {
            announce: self
                .announce
                .iter()
                .map(|ip| SocketAddr::new(*ip, port))
                .collect(),
            tcp: self.tcp,
            video_codecs: self.video_codecs.clone(),
        }
    }
}

/// H264 in front, because it goes into MP4.
fn default_video_codecs() -> Vec<VideoCodec> {
    vec![
        VideoCodec::H264,
        VideoCodec::Vp9,
        VideoCodec::Av1,
        VideoCodec::Vp8,
    ]
}

/// Networks that let no UDP through are common, and the price of a listener is small.
fn default_tcp() -> bool {
    true
}

/// A group sync four times a second costs little and bounds the loss of a power cut.
fn default_sync_interval_ms() -> u64 {
    250
}

/// 100 ms of 300 Mbit/s.
fn default_receive_buffer_bytes() -> usize {
    4 * 1024 * 1024
}

struct Running {
    commands: SyncSender<Request>,
    shard: JoinHandle<()>,
    journal: JoinHandle<()>,
}

pub struct Engine {
    running: Mutex<Option<Running>>,
    wake: Arc<EventFd>,
    events: Arc<EventQueue>,
    metrics: Metrics,
    writer_counters: Arc<WriterCounters>,
    port: u16,
}

impl Engine {
    pub fn start(config: EngineConfig) -> Result<Self, Error> {
        if config.announce.is_empty() || config.video_codecs.is_empty() {
            return Err(Error::Config(
                "announce and video_codecs must not be empty".into(),
            ));
        }
        let (socket, tcp) = bind(&config)?;
        let local = socket.local_address().map_err(Error::system("socket"))?;
        let (commands, command_receiver) = sync_channel(COMMANDS);
        let (batch_sender, batches) = sync_channel(BATCHES);
        let in_flight = Arc::new(AtomicU64::new(0));
        let engine = Self {
            running: Mutex::new(None),
            wake: Arc::new(EventFd::new()?),
            events: Arc::new(EventQueue::new()?),
            metrics: Metrics::default(),
            writer_counters: Arc::default(),
            port: local.port(),
        };
        let now = Instant::now();
        let shard = Shard {
            socket,
            tcp,
            sfu: Sfu::new(config.media_plane(local.port()), now),
            commands: command_receiver,
            wake: engine.wake.clone(),
            events: engine.events.clone(),
            intake: Intake::new(batch_sender, in_flight.clone(), WAITING_BYTES),
            metrics: engine.metrics.clone(),
            latest: now,
            metrics_at: now,
        };
        let journal = JournalThread::new(Setup {
            batches,
            in_flight,
            events: engine.events.clone(),
            counters: engine.writer_counters.clone(),
            clock: SessionClock::start(),
            journal_root: config.journal_root,
            sync_interval: Duration::from_millis(config.sync_interval_ms),
        });
        let journal = spawn("isotape-journal", &engine.events, move || journal.run())?;
        let shard = spawn("isotape-shard", &engine.events, move || shard.run())?;
        *engine.lock_running() = Some(Running {
            commands,
            shard,
            journal,
        });
        Ok(engine)
    }

    fn lock_running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The port of the media socket.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Readable while events wait.
    pub fn event_fd(&self) -> RawFd {
        self.events.fd()
    }

    /// All waiting events, each a JSON object.
    pub fn poll(&self) -> Vec<String> {
        self.events.drain()
    }

    /// Queues a command; its reply comes as an event.
    pub fn command(&self, json: &str) -> Result<(), Error> {
        let request =
            serde_json::from_str(json).map_err(|error| Error::Command(error.to_string()))?;
        let running = self.lock_running();
        let running = running.as_ref().ok_or(Error::Closed)?;
        running
            .commands
            .try_send(request)
            .map_err(|error| match error {
                TrySendError::Full(_) => Error::Full(COMMANDS),
                TrySendError::Disconnected(_) => Error::Closed,
            })?;
        self.wake.signal();
        Ok(())
    }

    /// Counters and gauges by name.
    pub fn metrics(&self) -> BTreeMap<&'static str, u64> {
        let mut metrics = self
            .metrics
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .clone();
        let counters = &self.writer_counters;
        metrics.extend([
            ("journal_records", counters.records.load(Ordering::Relaxed)),
            ("journal_bytes", counters.bytes.load(Ordering::Relaxed)),
            (
                "journal_lost_packets",
                counters.lost_packets.load(Ordering::Relaxed),
            ),
            (
                "journal_refused_records",
                counters.refused_records.load(Ordering::Relaxed),
            ),
            (
                "journal_disk_errors",
                counters.disk_errors.load(Ordering::Relaxed),
            ),
            ("journal_syncs", counters.syncs.load(Ordering::Relaxed)),
            (
                "journal_sync_micros",
                counters.sync_micros.load(Ordering::Relaxed),
            ),
            (
                "journals_open",
                counters.open_journals.load(Ordering::Relaxed),
            ),
            ("events_dropped", self.events.dropped()),
        ]);
        metrics
    }

    /// Stops both threads. What was received is durable on return; journals that were not sealed are
    /// left to recovery.
    pub fn close(&self) {
        let running = self.lock_running().take();
        let Some(Running {
            commands,
            shard,
            journal,
        }) = running
        else {
            return;
        };
        drop(commands);
        self.wake.signal();
        // A panic of either thread was told as an event.
        let _ = shard.join();
        let _ = journal.join();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}

/// Both sockets on one number. If the kernel may choose it, one that TCP has taken already is passed over.
fn bind(config: &EngineConfig) -> Result<(MediaSocket, Option<TcpMedia>), Error> {
    let mut tries_left = if config.bind.port() == 0 {
        PORT_TRIES
    } else {
        1
    };
    loop {
        tries_left -= 1;
        let socket = MediaSocket::bind(config.bind, config.receive_buffer_bytes)?;
        if !config.tcp {
            return Ok((socket, None));
        }
        let address = socket.local_address().map_err(Error::system("socket"))?;
        match TcpMedia::bind(address) {
            Ok(tcp) => return Ok((socket, Some(tcp))),
            Err(error) if tries_left == 0 => return Err(error),
            Err(_) => {}
        }
    }
}

/// The named supervisor of a thread: a panic outside any one peer is a bug that ends the engine, and
/// is told, so that the process can be restarted.
fn spawn(
    name: &'static str,
    events: &Arc<EventQueue>,
    work: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, Error> {
    let events = events.clone();
    let supervised = move || {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            events.push(
                &json!({"event": "engine_failed", "error": format!("thread {name} panicked")}),
            );
        }
    };
    std::thread::Builder::new()
        .name(name.into())
        .spawn(supervised)
        .map_err(Error::system(format!("thread {name}")))
}
