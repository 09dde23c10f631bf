//! The reader: a folder of segments becomes a row of records.
//!
//! The finaliser's index, the recovery after a crash and every check stand on it. It yields each
//! record once, in the order of appending, with the place of its payload so that bytes can be fetched
//! again without a second parse. It must never invent a record and never stop at a damaged one while
//! good ones follow: a flipped bit costs one packet, not the rest of the recording.
//!
//! Two kinds of damage look alike at first. After the last good record of the last segment may stand
//! a *torn tail*, what a crash left half-written; it is no loss of anything that was ever durable.
//! Bad bytes with good records after them are *damage*, reported by place and time.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{Disk, RealDisk, SegmentFile};
use crate::error::{Error, Result};
use crate::format::{self, MAGIC, RECORD_HEADER_BYTES, RecordHeader, RecordType, SegmentHeader};

/// Bytes read at once; large enough that reading an hour of video costs 4,000 system calls.
const WINDOW_BYTES: usize = 256 * 1024;
/// How far a record found behind damage may lie before the last good one in time (batches of several
/// threads and notes are a little out of order). Blocks of a deleted journal that a file system laid
/// bare are older than this and are not believed.
const DISORDER_MAX_NS: u64 = 10 * 1_000_000_000;

/// Reads one journal from its first record to its last.
pub struct Reader<D: Disk = RealDisk> {
    segments: Vec<Segment>,
    files: Vec<PathBuf>,
    header: Option<String>,
    disk: D,
    /// Index into `segments` and offset of the next record.
    at: usize,
    offset: u64,
    window: Option<Window<D::File>>,
    last_arrival_ns: u64,
    last_kind: Option<RecordType>,
    damage: Vec<Damage>,
    tail: Tail,
}

/// One segment as its header and its successors describe it.
struct Segment {
    file_index: usize,
    header: Option<SegmentHeader>,
    /// Where a later segment took over; records from here on are repeated there.
    limit: u64,
}

/// One record. The payload borrows from the reader until the next one is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub kind: RecordType,
    pub flags: u8,
    pub arrival_ns: u64,
    pub payload: &'a [u8],
    /// Index into [`Reader::files`].
    pub file: usize,
    /// Place of the payload in that file.
    pub offset: u64,
}

/// Bytes inside the journal that are no longer a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    pub file: usize,
    pub offset: u64,
    pub bytes: u64,
    /// Arrival of the last good record before it; 0 where there is none.
    pub after_ns: u64,
}

/// Where the last good record of the last segment ends and how many bytes follow it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    pub file: usize,
    pub good_end: u64,
    pub torn_bytes: u64,
}

/// What stands at an offset.
enum Found {
    Record(RecordHeader),
    End,
    Bad,
}

impl Reader<RealDisk> {
    pub fn open(folder: &Path) -> Result<Self> {
        Self::open_on(RealDisk, folder)
    }
}

impl<D: Disk> Reader<D> {
    /// [`Reader::open`] on a given disk.
    pub fn open_on(disk: D, folder: &Path) -> Result<Self> {
        let names = disk
            .list(folder)
            .map_err(Error::disk(folder, "list segments"))?;
        let mut numbers: Vec<u32> = names
            .iter()
            .filter_map(|name| format::segment_number(name))
            .collect();
        numbers.sort_unstable();
        let files: Vec<PathBuf> = numbers
            .iter()
            .map(|number| folder.join(format::segment_name(*number)))
            .collect();
        let mut segments = Vec::new();
        for (file_index, path) in files.iter().enumerate() {
            let header = read_header(&disk, path)?;
            segments.push(Segment {
                file_index,
                header,
                limit: u64::MAX,
            });
        }
        limit_replaced_segments(&mut segments, &numbers);
        let header = segments
            .iter()
            .find_map(|segment| segment.header.as_ref())
            .map(|header| serde_json::to_string(header).expect("it came from JSON"));
        Ok(Self {
            segments,
            files,
            header,
            disk,
            at: 0,
            offset: MAGIC.len() as u64,
            window: None,
            last_arrival_ns: 0,
            last_kind: None,
            damage: Vec::new(),
            tail: Tail::default(),
        })
    }

    /// The segment files, also those that count for nothing any more.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// JSON of the first readable header record ([`SegmentHeader`]); `None` for a journal that died
    /// before its first header was durable.
    pub fn header(&self) -> Option<&str> {
        self.header.as_deref()
    }

