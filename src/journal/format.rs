//! The bytes of a segment header and of a record: constants, and pure encoding and decoding.
//!
//! All numbers are little-endian. The tables in `docs/format.md` are checked against this file.

use crate::{Lsn, StoreId, ids::NUMBER_MAX};

/// The first eight bytes of every segment.
pub(crate) const MAGIC: [u8; 8] = *b"\x89PJWAL\r\n";
/// The format version that this build writes.
pub(crate) const FORMAT_VERSION: u32 = 1;
/// Length of the segment header.
pub(crate) const HEADER_BYTES: usize = 96;
/// Length of a record without its payload.
pub(crate) const RECORD_HEADER_BYTES: usize = 20;
/// Largest payload of one record: 24 bits. Checked at append and by the reader.
pub(crate) const PAYLOAD_BYTES_MAX: usize = (1 << 24) - 1;
/// Length of a seal's payload.
pub(crate) const SEAL_PAYLOAD_BYTES: usize = 16;
/// Length of a whole seal on disk.
pub(crate) const SEAL_BYTES: usize = RECORD_HEADER_BYTES + SEAL_PAYLOAD_BYTES;
const FLAG_PREVIOUS_SEALED: u32 = 1;
const FLAG_SUPERSEDES: u32 = 2;
/// In the place of the distance to `durable_through`: vouches for nothing.
const VOUCHES_FOR_NOTHING: u32 = u32::MAX;

/// What a segment header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) store_id: StoreId,
    /// Number of this segment, from 1, never used twice.
    pub(crate) segment: u64,
    /// Number of the first record that this segment may hold.
    pub(crate) first_lsn: Lsn,
    /// Milliseconds since the UNIX epoch, for people; no decision rests on it.
    pub(crate) created_ms: i64,
    /// What the earlier segments amounted to when this one was started.
    pub(crate) previous: Previous,
}

/// The part of a header that cites what came before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Previous {
    /// Number of the segment before this one; 0 if there was none.
    pub(crate) segment: u64,
    /// Every record up to this number was durable when this header was written.
    pub(crate) last_lsn: Lsn,
    /// Checksum of the seal that ends the previous segment.
    pub(crate) seal: Option<u32>,
    /// A sync of the previous segment failed: what it holds at or past `first_lsn` was written
    /// again here and counts only here.
    pub(crate) superseded: bool,
}

/// Why bytes are not a segment header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderError {
    /// Too short, no magic, or the checksum does not hold.
    Bad,
    /// A sound header of a format version that this build does not know.
    Newer(u32),
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut flags = 0;
        if self.previous.seal.is_some() {
            flags |= FLAG_PREVIOUS_SEALED;
        }
        if self.previous.superseded {
            flags |= FLAG_SUPERSEDES;
        }
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(self.store_id.as_bytes());
        bytes.extend_from_slice(&self.segment.to_le_bytes());
        bytes.extend_from_slice(&self.first_lsn.get().to_le_bytes());
        bytes.extend_from_slice(&self.created_ms.to_le_bytes());
        bytes.extend_from_slice(&self.previous.segment.to_le_bytes());
        bytes.extend_from_slice(&self.previous.last_lsn.get().to_le_bytes());
        bytes.extend_from_slice(&self.previous.seal.unwrap_or(0).to_le_bytes());
        bytes.extend_from_slice(&flags.to_le_bytes());
        let mut header = [0; HEADER_BYTES];
        for (to, from) in header.iter_mut().zip(bytes) {
            *to = from;
        }
        let crc = header_crc(&header).to_le_bytes();
        for (to, from) in header.iter_mut().skip(12).zip(crc) {
            *to = from;
        }
        header
    }

    /// Reads the header at the start of a segment's bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let header = bytes.first_chunk::<HEADER_BYTES>().ok_or(HeaderError::Bad)?;
        Self::parse(header).ok_or(HeaderError::Bad)?
    }

    fn parse(bytes: &[u8; HEADER_BYTES]) -> Option<Result<Self, HeaderError>> {
        let mut fields = Fields(bytes);
        if fields.take::<8>()? != MAGIC {
            return None;
        }
        let version = fields.u32()?;
        if fields.u32()? != header_crc(bytes) {
            return None;
        }
        if version != FORMAT_VERSION {
            return Some(Err(HeaderError::Newer(version)));
        }
        let store_id = StoreId::from_bytes(fields.take::<16>()?);
        let segment = fields.u64()?;
        let first_lsn = Lsn::new(fields.u64()?);
        let created_ms = i64::from_le_bytes(fields.take::<8>()?);
        let previous_segment = fields.u64()?;
        let last_lsn = Lsn::new(fields.u64()?);
        let seal = fields.u32()?;
        let flags = fields.u32()?;
        let previous = Previous {
            segment: previous_segment,
            last_lsn,
            seal: (flags & FLAG_PREVIOUS_SEALED != 0).then_some(seal),
            superseded: flags & FLAG_SUPERSEDES != 0,
        };
        let numbers = [segment, first_lsn.get(), previous_segment, last_lsn.get()];
        if numbers.into_iter().any(|number| number > NUMBER_MAX) {
            return None;
        }
        if segment == 0 || first_lsn == Lsn::ZERO {
            return None; // both begin at 1
        }
        Some(Ok(Self { store_id, segment, first_lsn, created_ms, previous }))
    }

    /// The seed of every record checksum in this segment.
    pub(crate) fn seed(&self) -> Seed {
        Seed::new(&self.store_id, self.segment)
    }
}

