//! The peers of one room, and who of them speaks.

use std::collections::HashMap;
use std::time::Instant;

use crate::output::{Event, Speaker};
use crate::peer::Peer;

#[derive(Default)]
pub struct Room {
    pub members: Vec<u32>,
    speakers: Vec<Speaker>,
}

impl Room {
    /// Looks at the levels of all Tracks; tells who speaks, loudest first, if that has changed.
    pub fn speakers_changed(
        &mut self,
        name: &str,
        peers: &mut HashMap<u32, Peer>,
        now: Instant,
    ) -> Option<Event> {
        let mut speakers = Vec::new();
        for member in &self.members {
            let Some(peer) = peers.get_mut(member) else {
                continue;
            };
            for track in &mut peer.tracks {
                let level = track.level.close_interval(now).filter(|_| !track.muted);
                speakers.extend(level.map(|level| Speaker {
                    peer: peer.id.clone(),
                    track_id: track.id.clone(),
                    level,
                }));
            }
        }
        speakers.sort_by(|one, other| {
            other
                .level
                .cmp(&one.level)
                .then_with(|| one.track_id.cmp(&other.track_id))
        });
        if speakers == self.speakers {
            return None;
        }
        self.speakers.clone_from(&speakers);
        Some(Event::Speakers {
            room: name.to_owned(),
            speakers,
        })
    }
}
