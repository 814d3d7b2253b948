//! Globs that select things by name.

/// True where the name matches: `*` stands for any text, `?` for one character, the rest for itself.
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    // Where the latest star stands and how much of the name it has taken.
    let mut star: Option<(usize, usize)> = None;
    let (mut p, mut n) = (0, 0);
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || name.get(n) == Some(c) => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((at, taken)) = star else { return false };
                star = Some((at, taken + 1));
                p = at + 1;
                n = taken + 1;
            }
        }
    }
    pattern.iter().skip(p).all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, name, matched) in [
            ("*", "rtmp.a", true),
            ("rtmp.*", "rtmp.a.b", true),
            ("rtmp.*", "rtsp.a", false),
            ("*.a?", "x.ab", true),
            ("*.a?", "x.a", false),
            ("r*p.*.z", "rtmp.x.y.z", true),
            ("rtmp.a", "rtmp.a", true),
            ("rtmp.a", "rtmp.ab", false),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, name), matched, "{pattern} {name}");
        }
    }
}