/// The checksum covers every byte of the header but itself, in every format version.
pub(crate) fn header_crc(header: &[u8; HEADER_BYTES]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    let (before, rest) = header.split_at(12);
    hasher.update(before);
    hasher.update(rest.get(4..).unwrap_or_default());
    hasher.finalize()
}

/// Start value of the record checksums of one segment of one store, so that the bytes of another
/// store, of another segment, or of an older use of the file never verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seed(u32);

impl Seed {
    pub(crate) fn new(store_id: &StoreId, segment: u64) -> Self {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(store_id.as_bytes());
        hasher.update(&segment.to_le_bytes());
        Self(hasher.finalize())
    }

    /// The value that a checksum starts from.
    pub(crate) const fn value(self) -> u32 {
        self.0
    }

    /// The checksum of a record: of its header behind the checksum, and of its payload.
    pub(crate) fn crc(self, covered: &[u8], payload: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new_with_initial(self.0);
        hasher.update(covered);
        hasher.update(payload);
        hasher.finalize()
    }
}

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordKind {
    /// One change or several that stand or fall together.
    Changes,
    /// The end of a segment. Its LSN is that of the last record before it.
    Seal,
    /// A kind that only a newer version knows, in a record whose checksum holds.
    Unknown,
}

impl RecordKind {
    const fn byte(self) -> u8 {
        match self {
            Self::Changes => 1,
            Self::Seal => 2,
            Self::Unknown => u8::MAX,
        }
    }

    /// Zero is no kind, so that zeros are no record.
    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => None,
            1 => Some(Self::Changes),
            2 => Some(Self::Seal),
            _ => Some(Self::Unknown),
        }
    }
}

/// One verified record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) kind: RecordKind,
    pub(crate) lsn: Lsn,
    /// Every record up to this number was durable when this one was written; zero vouches for
    /// nothing.
    pub(crate) durable_through: Lsn,
    pub(crate) payload: &'a [u8],
    pub(crate) crc: u32,
}

impl Record<'_> {
    /// Length on disk.
    pub(crate) fn bytes(&self) -> usize {
        RECORD_HEADER_BYTES.saturating_add(self.payload.len())
    }
}

/// Appends one record to `out` and returns its checksum. The payload is at most
/// [`PAYLOAD_BYTES_MAX`] long: `append` has checked it, and a longer one is cut off by the mask and
/// would fail its own checksum when read.
pub(crate) fn encode_record(
    out: &mut Vec<u8>,
    seed: Seed,
    kind: RecordKind,
    lsn: Lsn,
    durable_through: Lsn,
    payload: &[u8],
) -> u32 {
    let len = u32::try_from(payload.len()).unwrap_or(u32::MAX) & 0x00ff_ffff;
    let len_and_kind = len | (u32::from(kind.byte()) << 24);
    let distance = lsn.get().saturating_sub(durable_through.get());
    let distance = u32::try_from(distance).unwrap_or(VOUCHES_FOR_NOTHING);
    out.reserve(RECORD_HEADER_BYTES.saturating_add(payload.len()));
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&len_and_kind.to_le_bytes());
    out.extend_from_slice(&lsn.get().to_le_bytes());
    out.extend_from_slice(&distance.to_le_bytes());
    out.extend_from_slice(payload);
    // At one go, over bytes that lie side by side: small pieces cost the checksum most.
    let (place, covered) = out.split_at_mut(start.saturating_add(4));
    let crc = seed.crc(covered, &[]);
    for (to, from) in place.iter_mut().skip(start).zip(crc.to_le_bytes()) {
        *to = from;
    }
    crc
}