    /// The next record, header records included; `None` after the last.
    pub fn next_record(&mut self) -> Result<Option<Record<'_>>> {
        loop {
            if self.at >= self.segments.len() {
                return Ok(None);
            }
            self.open_window()?;
            match self.look_at(self.offset)? {
                Found::Record(header) => return self.take(header).map(Some),
                Found::End => self.leave_segment(0),
                Found::Bad => self.skip_damage()?,
            }
        }
    }

    /// Whether the last record is a seal. Known after [`Reader::next_record`] returned `None`.
    pub fn sealed(&self) -> bool {
        self.last_kind == Some(RecordType::SEAL)
    }

    /// Bytes after the last record. Known after [`Reader::next_record`] returned `None`.
    pub fn torn_bytes(&self) -> u64 {
        self.tail.torn_bytes
    }

    /// Damage passed so far.
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// Arrival of the last record that carries a time; 0 at the beginning.
    pub fn last_arrival_ns(&self) -> u64 {
        self.last_arrival_ns
    }

    /// Type of the last record read.
    pub fn last_kind(&self) -> Option<RecordType> {
        self.last_kind
    }

    /// The segment number of a file.
    pub(crate) fn number_of(&self, file: usize) -> u32 {
        let name = self.files[file].file_name().and_then(|name| name.to_str());
        name.and_then(format::segment_number)
            .expect("files are chosen by their numbers")
    }

    pub(crate) fn tail(&self) -> Tail {
        self.tail
    }

    fn open_window(&mut self) -> Result<()> {
        if self.window.is_some() {
            return Ok(());
        }
        let segment = &self.segments[self.at];
        let path = &self.files[segment.file_index];
        let file = self
            .disk
            .open_for_reading(path)
            .map_err(Error::disk(path, "open"))?;
        let length = file.len().map_err(Error::disk(path, "measure"))?;
        self.window = Some(Window::new(file, length.min(segment.limit)));
        Ok(())
    }

    fn look_at(&mut self, offset: u64) -> Result<Found> {
        let path = &self.files[self.segments[self.at].file_index];
        let window = self.window.as_mut().expect("opened before");
        window
            .find(offset)
            .map_err(|error| Error::disk(path, "read")(error))
    }

    fn take(&mut self, header: RecordHeader) -> Result<Record<'_>> {
        let payload_at = self.offset + RECORD_HEADER_BYTES as u64;
        self.offset += header.record_bytes() as u64;
        self.last_kind = Some(header.kind);
        self.last_arrival_ns = self.last_arrival_ns.max(header.arrival_ns);
        let file = self.segments[self.at].file_index;
        let path = &self.files[file];
        let window = self.window.as_mut().expect("opened before");
        let payload = window
            .view(payload_at, header.payload_bytes)
            .map_err(Error::disk(path, "read"))?;
        Ok(Record {
            kind: header.kind,
            flags: header.flags,
            arrival_ns: header.arrival_ns,
            payload,
            file,
            offset: payload_at,
        })
    }

    fn skip_damage(&mut self) -> Result<()> {
        let begin = self.offset;
        match self.next_good_offset()? {
            Some(good) => {
                self.note_damage(good - begin);
                self.offset = good;
            }
            None => {
                let end = self.window.as_ref().expect("opened before").end;
                self.leave_segment(end - begin);
            }
        }
        Ok(())
    }

    /// Where the records go on behind damage. The damaged record's own length is asked first: when
    /// it is intact the next record stands right behind, and nothing inside a payload can be mistaken
    /// for a record.
    fn next_good_offset(&mut self) -> Result<Option<u64>> {
        let path = &self.files[self.segments[self.at].file_index];
        let oldest_ns = self.last_arrival_ns.saturating_sub(DISORDER_MAX_NS);
        let window = self.window.as_mut().expect("opened before");
        window
            .resynchronise(self.offset, oldest_ns)
            .map_err(|error| Error::disk(path, "read")(error))
    }

    fn note_damage(&mut self, bytes: u64) {
        self.damage.push(Damage {
            file: self.segments[self.at].file_index,
            offset: self.offset,
            bytes,
            after_ns: self.last_arrival_ns,
        });
    }

    /// Goes on with the next segment. Bad bytes at the end are the torn tail in the last segment and
    /// damage in any other, because a segment is only left when it is durable to its end.
    fn leave_segment(&mut self, bad_bytes: u64) {
        let last = self.at + 1 == self.segments.len();
        if last {
            let end = self.window.as_ref().expect("opened before").end;
            self.tail = Tail {
                file: self.segments[self.at].file_index,
                // The magic itself may be cut short.
                good_end: self.offset.min(end),
                torn_bytes: bad_bytes,
            };
        } else if bad_bytes > 0 {
            self.note_damage(bad_bytes);
        }
        self.at += 1;
        self.offset = MAGIC.len() as u64;
        self.window = None;
    }
}

