//! Content codings of playlists (RFC 9110 §8.4).

use std::io::Read;

use flate2::read::{MultiGzDecoder, ZlibDecoder};
use wire::http::Head;

/// How content is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// As it is.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 1950.
    Deflate,
    /// In a way that is not read.
    Other,
}

impl Coding {
    /// As the head of a message says.
    pub(super) fn of(head: &Head<'_>) -> Self {
        let codings = head.all("Content-Encoding").flat_map(|value| value.split(',')).map(str::trim);
        let mut coded = codings.filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case("identity"));
        match (coded.next().map(str::to_ascii_lowercase).as_deref(), coded.next()) {
            (None, _) => Self::Identity,
            (Some("gzip" | "x-gzip"), None) => Self::Gzip,
            (Some("deflate"), None) => Self::Deflate,
            _ => Self::Other,
        }
    }

    /// Content as it was before, at most `max` bytes of it, and why the rest of it cannot be had.
    pub(super) fn unpack(self, content: Vec<u8>, max: usize) -> (Vec<u8>, Option<String>) {
        let mut text = Vec::new();
        let limit = u64::try_from(max).unwrap_or(u64::MAX);
        let read = match self {
            Self::Identity => return (content, None),
            Self::Gzip => MultiGzDecoder::new(content.as_slice()).take(limit).read_to_end(&mut text),
            Self::Deflate => ZlibDecoder::new(content.as_slice()).take(limit).read_to_end(&mut text),
            Self::Other => return (text, None),
        };
        (text, read.err().map(|error| error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};
    use std::io::Write;
    use wire::Cursor;

    fn of(fields: &str) -> Coding {
        let head = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
        Coding::of(&Head::decode(&mut Cursor::new(head.as_bytes())).unwrap())
    }

    #[test]
    fn codings_have_names() {
        assert_eq!((of(""), of("Content-Encoding: identity\r\n")), (Coding::Identity, Coding::Identity));
        assert_eq!(
            (of("content-encoding: GZIP\r\n"), of("Content-Encoding: br\r\n")),
            (Coding::Gzip, Coding::Other)
        );
        assert_eq!(of("Content-Encoding: gzip, gzip\r\n"), Coding::Other);
    }

    #[test]
    fn what_is_unpacked_has_a_bound() {
        // 64 MiB of zeros in 64 KiB.
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        for _ in 0..64 {
            gzip.write_all(&[0; 1 << 20]).unwrap();
            zlib.write_all(&[0; 1 << 20]).unwrap();
        }
        for (coding, packed) in
            [(Coding::Gzip, gzip.finish().unwrap()), (Coding::Deflate, zlib.finish().unwrap())]
        {
            let (text, fault) = coding.unpack(packed.clone(), 5000);
            assert_eq!((text.len(), text.capacity() < 20_000, fault), (5000, true, None));
            let (text, fault) = coding.unpack(packed[..packed.len() / 2].to_vec(), 1 << 30);
            assert!(text.len() > 1 << 20 && fault.is_some());
            assert!(coding.unpack(b"#EXTM3U\n".to_vec(), 5000).1.is_some());
        }
    }
}