/// The kind and the number that a record at the first byte of `bytes` would have, without asking
/// for its checksum.
pub(crate) fn claim(bytes: &[u8]) -> Option<(RecordKind, Lsn)> {
    let mut fields = Fields(bytes.get(4..)?);
    let [.., kind] = fields.take::<4>()?;
    Some((RecordKind::from_byte(kind)?, Lsn::new(fields.u64()?)))
}

/// Reads the record that starts at the first byte of `bytes`, if one does and its checksum holds.
/// The length is bounded by the bytes that are there; nothing is allocated.
pub(crate) fn decode_record(bytes: &[u8], seed: Seed) -> Option<Record<'_>> {
    let record = verified_record(bytes)?;
    let covered = bytes.get(4..record.bytes())?;
    (seed.crc(covered, &[]) == record.crc).then_some(record)
}

/// As [`decode_record`], but takes the checksum on trust: for a record that was verified in this
/// very buffer.
pub(crate) fn verified_record(bytes: &[u8]) -> Option<Record<'_>> {
    let mut fields = Fields(bytes);
    let crc = fields.u32()?;
    let len_and_kind = fields.u32()?;
    let [a, b, c, kind] = len_and_kind.to_le_bytes();
    let kind = RecordKind::from_byte(kind)?;
    let len = usize::try_from(u32::from_le_bytes([a, b, c, 0])).ok()?;
    let lsn = Lsn::new(fields.u64()?);
    let distance = fields.u32()?;
    let payload = fields.0.get(..len)?;
    let durable_through = match distance {
        VOUCHES_FOR_NOTHING => Lsn::ZERO,
        distance => Lsn::new(lsn.get().saturating_sub(u64::from(distance))),
    };
    let sound = match kind {
        RecordKind::Changes => lsn > Lsn::ZERO && !payload.is_empty(),
        RecordKind::Seal => payload.len() == SEAL_PAYLOAD_BYTES,
        RecordKind::Unknown => lsn > Lsn::ZERO,
    };
    let sound = sound && lsn.get() <= NUMBER_MAX;
    sound.then_some(Record { kind, lsn, durable_through, payload, crc })
}

/// What bytes that do not verify say of themselves, if a record could begin with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Suspect {
    pub(crate) lsn: Lsn,
    /// The checksum that stands there.
    pub(crate) written: u32,
    /// The checksum that the bytes have.
    pub(crate) computed: u32,
}

/// Looks at damaged bytes as if a record began with the first of them: for people, nothing is
/// decided by it. `None` if its length would not fit.
pub(crate) fn suspect_record(bytes: &[u8], seed: Seed) -> Option<Suspect> {
    let mut fields = Fields(bytes);
    let written = fields.u32()?;
    let [a, b, c, _kind] = fields.u32()?.to_le_bytes();
    let len = usize::try_from(u32::from_le_bytes([a, b, c, 0])).ok()?;
    let lsn = Lsn::new(fields.u64()?);
    fields.u32()?;
    let payload = fields.0.get(..len)?;
    let covered = bytes.get(4..RECORD_HEADER_BYTES)?;
    Some(Suspect { lsn, written, computed: seed.crc(covered, payload) })
}

/// The payload of a seal: how many records the segment holds, and at which byte the seal stands.
pub(crate) fn seal_payload(record_count: u64, offset: u64) -> [u8; SEAL_PAYLOAD_BYTES] {
    let mut payload = [0; SEAL_PAYLOAD_BYTES];
    let fields = record_count.to_le_bytes().into_iter().chain(offset.to_le_bytes());
    for (to, from) in payload.iter_mut().zip(fields) {
        *to = from;
    }
    payload
}

