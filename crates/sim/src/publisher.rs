//! All peers of one process and the loop that turns them.
//!
//! One thread does everything: it waits for sockets, commands and deadlines, in that order, and never
//! sleeps otherwise. Commands come from a channel, so tests drive it without a process.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token, Waker};
use serde_json::{Value, json};
use str0m::Candidate;

use crate::clip::{Clip, Random};
use crate::error::{Error, Result};
use crate::link::{FAR, Happened, Link, Losses};
use crate::peer::Peer;
use crate::protocol::{Command, Fake, Pc, Request, Source, StartTrack};
use crate::track::Play;
use crate::truth::{TruthLog, WallClock};

const COMMANDS: Token = Token(0);
const EVENTS_PER_TURN: usize = 256;
/// Time between a `start` and its first packet: all its clips are loaded before time zero.
const START_AHEAD: Duration = Duration::from_millis(5);

/// Whether there will be more to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Waiting {
    Going,
    Ended,
}

pub struct Publisher {
    poll: Poll,
    address: Ipv4Addr,
    commands: Receiver<String>,
    peers: BTreeMap<String, Peer>,
    sockets: HashMap<Token, (String, Pc)>,
    next_token: usize,
    clips: HashMap<PathBuf, Arc<Clip>>,
    clock: WallClock,
    truth: TruthLog,
    out: Vec<Value>,
}