/// The header record of a segment; `None` where it cannot be read. A segment of a later format is an
/// error: to read it wrongly would be worse than not at all.
fn read_header<D: Disk>(disk: &D, path: &Path) -> Result<Option<SegmentHeader>> {
    let file = disk
        .open_for_reading(path)
        .map_err(Error::disk(path, "open"))?;
    let length = file.len().map_err(Error::disk(path, "measure"))?;
    let mut window = Window::new(file, length);
    let on_read_error = |error| Error::disk(path, "read")(error);
    let magic = window.view(0, MAGIC.len()).map_err(on_read_error)?;
    let later_format = magic.starts_with(&MAGIC[..7]) && magic.len() == 8 && magic != MAGIC;
    let offset = MAGIC.len() as u64;
    let parsed: Option<SegmentHeader> = match window.find(offset).map_err(on_read_error)? {
        Found::Record(record) if record.kind == RecordType::HEADER => {
            let payload_at = offset + RECORD_HEADER_BYTES as u64;
            let json = window
                .view(payload_at, record.payload_bytes)
                .map_err(on_read_error)?;
            serde_json::from_slice(json).ok()
        }
        _ => None,
    };
    match parsed {
        Some(header) if header.version != format::VERSION => Err(Error::LaterFormat {
            path: path.to_owned(),
        }),
        None if later_format => Err(Error::LaterFormat {
            path: path.to_owned(),
        }),
        header => Ok(header),
    }
}

/// Applies every `resumes` of a header to the segments before it.
fn limit_replaced_segments(segments: &mut [Segment], numbers: &[u32]) {
    for at in 0..segments.len() {
        let resumes = segments[at].header.as_ref().and_then(|h| h.resumes.clone());
        let Some(resumes) = resumes else { continue };
        for (segment, number) in segments[..at].iter_mut().zip(numbers) {
            if *number == resumes.segment {
                segment.limit = segment.limit.min(resumes.offset);
            } else if *number > resumes.segment {
                segment.limit = 0;
            }
        }
    }
}

/// A stretch of a file held in memory, moved forward as the reader goes.
struct Window<F> {
    file: F,
    /// Nothing beyond this is read.
    end: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl<F: SegmentFile> Window<F> {
    fn new(file: F, end: u64) -> Self {
        Self {
            file,
            end,
            start: 0,
            bytes: Vec::new(),
        }
    }

    /// At most `wanted` bytes from `offset`; fewer only at the end.
    fn view(&mut self, offset: u64, wanted: usize) -> io::Result<&[u8]> {
        let wanted = (wanted as u64).min(self.end.saturating_sub(offset)) as usize;
        let held_end = self.start + self.bytes.len() as u64;
        if offset < self.start || offset + wanted as u64 > held_end {
            self.fill(offset, wanted)?;
        }
        let from = (offset - self.start) as usize;
        let to = (from + wanted).min(self.bytes.len());
        Ok(&self.bytes[from.min(to)..to])
    }

    fn fill(&mut self, offset: u64, wanted: usize) -> io::Result<()> {
        let left = self.end.saturating_sub(offset);
        let length = (wanted.max(WINDOW_BYTES) as u64).min(left) as usize;
        self.start = offset;
        self.bytes.resize(length, 0);
        let mut filled = 0;
        while filled < length {
            match self
                .file
                .read_at(&mut self.bytes[filled..], offset + filled as u64)
            {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.bytes.truncate(filled);
        Ok(())
    }

    fn find(&mut self, offset: u64) -> io::Result<Found> {
        if offset >= self.end {
            return Ok(Found::End);
        }
        let bytes = self.view(offset, RECORD_HEADER_BYTES)?;
        if bytes.len() < RECORD_HEADER_BYTES {
            return Ok(Found::Bad);
        }
        let Some(header) = RecordHeader::decode(bytes) else {
            return Ok(Found::Bad);
        };
        let payload = self.view(offset + RECORD_HEADER_BYTES as u64, header.payload_bytes)?;
        match header.covers(payload) {
            true => Ok(Found::Record(header)),
            false => Ok(Found::Bad),
        }
    }

    fn resynchronise(&mut self, bad: u64, oldest_ns: u64) -> io::Result<Option<u64>> {
        let header = RecordHeader::decode_or_short(self.view(bad, RECORD_HEADER_BYTES)?);
        if let Some(header) = header {
            let behind = bad + header.record_bytes() as u64;
            if self.is_believable(behind, oldest_ns)? {
                return Ok(Some(behind));
            }
        }
        for offset in bad + 1..self.end.saturating_sub(RECORD_HEADER_BYTES as u64) {
            if self.is_believable(offset, oldest_ns)? {
                return Ok(Some(offset));
            }
        }
        Ok(None)
    }

    /// A record of a known type and a fitting time stands here.
    fn is_believable(&mut self, offset: u64, oldest_ns: u64) -> io::Result<bool> {
        let header = RecordHeader::decode_or_short(self.view(offset, RECORD_HEADER_BYTES)?);
        let fits = header.is_some_and(|header| {
            header.kind.name() != "unknown" && header.arrival_ns >= oldest_ns
        });
        Ok(fits && matches!(self.find(offset)?, Found::Record(_)))
    }
}