/// Takes fixed-size fields off the front.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: StoreId = StoreId::from_bytes(*b"0123456789abcdef");

    fn header() -> SegmentHeader {
        SegmentHeader {
            store_id: ID,
            segment: 7,
            first_lsn: Lsn::new(121),
            created_ms: 1_790_000_000_000,
            previous: Previous {
                segment: 6,
                last_lsn: Lsn::new(120),
                seal: Some(0xdead_beef),
                superseded: false,
            },
        }
    }

    #[test]
    fn a_header_round_trips_and_any_flipped_bit_is_noticed() {
        let good = header().encode();
        assert_eq!(SegmentHeader::decode(&good), Ok(header()));
        for bit in 0..HEADER_BYTES * 8 {
            let mut bytes = good;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&bytes).is_err(), "bit {bit}");
        }
        assert_eq!(SegmentHeader::decode(&good[..95]), Err(HeaderError::Bad));
        assert_eq!(SegmentHeader::decode(&[0; 96]), Err(HeaderError::Bad));
    }

    #[test]
    fn a_sound_header_of_another_version_is_newer_not_bad() {
        let mut bytes = header().encode();
        bytes[8] = 9;
        let crc = header_crc(&bytes).to_le_bytes();
        bytes[12..16].copy_from_slice(&crc);
        assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderError::Newer(9)));
    }

    #[test]
    fn numbers_without_a_successor_are_not_believed() {
        for most in [NUMBER_MAX, NUMBER_MAX + 1, u64::MAX] {
            let believed = most == NUMBER_MAX;
            let mut headers = [header(); 4];
            headers[0].segment = most;
            headers[1].first_lsn = Lsn::new(most);
            headers[2].previous.segment = most;
            headers[3].previous.last_lsn = Lsn::new(most);
            for header in headers {
                assert_eq!(SegmentHeader::decode(&header.encode()).is_ok(), believed, "{header:?}");
            }
            let (seed, lsn, mut bytes) = (header().seed(), Lsn::new(most), Vec::new());
            encode_record(&mut bytes, seed, RecordKind::Changes, lsn, lsn, b"x");
            assert_eq!(decode_record(&bytes, seed).is_some(), believed, "{most}");
        }
    }

    #[test]
    fn a_record_round_trips_and_any_flipped_bit_is_noticed() {
        let seed = header().seed();
        let mut good = Vec::new();
        let crc = encode_record(
            &mut good,
            seed,
            RecordKind::Changes,
            Lsn::new(130),
            Lsn::new(127),
            b"payload",
        );
        let record = decode_record(&good, seed).unwrap();
        assert_eq!(record.lsn, Lsn::new(130));
        assert_eq!(record.durable_through, Lsn::new(127));
        assert_eq!(record.payload, b"payload");
        assert_eq!((record.kind, record.crc), (RecordKind::Changes, crc));
        assert_eq!(record.bytes(), good.len());
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_record(&bytes, seed), None, "bit {bit}");
        }
        for cut in 0..good.len() {
            assert_eq!(decode_record(&good[..cut], seed), None, "cut at {cut}");
        }
    }

    #[test]
    fn bytes_of_another_store_or_segment_never_verify() {
        let mut bytes = Vec::new();
        let seed = header().seed();
        encode_record(&mut bytes, seed, RecordKind::Changes, Lsn::new(1), Lsn::ZERO, b"x");
        assert!(decode_record(&bytes, seed).is_some());
        assert_eq!(decode_record(&bytes, Seed::new(&ID, 8)), None);
        let other = StoreId::from_bytes(*b"0123456789abcdeF");
        assert_eq!(decode_record(&bytes, Seed::new(&other, 7)), None);
    }

    #[test]
    fn zeros_and_empty_changes_are_no_record() {
        assert_eq!(decode_record(&[0; 64], header().seed()), None);
        let mut bytes = Vec::new();
        let seed = header().seed();
        encode_record(&mut bytes, seed, RecordKind::Changes, Lsn::new(1), Lsn::ZERO, b"");
        assert_eq!(decode_record(&bytes, seed), None);
    }

    #[test]
    fn a_sound_record_of_an_unknown_kind_is_newer_not_damage() {
        let seed = header().seed();
        let mut bytes = Vec::new();
        let (lsn, kind) = (Lsn::new(1), RecordKind::Unknown);
        encode_record(&mut bytes, seed, kind, lsn, Lsn::ZERO, b"from the future");
        assert_eq!(decode_record(&bytes, seed).unwrap().kind, RecordKind::Unknown);
    }

    #[test]
    fn a_distance_that_does_not_fit_vouches_for_nothing() {
        let seed = header().seed();
        let mut bytes = Vec::new();
        let lsn = Lsn::new(u64::from(u32::MAX) + 10);
        encode_record(&mut bytes, seed, RecordKind::Changes, lsn, Lsn::new(3), b"x");
        assert_eq!(decode_record(&bytes, seed).unwrap().durable_through, Lsn::ZERO);
    }
}