impl Publisher {
    /// Whoever sends on the channel of `commands` wakes the waker behind each line.
    pub fn new(commands: Receiver<String>) -> Result<(Self, Arc<Waker>)> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), COMMANDS)?);
        let publisher = Self {
            poll,
            address: Ipv4Addr::LOCALHOST,
            commands,
            peers: BTreeMap::new(),
            sockets: HashMap::new(),
            next_token: 1,
            clips: HashMap::new(),
            clock: WallClock::anchored(Instant::now()),
            truth: TruthLog::default(),
            out: Vec::new(),
        };
        Ok((publisher, waker))
    }

    /// The address that connections made from now on are bound to, for servers that pass over loopback.
    pub fn send_from(&mut self, address: Ipv4Addr) {
        self.address = address;
    }

    /// Waits for the next thing and does it. Lines for the driver gather in [`Publisher::take_lines`].
    pub fn turn(&mut self) -> Result<Waiting> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        match self.poll.poll(&mut events, Some(self.pause())) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        for event in &events {
            self.receive(event.token())?;
        }
        let waiting = self.obey()?;
        self.let_time_pass()?;
        self.report()?;
        Ok(waiting)
    }

    /// Replies and events since the last call, one JSON object each.
    pub fn take_lines(&mut self) -> Vec<Value> {
        std::mem::take(&mut self.out)
    }

    fn pause(&self) -> Duration {
        let turns = self.peers.values().filter_map(Peer::next_turn);
        let now = Instant::now();
        turns
            .min()
            .map_or(FAR, |turn| turn.saturating_duration_since(now))
    }

    fn receive(&mut self, token: Token) -> Result<()> {
        let Some((peer, pc)) = self.sockets.get(&token) else {
            return Ok(());
        };
        match self.peers.get_mut(peer).map(|peer| peer.link(*pc)) {
            Some(Ok(link)) => link.receive(Instant::now()),
            _ => Ok(()),
        }
    }

    fn obey(&mut self) -> Result<Waiting> {
        loop {
            let line = match self.commands.try_recv() {
                Ok(line) => line,
                Err(TryRecvError::Empty) => return Ok(Waiting::Going),
                Err(TryRecvError::Disconnected) => {
                    self.truth.flush()?;
                    return Ok(Waiting::Ended);
                }
            };
            let (request, result) = match serde_json::from_str::<Request>(&line) {
                Ok(request) => (request.request, self.execute(request.command)),
                Err(error) => (None, Err(error.into())),
            };
            self.truth.flush()?;
            self.out.push(match result {
                Ok(ok) => json!({"event": "reply", "request": request, "ok": ok}),
                Err(error) => {
                    json!({"event": "reply", "request": request, "error": error.to_string()})
                }
            });
        }
    }

    fn let_time_pass(&mut self) -> Result<()> {
        let now = Instant::now();
        for peer in self.peers.values_mut() {
            let finished = peer.send_due(now, &self.clock, &mut self.truth)?;
            if !finished.is_empty() {
                self.truth.flush()?;
            }
            for track in finished {
                let name = &peer.name;
                (self.out).push(json!({"event": "finished", "peer": name, "track": track}));
            }
            for link in peer.publish.iter_mut().chain(&mut peer.subscribe) {
                if link.deadline <= now {
                    link.turn(now)?;
                }
            }
        }
        Ok(())
    }

    fn report(&mut self) -> Result<()> {
        for peer in self.peers.values_mut() {
            for pc in [Pc::Publish, Pc::Subscribe] {
                let Ok(link) = peer.link(pc) else { continue };
                for happened in link.take_happened() {
                    let mut event = json!({"peer": peer.name, "pc": pc.name()});
                    let (name, field, text) = match happened {
                        Happened::Connected => ("connection", "state", "connected".to_owned()),
                        Happened::Disconnected => {
                            ("connection", "state", "disconnected".to_owned())
                        }
                        Happened::Data(text) => ("data", "text", text),
                    };
                    event["event"] = name.into();
                    event[field] = text.into();
                    self.out.push(event);
                }
            }
        }
        Ok(())
    }

    fn execute(&mut self, command: Command) -> Result<Value> {
        match command {
            Command::AddPeer { peer } => self.add_peer(peer),
            Command::PublishOffer {
                peer,
                tracks,
                remove,
            } => {
                self.open_link(&peer, Pc::Publish)?;
                let sdp = self.peer(&peer)?.offer(tracks, &remove)?;
                self.settle(&peer, Pc::Publish, json!({"sdp": sdp}))
            }
            Command::PublishAnswer { peer, sdp } => {
                let tracks = self.peer(&peer)?.accept_answer(&sdp)?;
                self.settle(&peer, Pc::Publish, json!({"tracks": tracks}))
            }
            Command::SubscribeOffer { peer, sdp } => {
                self.open_link(&peer, Pc::Subscribe)?;
                let answer = self.peer(&peer)?.answer(&sdp)?;
                self.settle(&peer, Pc::Subscribe, json!({"sdp": answer}))
            }
            Command::Candidate {
                peer,
                pc,
                candidate,
            } => {
                let candidate = Candidate::from_sdp_string(&candidate)
                    .map_err(|error| Error::BadSdp(error.to_string()))?;
                self.peer(&peer)?
                    .link(pc)?
                    .rtc
                    .add_remote_candidate(candidate);
                self.settle(&peer, pc, json!({}))
            }
            Command::Start { peer, tracks } => self.start(&peer, tracks),
            Command::Stop { peer, track } => {
                self.peer(&peer)?.track(&track)?.play = None;
                Ok(json!({}))
            }
            Command::Mute { peer, track, muted } => {
                self.peer(&peer)?.track(&track)?.muted = muted;
                Ok(json!({}))
            }
            Command::SendData { peer, pc, text } => self.send_data(&peer, pc, &text),
            Command::Network {
                peer,
                loss_percent,
                seed,
            } => {
                self.peer(&peer)?.link(Pc::Publish)?.losses = Some(Losses {
                    fraction: loss_percent / 100.0,
                    random: Random::new(seed),
                });
                Ok(json!({}))
            }
            Command::Log { path } => {
                self.truth.open(&path)?;
                Ok(json!({}))
            }
            Command::Stats => {
                let peers = self.peers.iter();
                let stats = peers.map(|(name, peer)| (name.clone(), peer.stats()));
                Ok(json!({"peers": stats.collect::<serde_json::Map<_, _>>()}))
            }
            Command::Close { peer, pc, clean } => self.close(&peer, pc, clean),
        }
    }

    fn peer(&mut self, peer: &str) -> Result<&mut Peer> {
        self.peers
            .get_mut(peer)
            .ok_or_else(|| Error::UnknownPeer(peer.to_owned()))
    }

    fn add_peer(&mut self, name: String) -> Result<Value> {
        if self.peers.contains_key(&name) {
            return Err(Error::PeerExists(name));
        }
        let seed = self.peers.len() as u64 + 1;
        self.peers.insert(name.clone(), Peer::new(name, seed));
        Ok(json!({}))
    }

    /// Makes the connection when the peer has none yet.
    fn open_link(&mut self, peer: &str, pc: Pc) -> Result<()> {
        if self.peer(peer)?.link(pc).is_ok() {
            return Ok(());
        }
        let mut link = Link::new(Instant::now(), self.address)?;
        let token = Token(self.next_token);
        self.next_token += 1;
        (self.poll.registry()).register(link.socket(), token, Interest::READABLE)?;
        self.sockets.insert(token, (peer.to_owned(), pc));
        let peer = self.peer(peer)?;
        match pc {
            Pc::Publish => peer.publish = Some(link),
            Pc::Subscribe => peer.subscribe = Some(link),
        }
        Ok(())
    }

    /// Drains the session after a change of it.
    fn settle(&mut self, peer: &str, pc: Pc, reply: Value) -> Result<Value> {
        self.peer(peer)?.link(pc)?.turn(Instant::now())?;
        Ok(reply)
    }

    fn start(&mut self, peer: &str, tracks: Vec<StartTrack>) -> Result<Value> {
        let mut loaded = Vec::new();
        for start in tracks {
            let clip = self.clip(&start.source)?;
            let track = self.peer(peer)?.track(&start.track)?;
            if track.payload_type.is_none() || track.codec != clip.codec {
                return Err(Error::NotNegotiated(start.track));
            }
            loaded.push((start, clip));
        }
        let zero = Instant::now() + START_AHEAD;
        for (start, clip) in loaded {
            let begin = zero + Duration::from_millis(start.offset_ms);
            let play = Play::new(clip, begin, start.repeat, start.lose);
            self.peer(peer)?.track(&start.track)?.start(play);
        }
        Ok(json!({"started_ns": self.clock.unix_ns(zero)}))
    }

    /// Each file is read and each fake made once, however many peers send it.
    fn clip(&mut self, source: &Source) -> Result<Arc<Clip>> {
        let key = match source {
            Source::File(path) => path.clone(),
            Source::Fake(Fake {
                codec,
                packets_per_second,
                payload_bytes,
            }) => format!("fake:{codec:?}:{packets_per_second}:{payload_bytes}").into(),
        };
        if let Some(clip) = self.clips.get(&key) {
            return Ok(clip.clone());
        }
        let clip = Arc::new(match source {
            Source::File(path) => Clip::load(path)?,
            Source::Fake(fake) => Clip::fake(fake),
        });
        self.clips.insert(key, clip.clone());
        Ok(clip)
    }

    fn send_data(&mut self, peer: &str, pc: Pc, text: &str) -> Result<Value> {
        let link = self.peer(peer)?.link(pc)?;
        let open = link.channel.and_then(|id| link.rtc.channel(id));
        let mut channel = open.ok_or_else(|| Error::NoConnection(peer.to_owned()))?;
        channel.write(false, text.as_bytes())?;
        self.settle(peer, pc, json!({}))
    }

    fn close(&mut self, name: &str, pc: Option<Pc>, clean: bool) -> Result<Value> {
        let peer = self.peer(name)?;
        for closing in [Pc::Publish, Pc::Subscribe] {
            if pc.is_some_and(|pc| pc != closing) {
                continue;
            }
            if let Ok(link) = peer.link(closing)
                && clean
            {
                link.rtc.disconnect();
                link.drain()?;
            }
            match closing {
                Pc::Publish => {
                    peer.publish = None;
                    peer.tracks.clear();
                }
                Pc::Subscribe => peer.subscribe = None,
            }
        }
        if pc.is_none() {
            self.peers.remove(name);
        }
        self.sockets
            .retain(|_, (peer, of)| peer != name || pc.is_some_and(|pc| pc != *of));
        Ok(json!({}))
    }
}
