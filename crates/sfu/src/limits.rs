//! Bounds on what a client may ask for, checked before anything is parsed.
//!
//! A browser stays far below each of them; whoever exceeds one gets an error and no work is done.

use crate::error::Error;

/// Bytes of one SDP. A Chromium m-line with every codec and extension is about 5 kB and m-lines only
/// ever grow in number during a call, so this holds some fifty of them.
pub const SDP_BYTES: usize = 256 * 1024;
/// m-lines of one SDP: every screen share adds two and none is reused.
pub const MEDIA_LINES: usize = 64;
/// Payload types of one m-line; Chromium offers about 35 with all RTX types.
pub const PAYLOAD_TYPES: usize = 64;
/// Characters of one line; the longest honest ones are fmtp lines of some hundred characters.
pub const LINE_BYTES: usize = 4096;
/// Candidates in one SDP plus trickled ones of one connection. ICE-lite uses none of them.
pub const CANDIDATES: usize = 256;
/// Bytes of one trickled candidate line.
pub const CANDIDATE_BYTES: usize = 1024;
/// Characters of an msid part (RFC 8830 section 2: token of at most 64).
pub const MSID_BYTES: usize = 64;
/// Characters of a mid that str0m keeps whole.
pub const MID_BYTES: usize = 16;
/// Tracks that one peer may publish at a time.
pub const TRACKS: usize = 32;
/// m-lines that one peer may receive: further tracks of the room are not offered to it.
pub const SUBSCRIBED_LINES: usize = 512;
/// Bytes of one text on the data channel.
pub const DATA_BYTES: usize = 64 * 1024;
/// SSRCs remembered per publishing connection before the map starts over.
pub const SSRCS: usize = 64;
/// Source addresses remembered per connection; a phone between two networks needs two.
pub const TUPLES: usize = 8;

/// Refuses an SDP that is larger in any way than a browser's.
pub fn check_sdp(sdp: &str) -> Result<(), Error> {
    if sdp.len() > SDP_BYTES {
        return Err(over("bytes", sdp.len(), SDP_BYTES));
    }
    let mut media_lines = 0;
    let mut candidates = 0;
    for line in sdp.lines() {
        if line.len() > LINE_BYTES {
            return Err(over("bytes in a line", line.len(), LINE_BYTES));
        }
        if let Some(media) = line.strip_prefix("m=") {
            media_lines += 1;
            let payload_types = media.split_ascii_whitespace().count().saturating_sub(3);
            if payload_types > PAYLOAD_TYPES {
                return Err(over("payload types", payload_types, PAYLOAD_TYPES));
            }
        }
        candidates += usize::from(line.starts_with("a=candidate:"));
    }
    if media_lines > MEDIA_LINES {
        return Err(over("m-lines", media_lines, MEDIA_LINES));
    }
    if candidates > CANDIDATES {
        return Err(over("candidates", candidates, CANDIDATES));
    }
    Ok(())
}

fn over(what: &str, count: usize, limit: usize) -> Error {
    Error::Bad(format!("sdp: {count} {what}, at most {limit}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(line: &str, count: usize) -> String {
        format!("v=0\r\n{}", format!("{line}\r\n").repeat(count))
    }

    #[test]
    fn each_limit_holds_at_its_edge() {
        let payload_types =
            |count: usize| format!("m=video 9 UDP/TLS/RTP/SAVPF{}", " 96".repeat(count));
        let cases = [
            (
                lines("m=audio 9 X 0", MEDIA_LINES),
                lines("m=audio 9 X 0", MEDIA_LINES + 1),
            ),
            (
                lines("a=candidate:1", CANDIDATES),
                lines("a=candidate:1", CANDIDATES + 1),
            ),
            (
                lines(&payload_types(PAYLOAD_TYPES), 1),
                lines(&payload_types(PAYLOAD_TYPES + 1), 1),
            ),
            (
                lines(&"a".repeat(LINE_BYTES), 1),
                lines(&"a".repeat(LINE_BYTES + 1), 1),
            ),
        ];
        for (within, beyond) in cases {
            assert!(check_sdp(&within).is_ok());
            assert_eq!(check_sdp(&beyond).unwrap_err().code(), 400);
        }
        assert!(
            check_sdp(&lines("a=x", SDP_BYTES / 5)).is_err(),
            "too many bytes"
        );
    }
}
