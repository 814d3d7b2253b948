//! Unpacks gzip and zstd while reading, told apart by their first bytes; several members one behind the other are one
//! capture, as `cat a.gz b.gz` makes them.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Largest window that is unpacked, as a power of two: what `zstd --long` writes, 128 MiB. It is allocated only where a
/// file uses it; ordinary files use up to 8 MiB.
const LARGEST_WINDOW: u32 = 27;

/// The source itself, or what is packed in it.
pub(super) fn unpacked(mut source: Box<dyn Read + Send>) -> io::Result<Box<dyn Read + Send>> {
    let mut first = Vec::with_capacity(ZSTD.len());
    source.by_ref().take(ZSTD.len() as u64).read_to_end(&mut first)?;
    let kind = (first.starts_with(&GZIP), first.starts_with(&ZSTD));
    let whole = Cursor::new(first).chain(source);
    Ok(match kind {
        (true, _) => Box::new(flate2::read::MultiGzDecoder::new(whole)),
        (_, true) => {
            let mut decoder = zstd::stream::read::Decoder::new(whole)?;
            decoder.window_log_max(LARGEST_WINDOW)?;
            Box::new(decoder)
        }
        _ => Box::new(whole),
    })
}

/// A file from a byte of what is in it on. A packed one has to be unpacked up to there.
pub(super) fn at(mut file: File, position: u64) -> io::Result<Box<dyn Read + Send>> {
    let mut first = Vec::with_capacity(ZSTD.len());
    file.by_ref().take(ZSTD.len() as u64).read_to_end(&mut first)?;
    if first.starts_with(&GZIP) || first.starts_with(&ZSTD) {
        file.rewind()?;
        let mut source = unpacked(Box::new(file))?;
        io::copy(&mut source.by_ref().take(position), &mut io::sink())?;
        return Ok(source);
    }
    file.seek(SeekFrom::Start(position))?;
    Ok(Box::new(file))
}
